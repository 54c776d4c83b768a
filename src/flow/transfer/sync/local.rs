//! The content of a folder on this computer: every entry with its mode, and the SHA-256 of every file.
//!
//! A file is not read where an earlier sync read it, and device, inode, size, mtime and ctime are those that it had then: no program can
//! set a ctime. That the machine remembers, as a token of those beside the hash, so that nothing is kept here. A file that was changed
//! within [`SETTLED`] has none, and is read: it could be changed again and show the same times.

use std::collections::BTreeMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use model::fault::Fault;
use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// Bytes that are read at once.
const BUFFER: usize = 128 << 10;

/// Files that a thread takes at a time.
const BATCH: usize = 32;

/// For how many seconds a change may leave the times of a file as they are: a program that writes through a mapping moves them at its
/// first write to a page, and again when Linux has written that to the disk, after 35 s at most (`vm.dirty_expire_centisecs` and
/// `vm.dirty_writeback_centisecs`). Every file system counts times finer than that.
const SETTLED: i64 = 40;

/// What tells a file with its content from any other, as far as it can be known without reading it.
pub type Token = [u8; 8];

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
    /// Device, inode, mtime and ctime: if one of them is another now, the file was changed since.
    id: [i64; 6],
}

impl LocalEntry {
    /// The token of a file that nobody changed in the last while before `now`, in seconds.
    fn token(&self, now: i64) -> Option<Token> {
        let [.., changed, _] = self.id;
        (changed < now - SETTLED).then(|| {
            let size = self.size.to_le_bytes();
            let words: Vec<u8> = self.id.iter().flat_map(|word| word.to_le_bytes()).chain(size).collect();
            let mut token = Token::default();
            token.copy_from_slice(&hash(&words)[..8]);
            token
        })
    }
}

/// A folder with all that is in it.
#[derive(Debug, Clone, Default)]
pub struct LocalTree {
    /// The entries by path below the top, a folder before its content.
    pub entries: BTreeMap<PathBuf, LocalEntry>,
    /// How many files had to be read that need not be read the next time.
    pub learnt: usize,
    /// When it was looked at, in seconds.
    looked: i64,
}

/// A folder that was looked at; those of its files are not read yet that the machine may remember.
#[derive(Debug, Default)]
pub struct Survey {
    tree: LocalTree,
    unread: Vec<(PathBuf, Token)>,
}

/// The hash of some bytes.
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// A hash as the machine's tools print it.
pub fn hex(hash: &Hash) -> String {
    HEXLOWER.encode(hash)
}

fn id(found: &std::fs::Metadata) -> [i64; 6] {
    let [device, inode] = [found.dev(), found.ino()].map(u64::cast_signed);
    [device, inode, found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()]
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
                LocalKind::File(hash) => match entry.token(self.looked) {
                    Some(token) => format!("F {} {} ", hex(hash), HEXLOWER.encode(&token)),
                    None => format!("f {} ", hex(hash)),
                },
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
        (!matches!(entry.kind, LocalKind::Folder)).then_some((entry.id[2], entry.id[3]))
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

impl Survey {
    fn begin(now: Timestamp) -> Self {
        let looked = now.as_second();
        Self { tree: LocalTree { looked, ..LocalTree::default() }, unread: Vec::new() }
    }

    /// Adds what was found at a path; a file that must be read goes to `recent`.
    fn add(
        &mut self,
        top: &Path,
        path: PathBuf,
        found: &std::fs::Metadata,
        recent: &mut Vec<PathBuf>,
    ) -> Result<(), Fault> {
        if !found.is_file() {
            let entry = look(&top.join(&path), found)?;
            self.tree.entries.insert(path, entry);
            return Ok(());
        }
        // Its hash is put in its place when it is known.
        let entry =
            LocalEntry { kind: LocalKind::File(Hash::default()), mode: mode(found), size: found.len(), id: id(found) };
        match entry.token(self.tree.looked) {
            Some(token) => {
                self.unread.push((path.clone(), token));
                self.tree.entries.insert(path, entry);
            }
            None => recent.push(path),
        }
        Ok(())
    }

    /// The folder with the hash of every file: those that `known` tells of the token and the hash that a file had are not read again.
    pub fn finish(self, top: &Path, known: impl Fn(&Path) -> Option<(Token, Hash)>) -> Result<LocalTree, Fault> {
        let Self { mut tree, unread } = self;
        let mut missing = Vec::new();
        for (path, token) in unread {
            match known(&path).filter(|(then, _)| *then == token) {
                Some((_, hash)) => {
                    if let Some(entry) = tree.entries.get_mut(&path) {
                        entry.kind = LocalKind::File(hash);
                    }
                }
                None => missing.push(path),
            }
        }
        tree.learnt = missing.len();
        tree.entries.extend(read_all(top, &missing)?);
        Ok(tree)
    }
}

/// Looks at a folder, and reads those files on all processors that changed lately; `now` is the time.
pub fn survey(top: &Path, now: Timestamp) -> Result<Survey, Fault> {
    let (mut survey, mut recent) = (Survey::begin(now), Vec::new());
    let mut todo = vec![PathBuf::new()];
    while let Some(folder) = todo.pop() {
        let here = top.join(&folder);
        for found in std::fs::read_dir(&here).map_err(|error| failed(&here, error))? {
            let found = found.map_err(|error| failed(&here, error))?;
            let path = folder.join(found.file_name());
            if super::is_ours(&path) {
                continue;
            }
            let about = found.metadata().map_err(|error| failed(&found.path(), error))?;
            if about.is_dir() {
                todo.push(path.clone());
            }
            survey.add(top, path, &about, &mut recent)?;
        }
    }
    survey.tree.entries.extend(read_all(top, &recent)?);
    Ok(survey)
}

/// The same for these paths below a folder. A path that is gone by now is left out.
pub fn survey_some(top: &Path, paths: &[PathBuf], now: Timestamp) -> Result<Survey, Fault> {
    let (mut survey, mut recent) = (Survey::begin(now), Vec::new());
    for path in paths {
        let here = top.join(path);
        match std::fs::symlink_metadata(&here) {
            Ok(about) => survey.add(top, path.clone(), &about, &mut recent)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&here, error)),
        }
    }
    survey.tree.entries.extend(read_all(top, &recent)?);
    Ok(survey)
}

fn mode(found: &std::fs::Metadata) -> u32 {
    found.mode() & 0o7777
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
    Ok(LocalEntry { kind, mode: mode(about), size: 0, id: id(about) })
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
    Ok(LocalEntry { kind, mode: mode(&found), size, id: id(&found) })
}
