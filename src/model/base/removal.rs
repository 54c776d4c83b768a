//! Removal of a folder with all below it, but nothing of what is mounted there.
//!
//! A bind mount of the same file system has the same device number although its content is not ours, so mounts are
//! distinguished by the kernel's mount number. Only mounts that this process sees prevent a removal; a machine's own
//! mounts are in its namespaces and vanish with them.
//!
//! Whoever could write in a tree chose how deep it is, so neither the descriptors nor the stack that its removal takes
//! grow with its depth, and no path is longer than a name. A folder that was closed on the way down is opened again
//! from the one below it.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::base::quote;

/// How many times the removal of a folder is tried while somebody adds to it, as dying processes do.
const ATTEMPTS: usize = 20;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The owner of an entry in one of the tool's folders, who decides what [`remove_ours`] does with the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryOwner {
    /// Ours: it is removed with all below it.
    Ours,
    /// Somebody else's: it stays, and is reported.
    Others,
    /// A folder that was handled before: what stays in it is reported already.
    Seen,
}

/// Removes `path`, a folder with all below it. It is not an error when `path` does not exist.
///
/// A link is removed as a link. A mount at `path` or below is left as it is, with the folders above it; the error is of
/// kind [`io::ErrorKind::ResourceBusy`], and says where the mount is and what to do.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    for _ in 1..ATTEMPTS {
        match try_remove(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    try_remove(path)
}

/// Whether an entry of a folder is ours, by its name.
pub type IsOurs = fn(&str) -> bool;

/// Removes those entries of a folder that are ours, by their names, and then the folder if it is empty. It is not an
/// error when the folder does not exist. Entries of others are added to `others`. A link in the folder's place is
/// removed as a link. Gives the reasons why something stays that is ours; what cannot be removed does not keep the rest.
pub fn remove_ours(folder: &Path, whose: &dyn Fn(&str) -> EntryOwner, others: &mut Vec<PathBuf>) -> Vec<String> {
    let mut left = Vec::new();
    if let Err(error) = remove_entries(folder, whose, others, &mut left) {
        left.push(stays(folder, &error));
    }
    left
}

/// The reason why something stays that is at `path`.
pub fn stays(path: &Path, error: &io::Error) -> String {
    format!("cannot remove `{}`: {error}", path.display())
}

fn remove_entries(
    folder: &Path,
    whose: &dyn Fn(&str) -> EntryOwner,
    others: &mut Vec<PathBuf>,
    left: &mut Vec<String>,
) -> io::Result<()> {
    match std::fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.is_dir() => return remove_tree(folder),
        Ok(_) => {}
    }
    if is_mount_point(folder)? {
        return Err(mount_error(folder));
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let removed = match path.file_name().and_then(OsStr::to_str).map_or(EntryOwner::Others, whose) {
            EntryOwner::Ours => remove_tree(&path),
            EntryOwner::Others if is_mount_point(&path)? => Err(mount_error(&path)),
            EntryOwner::Others => {
                others.push(path);
                continue;
            }
            EntryOwner::Seen => continue,
        };
        left.extend(removed.err().map(|error| stays(&path, &error)));
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        done => done,
    }
}

/// Whether something is mounted on `path` itself, as this process sees it. A link is not a mount point.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    let (parent, name) = split_path(path)?;
    let parent = folder(parent)?;
    let above = mount_of(&parent, c"", AtFlags::EMPTY_PATH)?;
    match mount_of(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        own => Ok(own? != above),
    }
}

/// The error for a mount point at `path`, which prevents its removal.
fn mount_error(path: &Path) -> io::Error {
    let shown = path.display();
    let quoted = quote::word(&path.to_string_lossy()).unwrap_or_else(|_| shown.to_string());
    let text = format!(
        "`{shown}` is a mount point, and what is mounted there is left as it is; `umount {quoted}` takes it out of the way"
    );
    io::Error::new(io::ErrorKind::ResourceBusy, text)
}

/// The number of a mount, or of its device where the kernel (before Linux 5.8) does not give mount numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mount {
    Number(u64),
    Device(u32, u32),
}

/// What distinguishes a folder from every other one: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FolderId {
    device: (u32, u32),
    inode: u64,
}

fn mount_of(at: impl AsFd, name: &CStr, flags: AtFlags) -> io::Result<Mount> {
    Ok(look(at, name, flags)?.0)
}

fn look(at: impl AsFd, name: &CStr, flags: AtFlags) -> io::Result<(Mount, FolderId)> {
    let found = rustix::fs::statx(at, name, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID | StatxFlags::INO)?;
    let device = (found.stx_dev_major, found.stx_dev_minor);
    let mount = match found.stx_mask & StatxFlags::MNT_ID.bits() {
        0 => Mount::Device(device.0, device.1),
        _ => Mount::Number(found.stx_mnt_id),
    };
    Ok((mount, FolderId { device, inode: found.stx_ino }))
}

