//! What a copy must not leave behind: partial files on either side, and open remote files.
//!
//! A copy can end in the middle of any wait, by an error or because its future is dropped; so each of these cleans up when it
//! is dropped. Remote ones do it from a task of their own, as far as the connection still carries it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;

use crate::connection::names::partial_name;
use crate::model::connection::ConnectionError;

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
                let _ = raw.close(name).await;
            });
        }
    }
}

/// A remote file that is not whole yet, removed unless it was put in place.
pub(super) struct Partial {
    raw: Arc<RawSftpSession>,
    pub(super) path: String,
    kept: bool,
}

impl Partial {
    pub(super) fn new(raw: &Arc<RawSftpSession>, remote: &str) -> Self {
        let (folder, name) = remote.rsplit_once('/').map_or(("", remote), |(folder, name)| (folder, name));
        let slash = if remote.contains('/') { "/" } else { "" };
        Self { raw: Arc::clone(raw), path: format!("{folder}{slash}{}", partial_name(name)), kept: false }
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    pub(super) async fn remove(mut self) {
        self.kept = true;
        let _ = self.raw.remove(self.path.as_str()).await;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.kept, tokio::runtime::Handle::try_current()) {
            let (raw, path) = (Arc::clone(&self.raw), std::mem::take(&mut self.path));
            runtime.spawn(async move {
                let _ = raw.remove(path).await;
            });
        }
    }
}

/// A local file that is not whole yet, removed unless it was put in place.
pub(super) struct LocalPartial {
    path: PathBuf,
    kept: bool,
}

impl LocalPartial {
    /// Its name beside `local`, with nothing there yet.
    pub(super) fn beside(local: &Path) -> Self {
        let name = local.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Self { path: local.with_file_name(partial_name(&name)), kept: false }
    }

    pub(super) fn create(local: &Path) -> Result<(Self, std::fs::File), ConnectionError> {
        use std::os::unix::fs::OpenOptionsExt;
        let partial = Self::beside(local);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial.path);
        file.map(|file| (partial, file)).map_err(|error| local_failure("write", local, &error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name.
    pub(super) fn rename(mut self, local: &Path) -> std::io::Result<()> {
        std::fs::rename(&self.path, local)?;
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
            let _ = std::fs::remove_file(&self.path);
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
