//! What flows tell of their work; one sink in `ui` draws it, another keeps it in the run's log.

use crate::model::task::Chunk;

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A step began; it stays on the screen until the next step or its end.
    Step(String),
    /// How many seconds the step that began last took the last time; told where that is known.
    Expected(u64),
    /// The step that began last ended well after this many seconds.
    StepDone {
        /// What was done.
        text: String,
        /// Wall clock seconds.
        seconds: f64,
    },
    /// A line of a long step's own output, shown below the step and kept in the log.
    Detail(String),
    /// Bytes moved so far of `total` (when known) in the present step.
    Bytes {
        /// Moved so far.
        done: u64,
        /// All of them, when known.
        total: Option<u64>,
    },
    /// Output of the user's own task, to be shown as it comes.
    Output(Chunk),
    /// Something the user should know and that is no error.
    Notice(String),
    /// Something that went wrong and was not the end.
    Warning(String),
}

/// Takes events. Must not block for long and must not fail: showing is never worth losing a run.
pub trait Sink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// Takes no notice.
pub struct NoSink;

impl Sink for NoSink {
    fn event(&self, _: Event) {}
}
