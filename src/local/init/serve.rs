//! The main loop of a machine's first process: starts the image's SSH server for each connection, and reaps dead
//! processes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use model::machine::Network;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::WaitOptions;

use super::{Init, files};
use crate::spec::{GuardReport, MachineSpec};
use crate::trouble::{Doing, Trouble};
use crate::{channel, sys};

const SSHD: &str = "/usr/sbin/sshd";

/// Listens before it reports that it is ready, so that no client ever has to try twice; serves until the guard is gone.
pub(crate) fn run(init: &Init<'_>, machine: &MachineSpec) -> Result<i32, Trouble> {
    if !Path::new(SSHD).exists() {
        return Err(Trouble::new(format!("the image has no `{SSHD}`")).hint("Add `openssh-server` to the image."));
    }
    let signals =
        sys::signal_fd(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD]).doing(|| "receive signals")?;
    let listeners = match machine.network {
        Network::Loopback => listeners()?,
        Network::Host => Vec::new(),
    };
    if init.is_orphan() {
        return Ok(1);
    }
    init.tell(&GuardReport::Ready);
    loop {
        let mut waited: Vec<BorrowedFd<'_>> = vec![signals.as_fd(), init.channel.as_fd()];
        waited.extend(listeners.iter().map(AsFd::as_fd));
        let ready = channel::wait(&waited, 60_000);
        sys::read_signals(signals.as_fd());
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        if ready.get(1) == Some(&true) && !receive_connection(init) {
            return Ok(0);
        }
        for (listener, ready) in listeners.iter().zip(ready.iter().skip(2)) {
            if *ready && let Ok(connection) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
                let _ = sockopt::set_tcp_nodelay(&connection, true);
                start_sshd(connection);
            }
        }
    }
}

/// Takes a connection from the guard; returns false when the guard is gone.
fn receive_connection(init: &Init<'_>) -> bool {
    match channel::receive(&init.channel) {
        Ok(message) => {
            if let Some(connection) = message.descriptor {
                start_sshd(connection);
            }
            !message.bytes.is_empty()
        }
        Err(_) => false,
    }
}

/// Listens on port 22 of both loopback addresses; a kernel without IPv6 has only one.
fn listeners() -> Result<Vec<OwnedFd>, Trouble> {
    let four = listen(&std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 22).into())
        .doing(|| "listen on the machine's port 22")?;
    let six = listen(&std::net::SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, 22, 0, 0).into());
    Ok(std::iter::once(four).chain(six.ok()).collect())
}

fn listen(address: &std::net::SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, address)?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

/// Starts the SSH server on a connection. Its messages go to the console, to which standard error is redirected.
fn start_sshd(connection: OwnedFd) {
    let Ok(output) = connection.try_clone() else { return };
    let started = Command::new(SSHD)
        .args(["-i", "-e", "-f", files::SSHD_CONFIG])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::from(connection))
        .stdout(Stdio::from(output))
        .spawn();
    if let Err(error) = started {
        use std::io::Write;
        drop(writeln!(std::io::stderr(), "init: cannot start `{SSHD}`: {error}"));
    }
}
