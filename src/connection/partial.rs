//! The partial and open files of a copy on a machine, which the copy must not leave behind; only a large one may leave
//! its partial file, under a name by which the next copy finds it.
//!
//! A copy can end in the middle of any wait, by an error or because its future is dropped. So these values clean up
//! when they are dropped, in a task of their own, as long as the connection works.

use std::fs::Metadata;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::sync::Arc;

use archive::names::{partial_name_with, suffix};
use archive::partial::{TAG, tag};
use russh_sftp::client::error::Error as SftpError;

use crate::file_server::FileServer;

/// An open remote file, which is closed even when its copy is abandoned.
pub(super) struct Handle {
    raw: Arc<FileServer>,
    pub(super) name: String,
    open: bool,
}

impl Handle {
    pub(super) fn new(raw: &Arc<FileServer>, name: String) -> Self {
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
                drop(raw.close(&name).await);
            });
        }
    }
}

/// A remote file that is not whole yet; dropping it removes the file unless that was put in place or is to last.
pub(super) struct Partial {
    raw: Arc<FileServer>,
    pub(super) path: String,
    kept: bool,
    /// The lock that a lasting file's copy holds while it is under way.
    lock: Option<UnixListener>,
}

impl Partial {
    pub(super) fn new(raw: &Arc<FileServer>, remote: &str) -> Self {
        Self { raw: Arc::clone(raw), path: partial_path(remote, &suffix()), kept: false, lock: None }
    }

    /// A partial file that the next copy of `local` to `remote` finds where this copy is interrupted; `address` is the
    /// machine's. While another copy of the two is under way on this computer, it is an ordinary partial file.
    ///
    /// A source that has changed has another partial file, because a broken connection may still deliver bytes of the
    /// old source late.
    pub(super) fn lasting(
        raw: &Arc<FileServer>,
        (local, found): (&Path, &Metadata),
        remote: &str,
        address: &str,
    ) -> Self {
        let local = local.canonicalize().unwrap_or_else(|_| local.to_owned());
        let host = rustix::system::uname();
        let which = tag(&[host.nodename().to_bytes(), local.as_os_str().as_encoded_bytes(), remote.as_bytes()]);
        let numbers = [found.len(), found.mtime().cast_unsigned(), found.mtime_nsec().cast_unsigned()];
        let state = tag(&numbers.map(u64::to_be_bytes).each_ref().map(|number| &number[..]));
        // An abstract socket name serves as the lock: the kernel frees it with its process, however that ends.
        let lock = format!("hg-partial-{}", tag(&[which.as_bytes(), address.as_bytes()]));
        match SocketAddr::from_abstract_name(lock).and_then(|name| UnixListener::bind_addr(&name)) {
            Ok(lock) => {
                let path = partial_path(remote, &format!("{}{}", &which[..TAG / 2], &state[..TAG / 2]));
                Self { raw: Arc::clone(raw), path, kept: true, lock: Some(lock) }
            }
            Err(_) => Self::new(raw, remote),
        }
    }

    /// The common start of the paths of lasting partial files for all states of the source; half a [`TAG`] follows it.
    /// `None` for a file that does not last.
    pub(super) fn path_prefix(&self) -> Option<&str> {
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
                drop(raw.remove(&path).await);
            });
        }
    }
}

/// The path of a partial file beside `remote`.
fn partial_path(remote: &str, tag: &str) -> String {
    let (folder, name) = remote.rsplit_once('/').map_or(("", remote), |(folder, name)| (folder, name));
    let slash = if remote.contains('/') { "/" } else { "" };
    format!("{folder}{slash}{}", partial_name_with(name, tag))
}
