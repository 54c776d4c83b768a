//! A project's own file, `automation.toml` at its root: what its commands are called, and on what machines they run.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::base::text;
use model::fault::Fault;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::command::check_variable;
use crate::declared::NetworkWord;
use crate::image::{NOTHING, SetUp};
use crate::source::is_repository;

/// The file's name.
pub const NAME: &str = "automation.toml";

/// The longest file, in bytes; a longer one is something else.
const CAP: u64 = 1 << 20;

/// A project's file.
#[derive(Debug, Clone, Default)]
pub struct ProjectFile {
    /// The file.
    pub path: PathBuf,
    document: Document,
    text: String,
}

/// A text of the file, with its place there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedText {
    /// The text.
    pub text: String,
    /// Its key, and its file, line and column.
    place: String,
}

impl PlacedText {
    /// The fault of a text with which nothing can be done.
    pub fn fault(&self, why: impl std::fmt::Display) -> Fault {
        Fault::usage(format!("cannot use {}", self.place)).because(why.to_string())
    }

    /// What root does once to an image, where it is this: a line, or a file below the project's root.
    pub fn set_up(&self, root: &Path) -> Result<SetUp, Fault> {
        SetUp::read(&self.text, root).map_err(|fault| {
            let hint = fault.hint.clone();
            let placed = self.fault(fault.line());
            if let Some(hint) = hint { placed.hint(hint) } else { placed }
        })
    }
}

/// What a command of a project is, and where it runs: what the file says of it, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectCommand {
    /// The program and its arguments; none where no command was named.
    pub words: Vec<String>,
    /// The definition of the image.
    pub image: Option<String>,
    /// The distribution.
    pub distro: Option<String>,
    /// What root does once to the image: a line, or a file below the project's root.
    pub setup: Option<PlacedText>,
    /// The network of a local machine.
    pub network: Option<NetworkWord>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// The folder in which it runs, below the root.
    pub workdir: Option<PlacedText>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Patterns of files to fetch, and of those to fetch where there are any.
    pub artifacts: [Vec<String>; 2],
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Document {
    image: Option<String>,
    distro: Option<String>,
    setup: Option<Spanned<String>>,
    network: Option<NetworkWord>,
    #[serde(default)]
    env: BTreeMap<Name, Value>,
    #[serde(default)]
    command: BTreeMap<String, Entry>,
    /// What is in these tables is read where the tests run.
    #[serde(default)]
    tests: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    run: Run,
    /// What it is for, for people.
    description: Option<String>,
    image: Option<String>,
    distro: Option<String>,
    setup: Option<Spanned<String>>,
    network: Option<NetworkWord>,
    #[serde(default)]
    env: BTreeMap<Name, Value>,
    workdir: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "span")]
    timeout: Option<Duration>,
    #[serde(default)]
    artifacts: Vec<String>,
    #[serde(default)]
    optional_artifacts: Vec<String>,
}

/// The name of a variable that a command can have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        check_variable(&name).map(|()| Self(name))
    }
}

/// The value of one.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Value(String);

impl TryFrom<String> for Value {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, &'static str> {
        if value.contains('\0') { Err("the value of a variable has no NUL byte") } else { Ok(Self(value)) }
    }
}

fn variables(env: &BTreeMap<Name, Value>) -> impl Iterator<Item = (String, String)> {
    env.iter().map(|(Name(name), Value(value))| (name.clone(), value.clone()))
}

