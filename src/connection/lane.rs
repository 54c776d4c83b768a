//! One SFTP session that only moves the bytes of one large file, many requests at once.
//!
//! The general session copies every packet on its way through three queues. Here the bytes of a write go to the
//! transport as they were read from the disk, and those of a read go from the transport's packet to the file: that
//! halves our work per byte. The session can only open an existing file, read it and write it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::connection::{ConnectionError, Progress};
use model::machine::Platform;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use russh_sftp::protocol::{OpenFlags, Status, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::link::Link;
use crate::names::served;
use crate::sftp::{PACKET_CAP, REQUEST_LIMIT, status_reason};

/// Read requests that may be unanswered at once. With the usual 255 KiB each, they fill the window of a channel.
const READS: usize = 10;

/// The packet types of version 3 of the protocol.
mod packet_type {
    pub(super) const INIT: u8 = 1;
    pub(super) const VERSION: u8 = 2;
    pub(super) const OPEN: u8 = 3;
    pub(super) const READ: u8 = 5;
    pub(super) const WRITE: u8 = 6;
    pub(super) const STATUS: u8 = 101;
    pub(super) const HANDLE: u8 = 102;
    pub(super) const DATA: u8 = 103;
}

/// A piece of a file and where it belongs. The piece is always [`ChannelMsg::Data`].
pub(super) type FilePiece = (u64, ChannelMsg);

/// Bytes to be written at an offset.
pub(super) type FileChunk = (u64, Vec<u8>);

/// An open file on the machine, over a channel of its own, which is closed when the value is dropped. Nothing is lost
/// by that once every answer was read.
pub(super) struct Lane {
    inbox: Inbox,
    writer: Arc<ChannelWriteHalf<Msg>>,
    handle: Vec<u8>,
    platform: Platform,
    /// The lane's place among the sessions of the transport; taken out only by `drop`.
    slot: Option<OwnedSemaphorePermit>,
}

impl Lane {
    /// Requests a file server on a fresh channel and greets it. [`Lane::open`] reads the answers, since each wait here
    /// would cost a round trip.
    pub(super) async fn start(
        (channel, link, slot): (Channel<Msg>, Arc<Link>, OwnedSemaphorePermit),
        platform: Platform,
    ) -> Result<Self, ConnectionError> {
        channel.request_subsystem(true, "sftp").await.map_err(|_| link.lost_error())?;
        let (reader, writer) = channel.split();
        let inbox = Inbox { reader, link, current: None, read: 0 };
        let lane = Self { inbox, writer: Arc::new(writer), handle: Vec::new(), platform, slot: Some(slot) };
        // OpenSSH speaks version 3. The version stands where other packets have the number of a request.
        lane.send(packet(packet_type::INIT, 3, &[])).await?;
        Ok(lane)
    }

    /// Opens a file; errors name `doing`.
    pub(super) async fn open(&mut self, path: &str, flags: OpenFlags, doing: &str) -> Result<(), ConnectionError> {
        let mut body = string(served(self.platform, path).as_bytes());
        body.extend(flags.bits().to_be_bytes());
        body.extend(0_u32.to_be_bytes());
        // Sent before the answer to the greeting is read, which again saves a round trip.
        self.send(packet(packet_type::OPEN, 0, &body)).await?;
        match self.inbox.reply().await? {
            (packet_type::VERSION, ..) => {}
            _ => return Err(self.inbox.link.protocol_error("its file server does not start as SFTP does")),
        }
        match self.inbox.reply().await? {
            (packet_type::HANDLE, 0, body) if body.len() > 4 => self.handle = body[4..].to_vec(),
            reply => return Err(self.inbox.refusal(reply, doing)),
        }
        Ok(())
    }

    async fn send(&self, bytes: Vec<u8>) -> Result<(), ConnectionError> {
        self.writer.data_bytes(bytes).await.map_err(|_| self.inbox.link.lost_error())
    }

    /// Writes the chunks of the queue until it ends, and waits until the server has confirmed all of them. Several
    /// lanes may share one queue; a fast lane then takes more. The server's window for this channel bounds what is
    /// under way.
    ///
    /// Sending and receiving run side by side: a server stops reading requests while nobody reads its answers.
    pub(super) async fn write(
        &mut self,
        chunks: &tokio::sync::Mutex<mpsc::Receiver<FileChunk>>,
        doing: &str,
        progress: Progress<'_>,
    ) -> Result<(), ConnectionError> {
        let (inbox, writer, handle) = (&mut self.inbox, &self.writer, &self.handle);
        let link = Arc::clone(&inbox.link);
        let (sent, mut under_way) = mpsc::unbounded_channel();
        let sending = async {
            let mut id = 0_u32;
            loop {
                let next = chunks.lock().await.recv().await;
                let Some((offset, bytes)) = next else { break };
                id = id.wrapping_add(1);
                let mut head = string(handle);
                head.extend(offset.to_be_bytes());
                head.extend(length(bytes.len()).to_be_bytes());
                let head = packet_before(packet_type::WRITE, id, &head, bytes.len());
                // Recorded before it is sent, so that no answer comes to a request that `receiving` does not know.
                if sent.send((id, bytes.len() as u64)).is_err() {
                    break;
                }
                // Two messages make one packet, so that the bytes need not be copied behind their head.
                writer.data_bytes(head).await.map_err(|_| link.lost_error())?;
                writer.data_bytes(bytes).await.map_err(|_| link.lost_error())?;
            }
            // Ends `receiving` once the last answer has come.
            drop(sent);
            Ok(())
        };
        let receiving = async {
            let mut expected = HashMap::new();
            // Each request gets one answer, and the answers come in any order.
            loop {
                // Without an open request no answer comes, and waiting for one would run into its limit.
                if expected.is_empty() {
                    let Some((id, bytes)) = under_way.recv().await else { break };
                    expected.insert(id, bytes);
                }
                let reply = inbox.reply().await?;
                // The answer may belong to a request that was sent during the wait.
                while let Ok((id, bytes)) = under_way.try_recv() {
                    expected.insert(id, bytes);
                }
                inbox.confirm_write(reply, &mut expected, doing, progress)?;
            }
            Ok(())
        };
        tokio::try_join!(sending, receiving).map(drop)
    }

    /// Reads the spans that `next` returns until it returns `None`, and passes the pieces on. A file that ends before a
    /// span does is an error.
    ///
    /// The bookkeeping is that of [`Lane::write`]; in addition at most [`READS`] requests are open, since no window
    /// bounds requests that are this small.
    pub(super) async fn read(
        &mut self,
        next: &(dyn Fn() -> Option<(u64, u32)> + Send + Sync),
        pieces: &mpsc::Sender<FilePiece>,
        doing: &str,
        progress: Progress<'_>,
    ) -> Result<(), ConnectionError> {
        let (inbox, writer, handle) = (&mut self.inbox, &self.writer, &self.handle);
        let link = Arc::clone(&inbox.link);
        let (sent, mut under_way) = mpsc::unbounded_channel();
        let room = Semaphore::new(READS);
        let request = |id: u32, offset: u64, want: u32| {
            let mut body = string(handle);
            body.extend(offset.to_be_bytes());
            body.extend(want.to_be_bytes());
            packet(packet_type::READ, id, &body)
        };
        let sending = async {
            let mut id = 0_u32;
            while let Ok(permit) = room.acquire().await {
                let Some((offset, want)) = next() else { break };
                // The permit is given back when the whole span has come.
                permit.forget();
                id = id.wrapping_add(1);
                if sent.send((id, offset, want)).is_err() {
                    break;
                }
                writer.data_bytes(request(id, offset, want)).await.map_err(|_| link.lost_error())?;
            }
            drop(sent);
            Ok(())
        };
        let receiving = async {
            let mut expected = HashMap::new();
            loop {
                if expected.is_empty() {
                    let Some((id, offset, want)) = under_way.recv().await else { break };
                    expected.insert(id, (offset, want));
                }
                let (id, bytes) = inbox.data(doing).await?;
                while let Ok((id, offset, want)) = under_way.try_recv() {
                    expected.insert(id, (offset, want));
                }
                let Some((offset, want)) = expected.remove(&id).filter(|(_, want)| bytes <= *want) else {
                    return Err(inbox.link.protocol_error("its file server answers what was not asked"));
                };
                inbox.pass_on(offset, bytes, pieces, progress).await?;
                if bytes == want {
                    room.add_permits(1);
                    continue;
                }
                // A server may answer with fewer bytes than were asked for: the rest is requested under the same
                // number.
                let (offset, want) = (offset + u64::from(bytes), want - bytes);
                expected.insert(id, (offset, want));
                writer.data_bytes(request(id, offset, want)).await.map_err(|_| inbox.link.lost_error())?;
            }
            Ok(())
        };
        tokio::try_join!(sending, receiving).map(drop)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let (writer, slot) = (Arc::clone(&self.writer), self.slot.take());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // The server closes its files with the channel. The place is given back only afterwards, because the
                // server counts the session until then.
                drop(writer.close().await);
                drop(slot);
            });
        }
    }
}

