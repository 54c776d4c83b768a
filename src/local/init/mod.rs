//! A machine's first process. It makes the machine's root, then is its `init` and answers on its port 22.
//!
//! The process is the guard's child and continues as our own code, without `exec`. It dies with the guard.

mod caps;
mod confine;
mod dev;
mod files;
mod masks;
mod root;
mod sandbox;
mod seccomp;
mod serve;
mod volume;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use model::machine::Network;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::spec::{GuardReport, MachineSpec, Spec, SpecKind};
use crate::trees::{self, MachineTrees};
use crate::trouble::{Doing, Trouble};
use crate::{channel, ids, sys};

pub(crate) use confine::confine_machine;
pub(crate) use files::Secrets;
pub(crate) use root::add_proc_hint;
pub(crate) use sandbox::{MACHINE, TOOLS};
pub(crate) use volume::PLACE as VOLUME_PLACE;

/// The values that the guard gives to a machine's first process.
pub(crate) struct InitStart<'a> {
    /// The specification of the machine.
    pub spec: &'a Spec,
    /// The channel to the guard.
    pub channel: OwnedFd,
    /// The texts of the machine's folder that only the guard can read; a sandbox has none.
    pub secrets: Option<Secrets>,
    /// The block device of a privileged machine's second volume.
    pub device: Option<&'a Path>,
}

/// The state of a first process.
struct Init<'a> {
    spec: &'a Spec,
    channel: OwnedFd,
}

/// Runs a machine's first process to its end.
pub(crate) fn main(start: InitStart<'_>) -> ! {
    let init = Init { spec: start.spec, channel: start.channel };
    let code = match init.run(start.secrets, start.device) {
        Ok(code) => code,
        Err(trouble) => {
            init.tell(&GuardReport::Failed(trouble));
            1
        }
    };
    sys::exit_now(code)
}

/// Makes the kernel kill this process when the guard ends. A change of user or of rights may undo this, so it must be
/// repeated after each.
fn die_with_guard() -> Result<(), Trouble> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "follow the guard's end")
}

impl Init<'_> {
    fn tell(&self, report: &GuardReport) {
        if let Ok(bytes) = serde_json::to_vec(report) {
            let _ = channel::send(&self.channel, &bytes, None);
        }
    }

    fn run(&self, secrets: Option<Secrets>, device: Option<&Path>) -> Result<i32, Trouble> {
        // No word comes where the guard has died before, since that closed its end.
        let Some(handed) = self.await_word()? else { return Ok(1) };
        rustix::process::setsid().doing(|| "start a session")?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        if self.spec.ids.is_some() {
            ids::become_root()?;
        }
        die_with_guard()?;
        if self.is_orphan() {
            return Ok(1);
        }
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .doing(|| "make the mounts private")?;
        let trees = if handed.is_empty() { trees::make(self.spec, None)? } else { handed };
        match &self.spec.kind {
            SpecKind::Machine(machine) => {
                let secrets = secrets.ok_or_else(|| Trouble::new("the machine got no host key"))?;
                self.be_machine(machine, trees, &secrets, device)
            }
            SpecKind::Sandbox(sandbox) => sandbox::run(self, sandbox, trees),
        }
    }

    /// Waits for the guard's word, and receives the trees that come before it.
    fn await_word(&self) -> Result<Option<MachineTrees>, Trouble> {
        let mut trees = MachineTrees::default();
        loop {
            let message = channel::receive(&self.channel).doing(|| "hear from the guard")?;
            match message.bytes.as_slice() {
                [] => return Ok(None),
                b"go" => return Ok(Some(trees)),
                _ => trees.receive(message)?,
            }
        }
    }

    fn be_machine(
        &self,
        machine: &MachineSpec,
        mut trees: MachineTrees,
        secrets: &Secrets,
        device: Option<&Path>,
    ) -> Result<i32, Trouble> {
        // The root of the new namespace is the machine's control group, so that its name outside is not visible.
        sys::unshare(UnshareFlags::NEWCGROUP).doing(|| "make a control group namespace")?;
        let disk = trees.take_optional(trees::Tree::Disk);
        if machine.network == Network::Loopback {
            sys::loopback_up().doing(|| "bring the machine's network interface `lo` up")?;
        }
        root::make(self, machine, trees, device)?;
        if self.spec.ids.is_some() {
            masks::cover()?;
            confine::confine_machine()?;
        } else {
            sys::unshare(UnshareFlags::NEWUTS | UnshareFlags::NEWIPC).doing(|| "make UTS and IPC namespaces")?;
            root::protect_host()?;
            caps::drop_for_privileged()?;
        }
        // The mounts are made only now: mounts of the outer namespace are locked together, so that the machine could
        // bind `/etc` elsewhere only with all mounts in it.
        files::write(self.spec, machine, secrets)?;
        let name = self.spec.id.as_str().as_bytes();
        rustix::system::sethostname(name).doing(|| "set the host name")?;
        dev::show_queues();
        if let Some(disk) = disk {
            volume::bring(self, &disk, machine.filesystem)?;
        }
        serve::run(self, machine)
    }

    /// Whether the guard is gone.
    fn is_orphan(&self) -> bool {
        channel::wait(&[self.channel.as_fd()], 0) == [true]
            && channel::receive(&self.channel).is_ok_and(|message| message.bytes.is_empty())
    }
}
