//! Tests that a file declares, on a Linux machine.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use guest::{self, Guest, linux};
use model::base::id::TestName;
use model::base::{quote, text};
use model::build::BuildOrigin;
use model::event::{FilesEvent, Teller};
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::filesystem::Filesystem;
use model::machine::{Machine, Platform};
use model::output::Output;
use model::preparation::{FilesToSend, Job, Preparation, Tenancy};
use model::runner::{Layout, Part, ReportReader, Runner, RunnerReport, TestListing, TestNews};
use model::script::ScriptFile;
use model::subject::TestSubject;
use model::task::{Command, StepCommand};
use model::work::Work;
use serde::{Deserialize, Serialize};

use crate::declared::config::{self, Declaration};
use crate::declared::document::{Format, Manner};
use crate::declared::presets::Preset;
use crate::facts::{MachineFacts, word};
use crate::reports::events::EventsReader;
use crate::reports::go::GoReader;
use crate::reports::junit::{JunitReader, NameForm};
use crate::reports::libtest::LibtestReader;
use crate::reports::tally::{MOST_TESTS, Rules};
use crate::reports::tap::TapReader;
use crate::source::Source;
use crate::turn::{PATIENCE, Turn};
use crate::work_folder::{self, WORK};

/// The runner's name in the folders of runs.
pub const NAME: &str = "declared";

/// The script that does all that is done on a machine.
const SCRIPT: &str = "run-tests.sh";

const OWN_FILES: [ScriptFile; 4] = [
    ScriptFile::built_in(SCRIPT, include_str!("../../../remote/runners/run-tests.sh")),
    work_folder::SCRIPT,
    work_folder::CLEANUP,
    linux::HOLD,
];

/// The longest listing: some runners compile the tests for it.
const LIST_LIMIT: Duration = Duration::from_secs(1800);

/// The longest run where nothing is said.
const RUN_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// How many last lines of a command that failed are told.
const LAST_LINES: usize = 20;

/// Tests as they were declared, of one source.
#[derive(Debug, Clone)]
pub struct DeclaredTests {
    /// What was declared.
    pub declaration: Declaration,
    /// The names of the tests to run; empty for all.
    pub tests: Vec<String>,
    /// The source; none where it is on the machine already.
    pub source: Option<Source>,
    /// How long to wait for another run on somebody else's machine.
    pub patience: Duration,
    /// Whether the machine stays ours: what is in its work folder is brought up to date, and stays there.
    pub again: bool,
}

/// What is kept with a run, so that another process can follow its tests.
#[derive(Debug, Serialize, Deserialize)]
struct KeptSettings {
    declaration: Declaration,
    tests: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
}

impl DeclaredTests {
    /// The system of the machines that they run on.
    pub const PLATFORM: Platform = Platform::Linux;

    /// The runner that [`Runner::settings`] describes; its source is on the machine already.
    pub fn from_settings(settings: &serde_json::Value) -> Result<Self, Fault> {
        let KeptSettings { declaration, tests, again } = KeptSettings::deserialize(settings)
            .map_err(|error| Fault::outside("cannot read the settings that were kept of the tests").because(error))?;
        Ok(Self { declaration, tests, source: None, patience: PATIENCE, again })
    }

    /// A call of the script with the variables that were declared.
    fn call(&self, folder: &str, verb: &str) -> Command {
        let declared = &self.declaration;
        let command = guest().script(&format!("{folder}/{SCRIPT}")).args([verb, &declared.workdir]);
        let mut command = declared.env.iter().fold(command, |command, (name, value)| command.env(name, value));
        if let Some(limit) = declared.test_limit {
            // The runners count whole seconds.
            command = command.env("AUTOMATION_TEST_TIMEOUT", limit.as_secs().max(1).to_string());
        }
        command
    }

    /// The call that runs tests; all where none is named.
    fn run_call(&self, folder: &str, part: Option<u32>, names: &[&str]) -> Command {
        let report = &self.declaration.report;
        let part = part.map_or_else(|| "all".to_owned(), |number| number.to_string());
        let written = match (&report.file, report.output) {
            (Some(file), _) => format!("file:{file}"),
            (None, true) => "output".to_owned(),
            (None, false) => "report".to_owned(),
        };
        let manner = match self.declaration.names.manner {
            Manner::Arguments => "arguments",
            Manner::File => "file",
            Manner::Text => "text",
        };
        self.call(folder, "run")
            .args([&part, &written, manner])
            .args(self.declaration.flags.iter().cloned())
            .stdin(self.declaration.handed(names))
    }