/// Whether a text is a path below the source.
pub fn is_below(text: &str) -> bool {
    Path::new(text).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// A line for the shell, or a program with its arguments.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a line for the shell, or a list with a program and its arguments")]
enum Run {
    Line(String),
    Words(Vec<String>),
}

fn span<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(value)?;
    text::parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

impl ProjectFile {
    /// The file of the project that `folder` belongs to: in it, or in a folder above it up to the root of its repository. Without a
    /// repository around it, up to where somebody else could have put it: the folders above must have the same owner, lie on the same file
    /// system and be closed to others, and neither the `home` of a person nor what it lies in is a project around others.
    pub fn find(folder: &Path, home: Option<&Path>) -> Result<Option<Self>, Fault> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let root = folder.ancestors().find(|above| is_repository(above));
        for (below, above) in std::iter::once(&*folder).chain(folder.ancestors()).zip(folder.ancestors()) {
            if below != above && root.is_none() && !may_be_around(above, below, home) {
                break;
            }
            if let Some(found) = Self::read_in(above)? {
                return Ok(Some(found));
            }
            if root == Some(above) {
                break;
            }
        }
        Ok(None)
    }

    fn read_in(folder: &Path) -> Result<Option<Self>, Fault> {
        let path = folder.join(NAME);
        let refused = |path: &Path| Fault::usage(format!("cannot read `{}`", path.display()));
        let size = match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => found.len(),
            _ => return Ok(None),
        };
        if size > CAP {
            return Err(refused(&path).because(format!("it has more than {}", text::bytes(CAP))));
        }
        let bytes = std::fs::read(&path).map_err(|error| refused(&path).because(error))?;
        let text = String::from_utf8(bytes).map_err(|_| refused(&path).because("it is not UTF-8"))?;
        let text = text.trim_start_matches('\u{feff}').to_owned();
        let document: Document = toml::from_str(&text).map_err(|error| {
            refused(&path).because(error.to_string().trim().to_owned()).hint("`docs/run.md` explains every key.")
        })?;
        let file = Self { path, document, text };
        file.check()?;
        Ok(Some(file))
    }

    fn check(&self) -> Result<(), Fault> {
        for (name, entry) in &self.document.command {
            let is_empty = match &entry.run {
                Run::Line(line) => line.trim().is_empty(),
                Run::Words(words) => words.first().is_none_or(String::is_empty),
            };
            if is_empty {
                return Err(Fault::usage(format!("`{}`: `command.{name}` runs nothing", self.path.display())));
            }
            if let Some(workdir) = self.placed("workdir", entry.workdir.as_ref()).filter(|at| !is_below(&at.text)) {
                return Err(workdir.fault(format!("`{}` is not a path below the source", workdir.text)));
            }
        }
        let setups = self.document.command.values().map(|entry| entry.setup.as_ref());
        for setup in setups.chain([self.document.setup.as_ref()]) {
            if let Some(setup) = self.placed("setup", setup).filter(|setup| setup.text.trim().is_empty()) {
                return Err(setup.fault("it is empty, and has nothing to do").hint(NOTHING));
            }
        }
        Ok(())
    }

    /// The text of a key with its place, where it has one.
    fn placed(&self, key: &str, text: Option<&Spanned<String>>) -> Option<PlacedText> {
        let text = text?;
        let before = self.text.get(..text.span().start).unwrap_or_default();
        let (line, last) = (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default());
        let place = format!("`{key}` of `{}`, line {line}, column {}", self.path.display(), last.chars().count() + 1);
        Some(PlacedText { text: text.get_ref().clone(), place })
    }

    /// The folder that it lies in: the project's root.
    pub fn root(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The names of its commands, each with what it is for.
    pub fn commands(&self) -> Vec<(&str, Option<&str>)> {
        let all = self.document.command.iter();
        all.map(|(name, entry)| (name.as_str(), entry.description.as_deref())).collect()
    }

    /// The names of its tests: each is a table `[tests.NAME]`.
    pub fn suites(&self) -> Vec<&str> {
        self.document.tests.keys().map(String::as_str).collect()
    }

    /// The name of the tests that are meant: of those that are `named`, or of the only ones that there are.
    pub fn suite(&self, named: Option<&str>) -> Result<&str, Fault> {
        let (path, suites) = (self.path.display(), self.suites());
        let list = || suites.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match (named, suites.as_slice()) {
            (Some(name), _) => suites.iter().copied().find(|suite| *suite == name).ok_or_else(|| {
                let fault = Fault::usage(format!("`{path}` has no table `[tests.{name}]`"));
                match (text::nearest(name, suites.iter().copied()), suites.is_empty()) {
                    (Some(near), _) => fault.hint(format!("Did you mean `{near}`?")),
                    (None, true) => fault,
                    (None, false) => fault.hint(format!("It has {}.", list())),
                }
            }),
            (None, [only]) => Ok(*only),
            (None, []) => Err(Fault::usage(format!("`{path}` has no table `[tests.NAME]`"))
                .hint("`docs/runners.md` explains its keys; `--config FILE` names another file.")),
            (None, _) => Err(Fault::usage(format!("`{path}` has several tables of tests: {}", list()))
                .hint("Choose with `--suite NAME`.")),
        }
    }

    /// What holds for a command that has no name here.
    pub fn usual(&self) -> ProjectCommand {
        let own = &self.document;
        ProjectCommand {
            image: own.image.clone(),
            distro: own.distro.clone(),
            setup: self.placed("setup", own.setup.as_ref()),
            network: own.network,
            env: variables(&own.env).collect(),
            ..ProjectCommand::default()
        }
    }

    /// The command of this name, with `further` arguments.
    pub fn command(&self, name: &str, further: &[String]) -> Result<ProjectCommand, Fault> {
        let Some(entry) = self.document.command.get(name) else {
            let known: Vec<&str> = self.document.command.keys().map(String::as_str).collect();
            let fault = Fault::usage(format!("`{}` has no command `{name}`", self.path.display()));
            return Err(match (text::nearest(name, known.iter().copied()), known.is_empty()) {
                (Some(near), _) => fault.hint(format!("Did you mean `{near}`?")),
                (None, true) => fault
                    .hint(format!("Add a table `[command.{name}]` with a key `run`, or give a command after `--`.")),
                (None, false) => {
                    fault.hint(format!("It has: {}. Any other command stands after `--`.", known.join(", ")))
                }
            });
        };
        if let (Run::Line(line), [_, ..]) = (&entry.run, further)
            && !takes_arguments(line)
        {
            return Err(Fault::usage(format!(
                "`{}`: the line of `command.{name}` takes no arguments",
                self.path.display()
            ))
            .hint("They stand where it says `\"$@\"`, as in `run = 'make check \"$@\"'`."));
        }
        let words = match &entry.run {
            // The name stands where a script's would, and the arguments are "$@".
            Run::Line(line) => ["bash", "-c", line, name].map(str::to_owned).to_vec(),
            Run::Words(words) => words.clone(),
        };
        let usual = self.usual();
        Ok(ProjectCommand {
            words: words.into_iter().chain(further.iter().cloned()).collect(),
            image: entry.image.clone().or(usual.image),
            distro: entry.distro.clone().or(usual.distro),
            setup: self.placed("setup", entry.setup.as_ref()).or(usual.setup),
            network: entry.network.or(usual.network),
            env: usual.env.into_iter().chain(variables(&entry.env)).collect(),
            workdir: self.placed("workdir", entry.workdir.as_ref()),
            timeout: entry.timeout,
            artifacts: [entry.artifacts.clone(), entry.optional_artifacts.clone()],
        })
    }
}