/// The server's answers. Packets and the channel's messages have independent borders.
struct Inbox {
    reader: ChannelReadHalf,
    link: Arc<Link>,
    /// The message that is being read; `read` bytes of it were read already.
    current: Option<ChannelMsg>,
    read: usize,
}

impl Inbox {
    /// The next bytes, at most `most` and of one message, as a slice of it rather than a copy. Waits for them as long
    /// as for any answer.
    async fn piece(&mut self, most: usize) -> Result<ChannelMsg, ConnectionError> {
        loop {
            if let Some(ChannelMsg::Data { data }) = &self.current
                && self.read < data.len()
            {
                let end = data.len().min(self.read + most);
                let piece = data.slice(self.read..end);
                self.read = end;
                return Ok(ChannelMsg::Data { data: piece });
            }
            let limit = Duration::from_secs(REQUEST_LIMIT);
            let message = tokio::time::timeout(limit, self.reader.wait()).await;
            self.read = 0;
            self.current = match message {
                Ok(Some(message @ ChannelMsg::Data { .. })) => Some(message),
                Ok(Some(ChannelMsg::Failure)) => {
                    return Err(self.link.protocol_error("its SSH server offers no further SFTP"));
                }
                // The transport lives, so that only this session has ended.
                Ok(Some(ChannelMsg::Close | ChannelMsg::Eof) | None) if !self.link.is_gone() => {
                    let reason = "the file session ended while a file was copied".to_owned();
                    return Err(ConnectionError::Lost { address: self.link.address().to_owned(), reason });
                }
                Ok(None) => return Err(self.link.lost_error()),
                Ok(Some(_)) => None,
                Err(_) => {
                    let what = format!("waited {REQUEST_LIMIT}s for its file server");
                    return Err(ConnectionError::TimedOut { address: self.link.address().to_owned(), what });
                }
            };
        }
    }

