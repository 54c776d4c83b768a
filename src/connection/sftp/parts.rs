//! The requests around the bytes of a file: creating it, finishing it, giving it its name. The copy of a large file
//! needs only these of the general session.

use std::path::Path;
use std::sync::Arc;

use archive::names::quoted;
use archive::place::Stream;
use futures_util::stream::{self, StreamExt};
use model::connection::{ConnectionError, Progress};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags};

use super::{Destination, Sftp, steady};
use crate::file_server::FileServer;
use crate::look::FileChange;
use crate::names::{FOLDER, LINK, REGULAR, SOCKET, kind, permissions};
use crate::partial::{Handle, Partial};

/// The number of requests in flight for bytes that are written in order: 2 MiB.
const POURING: usize = 16;

impl Sftp {
    pub(crate) fn raw(&self) -> &Arc<FileServer> {
        &self.raw
    }

    /// The bytes of one read or write request of a large copy.
    pub(crate) fn large_chunk(&self) -> u32 {
        self.most
    }

    /// Finds out what a file at `remote` would replace. Where that cannot be looked at, the answer is nothing: creating
    /// the file then fails with the reason.
    pub(crate) async fn place(&self, remote: &str) -> Result<Destination, ConnectionError> {
        let looking = |error| self.failure(format!("look at {}", quoted(remote)), error);
        let refused = |reason: &str| {
            let doing = format!("write {}", quoted(remote));
            Err(ConnectionError::File { doing, reason: reason.to_owned() })
        };
        let judge = |kind: u32| match kind {
            // A server that does not report the kind is assumed to mean a plain file.
            REGULAR | 0 => Ok(Destination::File(remote.to_owned())),
            FOLDER => refused("a folder has that name"),
            SOCKET => refused("it is a socket"),
            _ => Ok(Destination::Stream),
        };
        let found = match self.raw.lstat(remote).await {
            Ok(found) => kind(&found.attrs),
            Err(SftpError::Status(_)) => return Ok(Destination::File(remote.to_owned())),
            Err(error) => return Err(looking(error)),
        };
        if found != LINK {
            return judge(found);
        }
        if let Some(behind) = self.stat(remote).await?
            && judge(kind(&behind))? == Destination::Stream
        {
            return Ok(Destination::Stream);
        }
        let answer = self.raw.realpath(remote).await.map_err(looking)?;
        match answer.files.into_iter().next().map(|file| file.filename) {
            Some(real) if !real.contains(char::REPLACEMENT_CHARACTER) && !real.is_empty() => {
                Ok(Destination::File(real))
            }
            _ => refused("it is a link to a name that is not UTF-8"),
        }
    }

    /// Creates the partial file of `remote`, which must not exist, and which no other user may open.
    pub(crate) async fn create(&self, partial: &str, remote: &str) -> Result<Handle, ConnectionError> {
        self.open_to_write(partial, OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE, remote).await
    }

    /// Opens the existing partial file of `remote` and keeps its content.
    pub(crate) async fn open_again(&self, partial: &str, remote: &str) -> Result<Handle, ConnectionError> {
        self.open_to_write(partial, OpenFlags::WRITE, remote).await
    }

    async fn open_to_write(&self, partial: &str, flags: OpenFlags, remote: &str) -> Result<Handle, ConnectionError> {
        let opened = self.raw.open(partial, flags, permissions(0o600)).await;
        let opened = opened.map_err(|error| self.failure(format!("write {}", quoted(remote)), error))?;
        Ok(Handle::new(&self.raw, opened.handle))
    }

    /// Whether there is anything with this name.
    pub(crate) async fn exists(&self, path: &str) -> Result<bool, ConnectionError> {
        match self.raw.lstat(path).await {
            Ok(_) => Ok(true),
            Err(SftpError::Status(_)) => Ok(false),
            Err(error) => Err(self.failure(format!("look at {}", quoted(path)), error)),
        }
    }

    /// Removes a file. Failures are ignored, since creating the file anew would fail too.
    pub(crate) async fn remove(&self, path: &str) {
        drop(self.raw.remove(path).await);
    }

    /// Gives a file that was written over other sessions its size and mode, and closes it.
    pub(crate) async fn finish(
        &self,
        handle: Handle,
        attributes: FileAttributes,
        remote: &str,
    ) -> Result<(), ConnectionError> {
        let failed = |error| self.failure(format!("write {}", quoted(remote)), error);
        let name = handle.name.clone();
        let (set, closed) = tokio::join!(biased; self.raw.fsetstat(&name, attributes), handle.close());
        set.map_err(failed)?;
        closed.map_err(failed)
    }

    /// Copies the bytes behind `start`, if there are any, and returns their number.
    pub(crate) async fn fetch_tail(
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

    /// Writes an open file into a local device or pipe, and returns the number of bytes.
    pub(super) async fn pour(
        &self,
        handle: &str,
        remote: &str,
        found: &FileAttributes,
        local: &Path,
        progress: Progress<'_>,
    ) -> Result<u64, ConnectionError> {
        let size = found.size.unwrap_or(0);
        let to = Stream::open(local).await?;
        let chunk = u64::from(self.chunk);
        let spans = (0..size.div_ceil(chunk)).map(|number| (number * chunk, chunk.min(size - number * chunk)));
        let read = |(at, length)| self.read_span(handle, remote, at, length);
        let mut pieces = stream::iter(spans).map(read).buffered(POURING);
        let mut total = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            total += piece.len() as u64;
            progress(piece.len() as u64);
            to.write(piece).await?;
        }
        drop(pieces);
        // A file that grows is copied to its present end, and files of `/proc` announce no size at all.
        let failed = |error| self.failure(format!("read {}", quoted(remote)), error);
        while let Some(piece) = self.read_at(handle, total, self.chunk).await.map_err(failed)? {
            total += piece.len() as u64;
            progress(piece.len() as u64);
            to.write(piece).await?;
        }
        // The bytes that were written can be neither taken back nor compared, but a change can be reported.
        match self.change_since(handle, remote, found).await? {
            FileChange::Changed => Err(steady::changed_error(remote)),
            FileChange::Same | FileChange::Grown => Ok(total),
        }
    }

    /// Reads exactly `length` bytes of an open file.
    pub(super) async fn read_span(
        &self,
        handle: &str,
        remote: &str,
        at: u64,
        length: u64,
    ) -> Result<Vec<u8>, ConnectionError> {
        let doing = || format!("read {}", quoted(remote));
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let want = u32::try_from(length - bytes.len() as u64).unwrap_or(u32::MAX);
            match self.read_at(handle, at + bytes.len() as u64, want).await {
                Ok(Some(more)) => bytes.extend(more),
                Ok(None) => {
                    let reason = "it became shorter while it was read".to_owned();
                    return Err(ConnectionError::File { doing: doing(), reason });
                }
                Err(error) => return Err(self.failure(doing(), error)),
            }
        }
        Ok(bytes)
    }

    /// Gives a partial file its name, and replaces any file of that name, but no folder.
    pub(crate) async fn put_in_place(&self, partial: Partial, remote: &str) -> Result<(), ConnectionError> {
        let renamed = match self.posix_rename {
            true => self.raw.posix_rename(&partial.path, remote).await,
            false => match self.raw.rename(&partial.path, remote).await {
                Ok(_) => Ok(()),
                // Plain SFTP does not replace a file: without the extension there is a moment without the file.
                Err(_) => match self.raw.remove(remote).await {
                    Ok(_) => self.raw.rename(&partial.path, remote).await.map(drop),
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
}