/// Whether the folder `above` may hold the project that `below`, which lies in it, belongs to, where no repository says so.
fn may_be_around(above: &Path, below: &Path, home: Option<&Path>) -> bool {
    let is_of_home = home.is_some_and(|home| home.starts_with(above));
    let (Ok(here), Ok(there)) = (below.metadata(), above.metadata()) else { return false };
    let is_open = there.mode() & 0o002 != 0;
    above.parent().is_some() && !is_of_home && !is_open && here.uid() == there.uid() && here.dev() == there.dev()
}

/// Whether a line for the shell uses the arguments that are added to it.
fn takes_arguments(line: &str) -> bool {
    let mut after = line.split('$').skip(1).map(|rest| rest.strip_prefix('{').unwrap_or(rest));
    after.any(|rest| rest.starts_with(|first: char| "@*#".contains(first) || first.is_ascii_digit() && first != '0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<ProjectFile, Fault> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), text).unwrap();
        ProjectFile::find(folder.path(), None).map(Option::unwrap)
    }

    const WHOLE: &str = r#"
image = "linux-dev"
distro = "debian13"
setup = "apt-get install -y jq"
network = "host"
env = { A = "1", B = "2" }

[command.check]
description = "All tests"
run = 'make check "$@"'

[command.build]
run = ["./build.sh", "a b"]
image = "plain"
env = { B = "3" }
workdir = "sub"
timeout = "10m"
artifacts = ["out/*"]
optional-artifacts = ["*.log"]
"#;

    #[test]
    fn a_command_has_what_its_file_says_of_it_or_of_all() {
        let file = found(WHOLE).unwrap();
        assert_eq!(file.commands(), [("build", None), ("check", Some("All tests"))]);
        let check = file.command("check", &["x y".to_owned()]).unwrap();
        assert_eq!(check.words, ["bash", "-c", "make check \"$@\"", "check", "x y"]);
        assert_eq!((check.image.as_deref(), check.distro.as_deref()), (Some("linux-dev"), Some("debian13")));
        let build = file.command("build", &[]).unwrap();
        assert_eq!(build.words, ["./build.sh", "a b"]);
        let setup = build.setup.as_ref().map(|setup| setup.text.as_str());
        assert_eq!((build.image.as_deref(), setup), (Some("plain"), Some("apt-get install -y jq")));
        assert_eq!(build.env.into_iter().map(|(name, value)| name + &value).collect::<Vec<_>>(), ["A1", "B3"]);
        let workdir = build.workdir.as_ref().map(|workdir| workdir.text.as_str());
        assert_eq!((workdir, build.timeout), (Some("sub"), Some(Duration::from_secs(600))));
        assert_eq!(build.artifacts, [vec!["out/*".to_owned()], vec!["*.log".to_owned()]]);
        assert_eq!(file.usual().words, Vec::<String>::new());
        for (line, takes) in
            [("make $HOME", false), ("a \"$@\"", true), ("a ${1:-b}", true), ("a $0", false), ("$#", true)]
        {
            assert_eq!(takes_arguments(line), takes, "{line}");
        }
        let plain = found("[command.a]\nrun = 'make'\n").unwrap();
        assert!(plain.command("a", &["x".to_owned()]).unwrap_err().message.ends_with("takes no arguments"));
        let unknown = file.command("chekc", &[]).unwrap_err();
        assert_eq!(unknown.hint.as_deref(), Some("Did you mean `check`?"));
        let none = found("").unwrap().command("x", &[]).unwrap_err();
        assert!(none.hint.unwrap().contains("[command.x]"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, part) in [
            ("imagee = 'x'\n", "line 1, column 1"),
            ("[command.a]\nrun = 1\n", "line 2, column 7"),
            ("[command.a]\nrunn = 'x'\n", "unknown field `runn`"),
            ("[command.a]\nrun = 'x'\ntimeout = 'soon'\n", "line 3, column 11"),
            ("[command.a]\n", "missing field `run`"),
            ("[command.a]\nrun = 'x'\n[command.a]\nrun = 'y'\n", "duplicate key"),
            ("network = 'moon'\n", "line 1, column 11"),
            ("env = { '1A' = 'x' }\n", "line 1, column 9"),
            ("env = { TMPDIR = 'x' }\n", "`TMPDIR` is set by the machine itself"),
            ("[env]\nA = 1\n", "line 2, column 5"),
            ("[env]\nB = 'x'\nA = \"a\\u0000\"\n", "line 3, column 5"),
            ("setup = 1\n", "line 1, column 9"),
            ("image = 'x'\nsetup = ' '\n", "line 2, column 9"),
            ("[command.a]\nrun = 'x'\nsetup = ''\n", "line 3, column 9"),
            ("[command.a]\nrun = 'x'\nworkdir = '../up'\n", "line 3, column 11"),
            ("[command.a]\nworkdir = '/etc'\nrun = 'x'\n", "line 2, column 11"),
            ("[command.a]\nworkdir = ['x']\nrun = 'x'\n", "line 2, column 11"),
        ] {
            let line = found(text).unwrap_err().line();
            assert!(line.contains(part), "`{part}` in {line}");
        }
        let nothing = found("setup = ''\n").unwrap_err();
        assert!(nothing.line().contains("it is empty") && nothing.hint.unwrap().contains("Leave it out"));
        let setup = found("setup = './nothing.sh'\n").unwrap().usual().setup.unwrap();
        let line = setup.set_up(Path::new("/nowhere")).unwrap_err().line();
        assert!(line.contains("line 1, column 9") && line.contains("there is no script `./nothing.sh`"), "{line}");
        assert!(found("[command.a]\nrun = ' '\n").unwrap_err().message.ends_with("`command.a` runs nothing"));
        assert!(found("[command.a]\nrun = []\n").is_err());
        assert_eq!(found("\u{feff}distro = 'x'\r\n").unwrap().usual().distro.as_deref(), Some("x"));
    }

    #[test]
    fn it_is_looked_for_up_to_the_root_of_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        std::fs::create_dir_all(top.join("repo/.git")).unwrap();
        std::fs::create_dir_all(top.join("repo/sub/deep")).unwrap();
        std::fs::write(top.join(NAME), "").unwrap();
        let at = |path: &str| ProjectFile::find(&top.join(path), None).unwrap().map(|file| file.root().to_owned());
        assert_eq!((at("repo/sub"), at("")), (None, Some(top.to_owned())));
        std::fs::write(top.join("repo").join(NAME), "").unwrap();
        assert_eq!((at("repo/sub/deep"), at("repo")), (Some(top.join("repo")), Some(top.join("repo"))));
    }

    #[test]
    fn without_a_repository_it_is_looked_for_as_far_as_nobody_else_could_have_put_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        std::fs::create_dir_all(top.join("open/home/project/sub/deep")).unwrap();
        let put = |path: &str| std::fs::write(top.join(path).join(NAME), "").unwrap();
        let at = |path: &str| {
            let home = top.join("open/home");
            let file = ProjectFile::find(&top.join("open/home").join(path), Some(&home)).unwrap();
            file.map(|file| file.root().strip_prefix(top).unwrap().to_owned())
        };
        put("open/home");
        put("open");
        assert_eq!(
            (at("project/sub"), at("")),
            (None, Some(PathBuf::from("open/home"))),
            "a home is no project around others"
        );
        put("open/home/project");
        assert_eq!(at("project/sub/deep"), Some(PathBuf::from("open/home/project")));
        std::fs::set_permissions(top.join("open/home/project"), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(at("project/sub/deep"), None, "anybody could have put it there");
        assert_eq!(at("project"), Some(PathBuf::from("open/home/project")), "who stands there sees it");
    }
}
