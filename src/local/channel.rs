//! Messages between processes over a Unix socket, with descriptors attached.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The longest message in bytes. The longest that is sent is an error, which has a few lines.
const LONGEST: usize = 16 * 1024;

/// Makes two connected ends that preserve the borders of messages.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends `bytes`, and a descriptor with them.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, flags)).map(drop)
}

/// A message.
pub(crate) struct Message {
    /// The bytes; empty when the other end is closed.
    pub bytes: Vec<u8>,
    /// The descriptor that came with the bytes.
    pub descriptor: Option<OwnedFd>,
}

/// Waits for a message.
pub(crate) fn receive(socket: impl AsFd) -> Result<Message, Errno> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    bytes.truncate(received.bytes);
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(Message { bytes, descriptor })
}

/// Waits at most `milliseconds` until one of `sockets` can be read or is closed. Returns for each whether that is so.
pub(crate) fn wait(sockets: &[BorrowedFd<'_>], milliseconds: u32) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = sockets.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let limit =
        Timespec { tv_sec: i64::from(milliseconds / 1000), tv_nsec: i64::from(milliseconds % 1000) * 1_000_000 };
    match rustix::event::poll(&mut polled, Some(&limit)) {
        Ok(_) => polled.iter().map(|fd| !fd.revents().is_empty()).collect(),
        Err(_) => vec![false; sockets.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_travels_with_its_message() {
        let (a, b) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send(&a, b"c", Some(write.as_fd())).unwrap();
        drop(write);
        let message = receive(&b).unwrap();
        assert_eq!(message.bytes, b"c");
        rustix::io::write(message.descriptor.unwrap(), b"hello").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(rustix::io::read(&read, &mut buffer).unwrap(), 5);
        assert_eq!(wait(&[b.as_fd()], 0), [false]);
        drop(a);
        assert_eq!(wait(&[b.as_fd()], 0), [true]);
        assert!(receive(&b).unwrap().bytes.is_empty());
    }
}
