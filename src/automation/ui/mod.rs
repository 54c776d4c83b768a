//! The only code that prints or draws progress.
//!
//! Standard output carries data: what a listing lists, the output of the user's own task. Everything else goes to
//! standard error. With `--json` the task's output goes to standard error too, so that standard output is one JSON value.
//!
//! Everything passes one of three borders: our own words are made harmless by [`escapes::plain`], JSON by
//! [`escapes::json`], and on a terminal the output of tasks passes a filter ([`escapes::TerminalFilter`]) unless the user wants
//! it raw.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use model::base::{escapes, text};
use model::event::{Event, EventKind, Sink, StepEvent, Subject, Words};
use model::fault::Fault;
use model::task::Chunk;

pub mod choice;
pub mod confirm;
mod out;
pub mod prefix;
pub mod secret;
pub mod table;

pub use out::{
    complain, fault as unwritten_fault, is_all_written, messages_fault as unwritten_messages_fault,
    note as not_written, print, take_write_fault,
};
pub(crate) use out::{name_state, with_state};

/// The stream to which the output of the user's own task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputTo {
    /// Standard output.
    Stdout,
    /// Standard error, when standard output belongs to JSON.
    Stderr,
}

/// Where no line moves, the lines of a long step's own output are shown this far apart; the run's log has all of them.
const DETAIL_INTERVAL: Duration = Duration::from_secs(10);

/// The width of a bar, characters.
const BAR_WIDTH: usize = 20;

/// Most bytes of output that are held back while a question is open. With more, all of it is shown in the middle of the question.
const HELD: usize = 4 << 20;

/// Bytes of a file that are printed at once.
const PIECE: usize = 64 << 10;

/// Draws events: a line that moves on a terminal, plain lines otherwise.
pub struct Screen {
    output: OutputTo,
    quiet: bool,
    state: Mutex<State>,
    /// The filters before the terminals of standard output and standard error; none where the stream is not a terminal,
    /// or is wanted raw.
    filters: Mutex<[Option<escapes::TerminalFilter>; 2]>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
    /// The subjects of the steps that began and have not ended, in the order of their beginnings.
    steps: Vec<Option<Subject>>,
    /// When a detail was last shown where no line moves.
    detail: Option<Instant>,
    /// Whether the last byte of the task's output was a line's end: a message must not land in the middle of a line.
    mid_line: bool,
    /// The news that came while a question is open.
    held: Option<HeldNews>,
}

#[derive(Default)]
struct HeldNews {
    news: Vec<News>,
    bytes: usize,
}

/// Something to be shown.
#[derive(Debug)]
enum News {
    Event(Event),
    /// Output of the user's own task.
    Output(Chunk),
}

impl HeldNews {
    /// Keeps the news where there is room for it, else gives it back.
    fn take(&mut self, news: News) -> Option<News> {
        self.bytes += match &news {
            News::Output(Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) => bytes.len(),
            News::Event(_) => size_of::<Event>(),
        };
        if self.bytes > HELD {
            return Some(news);
        }
        self.news.push(news);
        None
    }
}

/// Whether a person may be looking: what is shown goes to a terminal.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

impl Screen {
    /// A screen; `quiet` shows nothing but warnings and the task's output. `raw` lets a task's output do to a terminal what it likes.
    pub fn new(output: OutputTo, quiet: bool, raw: bool) -> Self {
        let terminals = [std::io::stdout().is_terminal(), std::io::stderr().is_terminal()];
        let filters = terminals.map(|terminal| (terminal && !raw).then(escapes::TerminalFilter::default));
        Self { output, quiet, state: Mutex::new(State::default()), filters: Mutex::new(filters) }
    }

    /// Writes a task's output, filtered where it goes to a terminal.
    fn write_output(&self, to: OutputTo, bytes: &[u8]) -> std::io::Result<()> {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        let [stdout, stderr] = &mut *filters;
        let filter = match to {
            OutputTo::Stdout => stdout,
            OutputTo::Stderr => stderr,
        };
        let filtered = filter.as_mut().map(|filter| filter.push(bytes));
        let bytes = filtered.as_deref().unwrap_or(bytes);
        match to {
            OutputTo::Stdout => out::data(bytes),
            OutputTo::Stderr => std::io::stderr().lock().write_all(bytes),
        }
    }

    /// Holds events back while a question is open on the terminal.
    pub fn hold(&self) {
        self.settle();
        self.state().held = Some(HeldNews::default());
    }

