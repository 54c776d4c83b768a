//! Signals that end a program, unless its starter has them ignored on purpose, as `nohup` does with SIGHUP. Then they
//! stay ignored.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that the process listens to from now on, or one that was ignored before and stays ignored.
#[derive(Debug)]
pub struct SignalListener(Option<Signal>);

impl SignalListener {
    /// Begins to listen for the signal.
    pub fn listen(kind: SignalKind) -> io::Result<Self> {
        // Listening replaces the signal's disposition: a second call sees the signal as not ignored.
        match is_ignored_on_purpose(ignored_signals(), kind) {
            true => Ok(Self(None)),
            false => signal(kind).map(Some).map(Self),
        }
    }

    /// Waits until the signal comes; forever where it is ignored.
    pub async fn wait(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Whether somebody ignores a signal on purpose, judged by the mask of all `ignored` signals. A shell without job
/// control makes every program that it starts in the background ignore SIGINT and SIGQUIT together: nobody asked for
/// that, and a SIGINT that is sent to such a process is meant to end it.
fn is_ignored_on_purpose(ignored: u64, kind: SignalKind) -> bool {
    let is = |kind: SignalKind| ignored & (1 << (kind.as_raw_value() - 1)) != 0;
    is(kind) && !(kind == SignalKind::interrupt() && is(SignalKind::quit()))
}

/// The mask of the signals that this process ignores, the lowest bit for number 1; empty where the system does not say.
fn ignored_signals() -> u64 {
    mask(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn mask(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_does_to_all_that_it_starts_in_the_background_is_not_on_purpose() {
        let [hangup, interrupt, quit] = [1, 1 << 1, 1 << 2];
        assert!(is_ignored_on_purpose(hangup | interrupt, SignalKind::interrupt()));
        assert!(!is_ignored_on_purpose(interrupt | quit, SignalKind::interrupt()));
        assert!(is_ignored_on_purpose(hangup | interrupt | quit, SignalKind::hangup()));
        assert!(!is_ignored_on_purpose(interrupt | quit, SignalKind::terminate()));
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(mask("Name:\tx\nSigBlk:\t0000000000000004\nSigIgn:\t0000000000000003\n"), 3);
        assert_eq!(mask("Name:\tx\n"), 0);
    }
}