fn split_path(path: &Path) -> io::Result<(&Path, CString)> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, format!("`{}` names no entry", path.display()));
    let name = CString::new(path.file_name().ok_or_else(no_name)?.as_bytes())?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or_else(|| Path::new(".")), name))
}

fn folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn try_remove(path: &Path) -> io::Result<()> {
    let (parent, name) = split_path(path)?;
    let top = match folder(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        top => top?,
    };
    let mount = mount_of(&top, c"", AtFlags::EMPTY_PATH)?;
    let mut removal = Removal { parent, top, mount, levels: Vec::new() };
    removal.remove_entry(&name, FileType::Unknown)?;
    while let Some(level) = removal.levels.last_mut() {
        match level.entries.as_mut().and_then(Dir::read).transpose()? {
            None => removal.leave()?,
            Some(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Some(entry) => removal.remove_entry(entry.file_name(), entry.file_type())?,
        }
    }
    Ok(())
}

/// How many of the uppermost folders stay open until they are empty. Ordinary trees are hardly deeper: the layers of an
/// image with Mercurial's tools had 12 levels in November 2026.
const HELD_ABOVE: usize = 24;

/// How many of the folders below those are open, the lowest ones.
const HELD_BELOW: usize = 8;

/// A folder on the way down.
struct Level {
    name: CString,
    id: FolderId,
    /// Its entries, while it is open; the lowest folder always is.
    entries: Option<Dir>,
}

/// A removal that is under way.
struct Removal<'a> {
    parent: &'a Path,
    /// The folder `parent`.
    top: OwnedFd,
    mount: Mount,
    /// The folders from the one to be removed to the one whose entries are being removed.
    levels: Vec<Level>,
}

impl Removal<'_> {
    /// Removes an entry of the lowest folder; one that is a folder becomes the lowest instead.
    fn remove_entry(&mut self, name: &CStr, kind: FileType) -> io::Result<()> {
        if !matches!(kind, FileType::Directory | FileType::Unknown) {
            return self.unlink(name, AtFlags::empty());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let entered = match rustix::fs::openat(self.lowest()?, name, flags, Mode::empty()) {
            Ok(entered) => entered,
            Err(Errno::NOTDIR | Errno::LOOP) => return self.unlink(name, AtFlags::empty()),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let (mount, id) = look(&entered, c"", AtFlags::EMPTY_PATH)?;
        if mount != self.mount {
            return Err(mount_error(&self.full_path(name)));
        }
        let far = self.levels.len().checked_sub(HELD_BELOW).filter(|far| *far >= HELD_ABOVE);
        if let Some(level) = far.and_then(|far| self.levels.get_mut(far)) {
            level.entries = None;
        }
        self.levels.push(Level { name: name.to_owned(), id, entries: Some(Dir::new(entered)?) });
        Ok(())
    }

    /// Removes the lowest folder, which is empty.
    fn leave(&mut self) -> io::Result<()> {
        let Some(done) = self.levels.pop() else { return Ok(()) };
        if let (Some(above), Some(below)) = (self.levels.last_mut(), &done.entries)
            && above.entries.is_none()
        {
            above.entries = Some(reopen(below.fd()?, (self.mount, above.id))?);
        }
        drop(done.entries);
        self.unlink(&done.name, AtFlags::REMOVEDIR)
    }

    /// Removes one entry of the lowest folder. An entry that is gone already counts as removed, and a busy one is a
    /// mount point.
    fn unlink(&self, name: &CStr, flags: AtFlags) -> io::Result<()> {
        match rustix::fs::unlinkat(self.lowest()?, name, flags) {
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::BUSY) => Err(mount_error(&self.full_path(name))),
            removed => Ok(removed?),
        }
    }

    /// The lowest folder, or the one that holds the whole tree.
    fn lowest(&self) -> io::Result<BorrowedFd<'_>> {
        let entries = self.levels.last().and_then(|level| level.entries.as_ref());
        Ok(entries.map(Dir::fd).transpose()?.unwrap_or_else(|| self.top.as_fd()))
    }

    fn full_path(&self, name: &CStr) -> PathBuf {
        let mut path = self.parent.to_owned();
        for name in self.levels.iter().map(|level| level.name.as_c_str()).chain([name]) {
            path.push(OsStr::from_bytes(name.to_bytes()));
        }
        path
    }
}

