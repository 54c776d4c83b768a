//! Tries what a machine's start needs, in a process of its own: namespaces, an overlay, `/proc`.

use std::io::Write;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::model::check::Check;
use crate::provider::local::spec::IdMap;
use crate::provider::local::trouble::{Doing, Trouble};
use crate::provider::local::{guard, init, sys};

/// The hidden subcommand: `automation internal-probe FOLDER MAP`, where `MAP` is JSON or `null`.
pub const PROBE_COMMAND: &str = "internal-probe";

/// Tries everything below `folder` and writes a line of JSON for each check to standard output. Gives the exit code.
/// Must be called before the process starts a thread.
pub fn main(folder: &Path, map: &str) -> i32 {
    i32::from(run(folder, map).is_none())
}

/// Ends with the first thing that does not work, for the others need it.
fn run(folder: &Path, map: &str) -> Option<()> {
    let map: Option<IdMap> = serde_json::from_str(map).ok()?;
    if let Some(map) = &map {
        tell("user namespaces", guard::enter_user_namespace(map), "usable, with 65536 ids")?;
    }
    let inner =
        sys::unshare(UnshareFlags::NEWNET | UnshareFlags::NEWPID).map_err(|error| guard::refused("namespaces", &error));
    let inner = inner.and_then(|()| sys::loopback_up().doing(|| "bring `lo` up"));
    tell("network and PID namespaces", inner, "usable")?;
    match sys::fork().ok()? {
        // The first process of the new PID namespace; its mounts vanish with it.
        sys::Fork::Child => {
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            sys::exit_now(i32::from(mounts(folder, map.is_some()).is_none()))
        }
        sys::Fork::Parent(child) => {
            let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
        }
    }
    Some(())
}

fn mounts(folder: &Path, mapped: bool) -> Option<()> {
    let apart = sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC)
        .doing(|| "make mount, UTS and IPC namespaces")
        .and_then(|()| {
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).doing(|| "make the mounts private")
        });
    tell("mount namespaces", apart, "usable")?;
    tell("overlay", overlay(folder, mapped), "can be mounted in the state directory")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let proc =
        mount("proc", folder.join("root"), "proc", flags, None).doing(|| "mount `/proc`").map_err(init::masked_proc);
    tell("proc", proc, "can be mounted")
}

fn overlay(folder: &Path, mapped: bool) -> Result<(), Trouble> {
    for name in ["lower", "upper", "work", "root"] {
        std::fs::create_dir(folder.join(name)).doing(|| format!("make `{name}` in `{}`", folder.display()))?;
    }
    rustix::process::chdir(folder).doing(|| format!("change to `{}`", folder.display()))?;
    let options = if mapped {
        c"lowerdir=lower,upperdir=upper,workdir=work,userxattr"
    } else {
        c"lowerdir=lower,upperdir=upper,workdir=work"
    };
    mount("overlay", "root", "overlay", MountFlags::empty(), Some(options))
        .map_err(|error| init::no_overlay(folder, error))?;
    std::fs::write("root/probe", "x").doing(|| "write to an overlay")
}

/// Tells what came of a check, and goes on only if it is well.
fn tell(name: &str, result: Result<(), Trouble>, found: &str) -> Option<()> {
    let check = match &result {
        Ok(()) => Check::good(name, found),
        Err(trouble) => {
            let remedy = trouble.hint.clone().unwrap_or_else(|| "Run as root.".to_owned());
            Check::bad(name, &trouble.message, remedy)
        }
    };
    let mut line = serde_json::to_vec(&check).ok()?;
    line.push(b'\n');
    std::io::stdout().write_all(&line).ok()?;
    result.ok()
}
