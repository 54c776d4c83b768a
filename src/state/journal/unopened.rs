//! The stand-in for a journal that cannot be opened because its disk is full: commands that end things or only look do
//! without one, as far as they can.

use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::fault::Fault;
use model::journal::{MachineJournal, ResourceFilter, ResourceJournal, RunJournal};
use model::machine::{Machine, ProviderKind};
use model::resource::{PlannedResource, Resource};
use model::run::RunRecord;

/// Answers every request with the reason why the journal could not be opened.
#[derive(Debug)]
pub struct Unopened {
    why: String,
    hint: String,
}

impl Unopened {
    /// Stands in for a journal that could not be opened because of `fault`.
    pub fn new(fault: &Fault) -> Self {
        // A disk with a few blocks left may still have no room for the name of another file, which is all that SQLite wants then.
        let hint = "There is no room on this disk for the files that the journal needs. Remove one of your own from it (`df -i` says \
                    whether it holds too many files), then try again; `automation image gc` works meanwhile.";
        Self { why: fault.line(), hint: hint.to_owned() }
    }

    fn fault<T>(&self) -> Result<T, Fault> {
        Err(Fault::outside(self.why.clone()).hint(self.hint.clone()))
    }
}

impl ResourceJournal for Unopened {
    fn plan(&self, _: &RunId, _: ProviderKind, _: &[PlannedResource], _: Timestamp) -> Result<Vec<ResourceId>, Fault> {
        self.fault()
    }

    fn mark_present(&self, _: &ResourceId, _: &str) -> Result<(), Fault> {
        self.fault()
    }

    fn mark_kept(&self, _: &ResourceId, _: &str) -> Result<(), Fault> {
        self.fault()
    }

    fn mark_gone(&self, _: &ResourceId, _: Timestamp) -> Result<(), Fault> {
        self.fault()
    }

    fn mark_forgotten(&self, _: &ResourceId, _: &str) -> Result<(), Fault> {
        self.fault()
    }

    fn note(&self, _: &ResourceId, _: &str) -> Result<(), Fault> {
        self.fault()
    }

    fn resources(&self, _: &ResourceFilter) -> Result<Vec<Resource>, Fault> {
        self.fault()
    }
}

impl MachineJournal for Unopened {
    fn store_machine(&self, _: &Machine) -> Result<(), Fault> {
        self.fault()
    }

    fn forget_machine(&self, _: &MachineId) -> Result<(), Fault> {
        self.fault()
    }

    fn machines(&self) -> Result<Vec<Machine>, Fault> {
        self.fault()
    }
}

impl RunJournal for Unopened {
    fn store_run(&self, _: &RunRecord) -> Result<(), Fault> {
        self.fault()
    }

    fn update_run(&self, _: &RunRecord) -> Result<(), Fault> {
        self.fault()
    }

    fn runs(&self, _: usize) -> Result<Vec<RunRecord>, Fault> {
        self.fault()
    }

    fn run(&self, _: &RunId) -> Result<Option<RunRecord>, Fault> {
        self.fault()
    }

    fn forget_run(&self, _: &RunId) -> Result<(), Fault> {
        self.fault()
    }
}
