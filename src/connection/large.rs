//! Copies one large file in either direction: over as many channels as the round trip requires, from where an earlier
//! copy was interrupted, and without the holes of a sparse file.
//!
//! The part that was copied so far stays beside the target under a name that the next copy finds. It is never trusted,
//! but compared block by block: so it does not matter who wrote it, how far it came, or whether the source has changed
//! since.

use std::fs::File;
use std::io::IoSlice;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use archive::look::FileState;
use archive::names::quoted;
use archive::partial::{LocalPartial, flat, local_failure};
use archive::place::LocalTarget;
use futures_util::future::try_join_all;
use model::connection::{Connection, ConnectionError, Progress, Totals};
use model::output::OutputLimits;
use russh::ChannelMsg;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use rustix::fs::{FallocateFlags, SeekFrom};
use tokio::sync::mpsc;

use crate::blocks;
use crate::extents;
use crate::lane::{FileChunk, FilePiece, Lane};
use crate::look::FileChange;
use crate::names::permissions;
use crate::partial::{Handle, Partial};
use crate::pool::Pool;
use crate::sftp::steady::changed_error;
use crate::sftp::{Destination, Sftp};
use crate::tree;

/// Files of more bytes than this are copied in this way; smaller files are sent again faster than they are compared.
pub(super) const LARGE: u64 = 16 << 20;

/// How many chunks are read ahead of the network, and how many pieces may wait for the disk: at most 2 MiB of each.
const CHUNKS: usize = 8;
const PIECES: usize = 64;

/// The machine removes the partial files of other states of the source, and prints nothing.
const REMOVE_LIMITS: OutputLimits = OutputLimits { bytes: 0, time: Duration::from_secs(30) };

/// The machine looks at one file, and prints a line.
const IDENTITY_LIMITS: OutputLimits = OutputLimits { bytes: 256, time: Duration::from_secs(30) };

/// Sends a large local file over the sessions of `pool`, which `connection` runs its commands on.
pub(super) async fn upload(
    pool: &Pool,
    connection: &dyn Connection,
    local: &Path,
    remote: &str,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let reading = |error| local_failure("read", local, &error);
    let file = Arc::new(File::open(local).map_err(reading)?);
    let found = file.metadata().map_err(reading)?;
    let look = FileState::of(&found);
    let sftp = pool.sftp().await?;
    let remote = match sftp.place(remote).await? {
        Destination::File(real) => real,
        Destination::Stream => return tree::pour(connection, local, remote, progress).await,
    };
    let remote = remote.as_str();
    let source = UploadFile { file, local, size: found.len(), remote };
    let partial = Partial::lasting(sftp.raw(), (local, &found), remote, &pool.address());
    let (created, lanes) = tokio::join!(sftp.create(&partial.path, remote), pool.lanes());
    let sent = async {
        let (handle, parts) = match created {
            Ok(handle) => (handle, None),
            Err(error) => source.resume(connection, &sftp, &partial, error).await?,
        };
        let sending = source.send(lanes?, &partial.path, parts, sftp.large_chunk(), progress);
        let (sent, ()) = tokio::join!(sending, remove_stale(connection, &partial));
        sent?;
        look.check(local, &source.file.metadata().map_err(reading)?)?;
        let attributes = FileAttributes { size: Some(found.len()), ..permissions(found.mode()) };
        sftp.finish(handle, attributes, remote).await
    };
    match sent.await {
        Ok(()) => sftp.put_in_place(partial, remote).await?,
        // The next copy would fail in the same way, and the partial file may be what fills the disk.
        Err(error @ ConnectionError::File { .. }) => {
            partial.remove().await;
            return Err(sftp.full_or(error, remote).await);
        }
        Err(error) => return Err(error),
    }
    Ok(Totals::file(found.len()))
}

/// Removes the partial files of other states of the source, as far as the machine can.
async fn remove_stale(connection: &dyn Connection, partial: &Partial) {
    if let Some(start) = partial.path_prefix() {
        let command = guest::of(connection.platform()).remove_stale(start, &partial.path);
        drop(blocks::command_output(connection, &command, REMOVE_LIMITS).await);
    }
}

/// A local file that is copied to `remote`.
struct UploadFile<'a> {
    file: Arc<File>,
    local: &'a Path,
    size: u64,
    remote: &'a str,
}

