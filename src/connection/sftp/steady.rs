//! Checks, after the last byte of a fetched file, that its content existed as a whole at one moment.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use archive::look::CHANGED;
use archive::names::quoted;
use archive::partial::{flat, local_failure};
use futures_util::stream::{self, StreamExt};
use model::connection::ConnectionError;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use super::Sftp;
use crate::look::FileChange;
use crate::partial::Handle;

/// The number of requests in flight for bytes that are read again: 2 MiB.
const AGAIN: usize = 16;

impl Sftp {
    /// Refuses a small file that changed during its copy; its `total` bytes are in `file` now. `found` holds its
    /// attributes from before, and `began` is when this computer requested the first byte.
    pub(super) async fn check(
        &self,
        (handle, remote): (&str, &str),
        found: &FileAttributes,
        (file, local): (&Arc<std::fs::File>, &Path),
        total: u64,
        began: SystemTime,
    ) -> Result<(), ConnectionError> {
        match self.change_since(handle, remote, found).await? {
            FileChange::Same if !is_recent(found, began) => Ok(()),
            FileChange::Same if found.size.unwrap_or(0) == 0 => Ok(()),
            // Content that reads the same twice existed as a whole in between.
            FileChange::Same | FileChange::Grown => self.verify_range(handle, remote, (file, local), 0..total).await,
            FileChange::Changed => Err(changed_error(remote)),
        }
    }

    /// The change of an open file since it had the attributes `found`.
    pub(super) async fn change_since(
        &self,
        handle: &str,
        remote: &str,
        found: &FileAttributes,
    ) -> Result<FileChange, ConnectionError> {
        match self.raw.fstat(handle).await {
            Ok(after) => Ok(FileChange::of(found, &after.attrs)),
            // A server that cannot tell is assumed to have an unchanged file.
            Err(SftpError::Status(status)) if status.status_code == StatusCode::OpUnsupported => Ok(FileChange::Same),
            Err(error) => Err(self.failure(format!("look at {}", quoted(remote)), error)),
        }
    }

    /// Refuses a remote file whose bytes of `range` are not those that `file` holds.
    pub(crate) async fn verify_range(
        &self,
        handle: &str,
        remote: &str,
        (file, local): (&Arc<std::fs::File>, &Path),
        range: Range<u64>,
    ) -> Result<(), ConnectionError> {
        let chunk = u64::from(self.chunk);
        let count = (range.end - range.start).div_ceil(chunk);
        let spans = (0..count).map(|number| range.start + number * chunk);
        let read = async |at: u64| Ok((at, self.read_span(handle, remote, at, chunk.min(range.end - at)).await?));
        let mut pieces = stream::iter(spans).map(read).buffered(AGAIN);
        while let Some(piece) = pieces.next().await {
            let (at, bytes): (u64, Vec<u8>) = piece?;
            let ours = Arc::clone(file);
            let same = tokio::task::spawn_blocking(move || {
                let mut have = vec![0; bytes.len()];
                ours.read_exact_at(&mut have, at).map(|()| have == bytes)
            });
            match flat(same.await).map_err(|error| local_failure("read", local, &error))? {
                true => {}
                false => return Err(changed_error(remote)),
            }
        }
        Ok(())
    }

    /// Does the same with a file that is not open.
    pub(crate) async fn verify_range_by_name(
        &self,
        remote: &str,
        (file, local): (&Arc<std::fs::File>, &Path),
        range: Range<u64>,
    ) -> Result<(), ConnectionError> {
        let opened = self.raw.open(remote, OpenFlags::READ, FileAttributes::empty()).await;
        let opened = opened.map_err(|error| self.failure(format!("read {}", quoted(remote)), error))?;
        let handle = Handle::new(&self.raw, opened.handle);
        self.verify_range(&handle.name, remote, (file, local), range).await
    }
}

/// Whether a file was written in the second in which its copy began, so that another write would not change its time.
/// This goes by the clock of this computer, so that it misses such writes on a machine whose clock is slow.
fn is_recent(found: &FileAttributes, began: SystemTime) -> bool {
    let began = began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    found.mtime.is_some_and(|mtime| u64::from(mtime) + 1 >= began)
}

/// The error for a file on the machine that changed during its copy.
pub(crate) fn changed_error(remote: &str) -> ConnectionError {
    ConnectionError::File { doing: format!("read {}", quoted(remote)), reason: CHANGED.to_owned() }
}
