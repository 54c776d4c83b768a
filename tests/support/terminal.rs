//! A terminal as a person has it: a pseudo terminal, and what is to be seen on it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::picture;
use crate::tool::LIMIT;

/// How many lines that left the screen can still be looked at.
const KEPT: usize = 5000;

struct Seen {
    parser: vt100::Parser,
    raw: Vec<u8>,
    is_open: bool,
}

/// A process on a terminal of its own; killed when dropped.
pub struct Terminal {
    child: Child,
    person: OwnedFd,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Terminal {
    /// Starts `command` with all its streams on a terminal of this size.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let program = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&person, size(rows, columns)).unwrap();
        let stream = || Stdio::from(program.try_clone().unwrap());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        // What holds the other side open goes with the command.
        drop(command);
        drop(program);
        let parser = vt100::Parser::new(rows, columns, KEPT);
        let seen = Arc::new((Mutex::new(Seen { parser, raw: Vec::new(), is_open: true }), Condvar::new()));
        watch(person.try_clone().unwrap().into(), Arc::clone(&seen));
        Self { child, person, seen }
    }

    /// Makes the terminal as large as this.
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut seen = self.seen.0.lock().unwrap();
        seen.parser.screen_mut().set_size(rows, columns);
        tcsetwinsize(&self.person, size(rows, columns)).unwrap();
    }

    /// The lines on the screen.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.seen.0.lock().unwrap().parser)
    }

    /// The same as they look.
    pub fn look(&self) -> Vec<picture::Line> {
        picture::of_screen(self.seen.0.lock().unwrap().parser.screen())
    }

    /// All that came, byte for byte.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen.0.lock().unwrap().raw).into_owned()
    }

    /// Waits until the screen shows what is wanted; gives its lines then.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_there: impl Fn(&[String]) -> bool) -> Vec<String> {
        let (lock, changed) = &*self.seen;
        let end = Instant::now() + LIMIT;
        let mut seen = lock.lock().unwrap();
        loop {
            let lines = lines(&seen.parser);
            if is_there(&lines) {
                return lines;
            }
            let rest = end.saturating_duration_since(Instant::now());
            assert!(seen.is_open && !rest.is_zero(), "no {what} on the terminal:\n{}", lines.join("\n"));
            seen = changed.wait_timeout(seen, rest).unwrap().0;
        }
    }

    /// Waits until a line of the screen holds this.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> Vec<String> {
        self.wait_until(text, |lines| lines.iter().any(|line| line.contains(text)))
    }

    /// Types `text`.
    pub fn type_text(&self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let count = rustix::io::write(&self.person, rest).unwrap();
            rest = &rest[count..];
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process; gives its exit code, and the lines that stay.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, Vec<String>) {
        let end = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "does not end:\n{}", self.lines().join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        };
        let (lock, changed) = &*self.seen;
        let mut seen = lock.lock().unwrap();
        while seen.is_open {
            let (again, over) = changed.wait_timeout(seen, Duration::from_secs(20)).unwrap();
            assert!(!over.timed_out(), "somebody keeps the terminal open");
            seen = again;
        }
        let rows = usize::from(seen.parser.screen().size().0);
        let mut whole = Vec::new();
        seen.parser.screen_mut().set_scrollback(usize::MAX);
        for back in (0..=seen.parser.screen().scrollback()).rev() {
            seen.parser.screen_mut().set_scrollback(back);
            let lines = lines(&seen.parser);
            whole.extend(lines.into_iter().take(if back == 0 { rows } else { 1 }));
        }
        (status.code(), whole)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn lines(parser: &vt100::Parser) -> Vec<String> {
    let screen = parser.screen();
    screen.rows(0, screen.size().1).collect()
}

fn watch(mut person: File, seen: Arc<(Mutex<Seen>, Condvar)>) {
    std::thread::spawn(move || {
        let mut piece = [0; 1 << 16];
        loop {
            let read = person.read(&mut piece).unwrap_or(0);
            let mut now = seen.0.lock().unwrap();
            now.parser.process(&piece[..read]);
            now.raw.extend_from_slice(&piece[..read]);
            now.is_open = read > 0;
            seen.1.notify_all();
            if read == 0 {
                return;
            }
        }
    });
}