impl UploadFile<'_> {
    /// Opens the partial file of an earlier copy and returns the parts of the file that it lacks; makes it anew where
    /// it cannot be compared. `error` is why the partial file could not be created.
    async fn resume(
        &self,
        connection: &dyn Connection,
        sftp: &Sftp,
        partial: &Partial,
        error: ConnectionError,
    ) -> Result<(Handle, Option<Vec<Range<u64>>>), ConnectionError> {
        if !matches!(error, ConnectionError::File { .. }) || !sftp.exists(&partial.path).await? {
            return Err(error);
        }
        let blocks = self.size.div_ceil(blocks::BLOCK);
        let Some(theirs) = blocks::remote_hashes(connection, &partial.path, blocks, true).await else {
            sftp.remove(&partial.path).await;
            return Ok((sftp.create(&partial.path, self.remote).await?, None));
        };
        let parts = blocks::differing_parts(&self.file, self.size, theirs).await;
        let parts = parts.map_err(|error| local_failure("read", self.local, &error))?;
        Ok((sftp.open_again(&partial.path, self.remote).await?, Some(parts)))
    }

    /// Sends `parts`, or everything but the holes where there are none.
    async fn send(
        &self,
        mut lanes: Vec<Lane>,
        partial: &str,
        parts: Option<Vec<Range<u64>>>,
        chunk: u32,
        progress: Progress<'_>,
    ) -> Result<(), ConnectionError> {
        let moved = AtomicU64::new(0);
        let counted = |bytes: u64| {
            moved.fetch_add(bytes, Ordering::Relaxed);
            progress(bytes);
        };
        let (give, chunks) = mpsc::channel(CHUNKS);
        let (file, size, chunk) = (Arc::clone(&self.file), self.size, chunk as usize);
        let doing = &format!("write {}", quoted(self.remote));
        let reading = tokio::task::spawn_blocking(move || match parts {
            None => read_data(&file, size, chunk, &give),
            Some(parts) => parts.into_iter().try_for_each(|part| read_part(&file, part, chunk, &give)),
        });
        let chunks = tokio::sync::Mutex::new(chunks);
        let writing = lanes.iter_mut().map(async |lane| {
            lane.open(partial, OpenFlags::WRITE, doing).await?;
            lane.write(&chunks, doing, &counted).await
        });
        let written = try_join_all(writing).await;
        // Ends the reading thread where writing has failed.
        drop(chunks);
        let read = flat(reading.await);
        written?;
        read.map_err(|error| local_failure("read", self.local, &error))?;
        progress(self.size.saturating_sub(moved.into_inner()));
        Ok(())
    }
}

/// Reads everything but the holes.
fn read_data(file: &File, size: u64, chunk: usize, give: &mpsc::Sender<FileChunk>) -> std::io::Result<()> {
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            // There is only a hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            // A file system that cannot tell holes is read as a whole.
            Err(_) => at,
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start)).map_or(size, |end| end.clamp(start, size));
        let end = if end == start { size } else { end };
        read_part(file, start..end, chunk, give)?;
        at = end;
    }
    Ok(())
}

fn read_part(file: &File, part: Range<u64>, chunk: usize, give: &mpsc::Sender<FileChunk>) -> std::io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        let want = usize::try_from(part.end - at).unwrap_or(usize::MAX).min(chunk);
        let mut bytes = Vec::with_capacity(want);
        while bytes.len() < want {
            let to = at + bytes.len() as u64;
            let got =
                rustix::io::retry_on_intr(|| rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), to))?;
            if got == 0 {
                return Err(std::io::Error::other("it became shorter while it was read"));
            }
        }
        // The buffer may be larger than requested, and then more was read.
        bytes.truncate(want);
        if give.blocking_send((at, bytes)).is_err() {
            // Writing has failed, and the writer reports that.
            return Ok(());
        }
        at += want as u64;
    }
    Ok(())
}

