//! A remote command on the local streams: a login, or the byte bridge that stands in for another program's `ssh`.
//!
//! Reading and writing the local streams happens on threads of their own: a read of a terminal cannot be called off, and
//! neither may keep the other, or the end of the program, waiting. Input flows whatever becomes of the output.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::base::escapes::Filter;
use model::base::signal::Heeded;
use model::connection::{Connection, Process, Stdin};
use model::exit::Exit;
use model::task::{Chunk, Command, Terminal, WindowSize};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// Bytes of one read.
const READ: usize = 64 << 10;

/// Reads that wait for the connection.
const INPUTS: usize = 4;

/// Chunks that wait for the local side, of at most 32 KiB each.
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
    /// This process's own, as duplicates. Fails where one is closed.
    pub fn own() -> std::io::Result<Self> {
        // Above the three, so that a closed one is not taken for another.
        let duplicate = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        Ok(Self {
            stdin: duplicate(rustix::stdio::stdin())?,
            stdout: duplicate(rustix::stdio::stdout())?,
            stderr: duplicate(rustix::stdio::stderr())?,
        })
    }
}

/// The terminal to ask the machine for: one of this process's terminal's size, called `kind` (the value of `TERM`).
/// `None` where standard input or output is no terminal.
pub fn terminal(kind: &str) -> Option<Terminal> {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    (isatty(stdin) && isatty(stdout)).then(|| Terminal { kind: kind.to_owned(), size: window(stdout) })
}

/// The size of a terminal; that of the first terminals where it is not told.
fn window(fd: impl AsFd) -> WindowSize {
    match tcgetwinsize(fd) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            WindowSize { columns: size.ws_col.into(), rows: size.ws_row.into() }
        }
        _ => WindowSize { columns: 80, rows: 24 },
    }
}

/// Runs `command` on this process's own streams, byte for byte, and says how it ended.
pub async fn bridge_stdio(connection: &dyn Connection, command: &Command) -> Exit {
    match Streams::own() {
        Ok(streams) => bridge(connection, command, streams).await,
        Err(error) => Exit::Lost(format!("standard input, output or error is closed: {error}")),
    }
}

/// Runs `command` on the given streams, byte for byte, and says how it ended.
pub async fn bridge(connection: &dyn Connection, command: &Command, streams: Streams) -> Exit {
    match connection.start(command).await {
        Ok(process) => match interact(process, streams, Manner { raw: false, filter: false }).await {
            Ok(exit) => exit,
            Err(error) => Exit::Lost(format!("cannot write to standard output: {error}")),
        },
        Err(error) => Exit::Lost(error.to_string()),
    }
}

/// How a command is joined with the local streams.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// For a command that was given a terminal: a local terminal on standard input hands over every key as it is typed, and tells
    /// of its window's size; its state comes back when this ends in whatever way.
    pub raw: bool,
    /// Whether titles, the clipboard and the like are kept from a local terminal.
    pub filter: bool,
}

/// Joins a running command with the local streams until it ends; everything it wrote is then written.
///
/// SIGTERM, SIGHUP and SIGINT end a raw one as [`Exit::Lost`]. A local reader that goes away ends the command's channel and is
/// `SIGPIPE`; standard output that cannot be written to for another reason is the error, and ends the channel too.
pub async fn interact(process: Box<dyn Process>, streams: Streams, manner: Manner) -> std::io::Result<Exit> {
    join(process, streams, manner).await.map(|joined| joined.exit)
}

/// What a command came to that was joined with the local streams.
#[derive(Debug)]
pub struct Joined {
    /// How it ended.
    pub exit: Exit,
    /// Why some of its standard error could not be written, where that is so: no reason to end it. A reader that went away has what
    /// it wanted.
    pub messages: std::io::Result<()>,
}

/// The same as [`interact`], for whoever wants to know of lost messages.
pub async fn join(mut process: Box<dyn Process>, streams: Streams, manner: Manner) -> std::io::Result<Joined> {
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
                Event::Resized(size) => drop(process.resize(size).await),
                Event::Signal(name) => break Exit::Lost(format!("interrupted by SIG{name}")),
            },
        }
    };
    drop(feeding);
    drop(output);
    match written.await {
        Ok(Written { stdout: Err(errno), .. }) if errno != Errno::PIPE => Err(errno.into()),
        Ok(Written { stderr: Err(errno), .. }) if errno != Errno::PIPE => {
            Ok(Joined { exit, messages: Err(errno.into()) })
        }
        _ => Ok(Joined { exit, messages: Ok(()) }),
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
        while ready(&fd, PollFlags::IN, Some(&stopped)) {
            match rustix::io::read(&fd, &mut buffer) {
                Ok(0) => break,
                Ok(got) if sender.blocking_send(buffer[..got].to_vec()).is_ok() => {}
                Err(Errno::AGAIN | Errno::INTR) => {}
                // A terminal that hung up, among others: there is no more input.
                Ok(_) | Err(_) => break,
            }
        }
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(read).ok()?;
    Some((receiver, stop))
}

