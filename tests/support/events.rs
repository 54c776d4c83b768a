//! What flows tell, for tests that look at it.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use model::event::{Event, Sink, Teller, Words};

type Hook = Box<dyn Fn(&str) + Send + Sync>;

/// Keeps what is told, a line each, and lets a test act on it.
#[derive(Default)]
pub struct Events {
    lines: Mutex<Vec<String>>,
    hook: Mutex<Option<Hook>>,
}

impl Events {
    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// What tells these events.
    pub fn teller(self: &Arc<Self>) -> Teller {
        Teller::new(Arc::<Self>::clone(self), Arc::new(Timestamp::now))
    }

    /// How many lines begin so.
    pub fn count(&self, start: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(start)).count()
    }

    /// Calls `hook` with each line to come.
    pub fn on_each(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }
}

impl Sink for Events {
    fn event(&self, event: Event) {
        let line = match event.words() {
            Words::Begin(text) => format!("step {text}"),
            Words::Expect(took) => format!("expected {}", took.as_secs()),
            Words::End { text, .. } => format!("done {text}"),
            Words::Stop => "stop".to_owned(),
            Words::Detail(text) | Words::Test(text) => format!("detail {text}"),
            Words::Progress(text) => format!("progress {text}"),
            Words::Notice(text) => format!("notice {text}"),
            Words::Warning(text) => format!("warning {text}"),
            Words::Outcome(text) => format!("outcome {text}"),
        };
        self.lines.lock().unwrap().push(line.clone());
        if let Some(hook) = self.hook.lock().unwrap().as_ref() {
            hook(&line);
        }
    }
}
