//! The thread that draws: while something is under way it looks ten times a second whether there is anything new to show, and shows
//! the time that has passed once a second. Where no region is drawn it says every half minute how far everything is.

use std::io::IsTerminal;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::held::HeldNews;
use super::live::{Frame, LiveView};
use super::look::Look;
use super::{out, terminal};

/// The pause between two frames: nobody reads faster, and a change is seen within it.
const FRAME: Duration = Duration::from_millis(100);

/// How long a frame stays where nothing changes but the time.
const SECOND: Duration = Duration::from_secs(1);

/// How often a log is told how far everything is.
const STATUS: Duration = Duration::from_secs(30);

/// The size of a terminal that does not tell its own.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// The least rows of a terminal with a region, and the rows that a region may have on any other: half of them, and never fewer than these.
const LEAST_ROWS: usize = 3;
const LEAST_LINES: usize = 6;

/// The state of a screen, which its thread looks at.
pub(super) struct Shared {
    look: Look,
    state: Mutex<State>,
    woken: Condvar,
}

/// What is going on, and what of it is on the terminal.
#[derive(Default)]
pub(super) struct State {
    /// What is going on.
    pub(super) view: LiveView,
    /// The news that came while a question is open.
    pub(super) held: Option<HeldNews>,
    /// Whether nothing is drawn until the next event.
    pub(super) is_asleep: bool,
    /// Whether the last byte of the task's output was no line's end: a message must not land in the middle of a line.
    pub(super) mid_line: bool,
    /// When a detail was last shown where no region is drawn.
    pub(super) detail: Option<Instant>,
    /// Whether something is new since the last frame.
    is_changed: bool,
    has_thread: bool,
    /// Whether the thread waits to be woken.
    is_parked: bool,
    is_over: bool,
}

impl State {
    /// Whether something is under way that is to be shown now.
    pub(super) fn is_shown(&self) -> bool {
        !self.is_asleep && self.held.is_none() && self.view.is_at_work()
    }
}

impl Shared {
    pub(super) fn new(look: Look) -> Arc<Self> {
        Arc::new(Self { look, state: Mutex::new(State::default()), woken: Condvar::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something is new, and sees to it that it is drawn.
    pub(super) fn attend(self: &Arc<Self>, state: &mut State) {
        state.is_changed = true;
        if !state.is_shown() {
            return;
        }
        if state.is_parked {
            self.woken.notify_one();
        } else if !state.has_thread {
            let theirs = Arc::clone(self);
            // Without the thread nothing moves, and all that must be read is written all the same.
            state.has_thread =
                std::thread::Builder::new().name("screen".to_owned()).spawn(move || theirs.run()).is_ok();
        }
    }

    /// Ends the thread.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.woken.notify_one();
    }

    fn run(&self) {
        let mut drawn = Drawn::default();
        let mut state = self.lock();
        while !state.is_over {
            if state.is_shown() {
                state = match self.look.is_live {
                    true => self.frame(state, &mut drawn),
                    false => self.status(state, &mut drawn),
                };
                continue;
            }
            if std::mem::take(&mut drawn.is_there) {
                let epoch = terminal::epoch();
                drop(state);
                terminal::draw(epoch, &[], self.look.colored_stderr);
                state = self.lock();
                continue;
            }
            drawn.said = None;
            state.is_parked = true;
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.is_parked = false;
        }
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.woken.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Draws a frame where one is due, and waits for the next.
    fn frame<'a>(&'a self, mut state: MutexGuard<'a, State>, drawn: &mut Drawn) -> MutexGuard<'a, State> {
        let since = drawn.at.map(|at| at.elapsed());
        if let Some(early) = since.and_then(|since| FRAME.checked_sub(since)).filter(|early| !early.is_zero()) {
            return self.wait(state, early);
        }
        let frame = space(self.look.unicode);
        let is_due = state.is_changed || drawn.frame != Some(frame) || since.is_none_or(|since| since >= SECOND);
        if !is_due && drawn.is_there {
            return self.wait(state, FRAME);
        }
        let (epoch, lines) = (terminal::epoch(), state.view.lines(Timestamp::now(), frame));
        let starts_line = std::mem::take(&mut state.mid_line);
        state.is_changed = false;
        // A terminal may take its time; who has news must not wait for it.
        drop(state);
        if starts_line {
            terminal::say("\n");
        }
        terminal::draw(epoch, &lines, self.look.colored_stderr);
        *drawn = Drawn { at: Some(Instant::now()), frame: Some(frame), is_there: true, said: None };
        self.lock()
    }

    /// Says how far everything is where it is time for that, and waits a second.
    fn status<'a>(&'a self, state: MutexGuard<'a, State>, drawn: &mut Drawn) -> MutexGuard<'a, State> {
        let said = *drawn.said.get_or_insert_with(Instant::now);
        if said.elapsed() < STATUS {
            return self.wait(state, SECOND);
        }
        drawn.said = Some(Instant::now());
        if self.look.loudness == super::Loudness::Quiet {
            return state;
        }
        let line = state.view.status(Timestamp::now());
        drop(state);
        out::complain(&line);
        self.lock()
    }
}

/// What the thread has drawn.
#[derive(Default)]
struct Drawn {
    at: Option<Instant>,
    frame: Option<Frame>,
    is_there: bool,
    /// When a log was last told how far everything is, or since when there is something to tell.
    said: Option<Instant>,
}

/// The space that a region has on the terminal as it is now. The last column stays empty, and a line above is for the cursor.
fn space(unicode: bool) -> Frame {
    let stderr = std::io::stderr();
    let size = stderr.is_terminal().then(|| rustix::termios::tcgetwinsize(&stderr).ok()).flatten();
    let told = |size: u16, otherwise| if size == 0 { otherwise } else { usize::from(size) };
    let (columns, rows) = size.map_or((COLUMNS, ROWS), |size| (told(size.ws_col, COLUMNS), told(size.ws_row, ROWS)));
    let most = if rows < LEAST_ROWS { 0 } else { rows - 2 };
    Frame { columns: columns - 1, rows: most.min((rows / 2).max(LEAST_LINES)), unicode }
}
