//! The content of a folder on this computer: every entry with its mode, and the SHA-256 of every file.

use std::collections::BTreeMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::HEXLOWER;
use model::fault::Fault;
use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// Bytes that are read at once.
const BUFFER: usize = 128 << 10;

/// Files that a thread takes at a time.
const BATCH: usize = 32;

/// The kind of an entry, with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalKind {
    /// A file of this hash.
    File(Hash),
    /// A symbolic link to this target.
    Link(Vec<u8>),
    /// A folder.
    Folder,
}

/// The entry at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEntry {
    /// Its kind.
    pub kind: LocalKind,
    /// Its permission bits.
    pub mode: u32,
    /// Its size in bytes, of a file.
    pub size: u64,
    /// Inode, mtime and ctime: if one of them is another now, the file was changed since.
    id: [i64; 5],
}

/// A folder with all that is in it.
#[derive(Debug, Clone, Default)]
pub struct LocalTree {
    /// The entries by path below the top, a folder before its content.
    pub entries: BTreeMap<PathBuf, LocalEntry>,
}

/// The hash of some bytes.
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// A hash as the machine's tools print it.
pub fn hex(hash: &Hash) -> String {
    HEXLOWER.encode(hash)
}

fn id(found: &std::fs::Metadata) -> [i64; 5] {
    [found.ino().cast_signed(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()]
}

fn failed(path: &Path, error: std::io::Error) -> Fault {
    Fault::outside(format!("cannot read `{}`", path.display().to_string().escape_debug())).because(error)
}

impl LocalTree {
    /// The records of these paths that the machine is to remember, each with a NUL behind it.
    pub fn records<'a>(&self, paths: impl Iterator<Item = &'a PathBuf>) -> Vec<u8> {
        let mut records = Vec::new();
        for path in paths {
            let Some(entry) = self.entries.get(path) else { continue };
            let head = match &entry.kind {
                LocalKind::File(hash) => format!("f {} ", hex(hash)),
                LocalKind::Link(target) => format!("l {} ", hex(&hash(target))),
                LocalKind::Folder => "d - ".to_owned(),
            };
            records.extend_from_slice(head.as_bytes());
            records.extend_from_slice(path.as_os_str().as_bytes());
            records.push(0);
        }
        records
    }

    /// When a file or link was changed last, by its seconds and nanoseconds; none for a folder.
    pub fn age(&self, path: &Path) -> Option<(i64, i64)> {
        let entry = self.entries.get(path)?;
        (!matches!(entry.kind, LocalKind::Folder)).then_some((entry.id[1], entry.id[2]))
    }

    /// The first of these files that was changed since it was hashed.
    pub fn find_changed<'a>(&self, top: &Path, paths: &'a [PathBuf]) -> Option<&'a PathBuf> {
        paths.iter().find(|path| match self.entries.get(*path) {
            Some(entry) if matches!(entry.kind, LocalKind::File(_)) => {
                std::fs::symlink_metadata(top.join(path)).map_or(true, |found| id(&found) != entry.id)
            }
            _ => false,
        })
    }
}

/// Looks at a folder and reads all its files, on all processors.
pub fn survey(top: &Path) -> Result<LocalTree, Fault> {
    let (mut entries, mut files) = (BTreeMap::new(), Vec::new());
    let mut todo = vec![PathBuf::new()];
    while let Some(folder) = todo.pop() {
        let here = top.join(&folder);
        for found in std::fs::read_dir(&here).map_err(|error| failed(&here, error))? {
            let found = found.map_err(|error| failed(&here, error))?;
            let path = folder.join(found.file_name());
            if super::is_ours(&path) {
                continue;
            }
            let kind = found.file_type().map_err(|error| failed(&found.path(), error))?;
            if kind.is_file() {
                files.push(path);
                continue;
            }
            if kind.is_dir() {
                todo.push(path.clone());
            }
            let about = found.metadata().map_err(|error| failed(&found.path(), error))?;
            entries.insert(path, look(&found.path(), &about)?);
        }
    }
    entries.extend(read_all(top, &files)?);
    Ok(LocalTree { entries })
}

/// Looks at these paths below a folder, and reads those of them that are files. A path that is gone by now is left out.
pub fn survey_some(top: &Path, paths: &[PathBuf]) -> Result<LocalTree, Fault> {
    let (mut entries, mut files) = (BTreeMap::new(), Vec::new());
    for path in paths {
        let here = top.join(path);
        match std::fs::symlink_metadata(&here) {
            Ok(about) if about.is_file() => files.push(path.clone()),
            Ok(about) => drop(entries.insert(path.clone(), look(&here, &about)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&here, error)),
        }
    }
    entries.extend(read_all(top, &files)?);
    Ok(LocalTree { entries })
}

/// An entry that is no file.
fn look(path: &Path, about: &std::fs::Metadata) -> Result<LocalEntry, Fault> {
    let kind = if about.is_dir() {
        LocalKind::Folder
    } else if about.is_symlink() {
        let target = std::fs::read_link(path).map_err(|error| failed(path, error))?;
        LocalKind::Link(target.into_os_string().into_vec())
    } else {
        let shown = path.display().to_string();
        let message =
            format!("cannot copy `{}`: it is neither a file, a folder nor a symbolic link", shown.escape_debug());
        return Err(Fault::outside(message));
    };
    Ok(LocalEntry { kind, mode: about.mode() & 0o7777, size: 0, id: id(about) })
}

/// Hashes the files on as many threads as there are processors.
fn read_all(top: &Path, files: &[PathBuf]) -> Result<Vec<(PathBuf, LocalEntry)>, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len().div_ceil(BATCH).max(1));
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut done, mut buffer) = (Vec::new(), vec![0; BUFFER]);
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = files.get(start..files.len().min(start + BATCH)).filter(|batch| !batch.is_empty()) else {
                return Ok(done);
            };
            for path in batch {
                done.push((path.clone(), read(&top.join(path), &mut buffer)?));
            }
        }
    };
    let results: Vec<Result<Vec<(PathBuf, LocalEntry)>, Fault>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let gone = |_| Err(Fault::outside("a thread that reads files ended early"));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(gone)).collect()
    });
    let mut all = Vec::with_capacity(files.len());
    for result in results {
        all.extend(result?);
    }
    Ok(all)
}

fn read(path: &Path, buffer: &mut [u8]) -> Result<LocalEntry, Fault> {
    use std::io::Read;
    // A path that was a file when it was listed may be a pipe by now, and opening that would wait for a writer.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let mut file = opened.map_err(|error| failed(path, error))?;
    let found = file.metadata().map_err(|error| failed(path, error))?;
    let (mut hasher, mut size) = (Sha256::new(), 0);
    loop {
        match file.read(buffer).map_err(|error| failed(path, error))? {
            0 => break,
            got => {
                hasher.update(&buffer[..got]);
                size += got as u64;
            }
        }
    }
    let kind = LocalKind::File(hasher.finalize().into());
    Ok(LocalEntry { kind, mode: found.mode() & 0o7777, size, id: id(&found) })
}
