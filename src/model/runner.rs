//! Test runners: the interface between flows and a project's tests.
//!
//! A runner describes, as data, how to list the tests on a prepared machine, run all or some of them, and it reads its own
//! report. The flow does all that over connections that may break.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::id::TestName;
use crate::build::BuildOrigin;
use crate::fault::Fault;
use crate::outcome::TestResult;
use crate::output::Output;
use crate::preparation::Preparation;
use crate::subject::TestSubject;
use crate::task::StepCommand;

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
    /// The tests that it began and gave no result of, each with the time if it is known; whether it began any is
    /// [`RunnerReport::began`].
    pub unfinished: BTreeMap<TestName, Option<Timestamp>>,
    /// Whether the runner began its first test.
    pub began: bool,
    /// Whether the runner reported its own end.
    pub complete: bool,
    /// Whether it may hold results of tests that were not asked for, which its runner needs to run those that were: they are left out.
    pub extras: bool,
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

    /// What was reported since this was last asked, in order. It is for those who watch: a report without end is not told to its end.
    fn news(&mut self) -> Vec<TestNews>;

    /// The tests that have ended so far.
    fn ended(&self) -> BTreeSet<TestName>;

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
}

/// A part of the listed tests, for one start of the runner.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its number among the parts that a machine runs, from 1: each has a report of its own.
    pub number: u32,
    /// The tests; at least one.
    pub tests: &'a [TestName],
    /// How many of them to run at once, unless the user's flags say so.
    pub jobs: u32,
}

/// What a report says of one test while the runner is at work.
#[derive(Debug, Clone, PartialEq)]
pub enum TestNews {
    /// It began.
    Began(TestName),
    /// It came to an end.
    Ended(Box<TestResult>),
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
    /// Where the build of the source comes from when none was made as a [`Job`](crate::preparation::Job).
    pub built: BuildOrigin,
}

/// The adapter to a test runner, for one source and the user's flags, beyond its [`Preparation`]. Paths of its files are `folder/NAME`; `baked` is the
/// content of the file [`Layout::baked`], none where there is no such file.
pub trait Runner: Preparation {
    /// Its name, by which a run's folder identifies the runner of its tests; it must never change.
    fn name(&self) -> &str;

    /// The settings, as JSON, from which another process can make the same runner; see [`RunnerRecord`].
    fn settings(&self) -> serde_json::Value;

    /// The paths of its files.
    fn layout(&self) -> Layout;

    /// The step that prints the tests that would run under the user's flags. Where it does more than that, its work says so.
    fn list(&self, folder: &str, baked: Option<&[u8]>) -> StepCommand;

    /// Reads what [`Runner::list`] printed, or says why the requested tests cannot be run.
    fn read_list(&self, baked: Option<&[u8]>, done: &Output) -> Result<TestListing, Fault>;

    /// The step that runs all listed tests, or a part of them.
    fn run(&self, folder: &str, baked: Option<&[u8]>, part: Option<Part<'_>>) -> StepCommand;

    /// How many tests it runs at once by the user's flags; none where they leave that to the machine.
    fn jobs(&self) -> Option<u32>;

    /// The file on the machine in which the runner reports while it runs all tests, or the part of this number.
    fn report_file(&self, part: Option<u32>) -> String;

    /// A reader of that file.
    fn read_report(&self, part: Option<u32>) -> Box<dyn ReportReader>;
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
