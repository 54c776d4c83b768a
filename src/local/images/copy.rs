//! Copies the files that a machine has changed, as they lie on the disk: owners, modes, times, attributes, links, holes, and the marks by
//! which an overlay hides what is below.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// The most bytes that one call copies, so that progress is told now and then.
const PIECE: usize = 16 << 20;

/// The longest value of an attribute, the kernel's own limit.
const LONGEST_VALUE: usize = 64 << 10;

/// What an overlay notes of a file for itself: it is true of the place that the file was in, and of no copy.
const NOTES: [&[u8]; 5] = [b"origin", b"impure", b"nlink", b"upper", b"uuid"];

/// Copies the content of the folder `from`, and its own attributes, into the folder `to`, which is there and empty. Nothing may change `from`
/// meanwhile. `told` hears how many bytes were copied, now and then.
pub(crate) fn copy_tree(from: &Path, to: &Path, told: &mut dyn FnMut(u64)) -> io::Result<u64> {
    let (source, target) = (open_folder(CWD, from.as_os_str())?, open_folder(CWD, to.as_os_str())?);
    let top = target.try_clone()?;
    let mut copy = Copy { top, links: HashMap::new(), bytes: 0, told };
    copy.folder(&source, &target, Path::new(""))?;
    let found = rustix::fs::fstat(&source)?;
    dress(&source, &target, &found)?;
    Ok(copy.bytes)
}

struct Copy<'a> {
    /// The folder that all is copied into.
    top: OwnedFd,
    /// The first name, below `top`, of each file that has several.
    links: HashMap<(u64, u64), PathBuf>,
    bytes: u64,
    told: &'a mut dyn FnMut(u64),
}

fn open_folder(at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// The error with the path at which it occurred, unless it has one already.
fn at(path: &Path, error: io::Error) -> io::Error {
    if error.raw_os_error().is_none() {
        return error;
    }
    io::Error::new(error.kind(), format!("cannot copy `/{}`: {error}", path.display()))
}

impl Copy<'_> {
    /// Copies what is in a folder; `path` is its own below the top.
    fn folder(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path) -> io::Result<()> {
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            self.entry((from, to), name, &path).map_err(|error| at(&path, error))?;
        }
        Ok(())
    }

    fn entry(&mut self, (from, to): (&OwnedFd, &OwnedFd), name: &CStr, path: &Path) -> io::Result<()> {
        let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind != FileType::Directory && found.st_nlink > 1 {
            let file = (found.st_dev, found.st_ino);
            if let Some(first) = self.links.get(&file) {
                return Ok(rustix::fs::linkat(&self.top, first, to, name, AtFlags::empty())?);
            }
            self.links.insert(file, path.to_owned());
        }
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let (inner, copy) = (open_folder(from, name)?, open_folder(to, name)?);
                self.folder(&inner, &copy, path)?;
                dress(&inner, &copy, &found)
            }
            FileType::RegularFile => self.file((from, to), name, &found),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
                let (owner, group) = owners(&found);
                rustix::fs::chownat(to, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
                Ok(rustix::fs::utimensat(to, name, &times(&found), AtFlags::SYMLINK_NOFOLLOW)?)
            }
            // A device of number 0 hides a file below. Any other, a pipe or a socket is nothing but its name.
            _ => {
                rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(found.st_mode), found.st_rdev)?;
                let (owner, group) = owners(&found);
                rustix::fs::chownat(to, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
                rustix::fs::chmodat(to, name, Mode::from_raw_mode(found.st_mode), AtFlags::empty())?;
                Ok(rustix::fs::utimensat(to, name, &times(&found), AtFlags::SYMLINK_NOFOLLOW)?)
            }
        }
    }

    fn file(&mut self, (from, to): (&OwnedFd, &OwnedFd), name: &CStr, found: &Stat) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        // A file system that can shares the blocks, which takes no time and no room.
        if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
            self.content(&source, &target, found.st_size.unsigned_abs())?;
        }
        dress(&source, &target, found)
    }

    /// Copies the parts of a file that have data.
    fn content(&mut self, from: &OwnedFd, to: &OwnedFd, size: u64) -> io::Result<()> {
        rustix::fs::ftruncate(to, size)?;
        let mut next = 0;
        while next < size {
            let start = match rustix::fs::seek(from, SeekFrom::Data(next)) {
                Ok(start) => start,
                // There is only a hole from here on.
                Err(Errno::NXIO) => break,
                Err(_) => next,
            };
            let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(size).min(size);
            self.range(from, to, start, end)?;
            next = end.max(start + 1);
        }
        Ok(())
    }

    fn range(&mut self, from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
        let (mut read_at, mut write_at) = (start, start);
        while read_at < end {
            let most = usize::try_from(end - read_at).unwrap_or(PIECE).min(PIECE);
            let copied = match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), most) {
                Ok(copied) => copied,
                Err(Errno::INTR) => continue,
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    let mut piece = vec![0; most.min(1 << 20)];
                    let read = rustix::io::pread(from, &mut piece, read_at)?;
                    let written = rustix::io::pwrite(to, &piece[..read], write_at)?;
                    (read_at, write_at) = (read_at + written as u64, write_at + written as u64);
                    written
                }
                Err(error) => return Err(error.into()),
            };
            if copied == 0 {
                break;
            }
            self.bytes += copied as u64;
            (self.told)(self.bytes);
        }
        Ok(())
    }
}

