//! The guard's watch over its machine: the lease, signals, connections and the end.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitOptions};

use super::idle::is_used;
use super::pause::Paused;
use super::{Guard, ReportPipe, handover, log, read_clocks};
use crate::spec::{GuardReport, SpecKind, write_atomically};
use crate::{cgroup, channel, sys};

/// The interval in which the lease is looked at.
const TICK_MS: u32 = 1000;

/// How long killed processes may take to end; a process in an uninterruptible wait can take long.
const END_LIMIT: Duration = Duration::from_secs(20);

/// What a guard has to see to.
struct Ready {
    /// A signal came.
    signal: bool,
    /// A client wants a connection.
    caller: bool,
    /// The first process sent a message.
    message: bool,
    /// Somebody wants the machine to be paused.
    pauser: bool,
    /// Whoever has it paused is done.
    resumer: bool,
}

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
        let ready = self.wait();
        if ready.signal && sys::read_signals(self.signals.as_fd()).contains(&libc::SIGTERM) {
            return false;
        }
        self.reap();
        if ready.caller
            && let Some(control) = &self.control
        {
            handover::serve(control, self.channel.as_ref(), &self.spec);
            // A login may be over before anybody looks for it.
            if let Some(clock) = &mut self.idle {
                clock.note_use(sys::awake_clock());
            }
        }
        if ready.message {
            self.read_message(reports);
        }
        self.mind_pause(&ready);
        let lease = std::fs::read_to_string(self.folder.lease()).ok().and_then(|text| text.trim().parse().ok());
        if self.clock.is_over(read_clocks(), lease) {
            log("the lease is over");
            return false;
        }
        if self.is_idle() {
            log("nobody has used the machine for too long");
            // No driver comes for the files, and no command takes the machine for one that lives.
            drop(write_atomically(&self.folder.lease(), (read_clocks().wall as i64).to_string().as_bytes()));
            return false;
        }
        // Without its folder there is nothing left to guard: removing the folder also stops the guard.
        self.folder.path().exists()
    }

    /// Whether nobody has used the machine for longer than it may be idle.
    fn is_idle(&mut self) -> bool {
        let (Some(clock), Some(init)) = (&mut self.idle, self.init) else { return false };
        clock.is_over(sys::awake_clock(), || is_used(init))
    }

    /// Begins a pause that somebody asks for, and ends one whose client is done.
    fn mind_pause(&mut self, ready: &Ready) {
        if let Some(paused) = self.paused.take_if(|paused| ready.resumer || paused.is_over()) {
            paused.end();
        }
        if let (true, None, Some(socket), Some(init)) = (ready.pauser, &self.paused, &self.pause, self.init) {
            self.paused = Paused::begin(socket, init);
        }
    }

    /// Waits for at most a tick, and says what there is to see to.
    fn wait(&self) -> Ready {
        let paused = self.paused.as_ref().map(Paused::client);
        // While the machine is paused, whoever wants that too has to wait.
        let pause = self.pause.as_ref().filter(|_| paused.is_none());
        let others = [self.control.as_ref(), self.channel.as_ref(), pause].map(|fd| fd.map(AsFd::as_fd));
        let waited: Vec<BorrowedFd<'_>> =
            std::iter::once(self.signals.as_fd()).chain(others.into_iter().flatten()).chain(paused).collect();
        let mut ready = channel::wait(&waited, TICK_MS).into_iter();
        let mut of = |is_waited: bool| is_waited && ready.next().unwrap_or_default();
        Ready {
            signal: of(true),
            caller: of(self.control.is_some()),
            message: of(self.channel.is_some()),
            pauser: of(pause.is_some()),
            resumer: of(paused.is_some()),
        }
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
        self.pause = None;
        self.paused = None;
        drop(std::fs::remove_file(self.folder.control()));
        drop(std::fs::remove_file(self.folder.pause()));
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
