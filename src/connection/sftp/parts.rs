//! Around the bytes of a file: making it, finishing it, giving it its name. All that the copy of a large file asks of the general
//! session.

use super::*;

impl Sftp {
    pub(in crate::connection) fn raw(&self) -> &Arc<RawSftpSession> {
        &self.raw
    }

    /// Bytes of one read or write request of a large copy.
    pub(in crate::connection) fn most(&self) -> u32 {
        self.most
    }

    /// Makes the partial file of `remote`, which is not there, open to nobody else.
    pub(in crate::connection) async fn create(&self, partial: &str, remote: &str) -> Result<Handle, ConnectionError> {
        self.open_to_write(partial, OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE, remote).await
    }

    /// Opens the partial file of `remote`, which is there, with what it holds.
    pub(in crate::connection) async fn open_again(
        &self,
        partial: &str,
        remote: &str,
    ) -> Result<Handle, ConnectionError> {
        self.open_to_write(partial, OpenFlags::WRITE, remote).await
    }

    async fn open_to_write(&self, partial: &str, flags: OpenFlags, remote: &str) -> Result<Handle, ConnectionError> {
        let opened = self.raw.open(partial, flags, permissions(0o600)).await;
        let opened = opened.map_err(|error| self.failure(format!("write {}", quoted(remote)), error))?;
        Ok(Handle::new(&self.raw, opened.handle))
    }

    /// Whether anything has the name.
    pub(in crate::connection) async fn is_there(&self, path: &str) -> Result<bool, ConnectionError> {
        match self.raw.lstat(path).await {
            Ok(_) => Ok(true),
            Err(SftpError::Status(_)) => Ok(false),
            Err(error) => Err(self.failure(format!("look at {}", quoted(path)), error)),
        }
    }

    /// Removes a file; one that cannot be removed shows itself when it is made anew.
    pub(in crate::connection) async fn remove(&self, path: &str) {
        let _ = self.raw.remove(path).await;
    }

    /// Gives a file that was written over other sessions its size and mode, and closes it.
    pub(in crate::connection) async fn finish(
        &self,
        handle: Handle,
        attributes: FileAttributes,
        remote: &str,
    ) -> Result<(), ConnectionError> {
        let failed = |error| self.failure(format!("write {}", quoted(remote)), error);
        let name = handle.name.clone();
        let (set, closed) = tokio::join!(biased; self.raw.fsetstat(name, attributes), handle.close());
        set.map_err(failed)?;
        closed.map_err(failed)
    }

    /// Copies what lies behind `start`, if anything does; the bytes copied.
    pub(in crate::connection) async fn fetch_tail(
        &self,
        remote: &str,
        file: &Arc<std::fs::File>,
        local: &Path,
        start: u64,
        progress: Progress<'_>,
    ) -> Result<u64, ConnectionError> {
        let opened = self.raw.open(remote, OpenFlags::READ, FileAttributes::empty()).await;
        let opened = opened.map_err(|error| self.failure(format!("read {}", quoted(remote)), error))?;
        let handle = Handle::new(&self.raw, opened.handle);
        self.fetch(&handle.name, remote, file, local, (start, None), progress).await
    }

    /// Gives a partial file its name, replacing what has it unless that is a folder.
    pub(in crate::connection) async fn put_in_place(
        &self,
        partial: Partial,
        remote: &str,
    ) -> Result<(), ConnectionError> {
        let renamed = match self.posix_rename {
            true => self.posix_rename(&partial.path, remote).await,
            false => match self.raw.rename(partial.path.as_str(), remote).await {
                Ok(_) => Ok(()),
                // Plain SFTP does not replace; there is a moment without the file, which the extension has not.
                Err(_) => match self.raw.remove(remote).await {
                    Ok(_) => self.raw.rename(partial.path.as_str(), remote).await.map(drop),
                    Err(error) => Err(error),
                },
            },
        };
        let Err(error) = renamed else {
            partial.keep();
            return Ok(());
        };
        partial.remove().await;
        let doing = format!("write {}", quoted(remote));
        match self.raw.lstat(remote).await {
            Ok(found) if kind(&found.attrs) == FOLDER => {
                Err(ConnectionError::File { doing, reason: "a folder has that name".to_owned() })
            }
            _ => Err(self.failure(doing, error)),
        }
    }

    async fn posix_rename(&self, from: &str, to: &str) -> Result<(), SftpError> {
        // The same two strings on the wire as for a hard link.
        let names = HardlinkExtension { oldpath: from.to_owned(), newpath: to.to_owned() };
        let data: Vec<u8> = names.try_into()?;
        match self.raw.extended(POSIX_RENAME, data).await? {
            Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
            Packet::Status(status) => Err(status.into()),
            _ => Err(SftpError::UnexpectedPacket),
        }
    }
}
