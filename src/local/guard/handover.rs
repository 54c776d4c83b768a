//! Hands connections to the machine's SSH server over to clients;
//! [`Address::Handover`](model::machine::Address::Handover) defines the protocol.
//!
//! A machine with a network of its own has its own port 22; the guard is in that network, connects to the port and
//! hands the connected socket over. A machine on the host's network cannot own the host's port 22; there the guard
//! makes a socket pair, hands one end over and gives the other to the machine's first process, which runs `sshd -i` on
//! it.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use model::machine::{HANDOVER_ENDED, Network};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::channel;
use crate::folders::MachineFolder;
use crate::spec::{Spec, SpecKind};
use crate::trouble::{Doing, Trouble};

/// How long a client may take to accept its descriptor.
const CLIENT_LIMIT: Duration = Duration::from_secs(2);

/// How long a machine may take to accept a connection.
const MACHINE_LIMIT: Duration = Duration::from_secs(2);

/// Listens at the socket `name` in the machine's folder. Its path may be too long for a socket's address, so the address goes through a
/// descriptor of its folder.
pub(crate) fn listen(folder: &MachineFolder, name: &str) -> Result<OwnedFd, Trouble> {
    let shown = folder.path().join(name);
    let doing = || format!("listen at `{}`", shown.display());
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let directory = rustix::fs::open(folder.path(), flags, Mode::empty()).doing(doing)?;
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    let kind = SocketType::STREAM;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).doing(doing)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).doing(doing)?).doing(doing)?;
    rustix::net::listen(&socket, 128).doing(doing)?;
    Ok(socket)
}

/// Serves every waiting client.
pub(crate) fn serve(control: &OwnedFd, channel: Option<&OwnedFd>, spec: &Spec) {
    while let Ok(client) = rustix::net::accept_with(control, SocketFlags::CLOEXEC) {
        let client = UnixStream::from(client);
        drop(client.set_write_timeout(Some(CLIENT_LIMIT)));
        // The others are still served when a client went away.
        drop(match channel.map(|channel| connect(channel, spec)) {
            Some(Ok(socket)) => channel::send(&client, b"+", Some(socket.as_fd())).map_err(std::io::Error::from),
            Some(Err(trouble)) => (&client).write_all(format!("-{trouble}").as_bytes()),
            None => (&client).write_all(&[HANDOVER_ENDED]),
        });
    }
}

fn connect(channel: &OwnedFd, spec: &Spec) -> Result<OwnedFd, Trouble> {
    let SpecKind::Machine(machine) = &spec.kind else { return Err(Trouble::new("a sandbox has no SSH server")) };
    if machine.network == Network::Loopback {
        // The time is limited, so that a machine that accepts no connections does not keep the guard from its watch.
        let port = SocketAddr::from((Ipv4Addr::LOCALHOST, 22));
        let stream = TcpStream::connect_timeout(&port, MACHINE_LIMIT).doing(|| "connect to the machine's port 22")?;
        let _ = sockopt::set_tcp_nodelay(&stream, true);
        return Ok(stream.into());
    }
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .doing(|| "make a socket pair")?;
    channel::send(channel, b"c", Some(theirs.as_fd())).doing(|| "reach the machine's first process")?;
    Ok(ours)
}
