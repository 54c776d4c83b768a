//! From an address to a connected socket.

use std::io::{ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use model::base::text;
use model::connection::ConnectionError;
use model::machine::{Address, HANDOVER_ENDED};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{TcpStream, UnixStream, lookup_host};

/// The longest path that fits a Unix socket's address (108 bytes with the final NUL).
const SOCKET_PATH_MAX: usize = 107;

/// The largest part of a refusal's reason that is kept, in bytes.
const REASON_CAP: u64 = 4096;

/// Dials once. It waits as long as the system does, and the caller sets a limit. [`ConnectionError::MachineEnded`] is
/// final.
pub(super) async fn dial(address: &Address) -> Result<TcpStream, ConnectionError> {
    let refused = |source| ConnectionError::Refused { address: address.to_string(), source: Some(source) };
    match address {
        Address::Tcp { host, port } => match TcpStream::connect(&*look_up(host, *port).await?).await {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(ConnectionError::TimedOut {
                address: address.to_string(),
                what: "the system gave up on the TCP connection".to_owned(),
            }),
            result => result.map_err(refused),
        },
        Address::Handover { socket } => {
            let ended = || ConnectionError::MachineEnded { address: address.to_string() };
            let guard = connect_unix(socket).await.map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => ended(),
                _ => refused(error),
            })?;
            match receive(guard).await.map_err(refused)? {
                HandoverReply::Socket(fd) => adopt(fd).map_err(refused),
                HandoverReply::Ended => Err(ended()),
                HandoverReply::Refusal(reason) => Err(refused(std::io::Error::other(reason))),
                HandoverReply::Nonsense(reason) => {
                    Err(ConnectionError::Protocol { address: address.to_string(), reason: reason.to_owned() })
                }
            }
        }
        Address::Ssm { instance, .. } => {
            Err(ConnectionError::Invalid(format!("{instance} is known only by its SSM agent: SSH cannot reach it")))
        }
    }
}

/// The addresses that a host's name stands for.
async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectionError> {
    let unknown = |source| ConnectionError::NoAddress { host: host.to_owned(), source };
    let found: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(unknown)?.collect();
    if found.is_empty() { Err(unknown(std::io::Error::other("the name stands for none"))) } else { Ok(found) }
}

/// Connects to a Unix socket, also by a path that is too long for an address.
async fn connect_unix(socket: &Path) -> std::io::Result<UnixStream> {
    if socket.as_os_str().len() <= SOCKET_PATH_MAX {
        return UnixStream::connect(socket).await;
    }
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    UnixStream::connect(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name)).await
}

enum HandoverReply {
    Socket(OwnedFd),
    /// The machine has ended.
    Ended,
    Refusal(String),
    Nonsense(&'static str),
}

/// Reads the guard's one byte, and the socket or the reason that comes with it.
async fn receive(mut guard: UnixStream) -> std::io::Result<HandoverReply> {
    let (byte, mut fds) = guard.async_io(Interest::READABLE, || receive_now(&guard)).await?;
    match (byte, fds.pop()) {
        (Some(b'+'), Some(fd)) if fds.is_empty() => Ok(HandoverReply::Socket(fd)),
        (Some(b'+'), _) => Ok(HandoverReply::Nonsense("the machine's guard did not hand over exactly one socket")),
        (Some(b'-'), _) => {
            let mut reason = Vec::new();
            (&mut guard).take(REASON_CAP).read_to_end(&mut reason).await?;
            Ok(HandoverReply::Refusal(text::trim_output(&reason)))
        }
        (Some(HANDOVER_ENDED), _) => Ok(HandoverReply::Ended),
        (Some(_), _) => Ok(HandoverReply::Nonsense("the machine's guard sent something that is not a hand-over")),
        (None, _) => Ok(HandoverReply::Refusal("the machine's guard closed the connection".to_owned())),
    }
}

/// One byte (none at end of file) and the descriptors beside it.
fn receive_now(guard: &UnixStream) -> std::io::Result<(Option<u8>, Vec<OwnedFd>)> {
    // The buffer has room for more than the one descriptor that is due, so that a surplus is seen here and closed, not
    // cut off by the kernel.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8];
    let got = recvmsg(guard, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok(((got.bytes == 1).then_some(byte[0]), fds))
}

/// Makes a socket of this runtime of the received descriptor.
fn adopt(fd: OwnedFd) -> std::io::Result<TcpStream> {
    if rustix::net::sockopt::socket_type(&fd)? != rustix::net::SocketType::STREAM {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let stream = std::net::TcpStream::from(fd);
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
