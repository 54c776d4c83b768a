//! Use cases, written over traits only: no provider, project or protocol is named here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::base::id::RunId;
use crate::model::connection::Connector;
use crate::model::event::{Event, Sink};
use crate::model::journal::Journal;
use crate::model::provider::Provider;

pub mod artifacts;
pub mod audit;
pub mod bake;
pub mod durable;
pub mod fleet;
pub mod hold;
pub mod lease;
pub mod lines;
pub mod parts;
pub mod purge;
pub mod release;
pub mod script;
pub mod shell;
pub mod suite;
pub mod sync;
pub mod timed;

/// Tells the time; an argument, so that a test can say what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Everything a flow works with.
#[derive(Clone)]
pub struct Stage {
    /// Makes machines.
    pub provider: Arc<dyn Provider>,
    /// Reaches them.
    pub connector: Arc<dyn Connector>,
    /// Remembers them.
    pub journal: Arc<dyn Journal>,
    /// Told of what happens.
    pub sink: Arc<dyn Sink>,
    /// Tells the time.
    pub clock: Clock,
    /// Cancelled when the user or the system asks to stop; releasing goes on regardless.
    pub stop: CancellationToken,
    /// Cancelled when the user asks to leave the task running and go.
    pub detach: CancellationToken,
    /// The run that all this belongs to.
    pub run: RunId,
    /// The person it belongs to.
    pub owner: String,
    /// How long a machine lives without a sign of its driver.
    pub grace: Duration,
}

impl Stage {
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
        Step { text, began: std::time::Instant::now() }
    }
}

/// A step that was begun.
#[derive(Debug)]
pub struct Step {
    text: String,
    began: std::time::Instant,
}

impl Step {
    /// Ends the step well; gives its wall clock seconds.
    pub fn done(self, stage: &Stage) -> f64 {
        let seconds = self.began.elapsed().as_secs_f64();
        stage.tell(Event::StepDone { text: self.text, seconds });
        seconds
    }
}

/// `now` plus `span`, or the latest time that can be told.
pub fn later(now: Timestamp, span: Duration) -> Timestamp {
    now.checked_add(span).unwrap_or(Timestamp::MAX)
}
