//! Pauses the machine while somebody copies its files, so that the copy is of one moment.
//!
//! Whoever connects to the socket `pause.sock` in the machine's folder has it paused for as long as the connection lasts: the guard sends
//! one byte, `+`, once everything on the machine stands still, or `-` and the reason why it does not. All processes are stopped, each before those
//! that it has started, and go on in the opposite order, so that no program sees that another was stopped. Those that somebody had stopped before
//! stay so.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::SocketFlags;
use rustix::process::{Pid, Signal, kill_process};

use super::log;
use crate::proc::{self, Member};
use crate::spec::ProcessId;

/// How long processes may take to stand still: one that waits for the disk stops after that.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How long a process that waits uninterruptibly is waited for where one that it has started stands still: it may wait for that (`vfork`).
const WAITER_LIMIT: Duration = Duration::from_secs(2);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// How long the machine may be paused, whoever asks.
const PAUSE_LIMIT: Duration = Duration::from_secs(3600);

/// How long a client may take to accept its answer.
const CLIENT_LIMIT: Duration = Duration::from_secs(2);

/// A machine that stands still.
pub(super) struct Paused {
    client: UnixStream,
    /// The processes that were stopped, in the order in which that was done.
    stopped: Vec<ProcessId>,
    until: Instant,
}

impl Paused {
    /// Takes the first client that waits at `socket` and pauses the machine whose first process is `init`; none where that failed, which the
    /// client was told.
    pub(super) fn begin(socket: &OwnedFd, init: Pid) -> Option<Self> {
        let client = UnixStream::from(rustix::net::accept_with(socket, SocketFlags::CLOEXEC).ok()?);
        drop(client.set_write_timeout(Some(CLIENT_LIMIT)));
        let mut stopped = Vec::new();
        let stood = stop_all(init.as_raw_nonzero().get(), &mut stopped);
        let answer = match &stood {
            Ok(()) => "+".to_owned(),
            Err(reason) => format!("-{reason}"),
        };
        let told = (&client).write_all(answer.as_bytes());
        if stood.is_err() || told.is_err() {
            go_on(&stopped);
            return None;
        }
        log("the machine is paused");
        Some(Self { client, stopped, until: Instant::now() + PAUSE_LIMIT })
    }

    /// What becomes readable when the client is done.
    pub(super) fn client(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }

    /// Whether it is paused longer than anybody may have it.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() > self.until
    }

    /// Lets the machine go on.
    pub(super) fn end(self) {
        go_on(&self.stopped);
        log("the machine goes on");
    }
}

/// Stops the process `init` and all that it has started, and waits until they stand still. `stopped` gets those that were stopped here.
fn stop_all(init: i32, stopped: &mut Vec<ProcessId>) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let members = proc::family(init);
        if members.is_empty() {
            return Err("the machine has ended".to_owned());
        }
        let moving: Vec<&Member> = members.iter().filter(|member| !member.stands_still()).collect();
        for member in &moving {
            // A stop signal that is on its way already is not sent again.
            if !stopped.contains(&member.id) {
                let Some(pid) = Pid::from_raw(member.id.pid) else { continue };
                if kill_process(pid, Signal::STOP).is_ok() {
                    stopped.push(member.id);
                }
            }
        }
        let waits_for_child = |member: &&Member| {
            member.waits() && members.iter().any(|other| other.parent == member.id.pid && other.stands_still())
        };
        let done = match began.elapsed() > WAITER_LIMIT {
            true => moving.iter().all(waits_for_child),
            false => moving.is_empty(),
        };
        if done {
            return Ok(());
        }
        if began.elapsed() > STOP_LIMIT {
            let names: Vec<String> = moving.iter().map(|member| member.id.to_string()).collect();
            return Err(format!("{} did not stand still within {} s", names.join(", "), STOP_LIMIT.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
}

/// Lets processes go on, the last that was stopped first.
fn go_on(stopped: &[ProcessId]) {
    for id in stopped.iter().rev().filter(|id| proc::is_alive(**id)) {
        if let Some(pid) = Pid::from_raw(id.pid) {
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_family_stands_still_and_goes_on_and_what_was_stopped_before_stays_so() {
        let script = "sleep 60 & kill -STOP $!; echo $!; while :; do sleep 0.01; done";
        let mut shell = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(shell.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let (top, sleeper) = (i32::try_from(shell.id()).unwrap(), line.trim().parse::<i32>().unwrap());
        let mut stopped = Vec::new();
        let stood = stop_all(top, &mut stopped);
        // A shell that waits for what it has just begun stands still with that.
        let still = proc::family(top).iter().all(|member| member.stands_still() || member.waits());
        go_on(&stopped);
        let moved = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            proc::family(top).iter().any(|member| member.id.pid == top && !member.stands_still())
        });
        let stays = proc::family(top).iter().any(|member| member.id.pid == sleeper && member.stands_still());
        shell.kill().unwrap();
        shell.wait().unwrap();
        let _ = kill_process(Pid::from_raw(sleeper).unwrap(), Signal::KILL);
        assert_eq!(stood, Ok(()));
        assert!(still && moved && stays, "{still} {moved} {stays}");
        assert!(stopped.first().is_some_and(|first| first.pid == top) && stopped.iter().all(|id| id.pid != sleeper));
        assert!(stop_all(top, &mut Vec::new()).is_err());
    }
}
