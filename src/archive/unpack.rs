//! Unpacks an archive from a machine into a local folder, safely whatever the archive says: nothing is made outside of
//! that folder, nothing is written through a link, no link that is made leads out of it, and no file has its name
//! before all are whole.
//!
//! Everything is made in a new, private folder first. Nobody else writes there and links come last, so no path in it
//! leads out of it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use model::base::removal;
use model::connection::{ConnectionError, Totals};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::item::{DEPTH_CAP, ENTRIES_CAP, refused};
use crate::links::{Links, leads_out, note};
use crate::names::partial_name;
use crate::partial::{LocalPartial, local_failure};
use crate::place::{LocalTarget, Stream, open_error};
use crate::read::{TarEntry, TarEntryKind, TarReader};

/// Bytes that are read and written at once.
const BUFFER: usize = 256 << 10;

/// Bounds on what an archive may hold.
pub struct Bounds<'a> {
    /// The files that were asked for, by their paths below the top; `None` for the whole of a folder.
    pub expected: Option<HashSet<PathBuf>>,
    /// Most bytes of all files together, holes included, and the reason for refusing more.
    pub cap: (u64, &'a str),
}

/// Unpacks the archive `from` to `local`, and adds the bytes of files to `unpacked_bytes` as they come.
pub(crate) fn unpack(
    from: impl Read,
    local: &Path,
    bounds: Bounds<'_>,
    unpacked_bytes: &AtomicU64,
) -> Result<Totals, ConnectionError> {
    let mut unpacking = Unpacking {
        reader: TarReader { from },
        local,
        unpacked_bytes,
        buffer: vec![0; BUFFER],
        totals: Totals::default(),
        made: Vec::new(),
        folders: HashSet::new(),
        bounds,
    };
    let Some(first) = unpacking.next()? else {
        return match unpacking.bounds.expected {
            Some(expected) if expected.is_empty() => Ok(Totals::default()),
            _ => Err(refused(local, "the machine's archive is empty")),
        };
    };
    if unpacking.bounds.expected.is_none() && first.kind == TarEntryKind::File {
        unpacking.unpack_file(&first)?;
        return Ok(unpacking.totals);
    }
    let stage = Stage::create(local)?;
    let links = unpacking.stage(&stage.path, first)?;
    unpacking.link(&stage, &links)?;
    unpacking.place(stage)?;
    Ok(unpacking.totals)
}

/// A new folder on the file system of the target, whose content is moved there at the end; it is removed when the copy
/// fails.
struct Stage {
    path: PathBuf,
    /// Whether the target is an existing folder, into which the content is merged.
    merge: bool,
    kept: bool,
    /// The lock on the folder, held for as long as this copy is under way.
    _lock: File,
}

impl Stage {
    fn create(local: &Path) -> Result<Self, ConnectionError> {
        // The top may be a link that the user made.
        let merge = local.is_dir();
        if !merge && (local.is_symlink() || local.exists()) {
            return Err(refused(local, "something that is not a folder has its name"));
        }
        let name = local.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let path = if merge { local.join(partial_name("")) } else { local.with_file_name(partial_name(&name)) };
        remove_stale(&path);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path).and_then(|()| open_locked(&path));
        let (lock, _) = made.map_err(|error| local_failure("write", local, &error))?;
        Ok(Self { path, merge, kept: false, _lock: lock })
    }
}

/// Opens a folder and tries to lock it for this copy alone; gives the folder and whether the lock was taken.
fn open_locked(path: &Path) -> std::io::Result<(File, bool)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let locked = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok();
    Ok((folder, locked))
}

/// Removes the folders that killed copies to the same target have left, found by the start of the name of `path`. A
/// folder that cannot be removed is left as it is.
fn remove_stale(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().map(|name| name.to_string_lossy())) else {
        return;
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Some((start, suffix)) = name.rsplit_once('-') else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let other = entry.file_name().to_string_lossy().into_owned();
        let alike = other.rsplit_once('-').is_some_and(|(other, tag)| other == start && tag.len() == suffix.len());
        if alike && let Ok((_lock, true)) = open_locked(&entry.path()) {
            drop(removal::remove_tree(&entry.path()));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.kept {
            drop(removal::remove_tree(&self.path));
        }
    }
}

