//! Asking what is to become of tests that go on meanwhile.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the question is still open.
const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Longest answer that is read at once.
const LINE: usize = 256;

/// What is to become of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The task goes on, the driver goes.
    Detach,
    /// The task ends.
    Cancel,
    /// As if nothing had been asked.
    KeepOn,
}

/// Whether somebody is there to answer: standard input and error are terminals, and this process may read what is typed (one
/// in the background would be stopped for it).
pub fn somebody_is_there() -> bool {
    let stdin = rustix::stdio::stdin();
    std::io::stdin().is_terminal()
        && std::io::stderr().is_terminal()
        && rustix::termios::tcgetpgrp(stdin).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Asks, and reads lines from the terminal until one is an answer. No answer within `limit`, and the end of the input, mean
/// to keep on; so does `settled`, when there is nothing to be asked any more. Blocks its thread.
pub fn choose(limit: Duration, settled: &CancellationToken) -> Choice {
    let end = Instant::now() + limit;
    let mut typed = Vec::new();
    loop {
        let shown = write!(std::io::stderr().lock(), "[d]etach, [c]ancel or [k]eep on, then Enter? ");
        if shown.is_err() || !read_line(&mut typed, end, settled) {
            return Choice::KeepOn;
        }
        if let Some(choice) = answer(&String::from_utf8_lossy(&typed)) {
            return choice;
        }
    }
}

fn answer(typed: &str) -> Option<Choice> {
    match typed.trim().to_lowercase().as_str() {
        "d" | "detach" => Some(Choice::Detach),
        "c" | "cancel" => Some(Choice::Cancel),
        "k" | "keep" | "keep on" => Some(Choice::KeepOn),
        _ => None,
    }
}

/// Reads what the terminal gives at once, which is a line; false where there is none to come.
fn read_line(line: &mut Vec<u8>, end: Instant, settled: &CancellationToken) -> bool {
    let stdin = rustix::stdio::stdin();
    while Instant::now() < end && !settled.is_cancelled() {
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        if !matches!(poll(&mut polled, Some(&POLL)), Ok(1..)) {
            continue;
        }
        // Past the buffer of the standard library: what is typed next belongs to whoever asks next.
        let mut buffer = [0; LINE];
        let count = rustix::io::read(stdin, &mut buffer).unwrap_or(0);
        line.clear();
        line.extend_from_slice(&buffer[..count]);
        return count > 0;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_letter_or_a_word() {
        for (typed, choice) in [("d\n", Choice::Detach), (" Cancel\n", Choice::Cancel), ("K", Choice::KeepOn)] {
            assert_eq!(answer(typed), Some(choice));
        }
        for none in ["", "\n", "x", "dd", "yes"] {
            assert_eq!(answer(none), None, "{none:?}");
        }
    }
}
