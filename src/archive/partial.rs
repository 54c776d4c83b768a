//! Partial files on this computer. A copy must not leave one behind, except that a large copy may leave a file under a
//! name by which the next try finds it.
//!
//! A copy can end in the middle of any wait, by an error or because its future is dropped; so a partial file is removed
//! when its value is dropped. Folders are removed by the thread that makes them, for which [`wait_for_cleanup`] waits.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use data_encoding::HEXLOWER;
use model::connection::ConnectionError;
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::names::{partial_name, partial_name_with};

/// Digits in the name of a lasting partial file.
pub const TAG: usize = 16;

/// The threads that make or remove partial folders. It is one for the whole process, because a copy that was given up
/// has no owner left who could wait for its thread.
static AT_WORK: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// A token that a thread holds for as long as it has a partial folder.
pub fn work_token() -> TaskTrackerToken {
    AT_WORK.token()
}

/// Waits until every copy that was given up has removed its partial folder from this computer.
pub async fn wait_for_cleanup() {
    AT_WORK.close();
    AT_WORK.wait().await;
}

/// A name for the copied thing, of 16 digits: no random suffix has that length.
pub fn tag(of: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in of {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    HEXLOWER.encode(&hash.finalize()[..TAG / 2])
}

/// A local file that is not whole yet; it is removed on drop unless it was put in place or is to last.
pub struct LocalPartial {
    path: PathBuf,
    kept: bool,
}

impl LocalPartial {
    /// A partial file with a unique name beside `local`, which is not created yet.
    pub fn new(local: &Path) -> Self {
        Self { path: local.with_file_name(partial_name(&file_name(local))), kept: false }
    }

    /// A partial file that the next copy of `origin` to `local` finds again where this copy breaks off, and whether an
    /// earlier copy left one. Partial files that copies of other origins to `local` have left are removed. While
    /// another copy of the same origin is under way, the partial file is an ordinary one.
    pub fn create_or_resume(local: &Path, origin: &str) -> Result<(Self, File, bool), ConnectionError> {
        use std::os::unix::fs::OpenOptionsExt;
        let failed = |error| local_failure("write", local, &error);
        let name = file_name(local);
        let own = partial_name_with(&name, &tag(&[origin.as_bytes(), name.as_bytes()]));
        remove_stale(local, &name, &own);
        let path = local.with_file_name(own);
        let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow)
            .open(&path);
        let file = opened.map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        // A copy that ended between our opening and our locking has taken the name away.
        let same = || {
            std::fs::symlink_metadata(&path).is_ok_and(|named| (named.dev(), named.ino()) == (found.dev(), found.ino()))
        };
        // In a folder where others may write, another user's file would stay that user's under the final name.
        let own = found.uid() == rustix::process::geteuid().as_raw() && found.nlink() == 1;
        if found.is_file() && own && lock(&file) && same() {
            return Ok((Self { path, kept: true }, file, found.len() > 0));
        }
        Self::create(local).map(|(partial, file)| (partial, file, false))
    }

    /// Creates a partial file with a unique name beside `local`, open for reading and writing.
    pub fn create(local: &Path) -> Result<(Self, std::fs::File), ConnectionError> {
        use std::os::unix::fs::OpenOptionsExt;
        let partial = Self::new(local);
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&partial.path);
        file.map(|file| (partial, file)).map_err(|error| local_failure("write", local, &error))
    }

    /// Removes the file, also where it was to last.
    pub fn remove(mut self) {
        self.kept = false;
    }

    /// Gives the file its final name.
    pub fn rename(mut self, local: &Path) -> std::io::Result<()> {
        if let Err(error) = std::fs::rename(&self.path, local) {
            self.kept = false;
            return Err(error);
        }
        self.kept = true;
        Ok(())
    }

    /// Gives the file its mode and its final name.
    pub async fn put_in_place(self, file: Arc<std::fs::File>, local: &Path, mode: u32) -> Result<(), ConnectionError> {
        use std::os::unix::fs::PermissionsExt;
        let to = local.to_owned();
        let placed = tokio::task::spawn_blocking(move || {
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            self.rename(&to)
        });
        flat(placed.await).map_err(|error| local_failure("write", local, &error))
    }
}

impl Drop for LocalPartial {
    fn drop(&mut self) {
        if !self.kept {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Takes the file for this copy alone, until it is closed.
fn lock(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Removes the partial files that interrupted copies of other origins have left of `name`, unless such a copy is under
/// way. A file that cannot be removed is left as it is.
fn remove_stale(local: &Path, name: &str, own: &str) {
    let start = partial_name_with(name, "");
    let folder = local.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let other = entry.file_name().to_string_lossy().into_owned();
        let lasting = other.strip_prefix(&start).is_some_and(|tag| tag.len() == TAG);
        if !lasting || other == own || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| lock(&file)) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

/// The error of an operation (`doing`, a verb) on a file of this computer.
pub fn local_failure(doing: &str, path: &Path, error: &std::io::Error) -> ConnectionError {
    let doing = format!("{doing} `{}` on this computer", path.display().to_string().escape_debug());
    ConnectionError::File { doing, reason: error.to_string() }
}

/// The result of a blocking task; a panic of the task becomes an ordinary error.
pub fn flat<T>(joined: Result<std::io::Result<T>, tokio::task::JoinError>) -> std::io::Result<T> {
    joined.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
