//! What a run waits for at the end of its machines, and which of them end without it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::base::id::MachineId;

/// How a run parts with its machines.
#[derive(Debug, Default)]
pub struct Parting {
    /// How long the run waits for a machine that is told to end; none for as long as it takes.
    patience: Option<Duration>,
    /// The machines that end without the run.
    ending: Mutex<BTreeSet<MachineId>>,
}

impl Parting {
    /// Waits so long for each machine, and leaves the rest to another process.
    pub fn within(patience: Duration) -> Self {
        Self { patience: Some(patience), ending: Mutex::default() }
    }

    /// The machines that end without the run: they were told to, and nobody has seen them gone. The caller has to see to it that somebody
    /// does.
    pub fn ending(&self) -> BTreeSet<MachineId> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the run waits for a machine that is told to end; none for as long as it takes.
    pub fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// Notes that the machine ends without the run.
    pub fn leave(&self, machine: &MachineId) {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).insert(machine.clone());
    }

    /// Notes that no machine ends without the run any more.
    pub fn settle(&self) {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