/// Fetches a large remote file. `found` holds the attributes that the server reported.
pub(super) async fn download(
    pool: &Pool,
    connection: &dyn Connection,
    remote: &str,
    found: &FileAttributes,
    local: &Path,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let size = found.size.unwrap_or(0);
    let sftp = pool.sftp().await?;
    let local = match LocalTarget::of(local)? {
        LocalTarget::File(path) => path,
        LocalTarget::Stream(path) => {
            return sftp.download(remote, found, &path, tree::LONE_DEPTH, progress).await.map(Totals::file);
        }
    };
    let local = local.as_path();
    let origin = format!("{} {remote}", pool.address());
    let (partial, file, began) = LocalPartial::create_or_resume(local, &origin)?;
    let file = Arc::new(file);
    let writing = |error| local_failure("write", local, &error);
    let fetched = async {
        let (lanes, extents, seen) = tokio::join!(
            pool.lanes(),
            extents::remote_extents(connection, remote, size),
            file_identity(connection, remote)
        );
        let data = extents.unwrap_or_else(|| std::iter::once(0..size).collect());
        let parts = match began {
            true => missing_parts(connection, remote, &file, size, data).await.map_err(writing)?,
            false => data,
        };
        file.set_len(size).map_err(writing)?;
        let target = DownloadFile { sftp: &sftp, remote, file: Arc::clone(&file), local, size };
        target.fetch(lanes?, parts, !began, progress).await.map(|bytes| (bytes, seen))
    };
    match fetched.await {
        Ok((bytes, seen)) => {
            // After a change the partial file stays for the next copy, which compares it.
            check(connection, &sftp, (remote, found, seen), (&file, local), bytes).await?;
            let mode = found.permissions.map_or(0o644, |mode| mode & 0o777);
            partial.put_in_place(file, local, mode).await?;
            Ok(Totals::file(bytes))
        }
        Err(error @ ConnectionError::File { .. }) => {
            partial.remove();
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Refuses a remote file that changed during its copy; its `total` bytes are in `file` now, and `found` and `seen` are
/// from before the first byte. A file that only grew is accepted where it still begins with the bytes that were copied.
async fn check(
    connection: &dyn Connection,
    sftp: &Sftp,
    (remote, found, seen): (&str, &FileAttributes, Option<String>),
    (file, local): (&Arc<File>, &Path),
    total: u64,
) -> Result<(), ConnectionError> {
    let (after, now) = tokio::join!(sftp.stat(remote), file_identity(connection, remote));
    match after?.map_or(FileChange::Changed, |after| FileChange::of(found, &after)) {
        FileChange::Same if seen.is_none() || now.is_none() || seen == now => return Ok(()),
        FileChange::Same | FileChange::Changed => return Err(changed_error(remote)),
        FileChange::Grown => {}
    }
    // The last block of a file that still grows has another hash each time; so the bytes of it that were copied are
    // read again.
    let blocks = total / blocks::BLOCK;
    let whole = blocks * blocks::BLOCK;
    let theirs = blocks::remote_hashes(connection, remote, blocks, false).await.unwrap_or_default();
    let differing = blocks::differing_parts(file, whole, theirs).await;
    match differing.map_err(|error| local_failure("read", local, &error))?.is_empty() {
        true => sftp.verify_range_by_name(remote, (file, local), whole..total).await,
        false => Err(changed_error(remote)),
    }
}

/// The identity of the file with this name and its times to the nanosecond, where the machine can tell: its file server
/// has only whole seconds.
async fn file_identity(connection: &dyn Connection, remote: &str) -> Option<String> {
    blocks::command_output(connection, &guest::of(connection.platform()).file_identity(remote), IDENTITY_LIMITS).await
}

/// The parts that the partial file of an earlier copy lacks. `data` are the parts of the remote file that hold data.
async fn missing_parts(
    connection: &dyn Connection,
    remote: &str,
    file: &Arc<File>,
    size: u64,
    data: Vec<Range<u64>>,
) -> std::io::Result<Vec<Range<u64>>> {
    let mut end = 0;
    // Finds the last byte that was written; behind it there is only a hole, and nothing to compare.
    while let Ok(data) = rustix::fs::seek(file, SeekFrom::Data(end)) {
        end = rustix::fs::seek(file, SeekFrom::Hole(data))?;
    }
    file.set_len(size)?;
    let count = end.min(size).div_ceil(blocks::BLOCK);
    let compared = size.min(count * blocks::BLOCK);
    let theirs = match count {
        0 => Vec::new(),
        _ => blocks::remote_hashes(connection, remote, count, false).await.unwrap_or_default(),
    };
    let mut parts = blocks::differing_parts(file, compared, theirs).await?;
    parts.extend(extents::parts_from(data, compared));
    Ok(parts)
}

/// The local file that a remote file is copied to.
struct DownloadFile<'a> {
    sftp: &'a Sftp,
    remote: &'a str,
    file: Arc<File>,
    local: &'a Path,
    size: u64,
}

impl DownloadFile<'_> {
    /// Fetches `parts` and returns the length of the whole file. A `fresh` file has zeros wherever nothing was written
    /// yet.
    async fn fetch(
        self,
        mut lanes: Vec<Lane>,
        parts: Vec<Range<u64>>,
        fresh: bool,
        progress: Progress<'_>,
    ) -> Result<u64, ConnectionError> {
        let moved = AtomicU64::new(0);
        let counted = |bytes: u64| {
            moved.fetch_add(bytes, Ordering::Relaxed);
            progress(bytes);
        };
        let (give, pieces) = mpsc::channel(PIECES);
        let to = Arc::clone(&self.file);
        let writing = tokio::task::spawn_blocking(move || write_pieces(&to, fresh, pieces));
        let doing = format!("read {}", quoted(self.remote));
        let parts = Mutex::new(parts.into_iter());
        let current = Mutex::new(0..0);
        let chunk = self.sftp.large_chunk();
        let next = || next_span(&parts, &current, chunk);
        let reading = lanes.iter_mut().map(async |lane| {
            lane.open(self.remote, OpenFlags::READ, &doing).await?;
            lane.read(&next, &give, &doing, &counted).await
        });
        let read = try_join_all(reading).await;
        drop(give);
        // The writer's error comes first: where the disk is full, reading fails only because nobody takes the pieces.
        flat(writing.await).map_err(|error| local_failure("write", self.local, &error))?;
        read?;
        progress(self.size.saturating_sub(moved.into_inner()));
        // Of a file that grows, the bytes behind its announced end are copied too.
        let more = self.sftp.fetch_tail(self.remote, &self.file, self.local, self.size, progress).await?;
        Ok(self.size + more)
    }
}

/// The next span to request: its offset and length.
fn next_span(
    parts: &Mutex<std::vec::IntoIter<Range<u64>>>,
    current: &Mutex<Range<u64>>,
    chunk: u32,
) -> Option<(u64, u32)> {
    let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
    while current.is_empty() {
        *current = parts.lock().unwrap_or_else(PoisonError::into_inner).next()?;
    }
    let length = u32::try_from(current.end - current.start).unwrap_or(u32::MAX).min(chunk);
    let start = current.start;
    current.start += u64::from(length);
    Some((start, length))
}

/// Writes pieces as they come, adjacent ones with one call.
fn write_pieces(file: &File, fresh: bool, mut pieces: mpsc::Receiver<FilePiece>) -> std::io::Result<()> {
    let mut waiting: Vec<FilePiece> = Vec::with_capacity(PIECES);
    while pieces.blocking_recv_many(&mut waiting, PIECES) > 0 {
        let mut run: Vec<&[u8]> = Vec::with_capacity(waiting.len());
        let (mut start, mut end) = (0, 0);
        for (offset, message) in &waiting {
            let ChannelMsg::Data { data } = message else { continue };
            if is_zero(data) {
                clear(file, fresh, *offset, data.len() as u64)?;
                continue;
            }
            if *offset != end {
                write_run(file, start, &run)?;
                run.clear();
                (start, end) = (*offset, *offset);
            }
            run.push(data);
            end += data.len() as u64;
        }
        write_run(file, start, &run)?;
        waiting.clear();
    }
    Ok(())
}

/// Makes a hole, which a fresh file has already.
fn clear(file: &File, fresh: bool, offset: u64, length: u64) -> std::io::Result<()> {
    if fresh {
        return Ok(());
    }
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, mode, offset, length) {
        Ok(()) => Ok(()),
        // The file system cannot make holes.
        Err(_) => {
            let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
            std::os::unix::fs::FileExt::write_all_at(file, &zeros, offset)
        }
    }
}

fn write_run(file: &File, start: u64, run: &[&[u8]]) -> std::io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = run.iter().map(|piece| IoSlice::new(piece)).collect();
    let (mut slices, mut at) = (&mut slices[..], start);
    while !slices.is_empty() {
        let wrote = rustix::io::retry_on_intr(|| rustix::io::pwritev(file, slices, at))?;
        if wrote == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        at += wrote as u64;
        IoSlice::advance_slices(&mut slices, wrote);
    }
    Ok(())
}

/// Whether all bytes are zero.
fn is_zero(bytes: &[u8]) -> bool {
    // The first byte decides for most data. The rest is compared in blocks, for which the compiler uses vector
    // instructions.
    bytes.first() == Some(&0) && bytes.chunks(512).all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}
