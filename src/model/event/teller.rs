//! How code reports its work as events, with the time and the subject.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::base::clock::Clock;
use crate::base::id::MachineId;
use crate::event::{Event, EventKind, MachineEvent, NoSink, Sink, StepEvent, Subject};
use crate::work::{Moved, Work};

/// Reports events: adds the time and a subject to a kind and gives the event to a sink. Cheap to clone.
#[derive(Clone)]
pub struct Teller {
    sink: Arc<dyn Sink>,
    clock: Clock,
    subject: Option<Subject>,
    cell: Option<String>,
}

impl Teller {
    /// A teller that reports to `sink`, without a subject.
    pub fn new(sink: Arc<dyn Sink>, clock: Clock) -> Self {
        Self { sink, clock, subject: None, cell: None }
    }

    /// A teller whose events go nowhere.
    pub fn silent() -> Self {
        Self::new(Arc::new(NoSink), Arc::new(|| Timestamp::UNIX_EPOCH))
    }

    /// The same teller with another subject.
    #[must_use]
    pub fn about(&self, subject: Subject) -> Self {
        Self { subject: Some(subject), ..self.clone() }
    }

    /// The same teller for what happens in one cell of a matrix; without a name it is the run as before.
    #[must_use]
    pub fn in_cell(&self, name: Option<String>) -> Self {
        Self { cell: name.or_else(|| self.cell.clone()), ..self.clone() }
    }

    /// The time, by the clock of the events.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Reports what happened to the subject.
    pub fn tell(&self, kind: impl Into<EventKind>) {
        let event = Event { at: self.now(), subject: self.subject.clone(), cell: self.cell.clone(), kind: kind.into() };
        self.sink.event(event);
    }

    /// Reports what happened to a machine.
    pub fn machine(&self, id: &MachineId, event: MachineEvent) {
        self.about(Subject::Machine(id.clone())).tell(EventKind::Machine(event));
    }

    /// Begins a step. [`Step::finish`] reports its success; a step that is dropped before is reported as stopped.
    pub fn begin(&self, work: Work) -> Step {
        self.tell(StepEvent::Began { work: work.clone() });
        Step { work: Some(work), began: Instant::now(), teller: self.clone() }
    }
}

/// A step that was begun. Its duration is measured by a monotonic clock, so changes of the system's time do not matter.
#[must_use = "a step that is dropped at once has stopped"]
pub struct Step {
    /// The work; none once its end was reported.
    work: Option<Work>,
    began: Instant,
    teller: Teller,
}

impl Step {
    /// Ends the step with success; gives how long it took.
    pub fn finish(self) -> Duration {
        self.end(None)
    }

    /// Ends the step with success and the numbers of what it moved; gives how long it took.
    pub fn finish_with(self, moved: Moved) -> Duration {
        self.end(Some(moved))
    }

    fn end(mut self, moved: Option<Moved>) -> Duration {
        let took = self.began.elapsed();
        if let Some(work) = self.work.take() {
            self.teller.tell(StepEvent::Ended { work, took, moved });
        }
        took
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.teller.tell(StepEvent::Stopped { work, took: self.began.elapsed() });
        }
    }
}
