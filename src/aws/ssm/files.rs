//! Copying small files and trees as the input and output of commands.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;

use archive::item::refused;
use archive::look::FileState;
use archive::names::{file_name, trim_slashes};
use archive::names::{partial_name, quoted};
use archive::partial::{flat, local_failure};
use model::connection::{Connection, ConnectionError, Progress, Totals};
use model::exit::Exit;
use model::output::Output;
use model::task::Command;

use crate::ssm::SsmConnection;
use crate::ssm::protocol::agent;

/// Most bytes of files in one copy: at some 80 KB a second nobody would wait for more.
pub(super) const CAP: u64 = 8 << 20;

/// Most bytes of an archive: the files, and 512 bytes or a small multiple of that for each entry.
const ARCHIVE_CAP: usize = 12 << 20;

/// Most bytes that are kept of the script's message about a failure.
const REASON_CAP: usize = 4096;

pub(super) async fn write(
    connection: &SsmConnection,
    remote: &str,
    bytes: &[u8],
    mode: u32,
    progress: Progress<'_>,
) -> Result<(), ConnectionError> {
    let doing = || format!("write {}", quoted(remote));
    check_size(doing, bytes.len() as u64)?;
    let command = write_command(connection, remote, mode)?;
    run(connection, &command, bytes, 0, doing, progress).await.map(drop)
}

pub(super) async fn read(connection: &SsmConnection, remote: &str, cap: u64) -> Result<Vec<u8>, ConnectionError> {
    let doing = || format!("read {}", quoted(remote));
    let most = cap.min(CAP) + 1;
    let command = agent(connection.platform())?.read_whole(remote, most);
    let bytes = run(connection, &command, b"", most as usize, doing, &|_| ()).await?;
    let length = bytes.len() as u64;
    if length > cap {
        let reason = format!("it is longer than {}", model::base::text::bytes(cap));
        return Err(ConnectionError::File { doing: doing(), reason });
    }
    check_size(doing, length).map(|()| bytes)
}

pub(super) async fn upload(
    connection: &SsmConnection,
    local: &Path,
    remote: &str,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let found = std::fs::metadata(local).map_err(|error| local_failure("read", local, &error))?;
    let doing = || format!("copy `{}` to {}", local.display().to_string().escape_debug(), quoted(remote));
    if found.is_file() {
        check_size(doing, found.len())?;
        let bytes = read_locally(local).await?;
        let totals = Totals::file(bytes.len() as u64);
        let mode = found.permissions().mode();
        let remote = file_name(remote)?;
        let around = length(connection, &write_command(connection, remote, mode)?)?;
        let sent = scale_progress(progress, around + bytes.len(), totals.bytes);
        write(connection, remote, &bytes, mode, &sent).await?;
        return Ok(totals);
    }
    if !found.is_dir() {
        return Err(refused(local, "it is neither a file nor a folder"));
    }
    let top = local.to_owned();
    let packing = tokio::task::spawn_blocking(move || archive::in_memory(&top, CAP)).await;
    let (bytes, totals) = packing.map_err(|error| refused(local, &error.to_string()))??;
    if bytes.len() > ARCHIVE_CAP {
        return Err(too_large(doing));
    }
    let mode = found.permissions().mode() & 0o7777;
    let command = guest::of(connection.platform()).unpack(trim_slashes(remote), &partial_name(""), mode);
    let sent = scale_progress(progress, length(connection, &command)? + bytes.len(), totals.bytes);
    run(connection, &command, &bytes, 0, doing, &sent).await?;
    Ok(totals)
}

pub(super) async fn download(
    connection: &SsmConnection,
    remote: &str,
    local: &Path,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let doing = || format!("read {}", quoted(remote));
    let command = agent(connection.platform())?.pack_whole(trim_slashes(remote), ARCHIVE_CAP as u64);
    let bytes = run(connection, &command, b"", ARCHIVE_CAP, doing, &|_| ()).await?;
    let to = local.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || archive::from_memory(&bytes, &to, CAP)).await;
    let totals = unpacking.map_err(|error| refused(local, &error.to_string()))??;
    progress(totals.bytes);
    Ok(totals)
}

