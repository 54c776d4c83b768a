//! The stream of a file server. It can be written to before the machine has answered whether it has such a server:
//! waiting for that answer would cost a round trip.

use std::io::Result as IoResult;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

type NextMessage = Pin<Box<dyn Future<Output = (ChannelReadHalf, Option<ChannelMsg>)> + Send>>;

/// Whether the machine refused to start the server, which is known when the stream has ended.
pub(super) type Refused = Arc<AtomicBool>;

/// The stream; dropping it closes its channel.
pub(super) struct Subsystem {
    /// The wait for the next message; `None` after the last.
    next: Option<NextMessage>,
    /// The message that is being read, and the number of its bytes that were read already.
    current: Option<(ChannelMsg, usize)>,
    refused: Refused,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    channel: Arc<ChannelWriteHalf<Msg>>,
}

impl Subsystem {
    /// The stream over a channel on which the server was requested.
    pub(super) fn new(channel: Channel<Msg>) -> (Self, Refused) {
        let (reader, channel) = channel.split();
        let refused = Refused::default();
        let stream = Self {
            next: Some(wait(reader)),
            current: None,
            refused: Arc::clone(&refused),
            writer: Box::pin(channel.make_writer()),
            channel: Arc::new(channel),
        };
        (stream, refused)
    }
}

fn wait(mut reader: ChannelReadHalf) -> NextMessage {
    Box::pin(async move {
        let message = reader.wait().await;
        (reader, message)
    })
}

impl AsyncRead for Subsystem {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        loop {
            if let Some((ChannelMsg::Data { data }, read)) = &mut self.current {
                let end = data.len().min(*read + buf.remaining());
                buf.put_slice(&data[*read..end]);
                *read = end;
                if end == data.len() {
                    self.current = None;
                }
                return Poll::Ready(Ok(()));
            }
            let Some(next) = &mut self.next else { return Poll::Ready(Ok(())) };
            let (reader, message) = ready!(next.as_mut().poll(cx));
            self.next = None;
            match message {
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => continue,
                Some(ChannelMsg::Failure) => {
                    self.refused.store(true, Ordering::Relaxed);
                    continue;
                }
                // A read of no bytes would mean the end of the stream.
                Some(ChannelMsg::Data { data }) if !data.is_empty() => {
                    self.current = Some((ChannelMsg::Data { data }, 0));
                }
                Some(_) => {}
            }
            self.next = Some(wait(reader));
        }
    }
}

impl AsyncWrite for Subsystem {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        self.writer.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.writer.as_mut().poll_shutdown(cx)
    }
}

impl Drop for Subsystem {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let channel = Arc::clone(&self.channel);
            runtime.spawn(async move {
                drop(channel.close().await);
            });
        }
    }
}
