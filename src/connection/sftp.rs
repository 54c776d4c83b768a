//! One SFTP session, which copies single files in both directions.

mod parts;
mod plain;
pub(super) mod steady;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use archive::look::FileState;
use archive::names::quoted;
use archive::partial::{LocalPartial, flat, local_failure};
use archive::place::LocalTarget;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt, TryStreamExt};
use model::base::deadline::{Deadline, Expired};
use model::connection::{ConnectionError, Progress};
use model::machine::Platform;
use russh::Channel;
use russh::client::Msg;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::rawsession::Limits;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::extensions::LIMITS;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Status, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use crate::file_server::{FileServer, POSIX_RENAME};
use crate::link::Link;
use crate::names::{folder_of, permissions};
use crate::partial::{Handle, Partial};
use crate::subsystem::Subsystem;

/// The bytes of one read or write request, where the server allows as many.
const CHUNK: u32 = 128 << 10;

/// The same for a large file, which has channels of its own. OpenSSH allows 255 KiB.
const LARGE_CHUNK: u32 = 255 << 10;

/// The largest write to a local file, in bytes, that is not worth another thread: it ends in the page cache.
const INLINE: usize = 32 << 10;

/// How long the server may take to answer one request, in seconds; this includes the wait for the requests before it.
pub(super) const REQUEST_LIMIT: u64 = 120;

/// How long the file session may take to come up.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// The largest packet that is accepted: OpenSSH never sends more.
pub(super) const PACKET_CAP: u32 = 256 << 10;

/// A live SFTP session.
pub(super) struct Sftp {
    raw: Arc<FileServer>,
    link: Arc<Link>,
    chunk: u32,
    most: u32,
    posix_rename: bool,
    broken: AtomicBool,
    _slot: OwnedSemaphorePermit,
}

impl Sftp {
    pub(super) async fn open(
        channel: Channel<Msg>,
        link: Arc<Link>,
        slot: OwnedSemaphorePermit,
        platform: Platform,
    ) -> Result<Self, ConnectionError> {
        channel.request_subsystem(true, "sftp").await.map_err(|_| link.lost_error())?;
        let (stream, refused) = Subsystem::new(channel);
        match Self::with_stream(stream, link, slot, platform).await {
            Err(_) if refused.load(Ordering::Relaxed) => Err(session_error("the machine's SSH server offers no SFTP")),
            opened => opened,
        }
    }

    /// Starts a session over a stream to a file server.
    pub(super) async fn with_stream(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        link: Arc<Link>,
        slot: OwnedSemaphorePermit,
        platform: Platform,
    ) -> Result<Self, ConnectionError> {
        let deadline = Deadline::after(OPEN_LIMIT, "the file server to start");
        let timed_out = |expired: Expired| expired_at(&link, &expired);
        let config = Config { max_packet_len: PACKET_CAP, request_timeout_secs: REQUEST_LIMIT, ..Config::default() };
        let mut raw = RawSftpSession::new_with_config(stream, config);
        let failed = |error: SftpError| match link.is_gone() {
            true => link.lost_error(),
            false => session_error(&format!("the machine's SFTP server does not start ({error})")),
        };
        // The limits are requested without waiting for the answer to the greeting, which saves a round trip: a server
        // that does not know the extension answers with an error.
        let greeting = async { tokio::join!(biased; raw.init(), raw.limits()) };
        let (version, limits) = deadline.bound(greeting).await.map_err(timed_out)?;
        let version = version.map_err(failed)?;
        let (mut chunk, mut most) = (CHUNK.min(32 << 10), 32 << 10);
        if version.extensions.contains_key(LIMITS) {
            let limits = Limits::from(limits.map_err(failed)?);
            let allowed = limits.read_len.unwrap_or(u64::MAX).min(limits.write_len.unwrap_or(u64::MAX));
            let allowed = u32::try_from(allowed).unwrap_or(u32::MAX);
            (chunk, most) = (allowed.clamp(1, CHUNK), allowed.clamp(1, LARGE_CHUNK));
            raw.set_limits(limits);
        }
        let posix_rename = version.extensions.contains_key(POSIX_RENAME);
        let raw = Arc::new(FileServer::new(raw, platform));
        Ok(Self { raw, link, chunk, most, posix_rename, broken: AtomicBool::new(false), _slot: slot })
    }

    /// Whether the session may still be used.
    pub(super) fn is_alive(&self) -> bool {
        !self.link.is_gone() && !self.broken.load(Ordering::Relaxed)
    }

