//! Running a short command on a machine and keeping what it says.

use std::time::Duration;

use crate::base::deadline::Deadline;
use crate::flow::script::follow;
use crate::model::connection::Connection;
use crate::model::exit::Exit;
use crate::model::fault::Fault;
use crate::model::task::{Chunk, Command};

/// What a command said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// Standard output, up to the cap.
    pub stdout: Vec<u8>,
    /// Standard error, up to the cap.
    pub stderr: Vec<u8>,
    /// Whether anything beyond the cap was left out.
    pub capped: bool,
    /// How it ended.
    pub exit: Exit,
}

/// Limits on a collected command.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes kept of each stream; the rest is read and left out.
    pub bytes: usize,
    /// How long it may take.
    pub time: Duration,
}

/// For commands that say a few lines at once.
pub const SMALL: Limits = Limits { bytes: 1 << 20, time: Duration::from_secs(60) };

/// What a command says while it runs, up to a cap.
pub(super) struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    capped: bool,
    cap: usize,
}

impl Said {
    /// Nothing yet, and at most `cap` bytes of each stream.
    pub(super) fn of(cap: usize) -> Self {
        Self { stdout: Vec::new(), stderr: Vec::new(), capped: false, cap }
    }

    /// Keeps what there is room for.
    pub(super) fn keep(&mut self, chunk: Chunk) {
        let (kept, bytes) = match chunk {
            Chunk::Stdout(bytes) => (&mut self.stdout, bytes),
            Chunk::Stderr(bytes) => (&mut self.stderr, bytes),
        };
        let room = self.cap.saturating_sub(kept.len()).min(bytes.len());
        self.capped |= room < bytes.len();
        kept.extend_from_slice(&bytes[..room]);
    }

    /// All of it, once the command has ended.
    pub(super) fn ended(self, exit: Exit) -> Collected {
        Collected { stdout: self.stdout, stderr: self.stderr, capped: self.capped, exit }
    }
}

/// Runs `command` and keeps its output within `limits`.
pub async fn collect(connection: &dyn Connection, command: &Command, limits: Limits) -> Result<Collected, Fault> {
    let mut said = Said::of(limits.bytes);
    let deadline = Deadline::after(limits.time, format!("`{}` to end", command.program));
    let exit = follow(connection, command, &deadline, &mut |chunk| said.keep(chunk)).await?;
    Ok(said.ended(exit))
}
