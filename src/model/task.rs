//! Commands and tasks: programs that run on a machine.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::fault::Fault;
use crate::work::Work;

/// A command on a machine; mirrors [`std::process::Command`]. Words and variables travel quoted, never substituted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables to set for it.
    pub env: Vec<(String, String)>,
    /// The bytes that it reads on standard input; `None` leaves standard input to the caller.
    pub stdin: Option<Vec<u8>>,
    /// A terminal to give it, for interactive use.
    pub terminal: Option<Terminal>,
}

/// A piece of a command's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// From standard output.
    Stdout(Vec<u8>),
    /// From standard error.
    Stderr(Vec<u8>),
}

/// A command with its limit and the work as which it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCommand {
    /// The work that it does.
    pub work: Work,
    /// The command; paths of parts are made with the folder that the flow gives.
    pub command: Command,
    /// How long it may take.
    pub limit: Duration,
}

/// A terminal for a remote command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// The terminal's type, the value of `TERM`.
    pub kind: String,
    /// Its size.
    pub size: WindowSize,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

impl Command {
    /// A command that runs `program` without arguments; an empty program is the login shell.
    pub fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), ..Self::default() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Gives it bytes to read on standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Gives it a terminal, and leaves standard input to who is there.
    #[must_use]
    pub fn terminal(mut self, terminal: Terminal) -> Self {
        self.stdin = None;
        self.terminal = Some(terminal);
        self
    }
}

/// How much of a task's output was received or stored, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Offsets {
    /// Bytes of standard output.
    pub stdout: u64,
    /// Bytes of standard error.
    pub stderr: u64,
}

/// The machine's record of the end of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// How the task's own process ended; never [`Exit::Lost`].
    pub exit: Exit,
    /// When it began, by the machine's clock.
    pub started_at: Timestamp,
    /// When it ended, by the machine's clock.
    pub ended_at: Timestamp,
    /// The most memory in bytes that one of its processes was seen to use, or all of them together where the machine
    /// counts that.
    pub peak_memory: Option<u64>,
    /// The bytes of output that the machine holds, including the marks for omitted output.
    pub output: Offsets,
    /// Whether output was omitted, because it exceeded the cap or the machine had no room for it.
    pub capped: bool,
    /// Whether it was told to stop.
    pub cancelled: bool,
}

/// A store for a task's output, byte for byte.
pub trait TaskOutput: Send + Sync {
    /// How much of each stream is stored.
    fn offsets(&self) -> Offsets;

    /// Stores a piece, whole or not at all, and shows it.
    fn append(&self, chunk: &Chunk) -> Result<(), Fault>;
}
