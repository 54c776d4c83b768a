//! A test suite that runs on a machine: the seam between flows and a project.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::base::id::RunId;
use crate::model::build::{Build, Built};
use crate::model::check::Check;
use crate::model::event::Teller;
use crate::model::exit::Exit;
use crate::model::fault::Fault;
use crate::model::machine::Machine;
use crate::model::outcome::TestResult;
use crate::model::subject::Subject;
use crate::model::task::{Command, Stepped};

/// A file that the suite needs beside its scripts on the machine.
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
    pub expected: Vec<String>,
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
}

/// One of the things that bring the source to a machine and make it ready for the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A command, which must succeed.
    Step(Box<Stepped>),
    /// A build of what is tested.
    Build(Box<Build>),
}

/// What a suite does on a machine, as data; the flow does it. Paths of parts are `folder/NAME`.
#[async_trait]
pub trait Suite: Send + Sync {
    /// The files it needs on the machine.
    fn parts(&self) -> Vec<Part>;

    /// Makes the work folder.
    fn prepare(&self, folder: &str, machine: &Machine) -> Stepped;

    /// What it means that preparing ended like this.
    fn refused(&self, exit: &Exit, stderr: &str) -> Fault;

    /// A file on the machine that says what the image was baked with; none is no error.
    fn baked_file(&self) -> &'static str;

    /// Brings the source to the machine: by a process on this computer through `machine` (written to `target` for the
    /// tool's own `ssh`), then by what it gives back, in order. Nothing to do gives none.
    async fn synchronise(&self, folder: &str, target: &Path, teller: &Teller) -> Result<Vec<Job>, Fault>;

    /// Where the build of what is tested comes from when none was made as a [`Job`]; `baked` is the content of
    /// [`Suite::baked_file`].
    fn built(&self, baked: Option<&[u8]>) -> Built;

    /// What is tested, in words; `baked` is the content of [`Suite::baked_file`].
    fn source(&self, baked: Option<&[u8]>) -> String;

    /// What is tested and on what; `told` is what [`Suite::list`] wrote to standard error.
    fn subject(&self, baked: Option<&[u8]>, told: &str) -> Subject;

    /// Says why the tests asked for cannot be run, given what the machine's tree holds; `listed` is what
    /// [`Suite::list`] printed.
    fn judge_listing(&self, exit: &Exit, listed: &[u8], stderr: &str) -> Result<Vec<String>, Fault>;

    /// Prints the tests that would run, and on standard error what it says of the machine.
    fn list(&self, folder: &str, baked: Option<&[u8]>) -> Stepped;

    /// Runs the tests.
    fn run(&self, folder: &str, baked: Option<&[u8]>) -> Stepped;

    /// The file on the machine in which the runner reports while it runs.
    fn report_file(&self) -> &'static str;

    /// Something that reads that file.
    fn report_reader(&self) -> Box<dyn ReportReader>;

    /// The folder on the machine that relative patterns for artifacts begin at.
    fn artifact_root(&self) -> &'static str {
        "/"
    }

    /// The file on the machine that holds the output of a failed test.
    fn detail_file(&self, test: &str) -> Option<String>;

    /// Waits until no other run holds a machine that stays and holds it for this run, for as long as it has a driver or a task. Says on
    /// its output `waits RUN SINCE OWNER` for whom it waits, and `held`. The limit is that of waiting; a driver that gives no
    /// [`Suite::sign`] for `silence` counts as gone. None where a machine need not be held.
    fn hold(&self, _folder: &str, _run: &RunId, _owner: &str, _silence: Duration) -> Option<Stepped> {
        None
    }

    /// Shows the machine that the run's driver is there.
    fn sign(&self, _folder: &str) -> Option<Command> {
        None
    }

    /// Where a later run puts what an earlier one left below [`Suite::artifact_root`] before it takes the machine.
    fn put_aside(&self, folder: &str) -> String {
        folder.to_owned()
    }

    /// Removes what the suite left on a machine that stays.
    fn clean(&self, folder: &str) -> Stepped;

    /// Prints one line a clause of the machine contract.
    fn check(&self, folder: &str) -> Stepped;

    /// Reads what [`Suite::check`] printed.
    fn read_checks(&self, printed: &[u8]) -> Result<Vec<Check>, Fault>;
}