    fn results(part: Option<u32>) -> String {
        part.map_or_else(|| format!("{WORK}/results"), |number| format!("{WORK}/results/{number}"))
    }

    /// What people are told of a failed step: its last lines.
    fn failed(step: &StepCommand, done: &Output) -> Fault {
        let kind = if matches!(done.exit, Exit::Lost(_)) { FaultKind::Infrastructure } else { FaultKind::Outside };
        let said = text::last_lines(&done.stderr_text(), LAST_LINES);
        let fault = Fault::new(kind, format!("`{}` failed with {}", step.work.words(), done.exit));
        if said.is_empty() { fault } else { fault.because(said) }
    }

    /// The names that a machine listed, checked.
    fn listed(done: &Output) -> Result<Vec<String>, Fault> {
        let said = text::last_lines(&done.stderr_text(), LAST_LINES);
        let because = |fault: Fault| if said.is_empty() { fault } else { fault.because(said.clone()) };
        match &done.exit {
            Exit::Code(0) => {}
            Exit::Lost(why) => return Err(Fault::infrastructure("the list of tests was lost").because(why.clone())),
            exit => return Err(because(Fault::outside(format!("the command `list` ended with {exit}")))),
        }
        let printed = String::from_utf8(done.stdout.clone())
            .map_err(|_| Fault::outside("the command `list` printed a name that is not UTF-8"))?;
        let names: Vec<String> =
            printed.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if names.len() > MOST_TESTS {
            return Err(Fault::outside(format!("the source has more than {MOST_TESTS} tests")));
        }
        let cap = Rules::STRICT.name_cap;
        if names.iter().any(|name| name.len() > cap) {
            return Err(Fault::outside(format!("the command `list` printed a name of more than {cap} bytes")));
        }
        let mut known = BTreeSet::new();
        if let Some(twice) = names.iter().find(|name| !known.insert(name.as_str())) {
            let message = format!("the command `list` printed `{}` twice", text::cut(twice, 200).escape_debug());
            return Err(Fault::outside(message).hint("A test must have a name of its own: results are told by it."));
        }
        match names.is_empty() {
            true => Err(because(Fault::outside("the command `list` printed no test"))),
            false => Ok(names),
        }
    }

    /// The tests to run, of those that were listed.
    fn chosen(&self, listed: Vec<String>) -> Result<Vec<TestName>, Fault> {
        if self.tests.is_empty() {
            return Ok(listed.into_iter().map(TestName::from).collect());
        }
        let known: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        let mut once: BTreeSet<&str> = BTreeSet::new();
        for word in &self.tests {
            let meant: Vec<&str> =
                known.iter().copied().filter(|name| *name == word.as_str() || self.is_within(name, word)).collect();
            if meant.is_empty() {
                let fault = Fault::usage(format!("there is no test `{}`", word.escape_debug()));
                return Err(match text::nearest(word, known) {
                    Some(near) => fault.hint(format!("Did you mean `{}`?", near.escape_debug())),
                    None => fault.hint("Without a name all tests run, and the results list them."),
                });
            }
            once.extend(meant);
        }
        Ok(once.into_iter().map(TestName::from).collect())
    }

    /// Whether the test of this name belongs to the group that `word` names, such as a file.
    fn is_within(&self, name: &str, word: &str) -> bool {
        let rest = name.strip_prefix(word.strip_prefix("./").unwrap_or(word));
        rest.is_some_and(|rest| self.declaration.names.within.iter().any(|mark| rest.starts_with(mark.as_str())))
    }

    fn subject(&self, told: &str) -> TestSubject {
        let source = self.source.as_ref();
        TestSubject {
            program: self.declaration.name.clone(),
            revision: source.and_then(|source| source.revision.as_deref()).and_then(word),
            working_copy: source.is_some_and(|source| source.revision.is_some() && source.changed),
            distro: MachineFacts::read(told).distro,
            flags: self.declaration.flags.clone(),
            ..TestSubject::default()
        }
    }
}

/// A reader of reports which may hold more than what was asked for.
struct ReaderWithExtras(Box<dyn ReportReader>);

