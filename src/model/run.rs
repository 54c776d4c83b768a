//! One invocation by a user.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::id::{MachineId, RunId};
use crate::fault::{Fault, FaultKind};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its driver is (or was, when killed) at work.
    Running,
    /// Its task goes on by itself on a machine that lives until its expiry, whether or not a driver follows it at present.
    Detached,
    /// It ended and said so.
    Ended,
}

/// The process that drives a run. A process id alone can be another process's tomorrow; with its start time it cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub started: u64,
    /// Boot id of the kernel (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
}

/// What is kept of a run in the journal; its log and results are files in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's id.
    pub id: RunId,
    /// The subcommand, for example `run-tests-linux`.
    pub command: String,
    /// The arguments as given.
    pub arguments: Vec<String>,
    /// Who started it.
    pub owner: String,
    /// The process that drives it.
    pub driver: Driver,
    /// Where it stands.
    pub state: RunState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The exit code it ended with.
    pub exit_code: Option<i32>,
    /// One line on how it ended.
    pub summary: Option<String>,
}

/// How a run ended whose machine ended before somebody followed its tests to their end.
pub const MACHINE_GONE: &str = "its machine ended before its tests were followed to their end";

impl RunRecord {
    /// Whether it ended and said so.
    pub fn has_ended(&self) -> bool {
        self.state == RunState::Ended
    }

    /// The record as it is from `now` on where nobody will follow the run to its end any more: its driver died, or its machine
    /// ended while it was detached.
    #[must_use]
    pub fn lost(self, now: Timestamp) -> Self {
        let summary = if self.state == RunState::Detached { MACHINE_GONE } else { "its driver died" };
        Self {
            state: RunState::Ended,
            ended_at: Some(now),
            exit_code: Some(FaultKind::Infrastructure.exit_code()),
            summary: Some(summary.to_owned()),
            ..self
        }
    }

    /// Whether `flag` is among its own arguments; what follows `--` is for others.
    pub fn was_told(&self, flag: &str) -> bool {
        self.arguments.iter().take_while(|word| *word != "--").any(|word| word == flag)
    }
}

/// A task that was written down in the folder of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTask {
    /// The file, for messages.
    pub path: PathBuf,
    /// What it holds, JSON.
    pub text: Vec<u8>,
}

/// The folder of a run on this computer, as far as flows know it: what it takes to go on with a run from another process. Files are
/// written whole or not at all.
pub trait RunFolder: Send + Sync {
    /// Where it is.
    fn path(&self) -> &Path;

    /// Writes down all that it takes to follow the task on a machine, before that is started.
    fn keep_task(&self, machine: &MachineId, text: &[u8]) -> Result<(), Fault>;

    /// The tasks that were written down, by their machines' ids; none where none was begun.
    fn tasks(&self) -> Result<Vec<KeptTask>, Fault>;

    /// Writes down what the tests came to, before their machine is released.
    fn keep_tested(&self, text: &[u8]) -> Result<(), Fault>;

    /// What the tests came to; none where nobody has written it down yet.
    fn tested(&self) -> Result<Option<Vec<u8>>, Fault>;

    /// The end of the tasks' output, at most so many bytes.
    fn last_output(&self, bytes: u64) -> Result<Vec<u8>, Fault>;
}
