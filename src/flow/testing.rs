//! Running tests on a machine: set it up, begin the tests, follow them, bring their report home, judge.

pub mod build;
mod detail;
mod finish;
pub mod hold;
mod job;
mod output;
mod report;
mod resume;
mod set_up;
mod task;
mod verdict;

use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::{MachineId, TaskId, TestName};
use model::build::BuildOrigin;
use model::exit::Exit;
use model::machine::Platform;
use model::outcome::TestResult;
use model::runner::Runner;
use model::subject::TestSubject;
use model::task::{Offsets, StepCommand};
use model::work::Work;
use serde::{Deserialize, Serialize};

use crate::run::Run;

pub use finish::{Finished, finish};
pub use job::{JobEnd, OnceBegun, TestJob, run_job};
pub use resume::{Records, follow, resume};
pub use set_up::{ReadyMachine, begin, set_up};
pub use task::{TestTask, Tested};
pub use verdict::results;

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

/// How long making a machine ready for tests took, by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetUpTimes {
    /// All steps together.
    #[serde(with = "clock::seconds")]
    pub setup: Duration,
    /// Of that, bringing the source there.
    #[serde(default, with = "clock::seconds")]
    pub push: Duration,
    /// Of that, building it.
    #[serde(default, with = "clock::seconds")]
    pub build: Duration,
}

/// The folder for the scripts of this run on a machine of this kind.
pub fn folder(run: &Run, platform: Platform) -> String {
    guest::of(platform).run_folder(&run.id)
}

/// How long removing a run's files from a machine may take.
const CLEANING_LIMIT: Duration = Duration::from_secs(120);

/// The step that removes what a run left on a machine that stays, with its folder: what the runner made outside of the
/// folder goes first.
pub fn cleaning(runner: &dyn Runner, platform: Platform, folder: &str) -> StepCommand {
    match runner.tenancy() {
        Some(tenancy) => tenancy.clean(folder),
        None => {
            let command = guest::of(platform).remove_run(folder, None);
            StepCommand { work: Work::RemovingFiles, command, limit: CLEANING_LIMIT }
        }
    }
}

/// Tests that were begun: everything needed to follow them later, from another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BegunTests {
    /// The machine.
    pub machine: MachineId,
    /// The task on it.
    pub task: TaskId,
    /// The folder on the machine of the task and its supervisor.
    pub folder: String,
    /// The tests that are expected to run.
    pub expected: Vec<TestName>,
    /// The source under test, in words.
    pub source: String,
    /// The program under test, and what it is tested on.
    #[serde(default)]
    pub subject: TestSubject,
    /// When they were begun, by the clock here.
    pub began_at: Timestamp,
    /// How long they may take from then.
    #[serde(with = "clock::seconds")]
    pub limit: Duration,
    /// Where the build of what is tested came from.
    #[serde(default)]
    pub built: Option<BuildOrigin>,
    /// How long setting the machine up took.
    #[serde(flatten)]
    pub before: SetUpTimes,
    /// How much of each stream the run's log held before the tests; nothing, unless the caller that keeps this sets it.
    pub log_base: Offsets,
}
