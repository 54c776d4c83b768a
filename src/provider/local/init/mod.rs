//! A machine's first process: makes its root, then is its `init` and answers on its port 22.
//!
//! It is the guard's child and goes on as our own code, without `exec`. It dies with the guard.

mod caps;
mod dev;
mod files;
mod root;
mod sandbox;
mod serve;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::provider::local::spec::{Kind, Report, Spec};
use crate::provider::local::trouble::{Doing, Trouble};
use crate::provider::local::{channel, sys};

pub use root::{masked_proc, no_overlay};

/// What a first process works with.
struct Init<'a> {
    spec: &'a Spec,
    channel: OwnedFd,
}

/// Runs a machine's first process to its end. `volume` is the block device behind the second volume.
pub fn main(spec: &Spec, channel: OwnedFd, volume: Option<&Path>) -> ! {
    let init = Init { spec, channel };
    let code = match init.run(volume) {
        Ok(code) => code,
        Err(trouble) => {
            init.tell(&Report::Failed(trouble));
            1
        }
    };
    sys::exit_now(code)
}

impl Init<'_> {
    fn tell(&self, report: &Report) {
        if let Ok(bytes) = serde_json::to_vec(report) {
            let _ = channel::send(&self.channel, &bytes, None);
        }
    }

    fn run(&self, volume: Option<&Path>) -> Result<i32, Trouble> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "follow the guard's end")?;
        // A guard that died before the line above has closed its end: no word comes.
        let go = channel::receive(&self.channel).doing(|| "hear from the guard")?;
        if go.bytes.is_empty() {
            return Ok(1);
        }
        rustix::process::setsid().doing(|| "start a session")?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC)
            .doing(|| "make mount, UTS and IPC namespaces")?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .doing(|| "make the mounts private")?;
        match &self.spec.kind {
            Kind::Machine(machine) => {
                let secrets = files::Secrets::read(self.spec, machine)?;
                root::make(self, machine, volume)?;
                files::write(self.spec, machine, &secrets)?;
                serve::run(self, machine)
            }
            Kind::Sandbox(sandbox) => sandbox::run(self, sandbox),
        }
    }

    /// Whether the guard is gone.
    fn is_orphan(&self) -> bool {
        channel::wait(&[self.channel.as_fd()], 0) == [true]
            && channel::receive(&self.channel).is_ok_and(|message| message.bytes.is_empty())
    }
}
