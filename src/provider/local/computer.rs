//! What this computer and this user have.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::base::leash::Leash;
use crate::provider::local::guard::{SUBIDS_HINT, UIDMAP_HINT};
use crate::provider::local::spec::{IdMap, MAPPED_IDS};
use crate::provider::local::trouble::{Doing, Trouble};

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The map of a machine's ids: none for root, who needs none; for others their subordinate ids.
pub fn id_map() -> Result<Option<IdMap>, Trouble> {
    if is_root() {
        return Ok(None);
    }
    let uid = rustix::process::geteuid().as_raw();
    let user = user_name(uid);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let first = |path: &str| {
        subordinate(&read(path), &user, uid).ok_or_else(|| {
            Trouble::new(format!("user `{user}` has no {MAPPED_IDS} subordinate ids in `{path}`")).hint(SUBIDS_HINT)
        })
    };
    let map = IdMap {
        uid,
        gid: rustix::process::getegid().as_raw(),
        subuid: first("/etc/subuid")?,
        subgid: first("/etc/subgid")?,
    };
    for program in ["newuidmap", "newgidmap"] {
        if find_program(program).is_none() {
            return Err(Trouble::new(format!("`{program}` is not installed")).hint(UIDMAP_HINT));
        }
    }
    Ok(Some(map))
}

/// The first of a range of subordinate ids that is long enough.
fn subordinate(table: &str, user: &str, uid: u32) -> Option<u32> {
    let uid = uid.to_string();
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, start, count] = fields.as_slice() else { return None };
        let enough = count.parse::<u32>().is_ok_and(|count| count >= MAPPED_IDS);
        if enough && (*name == user || *name == uid) { start.parse().ok() } else { None }
    })
}

/// The name of a user, from the password file or, where users come from elsewhere, from `id`.
fn user_name(uid: u32) -> String {
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    let local = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    local.unwrap_or_else(|| {
        let said = std::process::Command::new("id").args(["-un", &uid]).leashed(Signal::KILL).output();
        let name = said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        if name.is_empty() { uid } else { name }
    })
}

/// Where system programs are, also those that an ordinary user's `PATH` leaves out.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program of the system, by name.
pub fn find_program(name: &str) -> Option<PathBuf> {
    SYSTEM_PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// The type of the file system that holds `path`, for example `ext4`.
pub fn file_system_of(path: &Path) -> Option<String> {
    let path = std::fs::canonicalize(path).ok()?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    deepest_mount(&table, &path)
}

fn deepest_mount(table: &str, path: &Path) -> Option<String> {
    table
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let point = left.split(' ').nth(4)?.replace("\\040", " ");
            path.starts_with(&point).then(|| (point.len(), right.split(' ').next().unwrap_or_default()))
        })
        // Of two mounts on one place the later hides the earlier; `max_by_key` keeps the last of equals.
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| format!("`{kind}`"))
}

/// Makes a folder that only its owner may enter, with those above it.
pub fn private_folder(path: &Path) -> Result<(), Trouble> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .doing(|| format!("make the folder `{}`", path.display()))
}

/// Asks the file system to put each folder below `path` into another corner of the disk.
///
/// On ext4, making files where many were deleted in the last minutes is twenty times slower (measured: a copy of 5,000
/// files took 4.5 s right after another machine's teardown, 0.3 s with this). The place follows from the folder's name, so
/// this helps where names differ, as those of machines do; a folder of one name in all of them would be slow again. Other
/// file systems do not know the wish.
pub fn spread_folders(path: &Path) {
    use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};
    let Ok(folder) = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
        return;
    };
    if let Ok(flags) = ioctl_getflags(&folder)
        && !flags.contains(IFlags::TOPDIR)
    {
        let _ = ioctl_setflags(&folder, flags | IFlags::TOPDIR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_counts_when_it_is_long_enough() {
        let table = "ann:100000:65536\nbob:165536:1000\nbob:300000:65536\n1003:500000:70000\n";
        assert_eq!(subordinate(table, "ann", 1001), Some(100_000));
        assert_eq!(subordinate(table, "bob", 1002), Some(300_000));
        assert_eq!(subordinate(table, "eve", 1003), Some(500_000));
        assert_eq!(subordinate(table, "eve", 1004), None);
    }

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let table = "1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / /a rw - xfs x rw\n3 1 0:3 / /a rw - tmpfs t rw\n";
        assert_eq!(deepest_mount(table, Path::new("/a/b")).as_deref(), Some("`tmpfs`"));
        assert_eq!(deepest_mount(table, Path::new("/ab")).as_deref(), Some("`ext4`"));
    }
}
