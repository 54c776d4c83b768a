//! Atomic writes, a lock between processes, and errors of the file system in words.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use model::fault::Fault;
use tempfile::NamedTempFile;

/// The pause between two tries to take a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// A [`Fault`] of kind outside: `cannot DOING `PATH``, with a hint where a remedy is known.
pub fn fault(doing: &str, path: &Path, error: io::Error) -> Fault {
    let hint = match error.kind() {
        _ if is_full(&error) => Some(
            "Free space on this disk (`automation machine down` ends a machine with its files, `automation image gc` removes unused images), or name another directory with `--state-path`.",
        ),
        ErrorKind::ReadOnlyFilesystem => {
            Some("The file system is read-only. Name a directory on a writable one with `--state-path`.")
        }
        ErrorKind::PermissionDenied => Some("Name a directory of your own with `--state-path`."),
        _ => None,
    };
    let mut fault = Fault::outside(format!("cannot {doing} `{}`", path.display())).because(error);
    fault.hint = hint.map(str::to_owned);
    fault
}

/// Whether there is no room: no blocks, no inodes, or not for this user.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Writes `bytes` to `path` so that a reader sees the old content or the new one, and a crash leaves one of them.
///
/// The file is readable by its owner only.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    write_with(path, bytes, None)
}

fn write_with(path: &Path, bytes: &[u8], permissions: Option<Permissions>) -> Result<(), Fault> {
    let written = temporary_beside(path).and_then(|temporary| {
        fill(temporary.as_file(), bytes)?;
        if let Some(permissions) = permissions {
            temporary.as_file().set_permissions(permissions)?;
        }
        temporary.persist(path).map_err(|failed| failed.error)?;
        sync_parent(path)
    });
    written.map_err(|error| fault("write", path, error))
}

/// The same, with the mode of the file that is there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let before = match std::fs::metadata(path) {
        Ok(found) => Some(found.permissions()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(fault("read", path, error)),
    };
    write_with(path, bytes, before)
}

/// Writes a new file of mode 0600 and puts it on the disk. Replaces what an earlier attempt left under that name.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fill(&OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?, bytes)
}

/// Writes the content of a file of mode 0600 and puts it on the disk.
fn fill(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    // A mode at opening counts for a new file only, and less what the process's mask takes away.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts the names in the folder of `path` on the disk.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// A file in the same folder, under a name that [`is_temporary`] knows. Its opening is our own, for `tempfile` puts the path into errors,
/// and the name that was asked for is said there already.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let start = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    tempfile::Builder::new().prefix(&start).suffix(".tmp").make_in(path.parent().unwrap_or(path), open)
}

/// Whether [`write_atomic`] gives such a name to a file that it has not finished.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// A lock between processes. The kernel lets go of it when its holder ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    fn open(path: &Path) -> Result<File, Fault> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        opened.map_err(|error| fault("open the lock", path, error))
    }

    /// Takes the lock `path`; none while another process holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, Fault> {
        let file = Self::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(fault("lock", path, error)),
        }
    }

    /// Takes the lock `path`, waiting at most `limit` for another process that holds it.
    pub fn acquire(path: &Path, limit: Duration) -> Result<Self, Fault> {
        let file = Self::open(path)?;
        let end = Instant::now() + limit;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(LOCK_POLL),
                Err(TryLockError::WouldBlock) => {
                    let waited = model::base::text::seconds(limit);
                    return Err(Fault::outside(format!(
                        "waited {waited} for another process that holds `{}`",
                        path.display()
                    ))
                    .hint("Another `automation` is stopped or stuck while it opens the state directory; end it and try again."));
                }
                Err(TryLockError::Error(error)) => return Err(fault("lock", path, error)),
            }
        }
    }
}

/// Whether a file ends in the middle of a line.
pub(super) fn is_torn(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok(last != [b'\n'])
}

/// Adds a line to a file of mode 0600, which is made where it is missing, and puts it on the disk. A torn line of a writer that was killed
/// is ended first, so that this one is not lost with it.
pub fn append_line(path: &Path, line: &[u8]) -> Result<(), Fault> {
    let append = || -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let start: &[u8] = if is_torn(&file)? { b"\n" } else { b"" };
        file.write_all(&[start, line, b"\n"].concat())?;
        file.sync_data()
    };
    append().map_err(|error| fault("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        write_atomic(&path, b"a longer first content").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_is_held_by_one_and_its_wait_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let held = Lock::acquire(&path, Duration::ZERO).unwrap();
        let error = Lock::acquire(&path, Duration::from_millis(20)).unwrap_err();
        assert!(error.message.contains("waited 0.0s for another process"), "{error}");
        drop(held);
        Lock::acquire(&path, Duration::ZERO).unwrap();
    }
}
