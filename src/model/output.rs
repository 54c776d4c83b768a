//! The output of short commands on a machine, within limits, and how they ended.

use std::time::Duration;

use crate::base::deadline::Deadline;
use crate::base::text;
use crate::connection::{Connection, ConnectionError, Process};
use crate::exit::Exit;
use crate::task::{Chunk, Command};

/// The output of a command, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output, up to the cap.
    pub stdout: Vec<u8>,
    /// Standard error, up to the cap.
    pub stderr: Vec<u8>,
    /// Whether anything beyond the cap was left out.
    pub capped: bool,
    /// How it ended.
    pub exit: Exit,
}

/// Limits on a command whose output is kept.
#[derive(Debug, Clone, Copy)]
pub struct OutputLimits {
    /// Most bytes kept of each stream; the rest is read and left out.
    pub bytes: usize,
    /// How long it may take.
    pub time: Duration,
}

impl OutputLimits {
    /// Limits for commands that print a few lines quickly.
    pub const SMALL: Self = Self { bytes: 1 << 20, time: Duration::from_secs(60) };
}

impl Output {
    fn nothing() -> Self {
        Self { stdout: Vec::new(), stderr: Vec::new(), capped: false, exit: Exit::Code(0) }
    }

    /// Reads the output of `process` until it ends, and keeps at most `bytes` of each stream.
    pub async fn of(process: &mut dyn Process, bytes: usize) -> Self {
        let mut output = Self::nothing();
        output.read(process, bytes).await;
        output
    }

    /// Reads the output of `process` until it ends, or until it has printed more than `printed` bytes: then the output
    /// is capped, and the exit is not known. Of standard error at most `stderr_bytes` bytes are kept; the rest is dropped and
    /// does not count as capped.
    pub async fn within(process: &mut dyn Process, printed: usize, stderr_bytes: usize) -> Self {
        let mut output = Self::nothing();
        while let Some(chunk) = process.next().await {
            if matches!(chunk, Chunk::Stderr(_)) {
                output.keep(chunk, stderr_bytes);
                output.capped = false;
                continue;
            }
            output.keep(chunk, printed);
            if output.capped {
                output.exit = Exit::Lost(format!("it printed more than {printed} bytes"));
                return output;
            }
        }
        output.exit = process.exit();
        output
    }

    async fn read(&mut self, process: &mut dyn Process, bytes: usize) {
        while let Some(chunk) = process.next().await {
            self.keep(chunk, bytes);
        }
        self.exit = process.exit();
    }

    fn keep(&mut self, chunk: Chunk, most: usize) {
        let (kept, bytes) = match chunk {
            Chunk::Stdout(bytes) => (&mut self.stdout, bytes),
            Chunk::Stderr(bytes) => (&mut self.stderr, bytes),
        };
        let room = most.saturating_sub(kept.len()).min(bytes.len());
        self.capped |= room < bytes.len();
        kept.extend_from_slice(&bytes[..room]);
    }

    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, without the white space around it.
    pub fn stderr_text(&self) -> String {
        text::trim_output(&self.stderr)
    }

    /// How the command ended, with its standard error unless that is empty.
    pub fn ending(&self) -> String {
        let stderr = self.stderr_text();
        if stderr.is_empty() { self.exit.to_string() } else { format!("{}: {stderr}", self.exit) }
    }
}

/// Runs `command` and keeps its output within `limits`. A command that runs out of time ends as [`Exit::Lost`].
pub async fn run_command(
    connection: &dyn Connection,
    command: &Command,
    limits: OutputLimits,
) -> Result<Output, ConnectionError> {
    let mut process = connection.start(command).await?;
    let deadline = Deadline::after(limits.time, format!("`{}` to end", command.program));
    let mut output = Output::nothing();
    if let Err(expired) = deadline.bound(output.read(process.as_mut(), limits.bytes)).await {
        output.exit = Exit::Lost(expired.to_string());
    }
    Ok(output)
}

/// Runs `command` and hands on its output, piece by piece, until it ends. A command that runs past `deadline` ends as
/// [`Exit::Lost`].
pub async fn follow(
    connection: &dyn Connection,
    command: &Command,
    deadline: &Deadline,
    take: &mut (dyn FnMut(Chunk) + Send),
) -> Result<Exit, ConnectionError> {
    let mut process = connection.start(command).await?;
    let reading = async {
        while let Some(chunk) = process.next().await {
            take(chunk);
        }
        process.exit()
    };
    Ok(deadline.bound(reading).await.unwrap_or_else(|expired| Exit::Lost(expired.to_string())))
}