fn owners(found: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))
}

fn times(found: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec),
        last_modification: time(found.st_mtime, found.st_mtime_nsec),
    }
}

/// Gives a copy owner, attributes, mode and times, in an order in which none undoes another.
fn dress(from: &OwnedFd, to: &OwnedFd, found: &Stat) -> io::Result<()> {
    let (owner, group) = owners(found);
    rustix::fs::fchown(to, owner, group)?;
    copy_attributes(from, to)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(found.st_mode))?;
    Ok(rustix::fs::futimens(to, &times(found))?)
}

fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0; LONGEST_VALUE];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Ok(length) => length,
        // The file system has none.
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty() && !is_note(name)) {
        let name = CString::new(name).map_err(io::Error::other)?;
        let mut value = vec![0; LONGEST_VALUE];
        let read = rustix::fs::fgetxattr(from, name.as_c_str(), &mut value)?;
        match rustix::fs::fsetxattr(to, name.as_c_str(), &value[..read], XattrFlags::empty()) {
            // A label of this computer, which the copy has got by itself.
            Err(Errno::PERM | Errno::OPNOTSUPP) if name.to_bytes().starts_with(b"security.") => {}
            set => set?,
        }
    }
    Ok(())
}

/// Whether an overlay keeps the attribute for itself.
fn is_note(name: &[u8]) -> bool {
    let of_overlay = name.strip_prefix(b"user.overlay.").or_else(|| name.strip_prefix(b"trusted.overlay."));
    of_overlay.is_some_and(|note| NOTES.contains(&note))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_copy_is_what_it_is_a_copy_of() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for made in [&from, &to, &from.join("inner")] {
            std::fs::create_dir(made).unwrap();
        }
        std::fs::write(from.join("inner/file"), "words").unwrap();
        std::fs::hard_link(from.join("inner/file"), from.join("again")).unwrap();
        std::os::unix::fs::symlink("/no/where", from.join("link")).unwrap();
        rustix::fs::mknodat(CWD, from.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let sparse = std::fs::File::create(from.join("sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        sparse.write_all_at(b"end", (64 << 20) - 3).unwrap();
        std::fs::set_permissions(from.join("inner"), std::fs::Permissions::from_mode(0o2750)).unwrap();
        std::fs::set_permissions(from.join("inner/file"), std::fs::Permissions::from_mode(0o4755)).unwrap();
        let marked =
            rustix::fs::setxattr(from.join("inner"), c"user.overlay.opaque", b"y", XattrFlags::empty()).is_ok();
        if marked {
            rustix::fs::setxattr(from.join("inner"), c"user.overlay.impure", b"y", XattrFlags::empty()).unwrap();
        }
        let mut told = 0;
        let bytes = copy_tree(&from, &to, &mut |bytes| told = bytes).unwrap();
        assert_eq!(told, bytes);
        for name in ["inner", "inner/file", "again", "link", "pipe", "sparse", ""] {
            let [one, other] = [&from, &to].map(|top| std::fs::symlink_metadata(top.join(name)).unwrap());
            let facts = |found: &std::fs::Metadata| (found.mode(), found.uid(), found.mtime(), found.mtime_nsec());
            assert_eq!(facts(&one), facts(&other), "{name}");
        }
        assert_eq!(std::fs::read_to_string(to.join("again")).unwrap(), "words");
        let ino = |name: &str| std::fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(ino("again"), ino("inner/file"));
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("/no/where"));
        let copied = std::fs::metadata(to.join("sparse")).unwrap();
        assert!(copied.len() == 64 << 20 && copied.blocks() * 512 < 1 << 20, "{}", copied.blocks());
        assert!(std::fs::read(to.join("sparse")).unwrap().ends_with(b"end"));
        if marked {
            let mut value = [0; 8];
            assert_eq!(rustix::fs::getxattr(to.join("inner"), c"user.overlay.opaque", &mut value), Ok(1));
            assert!(rustix::fs::getxattr(to.join("inner"), c"user.overlay.impure", &mut value).is_err());
        }
    }

    #[test]
    fn what_cannot_be_copied_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for made in [&from, &to, &from.join("inner"), &to.join("inner")] {
            std::fs::create_dir(made).unwrap();
        }
        let error = copy_tree(&from, &to, &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("`/inner`"), "{error}");
    }
}
