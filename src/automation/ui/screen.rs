//! The screen: where everything that a command has to say is shown.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::base::{escapes, text};
use model::event::{Event, EventKind, Sink, Subject, TestsEvent, Words};
use model::task::Chunk;
use report::terminal::Line;

use super::held::{HeldNews, News};
use super::look::{Look, Loudness};
use super::out::{self, complain};
use super::paint::{Ink, Painted, lines_text};
use super::prefix::Prefixed;
use super::stream::EventStream;
use super::terminal;
use super::ticker::{Shared, State};
use super::verdicts;

/// The stream to which the output of the user's own task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputTo {
    /// Standard output.
    Stdout,
    /// Standard error, when standard output belongs to JSON.
    Stderr,
}

/// Where no region is drawn, the lines of a long step's own output are shown this far apart; the run's log has all of them.
const DETAIL_INTERVAL: Duration = Duration::from_secs(10);

/// Whether standard output and standard error are terminals.
pub fn terminals() -> [bool; 2] {
    [std::io::stdout().is_terminal(), std::io::stderr().is_terminal()]
}

/// Shows events: in a region that moves on a terminal, in plain lines otherwise.
pub struct Screen {
    output: OutputTo,
    look: Look,
    terminals: [bool; 2],
    stream: Option<EventStream>,
    shared: Arc<Shared>,
    /// The filters before the terminals of standard output and standard error; none where the stream is not a terminal,
    /// or is wanted raw.
    filters: Mutex<[Option<escapes::TerminalFilter>; 2]>,
    /// The lines of what a runner prints, where they are shown above the region.
    runner: Mutex<[Prefixed; 2]>,
}

impl Screen {
    /// A screen that looks like this; with `stream` every event goes there as well.
    pub fn new(output: OutputTo, look: Look, stream: Option<EventStream>) -> Self {
        let terminals = terminals();
        let filters = terminals.map(|terminal| (terminal && !look.raw).then(escapes::TerminalFilter::default));
        Self {
            output,
            look,
            terminals,
            stream,
            shared: Shared::new(look),
            filters: Mutex::new(filters),
            runner: Mutex::new([Prefixed::bare(), Prefixed::bare()]),
        }
    }

    /// Whether what is under way is drawn again and again.
    pub fn is_live(&self) -> bool {
        self.look.is_live
    }

