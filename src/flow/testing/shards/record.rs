//! What the run's folder holds of each machine that takes tests from a queue.

use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::MachineId;
use model::fault::Fault;
use model::mute::Mute;
use model::run::RunFolder;
use model::runner::RunnerRecord;
use serde::{Deserialize, Serialize};

use crate::testing::BegunTests;
use crate::transfer::artifacts::Fetch;

/// Everything that a later driver needs to know of a run whose tests are handed out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// The runner of the tests.
    pub runner: RunnerRecord,
    /// The image that the machines were booted from, in words.
    pub image: String,
    /// How long making images took.
    #[serde(with = "clock::seconds")]
    pub baking: Duration,
    /// The files to fetch after the tests.
    pub fetch: Fetch,
    /// Whether a run in which every test was skipped is green.
    pub allow_all_skipped: bool,
    /// How long a machine is kept on which a test failed; none for not at all.
    #[serde(default, with = "clock::optional_seconds")]
    pub keep_failed: Option<Duration>,
    /// The mutes that held when the run began.
    #[serde(default)]
    pub mutes: Vec<Mute>,
    /// When no test is to be at work any more.
    pub until: Timestamp,
}

/// The parts that a machine has begun and that were not seen to end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardTask {
    /// What all machines have alike.
    pub record: ShardRecord,
    /// The parts, in the order in which they run.
    pub parts: Vec<BegunTests>,
}

impl ShardTask {
    /// Writes it into the folder of the run.
    pub fn keep(&self, folder: &dyn RunFolder, machine: &MachineId) -> Result<(), Fault> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Fault::infrastructure("cannot write JSON").because(error))?;
        folder.keep_task(machine, &text)
    }

    /// Whether it is of this machine.
    pub fn is_on(&self, machine: &MachineId) -> bool {
        self.parts.iter().any(|part| part.task.machine == *machine)
    }

    /// Those of a run, one a machine.
    pub fn read(folder: &dyn RunFolder) -> Result<Vec<Self>, Fault> {
        let read = |task: model::run::KeptTask| {
            serde_json::from_slice(&task.text)
                .map_err(|error| Fault::outside(format!("`{}` is damaged", task.path.display())).because(error))
        };
        folder.tasks()?.into_iter().map(read).collect()
    }
}
