//! Connects a remote command with the local streams: for a login, or as the byte bridge that another program uses as
//! its `ssh`.
//!
//! Reading and writing the local streams happens on threads of their own: a read of a terminal cannot be cancelled, and
//! neither may delay the other or the end of the program. Input flows even while output is blocked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::base::escapes::TerminalFilter;
use model::base::signal::SignalListener;
use model::connection::{Connection, Process, Stdin};
use model::exit::Exit;
use model::task::{Chunk, Command, Terminal, WindowSize};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// The largest number of bytes of one read.
const READ: usize = 64 << 10;

/// The number of reads that may wait for the connection.
const INPUTS: usize = 4;

/// The number of chunks, of at most 32 KiB each, that may wait for the local side.
const OUTPUTS: usize = 64;

/// The local ends of a command's three streams.
pub struct Streams {
    /// Read from.
    pub stdin: OwnedFd,
    /// Written to.
    pub stdout: OwnedFd,
    /// Written to.
    pub stderr: OwnedFd,
}

impl Streams {
    /// Duplicates of this process's own streams. Fails where one is closed.
    pub fn own() -> std::io::Result<Self> {
        // The duplicates get numbers from 3 on, so that none takes the number of a standard stream that is closed.
        let duplicate = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        Ok(Self {
            stdin: duplicate(rustix::stdio::stdin())?,
            stdout: duplicate(rustix::stdio::stdout())?,
            stderr: duplicate(rustix::stdio::stderr())?,
        })
    }
}

/// The terminal to request from the machine: of the size of this process's terminal, and called `kind` (the value of
/// `TERM`). `None` where standard input or output is not a terminal.
pub fn terminal(kind: &str) -> Option<Terminal> {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    (isatty(stdin) && isatty(stdout)).then(|| Terminal { kind: kind.to_owned(), size: window(stdout) })
}

/// The size of a terminal; 80 by 24 where it is unknown.
fn window(fd: impl AsFd) -> WindowSize {
    match tcgetwinsize(fd) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            WindowSize { columns: size.ws_col.into(), rows: size.ws_row.into() }
        }
        _ => WindowSize { columns: 80, rows: 24 },
    }
}

/// Runs `command` on this process's own streams, byte for byte, and returns how it ended.
pub async fn bridge_stdio(connection: &dyn Connection, command: &Command) -> Exit {
    match Streams::own() {
        Ok(streams) => bridge(connection, command, streams).await,
        Err(error) => Exit::Lost(format!("standard input, output or error is closed: {error}")),
    }
}

/// Runs `command` on the given streams, byte for byte, and returns how it ended.
pub async fn bridge(connection: &dyn Connection, command: &Command, streams: Streams) -> Exit {
    match connection.start(command).await {
        Ok(process) => match interact(process, streams, InteractOptions { raw: false, filter: false }).await {
            Ok(exit) => exit,
            Err(error) => Exit::Lost(format!("cannot write to standard output: {error}")),
        },
        Err(error) => Exit::Lost(error.to_string()),
    }
}

/// How a command is connected with the local streams.
#[derive(Debug, Clone, Copy)]
pub struct InteractOptions {
    /// For a command that has a terminal: a local terminal on standard input passes on every key as it is typed and
    /// every change of its window's size. Its state is restored in the end, however that comes.
    pub raw: bool,
    /// Whether escape sequences for titles, the clipboard and the like are withheld from a local terminal.
    pub filter: bool,
}

/// Connects a running command with the local streams until it ends and all its output is written.
///
/// With `raw`, SIGTERM, SIGHUP and SIGINT end it as [`Exit::Lost`]. A local reader that goes away ends the command's
/// channel and counts as `SIGPIPE`. Any other failure to write to standard output ends the channel too, and is returned
/// as the error.
pub async fn interact(process: Box<dyn Process>, streams: Streams, manner: InteractOptions) -> std::io::Result<Exit> {
    join(process, streams, manner).await.map(|joined| joined.exit)
}

