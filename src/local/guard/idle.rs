//! Sees whether a machine is used: whether somebody is logged in, or a task runs.

use rustix::process::Pid;

use crate::proc::{self, Member};

/// The pause between two looks, seconds: a look reads the list of all processes.
const LOOK: f64 = 2.0;

/// Follows how long nobody has used a machine. The time that the computer slept does not count.
#[derive(Debug)]
pub(super) struct IdleClock {
    /// How long nobody may use it, seconds.
    most: f64,
    used: f64,
    looked: f64,
}

impl IdleClock {
    /// The clock of a machine that begins at `now` and is not used for `most` seconds at most.
    pub(super) fn new(most: u64, now: f64) -> Self {
        Self { most: most as f64, used: now, looked: now }
    }

    /// Somebody used it at `now`.
    pub(super) fn note_use(&mut self, now: f64) {
        self.used = now;
    }

    /// Whether nobody has used the machine for too long. `is_used` looks.
    pub(super) fn is_over(&mut self, now: f64, is_used: impl FnOnce() -> bool) -> bool {
        if now - self.looked < LOOK {
            return false;
        }
        self.looked = now;
        if is_used() {
            self.used = now;
        }
        now - self.used > self.most
    }
}

/// Whether somebody is logged in to the machine whose first process is `init`, or a task runs on it.
pub(super) fn is_used(init: Pid) -> bool {
    let top = init.as_raw_nonzero().get();
    proc::family(top).iter().filter(|member| member.id.pid != top).map(Member::line).any(|line| is_use(&line))
}

/// The files of the supervisors of tasks.
const SUPERVISORS: [&[u8]; 2] = [b"supervise.sh", b"supervise.py"];

/// Whether the process of this command line is a login, or supervises a task. A server that only listens is neither.
fn is_use(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == 0);
    let first = words.clone().next().unwrap_or_default();
    let session = first.starts_with(b"sshd: ") || first.starts_with(b"sshd-session: ");
    if session {
        return !first.windows(LISTENER.len()).any(|part| part == LISTENER);
    }
    let is_supervisor = |word: &[u8]| SUPERVISORS.iter().any(|name| word.ends_with(name));
    words.any(is_supervisor) && words.next() == Some(b"supervise")
}

/// What the title of an SSH server says that waits for connections.
const LISTENER: &[u8] = b"[listener]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_idle_since_it_was_seen_in_use() {
        let mut clock = IdleClock::new(60, 100.0);
        assert!(!clock.is_over(101.0, || panic!("it was looked at a moment ago")));
        assert!(!clock.is_over(150.0, || true));
        assert!(!clock.is_over(209.0, || false));
        clock.note_use(210.0);
        assert!(!clock.is_over(269.0, || false), "somebody came and went between two looks");
        assert!(clock.is_over(276.0, || false));
    }

    #[test]
    fn logins_and_tasks_are_use_and_nothing_else() {
        let uses = [
            "sshd: hg@notty\0\0\0",
            "sshd-session: hg [priv]\0",
            "sh\0/tmp/hg-automation-x/supervise.sh\0supervise\0/tmp/hg-automation-x/y\0",
            "C:\\python.exe\0-I\0C:/hg-automation-x/supervise.py\0supervise\0",
        ];
        for line in uses {
            assert!(is_use(line.as_bytes()), "{line}");
        }
        let others = [
            "",
            "sleep\x0060\0",
            "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups\0",
            "sh\0supervise.sh\0boot\0",
        ];
        for line in others {
            assert!(!is_use(line.as_bytes()), "{line}");
        }
    }
}
