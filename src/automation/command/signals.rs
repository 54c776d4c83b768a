//! The effects of Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop, the second leaves at once. While tests
//! run by themselves on a machine, Ctrl-C on a terminal asks what to do, and closing the terminal detaches. Without a
//! terminal, whoever only attached to a run leaves it by SIGINT. A signal that our parent made us ignore, as `nohup`
//! does, stays ignored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::base::signal::SignalListener;
use model::fault::{Fault, FaultKind};
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;

use crate::command::error::exit;
use crate::ui::choice::{self, InterruptChoice};
use crate::ui::{self, Screen};

/// The least time that work which was given up gets to remove its partial files on the machine.
const TIDYING: Duration = Duration::from_millis(500);

/// The most time that it gets to remove partial files on this computer: there may be many, on a slow disk.
pub const TIDYING_LIMIT: Duration = Duration::from_secs(60);

/// How long to wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A signal that comes again within this time counts as one: GNU `timeout` sends its signal to the process and to the
/// process's group.
const SAME: Duration = Duration::from_secs(1);

/// The same for a Ctrl-C that a person types, who can do so twice in a second: longer than the gap between two signals
/// sent together on a busy computer, shorter than the one between two keystrokes.
const SAME_STROKE: Duration = Duration::from_millis(100);

/// The parts of a run that signals act on.
pub struct SignalTargets {
    /// Cancelled by the first signal that stops.
    pub stop: CancellationToken,
    /// Cancelled to leave the task running and end this process.
    pub detach: CancellationToken,
    /// Cancelled by the run as soon as its task goes on without a driver.
    pub detachable: CancellationToken,
    /// Whether another process began the run: its task goes on without a driver, and this one only attached.
    pub attached: bool,
    /// The screen on which the run shows its events.
    pub screen: Arc<Screen>,
    /// The command that cleans up.
    pub clean: String,
    /// The command that follows the run.
    pub attach: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopSignal {
    Interrupt,
    Terminate,
    Hangup,
}

impl StopSignal {
    /// The time within which the same signal again counts as one.
    fn repeat_window(self) -> Duration {
        if self == Self::Interrupt && choice::can_ask() { SAME_STROKE } else { SAME }
    }
}

/// The signals that end a program.
struct Signals {
    interrupt: SignalListener,
    terminate: SignalListener,
    hangup: SignalListener,
    /// The signal that came last, and when.
    last: Option<(StopSignal, Instant)>,
}

impl Signals {
    fn listen() -> Result<Self, Fault> {
        let listen =
            |kind| SignalListener::listen(kind).map_err(|e| Fault::outside("cannot listen for signals").because(e));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            last: None,
        })
    }

    /// Waits for the next signal that is not a repetition of the last one.
    async fn next(&mut self) -> StopSignal {
        loop {
            let kind = tokio::select! {
                () = self.interrupt.wait() => StopSignal::Interrupt,
                () = self.terminate.wait() => StopSignal::Terminate,
                () = self.hangup.wait() => StopSignal::Hangup,
            };
            let now = Instant::now();
            if self.last.is_some_and(|(last, at)| last == kind && now.duration_since(at) < kind.repeat_window()) {
                continue;
            }
            self.last = Some((kind, now));
            return kind;
        }
    }
}

/// Watches the signals of a run for the rest of the process.
pub fn watch(run: SignalTargets) -> Result<(), Fault> {
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        loop {
            let kind = signals.next().await;
            let begun = run.detachable.is_cancelled();
            if run.stop.is_cancelled() || run.detach.is_cancelled() {
                // A closed terminal sends SIGHUP more than once; that is not a user in a hurry.
                if kind != StopSignal::Hangup {
                    leave(&run.second_message(begun));
                }
                continue;
            }
            match kind {
                StopSignal::Hangup if begun => run.apply(InterruptChoice::Detach),
                StopSignal::Interrupt if begun && choice::can_ask() => {
                    let choice = run.ask(&mut signals).await;
                    run.apply(choice);
                }
                // It asked to see the run, not to end it.
                StopSignal::Interrupt if run.attached => run.apply(InterruptChoice::Detach),
                _ => run.apply(InterruptChoice::Cancel),
            }
        }
    });
    Ok(())
}

impl SignalTargets {
    fn apply(&self, choice: InterruptChoice) {
        match choice {
            InterruptChoice::Detach => {
                self.detach.cancel();
                ui::complain("\nDetaching; what runs there goes on.");
            }
            InterruptChoice::Cancel => {
                self.stop.cancel();
                ui::complain("\nInterrupted: releasing what was made. Once more leaves at once.");
            }
            InterruptChoice::KeepOn => ui::complain("\nFollowing the tests."),
        }
    }

    /// Asks what to do; a second Ctrl-C, and SIGTERM, mean to cancel.
    async fn ask(&self, signals: &mut Signals) -> InterruptChoice {
        self.screen.hold();
        ui::complain("\nWhat runs there goes on meanwhile.");
        let settled = CancellationToken::new();
        let theirs = settled.clone();
        let asking = tokio::task::spawn_blocking(move || choice::choose(ANSWER_LIMIT, &theirs));
        let choice = tokio::select! {
            // A question that could not be asked was not answered.
            choice = asking => choice.unwrap_or(InterruptChoice::KeepOn),
            kind = signals.next() => if kind == StopSignal::Hangup { InterruptChoice::Detach } else { InterruptChoice::Cancel },
        };
        settled.cancel();
        self.screen.resume();
        choice
    }

    fn second_message(&self, begun: bool) -> String {
        let clean = &self.clean;
        if begun && self.detach.is_cancelled() {
            return format!("Left at once. The tests may go on; to follow them:\n  {}", self.attach);
        }
        format!("Left at once. Machines of this run end by themselves; to remove everything now:\n  {clean}")
    }
}

/// Watches the signals of work that is not a run: the first cancels `stop`, which has the effect that `doing`
/// describes, the second prints `second` and ends the process.
pub fn watch_work(stop: CancellationToken, doing: &'static str, second: String) -> Result<(), Fault> {
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        signals.next().await;
        stop.cancel();
        ui::complain(&format!("\nInterrupted: {doing}. Once more leaves at once."));
        signals.next().await;
        leave(&second);
    });
    Ok(())
}

/// Does work that is not a run and makes nothing but files; a signal abandons it. `left` is the hint of the fault then.
pub async fn until_signal<T>(work: impl Future<Output = Result<T, Fault>>, left: &str) -> Result<T, Fault> {
    let mut signals = Signals::listen()?;
    let done = tokio::select! {
        done = work => Some(done),
        _ = signals.next() => None,
    };
    match done {
        Some(done) => done,
        None => {
            let tidied = tokio::time::timeout(TIDYING_LIMIT, archive::partial::wait_for_cleanup());
            tokio::select! {
                _ = async { tokio::join!(tokio::time::sleep(TIDYING), tidied) } => {}
                _ = signals.next() => {}
            }
            Err(Fault::new(FaultKind::Interrupted, "interrupted").hint(left))
        }
    }
}

fn leave(why: &str) {
    ui::close();
    ui::complain(why);
    connection::interactive::restore_terminal();
    ui::secret::restore();
    std::process::exit(exit::INTERRUPTED);
}