impl ReportReader for ReaderWithExtras {
    fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    fn report(&mut self) -> RunnerReport {
        RunnerReport { extras: true, ..self.0.report() }
    }

    fn news(&mut self) -> Vec<TestNews> {
        self.0.news()
    }

    fn ended(&self) -> BTreeSet<TestName> {
        self.0.ended()
    }

    fn output_file(&self, test: &TestName) -> Option<String> {
        self.0.output_file(test)
    }
}

/// The system of the machine.
fn guest() -> &'static dyn Guest {
    guest::of(DeclaredTests::PLATFORM)
}

#[async_trait]
impl Preparation for DeclaredTests {
    fn files(&self) -> Vec<ScriptFile> {
        let declared = &self.declaration;
        let line = |verb: &str, text: &str| ScriptFile {
            name: Cow::Owned(format!("line-{verb}")),
            text: Cow::Owned(format!("{text}\n")),
        };
        let commands = [("setup", &declared.setup), ("build", &declared.build)];
        let commands = commands.into_iter().filter_map(|(verb, command)| Some(line(verb, &command.as_ref()?.text)));
        let preset = declared.preset.as_deref().and_then(|name| Preset::find(name).ok());
        let lines = [line("list", &declared.list), line("run", &declared.run)];
        OWN_FILES.into_iter().chain(lines).chain(commands).chain(preset.into_iter().flat_map(Preset::files)).collect()
    }

    fn set_up(&self, folder: &str, _: &Machine) -> Vec<Job> {
        let step = |work, command, limit| Job::Step(Box::new(StepCommand { work, command, limit }));
        let preparing = Work::Preparing { folder: WORK.to_owned(), filesystem: Filesystem::Default };
        let mut jobs = vec![step(
            preparing,
            self.call(folder, "prepare").args(self.source.iter().filter(|_| self.again).flat_map(work_folder::project)),
            work_folder::PREPARE_LIMIT,
        )];
        if let Some(source) = &self.source {
            let (from, paths) = (source.top.clone(), source.paths.clone());
            let (name, to) = (from.display().to_string(), work_folder::SOURCE.to_owned());
            let memory = self.again.then(|| work_folder::memory(""));
            let files = FilesToSend { name, from, paths, to, memory };
            jobs.push(Job::SendFiles(Box::new(files)));
        }
        if let Some(config::Command { what, limit, .. }) = &self.declaration.setup {
            jobs.push(step(Work::SettingUp { what: what.clone() }, self.call(folder, "setup"), *limit));
        }
        if let Some(config::Command { limit, .. }) = &self.declaration.build {
            let what = self.declaration.name.clone();
            jobs.push(step(Work::Building { what }, self.call(folder, "build"), *limit));
        }
        jobs
    }

    async fn send(&self, _: &Path, _: &Teller) -> Result<(), Fault> {
        // The files go over the connection that is there: `Job::SendFiles`.
        Ok(())
    }

    fn explain(&self, step: &StepCommand, done: &Output) -> Option<Fault> {
        Some(Self::failed(step, done))
    }

    fn remark(&self, step: &StepCommand, done: &Output) -> Option<FilesEvent> {
        // What the other steps print is the user's own.
        matches!(step.work, Work::Preparing { .. }).then(|| work_folder::replaced(done)).flatten()
    }

    fn brings(&self) -> Option<String> {
        self.source.as_ref().map(|source| source.outline())
    }

    fn place(&self) -> Option<String> {
        let folder = format!("{}/{}", work_folder::SOURCE, self.declaration.workdir);
        let folder = quote::word(folder.trim_end_matches('/')).ok()?;
        let variables = self.declaration.env.iter().map(|(name, value)| format!("{name}={value}"));
        let variables = quote::join(&variables.collect::<Vec<_>>()).ok()?;
        let line = format!("cd {folder} && exec env TMPDIR={}/tmp {variables} bash", work_folder::WORK);
        Some(line.replace("  ", " "))
    }

    fn tenancy(&self) -> Option<Box<dyn Tenancy>> {
        Some(Box::new(Turn { patience: self.patience, ..work_folder::turn(self.again) }))
    }
}

impl Runner for DeclaredTests {
    fn name(&self) -> &str {
        NAME
    }

