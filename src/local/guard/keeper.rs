//! The keeper is the guard's parent. When the guard has ended, in whatever way, and the driver does not remove the
//! machine's folder in time, the keeper removes it, with everything that the system still has of the machine.
//!
//! It holds nothing and does nothing while the guard lives, so that little can end it. A guard whose keeper was killed
//! does the keeper's duty itself; where both are killed, our next command does ([`crate::sweep`]).

use std::os::fd::AsFd;

use model::base::removal;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, WaitOptions};

use super::{log, read_clocks};
use crate::lease::LeaseClock;
use crate::spec::Spec;
use crate::trouble::{Doing, Trouble};
use crate::{channel, proc, release, sys};

/// The interval in which a folder that is left to its driver is looked at.
const TICK_MS: u32 = 1000;

/// The interval in which the guard is looked for, beside the signal that announces its end.
const WATCH_MS: u32 = 60_000;

/// How many times the keeper tries to clear a machine away. What cannot be removed in ten minutes is left to our next
/// command.
const ATTEMPTS: u32 = 600;

/// The least time in seconds that a driver has to move the files of a machine that it has ended into a layer, or to
/// remove them.
const LEAST: i64 = 2;

/// The part that a process has after [`split`].
pub(crate) enum ProcessRole {
    /// The guard, with the process id of its keeper.
    Guard(Option<Pid>),
    /// The keeper.
    Keeper(Keeper),
}

/// The keeper of one machine.
pub(crate) struct Keeper {
    signals: OwnedFd,
    guard: Option<Pid>,
}

/// Splits the process into keeper and guard. The guard is the child, so that the keeper learns of its end.
pub(crate) fn split() -> Result<ProcessRole, Trouble> {
    let keeper = Keeper { signals: signals()?, guard: None };
    let own = rustix::process::getpid();
    match sys::fork().doing(|| "fork")? {
        sys::Fork::Child => Ok(ProcessRole::Guard(Some(own))),
        sys::Fork::Parent(guard) => {
            // Named only after the fork, so that the guard never bears the keeper's name.
            proc::mark_as_keeper();
            Ok(ProcessRole::Keeper(Keeper { guard: Some(guard), ..keeper }))
        }
    }
}

/// Does the keeper's duty in its place where the guard's `keeper` is dead.
pub(crate) fn stand_in(spec: &Spec, keeper: Option<Pid>) {
    if rustix::process::getppid() == keeper {
        return;
    }
    proc::mark_as_keeper();
    if let Ok(signals) = signals() {
        Keeper { signals, guard: None }.keep(spec);
    }
}

fn signals() -> Result<OwnedFd, Trouble> {
    sys::signal_fd(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD]).doing(|| "receive signals")
}

impl Keeper {
    /// Waits until the guard has ended and the machine's folder is gone; removes the folder when the driver has not in
    /// time.
    ///
    /// SIGTERM means that no driver will come any more: a driver sends it when it is done, and a system that shuts down
    /// sends it to all processes.
    pub(crate) fn keep(mut self, spec: &Spec) {
        let mut terminated = false;
        while self.guard.is_some() {
            terminated |= self.wait(WATCH_MS);
        }
        let folder = spec.folder();
        let (mut clock, mut attempts) = (driver_deadline(spec), 0);
        while folder.path().exists() {
            if terminated || clock.is_over(read_clocks(), None) {
                let Some(reason) = clear(spec) else { continue };
                attempts += 1;
                if terminated || attempts > ATTEMPTS {
                    return log(&reason);
                }
            }
            terminated |= self.wait(TICK_MS);
        }
    }

    /// Waits for a signal, and reaps the guard when it has ended; whether the signal was SIGTERM.
    fn wait(&mut self, milliseconds: u32) -> bool {
        channel::wait(&[self.signals.as_fd()], milliseconds);
        let terminated = sys::read_signals(self.signals.as_fd()).contains(&libc::SIGTERM);
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, _))) if Some(pid) == self.guard => self.guard = None,
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    self.guard = None;
                    break;
                }
            }
        }
        terminated
    }
}

/// The time that a driver has for the files of a machine that has ended: until the end of the lease, but at most a
/// grace from now.
fn driver_deadline(spec: &Spec) -> LeaseClock {
    let now = read_clocks();
    let wall = now.wall as i64;
    let lease = std::fs::read_to_string(spec.folder().lease()).ok().and_then(|text| text.trim().parse().ok());
    let lease: i64 = lease.unwrap_or(spec.lease);
    let until = if lease > wall { lease.min(wall + spec.grace).max(wall + LEAST) } else { lease };
    LeaseClock::new(now, until, spec.expires_at.max(until), spec.grace)
}

/// Removes everything that is left of the machine; returns the reason where something stays.
fn clear(spec: &Spec) -> Option<String> {
    release::clear(&spec.folders(), &spec.id, &removal::remove_tree)
}