/// The outcome of a command that was connected with the local streams.
#[derive(Debug)]
pub struct InteractionEnd {
    /// How the command ended.
    pub exit: Exit,
    /// The error where some of its standard error could not be written, which does not end the command. A reader that
    /// went away is not an error.
    pub messages: std::io::Result<()>,
}

/// Does the same as [`interact`], and also reports lost messages on standard error.
pub async fn join(
    mut process: Box<dyn Process>,
    streams: Streams,
    manner: InteractOptions,
) -> std::io::Result<InteractionEnd> {
    let Streams { stdin, stdout, stderr } = streams;
    let mut terminal = if manner.raw { LocalTerminal::enter(&stdin) } else { None };
    let feeding = process.take_stdin().and_then(|remote| {
        let (input, stop) = read_locally(stdin)?;
        Some(Feeding { task: tokio::spawn(feed(remote, input)), _stop: stop })
    });
    let (output, written) = write_locally(stdout, stderr, manner.filter);
    let mut held = None;
    let exit = loop {
        tokio::select! {
            room = output.reserve(), if held.is_some() => match (room, held.take()) {
                (Ok(room), Some(chunk)) => room.send(chunk),
                _ => break Exit::Signal("PIPE".to_owned()),
            },
            chunk = process.next(), if held.is_none() => match chunk {
                Some(chunk) => held = Some(chunk),
                None => break process.exit(),
            },
            event = LocalTerminal::event(&mut terminal) => match event {
                TerminalEvent::Resized(size) => drop(process.resize(size).await),
                TerminalEvent::Signal(name) => break Exit::Lost(format!("interrupted by SIG{name}")),
            },
        }
    };
    drop(feeding);
    drop(output);
    match written.await {
        Ok(WriteResults { stdout: Err(errno), .. }) if errno != Errno::PIPE => Err(errno.into()),
        Ok(WriteResults { stderr: Err(errno), .. }) if errno != Errno::PIPE => {
            Ok(InteractionEnd { exit, messages: Err(errno.into()) })
        }
        _ => Ok(InteractionEnd { exit, messages: Ok(()) }),
    }
}

/// The task that sends input, ended together with the thread that reads it.
struct Feeding {
    task: tokio::task::JoinHandle<()>,
    _stop: OwnedFd,
}

impl Drop for Feeding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn feed(mut remote: Box<dyn Stdin>, mut input: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = input.recv().await {
        if remote.write(&bytes).await.is_err() {
            return;
        }
    }
    drop(remote.close().await);
}

/// Reads `fd` to its end on a thread, which also ends when the returned descriptor is dropped.
fn read_locally(fd: OwnedFd) -> Option<(mpsc::Receiver<Vec<u8>>, OwnedFd)> {
    let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()?;
    let (sender, receiver) = mpsc::channel(INPUTS);
    let read = move || {
        let mut buffer = vec![0; READ];
        while wait_until_ready(&fd, PollFlags::IN, Some(&stopped)) {
            match rustix::io::read(&fd, &mut buffer) {
                Ok(0) => break,
                Ok(got) if sender.blocking_send(buffer[..got].to_vec()).is_ok() => {}
                Err(Errno::AGAIN | Errno::INTR) => {}
                // There is no more input, for example because the terminal hung up.
                Ok(_) | Err(_) => break,
            }
        }
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(read).ok()?;
    Some((receiver, stop))
}

/// Waits until `fd` is ready; false once the other end of `stopped` is closed.
fn wait_until_ready(fd: &OwnedFd, wanted: PollFlags, stopped: Option<&OwnedFd>) -> bool {
    loop {
        let mut fds = vec![PollFd::new(fd, wanted)];
        fds.extend(stopped.map(|stopped| PollFd::new(stopped, PollFlags::IN)));
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(_) => return true,
            Ok(_) => return fds.get(1).is_none_or(|stopped| stopped.revents().is_empty()),
        }
    }
}

/// The results of writing, sent when all is written or standard output could not be written to.
struct WriteResults {
    stdout: Result<(), Errno>,
    /// The first error; later chunks are tried all the same.
    stderr: Result<(), Errno>,
}

