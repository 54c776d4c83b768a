//! Faults of the lines to instances' port 22: what a network does between a laptop and a cloud.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How a line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Both sides are closed in order, as by a server that was stopped.
    Close,
    /// The caller is told that nobody knows the connection, as by a router that was restarted.
    Reset,
    /// Nothing is carried any more and nobody is told, as by a cable that was pulled.
    Stall,
}

#[derive(Debug, Default)]
struct State {
    /// Faults for lines to come: after how many bytes to the caller, and which.
    waiting: VecDeque<(u64, Fault)>,
    broken: usize,
    refusing: bool,
}

/// How long a caller that is not let in waits before it is forgotten; longer than any waits.
const SHUT_OUT_LIMIT: Duration = Duration::from_secs(600);

/// Orders for lines; shared by the bridges and the tests.
#[derive(Debug, Clone)]
pub struct Lines {
    state: Arc<Mutex<State>>,
    /// Counts the orders to break what is there, with the fault of the last.
    now: watch::Sender<(u64, Fault)>,
    /// Whether callers are kept out: nobody answers them.
    shut: watch::Sender<bool>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { state: Arc::default(), now: watch::Sender::new((0, Fault::Close)), shut: watch::Sender::new(false) }
    }
}

/// One line's orders.
pub struct Line {
    lines: Lines,
    now: watch::Receiver<(u64, Fault)>,
    after: Option<(u64, Fault)>,
    carried: u64,
}

impl Lines {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Breaks every line that is there.
    pub fn break_all(&self, fault: Fault) {
        self.now.send_modify(|(count, last)| {
            *count += 1;
            *last = fault;
        });
    }

    /// Breaks lines to come, one for each of `faults`, once it has carried as many bytes to its caller.
    pub fn break_next(&self, faults: &[(u64, Fault)]) {
        self.state().waiting.extend(faults);
    }

    /// From now on lines to come are closed at once, or are not any more.
    pub fn refuse(&self, refuse: bool) {
        self.state().refusing = refuse;
    }

    /// Stalls every line that is there, and lets nobody in, as a security group does that lacks the caller's address.
    pub fn shut_out(&self) {
        self.shut.send_replace(true);
        self.break_all(Fault::Stall);
    }

    /// Lets callers in again, also those that wait.
    pub fn let_in(&self) {
        self.shut.send_replace(false);
    }

    /// Ends when callers are let in; `false` when that takes too long.
    pub async fn until_let_in(&self) -> bool {
        let mut shut = self.shut.subscribe();
        matches!(tokio::time::timeout(SHUT_OUT_LIMIT, shut.wait_for(|shut| !shut)).await, Ok(Ok(_)))
    }

    /// How many lines were broken so far.
    pub fn broken(&self) -> usize {
        self.state().broken
    }

    /// A new line; none where lines are refused.
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
    /// Counts bytes that were carried to the caller; the fault that they bring about.
    pub fn carried(&mut self, bytes: u64) -> Option<Fault> {
        self.carried += bytes;
        let (_, fault) = self.after.filter(|(after, _)| self.carried >= *after)?;
        self.after = None;
        self.lines.state().broken += 1;
        Some(fault)
    }

    /// Ends when the line is to break now. Cancel safe.
    pub async fn broken(&mut self) -> Fault {
        if self.now.changed().await.is_err() {
            return std::future::pending().await;
        }
        self.lines.state().broken += 1;
        self.now.borrow().1
    }
}
