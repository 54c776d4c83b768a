//! One program over the host's own files, of which it can change only its machine's folder.
//!
//! What it makes goes into the folder `root`, an overlay over nothing: as on a machine, writes do not wait for the disk,
//! which halves the time of a bootstrap.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::{Pid, WaitOptions};

use super::{Init, root};
use crate::provider::local::spec::{Report, SandboxSpec};
use crate::provider::local::trouble::{Doing, Trouble};
use crate::provider::local::{channel, sys};

/// Runs the program, tells how it ended, and stays until then.
pub fn run(init: &Init<'_>, sandbox: &SandboxSpec) -> Result<i32, Trouble> {
    let folder = init.spec.folder().path().to_owned();
    mount_bind(&folder, &folder).doing(|| format!("bind `{}`", folder.display()))?;
    let own = CString::new(folder.as_os_str().as_bytes()).doing(|| "name the machine's folder")?;
    sys::set_read_only(c"/", true, true).doing(|| "make the host's files read-only")?;
    sys::set_read_only(&own, false, false).doing(|| format!("keep `{}` writable", folder.display()))?;
    let nothing = format!("machines/{}/empty", init.spec.id);
    let empty = init.spec.state.join(&nothing);
    std::fs::create_dir(&empty).doing(|| format!("make `{}`", empty.display()))?;
    root::overlay(init, &[nothing])?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).doing(|| "mount `/proc`")?;
    let signals =
        sys::signal_fd(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD]).doing(|| "receive signals")?;
    let (program, arguments) = sandbox.command.split_first().ok_or_else(|| Trouble::new("nothing to run"))?;
    let child = Command::new(program)
        .args(arguments)
        .envs(sandbox.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&folder)
        .stdin(Stdio::null())
        .spawn()
        .doing(|| format!("run `{program}`"))?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    init.tell(&Report::Ready);
    loop {
        let ready = channel::wait(&[signals.as_fd(), init.channel.as_fd()], 60_000);
        sys::arrived(signals.as_fd());
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if Some(pid) == child {
                let status = ExitStatus::from_raw(status.as_raw());
                let status = status.code().unwrap_or_else(|| -status.signal().unwrap_or(1));
                init.tell(&Report::Finished { status });
                return Ok(0);
            }
        }
        if ready.get(1) == Some(&true) && init.is_orphan() {
            return Ok(1);
        }
    }
}
