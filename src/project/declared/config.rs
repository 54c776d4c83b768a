//! Reading a file that declares tests: every value checked and resolved, before anything is made.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::base::text;
use model::fault::Fault;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::declared::document::{Document, Escape, Format, Manner, Names, NetworkWord, Report, Text};
use crate::declared::presets::Preset;
use crate::image::GivenValue;
use crate::reports::junit::NameForm;

/// The longest file, in bytes; a longer one is something else. The longest script of a set-up is the same.
const CAP: u64 = 1 << 20;

/// How long making the machine ready, and building, may take where nothing is said.
const SETUP_LIMIT: Duration = Duration::from_secs(1800);

/// How many characters of a command's first line people are told.
const SHOWN: usize = 60;

/// The beginning of the variables that are the tool's own.
const OWN_VARIABLES: &str = "AUTOMATION_";

/// Tests as they were declared: what it takes to run them on any machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// What is tested, for people.
    pub name: String,
    /// The preset whose files are needed on the machine.
    pub(super) preset: Option<String>,
    /// The folder in which all commands run, below the source; empty for its top.
    pub(super) workdir: String,
    /// What makes the machine ready.
    pub(super) setup: Option<Command>,
    /// What builds the software under test.
    pub(super) build: Option<Command>,
    /// What lists the tests.
    pub(super) list: String,
    /// What runs them.
    pub(super) run: String,
    /// What the runner is told beside the tests.
    pub flags: Vec<String>,
    pub(super) names: Names,
    pub(super) report: Report,
    /// How long the tests may take altogether, where it was said.
    pub limit: Option<Duration>,
    /// How long one test may take; none leaves that to the runner.
    pub(super) test_limit: Option<Duration>,
    pub(super) env: Vec<(String, String)>,
}

/// A command with its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Command {
    /// What people are told: the first line of it, or the file that it stands in.
    pub what: String,
    pub text: String,
    pub limit: Duration,
}

/// What a file says of the machine and of what is sent there, beside the tests.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The folder with the source, where it is named.
    pub source: Option<PathBuf>,
    /// The definition of the image, where it is named.
    pub image: Option<String>,
    /// The distribution, where it is named.
    pub distro: Option<String>,
    /// Values of the image's parameters, each with its place in the file.
    pub values: BTreeMap<String, GivenValue>,
    /// The network of a local machine, where it is named.
    pub network: Option<NetworkWord>,
    /// Patterns of files to fetch, and of those to fetch where there are any.
    pub artifacts: [Vec<String>; 2],
}

/// Reads the file `path`.
pub fn load(path: &Path) -> Result<(Declaration, Surroundings), Fault> {
    let text = read(path, "--config")?;
    let place = Place { path, text: &text };
    let document: Document = toml::from_str(&text).map_err(|error| {
        let at = error.span().unwrap_or_default();
        place.fault(&at, error.message().trim().replace('\n', "; "))
    })?;
    place.resolve(&document)
}

/// The tests that a project's own file has, each a table `[tests.NAME]`; its other keys are read elsewhere.
#[derive(Deserialize)]
struct Suites {
    #[serde(default)]
    tests: BTreeMap<String, Document>,
}

/// Reads the tests `[tests.NAME]` of the project's file `path`.
pub fn load_suite(path: &Path, name: &str) -> Result<(Declaration, Surroundings), Fault> {
    let text = read(path, "the project's file")?;
    let place = Place { path, text: &text };
    let suites: Suites = toml::from_str(&text).map_err(|error| {
        let at = error.span().unwrap_or_default();
        place.fault(&at, error.message().trim().replace('\n', "; "))
    })?;
    match suites.tests.get(name) {
        Some(document) => place.resolve(document),
        None => Err(Fault::usage(format!("`{}` has no table `[tests.{name}]`", path.display()))),
    }
}

/// The text of a file that is named by `option`.
fn read(path: &Path, option: &str) -> Result<String, Fault> {
    let refused = || Fault::usage(format!("cannot read `{option} {}`", path.display()));
    let size = std::fs::metadata(path).map_err(|error| refused().because(error))?;
    if !size.is_file() || size.len() > CAP {
        return Err(refused().because(format!("it is not a file of at most {}", text::bytes(CAP))));
    }
    let text = std::fs::read(path).map_err(|error| refused().because(error))?;
    // A shell takes a CR for a part of the word before it.
    String::from_utf8(text).map(|text| text::unix(&text)).map_err(|_| refused().because("it is not UTF-8"))
}

