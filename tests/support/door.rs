//! A port of loopback behind which a machine of this computer answers, and another one on order: to the tool each is a machine that
//! somebody else made.

use std::fs::File;
use std::io::{Error, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The port; it lasts as long as the process.
pub struct Door {
    /// Where it listens.
    pub port: u16,
    socket: Arc<Mutex<PathBuf>>,
}

impl Door {
    /// One that leads to the machine whose guard hands connections over at `socket`.
    pub fn to(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, socket) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(socket.to_owned())));
        let target = Arc::clone(&socket);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let socket = target.lock().unwrap().clone();
                // A machine that has ended lets nobody in, which the caller sees as a connection that is closed.
                if let Ok(far) = enter(&socket) {
                    carry(&near, &far);
                    carry(&far, &near);
                }
            }
        });
        Self { port, socket }
    }

    /// Later connections lead to another machine.
    pub fn lead_to(&self, socket: &Path) {
        socket.clone_into(&mut self.socket.lock().unwrap());
    }
}

/// A connection to the machine's SSH server.
fn enter(socket: &Path) -> Result<TcpStream> {
    // By a short name: an address of a socket has room for 108 bytes.
    let folder = File::open(socket.parent().unwrap())?;
    let name = socket.file_name().unwrap().to_str().unwrap();
    let guard = UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&guard, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let handed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handed) => handed.next(),
        _ => None,
    });
    handed.map(TcpStream::from).ok_or_else(|| Error::other("nothing was handed over"))
}

fn carry(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
}