    /// Exactly `count` bytes as a copy, for all but the content of files.
    async fn exact(&mut self, count: usize) -> Result<Vec<u8>, ConnectionError> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            if let ChannelMsg::Data { data } = self.piece(count - bytes.len()).await? {
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes)
    }

    /// Reads the head of a packet: the length of its body, its type and the number of the request.
    async fn head(&mut self) -> Result<(usize, u8, u32), ConnectionError> {
        let head = self.exact(9).await?;
        // The length counts the type (one byte) and the number (four bytes), but not itself.
        let whole = number(&head[..4]);
        if !(5..=PACKET_CAP).contains(&whole) {
            return Err(self.link.protocol_error("its file server sends a packet of an impossible length"));
        }
        Ok((whole as usize - 5, head[4], number(&head[5..])))
    }

    /// Reads a whole packet: type, number and body.
    async fn reply(&mut self) -> Result<(u8, u32, Vec<u8>), ConnectionError> {
        let (rest, kind, id) = self.head().await?;
        Ok((kind, id, self.exact(rest).await?))
    }

    /// Reads the head of an answer with content: the number of the request, and how many bytes of content follow.
    async fn data(&mut self, doing: &str) -> Result<(u32, u32), ConnectionError> {
        let (rest, kind, id) = self.head().await?;
        if kind != packet_type::DATA {
            let body = self.exact(rest).await?;
            return Err(self.refusal((kind, id, body), doing));
        }
        let bytes = number(&self.exact(4.min(rest)).await?);
        // No bytes at all would be requested again for ever.
        match bytes as usize + 4 == rest && bytes > 0 {
            true => Ok((id, bytes)),
            false => Err(self.link.protocol_error("its file server sends a packet of an impossible length")),
        }
    }

    async fn pass_on(
        &mut self,
        mut offset: u64,
        bytes: u32,
        pieces: &mpsc::Sender<FilePiece>,
        progress: Progress<'_>,
    ) -> Result<(), ConnectionError> {
        let mut left = bytes as usize;
        while left > 0 {
            let piece = self.piece(left).await?;
            let ChannelMsg::Data { data } = &piece else { continue };
            let got = data.len();
            // The receiver is gone only where writing to the disk failed, and the caller reports that error before this
            // one.
            if pieces.send((offset, piece)).await.is_err() {
                return Err(self.link.lost_error());
            }
            progress(got as u64);
            (offset, left) = (offset + got as u64, left - got);
        }
        Ok(())
    }

    fn confirm_write(
        &self,
        reply: (u8, u32, Vec<u8>),
        expected: &mut HashMap<u32, u64>,
        doing: &str,
        progress: Progress<'_>,
    ) -> Result<(), ConnectionError> {
        match status(&reply) {
            Some(status) if status.status_code == StatusCode::Ok => match expected.remove(&reply.1) {
                Some(bytes) => progress(bytes),
                None => return Err(self.link.protocol_error("its file server answers what was not asked")),
            },
            _ => return Err(self.refusal(reply, doing)),
        }
        Ok(())
    }

    /// The error that an unexpected answer means.
    fn refusal(&self, reply: (u8, u32, Vec<u8>), doing: &str) -> ConnectionError {
        match status(&reply) {
            Some(status) if status.status_code == StatusCode::Eof => {
                let reason = "it became shorter while it was read".to_owned();
                ConnectionError::File { doing: doing.to_owned(), reason }
            }
            Some(status) if status.status_code != StatusCode::Ok => {
                ConnectionError::File { doing: doing.to_owned(), reason: status_reason(&status) }
            }
            _ => self.link.protocol_error("its file server answers with another packet than was asked for"),
        }
    }
}