    /// Shows the news that was held back, and all that comes from now on.
    pub fn resume(&self) {
        let mut state = self.state();
        for news in state.held.take().unwrap_or_default().news {
            self.show(&mut state, news);
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

    /// Shows how far along a step is that took `expected` the last time.
    fn expect(state: &State, expected: Duration) {
        let Some(bar) = &state.bar else { return };
        let share = move |now: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&progress(now.elapsed(), expected));
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {share} {wide_msg:.dim}") {
            bar.set_style(style.with_key("share", share));
        }
    }

    fn begin(&self, state: &mut State, step: &str) {
        if state.has_parallel_steps() {
            Self::end_bar(state);
        }
        if state.has_parallel_steps() || !is_watched() {
            state.detail = Some(Instant::now());
            return self.line(state, &format!("{step} ..."));
        }
        if std::mem::take(&mut state.mid_line) {
            complain("");
        }
        let bar = state.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.reset_elapsed();
        bar.set_prefix(escapes::one_line(step).into_owned());
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
        // The run goes on: neither a reader that went away (`| head`) nor a full disk is a reason to lose it.
        drop(match (self.output, chunk) {
            (OutputTo::Stdout, Chunk::Stdout(_)) => self.write_output(OutputTo::Stdout, bytes),
            _ => self.write_output(OutputTo::Stderr, bytes),
        });
        if let Some(last) = bytes.last() {
            state.mid_line = *last != b'\n';
        }
    }

    /// Ends the line that moves on the terminal; must be called before the process ends or asks something.
    pub fn settle(&self) {
        self.resume();
        let mut state = self.state();
        Self::end_bar(&mut state);
        if std::mem::take(&mut state.mid_line) {
            complain("");
        }
    }

    /// Prints data on standard output, for people. A failure to write is reported at the end of the process.
    pub fn data(&self, text: &str) {
        drop(self.try_data(text));
    }

    /// The same, for a caller that must not go on where the data was not written.
    pub fn try_data(&self, text: &str) -> std::io::Result<()> {
        self.settle();
        out::data(escapes::plain(text).as_bytes())
    }

    /// Prints `value` as JSON on standard output.
    pub fn json<T: serde::Serialize>(&self, value: &T) {
        drop(self.try_json(value));
    }

    /// The same, for a caller that must not go on where the data was not written.
    pub fn try_json<T: serde::Serialize>(&self, value: &T) -> std::io::Result<()> {
        let written = serde_json::to_string_pretty(value).map_err(std::io::Error::from);
        written.and_then(|text| self.json_text(&text)).inspect_err(|error| {
            if error.kind() == std::io::ErrorKind::InvalidData {
                self.line(&mut self.state(), &format!("warning: cannot write JSON: {error}"));
            }
        })
    }

    /// Prints text that is JSON already.
    pub fn json_text(&self, text: &str) -> std::io::Result<()> {
        self.settle();
        out::data(format!("{}\n", escapes::json(text.trim_end())).as_bytes())
    }

    /// Prints a message on standard error, whatever `quiet` says.
    pub fn message(&self, text: &str) {
        self.settle();
        complain(text);
    }
}

impl Sink for Screen {
    fn event(&self, event: Event) {
        self.take(News::Event(event));
    }
}

impl Screen {
    /// Shows output of the user's own task as it arrives.
    pub fn task_output(&self, chunk: Chunk) {
        self.take(News::Output(chunk));
    }

    fn take(&self, news: News) {
        let mut state = self.state();
        let Some(mut held) = state.held.take() else { return self.show(&mut state, news) };
        let Some(news) = held.take(news) else {
            state.held = Some(held);
            return;
        };
        for news in held.news.into_iter().chain([news]) {
            self.show(&mut state, news);
        }
    }

    fn show(&self, state: &mut State, news: News) {
        let event = match news {
            News::Output(chunk) => return self.output(state, &chunk),
            News::Event(event) => event,
        };
        state.follow(&event);
        match event.words() {
            Words::Warning(text) => self.line(state, &format!("warning: {text}")),
            Words::Outcome(text) => {
                Self::end_bar(state);
                self.line(state, &text);
            }
            _ if self.quiet => {}
            Words::Begin(text) => self.begin(state, &text),
            Words::Expect(took) => Self::expect(state, took),
            Words::End { text, took } => {
                Self::end_bar(state);
                self.line(state, &format!("{text} ({})", text::seconds(took)));
            }
            Words::Stop | Words::Test(_) => {}
            Words::Detail(text) => self.detail(state, event.subject.as_ref(), text),
            Words::Progress(text) => {
                if let Some(bar) = &state.bar {
                    bar.set_message(text);
                }
            }
            Words::Notice(text) => self.line(state, &text),
        }
    }

