//! The last step before anything of the image runs: the machine is shut in.
//!
//! Everything so far was made in the machine's *outer* user namespace, which owns its PID, network and control group
//! namespaces and the mount namespace with its root. What runs on the machine runs in an *inner* one, with a copy of the
//! mounts. The kernel locks mounts that come from a namespace above: root in there can add mounts of its own and take them
//! away again, but can neither uncover what was covered nor make writable what is read-only. It has no rights over the
//! outer namespaces: no fresh `/proc`, no control groups, no interfaces.

use rustix::process::{DumpableBehavior, getpid, set_dumpable_behavior};
use rustix::thread::UnshareFlags;

use super::{caps, follow_guard, seccomp};
use crate::aside::Aside;
use crate::trouble::{Doing, Trouble};
use crate::{ids, sys};

/// What a namespace above sets for those below. One user namespace is the inner one: with another, a test would have every
/// right over namespaces of its own, and most ways out of such confinement began there.
const LIMITS: [(&str, &str); 2] =
    [("/proc/sys/user/max_user_namespaces", "1"), ("/proc/sys/user/max_cgroup_namespaces", "0")];

/// Limits how many namespaces there can be; before `/proc/sys` becomes read-only.
pub(crate) fn limit_namespaces() -> Result<(), Trouble> {
    for (path, limit) in LIMITS {
        std::fs::write(path, limit).doing(|| format!("set `{path}` to {limit}"))?;
    }
    Ok(())
}

/// Goes into the inner user namespace, and gives up what is not needed there.
pub(crate) fn shut_in() -> Result<(), Trouble> {
    let own = getpid();
    // Who may not be looked into has files in `/proc` that belong to nobody here; see the end.
    set_dumpable_behavior(DumpableBehavior::Dumpable).doing(|| "own this process's files in `/proc`")?;
    let writer = Aside::new(move || ids::give_same(own))?;
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC)
        .doing(|| "make the machine's inner namespaces")?;
    writer.go()?;
    caps::keep_few()?;
    // An older kernel cannot; there a machine on the computer's network is as near to such sockets as any container on it.
    drop(sys::scope_abstract_sockets());
    seccomp::install()?;
    // This process began as the guard: its program and its memory are the computer's, not the machine's.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "close this process to others")?;
    follow_guard()
}
