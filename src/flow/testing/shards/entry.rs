//! What happened to the queue of a run, entry by entry: from these the queue is made again by another driver.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use model::artifact::CollectedArtifacts;
use model::base::clock;
use model::base::id::{MachineId, TestName};
use model::build::BuildOrigin;
use model::exit::Exit;
use model::machine::ProviderKind;
use model::outcome::{TestOutcome, TestResult};
use model::subject::TestSubject;
use serde::{Deserialize, Serialize};

use crate::testing::shards::record::ShardRecord;

/// How the tests of a run are handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How many times a failed test is tried again, alone and if possible on another machine.
    #[serde(default)]
    pub retries: u32,
    /// How many times each test is run; at least one.
    #[serde(default = "one")]
    pub runs_per_test: u32,
    /// After how many failed tests no further test is begun; none for no limit.
    #[serde(default)]
    pub max_failures: Option<u32>,
    /// The order in which tests are handed out.
    #[serde(default)]
    pub order: TestOrder,
}

impl Default for Policy {
    fn default() -> Self {
        Self { retries: 0, runs_per_test: 1, max_failures: None, order: TestOrder::default() }
    }
}

impl Policy {
    /// The try that counts: where failed tests are tried again the last one that came to a result, else the worst.
    pub fn deciding<'a>(&self, tries: &'a [TestResult]) -> Option<&'a TestResult> {
        match self.retries {
            0 => tries.iter().max_by_key(|result| result.outcome.rank()),
            _ => tries.iter().rfind(|result| result.outcome.is_known()).or_else(|| tries.last()),
        }
    }
}

fn one() -> u32 {
    1
}

/// The order in which tests are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestOrder {
    /// The longest first, by what they took before.
    #[default]
    LongestFirst,
    /// Shuffled, the same way for the same seed.
    Random {
        /// The seed.
        seed: u64,
    },
}

/// The tests of a run and what is tested, fixed before the first test begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The expected tests, in the runner's order.
    pub tests: Vec<TestName>,
    /// What each took before, as far as it is known; seconds.
    pub foreseen: BTreeMap<TestName, f64>,
    /// The tested source, in words.
    pub source: String,
    /// The tested software and the environment.
    pub subject: TestSubject,
    /// Where the build of the source came from.
    pub built: BuildOrigin,
    /// How they are handed out.
    pub policy: Policy,
    /// How many machines were asked for.
    #[serde(default)]
    pub machines: usize,
}

/// A machine that takes tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The machine.
    pub machine: MachineId,
    /// Where it came from.
    pub provider: ProviderKind,
    /// How many tests it runs at once.
    pub jobs: u32,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it answered.
    pub up_at: Timestamp,
    /// How long bringing the source there took.
    #[serde(with = "clock::seconds")]
    pub push: Duration,
    /// How long building it, or bringing a build there, took.
    #[serde(with = "clock::seconds")]
    pub build: Duration,
}

/// The end of a part of the tests on a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartEnd {
    /// How the runner ended.
    pub exit: Exit,
    /// What is missing in its report; none where it is whole.
    pub gap: Option<String>,
    /// The reasons why green means less than it seems.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// How long the runner was at work.
    #[serde(with = "clock::seconds")]
    pub took: Duration,
    /// A result for each test of the part, and for others that it reported.
    pub results: Vec<TestResult>,
    /// Whether it was ended because the machine is taken back: what has no result then is not to blame.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_back: bool,
}

/// The end of handing out tests, whatever still waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// What the tests that wait come to.
    pub outcome: TestOutcome,
    /// Why.
    pub why: String,
    /// The status and the last output of a build that failed, where that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<(Exit, String)>,
}

/// Something happened to the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, by the clock here.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened to the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Happening {
    /// A driver began with it; everything that another one needs to know of what all machines have alike.
    Opened(Box<ShardRecord>),
    /// The tests were fixed.
    Selected(Box<Selection>),
    /// A machine is ready.
    Joined(Joined),
    /// A machine was given tests, before they were begun there.
    Took {
        /// The machine.
        machine: MachineId,
        /// The number of the part among those of the machine, from 1.
        part: u32,
        /// The tests.
        tests: Vec<TestName>,
    },
    /// A part was never begun, and its tests wait again.
    Returned {
        /// The machine.
        machine: MachineId,
        /// The number of the part.
        part: u32,
    },
    /// A part came to an end.
    Ended {
        /// The machine.
        machine: MachineId,
        /// The number of the part.
        part: u32,
        /// How.
        end: Box<PartEnd>,
    },
    /// A machine takes no more tests; those that it had wait again.
    Lost {
        /// The machine.
        machine: MachineId,
        /// Why.
        why: String,
    },
    /// No further test is begun.
    Closed(Closing),
    /// Files were brought home from a machine.
    Fetched {
        /// The machine.
        machine: MachineId,
        /// What came.
        collected: Box<CollectedArtifacts>,
    },
    /// A machine was given back.
    Left {
        /// The machine.
        machine: MachineId,
        /// Its cost in US dollars, where it is known.
        cost: Option<f64>,
    },
}

/// The entries of a run's queue. A line that is torn, or of a kind that this build does not know, is left out.
pub(super) fn entries(lines: &[u8]) -> impl Iterator<Item = Entry> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}
