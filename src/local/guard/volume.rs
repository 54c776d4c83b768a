//! The second volume of a confined machine. The guard mounts it, because the kernel mounts file systems of disks only
//! for root of the computer.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use model::filesystem::Filesystem;
use model::resource::ResourceKind;
use rustix::fs::{AtFlags, Gid, Uid};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::{Guard, ReportPipe};
use crate::loops;
use crate::spec::{IdMap, SpecKind};
use crate::trees::{MachineTrees, Tree};
use crate::trouble::{Doing, Trouble};

/// Refuses a file system that the kernel does not know. The check loads the kernel module of the file system, if there
/// is one.
pub(crate) fn require(filesystem: Filesystem) -> Result<(), Trouble> {
    open(filesystem).map(drop)
}

fn open(filesystem: Filesystem) -> Result<OwnedFd, Trouble> {
    fsopen(filesystem.name(), FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| {
        let text = match error {
            rustix::io::Errno::NODEV => {
                format!("the kernel of this computer does not know the file system `{filesystem}`")
            }
            error => format!("cannot mount the file system `{filesystem}`: {error}"),
        };
        Trouble::new(text).hint("`automation doctor` says which file systems `--filesystem` can be here.")
    })
}

impl Guard {
    /// Mounts the file system that the machine's first process has made on its disk, and hands the mount in.
    pub(super) fn hand_in_volume(&mut self, channel: &OwnedFd, reports: &mut ReportPipe) -> Result<(), Trouble> {
        let (SpecKind::Machine(machine), Some(map)) = (&self.spec.kind, &self.spec.ids) else {
            return Err(Trouble::new("the machine reports a volume that it does not have"));
        };
        let device = loops::attach(&self.folder.volume())?;
        reports.present(ResourceKind::LoopDevice, device.path.display());
        let tree = mount(machine.filesystem, &device.path)?;
        give(&tree, map)?;
        self.volume = Some(device);
        MachineTrees::one(Tree::Volume, tree).send(channel)
    }
}

fn mount(filesystem: Filesystem, device: &Path) -> Result<OwnedFd, Trouble> {
    let doing = || format!("mount the file system `{filesystem}` of `{}`", device.display());
    let context = open(filesystem)?;
    fsconfig_set_string(&context, "source", device).doing(doing)?;
    fsconfig_create(&context).doing(doing)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).doing(doing)
}

/// Gives a fresh file system, which is almost empty, to the machine's root. Files that are made on it later have ids of
/// the machine by themselves, and vanish with the machine.
fn give(tree: &OwnedFd, map: &IdMap) -> Result<(), Trouble> {
    let (uid, gid) = (Some(Uid::from_raw(map.uid)), Some(Gid::from_raw(map.gid)));
    let doing = || "give the volume to the machine";
    rustix::fs::chownat(tree.as_fd(), c"", uid, gid, AtFlags::EMPTY_PATH).doing(doing)?;
    match rustix::fs::chownat(tree.as_fd(), c"lost+found", uid, gid, AtFlags::SYMLINK_NOFOLLOW) {
        Err(error) if error != rustix::io::Errno::NOENT => Err(error).doing(doing),
        _ => Ok(()),
    }
}