    /// The error that a failed request means. A session without an answer is marked as broken.
    pub(super) fn failure(&self, doing: impl Into<String>, error: SftpError) -> ConnectionError {
        let doing = doing.into();
        let reason = match error {
            SftpError::Status(status) => status_reason(&status),
            SftpError::Limited(reason) => reason,
            SftpError::Timeout => {
                self.broken.store(true, Ordering::Relaxed);
                let what = format!("waited {REQUEST_LIMIT}s to {doing}");
                return ConnectionError::TimedOut { address: self.link.address().to_owned(), what };
            }
            _ if self.link.is_gone() => return self.link.lost_error(),
            other => {
                self.broken.store(true, Ordering::Relaxed);
                let reason = format!("the file session ended while it was to {doing} ({other})");
                return ConnectionError::Lost { address: self.link.address().to_owned(), reason };
            }
        };
        ConnectionError::File { doing, reason }
    }

    /// The attributes of `path`, following symbolic links; `None` where there is no such file.
    pub(super) async fn stat(&self, path: &str) -> Result<Option<FileAttributes>, ConnectionError> {
        match self.raw.stat(path).await {
            Ok(attrs) => Ok(Some(attrs.attrs)),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => Ok(None),
            Err(error) => Err(self.failure(format!("look at {}", quoted(path)), error)),
        }
    }

    /// Writes a small file.
    pub(super) async fn write_file(&self, remote: &str, bytes: &[u8], mode: u32) -> Result<(), ConnectionError> {
        match self.put(remote, mode, 1, &|_| (), UploadSource::Bytes(bytes)).await? {
            Some(_) => Ok(()),
            None => {
                let reason = "it is a device or a pipe".to_owned();
                Err(ConnectionError::File { doing: format!("write {}", quoted(remote)), reason })
            }
        }
    }

    /// Sends a local file with at most `depth` requests in flight. Returns the number of its bytes, or `None` where
    /// `remote` is a device or a pipe, which must be written into.
    pub(super) async fn upload(
        &self,
        local: &Path,
        remote: &str,
        mode: u32,
        depth: usize,
        progress: Progress<'_>,
    ) -> Result<Option<u64>, ConnectionError> {
        let mut file = tokio::fs::File::open(local).await.map_err(|error| local_failure("read", local, &error))?;
        file.set_max_buf_size(CHUNK as usize);
        let found = file.metadata().await.map_err(|error| local_failure("read", local, &error))?;
        self.put(remote, mode, depth, progress, UploadSource::File(file, local, FileState::of(&found))).await
    }

    /// Writes `source` to a file beside `remote`, or beside the target of that link, and then puts it in place. `None`
    /// where `remote` is a device or a pipe.
    async fn put(
        &self,
        remote: &str,
        mode: u32,
        depth: usize,
        progress: Progress<'_>,
        mut source: UploadSource<'_>,
    ) -> Result<Option<u64>, ConnectionError> {
        let (mut remote, mut followed) = (remote.to_owned(), false);
        loop {
            let partial = Partial::new(&self.raw, &remote);
            // Both requests are sent together, because most often there is no file or a plain one.
            let (destination, created) = tokio::join!(biased; self.place(&remote), self.create(&partial.path, &remote));
            let filled = match destination {
                Ok(Destination::File(real)) if followed || real == remote => {
                    self.fill(created, &remote, mode, depth, progress, &mut source).await
                }
                destination => {
                    drop(created);
                    partial.remove().await;
                    match destination? {
                        Destination::File(real) => (remote, followed) = (real, true),
                        Destination::Stream => return Ok(None),
                    }
                    continue;
                }
            };
            // A reader must not find a mixture of two states of the source.
            let filled = match filled {
                Ok(length) => source.check().await.map(|()| length),
                Err(error) => Err(error),
            };
            return match filled {
                Ok(length) => self.put_in_place(partial, &remote).await.map(|()| Some(length)),
                Err(error) => {
                    partial.remove().await;
                    Err(error)
                }
            };
        }
    }

