//! Running tests on a machine: set it up, begin the tests, follow them, bring their report home, judge.

mod accept;
mod failed_output;
mod finish;
mod job;
mod report;
mod resume;
mod set_up;
pub mod shards;
mod task;
mod verdict;

use std::time::Duration;

use model::base::clock;
use model::base::id::TestName;
use model::build::BuildOrigin;
use model::exit::Exit;
use model::outcome::TestResult;
use model::run::RunFolder;
use model::subject::TestSubject;
use model::task::TaskOutput;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::preparation::SetUpTimes;
use crate::task::begun::BegunTask;

pub use accept::Acceptance;
pub use finish::{Finished, finish};
pub use job::{JobEnd, TestJob, TestTerms, run_job};
pub use resume::{follow, resume};
pub use set_up::{ReadyMachine, begin, set_up};
pub use task::{TestTask, Tested};
pub use verdict::results;

/// Where the output and the outcome of the tests are kept.
pub struct Records<'a> {
    /// The run's folder.
    pub folder: &'a dyn RunFolder,
    /// The output of its task, in that folder.
    pub output: &'a dyn TaskOutput,
    /// Cancelled when the tests are to end; with the run at the latest.
    pub stop: CancellationToken,
    /// Called with each result when it is reported.
    pub watch: &'a (dyn Fn(&TestResult) + Sync),
}

/// The outcome of a run on a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunResult {
    /// Every test, once.
    pub tests: Vec<TestResult>,
    /// How the runner ended.
    pub runner: Exit,
    /// The last lines of a build that failed, as far as they are known.
    #[serde(default)]
    pub said: Option<String>,
    /// The tested source, in words.
    pub source: String,
    /// The tested program, and what it was tested on.
    #[serde(default)]
    pub subject: TestSubject,
    /// The reasons why green means less than it seems, a phrase each.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// The part that is missing in the runner's report; none if it is whole.
    #[serde(default)]
    pub gap: Option<String>,
    /// Where the build of the source came from.
    #[serde(default)]
    pub built: Option<BuildOrigin>,
    /// How long the steps before the runner took.
    #[serde(flatten)]
    pub before: SetUpTimes,
    /// How long the runner took, by the wall clock.
    #[serde(with = "clock::seconds")]
    pub testing: Duration,
}

/// Tests that were begun: everything needed to follow them later, from another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BegunTests {
    /// The task that runs them.
    #[serde(flatten)]
    pub task: BegunTask,
    /// The number of the part that they are of what the machine runs; none where they are all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// The tests that are expected to run.
    pub expected: Vec<TestName>,
    /// The source under test, in words.
    pub source: String,
    /// The program under test, and what it is tested on.
    #[serde(default)]
    pub subject: TestSubject,
    /// Where the build of what is tested came from.
    #[serde(default)]
    pub built: Option<BuildOrigin>,
    /// How long setting the machine up took.
    #[serde(flatten)]
    pub before: SetUpTimes,
}
