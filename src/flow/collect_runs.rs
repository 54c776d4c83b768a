//! Collecting old runs: their folders, and their closed rows in the journal.

use jiff::Timestamp;
use model::base::id::RunId;
use model::fault::{Fault, FaultKind};
use model::journal::Journal;
use model::retention::{PastRun, Retention, RunFate, plan};
use model::run::{RunRemoval, RunStore};

/// A run that the rule does not keep.
#[derive(Debug)]
pub struct CollectedRun {
    /// The run.
    pub run: PastRun,
    /// The size of its folder, bytes.
    pub bytes: u64,
    /// What became of it.
    pub fate: RunFate,
}

/// What the rule does not keep of `runs`, newest first; nothing is removed.
pub fn planned(store: &dyn RunStore, runs: &[PastRun], now: Timestamp, rule: &Retention) -> Vec<CollectedRun> {
    let collected = |(at, fate): (usize, RunFate)| {
        let run = runs.get(at)?.clone();
        Some(CollectedRun { bytes: store.size(&run.record.id), run, fate })
    };
    plan(runs, now, rule).into_iter().filter_map(collected).collect()
}

/// Removes those of `collected` that go, and notes what became of each. Gives the first fault that left something behind; it
/// did not stop the rest.
pub fn remove(store: &dyn RunStore, journal: &dyn Journal, collected: &mut [CollectedRun]) -> Option<Fault> {
    let mut left = None;
    for one in collected.iter_mut().filter(|one| one.fate == RunFate::Goes) {
        let id = &one.run.record.id;
        let stays = match store.remove(id, &|| journal.forget_run(id)) {
            Ok(RunRemoval::Gone) => continue,
            Ok(RunRemoval::Busy) => "another process follows it, or removes it".to_owned(),
            Err(fault) => {
                let line = fault.line();
                // Of a run that got a machine or a resource meanwhile nothing was removed.
                left = left.or(Some(fault).filter(|fault| fault.kind != FaultKind::Usage));
                line
            }
        };
        one.fate = RunFate::Stays(stays);
    }
    left
}

/// Finishes what removals that were cut off have left: a run that the journal still has gets its folder back, the rest goes.
/// Gives how many folders went.
pub fn tidy(store: &dyn RunStore, journal: &dyn Journal) -> Result<usize, Fault> {
    store.tidy(&|id: &RunId| Ok(journal.run(id)?.is_some()))
}