/// The status that a packet holds, if it is a status packet.
fn status((kind, id, body): &(u8, u32, Vec<u8>)) -> Option<Status> {
    if *kind != packet_type::STATUS || body.len() < 4 {
        return None;
    }
    let status_code = match number(&body[..4]) {
        0 => StatusCode::Ok,
        1 => StatusCode::Eof,
        2 => StatusCode::NoSuchFile,
        3 => StatusCode::PermissionDenied,
        8 => StatusCode::OpUnsupported,
        _ => StatusCode::Failure,
    };
    let text = body.get(8..).map_or(&[][..], |rest| &rest[..rest.len().min(body.get(4..8).map_or(0, number) as usize)]);
    let error_message = String::from_utf8_lossy(text).into_owned();
    Some(Status { id: *id, status_code, error_message, language_tag: String::new() })
}

/// The big-endian number in at most four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut string = length(bytes.len()).to_be_bytes().to_vec();
    string.extend(bytes);
    string
}

fn packet(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    packet_before(kind, id, body, 0)
}

/// A packet without its last `more` bytes, which the caller sends behind it.
fn packet_before(kind: u8, id: u32, body: &[u8], more: usize) -> Vec<u8> {
    let mut packet = length(5 + body.len() + more).to_be_bytes().to_vec();
    packet.push(kind);
    packet.extend(id.to_be_bytes());
    packet.extend(body);
    packet
}
