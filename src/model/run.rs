//! Runs: invocations of the tool by a user.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::id::{MachineId, RunId};
use crate::fault::{Fault, FaultKind};
use crate::machine::Machine;
use crate::task::TaskOutput;

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its driver is (or was, when killed) at work.
    Running,
    /// Its task goes on by itself on a machine that lives until its expiry, whether or not a driver follows it at
    /// present.
    Detached,
    /// It has come to its end, with its exit code; the end of its machines is seen to by the process that drives it now, or was
    /// when that was killed.
    Releasing,
    /// It ended, and its end was recorded.
    Ended,
}

/// The process that drives a run. The start time and the boot identify it, because process ids are reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub started: u64,
    /// Boot id of the kernel (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
}

/// The journal's record of a run; the log and results of the run are files in its folder.
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
    /// Its state.
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

/// The summary of a run whose machine ended before its tests were followed to their end.
pub const MACHINE_GONE: &str = "its machine ended before its tests were followed to their end";

impl RunRecord {
    /// Whether it has come to its end, and its exit code was recorded; its machines may be ending still.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, RunState::Releasing | RunState::Ended)
    }

    /// Whether a process is at work for the run now, be it on its task or on the end of its machines.
    pub fn is_driven(&self, is_alive: impl FnOnce(&Driver) -> bool) -> bool {
        self.state != RunState::Ended && is_alive(&self.driver)
    }

    /// Whether nobody sees to the end of the run's machines any more.
    pub fn is_release_cut_off(&self, is_alive: impl FnOnce(&Driver) -> bool) -> bool {
        self.state == RunState::Releasing && !is_alive(&self.driver)
    }

    /// The record of a run once all is seen to of the end of its machines.
    #[must_use]
    pub fn into_released(self) -> Self {
        Self { state: RunState::Ended, ..self }
    }

    /// Whether the run's work goes on: somebody drives it, or its tests were left to its `machine`, which has not expired at `now`.
    pub fn is_running(
        &self,
        is_alive: impl FnOnce(&Driver) -> bool,
        machine: Option<&Machine>,
        now: Timestamp,
    ) -> bool {
        let is_left = self.state == RunState::Detached;
        !self.has_ended() && is_alive(&self.driver)
            || is_left && machine.is_some_and(|machine| machine.expires_at > now)
    }

    /// The record of a run that nobody can follow to its end any more, closed at `now`: its driver died, or its machine
    /// ended while it was detached.
    #[must_use]
    pub fn into_lost(self, now: Timestamp) -> Self {
        let why = if self.state == RunState::Detached { MACHINE_GONE } else { "its driver died" };
        self.into_lost_because(now, why)
    }

    /// The same, where the reason is known.
    #[must_use]
    pub fn into_lost_because(self, now: Timestamp, why: &str) -> Self {
        Self {
            state: RunState::Ended,
            ended_at: Some(now),
            exit_code: Some(FaultKind::Infrastructure.exit_code()),
            summary: Some(why.to_owned()),
            ..self
        }
    }

    /// Whether `flag` is among the tool's own arguments; those after `--` are for other programs.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.arguments.iter().take_while(|word| *word != "--").any(|word| word == flag)
    }
}

/// The record of a task in the folder of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTask {
    /// The file, for messages.
    pub path: PathBuf,
    /// Its content, JSON.
    pub text: Vec<u8>,
}

/// The folder of a run on this computer, as flows see it: the data that another process needs to continue the run.
/// Files are written whole or not at all.
pub trait RunFolder: Send + Sync {
    /// Its path.
    fn path(&self) -> &Path;

    /// Writes the file that tells our own program, which others start in place of `ssh`, how to reach `machine`; gives
    /// its path.
    fn write_target(&self, machine: &Machine) -> Result<PathBuf, Fault>;

    /// Stores the data that is needed to follow the task on a machine, before the task is started.
    fn keep_task(&self, machine: &MachineId, text: &[u8]) -> Result<(), Fault>;

    /// The stored tasks, by their machines' ids; empty where no task was begun.
    fn tasks(&self) -> Result<Vec<KeptTask>, Fault>;

    /// Adds a line to what happened to the queue of the run's tests, on the disk before this returns.
    fn append_queue(&self, line: &[u8]) -> Result<(), Fault>;

    /// The lines of the queue, as far as they are whole; none where the run has no queue.
    fn queue(&self) -> Result<Option<Vec<u8>>, Fault>;

    /// The place for the output of one machine, where several are at work for the run.
    fn machine_output(&self, machine: &MachineId) -> Result<Box<dyn TaskOutput>, Fault>;

    /// Stores the outcome of the tests, or of a user's command, before the machine is released.
    fn store_outcome(&self, text: &[u8]) -> Result<(), Fault>;

    /// The stored outcome; none where there is none yet.
    fn outcome(&self) -> Result<Option<Vec<u8>>, Fault>;

    /// The last part of the tasks' output, at most `bytes` long.
    fn last_output(&self, bytes: u64) -> Result<Vec<u8>, Fault>;
}

/// What became of the removal of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunRemoval {
    /// The run and its folder are gone.
    Gone,
    /// Another process drives, follows or removes it; nothing was removed.
    Busy,
}

/// The folders of runs, for the removal of old ones. Several processes may remove at once.
pub trait RunStore: Send + Sync {
    /// The size of a run's folder, bytes; nothing where there is none.
    fn size(&self, run: &RunId) -> u64;

    /// Removes the folder of a run, if there is one. Before anything in it goes, `forget` removes the run from the journal; if
    /// that fails, the folder stays.
    fn remove(&self, run: &RunId, forget: &dyn Fn() -> Result<(), Fault>) -> Result<RunRemoval, Fault>;

    /// Finishes removals that were cut off; `is_known` says whether the journal still has a run, which keeps its folder then.
    /// Gives how many folders went.
    fn tidy(&self, is_known: &dyn Fn(&RunId) -> Result<bool, Fault>) -> Result<usize, Fault>;
}
