//! Trees as one archive over one command's streams: `tar` on the machine at one end, this program at the other.
//!
//! The archive is made and read on a thread of its own, a few pieces ahead, while the connection carries it. It counts
//! as whole only when the machine's exit status says so; a copy that is given up half-way leaves half a tree on neither
//! side.

pub mod item;
pub mod links;
pub mod look;
pub mod names;
pub mod partial;
pub mod place;
mod read;
#[cfg(test)]
mod tests;
mod unpack;
mod write;

use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::item::{Item, refused};
use crate::partial::work_token;
pub use crate::unpack::Bounds;
use crate::write::{Packer, Piece};
use model::connection::{Connection, ConnectionError, Process, Progress, Stdin, Totals};
use model::exit::Exit;
use model::task::{Chunk, Command};

/// Most pieces that wait between the thread and the connection.
const AHEAD: usize = 8;

/// Longest time without a byte moving: a machine says nothing while it unpacks or removes many files, which takes a
/// while.
const STALL: Duration = Duration::from_secs(600);

/// Interval at which the progress of a download is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How long a machine may take to remove a partial copy.
const CLEANING: Duration = Duration::from_secs(30);

/// Most bytes that are kept of what the machine says about a failure.
const STDERR_CAP: usize = 4096;

/// A tree that is to be packed.
pub struct PackJob {
    /// The folder, or the file.
    pub top: PathBuf,
    /// The entries of it that travel.
    pub items: Vec<Item>,
    /// Small files that go first, by name.
    pub notes: Vec<(String, Vec<u8>)>,
}

/// The bytes that go to a command's standard input.
pub enum Load {
    /// An archive of this tree.
    Tree(PackJob),
    /// The bytes of this file.
    File(PathBuf),
}

impl Load {
    fn path(&self) -> &Path {
        match self {
            Self::Tree(cargo) => &cargo.top,
            Self::File(path) => path,
        }
    }

    fn hand(&self, take: impl FnMut(Piece) -> bool) -> Result<Totals, ConnectionError> {
        match self {
            Self::Tree(cargo) => pack(cargo, take),
            Self::File(path) => write::pour(path, take),
        }
    }
}

