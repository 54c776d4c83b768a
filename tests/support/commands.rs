//! Commands over a connection, and what came of them.

use std::time::Duration;

use connection::{SshConnector, SshSettings};
use model::connection::{Connection, ConnectionError, Connector, Process};
use model::exit::Exit;
use model::machine::{Machine, Platform};
use model::task::{Chunk, Command};

/// Longer than anything here takes, so that a test that hangs says so.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The line by which a Linux machine's login shell starts `command`.
pub fn line(command: &Command) -> String {
    guest::of(Platform::Linux).invocation(command).unwrap().line
}

/// What a command left.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    /// All of it.
    pub stdout: Vec<u8>,
    /// All of it.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub exit: Exit,
}

/// Connects by SSH as the user that `machine` names.
pub async fn try_connect(
    machine: &Machine,
    limit: Duration,
    patient: bool,
) -> Result<Box<dyn Connection>, ConnectionError> {
    SshConnector::new(SshSettings::default()).connect(machine, &machine.user, limit, patient).await
}

/// The same where nothing is in the way.
pub async fn connect(machine: &Machine) -> Box<dyn Connection> {
    try_connect(machine, LIMIT, false).await.unwrap()
}

/// Reads a command to its end.
pub async fn drain(process: &mut dyn Process) -> Output {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(chunk) = tokio::time::timeout(LIMIT, process.next()).await.expect("the output never ends") {
        match chunk {
            Chunk::Stdout(bytes) => stdout.extend(bytes),
            Chunk::Stderr(bytes) => stderr.extend(bytes),
        }
    }
    Output { stdout, stderr, exit: process.exit() }
}

/// Runs a command.
pub async fn run(connection: &dyn Connection, command: &Command) -> Output {
    drain(&mut *connection.start(command).await.unwrap()).await
}

/// A command of a shell.
pub fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}
