//! The abilities of this computer and this user: ids, programs, file systems.

use std::path::{Path, PathBuf};

use model::base::id::MachineId;
use nix::unistd::{Uid, User};

use crate::hints;
use crate::spec::{IdMap, MAPPED_IDS};
use crate::trouble::{Doing, Trouble};

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The ids of an ordinary user's machines: the user and its subordinate ids; `None` for root.
pub(crate) fn id_map() -> Result<Option<IdMap>, Trouble> {
    if is_root() {
        return Ok(None);
    }
    let uid = rustix::process::geteuid().as_raw();
    let user = user_name(Uid::from_raw(uid));
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let first = |path: &str| {
        subordinate(&read(path), &user, uid, MAPPED_IDS).ok_or_else(|| {
            Trouble::new(format!("user `{user}` has no {MAPPED_IDS} subordinate ids in `{path}`")).hint(hints::SUBIDS)
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
            return Err(Trouble::new(format!("`{program}` is not installed")).hint(hints::UIDMAP));
        }
    }
    Ok(Some(map))
}

/// The ids for root's machines. No scheme of ids assigns them: users end below 65536, subordinate ids begin at 100000
/// (shadow) or 524288 (systemd), containers of systemd end at 1879048191, and from 2147352576 on ids are reserved again
/// (systemd's table of user ids, `UIDS-GIDS`).
const UNASSIGNED_IDS: std::ops::Range<u32> = 1_879_048_192..2_147_352_576;

/// The number of ids that a machine has.
const RANGE: u32 = MAPPED_IDS + 1;

/// The ids of one of root's machines: those that the files of subordinate ids give root, otherwise a range that nobody
/// has and that follows from the machine's id. Among thousands of machines two may share a range; they are separated in
/// other ways too.
pub(crate) fn unassigned_ids(machine: &MachineId) -> Result<IdMap, Trouble> {
    require_kernel()?;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (subuid, subgid) = (read("/etc/subuid"), read("/etc/subgid"));
    let given = |table: &str| subordinate(table, "root", 0, RANGE);
    let (uid, gid) = match (given(&subuid), given(&subgid)) {
        (Some(uid), Some(gid)) => (uid, gid),
        _ => {
            let taken = [
                subordinate_ranges(&subuid),
                subordinate_ranges(&subgid),
                names(&read("/etc/passwd")),
                names(&read("/etc/group")),
            ];
            let first = free_range(machine, &taken.concat())?;
            (first, first)
        }
    };
    for (path, first) in [("/proc/self/uid_map", uid), ("/proc/self/gid_map", gid)] {
        if !is_mapped(&read(path), first) {
            return Err(Trouble::new(format!("this root has no ids from {first} on to give to a machine (`{path}`)"))
                .hint(
                    "Run outside of this container. `--privileged-machine` makes machines whose root is this root.",
                ));
        }
    }
    Ok(IdMap { uid, gid, subuid: uid + 1, subgid: gid + 1 })
}

/// Refuses kernels before Linux 5.19, the first with overlays over id-mapped mounts.
fn require_kernel() -> Result<(), Trouble> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if kernel_version(&release) >= (5, 19) {
        return Ok(());
    }
    Err(Trouble::new(format!("Linux {release} cannot confine root's machines")).hint(hints::UNCONFINED))
}

/// The first two numbers of a kernel's release.
pub(crate) fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// The first id of a range that overlaps none of `taken` (first id and length). The machine's id selects the range, so
/// that a machine always gets the same one.
fn free_range(machine: &MachineId, taken: &[(u32, u32)]) -> Result<u32, Trouble> {
    use sha2::{Digest, Sha256};
    let ranges = (UNASSIGNED_IDS.end - UNASSIGNED_IDS.start) / RANGE;
    let digest = Sha256::digest(machine.as_str().as_bytes());
    let wish = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) % ranges;
    let is_free = |first: &u32| {
        taken.iter().all(|(start, length)| start.saturating_add(*length) <= *first || *start >= first + RANGE)
    };
    (0..ranges)
        .map(|step| UNASSIGNED_IDS.start + (wish + step) % ranges * RANGE)
        .find(is_free)
        .ok_or_else(|| Trouble::new("every range of ids for machines is taken (`/etc/subuid`, `/etc/subgid`)"))
}

/// The ranges in a table of subordinate ids.
fn subordinate_ranges(table: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    table.lines().filter_map(range).collect()
}