/// Opens the folder above `below`, to go on with its entries, if it is `expected` still.
///
/// Where somebody moved the tree meanwhile it is another, in which nothing may be removed; the whole removal begins anew
/// then, as with a folder to which somebody adds.
fn reopen(below: impl AsFd, expected: (Mount, FolderId)) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let above = rustix::fs::openat(below, c"..", flags, Mode::empty())?;
    if look(&above, c"", AtFlags::EMPTY_PATH)? != expected {
        return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "a folder in it was moved while it was removed"));
    }
    Ok(Dir::new(above)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_and_what_its_links_lead_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        remove_tree(&path).unwrap();
        remove_tree(&path.join("nor/that")).unwrap();
        std::fs::create_dir_all(path.join("a/b/c")).unwrap();
        std::fs::write(path.join("a/b/file"), "x").unwrap();
        std::fs::create_dir(folder.path().join("kept")).unwrap();
        std::fs::write(folder.path().join("kept/file"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("kept"), path.join("a/link")).unwrap();
        remove_tree(&path).unwrap();
        assert!(!path.exists() && folder.path().join("kept/file").exists());
        std::os::unix::fs::symlink(folder.path().join("kept"), &path).unwrap();
        remove_tree(&path).unwrap();
        assert!(!path.is_symlink() && folder.path().join("kept/file").exists());
    }

    #[test]
    fn of_a_folder_what_others_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs");
        for name in ["ours/deep", "theirs/deep", "seen"] {
            std::fs::create_dir_all(path.join(name)).unwrap();
        }
        let whose = |name: &str| match name {
            "ours" => EntryOwner::Ours,
            "seen" => EntryOwner::Seen,
            _ => EntryOwner::Others,
        };
        let mut others = Vec::new();
        assert_eq!(remove_ours(&path, &whose, &mut others), [""; 0]);
        assert_eq!(others, [path.join("theirs")]);
        assert!(path.join("theirs/deep").exists() && !path.join("ours").exists());
        others.clear();
        for _ in 0..2 {
            assert_eq!(remove_ours(&path, &|_| EntryOwner::Ours, &mut others), [""; 0]);
        }
        assert!(others.is_empty() && !path.exists());
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let left = remove_ours(&folder.path().join("file/x"), &whose, &mut others);
        assert!(left.len() == 1 && left[0].contains("/file/x`: Not a directory"), "{left:?}");
    }

    /// Makes `depth` folders below each other in `top`, each with a file and a link; by descriptors, because their paths
    /// are too long.
    fn dig(top: &Path, depth: usize) {
        let mut at = folder(top).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            rustix::fs::symlinkat(c"/proc", &at, c"link").unwrap();
            at = rustix::fs::openat(&at, c"d", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(&at, c"file", flags, Mode::RUSR).unwrap());
        }
    }

    #[test]
    fn a_tree_of_any_depth_takes_few_descriptors() {
        // The limit counts for a whole process.
        let own = std::env::current_exe().unwrap();
        let child = std::process::Command::new(own)
            .args(["--ignored", "--exact", "base::removal::tests::deep_trees_with_64_descriptors"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "a part of another test, in a process of its own"]
    fn deep_trees_with_64_descriptors() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
        // A busy disk takes long for so many folders.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = folder.path().join("x");
        std::fs::create_dir(&path).unwrap();
        dig(&path, 5000);
        // Folders that have several deep ones are closed and opened again several times.
        for (above, name) in [(0, "a"), (1, "a"), (30, "a"), (30, "b"), (30, "c"), (100, "a"), (101, "b"), (1000, "a")]
        {
            let side = path.join("d/".repeat(above)).join(name);
            std::fs::create_dir(&side).unwrap();
            dig(&side, 200);
        }
        remove_tree(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_tree_that_was_moved_meanwhile_leads_into_no_other_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x/d", "other"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let open = |name: &str| super::folder(&folder.path().join(name)).unwrap();
        let (above, below) = (open("x"), open("x/d"));
        let expected = look(&above, c"", AtFlags::EMPTY_PATH).unwrap();
        reopen(&below, expected).unwrap();
        std::fs::rename(folder.path().join("x/d"), folder.path().join("other/d")).unwrap();
        assert_eq!(reopen(&below, expected).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
        std::fs::rename(folder.path().join("other/d"), folder.path().join("x/d")).unwrap();
        reopen(&below, expected).unwrap();
    }

    /// Only root can make mounts directly; the tests of the commands make them in namespaces of their own.
    #[test]
    fn proc_is_a_mount_point_and_a_plain_folder_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_mount_point(Path::new("/proc")).unwrap() && !is_mount_point(folder.path()).unwrap());
        assert!(!is_mount_point(&folder.path().join("nothing")).unwrap());
        let error = mount_error(Path::new("/a b"));
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(error.to_string().contains("`umount '/a b'`"), "{error}");
    }
}
