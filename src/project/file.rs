//! A project's own file, `automation.toml` at its root: what its commands are called, and on what machines they run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::base::text;
use model::fault::Fault;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::declared::NetworkWord;
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
    pub setup: Option<String>,
    /// The network of a local machine.
    pub network: Option<NetworkWord>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// The folder in which it runs, below the root.
    pub workdir: Option<String>,
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
    setup: Option<String>,
    network: Option<NetworkWord>,
    #[serde(default)]
    env: BTreeMap<String, String>,
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
    setup: Option<String>,
    network: Option<NetworkWord>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    workdir: Option<String>,
    #[serde(default, deserialize_with = "span")]
    timeout: Option<Duration>,
    #[serde(default)]
    artifacts: Vec<String>,
    #[serde(default)]
    optional_artifacts: Vec<String>,
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
    /// repository around it only the folder itself counts.
    pub fn find(folder: &Path) -> Result<Option<Self>, Fault> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let Some(root) = folder.ancestors().find(|above| is_repository(above)) else { return Self::read_in(&folder) };
        for above in folder.ancestors() {
            if let Some(found) = Self::read_in(above)? {
                return Ok(Some(found));
            }
            if above == root {
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
        let document: Document = toml::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            refused(&path).because(error.to_string().trim().to_owned()).hint("`docs/run.md` explains every key.")
        })?;
        let file = Self { path, document };
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
        }
        Ok(())
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
            setup: own.setup.clone(),
            network: own.network,
            env: own.env.clone(),
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
            setup: entry.setup.clone().or(usual.setup),
            network: entry.network.or(usual.network),
            env: usual.env.into_iter().chain(entry.env.clone()).collect(),
            workdir: entry.workdir.clone(),
            timeout: entry.timeout,
            artifacts: [entry.artifacts.clone(), entry.optional_artifacts.clone()],
        })
    }
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
        ProjectFile::find(folder.path()).map(Option::unwrap)
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
        assert_eq!((build.image.as_deref(), build.setup.as_deref()), (Some("plain"), Some("apt-get install -y jq")));
        assert_eq!(build.env.into_iter().map(|(name, value)| name + &value).collect::<Vec<_>>(), ["A1", "B3"]);
        assert_eq!((build.workdir.as_deref(), build.timeout), (Some("sub"), Some(Duration::from_secs(600))));
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
        ] {
            let line = found(text).unwrap_err().line();
            assert!(line.contains(part), "`{part}` in {line}");
        }
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
        let at = |path: &str| ProjectFile::find(&top.join(path)).unwrap().map(|file| file.root().to_owned());
        assert_eq!((at("repo/sub"), at("")), (None, Some(top.to_owned())));
        std::fs::write(top.join("repo").join(NAME), "").unwrap();
        assert_eq!((at("repo/sub/deep"), at("repo")), (Some(top.join("repo")), Some(top.join("repo"))));
    }
}
