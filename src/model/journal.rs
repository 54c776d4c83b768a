//! The durable record of resources: a row is written before the call that may create the resource, and closed after the
//! resource was seen gone.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::base::id::{MachineId, ResourceId, RunId};
use crate::fault::Fault;
use crate::machine::{Machine, ProviderKind};
use crate::resource::{PlannedResource, Resource};
use crate::run::RunRecord;

/// A filter for the rows to read.
#[derive(Debug, Clone, Default)]
pub struct ResourceFilter {
    /// Only rows of this run.
    pub run: Option<RunId>,
    /// Only rows of this machine.
    pub machine: Option<MachineId>,
    /// Only rows that are neither gone nor kept nor forgotten.
    pub open: bool,
}

/// The rows of resources. Every method is durable when it returns; two processes may use one journal at the same time.
pub trait ResourceJournal: Send + Sync {
    /// Writes rows, all or none, before anything is made; the ids come back in the same order.
    fn plan(
        &self,
        run: &RunId,
        provider: ProviderKind,
        resources: &[PlannedResource],
        now: Timestamp,
    ) -> Result<Vec<ResourceId>, Fault>;

    /// Records that a resource was seen to exist and is called `locator`.
    fn mark_present(&self, id: &ResourceId, locator: &str) -> Result<(), Fault>;

    /// Records that a resource was seen to exist, is called `locator`, and is meant to outlive its run.
    fn mark_kept(&self, id: &ResourceId, locator: &str) -> Result<(), Fault>;

    /// Records that a resource was seen gone. A second call changes nothing: the first time counts.
    fn mark_gone(&self, id: &ResourceId, at: Timestamp) -> Result<(), Fault>;

    /// Records that a resource is given up although it was not seen gone; `note` says by whom, and why.
    fn mark_forgotten(&self, id: &ResourceId, note: &str) -> Result<(), Fault>;

    /// Records what went wrong with a resource that is still open.
    fn note(&self, id: &ResourceId, note: &str) -> Result<(), Fault>;

    /// Rows, oldest first.
    fn resources(&self, filter: &ResourceFilter) -> Result<Vec<Resource>, Fault>;
}

/// The rows of machines, under the same promises as those of resources.
pub trait MachineJournal: Send + Sync {
    /// Stores a machine so that it can be opened again by id.
    fn store_machine(&self, machine: &Machine) -> Result<(), Fault>;

    /// Forgets a machine whose resources are all gone.
    fn forget_machine(&self, id: &MachineId) -> Result<(), Fault>;

    /// The stored machines, newest first.
    fn machines(&self) -> Result<Vec<Machine>, Fault>;
}

/// The rows of runs, under the same promises as those of resources.
pub trait RunJournal: Send + Sync {
    /// Stores a new run.
    fn store_run(&self, run: &RunRecord) -> Result<(), Fault>;

    /// Replaces what is stored of a run.
    fn update_run(&self, run: &RunRecord) -> Result<(), Fault>;

    /// The runs, newest first, at most `limit`.
    fn runs(&self, limit: usize) -> Result<Vec<RunRecord>, Fault>;

    /// One run by its id.
    fn run(&self, id: &RunId) -> Result<Option<RunRecord>, Fault>;

    /// Removes a run with its rows, all or nothing; a run that is not there is removed already. Fails with a [`Fault`] of kind
    /// usage where a machine of it is stored, or a row of it is neither gone nor forgotten.
    fn forget_run(&self, id: &RunId) -> Result<(), Fault>;
}

/// The whole journal, for code that needs more than one of its parts.
pub trait Journal: ResourceJournal + MachineJournal + RunJournal {}

impl<T: ResourceJournal + MachineJournal + RunJournal> Journal for T {}

/// Whether every row is closed: the resource was seen gone, is kept on purpose, or was given up.
pub fn all_closed(resources: &[Resource]) -> bool {
    !resources.iter().any(Resource::is_open)
}

/// The ids of the runs that made `resources`, each once, oldest run first.
pub fn runs_of(resources: &[Resource]) -> BTreeSet<&RunId> {
    resources.iter().map(|row| &row.run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{ResourceKind, ResourceState};

    #[test]
    fn a_run_of_several_rows_is_one() {
        let row = |run: &str| Resource {
            id: ResourceId::random(),
            run: run.parse().unwrap(),
            machine: MachineId::random(),
            provider: ProviderKind::Local,
            kind: ResourceKind::Rootfs,
            name: "x".into(),
            locator: None,
            state: ResourceState::Planned,
            planned_at: Timestamp::UNIX_EPOCH,
            gone_at: None,
            note: None,
        };
        let [first, second] = ["20261120-110000-aaaaaa", "20261121-110000-aaaaaa"];
        let rows = [row(second), row(first), row(second)];
        assert_eq!(runs_of(&rows).into_iter().map(RunId::as_str).collect::<Vec<_>>(), [first, second]);
        assert!(runs_of(&[]).is_empty());
    }
}
