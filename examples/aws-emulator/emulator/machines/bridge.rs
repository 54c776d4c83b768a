//! From a connection to an instance's port 22 to an SSH server in its machine.

use automation::connection::ssh::SshConnector;
use automation::model::connection::{Chunk, Connector};
use automation::model::machine::Machine;
use automation::model::task::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the machine's own server may take; it is there before the instance's port is.
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// How much is moved at once, bytes.
const PIECE: usize = 64 << 10;

/// Serves one connection to its end; what the server says on standard error goes to `console`.
///
/// A connection to the machine for each: what one caller does not read holds up no other.
pub async fn serve(stream: TcpStream, machine: &Machine, console: impl Fn(&[u8])) {
    let _ = stream.set_nodelay(true);
    let connection = match SshConnector::default().connect(machine, "root", CONNECT_LIMIT, true).await {
        Ok(connection) => connection,
        Err(error) => return console(format!("emulator: cannot reach the machine: {error}\n").as_bytes()),
    };
    let command = Command::new("/usr/sbin/sshd").args(["-i", "-e"]);
    let mut process = match connection.start(&command).await {
        Ok(process) => process,
        Err(error) => return console(format!("emulator: cannot start sshd: {error}\n").as_bytes()),
    };
    let Some(mut input) = process.take_stdin() else { return };
    let (mut from_caller, mut to_caller) = stream.into_split();
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
                    let _ = input.close().await;
                    return;
                }
            }
        }
    };
    let down = async {
        while let Some(chunk) = process.next().await {
            match chunk {
                Chunk::Stdout(bytes) => {
                    if to_caller.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Chunk::Stderr(bytes) => console(&bytes),
            }
        }
        let _ = to_caller.shutdown().await;
    };
    // The server ends when its caller has gone, and a caller that stays silent ends with the server.
    tokio::pin!(up, down);
    tokio::select! {
        () = &mut down => {}
        () = &mut up => { let _ = tokio::time::timeout(CONNECT_LIMIT, down).await; }
    }
    connection.close().await;
}
