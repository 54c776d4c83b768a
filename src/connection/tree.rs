//! Copies files and folders in both directions, each in its own way.
//!
//! A file travels by SFTP, a folder as one archive over one command (`remote/linux/tree.sh`), so that its time depends
//! on the bytes and not on the number of files. Files that cannot travel (sockets, devices) are refused before anything
//! is sent. Modification times are not kept, as with `cp -r`. The archive itself is the crate `archive`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::item::{Item, item, plan, refused};
use archive::names::{file_name, partial_name, quoted, trim_slashes};
use archive::partial::local_failure;
use archive::place::READER_LIMIT;
use archive::{Bounds, Load, PackJob};
use model::connection::{Connection, ConnectionError, Parcel, Progress, Totals};
use model::task::Command;
use russh_sftp::protocol::FileAttributes;

use crate::names::{FOLDER, REGULAR, kind};
use crate::sftp::Sftp;

/// The number of requests in flight for a file: 2 MiB.
pub(super) const LONE_DEPTH: usize = 16;

/// Copies a local file or folder to `remote`. A symbolic link named as the source itself is followed.
pub(super) async fn upload(
    connection: &dyn Connection,
    sftp: impl Future<Output = Result<Arc<Sftp>, ConnectionError>>,
    local: &Path,
    remote: &str,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let found = std::fs::metadata(local).map_err(|error| local_failure("read", local, &error))?;
    if found.is_file() {
        let remote = file_name(remote)?;
        return match sftp.await?.upload(local, remote, found.mode(), LONE_DEPTH, progress).await? {
            Some(bytes) => Ok(Totals::file(bytes)),
            None => pour(connection, local, remote, progress).await,
        };
    }
    let remote = trim_slashes(remote);
    if !found.is_dir() {
        return Err(refused(local, "it is neither a file nor a folder"));
    }
    let top = local.to_owned();
    let planned = tokio::task::spawn_blocking(move || plan(&top)).await;
    let items = planned.map_err(|error| refused(local, &error.to_string()))??;
    let command = guest::of(connection.platform()).unpack(remote, &partial_name(""), found.mode() & 0o7777);
    let cargo = PackJob { top: local.to_owned(), items, notes: Vec::new() };
    archive::send(connection, &command, Load::Tree(cargo), progress, &format!("write {}", quoted(remote))).await
}

/// Writes a local file into a device or a pipe on the machine, which is not replaced.
pub(super) async fn pour(
    connection: &dyn Connection,
    local: &Path,
    remote: &str,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let command = guest::of(connection.platform()).pour(remote, READER_LIMIT);
    let load = Load::File(local.to_owned());
    archive::send(connection, &command, load, progress, &format!("write {}", quoted(remote))).await
}

/// Runs `command` with the archive of a parcel on its standard input.
pub(super) async fn send(
    connection: &dyn Connection,
    command: &Command,
    parcel: Parcel<'_>,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let (top, paths) = (parcel.top.to_owned(), parcel.paths.to_vec());
    let looked = tokio::task::spawn_blocking(move || {
        let items = paths.into_iter().map(|path| item(&top, path)).collect::<Result<Vec<Item>, ConnectionError>>();
        items.map(|items| (top, items))
    });
    let (top, items) = looked.await.map_err(|error| refused(parcel.top, &error.to_string()))??;
    let doing = format!("copy `{}`", parcel.top.display().to_string().escape_debug());
    let load = Load::Tree(PackJob { top, items, notes: parcel.notes });
    archive::send(connection, command, load, progress, &doing).await
}

/// Sends the entries `paths` below the folder `local` to the same paths below the folder `remote`.
pub(super) async fn put(
    connection: &dyn Connection,
    local: &Path,
    paths: &[PathBuf],
    remote: &str,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let command = guest::of(connection.platform()).unpack(trim_slashes(remote), &partial_name(""), 0o755);
    send(connection, &command, Parcel { top: local, paths, notes: Vec::new() }, progress).await
}

/// The kind of a download's source.
pub(super) enum DownloadSource {
    /// A folder, which was copied.
    Tree(Totals),
    /// A file, which is still to be copied.
    File(Arc<Sftp>, FileAttributes),
}

/// Copies a remote file or folder to `local`. A symbolic link named as the source itself is followed.
///
/// The command that packs a folder and the file session are started at once, so that neither kind waits for the other:
/// a folder comes by the first, a file by the second.
pub(super) async fn download(
    connection: &dyn Connection,
    sftp: impl Future<Output = Result<Arc<Sftp>, ConnectionError>>,
    remote: &str,
    local: &Path,
    progress: Progress<'_>,
) -> Result<DownloadSource, ConnectionError> {
    let remote = trim_slashes(remote);
    let doing = format!("read {}", quoted(remote));
    let command = guest::of(connection.platform()).pack(remote);
    let bounds = Bounds { expected: None, cap: (u64::MAX, "it is too large") };
    let receiving = archive::receive(connection, &command, local, bounds, progress, &doing);
    tokio::pin!(receiving, sftp);
    let mut opened = None;
    let received = loop {
        tokio::select! {
            biased;
            received = &mut receiving => break received?,
            session = &mut sftp, if opened.is_none() => opened = Some(session),
        }
    };
    if let Some(totals) = received {
        return Ok(DownloadSource::Tree(totals));
    }
    let sftp = match opened {
        Some(session) => session?,
        None => sftp.await?,
    };
    let reading = |reason: &str| ConnectionError::File { doing: doing.clone(), reason: reason.into() };
    let found = sftp.stat(remote).await?.ok_or_else(|| reading("no such file or folder"))?;
    match kind(&found) {
        REGULAR => Ok(DownloadSource::File(sftp, found)),
        FOLDER => Err(reading("it became a folder while it was read")),
        _ => Err(reading("it is neither a file nor a folder")),
    }
}

/// Fetches the files `paths` below the folder `remote`, of at most `most` bytes with their holes, to the same paths
/// below `local`. A link is fetched as the file that it leads to.
pub(super) async fn pick(
    connection: &dyn Connection,
    remote: &str,
    paths: &[PathBuf],
    local: &Path,
    most: u64,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for path in paths {
        names.extend_from_slice(b"./");
        names.extend_from_slice(path.as_os_str().as_bytes());
        names.push(0);
    }
    let command = guest::of(connection.platform()).pick(trim_slashes(remote)).stdin(names);
    let cap = (most, "its files are larger, holes counted, than the room for them");
    let bounds = Bounds { expected: Some(paths.iter().cloned().collect()), cap };
    let doing = format!("read {}", quoted(remote));
    let received = archive::receive(connection, &command, local, bounds, progress, &doing).await?;
    received.ok_or_else(|| ConnectionError::File { doing, reason: "it is not a folder".to_owned() })
}
