//! How code tells of its work: with the time, and of what it works on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::base::clock::Clock;
use crate::base::id::MachineId;
use crate::event::{Event, Kind, MachineEvent, NoSink, Sink, StepEvent, Subject};
use crate::work::{Moved, Work};

/// Makes events of kinds: puts the time and a subject to them and gives them to a sink. Cheap to clone.
#[derive(Clone)]
pub struct Teller {
    sink: Arc<dyn Sink>,
    clock: Clock,
    subject: Option<Subject>,
}

impl Teller {
    /// One that tells `sink`, about nothing in particular.
    pub fn new(sink: Arc<dyn Sink>, clock: Clock) -> Self {
        Self { sink, clock, subject: None }
    }

    /// One that nobody hears.
    pub fn silent() -> Self {
        Self::new(Arc::new(NoSink), Arc::new(|| Timestamp::UNIX_EPOCH))
    }

    /// The same about something else.
    #[must_use]
    pub fn about(&self, subject: Subject) -> Self {
        Self { subject: Some(subject), ..self.clone() }
    }

    /// The time, by the clock of the events.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Tells what happened to the subject.
    pub fn tell(&self, kind: impl Into<Kind>) {
        let event = Event { at: self.now(), subject: self.subject.clone(), kind: kind.into() };
        self.sink.event(event);
    }

    /// Tells what happened to a machine.
    pub fn machine(&self, id: &MachineId, event: MachineEvent) {
        self.about(Subject::Machine(id.clone())).tell(Kind::Machine(event));
    }

    /// Begins a step. Its end is told by [`Step::done`]; one that is dropped before has stopped.
    pub fn begin(&self, work: Work) -> Step {
        self.tell(StepEvent::Began { work: work.clone() });
        Step { work: Some(work), began: Instant::now(), teller: self.clone() }
    }
}

/// A step that was begun. How long it takes is measured, whatever becomes of the clock meanwhile.
#[must_use = "a step that is dropped at once has stopped"]
pub struct Step {
    /// None once its end was told.
    work: Option<Work>,
    began: Instant,
    teller: Teller,
}

impl Step {
    /// Ends the step well; gives how long it took.
    pub fn done(self) -> Duration {
        self.end(None)
    }

    /// The same, with what was moved.
    pub fn done_with(self, moved: Moved) -> Duration {
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
