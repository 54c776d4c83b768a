//! Tries, in processes of its own, what the start of a machine needs: namespaces, ids, an overlay, `/proc`, the filter.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use model::check::Check;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

use crate::aside::ForkedWork;
use crate::spec::IdMap;
use crate::trouble::{Doing, Trouble};
use crate::{channel, computer, ids, init, sys, trees};

/// The hidden subcommand: `automation internal-probe FOLDER MAP`, where `MAP` is JSON or `null`.
pub(crate) const PROBE_COMMAND: &str = "internal-probe";

/// Tries everything below `folder` and writes a line of JSON for each check to standard output. Returns the exit code.
/// Must be called before the process starts a thread.
pub(crate) fn main(folder: &Path, map: &str) -> i32 {
    i32::from(run(folder, map).is_none())
}

/// Makes the checks up to the first that fails, because each needs those before it.
fn run(folder: &Path, map: &str) -> Option<()> {
    let map: Option<IdMap> = serde_json::from_str(map).ok()?;
    let root = computer::is_root();
    if let Some(map) = map.as_ref().filter(|_| !root) {
        print_check("user namespaces", ids::enter(map), "usable, with 65536 ids")?;
    }
    for name in ["lower", "upper", "work", "root"] {
        std::fs::create_dir(folder.join(name)).ok()?;
    }
    let (channel, inner_end) = channel::pair().ok()?;
    let mut namespaces = UnshareFlags::NEWPID | UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    if map.is_some() && root {
        namespaces |= UnshareFlags::NEWUSER;
    }
    let forked = sys::fork_into(namespaces).map_err(|error| ids::no_namespace("namespaces", &error));
    match forked {
        Err(trouble) => print_check("namespaces", Err(trouble), ""),
        Ok(sys::Fork::Child) => {
            drop(channel);
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            // The first process of the new PID namespace; its mounts vanish with it.
            sys::exit_now(i32::from(probe_inside(folder, map.as_ref(), &inner_end, root).is_none()))
        }
        Ok(sys::Fork::Parent(child)) => {
            drop(inner_end);
            let done = match map.as_ref().filter(|_| root) {
                Some(map) => probe_from_outside(folder, map, child),
                None => Some(()),
            };
            let done = done.and_then(|()| channel::send(&channel, b"go", None).ok());
            drop(channel);
            let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
            done
        }
    }
}

/// Tries what root does for a machine from outside.
fn probe_from_outside(folder: &Path, map: &IdMap, child: Pid) -> Option<()> {
    print_check("user namespaces", ids::give(child, map), "usable, with 65536 ids that nobody has")?;
    let path = format!("/proc/{}/ns/user", child.as_raw_nonzero());
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let work = || trees::try_overlay(folder, Some(map), Some(namespace.as_fd()));
    let shown = ForkedWork::new(work).and_then(ForkedWork::run);
    let found = "can be mounted in the state directory, with ids that nobody has";
    print_check("overlay", shown, found)
}

fn probe_inside(folder: &Path, map: Option<&IdMap>, channel: &OwnedFd, root: bool) -> Option<()> {
    (channel::receive(channel).ok()?.bytes == b"go").then_some(())?;
    let begun = match map {
        Some(_) => ids::become_root(),
        None => Ok(()),
    };
    let begun = begun.and_then(|()| sys::loopback_up().doing(|| "bring `lo` up"));
    print_check("network and PID namespaces", begun, "usable")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let apart = mount_change("/", private).doing(|| "make the mounts private").and_then(|()| {
        sys::unshare(UnshareFlags::NEWCGROUP | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC)
            .doing(|| "make control group, UTS and IPC namespaces")
    });
    print_check("mount namespaces", apart, "usable")?;
    if map.is_none() || !root {
        print_check("overlay", trees::try_overlay(folder, map, None), "can be mounted in the state directory")?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Mounted over `/proc`, because the machine's root may not enter the probe's folder.
    let proc = mount("proc", "/proc", "proc", flags, None).doing(|| "mount `/proc`").map_err(init::add_proc_hint);
    print_check("proc", proc, "can be mounted")?;
    match map {
        Some(_) => print_check("system calls", init::confine_machine(), "can be filtered, in an inner user namespace"),
        None => Some(()),
    }
}

/// Prints the result of a check; `None` where it failed.
fn print_check(name: &str, result: Result<(), Trouble>, found: &str) -> Option<()> {
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