    fn detail(&self, state: &mut State, subject: Option<&Subject>, text: String) {
        let text = match subject {
            Some(subject) if state.has_parallel_steps() => format!("{}: {text}", subject.name()),
            _ => text,
        };
        match &state.bar {
            Some(bar) => bar.set_message(escapes::one_line(&text).into_owned()),
            None if state.detail.is_none_or(|last| last.elapsed() >= DETAIL_INTERVAL) => {
                state.detail = Some(Instant::now());
                self.line(state, &format!("  {text}"));
            }
            None => {}
        }
    }
}

impl State {
    /// Notes which steps are open.
    fn follow(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Step(StepEvent::Began { .. }) => self.steps.push(event.subject.clone()),
            EventKind::Step(StepEvent::Ended { .. } | StepEvent::Stopped { .. }) => {
                let last = self.steps.iter().rposition(|subject| *subject == event.subject);
                last.map(|at| self.steps.remove(at));
            }
            _ => {}
        }
    }

    /// Whether work on several things is under way side by side: then no single line can move for all of it.
    fn has_parallel_steps(&self) -> bool {
        self.steps.windows(2).any(|two| two[0] != two[1])
    }
}

/// A bar of [`BAR_WIDTH`] for `elapsed` of a time that was `expected`; it is never full before the end.
fn progress(elapsed: Duration, expected: Duration) -> String {
    let share = elapsed.as_secs_f64() / expected.as_secs_f64().max(1.0);
    // At most the width, so that the number fits.
    let filled = ((share * BAR_WIDTH as f64) as usize).min(BAR_WIDTH - 1);
    let (filled, open) = ("#".repeat(filled), "-".repeat(BAR_WIDTH - filled));
    format!("[{filled}{open}] {} of about {} s", elapsed.as_secs(), expected.as_secs())
}

impl Screen {
    /// Prints the output of a task that is kept in a file, in pieces.
    pub fn output_file(&self, path: &Path) -> Result<(), Fault> {
        let Some(mut file) = self.open(path)? else { return Ok(()) };
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece).map_err(|error| unreadable(path, error))?;
            if read == 0 || self.write_output(OutputTo::Stdout, &piece[..read]).is_err() {
                return Ok(());
            }
        }
    }

    /// Prints one of our own files, which holds a JSON value a line.
    pub fn json_file(&self, path: &Path) -> Result<(), Fault> {
        let Some(file) = self.open(path)? else { return Ok(()) };
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|error| unreadable(path, error))?;
            if self.json_text(&String::from_utf8_lossy(&line)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Opens the file; none where it does not exist.
    fn open(&self, path: &Path) -> Result<Option<std::fs::File>, Fault> {
        self.settle();
        match std::fs::File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, error)),
        }
    }

    /// Prints whole lines of output, beside what moves on the terminal. A reader that went away is not a reason to lose
    /// the rest.
    pub fn lines(&self, chunk: &Chunk) {
        let state = self.state();
        let write = || match chunk {
            Chunk::Stdout(bytes) => self.write_output(OutputTo::Stdout, bytes),
            Chunk::Stderr(bytes) => self.write_output(OutputTo::Stderr, bytes).inspect_err(out::note_messages),
        };
        drop(match &state.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        });
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Fault {
    Fault::outside(format!("cannot read `{}`", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_moves_and_is_not_full_before_the_end() {
        let after = |seconds| progress(Duration::from_secs(seconds), Duration::from_secs(40));
        assert_eq!(after(0), "[--------------------] 0 of about 40 s");
        assert_eq!(after(11), "[#####---------------] 11 of about 40 s");
        assert_eq!(after(400), "[###################-] 400 of about 40 s");
    }

    #[test]
    fn work_on_two_things_at_once_is_known_until_one_has_ended() {
        use model::work::Work;
        let mut state = State::default();
        let (mut tell, work) = (Vec::new(), Work::ListingTests);
        let mut follow = |name: &str, kind: StepEvent| {
            let subject = Some(Subject::Image(name.to_owned()));
            state.follow(&Event { at: jiff::Timestamp::UNIX_EPOCH, subject, kind: kind.into() });
            tell.push(state.has_parallel_steps());
        };
        let (began, stopped) =
            (StepEvent::Began { work: work.clone() }, StepEvent::Stopped { work, took: Duration::ZERO });
        for (name, kind) in [("a", &began), ("a", &began), ("b", &began), ("a", &stopped), ("a", &stopped)] {
            follow(name, kind.clone());
        }
        assert_eq!(tell, [false, false, true, true, false], "a step within another is of the same thing");
    }

    #[test]
    fn what_is_held_back_has_a_bound() {
        let mut held = HeldNews::default();
        assert!(held.take(News::Output(Chunk::Stdout(vec![0; HELD - 100]))).is_none());
        assert!(held.take(News::Output(Chunk::Stderr(vec![0; 101]))).is_some(), "no room");
        assert_eq!(held.news.len(), 1);
    }
}
