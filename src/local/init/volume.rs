//! The second volume of a confined machine: a file system on a disk of its own, which only root of the computer may
//! mount.
//!
//! The image's own program makes it, as on every other machine, on a file that is not a device yet, and before anybody
//! can log in: so no test has written the file system that the guard then mounts.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use model::base::text;
use model::filesystem::Filesystem;
use rustix::mount::{UnmountFlags, unmount};

use super::Init;
use crate::channel;
use crate::spec::GuardReport;
use crate::trees::{MachineTrees, Tree, attach, make_folder};
use crate::trouble::{Doing, Trouble};

/// The mount point of the file while its file system is made.
const DISK: &str = "/run/automation/disk";

/// The mount point of the volume.
pub(crate) const PLACE: &str = "/run/hg-volume";

/// The search path for programs of the image.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program that makes each file system, with its flags. The journal and the inode tables of ext3 and ext4 are
/// initialised later, while the machine is already in use; nothing is discarded, because the file is sparse already.
fn maker(filesystem: Filesystem) -> Option<&'static [&'static str]> {
    match filesystem {
        Filesystem::Btrfs => Some(&["mkfs.btrfs", "--quiet", "--force", "--nodiscard"]),
        Filesystem::Ext3 => Some(&["mkfs.ext3", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]),
        Filesystem::Ext4 => Some(&["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]),
        Filesystem::Jfs => Some(&["mkfs.jfs", "-q"]),
        Filesystem::Xfs => Some(&["mkfs.xfs", "-q", "-f", "-K"]),
        // The files of these two kinds do not lie on the volume.
        Filesystem::Default | Filesystem::Tmpfs => None,
    }
}

/// Makes the file system, and mounts it when the guard hands it in.
pub(crate) fn bring(init: &Init<'_>, disk: &OwnedFd, filesystem: Filesystem) -> Result<(), Trouble> {
    File::create(DISK).doing(|| format!("make `{DISK}`"))?;
    attach(disk, DISK)?;
    format(filesystem)?;
    unmount(DISK, UnmountFlags::DETACH).doing(|| format!("let go of `{DISK}`"))?;
    init.tell(&GuardReport::Formatted);
    let mut trees = MachineTrees::default();
    trees.receive(channel::receive(init.channel.as_fd()).doing(|| "hear from the guard")?)?;
    make_folder(Path::new(PLACE))?;
    attach(trees.take(Tree::Volume)?, PLACE)
}

fn format(filesystem: Filesystem) -> Result<(), Trouble> {
    let Some([program, flags @ ..]) = maker(filesystem) else {
        return Err(Trouble::new(format!("nothing makes a file system `{filesystem}`")));
    };
    let output = Command::new(program)
        .args(flags)
        .arg(DISK)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Trouble::new(format!("cannot run `{program}`, which the image must have: {error}"))
                .hint("Choose another `--filesystem`, or add the program to the image.")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = text::trim_output(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Trouble::new(format!("`{program}` failed: {stderr}"))
        .hint("Choose another `--filesystem`, or a larger volume."))
}
