//! Confines the machine, which is the last step before anything of the image runs.
//!
//! Everything so far was made in the machine's *outer* user namespace, which owns its PID, network and control group
//! namespaces and the mount namespace with its root. The machine's programs run in an *inner* one, with a copy of the
//! mounts. The kernel locks mounts that come from a parent namespace: root in the inner one can add mounts of its own
//! and remove them again, but can neither uncover what was covered nor make read-only mounts writable. It has no rights
//! over the outer namespaces: no fresh `/proc`, no control groups, no interfaces.

use rustix::process::{DumpableBehavior, getpid, set_dumpable_behavior};
use rustix::thread::UnshareFlags;

use super::{caps, die_with_guard, seccomp};
use crate::aside::ForkedWork;
use crate::trouble::{Doing, Trouble};
use crate::{ids, sys};

/// The limits that a namespace sets for those below it. The one user namespace is the inner one: in another, a test
/// would have every right over namespaces of its own, and most known escapes from such confinement began there.
const LIMITS: [(&str, &str); 2] =
    [("/proc/sys/user/max_user_namespaces", "1"), ("/proc/sys/user/max_cgroup_namespaces", "0")];

/// Limits the number of namespaces. Must run before `/proc/sys` becomes read-only.
pub(crate) fn limit_namespaces() -> Result<(), Trouble> {
    for (path, limit) in LIMITS {
        std::fs::write(path, limit).doing(|| format!("set `{path}` to {limit}"))?;
    }
    Ok(())
}

/// Enters the inner user namespace, and gives up the rights that are not needed there.
pub(crate) fn confine_machine() -> Result<(), Trouble> {
    let own = getpid();
    // The files in `/proc` of a process that is not dumpable do not belong to its user, and the map of ids is written
    // to such a file. The end of this function makes the process undumpable again.
    set_dumpable_behavior(DumpableBehavior::Dumpable).doing(|| "own this process's files in `/proc`")?;
    let writer = ForkedWork::new(move || ids::give_same(own))?;
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC)
        .doing(|| "make the machine's inner namespaces")?;
    writer.run()?;
    caps::drop_for_confined()?;
    // This fails on an older kernel. There a machine on the computer's network can reach such sockets, like any
    // container on that network.
    drop(sys::scope_abstract_sockets());
    seccomp::install()?;
    // This process began as the guard, so that its program and its memory belong to the computer, not to the machine.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "close this process to others")?;
    die_with_guard()
}