/// Writes chunks on a thread.
fn write_locally(
    stdout: OwnedFd,
    stderr: OwnedFd,
    filter: bool,
) -> (mpsc::Sender<Chunk>, oneshot::Receiver<WriteResults>) {
    let (sender, mut receiver) = mpsc::channel(OUTPUTS);
    let (done, written) = oneshot::channel();
    let filter_of = |fd: &OwnedFd| (filter && isatty(fd)).then(TerminalFilter::default);
    let (mut of_stdout, mut of_stderr) = (filter_of(&stdout), filter_of(&stderr));
    let pass = |filter: &mut Option<TerminalFilter>, bytes: Vec<u8>| match filter {
        Some(filter) => filter.push(&bytes),
        None => bytes,
    };
    let write = move || {
        let mut result = WriteResults { stdout: Ok(()), stderr: Ok(()) };
        while let Some(chunk) = receiver.blocking_recv() {
            match chunk {
                Chunk::Stdout(bytes) => {
                    result.stdout = write_all(&stdout, &pass(&mut of_stdout, bytes));
                    if result.stdout.is_err() {
                        break;
                    }
                }
                // A command goes on although nobody reads its messages.
                Chunk::Stderr(bytes) => {
                    let written = write_all(&stderr, &pass(&mut of_stderr, bytes));
                    result.stderr = result.stderr.and(written);
                }
            }
        }
        drop(receiver);
        let _ = done.send(result);
    };
    // Where the thread cannot be started, both halves are dropped, and sending the first chunk fails.
    drop(std::thread::Builder::new().name("stdout".to_owned()).spawn(write));
    (sender, written)
}

/// Writes everything, also to a descriptor that another process has made non-blocking.
fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => drop(wait_until_ready(fd, PollFlags::OUT, None)),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The terminal that is in raw mode now, and the state to restore.
static RAW: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

fn lock_raw() -> MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    RAW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Restores the state of a terminal in raw mode. It must be called before the process ends without unwinding, and is
/// harmless at any other time.
pub fn restore_terminal() {
    if let Some((fd, state)) = lock_raw().take() {
        let _ = tcsetattr(&fd, OptionalActions::Drain, &state);
    }
}

enum TerminalEvent {
    Resized(WindowSize),
    Signal(&'static str),
}

/// A local terminal that is in raw mode until this value is dropped.
struct LocalTerminal {
    fd: OwnedFd,
    resized: Signal,
    ends: [(SignalListener, &'static str); 3],
}

impl LocalTerminal {
    /// `None` where `fd` is not a terminal, or another one is in raw mode already.
    fn enter(fd: &OwnedFd) -> Option<Self> {
        let state = tcgetattr(fd).ok()?;
        let mut kept = lock_raw();
        if kept.is_some() {
            return None;
        }
        let terminal = Self {
            fd: fd.try_clone().ok()?,
            resized: signal(SignalKind::window_change()).ok()?,
            ends: [
                (SignalListener::listen(SignalKind::terminate()).ok()?, "TERM"),
                (SignalListener::listen(SignalKind::hangup()).ok()?, "HUP"),
                (SignalListener::listen(SignalKind::interrupt()).ok()?, "INT"),
            ],
        };
        // The state is kept before it is changed, so that a panic in between can restore it.
        *kept = Some((fd.try_clone().ok()?, state.clone()));
        drop(kept);
        let mut state = state;
        state.make_raw();
        let _ = tcsetattr(fd, OptionalActions::Drain, &state);
        Some(terminal)
    }

    /// Waits for the next event of the terminal; for ever where there is no terminal.
    async fn event(terminal: &mut Option<Self>) -> TerminalEvent {
        let Some(terminal) = terminal else { return std::future::pending().await };
        let [first, second, third] = &mut terminal.ends;
        tokio::select! {
            _ = terminal.resized.recv() => TerminalEvent::Resized(window(&terminal.fd)),
            () = first.0.wait() => TerminalEvent::Signal(first.1),
            () = second.0.wait() => TerminalEvent::Signal(second.1),
            () = third.0.wait() => TerminalEvent::Signal(third.1),
        }
    }
}

impl Drop for LocalTerminal {
    fn drop(&mut self) {
        restore_terminal();
    }
}