    /// Writes `source` to the partial file of `remote`.
    async fn fill(
        &self,
        created: Result<Handle, ConnectionError>,
        remote: &str,
        mode: u32,
        depth: usize,
        progress: Progress<'_>,
        source: &mut UploadSource<'_>,
    ) -> Result<u64, ConnectionError> {
        let failed = |error| self.failure(format!("write {}", quoted(remote)), error);
        let handle = created?;
        let name = handle.name.clone();
        let mut in_flight = FuturesUnordered::new();
        let mut offset = 0_u64;
        loop {
            let bytes = source.take(self.chunk as usize).await?;
            let ended = bytes.len() < self.chunk as usize;
            let (at, length) = (offset, bytes.len() as u64);
            offset += length;
            if length > 0 {
                let write = self.raw.write(name.as_str(), at, bytes);
                in_flight.push(async move { write.await.map(|_| length) });
            }
            if ended {
                break;
            }
            // A request is sent when its future is first polled, so each is polled at once.
            while let Some(written) = match in_flight.len() >= depth {
                true => in_flight.next().await,
                false => in_flight.next().now_or_never().flatten(),
            } {
                match written {
                    Ok(length) => progress(length),
                    Err(error) => return Err(self.full_or(failed(error), remote).await),
                }
            }
        }
        let draining = async {
            while let Some(length) = in_flight.try_next().await? {
                progress(length);
            }
            Ok(())
        };
        // The mode and the end follow the last writes without waiting for their answers: the server works in order.
        let closing = handle.close();
        let (written, set, closed) =
            tokio::join!(biased; draining, self.raw.fsetstat(name.as_str(), permissions(mode)), closing);
        if let Err(error) = written {
            return Err(self.full_or(failed(error), remote).await);
        }
        set.map_err(failed)?;
        closed.map_err(failed)?;
        Ok(offset)
    }

    /// Replaces an error by that of a full disk, for which SFTP has no code, where the disk is full.
    pub(super) async fn full_or(&self, error: ConnectionError, path: &str) -> ConnectionError {
        let ConnectionError::File { doing, .. } = &error else { return error };
        match self.raw.statvfs(folder_of(path)).await {
            Ok(space) if space.blocks_avail == 0 => {
                ConnectionError::File { doing: doing.clone(), reason: "no space left on the machine".to_owned() }
            }
            _ => error,
        }
    }

    /// Reads a file of at most `cap` bytes.
    pub(super) async fn read_file(&self, remote: &str, cap: u64) -> Result<Vec<u8>, ConnectionError> {
        let doing = || format!("read {}", quoted(remote));
        let opened = self.raw.open(remote, OpenFlags::READ, FileAttributes::empty()).await;
        let handle = Handle::new(&self.raw, opened.map_err(|error| self.failure(doing(), error))?.handle);
        let mut bytes = Vec::new();
        loop {
            let room = (cap + 1).saturating_sub(bytes.len() as u64);
            let length = u32::try_from(room).unwrap_or(u32::MAX).min(self.chunk);
            match self.read_at(&handle.name, bytes.len() as u64, length).await {
                Ok(None) => break,
                Ok(Some(more)) => bytes.extend(more),
                Err(error) => return Err(self.failure(doing(), error)),
            }
            if bytes.len() as u64 > cap {
                let reason = format!("it is longer than {}", model::base::text::bytes(cap));
                return Err(ConnectionError::File { doing: doing(), reason });
            }
        }
        drop(handle.close().await);
        Ok(bytes)
    }