/// The command that takes a file on its standard input.
fn write_command(connection: &SsmConnection, remote: &str, mode: u32) -> Result<Command, ConnectionError> {
    let name = remote.rsplit('/').next().unwrap_or_default();
    Ok(agent(connection.platform())?.write_whole(remote, &partial_name(name), mode & 0o7777))
}

/// How many bytes of a command are sent besides its input.
fn length(connection: &SsmConnection, command: &Command) -> Result<usize, ConnectionError> {
    let invocation = super::process::invocation(connection.platform(), command)?;
    Ok(invocation.line.len() + invocation.head.len())
}

/// Runs `command` with `input`; returns its output, of at most `most` bytes.
///
/// `sent` gets the number of bytes as they are sent, including those of the command, which [`scale_progress`] discounts.
async fn run(
    connection: &SsmConnection,
    command: &Command,
    input: &[u8],
    most: usize,
    doing: impl Fn() -> String,
    sent: Progress<'_>,
) -> Result<Vec<u8>, ConnectionError> {
    let invocation = super::process::invocation(connection.platform(), command)?;
    let session = &connection.session;
    let mut process = session.start(&connection.user, &invocation, Some(input), sent).await?;
    let done = Output::within(&mut process, most, REASON_CAP).await;
    match &done.exit {
        _ if done.capped => Err(too_large(doing)),
        Exit::Code(0) => Ok(done.stdout),
        Exit::Lost(reason) => Err(ConnectionError::Lost { address: session.runner.address(), reason: reason.clone() }),
        exit => {
            let stderr = done.stderr_text();
            let reason = stderr.lines().next_back().map(str::to_owned);
            let reason = reason.unwrap_or_else(|| format!("the machine only reports `{exit}`"));
            Err(ConnectionError::File { doing: doing(), reason })
        }
    }
}

fn check_size(doing: impl Fn() -> String, size: u64) -> Result<(), ConnectionError> {
    if size <= CAP { Ok(()) } else { Err(too_large(doing)) }
}

fn too_large(doing: impl Fn() -> String) -> ConnectionError {
    let cap = model::base::text::bytes(CAP);
    ConnectionError::File { doing: doing(), reason: format!("more than {cap} do not travel by SSM; use SSH") }
}

/// Reads a file that was small when it was checked; a file that has grown beyond the cap, or changes meanwhile, is
/// refused.
async fn read_locally(path: &Path) -> Result<Vec<u8>, ConnectionError> {
    let from = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_capped(&from, CAP)).await;
    let (read, before, after) = flat(reading).map_err(|error| local_failure("read", path, &error))?;
    FileState::of(&before).check(path, &after)?;
    read.ok_or_else(|| too_large(|| format!("read `{}`", path.display().to_string().escape_debug())))
}

/// The whole file, or `None` if it has more than `cap` bytes; and its metadata before and after.
fn read_capped(path: &Path, cap: u64) -> std::io::Result<(Option<Vec<u8>>, Metadata, Metadata)> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    let before = file.metadata()?;
    (&file).take(cap + 1).read_to_end(&mut bytes)?;
    Ok(((bytes.len() as u64 <= cap).then_some(bytes), before, file.metadata()?))
}

/// Reports a total of `bytes` to `progress` while `sent` bytes are sent: never too many, and the rest with the last of
/// them.
fn scale_progress(progress: Progress<'_>, sent: usize, bytes: u64) -> impl Fn(u64) + Send + Sync {
    let totals = Mutex::new((0_u64, 0_u64));
    let whole = sent as u64;
    move |more| {
        let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (arrived, reported) = &mut *totals;
        *arrived += more;
        let due = if *arrived >= whole { bytes } else { bytes * *arrived / whole };
        progress(due - *reported);
        *reported = due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reaches_the_whole_and_never_passes_it() {
        let seen = Mutex::new(Vec::new());
        let note = |bytes| seen.lock().unwrap().push(bytes);
        let around = 2000;
        let tell = scale_progress(&note, around + 100_000, 1000);
        for _ in 0..10 {
            tell(10_000);
        }
        tell(around as u64 + 50);
        let seen = seen.lock().unwrap();
        assert!(seen.len() == 11 && seen[0] > 50 && seen[0] < 100, "{seen:?}");
        assert_eq!(seen.iter().sum::<u64>(), 1000);
    }
}
