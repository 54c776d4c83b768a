//! Asks for a secret, which is not shown as it is typed.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::base::escapes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// How long to wait for an answer, and the pause between two looks at the clock.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The longest answer, bytes.
const LONGEST: usize = 1024;

/// The terminal that does not echo at the moment, and the state to be restored.
static HIDDEN: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Restores the state of a terminal that does not echo. Code that ends the process without unwinding must call it;
/// harmless at any other time.
pub fn restore() {
    if let Some((terminal, state)) = HIDDEN.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(&terminal, OptionalActions::Flush, &state);
    }
}

/// Asks on the terminal of this process, wherever its three streams go, and reads a line that is not shown. None where
/// there is no terminal, where this process may not read it, and where nobody answers. Blocks its thread.
pub fn ask(question: &str) -> Option<String> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?;
    // A background process that reads its terminal is stopped by the kernel.
    if tcgetpgrp(&terminal).ok()? != rustix::process::getpgrp() {
        return None;
    }
    let state = tcgetattr(&terminal).ok()?;
    *HIDDEN.lock().unwrap_or_else(PoisonError::into_inner) = Some((terminal.try_clone().ok()?, state.clone()));
    let mut hidden = state;
    // Without signals, the keys that would end the process arrive as bytes: the terminal's state is restored whatever
    // is typed.
    hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    let answer = tcsetattr(&terminal, OptionalActions::Flush, &hidden).ok().and_then(|()| {
        rustix::io::write(&terminal, escapes::one_line(question).as_bytes()).ok()?;
        let answer = read_line(&terminal, Instant::now() + LIMIT);
        let _ = rustix::io::write(&terminal, b"\r\n");
        answer
    });
    restore();
    answer
}

fn read_line(terminal: &OwnedFd, end: Instant) -> Option<String> {
    let mut line = Vec::new();
    while Instant::now() < end {
        let mut polled = [PollFd::new(terminal, PollFlags::IN)];
        if !matches!(poll(&mut polled, Some(&POLL)), Ok(1..)) {
            continue;
        }
        let mut byte = [0];
        if rustix::io::read(terminal, &mut byte).ok()? == 0 {
            return None;
        }
        match edit(&mut line, byte[0]) {
            Typed::More => {}
            Typed::Line => return String::from_utf8(line).ok(),
            Typed::GivenUp => return None,
        }
    }
    None
}

#[derive(Debug, PartialEq, Eq)]
enum Typed {
    More,
    Line,
    GivenUp,
}

/// Applies a key to the line: Enter ends it, Backspace and Ctrl-U delete, Ctrl-C, Ctrl-D and Ctrl-\ give up.
fn edit(line: &mut Vec<u8>, key: u8) -> Typed {
    match key {
        b'\r' | b'\n' => return Typed::Line,
        0x03 | 0x04 | 0x1c => return Typed::GivenUp,
        0x08 | 0x7f => {
            // Removes the whole character, which may be several bytes.
            while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
        }
        0x15 => line.clear(),
        _ if line.len() < LONGEST => line.push(key),
        _ => {}
    }
    Typed::More
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_corrected_and_given_up() {
        let mut line = Vec::new();
        for key in "xy\u{15}sé\u{7f}ecreX\u{8}t".bytes() {
            assert_eq!(edit(&mut line, key), Typed::More);
        }
        assert_eq!((edit(&mut line, b'\r'), line.as_slice()), (Typed::Line, &b"secret"[..]));
        assert_eq!(edit(&mut line, 3), Typed::GivenUp);
    }
}