    /// Reads at least one byte and at most `length` bytes; `None` at the end of the file.
    async fn read_at(&self, handle: &str, offset: u64, length: u32) -> Result<Option<Vec<u8>>, SftpError> {
        match self.raw.read(handle, offset, length).await {
            Ok(data) if data.data.is_empty() || data.data.len() > length as usize => {
                Err(SftpError::UnexpectedBehavior("a read of another length than asked for".to_owned()))
            }
            Ok(data) => Ok(Some(data.data)),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fetches a remote file with at most `depth` requests in flight, and returns the number of its bytes. `found`
    /// holds the attributes that the server reported.
    pub(super) async fn download(
        &self,
        remote: &str,
        found: &FileAttributes,
        local: &Path,
        depth: usize,
        progress: Progress<'_>,
    ) -> Result<u64, ConnectionError> {
        let opened = self.raw.open(remote, OpenFlags::READ, FileAttributes::empty()).await;
        let opened = opened.map_err(|error| self.failure(format!("read {}", quoted(remote)), error))?;
        let handle = Handle::new(&self.raw, opened.handle);
        let local = match LocalTarget::of(local)? {
            LocalTarget::File(path) => path,
            LocalTarget::Stream(path) => {
                return self.pour(&handle.name, remote, found, &path, progress).await;
            }
        };
        let local = local.as_path();
        let (partial, file) = LocalPartial::create(local)?;
        let (file, size, total) = (Arc::new(file), found.size.unwrap_or(0), AtomicU64::new(0));
        let began = SystemTime::now();
        let fetch = async |offset: u64, length: Option<u64>| -> Result<(), ConnectionError> {
            let got = self.fetch(&handle.name, remote, &file, local, (offset, length), progress).await?;
            total.fetch_add(got, Ordering::Relaxed);
            Ok(())
        };
        // The first request is for bytes behind the announced end: a file that grows is copied with them, and files of
        // `/proc` announce no size at all.
        let mut in_flight = FuturesUnordered::new();
        in_flight.push(fetch(size, None));
        let mut offset = 0;
        loop {
            while offset < size && in_flight.len() <= depth {
                let length = (size - offset).min(u64::from(self.chunk));
                in_flight.push(fetch(offset, Some(length)));
                offset += length;
            }
            match in_flight.next().await {
                Some(fetched) => fetched?,
                None => break,
            }
        }
        drop(in_flight);
        self.check((&handle.name, remote), found, (&file, local), total.load(Ordering::Relaxed), began).await?;
        let mode = found.permissions.map_or(0o644, |mode| mode & 0o777);
        let (closed, placed) = tokio::join!(handle.close(), partial.put_in_place(file, local, mode));
        // Nothing was written through the handle, so that a failing close loses nothing.
        drop(closed);
        placed?;
        Ok(total.into_inner())
    }

    /// Copies one span, or everything from its start where it has no length. Returns the number of bytes.
    async fn fetch(
        &self,
        handle: &str,
        remote: &str,
        file: &Arc<std::fs::File>,
        local: &Path,
        (start, length): (u64, Option<u64>),
        progress: Progress<'_>,
    ) -> Result<u64, ConnectionError> {
        let end = length.map_or(u64::MAX, |length| start + length);
        let mut offset = start;
        while offset < end {
            let want = u32::try_from(end - offset).unwrap_or(u32::MAX).min(self.chunk);
            let read = self.read_at(handle, offset, want).await;
            let bytes = match read.map_err(|error| self.failure(format!("read {}", quoted(remote)), error))? {
                Some(bytes) => bytes,
                None if length.is_none() => break,
                None => {
                    let reason = "it became shorter while it was read".to_owned();
                    return Err(ConnectionError::File { doing: format!("read {}", quoted(remote)), reason });
                }
            };
            let got = bytes.len() as u64;
            let written = if bytes.len() <= INLINE {
                file.write_all_at(&bytes, offset)
            } else {
                let (at, to) = (offset, Arc::clone(file));
                flat(tokio::task::spawn_blocking(move || to.write_all_at(&bytes, at)).await)
            };
            written.map_err(|error| local_failure("write", local, &error))?;
            offset += got;
            progress(got);
        }
        Ok(offset - start)
    }
}

/// The kind of what a file on the machine would replace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A plain file or nothing. The name is that behind all links.
    File(String),
    /// A device or a pipe.
    Stream,
}

/// The source of a file that is written.
enum UploadSource<'a> {
    Bytes(&'a [u8]),
    File(tokio::fs::File, &'a Path, FileState),
}

impl UploadSource<'_> {
    /// Takes the next `room` bytes; fewer only at the end.
    async fn take(&mut self, room: usize) -> Result<Vec<u8>, ConnectionError> {
        let (file, path) = match self {
            Self::Bytes(rest) => {
                let (now, later) = rest.split_at(rest.len().min(room));
                *rest = later;
                return Ok(now.to_vec());
            }
            Self::File(file, path, _) => (file, path),
        };
        let mut bytes = vec![0; room];
        let mut filled = 0;
        while filled < room {
            match file.read(&mut bytes[filled..]).await.map_err(|error| local_failure("read", path, &error))? {
                0 => break,
                got => filled += got,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Refuses a local file that changed while it was read.
    async fn check(&self) -> Result<(), ConnectionError> {
        let Self::File(file, path, look) = self else { return Ok(()) };
        let after = file.metadata().await.map_err(|error| local_failure("read", path, &error))?;
        look.check(path, &after)
    }
}

/// The reason that a status means.
pub(super) fn status_reason(status: &Status) -> String {
    match status.status_code {
        StatusCode::NoSuchFile => "no such file or folder".to_owned(),
        StatusCode::PermissionDenied => "permission denied".to_owned(),
        StatusCode::OpUnsupported => "the server cannot do that".to_owned(),
        // SFTP has one code for everything else, from a full disk to a folder in the way.
        _ => format!("the server only says `{}`", status.error_message.escape_debug()),
    }
}

fn session_error(reason: &str) -> ConnectionError {
    ConnectionError::File { doing: "open a file session".to_owned(), reason: reason.to_owned() }
}

fn expired_at(link: &Link, expired: &Expired) -> ConnectionError {
    ConnectionError::TimedOut { address: link.address().to_owned(), what: expired.to_string() }
}