struct Unpacking<'a, R> {
    reader: TarReader<R>,
    local: &'a Path,
    unpacked_bytes: &'a AtomicU64,
    buffer: Vec<u8>,
    totals: Totals,
    /// The folders that were made, from the top, with their final modes.
    made: Vec<(PathBuf, u32)>,
    /// The same folders as a set: only in these may anything be made.
    folders: HashSet<PathBuf>,
    bounds: Bounds<'a>,
}

impl<R: Read> Unpacking<'_, R> {
    fn next(&mut self) -> Result<Option<TarEntry>, ConnectionError> {
        self.reader.next().map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &Error) -> ConnectionError {
        refused(self.local, &format!("the machine's archive is broken: {error}"))
    }

    fn failed(&self, path: &Path, error: &Error) -> ConnectionError {
        match error.kind() {
            ErrorKind::AlreadyExists => refused(&self.local.join(path), "the machine names it twice"),
            _ => local_failure("write", &self.local.join(path), error),
        }
    }

    /// Makes folders and files below `stage`; gives the links, which are made later.
    fn stage(&mut self, stage: &Path, first: TarEntry) -> Result<Links, ConnectionError> {
        let mut links = Links::new();
        let mut entry = match self.bounds.expected.clone() {
            Some(expected) => {
                for path in &expected {
                    self.above(stage, path)?;
                }
                Some(first)
            }
            None => {
                self.top(&first)?;
                self.next()?
            }
        };
        let mut seen = 0;
        while let Some(found) = entry {
            seen += 1;
            if seen > ENTRIES_CAP {
                return Err(refused(self.local, &format!("the tree has more than {ENTRIES_CAP} entries")));
            }
            let path = self.path(&found)?;
            match found.kind {
                TarEntryKind::Folder => self.folder(stage, path, found.mode)?,
                TarEntryKind::File => self.file(&found, &path, &stage.join(&path))?,
                TarEntryKind::Link if found.target.is_empty() => {
                    return Err(refused(&self.local.join(path), "its link leads nowhere"));
                }
                TarEntryKind::Link => {
                    if let Some(_twice) = links.insert(path.clone(), found.target) {
                        return Err(self.failed(&path, &ErrorKind::AlreadyExists.into()));
                    }
                }
                TarEntryKind::Odd => {
                    let reason = "it is neither a file, a folder nor a symbolic link";
                    return Err(refused(&self.local.join(path), reason));
                }
            }
            entry = self.next()?;
        }
        Ok(links)
    }

    /// Checks that the archive begins with the folder that everything else is in.
    fn top(&mut self, entry: &TarEntry) -> Result<(), ConnectionError> {
        if entry.kind != TarEntryKind::Folder || !matches!(entry.name.as_slice(), b"./" | b".") {
            return Err(refused(self.local, "the machine's archive does not begin with the folder"));
        }
        self.made.push((PathBuf::new(), entry.mode));
        self.folders.insert(PathBuf::new());
        Ok(())
    }

    /// Makes the folders above a file that was asked for.
    fn above(&mut self, stage: &Path, path: &Path) -> Result<(), ConnectionError> {
        let above: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        for folder in above.into_iter().rev() {
            if folder.as_os_str().is_empty() {
                self.folders.insert(folder);
            } else if !self.folders.contains(&folder) {
                self.folder(stage, folder, 0o755)?;
            }
        }
        Ok(())
    }

    /// The path below the top for an entry's name; refuses a name that leads out of the folder or that was not asked
    /// for.
    fn path(&self, entry: &TarEntry) -> Result<PathBuf, ConnectionError> {
        let name = entry.name.as_slice();
        let shown = || Path::new(OsStr::from_bytes(name)).to_owned();
        let trimmed = name.strip_prefix(b"./").unwrap_or(name);
        let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
        let odd = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.contains(&0);
        if trimmed.split(|byte| *byte == b'/').any(odd) {
            return Err(refused(&shown(), "the machine gives it a name that leads out of its folder"));
        }
        let path = PathBuf::from(OsStr::from_bytes(trimmed));
        if let Some(expected) = &self.bounds.expected
            && (matches!(entry.kind, TarEntryKind::Folder | TarEntryKind::Link) || !expected.contains(&path))
        {
            return Err(refused(&shown(), "nobody asked the machine for it"));
        }
        if trimmed.iter().filter(|byte| **byte == b'/').count() >= DEPTH_CAP {
            return Err(refused(self.local, &format!("it has more than {DEPTH_CAP} folders below each other")));
        }
        match path.parent() {
            Some(above) if self.folders.contains(above) => Ok(path),
            _ => Err(refused(&shown(), "the machine does not name the folder that it is in")),
        }
    }

    fn folder(&mut self, stage: &Path, path: PathBuf, mode: u32) -> Result<(), ConnectionError> {
        // Nobody else may enter it until it is in its place, and we must be able to, whatever its final mode is.
        let made = std::fs::DirBuilder::new().mode(0o700).create(stage.join(&path));
        made.map_err(|error| self.failed(&path, &error))?;
        self.folders.insert(path.clone());
        self.made.push((path, mode));
        Ok(())
    }

    fn file(&mut self, entry: &TarEntry, path: &Path, place: &Path) -> Result<(), ConnectionError> {
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(place);
        let file = made.map_err(|error| self.failed(path, &error))?;
        self.fill(entry, &file, path)
    }

    /// Makes the links, and a note in place of each link that leads out of the folder.
    fn link(&mut self, stage: &Stage, links: &Links) -> Result<(), ConnectionError> {
        let existing = stage.merge.then_some(self.local);
        for (path, target) in links {
            let place = stage.path.join(path);
            let made = match leads_out(links, existing, path) {
                false => std::os::unix::fs::symlink(OsStr::from_bytes(target), &place),
                true => {
                    self.totals.replaced_links.push(path.display().to_string());
                    note(&place, target)
                }
            };
            made.map_err(|error| self.failed(path, &error))?;
        }
        self.totals.replaced_links.sort();
        Ok(())
    }

    /// Unpacks an archive that is a single file.
    fn unpack_file(&mut self, entry: &TarEntry) -> Result<(), ConnectionError> {
        let local = match LocalTarget::of(self.local)? {
            LocalTarget::File(path) => path,
            LocalTarget::Stream(path) => return self.pour(entry, &path),
        };
        let (partial, file) = LocalPartial::create(&local)?;
        self.fill(entry, &file, Path::new(""))?;
        self.next()?;
        partial.rename(&local).map_err(|error| local_failure("write", &local, &error))
    }

    /// Unpacks an archive that is a single file into a stream.
    fn pour(&mut self, entry: &TarEntry, path: &Path) -> Result<(), ConnectionError> {
        self.fits(entry)?;
        if !matches!(entry.spans[..], [] | [(0, _)]) || entry.spans.iter().any(|(_, length)| *length != entry.size) {
            return Err(refused(path, "a file with holes cannot be written into it"));
        }
        let to = Stream::open_now(path).map_err(|error| open_error(path, error))?;
        let mut left = entry.size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let part = &mut self.buffer[..room];
            if let Err(error) = self.reader.from.read_exact(part) {
                return Err(self.broken(&error));
            }
            to.write_now(part).map_err(|error| local_failure("write", path, &error))?;
            self.unpacked_bytes.fetch_add(room as u64, Ordering::Relaxed);
            left -= room as u64;
        }
        self.reader.pad(entry.size).map_err(|error| self.broken(&error))?;
        self.totals.files += 1;
        self.totals.bytes += entry.size;
        self.next().map(drop)
    }

    fn fits(&self, entry: &TarEntry) -> Result<(), ConnectionError> {
        match entry.size > self.bounds.cap.0 - self.totals.bytes {
            true => Err(refused(self.local, self.bounds.cap.1)),
            false => Ok(()),
        }
    }

    /// Writes the data of a file from the archive, and sets the file's mode.
    fn fill(&mut self, entry: &TarEntry, file: &std::fs::File, path: &Path) -> Result<(), ConnectionError> {
        self.fits(entry)?;
        let mut written = 0;
        for (offset, length) in &entry.spans {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let room = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
                let part = &mut self.buffer[..room];
                if let Err(error) = self.reader.from.read_exact(part) {
                    return Err(self.broken(&error));
                }
                file.write_all_at(part, at).map_err(|error| self.failed(path, &error))?;
                at += room as u64;
                written += room as u64;
                self.unpacked_bytes.fetch_add(room as u64, Ordering::Relaxed);
            }
        }
        let (data, failed) = (written, |error| self.failed(path, &error));
        if entry.size > data {
            file.set_len(entry.size).map_err(failed)?;
            self.unpacked_bytes.fetch_add(entry.size - data, Ordering::Relaxed);
        }
        file.set_permissions(std::fs::Permissions::from_mode(entry.mode & 0o777)).map_err(failed)?;
        self.reader.pad(data).map_err(|error| self.broken(&error))?;
        self.totals.files += 1;
        self.totals.bytes += entry.size;
        Ok(())
    }

    /// Moves everything to its final name. A folder that existed before keeps its mode.
    fn place(&mut self, mut stage: Stage) -> Result<(), ConnectionError> {
        let mut old = HashSet::new();
        if stage.merge {
            check(&stage.path, self.local, Path::new(""))?;
            merge(&stage.path, self.local, Path::new(""), &mut old)?;
        } else {
            std::fs::rename(&stage.path, self.local).map_err(|error| local_failure("write", self.local, &error))?;
            stage.kept = true;
        }
        for (path, mode) in self.made.iter().rev().filter(|(path, _)| !old.contains(path)) {
            let place = if path.as_os_str().is_empty() { self.local.to_owned() } else { self.local.join(path) };
            // The sticky bit keeps others from removing what is in a folder that all may write.
            let set = std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode & 0o1777));
            set.map_err(|error| local_failure("write", &place, &error))?;
        }
        Ok(())
    }
}

