//! Removal of a folder with all below it, but nothing of what is mounted there.
//!
//! A bind mount of the same file system has the same device number although its content is not ours, so mounts are
//! distinguished by the kernel's mount number. Only mounts that this process sees prevent a removal; a machine's own
//! mounts are in its namespaces and vanish with them.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
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
/// removed as a link.
pub fn remove_ours(folder: &Path, whose: &dyn Fn(&str) -> EntryOwner, others: &mut Vec<PathBuf>) -> io::Result<()> {
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
        match path.file_name().and_then(OsStr::to_str).map_or(EntryOwner::Others, whose) {
            EntryOwner::Ours => remove_tree(&path)?,
            EntryOwner::Others if is_mount_point(&path)? => return Err(mount_error(&path)),
            EntryOwner::Others => others.push(path),
            EntryOwner::Seen => {}
        }
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

fn mount_of(at: impl AsFd, name: &CStr, flags: AtFlags) -> io::Result<Mount> {
    let found = rustix::fs::statx(at, name, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID)?;
    Ok(match found.stx_mask & StatxFlags::MNT_ID.bits() {
        0 => Mount::Device(found.stx_dev_major, found.stx_dev_minor),
        _ => Mount::Number(found.stx_mnt_id),
    })
}

/// A folder on the way down.
struct Level {
    name: CString,
    entries: Dir,
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
    let mut levels: Vec<Level> = enter(&top, &name, mount, || path.to_owned())?.into_iter().collect();
    while let Some(level) = levels.last_mut() {
        let entry = level.entries.read();
        let Some(entry) = entry else {
            let Some(done) = levels.pop() else { break };
            let above = levels.last().map(|level| level.entries.fd()).transpose()?;
            let removed = rustix::fs::unlinkat(above.unwrap_or_else(|| top.as_fd()), &done.name, AtFlags::REMOVEDIR);
            check_removed(removed, || full_path(parent, &levels, &done.name))?;
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Some(at) = levels.last().map(|level| level.entries.fd()).transpose()? else { break };
        let below = match entry.file_type() {
            FileType::Directory | FileType::Unknown => enter(at, name, mount, || full_path(parent, &levels, name))?,
            _ => {
                check_removed(rustix::fs::unlinkat(at, name, AtFlags::empty()), || full_path(parent, &levels, name))?;
                None
            }
        };
        levels.extend(below);
    }
    Ok(())
}

/// Opens a folder in order to remove its entries; anything but a folder is removed at once.
fn enter(at: impl AsFd, name: &CStr, mount: Mount, path: impl Fn() -> PathBuf) -> io::Result<Option<Level>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&at, name, flags, Mode::empty()) {
        Ok(entered) if mount_of(&entered, c"", AtFlags::EMPTY_PATH)? != mount => Err(mount_error(&path())),
        Ok(entered) => Ok(Some(Level { name: name.to_owned(), entries: Dir::new(entered)? })),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            check_removed(rustix::fs::unlinkat(&at, name, AtFlags::empty()), path)?;
            Ok(None)
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The result of the removal of one entry: an entry that is gone already counts as removed, and a busy one is a mount
/// point.
fn check_removed(removed: rustix::io::Result<()>, path: impl Fn() -> PathBuf) -> io::Result<()> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) => Err(mount_error(&path())),
        removed => Ok(removed?),
    }
}

fn full_path(parent: &Path, levels: &[Level], name: &CStr) -> PathBuf {
    let names = levels.iter().map(|level| level.name.as_c_str()).chain([name]);
    names.fold(parent.to_owned(), |path, name| path.join(OsStr::from_bytes(name.to_bytes())))
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
        remove_ours(&path, &whose, &mut others).unwrap();
        assert_eq!(others, [path.join("theirs")]);
        assert!(path.join("theirs/deep").exists() && !path.join("ours").exists());
        others.clear();
        remove_ours(&path, &|_| EntryOwner::Ours, &mut others).unwrap();
        remove_ours(&path, &|_| EntryOwner::Ours, &mut others).unwrap();
        assert!(others.is_empty() && !path.exists());
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