/// The file, for messages.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    /// A fault about the bytes `at` of the file.
    fn fault(&self, at: &Range<usize>, message: impl std::fmt::Display) -> Fault {
        Fault::outside(format!("{}:{}: {message}", self.path.display(), self.line_and_column(at.start)))
            .hint("`docs/runners.md` explains every key.")
    }

    /// `LINE:COLUMN` of a byte, both from 1.
    fn line_and_column(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{line}:{column}")
    }

    /// A fault about a key that is missing.
    fn missing(&self, key: &str, what: &str) -> Fault {
        self.fault(&(0..0), format!("`{key}` is missing: {what}, or a `preset` that says it"))
    }

    fn resolve(&self, document: &Document) -> Result<(Declaration, Surroundings), Fault> {
        let preset = match &document.preset {
            Some(name) => Some(Preset::find(name.get_ref()).map_err(|why| self.fault(&name.span(), why))?),
            None => None,
        };
        let usual = preset.map(Preset::tests);
        let command = |own: &Option<Text>, of: fn(&Document) -> &Option<Text>| {
            own.as_ref().or_else(|| of(usual?).as_ref()).map(|text| text.get_ref().trim().to_owned())
        };
        let (list, run) = (command(&document.list, |it| &it.list), command(&document.run, |it| &it.run));
        let limit = document.timeout.as_ref().map(|span| self.span(span)).transpose()?;
        let declaration = Declaration {
            name: self.name(document)?,
            preset: document.preset.as_ref().map(|name| name.get_ref().clone()),
            workdir: document.workdir.as_ref().map(|dir| self.below(dir)).transpose()?.unwrap_or_default(),
            setup: self.setup(document)?,
            build: self.build(document, usual)?,
            list: list
                .ok_or_else(|| self.missing("list", "the command that prints the name of each test on a line"))?,
            run: run.ok_or_else(|| self.missing("run", "the command that runs the tests"))?,
            flags: document.flags.clone().unwrap_or_default(),
            names: self.names(document.names.as_ref(), usual)?,
            report: self.report(document.report.as_ref(), usual)?,
            limit,
            test_limit: document.test_timeout.as_ref().map(|span| self.span(span)).transpose()?,
            env: self.env(document)?,
        };
        for (key, text) in [("list", &document.list), ("run", &document.run), ("build", &document.build)] {
            if let Some(empty) = text.as_ref().filter(|text| text.get_ref().trim().is_empty()) {
                return Err(self.fault(&empty.span(), format!("`{key}` is empty")));
            }
        }
        Ok((declaration, self.surroundings(document)?))
    }

    fn surroundings(&self, document: &Document) -> Result<Surroundings, Fault> {
        let value = |(name, text): (&String, &Text)| {
            let line = self.line_and_column(text.span().start);
            let origin = Some(format!("{}:{line}", self.path.display()));
            (name.clone(), GivenValue { value: text.get_ref().clone(), origin })
        };
        let text = |text: &Option<Text>| text.as_ref().map(|text| text.get_ref().clone());
        let source = document.source.as_ref().map(|folder| {
            let folder = self.beside(folder.get_ref());
            // Named by the file, so it is that place of it which is wrong.
            match folder.is_dir() {
                true => Ok(folder),
                false => Err(format!("`{}` is not a folder", folder.display())),
            }
        });
        let source = match (source, &document.source) {
            (Some(Err(why)), Some(key)) => return Err(self.fault(&key.span(), why)),
            (Some(Ok(folder)), _) => Some(folder),
            _ => None,
        };
        Ok(Surroundings {
            source,
            image: text(&document.image),
            distro: text(&document.distro),
            values: document.parameters.iter().map(value).collect(),
            network: document.network,
            artifacts: [document.artifacts.clone(), document.optional_artifacts.clone()],
        })
    }

    /// A path that is relative to the file.
    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn span(&self, text: &Text) -> Result<Duration, Fault> {
        text::parse_duration(text.get_ref()).map_err(|why| self.fault(&text.span(), why))
    }

    /// The name of what is tested: as it is said, else that of the folder of the file.
    fn name(&self, document: &Document) -> Result<String, Fault> {
        let plain = |name: &str| !name.trim().is_empty() && name.len() <= 100 && !name.chars().any(char::is_control);
        match &document.name {
            Some(name) if plain(name.get_ref()) => Ok(name.get_ref().clone()),
            Some(name) => Err(self.fault(&name.span(), "`name` takes a line of at most 100 bytes")),
            None => {
                let folder = std::path::absolute(self.path).ok();
                let folder = folder.as_deref().and_then(Path::parent).and_then(Path::file_name);
                Ok(folder.and_then(|name| name.to_str()).filter(|name| plain(name)).unwrap_or("tests").to_owned())
            }
        }
    }

    /// A path that stays below the folder that it is relative to.
    fn below(&self, path: &Text) -> Result<String, Fault> {
        let plain = |part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
        match Path::new(path.get_ref()).components().all(plain) {
            true => Ok(path.get_ref().clone()),
            false => Err(self.fault(&path.span(), format!("`{}` does not stay below the source", path.get_ref()))),
        }
    }

    fn setup(&self, document: &Document) -> Result<Option<Command>, Fault> {
        let limit = document.setup_timeout.as_ref().map(|span| self.span(span)).transpose()?.unwrap_or(SETUP_LIMIT);
        match (&document.setup, &document.setup_file) {
            (Some(_), Some(file)) => Err(self.fault(&file.span(), "`setup` and `setup-file` exclude each other")),
            (Some(text), None) => Ok(Some(command(text.get_ref(), limit))),
            (None, Some(file)) => {
                let path = self.beside(file.get_ref());
                let text = read(&path, "setup-file").map_err(|fault| self.fault(&file.span(), fault.line()))?;
                Ok(Some(Command { what: file.get_ref().clone(), text, limit }))
            }
            (None, None) => match &document.setup_timeout {
                Some(span) => Err(self.fault(&span.span(), "`setup-timeout` needs a `setup` or a `setup-file`")),
                None => Ok(None),
            },
        }
    }

    fn build(&self, document: &Document, usual: Option<&Document>) -> Result<Option<Command>, Fault> {
        let limit = document.build_timeout.as_ref().map(|span| self.span(span)).transpose()?.unwrap_or(SETUP_LIMIT);
        let build = document.build.as_ref().or_else(|| usual?.build.as_ref());
        match (build, &document.build_timeout) {
            (Some(text), _) => Ok(Some(command(text.get_ref(), limit))),
            (None, Some(span)) => Err(self.fault(&span.span(), "`build-timeout` needs a `build`")),
            (None, None) => Ok(None),
        }
    }

    fn names(&self, own: Option<&Spanned<Names>>, usual: Option<&Document>) -> Result<Names, Fault> {
        let Some(own) = own else {
            return Ok(usual
                .and_then(|usual| usual.names.as_ref())
                .map(|names| names.get_ref().clone())
                .unwrap_or_default());
        };
        let names = own.get_ref();
        let of_text = [names.with.is_some(), names.before.is_some(), names.after.is_some(), names.escape.is_some()];
        match names.manner {
            Manner::Text if names.with.is_none() => {
                Err(self.fault(&own.span(), "names that are one text need `with`, the text between them"))
            }
            Manner::Arguments | Manner::File if of_text.contains(&true) => {
                Err(self.fault(&own.span(), "`with`, `before`, `after` and `escape` are for `as = \"text\"`"))
            }
            _ => Ok(names.clone()),
        }
    }

    fn report(&self, own: Option<&Spanned<Report>>, usual: Option<&Document>) -> Result<Report, Fault> {
        let Some(own) = own else {
            let usual = usual.and_then(|usual| usual.report.as_ref()).map(|report| report.get_ref().clone());
            return usual.ok_or_else(|| self.missing("report", "the format of the report and where it is written"));
        };
        let report = own.get_ref();
        let refused = |why: &str| Err(self.fault(&own.span(), why));
        if let Some(file) = &report.file {
            if report.output {
                return refused("a report is in a `file`, or it is the `output`");
            }
            self.below(&Spanned::new(own.span(), file.clone()))?;
        }
        if report.extras && report.format != Format::Junit {
            // The others are told as they come, to those who watch and to those who count failures.
            return refused("`extras` is for `format = \"junit\"`, which is read at the end");
        }
        match (&report.test, report.format) {
            (Some(form), Format::Junit) => match NameForm::parse(form) {
                Ok(_) => Ok(report.clone()),
                Err(why) => refused(&format!("`test = \"{form}\"`: {why}")),
            },
            (Some(_), _) => refused("`test` is for `format = \"junit\"`: the other formats give a test one name"),
            (None, _) => Ok(report.clone()),
        }
    }

    fn env(&self, document: &Document) -> Result<Vec<(String, String)>, Fault> {
        let plain = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        for (name, value) in &document.env {
            let (text, at) = (name.get_ref(), name.span());
            if !plain(text) {
                return Err(self.fault(&at, format!("`{text}` is not the name of a variable")));
            }
            if text.starts_with(OWN_VARIABLES) {
                return Err(self
                    .fault(&at, format!("`{text}`: variables that begin with `{OWN_VARIABLES}` are the tool's own")));
            }
            if value.contains('\0') {
                return Err(self.fault(&at, format!("the value of `{text}` has a NUL byte")));
            }
        }
        Ok(document.env.iter().map(|(name, value)| (name.get_ref().clone(), value.clone())).collect())
    }
}

