//! The bridge from a connection to an instance's port 22 to an SSH server in its machine.

use connection::ssh::SshConnector;
use model::connection::{Connector, Process, Stdin};
use model::machine::Machine;
use model::task::{Chunk, Command};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::lines::{Line, LineFault, Lines};

/// How long the machine's own server may take to answer; it runs before the instance's port is open.
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// How long a stalled line stays open; longer than any caller waits for it.
const STALL: std::time::Duration = std::time::Duration::from_secs(600);

/// How many bytes are moved at once.
const PIECE: usize = 64 << 10;

/// Serves one connection to its end, or until its line breaks, by `sshd` with these words; its standard error goes to `console`.
///
/// Each caller gets a connection of its own to the machine, so that a caller who does not read holds up nobody else.
pub(crate) async fn serve(
    mut stream: TcpStream,
    machine: &Machine,
    words: &[&str],
    lines: &Lines,
    console: impl Fn(&[u8]),
) {
    if !lines.wait_until_let_in().await {
        return;
    }
    let Some(mut line) = lines.begin() else { return };
    drop(stream.set_nodelay(true));
    let connection = match SshConnector::default().connect(machine, "root", CONNECT_LIMIT, true).await {
        Ok(connection) => connection,
        Err(error) => return console(format!("emulator: cannot reach the machine: {error}\n").as_bytes()),
    };
    let command = Command::new("/usr/sbin/sshd").args(words.iter().copied());
    let mut process = match connection.start(&command).await {
        Ok(process) => process,
        Err(error) => return console(format!("emulator: cannot start sshd: {error}\n").as_bytes()),
    };
    let Some(mut input) = process.take_stdin() else { return };
    let broken = carry(&mut stream, process.as_mut(), input.as_mut(), &mut line, console).await;
    match broken {
        None => {}
        Some(LineFault::Close) => drop(stream),
        Some(LineFault::Reset) => {
            // A socket that does not linger is not closed but reset.
            drop(stream.set_zero_linger());
            drop(stream);
        }
        Some(LineFault::Stall) => {
            // The server at the other end notices nothing either.
            tokio::time::sleep(STALL).await;
        }
    }
    drop(process);
    connection.close().await;
}

/// Carries bytes both ways until one side ends; returns the fault with which the line broke, if it did.
async fn carry(
    stream: &mut TcpStream,
    process: &mut dyn Process,
    input: &mut dyn Stdin,
    line: &mut Line,
    console: impl Fn(&[u8]),
) -> Option<LineFault> {
    let (mut from_caller, mut to_caller) = stream.split();
    let up = async {
        let mut piece = vec![0; PIECE];
        loop {
            match from_caller.read(&mut piece).await {
                Ok(count) if count > 0 => {
                    let bytes = piece.get(..count).unwrap_or_default();
                    if input.write(bytes).await.is_err() {
                        return;
                    }
                }
                _ => {
                    drop(input.close().await);
                    return;
                }
            }
        }
    };
    let down = async {
        loop {
            let chunk = tokio::select! {
                fault = line.broken() => return Some(fault),
                chunk = process.next() => chunk,
            };
            match chunk {
                Some(Chunk::Stdout(bytes)) => {
                    if to_caller.write_all(&bytes).await.is_err() {
                        return None;
                    }
                    if let Some(fault) = line.carried(bytes.len() as u64) {
                        return Some(fault);
                    }
                }
                Some(Chunk::Stderr(bytes)) => console(&bytes),
                None => break,
            }
        }
        drop(to_caller.shutdown().await);
        None
    };
    // The server ends once its caller has gone, and the bridge of a silent caller ends with the server.
    tokio::pin!(up, down);
    tokio::select! {
        broken = &mut down => broken,
        () = &mut up => tokio::time::timeout(CONNECT_LIMIT, down).await.unwrap_or(None),
    }
}
