//! The run that a flow works for: who it is for, where it is recorded, where events go, and how it is stopped. It knows
//! no provider; the site does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::event::{EventKind, Subject, Teller};
use model::fault::Fault;
use model::journal::{Journal, ResourceJournal};
use model::machine::ProviderKind;
use model::matrix::Point;
use model::provider::Ledger;
use model::resource::PlannedResource;
use tokio_util::sync::CancellationToken;

use crate::parting::Parting;
use crate::preparation::turns::Turns;

/// One run, as far as flows know it. Clones are the same run.
#[derive(Clone)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The person it belongs to.
    pub owner: String,
    /// Remembers what is made for it.
    pub journal: Arc<dyn Journal>,
    /// Reports what happens, and knows the time.
    pub teller: Teller,
    /// Cancelled when the user or the system asks to stop; releasing goes on regardless.
    pub stop: CancellationToken,
    /// Cancelled when the user asks to leave the task running and go.
    pub detach: CancellationToken,
    /// Whose turn it is to make a build that several of its machines need.
    pub turns: Turns,
    /// How it parts with its machines.
    pub parting: Arc<Parting>,
}

impl Run {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.teller.now()
    }

    /// The same run, whose events are about `subject` from here on.
    #[must_use]
    pub fn about(&self, subject: Subject) -> Self {
        Self { teller: self.teller.about(subject), ..self.clone() }
    }

    /// The same run, for what happens in the cell of this point.
    #[must_use]
    pub fn in_cell(&self, point: &Point) -> Self {
        Self { teller: self.teller.in_cell(point.name()), ..self.clone() }
    }

    /// The same run, whose events are about a machine.
    #[must_use]
    pub fn on(&self, machine: &MachineId) -> Self {
        self.about(Subject::Machine(machine.clone()))
    }

    /// Reports an event.
    pub fn tell(&self, kind: impl Into<EventKind>) {
        self.teller.tell(kind);
    }

    /// The ledger in which a provider of this kind writes down what it makes for this run beside a machine.
    pub fn ledger(&self, kind: ProviderKind) -> impl Ledger + use<'_> {
        RunLedger { run: &self.id, journal: self.journal.as_ref(), teller: &self.teller, kind }
    }
}

/// Rows of one run at one provider.
struct RunLedger<'a> {
    run: &'a RunId,
    journal: &'a dyn ResourceJournal,
    teller: &'a Teller,
    kind: ProviderKind,
}

impl Ledger for RunLedger<'_> {
    fn plan(&self, resource: &PlannedResource) -> Result<ResourceId, Fault> {
        let ids = self.journal.plan(self.run, self.kind, std::slice::from_ref(resource), self.teller.now())?;
        ids.into_iter().next().ok_or_else(|| Fault::infrastructure("the journal gave no row"))
    }

    fn mark_kept(&self, id: &ResourceId, locator: &str) -> Result<(), Fault> {
        self.journal.mark_kept(id, locator)
    }
}

/// `now` plus `span`, or the latest time that can be expressed.
pub fn saturating_add(now: Timestamp, span: Duration) -> Timestamp {
    now.checked_add(span).unwrap_or(Timestamp::MAX)
}
