//! Test runners: the interface between flows and a project's tests.
//!
//! A runner describes, as data, how to set up a machine, list the tests, run all or some of them, and it reads its own
//! report. The flow does all that over connections that may break.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::base::id::{RunId, TestName};
use crate::build::{Build, BuildOrigin};
use crate::event::Teller;
use crate::fault::Fault;
use crate::machine::Machine;
use crate::outcome::TestResult;
use crate::output::Output;
use crate::script::ScriptFile;
use crate::subject::TestSubject;
use crate::task::{Command, StepCommand};

/// How a program on this computer is to reach a machine in place of `ssh`: our own program with its first arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshProgram {
    /// The program.
    pub program: PathBuf,
    /// The arguments before the file that describes the machine.
    pub args: Vec<String>,
}

/// The content of the runner's own report.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunnerReport {
    /// The tests that the runner announced; empty when it did not get that far.
    pub expected: Vec<TestName>,
    /// The reported results, each test once with its worst outcome.
    pub tests: Vec<TestResult>,
    /// The reasons in the report why green means less than it seems, a phrase each.
    pub caveats: Vec<String>,
    /// How long the runner built the software under test before the tests; none where it did not say.
    pub building: Option<Duration>,
    /// The tests that it began and gave no result of; whether it began any is [`RunnerReport::began`].
    pub unfinished: BTreeSet<TestName>,
    /// Whether the runner began its first test.
    pub began: bool,
    /// Whether the runner reported its own end.
    pub complete: bool,
    /// A description of what was dropped because the report exceeds its limits; none where nothing was.
    pub excess: Option<String>,
}

/// Reads a runner's report as it arrives. The tests on the machine control the report, so a reader must keep a bounded
/// amount of it, whatever arrives.
pub trait ReportReader: Send {
    /// Takes the next bytes, in pieces of any size.
    fn feed(&mut self, bytes: &[u8]);

    /// The content of the report so far; it may break off in the middle of a line.
    fn report(&mut self) -> RunnerReport;

    /// The file on the machine that holds the output of a failed test; none where the test's name cannot be a file's.
    fn output_file(&self, test: &TestName) -> Option<String>;
}

/// The paths of a runner's files, the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The folder in which it works, and to which relative patterns for artifacts refer.
    pub root: Cow<'static, str>,
    /// The file in which an image records what it was baked with; an image without it works as well.
    pub baked: Cow<'static, str>,
    /// The file in which the runner reports while it runs.
    pub report: Cow<'static, str>,
}

/// One job in the preparation of a machine for the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A command on the machine, which must succeed.
    Step(Box<StepCommand>),
    /// The source is sent to the machine: [`Runner::send`].
    Send,
    /// The software under test is built.
    Build(Box<Build>),
}

/// The tests that a machine would run, and their context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestListing {
    /// The tests that are expected to run under the user's flags.
    pub tests: Vec<TestName>,
    /// The tested source, in words.
    pub source: String,
    /// The tested software and the environment.
    pub subject: TestSubject,
    /// Where the build of the source comes from when none was made as a [`Job`].
    pub built: BuildOrigin,
}

/// The adapter to a test runner, for one source and the user's flags. Paths of its files are `folder/NAME`; `baked` is the
/// content of the file [`Layout::baked`], none where there is no such file.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Its name, by which a run's folder identifies the runner of its tests; it must never change.
    fn name(&self) -> &str;

    /// The settings, as JSON, from which another process can make the same runner; see [`RunnerRecord`].
    fn settings(&self) -> serde_json::Value;

    /// The paths of its files.
    fn layout(&self) -> Layout;

    /// The files that it needs on the machine.
    fn files(&self) -> Vec<ScriptFile>;

    /// The jobs that prepare `machine`, in order.
    fn set_up(&self, folder: &str, machine: &Machine) -> Vec<Job>;

    /// Sends the source, by a process on this computer. `target` is a file for the tool's own `ssh` that says how to
    /// reach the machine.
    async fn send(&self, target: &Path, teller: &Teller) -> Result<(), Fault>;

    /// Explains the failure of a step of [`Runner::set_up`]; none where the step's own output is explanation enough.
    fn explain(&self, step: &StepCommand, done: &Output) -> Option<Fault>;

    /// The step that prints the tests that would run under the user's flags.
    fn list(&self, folder: &str, baked: Option<&[u8]>) -> StepCommand;

    /// Reads what [`Runner::list`] printed, or says why the requested tests cannot be run.
    fn read_list(&self, baked: Option<&[u8]>, done: &Output) -> Result<TestListing, Fault>;

    /// The step that runs all listed tests, or `only` those of them.
    fn run(&self, folder: &str, baked: Option<&[u8]>, only: Option<&[TestName]>) -> StepCommand;

    /// A reader of the file [`Layout::report`].
    fn read_report(&self) -> Box<dyn ReportReader>;

    /// How it shares with other runs a machine that stays; none where it leaves nothing there and disturbs nobody.
    fn tenancy(&self) -> Option<&dyn Tenancy>;
}

/// The record of the runner whose tests were begun on a machine. It is stored with them, and a later follower makes the
/// runner from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerRecord {
    /// [`Runner::name`].
    pub name: String,
    /// [`Runner::settings`].
    pub settings: serde_json::Value,
}

impl RunnerRecord {
    /// The record of this runner.
    pub fn of(runner: &dyn Runner) -> Self {
        Self { name: runner.name().to_owned(), settings: runner.settings() }
    }
}

/// How a runner shares with other runs a machine that stays.
pub trait Tenancy: Send + Sync {
    /// The step that waits until no other run holds the machine, and then holds it for this run as long as the run has
    /// a driver or a task. It prints `waits RUN SINCE OWNER` while it waits for another run, and `held` at the end. The
    /// step's limit is that of waiting; a driver that gives no [`Tenancy::presence_command`] for `silence` counts as gone.
    fn hold(&self, folder: &str, run: &RunId, owner: &str, silence: Duration) -> StepCommand;

    /// The command that shows the machine that the run's driver is alive.
    fn presence_command(&self, folder: &str) -> Command;

    /// The folder to which a later run moves what an earlier one left below [`Layout::root`] before it takes the
    /// machine.
    fn aside_folder(&self, folder: &str) -> String;

    /// The step that removes what the runner left.
    fn clean(&self, folder: &str) -> StepCommand;
}