/// The ids in a table of users or groups.
fn names(table: &str) -> Vec<(u32, u32)> {
    table.lines().filter_map(|line| Some((line.split(':').nth(2)?.parse().ok()?, 1))).collect()
}

/// Whether a user namespace with this map has a machine's ids from `first` on.
fn is_mapped(map: &str, first: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [inside, _, length] = numbers.as_slice() else { return false };
        *inside <= u64::from(first) && u64::from(first) + u64::from(RANGE) <= inside + length
    })
}

/// The first id of the user's first range of subordinate ids that is long enough.
fn subordinate(table: &str, user: &str, uid: u32, least: u32) -> Option<u32> {
    let uid = uid.to_string();
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, start, count] = fields.as_slice() else { return None };
        let enough = count.parse::<u32>().is_ok_and(|count| count >= least);
        if enough && (*name == user || *name == uid) { start.parse().ok() } else { None }
    })
}

/// The name of a user by the system's database, which knows those of a directory service too; else its number.
fn user_name(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// The folders of system programs, including those that an ordinary user's `PATH` leaves out.
pub(crate) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds a system program by name.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    SYSTEM_PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// The type of the file system that holds `path`, for example `ext4`.
pub(crate) fn file_system_of(path: &Path) -> Option<String> {
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
        // Of two mounts at one place the later hides the earlier; `max_by_key` returns the last of equals.
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| format!("`{kind}`"))
}

/// Makes a folder that only its owner may enter, and those above it.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), Trouble> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .doing(|| format!("make the folder `{}`", path.display()))
}

/// Asks the file system to put each folder below `path` into another part of the disk.
///
/// On ext4, making files where many were deleted in the last minutes is many times slower (measured: a copy of 5,000
/// files took 4.5 s right after another machine's teardown, 0.3 s with this). The place follows from the folder's name,
/// so this helps where names differ, as those of machines do; folders of the same name in all machines would be slow
/// again. Other file systems ignore the flag.
pub(crate) fn spread_folders(path: &Path) {
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
        assert_eq!(subordinate(table, "ann", 1001, 65535), Some(100_000));
        assert_eq!(subordinate(table, "bob", 1002, 65535), Some(300_000));
        assert_eq!(subordinate(table, "eve", 1003, 65535), Some(500_000));
        assert_eq!(subordinate(table, "eve", 1004, 65535), None);
        assert_eq!(subordinate("root:1000000:65535\n", "root", 0, RANGE), None);
    }

    #[test]
    fn a_machine_of_roots_gets_ids_that_nobody_has() {
        let one: MachineId = "hg-0000000001".parse().unwrap();
        let first = free_range(&one, &[]).unwrap();
        assert!(
            UNASSIGNED_IDS.contains(&first)
                && UNASSIGNED_IDS.contains(&(first + RANGE - 1))
                && first.is_multiple_of(RANGE),
            "{first}"
        );
        assert_eq!(free_range(&one, &[]), Ok(first));
        assert_ne!(free_range(&"hg-0000000002".parse().unwrap(), &[]), Ok(first));
        for taken in [(first, 1), (first + 65535, 65536), (first - 10, 11)] {
            let other = free_range(&one, &[taken]).unwrap();
            assert!(other >= taken.0 + taken.1 || other + RANGE <= taken.0, "{taken:?}: {other}");
        }
        assert!(free_range(&one, &[(0, u32::MAX)]).is_err());
        assert_eq!(subordinate_ranges("ann:100000:65536\nx\n"), [(100_000, 65536)]);
        assert_eq!(names("root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/:\n"), [(0, 1), (1000, 1)]);
    }

    #[test]
    fn a_root_that_is_confined_itself_has_no_such_ids() {
        assert!(is_mapped("         0          0 4294967295\n", 1_879_048_192));
        assert!(!is_mapped("0 100000 65536\n", 1_879_048_192));
        assert!(!is_mapped("0 0 1879048193\n", 1_879_048_192));
    }

    #[test]
    fn a_kernels_version_is_its_first_two_numbers() {
        assert_eq!(kernel_version("6.18.44-fc-v657"), (6, 18));
        assert_eq!(kernel_version("5.19"), (5, 19));
        assert_eq!(kernel_version("x"), (0, 0));
    }

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let table = "1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / /a rw - xfs x rw\n3 1 0:3 / /a rw - tmpfs t rw\n";
        assert_eq!(deepest_mount(table, Path::new("/a/b")).as_deref(), Some("`tmpfs`"));
        assert_eq!(deepest_mount(table, Path::new("/ab")).as_deref(), Some("`ext4`"));
    }
}
