//! A test runner: the seam between flows and a project's tests.
//!
//! The runner says what is to be done on a machine, as data, and the flow does it, over connections that break: it sets a machine up,
//! lists the tests that are to run, runs them or some of them, and reads its own report.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::base::id::{RunId, TestName};
use crate::build::{Build, Built};
use crate::event::Teller;
use crate::fault::Fault;
use crate::machine::Machine;
use crate::outcome::TestResult;
use crate::output::Output;
use crate::subject::Subject;
use crate::task::{Command, Stepped};

/// A file that is needed on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its name in the task's folder.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// What the runner's own report says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reported {
    /// The tests that the runner said it would run; empty when it did not come so far.
    pub expected: Vec<TestName>,
    /// What it said of them, each test once with its worst outcome.
    pub tests: Vec<TestResult>,
    /// What it said that makes green mean less than it seems, a phrase each.
    pub caveats: Vec<String>,
    /// How long it built what it tests before that; none where it did not say.
    pub building: Option<Duration>,
    /// Whether the runner came to its first test.
    pub began: bool,
    /// Whether the runner said that it came to its own end.
    pub complete: bool,
    /// What of the report was not taken, because it is more than a report can be; none where all of it was.
    pub beyond: Option<String>,
}

/// Reads a runner's report as it comes. Whoever controls the runner controls the report: a reader keeps a bounded amount of it,
/// whatever comes and however much.
pub trait ReportReader: Send {
    /// Takes the next bytes, in whatever pieces they come.
    fn feed(&mut self, bytes: &[u8]);

    /// What was said; a report may break off in the middle of a line.
    fn reported(&mut self) -> Reported;

    /// The file on the machine that holds the output of a failed test; none of a name that is no file's.
    fn output_file(&self, test: &TestName) -> Option<String>;
}

/// Where a runner's things lie on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The folder in which it works, and at which relative patterns for artifacts begin.
    pub root: &'static str,
    /// The file in which an image says what it was baked with; an image without it is none the worse.
    pub baked: &'static str,
    /// The file in which the runner reports while it runs.
    pub report: &'static str,
}

/// One of the things that make a machine ready for the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A command on the machine, which must succeed.
    Step(Box<Stepped>),
    /// The source is sent there: [`Runner::send`].
    Send,
    /// A build of what is tested.
    Build(Box<Build>),
}

/// What a machine would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The tests that are expected to run under the user's flags.
    pub tests: Vec<TestName>,
    /// What is tested, in words.
    pub source: String,
    /// What is tested and on what.
    pub subject: Subject,
    /// Where the build of it comes from when none was made as a [`Job`].
    pub built: Built,
}

/// The adapter to a test runner, for one source and the user's flags. Paths of parts are `folder/NAME`; `baked` is the content of
/// [`Layout::baked`], none where there is no such file.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Its name, by which a run's folder says whose its tests are; never changed.
    fn name(&self) -> &'static str;

    /// What makes the same runner again in another process, as JSON; see [`RunnerRecord`].
    fn settings(&self) -> serde_json::Value;

    /// Where its things lie.
    fn layout(&self) -> Layout;

    /// The files that it needs on the machine.
    fn parts(&self) -> Vec<Part>;

    /// What makes `machine` ready, in order.
    fn set_up(&self, folder: &str, machine: &Machine) -> Vec<Job>;

    /// Sends the source, by a process on this computer that reaches the machine as `target`, a file for the tool's own `ssh`, says.
    async fn send(&self, target: &Path, teller: &Teller) -> Result<(), Fault>;

    /// What it means that a step of [`Runner::set_up`] failed like this; none where the step's own words say it.
    fn explain(&self, step: &Stepped, done: &Output) -> Option<Fault>;

    /// Prints the tests that would run under the user's flags.
    fn list(&self, folder: &str, baked: Option<&[u8]>) -> Stepped;

    /// Reads what [`Runner::list`] printed, or says why the tests that were asked for cannot be run.
    fn read_list(&self, baked: Option<&[u8]>, done: &Output) -> Result<Listing, Fault>;

    /// Runs tests: all that were listed, or the given `part` of them.
    fn run(&self, folder: &str, baked: Option<&[u8]>, part: Option<&[TestName]>) -> Stepped;

    /// Something that reads [`Layout::report`].
    fn read_report(&self) -> Box<dyn ReportReader>;

    /// How it shares a machine that stays with other runs; none where it leaves nothing there and disturbs nobody.
    fn tenancy(&self) -> Option<&dyn Tenancy> {
        None
    }
}

/// Whose tests were begun on a machine, as it is kept with them: whoever follows them makes the runner from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerRecord {
    /// [`Runner::name`].
    pub name: String,
    /// [`Runner::settings`].
    pub settings: serde_json::Value,
}

impl RunnerRecord {
    /// Of this runner.
    pub fn of(runner: &dyn Runner) -> Self {
        Self { name: runner.name().to_owned(), settings: runner.settings() }
    }
}

/// How a runner shares a machine that stays with other runs.
pub trait Tenancy: Send + Sync {
    /// Waits until no other run holds the machine and holds it for this run, for as long as it has a driver or a task. Says on its
    /// output `waits RUN SINCE OWNER` for whom it waits, and `held`. The limit is that of waiting; a driver that gives no
    /// [`Tenancy::sign`] for `silence` counts as gone.
    fn hold(&self, folder: &str, run: &RunId, owner: &str, silence: Duration) -> Stepped;

    /// Shows the machine that the run's driver is there.
    fn sign(&self, folder: &str) -> Command;

    /// Where a later run puts what an earlier one left below [`Layout::root`] before it takes the machine.
    fn put_aside(&self, folder: &str) -> String;

    /// Removes what the runner left.
    fn clean(&self, folder: &str) -> Stepped;
}
