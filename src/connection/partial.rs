//! What a copy must not leave behind: partial files on either side, and open remote files. And what a large one may: a partial
//! file with a name by which the next try finds it.
//!
//! A copy can end in the middle of any wait, by an error or because its future is dropped; so each of these cleans up when it
//! is dropped. Remote ones do it from a task of their own, as far as the connection still carries it; folders here from the thread
//! that makes them, for which [`tidied`] waits.

use std::fs::{File, Metadata};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::connection::keys::suffix;
use crate::connection::names::{partial_name, partial_name_with};
use crate::model::connection::ConnectionError;

/// Digits in the name of a partial file that lasts.
const TAG: usize = 16;

/// Threads that work on something here that is not whole, or put it away. One for the process, because a copy that was given up has
/// nobody any more who could be handed it.
static AT_WORK: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Held by a thread for as long as it has something that is not whole.
pub(super) fn at_work() -> TaskTrackerToken {
    AT_WORK.token()
}

/// Waits until every copy that was given up has put away what was not whole on this computer.
pub async fn tidied() {
    AT_WORK.close();
    AT_WORK.wait().await;
}

/// An open remote file, which is closed even when its copy is given up.
pub(super) struct Handle {
    raw: Arc<RawSftpSession>,
    pub(super) name: String,
    open: bool,
}

impl Handle {
    pub(super) fn new(raw: &Arc<RawSftpSession>, name: String) -> Self {
        Self { raw: Arc::clone(raw), name, open: true }
    }

    pub(super) async fn close(mut self) -> Result<(), SftpError> {
        self.open = false;
        self.raw.close(self.name.as_str()).await.map(drop)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.open, tokio::runtime::Handle::try_current()) {
            let (raw, name) = (Arc::clone(&self.raw), std::mem::take(&mut self.name));
            runtime.spawn(async move {
                drop(raw.close(name).await);
            });
        }
    }
}

/// A remote file that is not whole yet, removed unless it was put in place or is to last.
pub(super) struct Partial {
    raw: Arc<RawSftpSession>,
    pub(super) path: String,
    kept: bool,
    /// Held for as long as this copy is under way, where it lasts.
    lock: Option<UnixListener>,
}

impl Partial {
    pub(super) fn new(raw: &Arc<RawSftpSession>, remote: &str) -> Self {
        Self { raw: Arc::clone(raw), path: beside(remote, &suffix()), kept: false, lock: None }
    }

    /// One that the next copy of `local` to `remote` finds again where this one is cut; `address` is the machine's. While another
    /// copy of the two is under way on this computer, it is one as any.
    ///
    /// A source that has changed since has another: what a cut connection still delivers late belongs to the old one.
    pub(super) fn lasting(
        raw: &Arc<RawSftpSession>,
        (local, found): (&Path, &Metadata),
        remote: &str,
        address: &str,
    ) -> Self {
        let local = local.canonicalize().unwrap_or_else(|_| local.to_owned());
        let host = rustix::system::uname();
        let which = tag(&[host.nodename().to_bytes(), local.as_os_str().as_encoded_bytes(), remote.as_bytes()]);
        let numbers = [found.len(), found.mtime().cast_unsigned(), found.mtime_nsec().cast_unsigned()];
        let state = tag(&numbers.map(u64::to_be_bytes).each_ref().map(|number| &number[..]));
        // An abstract name is the kernel's and goes with its process, however that ends.
        let lock = format!("hg-partial-{}", tag(&[which.as_bytes(), address.as_bytes()]));
        match SocketAddr::from_abstract_name(lock).and_then(|name| UnixListener::bind_addr(&name)) {
            Ok(lock) => {
                let path = beside(remote, &format!("{}{}", &which[..TAG / 2], &state[..TAG / 2]));
                Self { raw: Arc::clone(raw), path, kept: true, lock: Some(lock) }
            }
            Err(_) => Self::new(raw, remote),
        }
    }

    /// What the paths of lasting partial files for other states of the source begin with; each has half a [`TAG`]
    /// more. Nothing for one that does not last.
    pub(super) fn start(&self) -> Option<&str> {
        let start = self.path.len().checked_sub(TAG / 2)?;
        self.lock.as_ref().and_then(|_| self.path.get(..start))
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    pub(super) async fn remove(mut self) {
        self.kept = true;
        drop(self.raw.remove(self.path.as_str()).await);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.kept, tokio::runtime::Handle::try_current()) {
            let (raw, path) = (Arc::clone(&self.raw), std::mem::take(&mut self.path));
            runtime.spawn(async move {
                drop(raw.remove(path).await);
            });
        }
    }
}

/// The path of a partial file beside `remote`.
fn beside(remote: &str, tag: &str) -> String {
    let (folder, name) = remote.rsplit_once('/').map_or(("", remote), |(folder, name)| (folder, name));
    let slash = if remote.contains('/') { "/" } else { "" };
    format!("{folder}{slash}{}", partial_name_with(name, tag))
}

/// Names what is copied, by 16 digits, which no random suffix has.
fn tag(of: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in of {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(TAG / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// A local file that is not whole yet, removed unless it was put in place or is to last.
pub(super) struct LocalPartial {
    path: PathBuf,
    kept: bool,
}

impl LocalPartial {
    /// Its name beside `local`, with nothing there yet.
    pub(super) fn beside(local: &Path) -> Self {
        Self { path: local.with_file_name(partial_name(&file_name(local))), kept: false }
    }

    /// One that the next copy of `origin` to `local` finds again where this one is cut, and whether it was found so. What other
    /// origins have left of `local` is removed. While another copy of the two is under way, it is one as any.
    pub(super) fn lasting(local: &Path, origin: &str) -> Result<(Self, File, bool), ConnectionError> {
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
            std::fs::symlink_metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (found.dev(), found.ino()))
        };
        // Where others may write, one of theirs would stay theirs under the final name.
        let own = found.uid() == rustix::process::geteuid().as_raw() && found.nlink() == 1;
        if found.is_file() && own && lock(&file) && same() {
            return Ok((Self { path, kept: true }, file, found.len() > 0));
        }
        Self::create(local).map(|(partial, file)| (partial, file, false))
    }

    pub(super) fn create(local: &Path) -> Result<(Self, std::fs::File), ConnectionError> {
        use std::os::unix::fs::OpenOptionsExt;
        let partial = Self::beside(local);
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&partial.path);
        file.map(|file| (partial, file)).map_err(|error| local_failure("write", local, &error))
    }

    /// Removes it, also where it was to last.
    pub(super) fn remove(mut self) {
        self.kept = false;
    }

    /// Gives it its name.
    pub(super) fn rename(mut self, local: &Path) -> std::io::Result<()> {
        if let Err(error) = std::fs::rename(&self.path, local) {
            self.kept = false;
            return Err(error);
        }
        self.kept = true;
        Ok(())
    }

    pub(super) async fn put_in_place(
        self,
        file: Arc<std::fs::File>,
        local: &Path,
        mode: u32,
    ) -> Result<(), ConnectionError> {
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

/// Removes what cut copies from elsewhere have left of `name`, unless they are under way. What fails is left as it is.
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

pub(super) fn local_failure(doing: &str, path: &Path, error: &std::io::Error) -> ConnectionError {
    let doing = format!("{doing} `{}` on this computer", path.display().to_string().escape_debug());
    ConnectionError::File { doing, reason: error.to_string() }
}

/// The result of a blocking task; its panic is an error like another.
pub(super) fn flat<T>(joined: Result<std::io::Result<T>, tokio::task::JoinError>) -> std::io::Result<T> {
    joined.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
