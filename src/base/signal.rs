//! Signals that end a program, unless whoever started it ignores them: `nohup` does so with SIGHUP, a shell without job
//! control with SIGINT of what it starts in the background. Then they stay ignored.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that is listened to for the rest of the process, or was ignored when listening began and stays so.
#[derive(Debug)]
pub struct Heeded(Option<Signal>);

impl Heeded {
    /// Begins to listen.
    pub fn listen(kind: SignalKind) -> io::Result<Self> {
        // To listen is to take the signal over: from the second time on it is not ignored any more.
        if ignored() & (1 << (kind.as_raw_value() - 1)) != 0 {
            Ok(Self(None))
        } else {
            signal(kind).map(Some).map(Self)
        }
    }

    /// Waits until it comes once more; for ever where it is ignored.
    pub async fn comes(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// The signals that this process ignores, the lowest bit for number 1; none where the system does not tell.
fn ignored() -> u64 {
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
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(mask("Name:\tx\nSigBlk:\t0000000000000004\nSigIgn:\t0000000000000003\n"), 3);
        assert_eq!(mask("Name:\tx\n"), 0);
    }
}
