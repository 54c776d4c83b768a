//! The connection adapter, against a real OpenSSH server, broken servers and the dummy.

mod broken;
mod changing;
pub mod contract;
mod files;
mod interactive;
mod large;
mod login;
mod one_file;
mod trees;

use std::time::Duration;

use automation::connection::{Settings, SshConnector};
use automation::model::connection::{Connection, ConnectionError, Connector, Process};
use automation::model::exit::Exit;
use automation::model::machine::Machine;
use automation::model::task::{Chunk, Command};

/// Longer than anything here takes, so that a test that hangs says so.
const LIMIT: Duration = Duration::from_secs(20);

/// What a command left.
#[derive(Debug, PartialEq, Eq)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit: Exit,
}

async fn try_connect(
    machine: &Machine,
    limit: Duration,
    patient: bool,
) -> Result<Box<dyn Connection>, ConnectionError> {
    SshConnector::new(Settings::default()).connect(machine, &machine.user, limit, patient).await
}

async fn connect(machine: &Machine) -> Box<dyn Connection> {
    try_connect(machine, LIMIT, false).await.unwrap()
}

async fn drain(process: &mut dyn Process) -> Output {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(chunk) = tokio::time::timeout(LIMIT, process.next()).await.expect("the output never ends") {
        match chunk {
            Chunk::Stdout(bytes) => stdout.extend(bytes),
            Chunk::Stderr(bytes) => stderr.extend(bytes),
        }
    }
    Output { stdout, stderr, exit: process.exit() }
}

async fn run(connection: &dyn Connection, command: &Command) -> Output {
    drain(&mut *connection.start(command).await.unwrap()).await
}

fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}