/// Waits until something can be done with `fd`; false once `stopped` is hung up.
fn ready(fd: &OwnedFd, wanted: PollFlags, stopped: Option<&OwnedFd>) -> bool {
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

/// What became of all that was sent, told when it is written or standard output could not be written to.
struct Written {
    stdout: Result<(), Errno>,
    /// The first trouble.
    stderr: Result<(), Errno>,
}

/// Writes chunks on a thread.
fn write_locally(stdout: OwnedFd, stderr: OwnedFd, filter: bool) -> (mpsc::Sender<Chunk>, oneshot::Receiver<Written>) {
    let (sender, mut receiver) = mpsc::channel(OUTPUTS);
    let (done, written) = oneshot::channel();
    let filter_of = |fd: &OwnedFd| (filter && isatty(fd)).then(Filter::default);
    let (mut of_stdout, mut of_stderr) = (filter_of(&stdout), filter_of(&stderr));
    let pass = |filter: &mut Option<Filter>, bytes: Vec<u8>| match filter {
        Some(filter) => filter.push(&bytes),
        None => bytes,
    };
    let write = move || {
        let mut result = Written { stdout: Ok(()), stderr: Ok(()) };
        while let Some(chunk) = receiver.blocking_recv() {
            match chunk {
                Chunk::Stdout(bytes) => {
                    result.stdout = write_all(&stdout, &pass(&mut of_stdout, bytes));
                    if result.stdout.is_err() {
                        break;
                    }
                }
                // Nobody reads the messages: no reason to end the command.
                Chunk::Stderr(bytes) => {
                    let written = write_all(&stderr, &pass(&mut of_stderr, bytes));
                    result.stderr = result.stderr.and(written);
                }
            }
        }
        drop(receiver);
        let _ = done.send(result);
    };
    // Without the thread both halves are dropped, and the first chunk finds nobody to write it.
    drop(std::thread::Builder::new().name("stdout".to_owned()).spawn(write));
    (sender, written)
}

/// Writes everything, also to a descriptor that somebody made non-blocking.
fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => drop(ready(fd, PollFlags::OUT, None)),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The terminal that is in raw mode now, and the state that it is to get back.
static RAW: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

fn raw() -> MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    RAW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a terminal in raw mode its state back. To be called by whoever ends the process without unwinding; harmless
/// at any other time.
pub fn restore_terminal() {
    if let Some((fd, state)) = raw().take() {
        let _ = tcsetattr(&fd, OptionalActions::Drain, &state);
    }
}

enum Event {
    Resized(WindowSize),
    Signal(&'static str),
}

/// A local terminal in raw mode, until dropped.
struct LocalTerminal {
    fd: OwnedFd,
    resized: Signal,
    ends: [(Heeded, &'static str); 3],
}

impl LocalTerminal {
    /// `None` where `fd` is no terminal, or another is in raw mode already.
    fn enter(fd: &OwnedFd) -> Option<Self> {
        let state = tcgetattr(fd).ok()?;
        let mut kept = raw();
        if kept.is_some() {
            return None;
        }
        let terminal = Self {
            fd: fd.try_clone().ok()?,
            resized: signal(SignalKind::window_change()).ok()?,
            ends: [
                (Heeded::listen(SignalKind::terminate()).ok()?, "TERM"),
                (Heeded::listen(SignalKind::hangup()).ok()?, "HUP"),
                (Heeded::listen(SignalKind::interrupt()).ok()?, "INT"),
            ],
        };
        // Kept before it is changed: a panic in between must find it.
        *kept = Some((fd.try_clone().ok()?, state.clone()));
        drop(kept);
        let mut state = state;
        state.make_raw();
        let _ = tcsetattr(fd, OptionalActions::Drain, &state);
        Some(terminal)
    }

    /// What happens to the terminal next; never ends where there is none.
    async fn event(terminal: &mut Option<Self>) -> Event {
        let Some(terminal) = terminal else { return std::future::pending().await };
        let [first, second, third] = &mut terminal.ends;
        tokio::select! {
            _ = terminal.resized.recv() => Event::Resized(window(&terminal.fd)),
            () = first.0.comes() => Event::Signal(first.1),
            () = second.0.comes() => Event::Signal(second.1),
            () = third.0.comes() => Event::Signal(third.1),
        }
    }
}

impl Drop for LocalTerminal {
    fn drop(&mut self) {
        restore_terminal();
    }
}
