//! Asks what is to become of tests that go on meanwhile.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio_util::sync::CancellationToken;

/// The pause between two looks at whether the question is still open.
const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The longest answer that is read at once, bytes.
const LINE: usize = 256;

/// The user's decision about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptChoice {
    /// The task goes on, the driver leaves.
    Detach,
    /// The task ends.
    Cancel,
    /// The run goes on as if nothing had been asked.
    KeepOn,
}

/// Whether a person can answer: standard input and error are terminals, and this process may read what is typed (a
/// background process would be stopped by the kernel for it).
pub fn can_ask() -> bool {
    let stdin = rustix::stdio::stdin();
    std::io::stdin().is_terminal()
        && std::io::stderr().is_terminal()
        && rustix::termios::tcgetpgrp(stdin).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Asks, and reads lines from the terminal until one is an answer. No answer within `limit` means to keep on, as does
/// the end of the input, and `settled`, which is cancelled when there is nothing left to ask. Blocks its thread.
pub fn choose(limit: Duration, settled: &CancellationToken) -> InterruptChoice {
    let end = Instant::now() + limit;
    let mut typed = Vec::new();
    loop {
        let shown = write!(std::io::stderr().lock(), "[d]etach, [c]ancel or [k]eep on, then Enter? ");
        if shown.is_err() || !read_line(&mut typed, end, settled) {
            return InterruptChoice::KeepOn;
        }
        if let Some(choice) = answer(&String::from_utf8_lossy(&typed)) {
            return choice;
        }
    }
}

fn answer(typed: &str) -> Option<InterruptChoice> {
    match typed.trim().to_lowercase().as_str() {
        "d" | "detach" => Some(InterruptChoice::Detach),
        "c" | "cancel" => Some(InterruptChoice::Cancel),
        "k" | "keep" | "keep on" => Some(InterruptChoice::KeepOn),
        _ => None,
    }
}

/// Reads what the terminal gives at once, which is a line; false where no line will come.
fn read_line(line: &mut Vec<u8>, end: Instant, settled: &CancellationToken) -> bool {
    let stdin = rustix::stdio::stdin();
    while Instant::now() < end && !settled.is_cancelled() {
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        if !matches!(poll(&mut polled, Some(&POLL)), Ok(1..)) {
            continue;
        }
        // The read bypasses the buffer of the standard library: what is typed next belongs to the next question.
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
        for (typed, choice) in
            [("d\n", InterruptChoice::Detach), (" Cancel\n", InterruptChoice::Cancel), ("K", InterruptChoice::KeepOn)]
        {
            assert_eq!(answer(typed), Some(choice));
        }
        for none in ["", "\n", "x", "dd", "yes"] {
            assert_eq!(answer(none), None, "{none:?}");
        }
    }
}
