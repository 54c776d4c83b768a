//! Runs one program over the host's own files, of which it can change only its machine's folder.
//!
//! Its output goes into the folder `root`, an overlay over nothing: as on a machine, writes do not wait for the disk,
//! which halves the time of a bootstrap. The program is root of the machine's user namespace: it sees those of the
//! host's files that everybody may read, and its own files by names below `/tmp`, because it may not enter the state
//! directory.

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use model::resource::ResourceKind;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, WaitOptions};

use super::{Init, caps, seccomp};
use crate::spec::{GuardReport, SandboxSpec};
use crate::trees::{self, MachineTrees, Tree, attach, make_folder};
use crate::trouble::{Doing, Trouble};
use crate::{channel, sys};

/// The machine's folder, as the program sees it.
pub(crate) const MACHINE: &str = "/tmp/machine";

/// The folder of downloaded tools, as the program sees it.
pub(crate) const TOOLS: &str = "/tmp/tools";

/// Runs the program to its end, and reports its status.
pub(crate) fn run(init: &Init<'_>, sandbox: &SandboxSpec, trees: MachineTrees) -> Result<i32, Trouble> {
    place(init, trees)?;
    if init.spec.ids.is_some() {
        caps::drop_for_confined()?;
        seccomp::install()?;
    }
    let signals =
        sys::signal_fd(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD]).doing(|| "receive signals")?;
    let (program, arguments) = sandbox.command.split_first().ok_or_else(|| Trouble::new("nothing to run"))?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(sandbox.env.iter().map(|(name, value)| (name, value)))
        .current_dir(MACHINE)
        .stdin(Stdio::null())
        .spawn()
        .doing(|| format!("run `{program}`"))?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    init.tell(&GuardReport::Ready);
    loop {
        let ready = channel::wait(&[signals.as_fd(), init.channel.as_fd()], 60_000);
        sys::read_signals(signals.as_fd());
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if Some(pid) == child {
                let status = ExitStatus::from_raw(status.as_raw());
                let status = status.code().unwrap_or_else(|| -status.signal().unwrap_or(1));
                init.tell(&GuardReport::Finished { status });
                return Ok(0);
            }
        }
        if ready.get(1) == Some(&true) && init.is_orphan() {
            return Ok(1);
        }
    }
}

/// Protects the host's files and mounts the machine's.
fn place(init: &Init<'_>, mut trees: MachineTrees) -> Result<(), Trouble> {
    trees::protect_everything()?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", "/tmp", "tmpfs", flags, Some(c"mode=1777")).doing(|| "mount `/tmp`")?;
    make_folder(Path::new(MACHINE))?;
    attach(trees.take(Tree::Folder)?, MACHINE)?;
    init.tell(&GuardReport::Present {
        kind: ResourceKind::Mount,
        locator: init.spec.folder().root().display().to_string(),
    });
    if let Some(tools) = trees.take_optional(Tree::Tools) {
        make_folder(Path::new(TOOLS))?;
        attach(tools, TOOLS)?;
    }
    mount("proc", "/proc", "proc", flags | MountFlags::NOEXEC, None).doing(|| "mount `/proc`")
}
