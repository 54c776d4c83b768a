//! Faults of the lines to port 22 of instances, as the network between a laptop and a cloud has them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How a line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFault {
    /// Both sides are closed properly, as by a server that was stopped.
    Close,
    /// The caller gets a reset, as from a router that was restarted and does not know the connection.
    Reset,
    /// Nothing is carried any more and neither side notices, as after a cable was pulled.
    Stall,
}

#[derive(Debug, Default)]
struct LineState {
    /// The faults for future lines, each with the number of bytes to the caller after which it occurs.
    waiting: VecDeque<(u64, LineFault)>,
    broken: usize,
    refusing: bool,
}

/// How long a caller that is not let in is kept waiting; longer than any caller waits.
const SHUT_OUT_LIMIT: Duration = Duration::from_secs(600);

/// Orders for lines, which the bridges and the tests share.
#[derive(Debug, Clone)]
pub struct Lines {
    state: Arc<Mutex<LineState>>,
    /// The number of orders to break all existing lines, with the fault of the last order.
    now: watch::Sender<(u64, LineFault)>,
    /// Whether callers are shut out: nobody answers them.
    shut: watch::Sender<bool>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { state: Arc::default(), now: watch::Sender::new((0, LineFault::Close)), shut: watch::Sender::new(false) }
    }
}

/// The orders for one line.
pub struct Line {
    lines: Lines,
    now: watch::Receiver<(u64, LineFault)>,
    after: Option<(u64, LineFault)>,
    carried: u64,
}

impl Lines {
    fn state(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Breaks every existing line.
    pub fn break_all(&self, fault: LineFault) {
        self.now.send_modify(|(count, last)| {
            *count += 1;
            *last = fault;
        });
    }

    /// Breaks future lines, one for each of `faults`, once the line has carried that many bytes to its caller.
    pub fn break_next(&self, faults: &[(u64, LineFault)]) {
        self.state().waiting.extend(faults);
    }

    /// Sets whether future lines are closed at once.
    pub fn refuse(&self, refuse: bool) {
        self.state().refusing = refuse;
    }

    /// Stalls every existing line and lets nobody in, like a security group without the caller's address.
    pub fn shut_out(&self) {
        self.shut.send_replace(true);
        self.break_all(LineFault::Stall);
    }

    /// Lets callers in again, including those that wait.
    pub fn let_in(&self) {
        self.shut.send_replace(false);
    }

    /// Waits until callers are let in; returns `false` if that takes too long.
    pub async fn wait_until_let_in(&self) -> bool {
        let mut shut = self.shut.subscribe();
        matches!(tokio::time::timeout(SHUT_OUT_LIMIT, shut.wait_for(|shut| !shut)).await, Ok(Ok(_)))
    }

    /// How many lines have been broken so far.
    pub fn broken(&self) -> usize {
        self.state().broken
    }

    /// Begins a new line; `None` if lines are refused.
    pub fn begin(&self) -> Option<Line> {
        let mut state = self.state();
        if state.refusing {
            return None;
        }
        let after = state.waiting.pop_front();
        Some(Line { now: self.now.subscribe(), after, carried: 0, lines: self.clone() })
    }
}

impl Line {
    /// Counts bytes that were carried to the caller; returns the fault that is due after them.
    pub fn carried(&mut self, bytes: u64) -> Option<LineFault> {
        self.carried += bytes;
        let (_, fault) = self.after.filter(|(after, _)| self.carried >= *after)?;
        self.after = None;
        self.lines.state().broken += 1;
        Some(fault)
    }

    /// Waits until the line is to break; returns the fault. Cancel safe.
    pub async fn broken(&mut self) -> LineFault {
        if self.now.changed().await.is_err() {
            return std::future::pending().await;
        }
        self.lines.state().broken += 1;
        self.now.borrow().1
    }
}
