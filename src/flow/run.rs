//! The run that a flow works for: what it is told by, told to, and stopped by. It knows no provider: that is the site's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::base::id::{ResourceId, RunId};
use crate::model::event::{Event, Sink};
use crate::model::fault::Fault;
use crate::model::journal::Journal;
use crate::model::machine::ProviderKind;
use crate::model::provider::Ledger;
use crate::model::resource::PlannedResource;

/// Tells the time; an argument, so that a test can say what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One run, as far as flows know it. Clones are the same run.
#[derive(Clone)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The person it belongs to.
    pub owner: String,
    /// Remembers what is made for it.
    pub journal: Arc<dyn Journal>,
    /// Told of what happens.
    pub sink: Arc<dyn Sink>,
    /// Tells the time.
    pub clock: Clock,
    /// Cancelled when the user or the system asks to stop; releasing goes on regardless.
    pub stop: CancellationToken,
    /// Cancelled when the user asks to leave the task running and go.
    pub detach: CancellationToken,
}

impl Run {
    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Tells the sink.
    pub fn tell(&self, event: Event) {
        self.sink.event(event);
    }

    /// Begins a step; its end is told by [`Step::done`].
    pub fn step(&self, text: impl Into<String>) -> Step {
        let text = text.into();
        self.tell(Event::Step(text.clone()));
        Step { text, began: Instant::now() }
    }

    /// Where a provider of this kind writes down what it makes for this run beside a machine.
    pub fn ledger(&self, kind: ProviderKind) -> impl Ledger + use<'_> {
        RunLedger { run: self, kind }
    }
}

/// Rows of one run at one provider.
struct RunLedger<'a> {
    run: &'a Run,
    kind: ProviderKind,
}

impl Ledger for RunLedger<'_> {
    fn plan(&self, resource: &PlannedResource) -> Result<ResourceId, Fault> {
        let run = self.run;
        let ids = run.journal.plan(&run.id, self.kind, std::slice::from_ref(resource), run.now())?;
        ids.into_iter().next().ok_or_else(|| Fault::infrastructure("the journal gave no row"))
    }

    fn kept(&self, id: &ResourceId, locator: &str) -> Result<(), Fault> {
        self.run.journal.kept(id, locator)
    }
}

/// A step that was begun.
#[derive(Debug)]
pub struct Step {
    text: String,
    began: Instant,
}

impl Step {
    /// Ends the step well; gives its wall clock seconds.
    pub fn done(self, run: &Run) -> f64 {
        let seconds = self.began.elapsed().as_secs_f64();
        run.tell(Event::StepDone { text: self.text, seconds });
        seconds
    }
}

/// `now` plus `span`, or the latest time that can be told.
pub fn later(now: Timestamp, span: Duration) -> Timestamp {
    now.checked_add(span).unwrap_or(Timestamp::MAX)
}