/// A command with the words for it: its first line.
fn command(text: &str, limit: Duration) -> Command {
    let line = text.trim().lines().next().unwrap_or_default();
    let what: String = line.chars().take(SHOWN).collect();
    let more = if what.len() < text.trim().len() { "…" } else { "" };
    Command { what: format!("{what}{more}"), text: text.to_owned(), limit }
}

impl Declaration {
    /// Adds what the runner is told beside the tests. Where the commands have no place for it, it would be lost.
    pub fn add_flags(&mut self, more: &[String]) -> Result<(), Fault> {
        self.flags.extend_from_slice(more);
        if !self.flags.is_empty() && !self.run.contains("flags[") {
            return Err(Fault::usage("the command that runs these tests takes no flags")
                .hint("Write `\"${flags[@]}\"` into `run`, and into `list` where they choose tests."));
        }
        Ok(())
    }

    /// The names as they are handed to the command that runs them.
    pub(super) fn handed(&self, names: &[&str]) -> Vec<u8> {
        let Names { manner, with, before, after, escape, within: _ } = &self.names;
        let written = |name: &&str| match escape {
            Some(Escape::Regex) => escape_regex(name),
            None => (*name).to_owned(),
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        match manner {
            Manner::Text if names.is_empty() => Vec::new(),
            Manner::Text => {
                let joined = names.iter().map(written).collect::<Vec<_>>().join(&text(with));
                format!("{}{joined}{}", text(before), text(after)).into_bytes()
            }
            Manner::File => names.iter().flat_map(|name| [name.as_bytes(), b"\n"].concat()).collect(),
            Manner::Arguments => names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect(),
        }
    }
}

/// The name with a backslash before each sign that means something in a regular expression of any kind.
fn escape_regex(name: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$".contains(c);
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "list = 'ls t'\nrun = 'run \"$@\"'\nreport = { format = 'tap', output = true }\n";

    fn load_text(text: &str) -> Result<(Declaration, Surroundings), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tests.toml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|fault| fault.line().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn a_file_without_a_preset_says_how_to_list_run_and_report() {
        let (tests, around) = load_text(WHOLE).unwrap();
        assert_eq!((tests.list.as_str(), tests.limit, tests.test_limit), ("ls t", None, None));
        assert_eq!(tests.names.manner, Manner::Arguments);
        assert!(around.image.is_none() && around.source.is_none());
        for key in ["list", "run", "report"] {
            let without: String =
                WHOLE.lines().filter(|line| !line.starts_with(key)).map(|l| format!("{l}\n")).collect();
            let told = load_text(&without).unwrap_err();
            assert!(told.starts_with(&format!("tests.toml:1:1: `{key}` is missing")), "{told}");
        }
    }

    #[test]
    fn a_preset_says_what_the_file_leaves_out() {
        let (tests, _) = load_text("preset = 'pytest'\ntest-timeout = '30s'\n").unwrap();
        assert_eq!((tests.report.format, tests.test_limit), (Format::Events, Some(Duration::from_secs(30))));
        assert!(load_text("preset = 'ctest'\n").unwrap().0.report.extras && !tests.report.extras);
        let (own, _) = load_text("preset = 'pytest'\nlist = 'cat names'\n").unwrap();
        assert_eq!((own.list.as_str(), &own.run), ("cat names", &tests.run));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_column() {
        for (line, told) in [
            ("lst = 'x'", "4:1: unknown field `lst`"),
            ("  timeout = 'soon'", "4:13: "),
            ("timeout = 3", "4:11: invalid type"),
            ("timeout = '0s'", "4:11: the span of time must be longer than zero"),
            ("preset = 'pytst'", "4:10: there is no preset `pytst`"),
            ("workdir = '../x'", "4:11: `../x` does not stay below the source"),
            ("workdir = '/x'", "4:11: `/x` does not stay"),
            ("source = 'nowhere'", "4:10: `nowhere` is not a folder"),
            ("setup-file = 'nowhere'", "4:14: cannot read `setup-file nowhere`"),
            ("setup-timeout = '3m'", "4:17: `setup-timeout` needs"),
            ("build-timeout = '3m'", "4:17: `build-timeout` needs"),
            ("build = ' '", "4:9: `build` is empty"),
            ("names = { as = 'words' }", "4:16: unknown variant `words`"),
            ("names = { as = 'text' }", "4:9: names that are one text need `with`"),
            ("names = { with = '|' }", "4:9: `with`, `before`"),
            ("names = { as = 'text', with = '|', around = 'x' }", "4:36: unknown field `around`"),
            ("env = { '1A' = 'x' }", "4:9: `1A` is not the name of a variable"),
            ("env = { AUTOMATION_REPORT = 'x' }", "4:9: `AUTOMATION_REPORT`: variables that begin"),
            ("network = 'all'", "4:11: unknown variant `all`"),
            ("list = 'again'", "4:1: duplicate key"),
            ("x", "4:2: "),
        ] {
            let error = load_text(&format!("{WHOLE}{line}\n")).unwrap_err();
            assert!(error.starts_with(&format!("tests.toml:{told}")), "{line}: {error}");
        }
        for (report, told) in [
            ("{ format = 'tap', output = true, file = 'x' }", "in a `file`, or it is the `output`"),
            ("{ format = 'tap', file = '/x' }", "does not stay below"),
            ("{ format = 'tap', test = '{name}' }", "`test` is for"),
            ("{ format = 'tap', extras = true }", "`extras` is for"),
            ("{ format = 'junit', test = '{nme}' }", "`{nme}`"),
            ("{ format = 'junt' }", "unknown variant `junt`"),
            ("{ file = 'x' }", "missing field `format`"),
        ] {
            let error = load_text(&format!("list = 'x'\nrun = 'x'\nreport = {report}\n")).unwrap_err();
            assert!(error.starts_with("tests.toml:3:") && error.contains(told), "{report}: {error}");
        }
    }

    #[test]
    fn names_are_handed_over_as_they_were_declared() {
        let of = |names: &str| load_text(&format!("{WHOLE}names = {names}\n")).unwrap().0;
        let two = ["a b", "c.d[1]"];
        assert_eq!(of("{}").handed(&two), b"a b\0c.d[1]\0");
        assert_eq!(of("{ as = 'file' }").handed(&two), b"a b\nc.d[1]\n");
        let text = of("{ as = 'text', with = '|', before = '^(', after = ')$', escape = 'regex' }");
        assert_eq!(text.handed(&two), br"^(a b|c\.d\[1\])$");
        assert_eq!(text.handed(&[]), b"", "all tests are not none of them");
    }

    #[test]
    fn flags_have_a_place_or_are_refused() {
        let (mut tests, _) = load_text(WHOLE).unwrap();
        assert!(tests.add_flags(&[]).is_ok());
        assert_eq!(tests.add_flags(&["-x".into()]).unwrap_err().kind, model::fault::FaultKind::Usage);
        let (mut tests, _) = load_text("preset = 'pytest'\nflags = ['-x']").unwrap();
        tests.add_flags(&["-q".into()]).unwrap();
        assert_eq!(tests.flags, ["-x", "-q"]);
    }
}
