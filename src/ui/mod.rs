//! The only code that prints or draws progress.
//!
//! Standard output carries data: what a listing lists, the output of the user's own task. Everything else goes to
//! standard error. With `--json` the task's output goes to standard error too, so that standard output is one JSON value.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::text;
use crate::model::connection::Chunk;
use crate::model::event::{Event, Sink};

pub mod choice;
pub mod confirm;
pub mod prefix;
pub mod table;

/// Where the output of the user's own task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputTo {
    /// Standard output.
    Stdout,
    /// Standard error, when standard output belongs to JSON.
    Stderr,
}

/// Where nothing moves, the lines of a long step's own output are shown this far apart; the run's log has all of them.
const DETAIL_INTERVAL: Duration = Duration::from_secs(10);

/// Most bytes of output that are held back while a question is open. With more, all of it is shown in the middle of the question.
const HELD: usize = 4 << 20;

/// Draws events: a line that moves on a terminal, plain lines otherwise.
pub struct Screen {
    output: OutputTo,
    quiet: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
    /// When a detail was last shown where nothing moves.
    detail: Option<Instant>,
    /// Whether the last byte of the task's output was a line's end: a message must not land in the middle of a line.
    mid_line: bool,
    /// What came while a question is open.
    held: Option<Held>,
}

#[derive(Default)]
struct Held {
    events: Vec<Event>,
    bytes: usize,
}

impl Held {
    /// Whether there was room for the event.
    fn take(&mut self, event: &Event) -> bool {
        self.bytes += match event {
            Event::Output(Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) => bytes.len(),
            _ => size_of::<Event>(),
        };
        if self.bytes <= HELD {
            self.events.push(event.clone());
        }
        self.bytes <= HELD
    }
}

impl Screen {
    /// A screen; `quiet` shows nothing but warnings and the task's output.
    pub fn new(output: OutputTo, quiet: bool) -> Self {
        Self { output, quiet, state: Mutex::new(State::default()) }
    }

    /// Holds events back while a question is open on the terminal.
    pub fn hold(&self) {
        self.settle();
        self.state().held = Some(Held::default());
    }

    /// Shows what was held back, and whatever comes from now on.
    pub fn go_on(&self) {
        let mut state = self.state();
        for event in state.held.take().unwrap_or_default().events {
            self.show(&mut state, event);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, state: &mut State, line: &str) {
        if std::mem::take(&mut state.mid_line) {
            complain("");
        }
        match &state.bar {
            Some(bar) => bar.suspend(|| complain(line)),
            None => complain(line),
        }
    }

    fn begin(&self, state: &mut State, step: &str) {
        if !std::io::stderr().is_terminal() {
            state.detail = Some(Instant::now());
            return self.line(state, &format!("{step} ..."));
        }
        if std::mem::take(&mut state.mid_line) {
            complain("");
        }
        let bar = state.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.reset_elapsed();
        bar.set_prefix(step.to_owned());
        bar.set_message("");
    }

    fn end_bar(state: &mut State) {
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn output(&self, state: &mut State, chunk: &Chunk) {
        Self::end_bar(state);
        let (Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = chunk;
        // A reader that went away (`| head`) is no reason to lose the run.
        let _ = match (self.output, chunk) {
            (OutputTo::Stdout, Chunk::Stdout(_)) => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            _ => std::io::stderr().lock().write_all(bytes),
        };
        if let Some(last) = bytes.last() {
            state.mid_line = *last != b'\n';
        }
    }

    /// Ends what moves on the terminal; to be called before the process ends or asks something.
    pub fn settle(&self) {
        self.go_on();
        let mut state = self.state();
        Self::end_bar(&mut state);
        if std::mem::take(&mut state.mid_line) {
            complain("");
        }
    }

    /// Prints data on standard output.
    pub fn data(&self, text: &str) {
        self.settle();
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Prints `value` as JSON on standard output.
    pub fn json<T: serde::Serialize>(&self, value: &T) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.data(&format!("{text}\n")),
            Err(error) => self.event(Event::Warning(format!("cannot write JSON: {error}"))),
        }
    }

    /// Prints a message on standard error, whatever `quiet` says.
    pub fn message(&self, text: &str) {
        self.settle();
        complain(text);
    }
}

impl Sink for Screen {
    fn event(&self, event: Event) {
        let mut state = self.state();
        let Some(mut held) = state.held.take() else { return self.show(&mut state, event) };
        if held.take(&event) {
            state.held = Some(held);
            return;
        }
        for event in held.events.into_iter().chain([event]) {
            self.show(&mut state, event);
        }
    }
}

impl Screen {
    fn show(&self, state: &mut State, event: Event) {
        match event {
            Event::Warning(text) => self.line(state, &format!("warning: {text}")),
            Event::Output(chunk) => self.output(state, &chunk),
            _ if self.quiet => {}
            Event::Step(text) => self.begin(state, &text),
            Event::StepDone { text, seconds } => {
                Self::end_bar(state);
                let took = text::seconds(Duration::from_secs_f64(seconds.max(0.0)));
                self.line(state, &format!("{text} ({took})"));
            }
            Event::Detail(text) => match &state.bar {
                Some(bar) => bar.set_message(text),
                None if state.detail.is_none_or(|last| last.elapsed() >= DETAIL_INTERVAL) => {
                    state.detail = Some(Instant::now());
                    self.line(state, &format!("  {text}"));
                }
                None => {}
            },
            Event::Bytes { done, total } => {
                if let Some(bar) = &state.bar {
                    let of = total.map(|t| format!(" of {}", text::bytes(t))).unwrap_or_default();
                    bar.set_message(format!("{}{of}", text::bytes(done)));
                }
            }
            Event::Notice(text) => self.line(state, &text),
        }
    }
}

/// Prints a line on standard error without a screen. A reader that went away is no reason to lose a run, and `eprintln!`
/// would end the process for it.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints data on standard output without a screen.
pub fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

impl Screen {
    /// Prints a file on standard output as it is, in pieces.
    pub fn file(&self, path: &std::path::Path) -> Result<(), crate::model::fault::Fault> {
        use crate::model::fault::Fault;
        self.settle();
        let mut file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Fault::outside(format!("cannot read `{}`", path.display())).because(error)),
        };
        match std::io::copy(&mut file, &mut std::io::stdout().lock()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Fault::outside(format!("cannot print `{}`", path.display())).because(error))
            }
            _ => Ok(()),
        }
    }
}

impl Screen {
    /// Prints whole lines of output, beside what moves on the terminal. A reader that went away is no reason to lose the rest.
    pub fn lines(&self, chunk: &Chunk) {
        let state = self.state();
        let write = || match chunk {
            Chunk::Stdout(bytes) => std::io::stdout().lock().write_all(bytes),
            Chunk::Stderr(bytes) => std::io::stderr().lock().write_all(bytes),
        };
        let _ = match &state.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_has_a_bound() {
        let mut held = Held::default();
        assert!(held.take(&Event::Output(Chunk::Stdout(vec![0; HELD - 100]))));
        assert!(!held.take(&Event::Output(Chunk::Stderr(vec![0; 101]))), "no room");
        assert_eq!(held.events.len(), 1);
    }
}
