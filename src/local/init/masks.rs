//! Hides parts of `/proc` and `/sys` from a machine, and makes others read-only.
//!
//! Root of a user namespace may write to hardly any of them. The masks are for files that everybody may read, and for
//! the case that a file's own permissions are wrong. The lists are those of other container runtimes, and further files
//! that show the computer's memory, keys or timers.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use crate::trouble::{Doing, Trouble};

/// Files that look empty.
const FILES: [&str; 20] = [
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
];

/// Folders that look empty.
const FOLDERS: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/driver",
    "/proc/dynamic_debug",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/bpf",
    "/sys/fs/cgroup",
    "/sys/fs/pstore",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];

/// Folders that can be read but not written.
const READ_ONLY: [&str; 4] = ["/proc/fs", "/proc/irq", "/proc/mtrr", "/proc/sys"];

/// The mount point of the empty folder until it covers others.
const EMPTY: &str = "/dev/shm";

/// Covers the files and folders. This process must be in the machine's root already, with `/dev` mounted.
pub(crate) fn cover() -> Result<(), Trouble> {
    let sealed = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    mount("tmpfs", EMPTY, "tmpfs", sealed, Some(c"size=4k,mode=755")).doing(|| "make an empty folder")?;
    for (from, paths) in [("/dev/null", &FILES[..]), (EMPTY, &FOLDERS[..])] {
        for path in paths {
            accept_missing(mount_bind(from, *path)).doing(|| format!("cover `{path}`"))?;
        }
    }
    unmount(EMPTY, UnmountFlags::DETACH).doing(|| "let go of the empty folder")?;
    for path in READ_ONLY {
        protect(path)?;
    }
    Ok(())
}

/// Makes `path` read-only, if it exists.
pub(crate) fn protect(path: &str) -> Result<(), Trouble> {
    if !Path::new(path).exists() {
        return Ok(());
    }
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_bind(path, path).and_then(|()| mount_remount(path, flags, c"")).doing(|| format!("protect `{path}`"))
}

/// Accepts that a file does not exist on this kernel.
fn accept_missing(covered: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match covered {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