/// Checks that the entries of the folder `path` below `stage` can be moved to the same names below `local`; changes
/// nothing there.
fn check(stage: &Path, local: &Path, path: &Path) -> Result<(), ConnectionError> {
    let from = stage.join(path);
    let taken = |place: &Path, by: &str| Err(refused(place, &format!("{by} has that name, and nothing was copied")));
    for entry in std::fs::read_dir(&from).map_err(|error| local_failure("read", &from, &error))? {
        let entry = entry.map_err(|error| local_failure("read", &from, &error))?;
        let kind = entry.file_type().map_err(|error| local_failure("read", &from, &error))?;
        let path = path.join(entry.file_name());
        let place = local.join(&path);
        // A target that cannot be examined fails when the entry is moved there.
        let Ok(found) = std::fs::symlink_metadata(&place) else { continue };
        match found.file_type() {
            target if kind.is_dir() && target.is_dir() => check(stage, local, &path)?,
            target if target.is_dir() => return taken(&place, "a folder"),
            target if target.is_symlink() && !kind.is_symlink() => return taken(&place, "a link"),
            target if target.is_fifo() => return taken(&place, "a named pipe"),
            target if target.is_socket() => return taken(&place, "a socket"),
            target if target.is_block_device() || target.is_char_device() => return taken(&place, "a device"),
            _ if kind.is_dir() => return taken(&place, "something that is not a folder"),
            _ => {}
        }
    }
    Ok(())
}

/// Moves the entries of the folder `path` below `stage` to the folder of the same path below `local`, and adds the
/// folders that existed before to `old`.
fn merge(stage: &Path, local: &Path, path: &Path, old: &mut HashSet<PathBuf>) -> Result<(), ConnectionError> {
    let from = stage.join(path);
    let failed = |place: &Path, error: &Error| match error.kind() {
        ErrorKind::IsADirectory => refused(place, "a folder has that name"),
        _ => local_failure("write", place, error),
    };
    old.insert(path.to_owned());
    for entry in std::fs::read_dir(&from).map_err(|error| local_failure("read", &from, &error))? {
        let entry = entry.map_err(|error| local_failure("read", &from, &error))?;
        let path = path.join(entry.file_name());
        let place = local.join(&path);
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match std::fs::symlink_metadata(&place) {
            Ok(found) if folder && found.is_dir() => merge(stage, local, &path, old)?,
            Ok(_) if folder => return Err(refused(&place, "something that is not a folder has its name")),
            _ => std::fs::rename(entry.path(), &place).map_err(|error| failed(&place, &error))?,
        }
    }
    Ok(())
}