    /// Writes a task's output, filtered where it goes to a terminal.
    pub(super) fn write_output(&self, to: OutputTo, bytes: &[u8]) -> std::io::Result<()> {
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
        let Some(held) = state.held.take() else { return };
        state.is_asleep = false;
        for news in held.news {
            self.show(&mut state, news);
        }
        self.shared.attend(&mut state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Shows whole lines: with the next frame where there is one.
    fn lines_of_ours(&self, state: &mut State, lines: &[Painted]) {
        let mut text = lines_text(lines, self.look.colored_stderr);
        if std::mem::take(&mut state.mid_line) {
            text.insert(0, '\n');
        }
        match self.look.is_live && state.is_shown() {
            true => terminal::add(&text),
            false => terminal::say(&text),
        }
    }

    fn line(&self, state: &mut State, line: &str) {
        self.lines_of_ours(state, &out::message(line));
    }

    /// Shows output as it came, with the terminal for itself.
    fn output(&self, state: &mut State, chunk: &Chunk) {
        let (to, Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = (self.target(chunk), chunk);
        // The run goes on: neither a reader that went away (`| head`) nor a full disk is a reason to lose it.
        if self.look.is_live {
            if !self.is_terminal(to) {
                return drop(self.write_output(to, bytes));
            }
            state.is_asleep = true;
            terminal::erase();
        }
        drop(self.write_output(to, bytes));
        if let Some(last) = bytes.last() {
            state.mid_line = *last != b'\n';
        }
    }

    fn target(&self, chunk: &Chunk) -> OutputTo {
        match (self.output, chunk) {
            (OutputTo::Stdout, Chunk::Stdout(_)) => OutputTo::Stdout,
            _ => OutputTo::Stderr,
        }
    }

    fn is_terminal(&self, to: OutputTo) -> bool {
        let [stdout, stderr] = self.terminals;
        if to == OutputTo::Stdout { stdout } else { stderr }
    }

    /// Whether what runners print is passed on: one at a time, to those who want to read it.
    fn passes_output(&self, state: &State, to: OutputTo) -> bool {
        let is_covered = self.look.is_live && self.is_terminal(to);
        match self.look.loudness {
            Loudness::Quiet => false,
            Loudness::Normal => !is_covered && !state.view.has_several(),
            Loudness::Verbose => !state.view.has_several(),
        }
    }

    fn runner_output(&self, state: &mut State, chunk: &Chunk) {
        let to = self.target(chunk);
        if !self.passes_output(state, to) {
            return;
        }
        if !(self.look.is_live && self.is_terminal(to)) {
            return self.output(state, chunk);
        }
        let [stdout, stderr] = &mut *self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = match chunk {
            Chunk::Stdout(bytes) => stdout.push(bytes),
            Chunk::Stderr(bytes) => stderr.push(bytes),
        };
        self.plain_lines(state, &whole);
    }

    /// Shows whole lines of a runner above the region, with what would steer the terminal made visible.
    fn plain_lines(&self, state: &mut State, lines: &[u8]) {
        let text = String::from_utf8_lossy(lines);
        if let Some(text) = text.strip_suffix('\n') {
            let lines: Vec<Painted> =
                text.split('\n').map(|line| Painted::line(Ink::Plain, line.trim_end_matches('\r'))).collect();
            self.lines_of_ours(state, &lines);
        }
    }

    /// Takes away what moves on the terminal; must be called before the process ends or asks something.
    pub fn settle(&self) {
        self.resume();
        let mut state = self.state();
        let rest = self.runner.lock().unwrap_or_else(PoisonError::into_inner).each_mut().map(Prefixed::end);
        rest.iter().for_each(|lines| self.plain_lines(&mut state, lines));
        state.is_asleep = true;
        terminal::erase();
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
        match self.has_stdout() {
            true => out::data(escapes::plain(text).as_bytes()),
            false => std::io::stderr().lock().write_all(escapes::plain(text).as_bytes()),
        }
    }

    /// Whether standard output is free for data: it is not where it belongs to events.
    fn has_stdout(&self) -> bool {
        !self.stream.as_ref().is_some_and(EventStream::is_stdout)
    }

    /// Prints lines of a report on standard output, in colours where it has them.
    pub fn report(&self, lines: &[Line]) {
        self.settle();
        let text = lines_text(&verdicts::report_lines(lines, self.look), self.look.colored_stdout);
        match self.has_stdout() {
            true => drop(out::data(text.as_bytes())),
            false => drop(std::io::stderr().lock().write_all(text.as_bytes())),
        }
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

    /// Prints a message on standard error, however little the user wants to read.
    pub fn message(&self, text: &str) {
        self.say(&out::message(text));
    }

    /// Prints lines of a report on standard error, with an empty line before and after them.
    pub fn report_message(&self, lines: &[Line]) {
        let mut shown = vec![Painted::default()];
        shown.extend(verdicts::report_lines(lines, self.look));
        shown.push(Painted::default());
        self.say(&shown);
    }

    fn say(&self, lines: &[Painted]) {
        self.resume();
        let mut text = lines_text(lines, self.look.colored_stderr);
        if std::mem::take(&mut self.state().mid_line) {
            text.insert(0, '\n');
        }
        terminal::say(&text);
    }

    /// Prints whole lines of output, beside what moves on the terminal. A reader that went away is not a reason to lose
    /// the rest.
    pub fn lines(&self, chunk: &Chunk) {
        drop(terminal::aside(|| match chunk {
            Chunk::Stdout(bytes) => self.write_output(OutputTo::Stdout, bytes),
            Chunk::Stderr(bytes) => self.write_output(OutputTo::Stderr, bytes).inspect_err(out::note_messages),
        }));
        let mut state = self.state();
        self.shared.attend(&mut state);
    }

    /// Shows output of the user's own task as it arrives.
    pub fn task_output(&self, chunk: Chunk) {
        self.take(News::Output(chunk));
    }

    /// Shows what a test runner prints beside its report: not where a region shows how far it is, unless the user wants all of it, and
    /// not of several machines at once.
    pub fn test_output(&self, chunk: Chunk) {
        self.take(News::RunnerOutput(chunk));
    }

    /// Takes an event that happened before anybody watched: what it changes is shown, and a failure as well.
    pub fn replay(&self, event: Event) {
        self.take(News::Past(Box::new(event)));
    }

    fn take(&self, news: News) {
        if let (News::Event(event) | News::Past(event), Some(stream)) = (&news, &self.stream) {
            stream.write(event);
        }
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
        match news {
            News::Output(chunk) => return self.output(state, &chunk),
            News::RunnerOutput(chunk) => return self.runner_output(state, &chunk),
            News::Event(event) => {
                let is_new = state.view.fold(&event);
                state.is_asleep = false;
                self.tell(state, &event, is_new);
            }
            News::Past(event) => {
                let is_new = state.view.fold(&event);
                state.is_asleep = false;
                self.tell_test(state, &event, is_new);
            }
        }
        self.shared.attend(state);
    }

    /// Shows the words of an event.
    fn tell(&self, state: &mut State, event: &Event, is_new: bool) {
        let is_quiet = self.look.loudness == Loudness::Quiet;
        match (event.words(), &event.kind) {
            (Words::Warning(text), _) => self.line(state, &format!("warning: {}", in_cell(event, &text))),
            (Words::Outcome(_), EventKind::Tests(TestsEvent::Judged { verdict, summary, .. })) => {
                self.lines_of_ours(state, &verdicts::verdict(*verdict, summary));
            }
            (Words::Outcome(text), _) => self.line(state, &in_cell(event, &text)),
            _ if is_quiet => {}
            (Words::Begin(text), _) => self.begin(state, event, &text),
            (Words::End { text, took }, _) => self.end(state, event, &text, took),
            (Words::Test(_), _) => self.tell_test(state, event, is_new),
            (Words::Detail(text), _) => self.detail(state, event.subject.as_ref(), text),
            (Words::Notice(text), _) => self.line(state, &in_cell(event, &text)),
            (Words::Expect(_) | Words::Progress(_) | Words::Stop, _) => {}
        }
    }

    /// Shows a test that failed, once.
    fn tell_test(&self, state: &mut State, event: &Event, is_new: bool) {
        if !is_new || self.look.loudness == Loudness::Quiet {
            return;
        }
        // Where the runner's own output is read, the difference is in it.
        let differs = !self.passes_output(state, self.target(&Chunk::Stdout(Vec::new())));
        if let Some(lines) = verdicts::failure(event, differs, self.look) {
            self.lines_of_ours(state, &lines);
        }
    }

    fn begin(&self, state: &mut State, event: &Event, text: &str) {
        if self.look.is_live {
            return;
        }
        state.detail = Some(Instant::now());
        let text = named(state, event, text);
        self.line(state, &format!("{text} ..."));
    }

    fn end(&self, state: &mut State, event: &Event, text: &str, took: Duration) {
        // Of many machines the region shows what each does, and the log has the rest.
        let of_many = state.view.machines() > 1 && matches!(event.subject, Some(Subject::Machine(_)));
        if self.look.is_live && of_many && self.look.loudness != Loudness::Verbose {
            return;
        }
        let text = named(state, event, text);
        self.line(state, &format!("{text} ({})", text::seconds(took)));
    }

    fn detail(&self, state: &mut State, subject: Option<&Subject>, text: String) {
        let is_due = state.detail.is_none_or(|last| last.elapsed() >= DETAIL_INTERVAL);
        if self.look.loudness != Loudness::Verbose && (self.look.is_live || !is_due) {
            return;
        }
        state.detail = Some(Instant::now());
        let text = match subject {
            Some(subject) if state.view.is_parallel() => format!("{}: {text}", subject.name()),
            _ => text,
        };
        self.line(state, &format!("  {text}"));
    }
}

/// `text` with the machine that it is about before it, where there are several and it does not name it; and with the cell.
fn named(state: &State, event: &Event, text: &str) -> String {
    let cell = event.cell.as_deref().map(|cell| format!(" [{cell}]")).unwrap_or_default();
    match &event.subject {
        Some(Subject::Machine(id)) if state.view.machines() > 1 && !text.contains(id.as_str()) => {
            format!("{id}{cell}: {text}")
        }
        _ => in_cell(event, text),
    }
}

/// `text` with the cell before it in which that happened, where the run has a matrix.
fn in_cell(event: &Event, text: &str) -> String {
    match &event.cell {
        Some(cell) => format!("cell {cell}: {text}"),
        None => text.to_owned(),
    }
}

impl Sink for Screen {
    fn event(&self, event: Event) {
        self.take(News::Event(Box::new(event)));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.shared.end();
    }
}
