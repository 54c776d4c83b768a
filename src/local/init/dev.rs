//! Makes the machine's `/dev`, with the few nodes that programs need.

use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev};
use rustix::mount::{MountFlags, mount, mount_bind};

use crate::trouble::{Doing, Trouble};

/// The character devices of every machine: name, major and minor number.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// The links of every machine: name and target.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The second volume's name in `/dev`, where it is a block device.
const VOLUME: &str = "hg-volume";

/// The mount point of message queues in `/dev`.
const QUEUES: &str = "mqueue";

/// Makes `/dev` at `dev`. In a user namespace (`mapped`) no nodes can be made, so the host's are bound there.
pub(crate) fn make(dev: &Path, mapped: bool, volume: Option<&Path>) -> Result<(), Trouble> {
    mount("tmpfs", dev, "tmpfs", MountFlags::NOSUID, Some(c"mode=755,size=1m")).doing(|| "mount `/dev`")?;
    let all = Mode::from_raw_mode(0o666);
    for (name, major, minor) in NODES {
        let path = dev.join(name);
        if mapped {
            std::fs::write(&path, "").doing(|| format!("make `/dev/{name}`"))?;
            mount_bind(Path::new("/dev").join(name), &path).doing(|| format!("show the host's `/dev/{name}`"))?;
        } else {
            rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, all, makedev(major, minor))
                .and_then(|()| rustix::fs::chmod(&path, all))
                .doing(|| format!("make `/dev/{name}`"))?;
        }
    }
    for (name, target) in LINKS {
        std::os::unix::fs::symlink(target, dev.join(name)).doing(|| format!("make `/dev/{name}`"))?;
    }
    if let Some(device) = volume {
        let found = rustix::fs::stat(device).doing(|| format!("look at `{}`", device.display()))?;
        rustix::fs::mknodat(CWD, dev.join(VOLUME), FileType::BlockDevice, Mode::from_raw_mode(0o660), found.st_rdev)
            .doing(|| format!("make `/dev/{VOLUME}`"))?;
    }
    for name in ["pts", "shm", QUEUES] {
        std::fs::create_dir(dev.join(name)).doing(|| format!("make `/dev/{name}`"))?;
    }
    let noexec = MountFlags::NOSUID | MountFlags::NOEXEC;
    let terminals = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    mount("devpts", dev.join("pts"), "devpts", noexec, Some(terminals)).doing(|| "mount `/dev/pts`")?;
    let shared = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", dev.join("shm"), "tmpfs", shared, Some(c"mode=1777")).doing(|| "mount `/dev/shm`")
}

/// Mounts the message queues of this process's IPC namespace. Failures are ignored, since not every kernel has them.
pub(crate) fn show_queues() {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    let _ = mount("mqueue", Path::new("/dev").join(QUEUES), "mqueue", flags, None);
}
