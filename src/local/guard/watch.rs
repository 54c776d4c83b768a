//! The guard's watch over its machine: the lease, signals, connections and the end.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitOptions};

use super::{Guard, ReportPipe, handover, log, read_clocks};
use crate::spec::{GuardReport, SpecKind};
use crate::{cgroup, channel, sys};

/// The interval in which the lease is looked at.
const TICK_MS: u32 = 1000;

/// How long killed processes may take to end; a process in an uninterruptible wait can take long.
const END_LIMIT: Duration = Duration::from_secs(20);

impl Guard {
    /// Watches until a signal asks it to stop or the lease is over, then ends the machine. Its files are left to the
    /// driver, and to the keeper where no driver comes for them.
    ///
    /// A machine that has ended by itself, and a sandbox whose program is done, stay guarded until then.
    pub(super) fn watch(&mut self, reports: ReportPipe) {
        let mut reports = Some(reports).filter(|_| matches!(self.spec.kind, SpecKind::Sandbox(_)));
        while self.watch_once(&mut reports) {}
        self.end_machine();
    }

    fn watch_once(&mut self, reports: &mut Option<ReportPipe>) -> bool {
        let (signalled, called, sent) = self.wait();
        if signalled && sys::read_signals(self.signals.as_fd()).contains(&libc::SIGTERM) {
            return false;
        }
        self.reap();
        if called && let Some(control) = &self.control {
            handover::serve(control, self.channel.as_ref(), &self.spec);
        }
        if sent {
            self.read_message(reports);
        }
        let lease = std::fs::read_to_string(self.folder.lease()).ok().and_then(|text| text.trim().parse().ok());
        if self.clock.is_over(read_clocks(), lease) {
            log("the lease is over");
            return false;
        }
        // Without its folder there is nothing left to guard: removing the folder also stops the guard.
        self.folder.path().exists()
    }

    /// Waits for at most a tick. Returns whether a signal came, a client called, and the first process sent a message.
    fn wait(&self) -> (bool, bool, bool) {
        let (control, channel) = (self.control.as_ref(), self.channel.as_ref());
        let mut waited: Vec<BorrowedFd<'_>> = vec![self.signals.as_fd()];
        waited.extend(control.map(AsFd::as_fd));
        waited.extend(channel.map(AsFd::as_fd));
        let mut ready = channel::wait(&waited, TICK_MS).into_iter();
        let signalled = ready.next().unwrap_or_default();
        let called = control.is_some() && ready.next().unwrap_or_default();
        (signalled, called, channel.is_some() && ready.next().unwrap_or_default())
    }

    /// Reads a message of the first process: a sandbox's program is done, or the first process is gone.
    fn read_message(&mut self, reports: &mut Option<ReportPipe>) {
        let Some(channel) = &self.channel else { return };
        let bytes = channel::receive(channel).map(|message| message.bytes).unwrap_or_default();
        if let Ok(report @ GuardReport::Finished { .. }) = serde_json::from_slice(&bytes)
            && let Some(mut reports) = reports.take()
        {
            reports.send(&report);
        }
        if bytes.is_empty() {
            log("the machine's first process has ended");
            self.channel = None;
            *reports = None;
        }
    }

    /// Reaps children that have ended.
    fn reap(&mut self) {
        while let Ok(Some((pid, _))) = rustix::process::wait(WaitOptions::NOHANG) {
            if Some(pid) == self.init {
                self.init = None;
            }
        }
    }

    /// Ends the machine: all other processes die with its first one, and all its mounts vanish.
    pub(super) fn end_machine(&mut self) {
        self.control = None;
        drop(std::fs::remove_file(self.folder.control()));
        if let Some(init) = self.init {
            let _ = rustix::process::kill_process(init, Signal::KILL);
        }
        let limit = Instant::now() + END_LIMIT;
        while self.init.is_some() && Instant::now() < limit {
            self.reap();
            if self.init.is_some() {
                channel::wait(&[self.signals.as_fd()], 50);
                sys::read_signals(self.signals.as_fd());
            }
        }
        self.channel = None;
        self.volume = None;
        for group in self.cgroup.take().map(|plan| plan.groups).unwrap_or_default() {
            let removed = cgroup::remove_patiently(&group.path);
            if let Err(error) = removed {
                log(&format!("cannot remove `{}`: {error}", group.path.display()));
            }
        }
    }
}