/// Remembers when something last moved.
struct Activity {
    began: Instant,
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0) }
    }

    fn note(&self) {
        self.last.store(self.began.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Returns when nothing has moved for [`STALL`].
    async fn wait_for_stall(&self) {
        loop {
            let last = Duration::from_secs(self.last.load(Ordering::Relaxed));
            match (last + STALL).checked_sub(self.began.elapsed()) {
                Some(left) => tokio::time::sleep(left + Duration::from_secs(1)).await,
                None => return,
            }
        }
    }
}

/// The side on which sending failed.
enum SendFailure {
    /// This computer, with a reason that counts.
    Local(ConnectionError),
    /// The connection or the machine; the machine's own words, if there are any, say more about the reason.
    Remote(ConnectionError),
}

/// Runs `command` with `load` on its standard input. `doing` describes the copy in the message of a failure.
pub async fn send(
    connection: &dyn Connection,
    command: &Command,
    load: Load,
    progress: Progress<'_>,
    doing: &str,
) -> Result<Totals, ConnectionError> {
    let mut process = connection.start(command).await?;
    let Some(stdin) = process.take_stdin() else { return Err(unable()) };
    let signs = Activity::new();
    let both = async {
        let (feeding, listening) = (feed(stdin, load, &signs, progress), listen(&mut *process, &signs, None));
        tokio::pin!(feeding, listening);
        tokio::select! {
            ended = &mut listening => (feeding.await, Some(ended)),
            fed = &mut feeding => match fed {
                Ok(totals) => (Ok(totals), Some(listening.await)),
                // The machine discards what it has when the archive breaks off; it gets the time to do so.
                Err(broken) => (Err(broken), tokio::time::timeout(CLEANING, listening).await.ok()),
            },
        }
    };
    let (fed, ended) = tokio::select! {
        both = both => both,
        () = signs.wait_for_stall() => return Err(stall_error(doing)),
    };
    let ended = ended.unwrap_or_else(|| PackEnd {
        exit: Exit::Lost("it did not end".to_owned()),
        stderr: Vec::new(),
        whole: true,
    });
    match (fed, &ended.exit) {
        (Err(SendFailure::Local(error)), _) | (Err(SendFailure::Remote(error)), Exit::Lost(_) | Exit::Code(0)) => {
            Err(error)
        }
        (Ok(totals), Exit::Code(0)) => Ok(totals),
        _ => Err(ended.failure(doing)),
    }
}

/// Packs on a thread and writes the pieces to the command's standard input.
async fn feed(
    mut stdin: Box<dyn Stdin>,
    load: Load,
    signs: &Activity,
    progress: Progress<'_>,
) -> Result<Totals, SendFailure> {
    let (pieces, mut coming) = mpsc::channel::<Piece>(AHEAD);
    let top = load.path().to_owned();
    let packing = tokio::task::spawn_blocking(move || load.hand(|piece| pieces.blocking_send(piece).is_ok()));
    while let Some(piece) = coming.recv().await {
        stdin.write(&piece.bytes).await.map_err(SendFailure::Remote)?;
        signs.note();
        progress(piece.content);
    }
    let packed = packing.await.map_err(|error| SendFailure::Local(refused(&top, &error.to_string())))?;
    let totals = packed.map_err(SendFailure::Local)?;
    stdin.close().await.map_err(SendFailure::Remote)?;
    Ok(totals)
}

fn pack(cargo: &PackJob, take: impl FnMut(Piece) -> bool) -> Result<Totals, ConnectionError> {
    let mut packer = Packer::new(take);
    for (name, bytes) in &cargo.notes {
        packer.note(name, bytes)?;
    }
    packer.tree(&cargo.top, &cargo.items)?;
    packer.end()
}

/// The end of a command: its exit, and what it said on standard error.
struct PackEnd {
    exit: Exit,
    stderr: Vec<u8>,
    /// Whether its output was read to the end.
    whole: bool,
}

impl PackEnd {
    fn failure(self, doing: &str) -> ConnectionError {
        let doing = doing.to_owned();
        match self.exit {
            Exit::Lost(reason) => ConnectionError::Lost { address: "the machine".to_owned(), reason },
            exit => {
                let stderr = String::from_utf8_lossy(&self.stderr);
                let lines =
                    stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("Exiting with"));
                let lines: Vec<&str> = lines.take(3).collect();
                let reason = match lines.is_empty() {
                    true => format!("the machine only says `{exit}`"),
                    false => lines.join("; "),
                };
                ConnectionError::File { doing, reason }
            }
        }
    }
}

/// Hands standard output on to `unpacking` until the command ends or the receiver is gone.
async fn listen(process: &mut dyn Process, signs: &Activity, unpacking: Option<&mpsc::Sender<Incoming>>) -> PackEnd {
    let (mut stderr, mut whole) = (Vec::new(), true);
    while let Some(chunk) = process.next().await {
        signs.note();
        match (chunk, unpacking) {
            (Chunk::Stdout(bytes), Some(to)) => {
                if to.send(Incoming::Bytes(bytes)).await.is_err() {
                    whole = false;
                    break;
                }
            }
            (Chunk::Stdout(_), None) => {}
            (Chunk::Stderr(bytes), _) => {
                let room = STDERR_CAP.saturating_sub(stderr.len());
                stderr.extend(bytes.into_iter().take(room));
            }
        }
    }
    PackEnd { exit: process.exit(), stderr, whole }
}

/// A message from the connection to the thread that unpacks.
enum Incoming {
    Bytes(Vec<u8>),
    /// The machine's exit status said that the archive is complete.
    Whole,
}

/// The incoming bytes as a reader, for the thread that unpacks them. Their end is an error unless [`Incoming::Whole`]
/// came first.
struct IncomingReader {
    from: mpsc::Receiver<Incoming>,
    piece: Vec<u8>,
    at: usize,
    whole: bool,
}