    fn settings(&self) -> serde_json::Value {
        let (declaration, tests) = (self.declaration.clone(), self.tests.clone());
        let settings = KeptSettings { declaration, tests, again: self.again };
        // Texts, numbers and lists of them can always be written as JSON.
        serde_json::to_value(settings).unwrap_or_default()
    }

    fn layout(&self) -> Layout {
        Layout { root: WORK.into(), baked: format!("{WORK}/baked.json").into() }
    }

    fn list(&self, folder: &str, _: Option<&[u8]>) -> StepCommand {
        let command = self.call(folder, "list").args(self.declaration.flags.iter().cloned());
        StepCommand { work: Work::ListingTests, command, limit: LIST_LIMIT }
    }

    fn read_list(&self, _: Option<&[u8]>, done: &Output) -> Result<TestListing, Fault> {
        let words = self.source.as_ref().map(Source::words);
        Ok(TestListing {
            tests: self.chosen(Self::listed(done)?)?,
            source: words.unwrap_or_else(|| "the machine's own source".to_owned()),
            subject: self.subject(&done.stderr_text()),
            built: if self.declaration.build.is_some() { BuildOrigin::Made } else { BuildOrigin::Given },
        })
    }

    fn run(&self, folder: &str, _: Option<&[u8]>, part: Option<Part<'_>>) -> StepCommand {
        let command = match part {
            None => self.run_call(folder, None, &self.tests.iter().map(String::as_str).collect::<Vec<_>>()),
            Some(part) => {
                let names: Vec<&str> = part.tests.iter().map(TestName::as_str).collect();
                self.run_call(folder, Some(part.number), &names)
            }
        };
        StepCommand { work: Work::RunningTests, command, limit: self.declaration.limit.unwrap_or(RUN_LIMIT) }
    }

    /// What runs several tests at once says so itself, or is told in the declaration; the pace of a machine is measured.
    fn jobs(&self) -> Option<u32> {
        Some(1)
    }

    fn report_file(&self, part: Option<u32>) -> String {
        format!("{}/report", Self::results(part))
    }

    fn read_report(&self, part: Option<u32>) -> Box<dyn ReportReader> {
        let reader = self.reader();
        // Where all tests run nothing can be extra.
        match self.declaration.report.extras && (part.is_some() || !self.tests.is_empty()) {
            true => Box::new(ReaderWithExtras(reader)),
            false => reader,
        }
    }
}

impl DeclaredTests {
    /// A reader of the format that was declared.
    fn reader(&self) -> Box<dyn ReportReader> {
        match self.declaration.report.format {
            Format::Events => Box::new(EventsReader::strict()),
            Format::Tap => Box::new(TapReader::new()),
            Format::LibtestJson => Box::new(LibtestReader::new()),
            Format::GoJson => Box::new(GoReader::new()),
            Format::Junit => {
                // It was checked when the file was read.
                let form = self.declaration.report.test.as_deref().and_then(|form| NameForm::parse(form).ok());
                Box::new(JunitReader::new(form.unwrap_or_default()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(preset: &str, words: &[&str], listed: &[&str]) -> Result<Vec<String>, Fault> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tests.toml");
        std::fs::write(&file, format!("preset = \"{preset}\"\n")).unwrap();
        let (declaration, _) = config::load(&file).unwrap();
        let tests = words.iter().map(|word| (*word).to_owned()).collect();
        let runner = DeclaredTests { declaration, tests, source: None, patience: PATIENCE, again: false };
        let chosen = runner.chosen(listed.iter().map(|name| (*name).to_owned()).collect())?;
        Ok(chosen.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_file_means_all_of_its_tests_where_the_runner_takes_one() {
        let listed = ["a.py::B::test_x", "a.py::test_y[1]", "a.py::test_y[2]", "a.py::test_yes", "ab.py::test_z"];
        let of = |words: &[&str]| chosen("pytest", words, &listed).unwrap();
        assert_eq!(of(&["a.py"]), listed[..4]);
        assert_eq!(of(&["./ab.py", "a.py::B", "ab.py::test_z"]), [listed[0], listed[4]]);
        assert_eq!(of(&["a.py::test_y"]), listed[1..3]);
        let refused = chosen("pytest", &["a.p"], &listed).unwrap_err();
        assert!(refused.message.contains("there is no test `a.p`"), "{}", refused.message);
        assert!(chosen("go", &["a"], &["a::b"]).is_err(), "it takes whole names alone");
    }
}