impl Read for IncomingReader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.piece.len() {
            match self.from.blocking_recv() {
                _ if self.whole => return Ok(0),
                Some(Incoming::Bytes(bytes)) => (self.piece, self.at) = (bytes, 0),
                Some(Incoming::Whole) => self.whole = true,
                None => return Err(Error::new(ErrorKind::UnexpectedEof, "it breaks off")),
            }
        }
        let room = into.len().min(self.piece.len() - self.at);
        into[..room].copy_from_slice(&self.piece[self.at..self.at + room]);
        self.at += room;
        Ok(room)
    }
}

/// Unpacks the archive that `command` writes to its standard output, within `bounds`: the whole folder `local`, or the
/// expected files below it. Gives `None` where the machine says that there is a file in place of a folder.
pub async fn receive(
    connection: &dyn Connection,
    command: &Command,
    local: &Path,
    bounds: Bounds<'static>,
    progress: Progress<'_>,
    doing: &str,
) -> Result<Option<Totals>, ConnectionError> {
    let mut process = connection.start(command).await?;
    let (pieces, from) = mpsc::channel(AHEAD);
    let unreported = Arc::new(AtomicU64::new(0));
    let (to, counter) = (local.to_owned(), Arc::clone(&unreported));
    let at_work = work_token();
    let mut unpacking = tokio::task::spawn_blocking(move || {
        let arriving = IncomingReader { from, piece: Vec::new(), at: 0, whole: false };
        let unpacked = unpack::unpack(arriving, &to, bounds, &counter);
        drop(at_work);
        unpacked
    });
    let tell = || progress(unreported.swap(0, Ordering::Relaxed));
    let signs = Activity::new();
    let both = async {
        let ended = listen(&mut *process, &signs, Some(&pieces)).await;
        if ended.exit == Exit::Code(0) {
            drop(pieces.send(Incoming::Whole).await);
        }
        drop(pieces);
        ended
    };
    tokio::pin!(both);
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    let ended = loop {
        tokio::select! {
            ended = &mut both => break ended,
            _ = ticks.tick() => tell(),
            () = signs.wait_for_stall() => return Err(stall_error(doing)),
        }
    };
    let unpacked = loop {
        tokio::select! {
            unpacked = &mut unpacking => break unpacked.map_err(|error| refused(local, &error.to_string()))?,
            _ = ticks.tick() => tell(),
        }
    };
    tell();
    match (unpacked, &ended.exit) {
        (Ok(totals), _) => Ok(Some(totals)),
        (Err(_), Exit::Code(guest::IS_FILE)) => Ok(None),
        // A channel that we closed because unpacking failed has no exit status, so `Lost` is not the cause.
        (Err(error), Exit::Code(0)) => Err(error),
        (Err(error), Exit::Lost(_)) if !ended.whole => Err(error),
        (Err(_), _) => Err(ended.failure(doing)),
    }
}

/// The reason for refusing a tree that is too large for SSM.
const LARGE: &str = "more than 8 MiB do not travel by SSM; use SSH";

/// Packs the folder `top`, whose files may have at most `cap` bytes, into memory; gives the archive and its totals.
pub fn in_memory(top: &Path, cap: u64) -> Result<(Vec<u8>, Totals), ConnectionError> {
    let cargo = PackJob { top: top.to_owned(), items: item::plan(top)?, notes: Vec::new() };
    let (mut bytes, mut content) = (Vec::new(), 0);
    let packed = pack(&cargo, |piece| {
        content += piece.content;
        bytes.extend(piece.bytes);
        content <= cap
    });
    match packed {
        Err(_) if content > cap => Err(refused(top, LARGE)),
        packed => packed.map(|totals| (bytes, totals)),
    }
}

/// Unpacks an archive in memory to `local`; its files may have at most `cap` bytes.
pub fn from_memory(archive: &[u8], local: &Path, cap: u64) -> Result<Totals, ConnectionError> {
    unpack::unpack(archive, local, Bounds { expected: None, cap: (cap, LARGE) }, &AtomicU64::new(0))
}

fn unable() -> ConnectionError {
    ConnectionError::Invalid("this connection carries no archive; use SSH".to_owned())
}

fn stall_error(doing: &str) -> ConnectionError {
    let what = format!("nothing moved for {}s while trying to {doing}", STALL.as_secs());
    ConnectionError::TimedOut { address: "the machine".to_owned(), what }
}
