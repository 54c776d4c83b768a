//! Streams of other programs to ports of a machine, each over a channel of its own (`direct-tcpip`).

use async_trait::async_trait;
use model::connection::{ConnectionError, Tunnels};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;

use crate::pool::Pool;

/// How many bytes of a stream are read at once: as many as one packet carries.
const PIECE: usize = 32 << 10;

/// Sends what comes from here until its end, which is passed on. Stops when the channel is closed: `russh` lets a write wait for a
/// window that a closed channel never opens.
async fn send(mut near: OwnedReadHalf, far: &ChannelWriteHalf<Msg>, closed: &CancellationToken) {
    let sending = async {
        let mut piece = vec![0; PIECE];
        loop {
            // A side that breaks has ended.
            let count = near.read(&mut piece).await.unwrap_or(0);
            if count == 0 {
                return drop(far.eof().await);
            }
            if far.data_bytes(piece[..count].to_vec()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = closed.cancelled() => {}
        () = sending => {}
    }
}

/// Hands over here what comes from the machine until its end, which is passed on; returns when the channel is closed, or when nobody
/// here takes it any more.
async fn receive(mut far: ChannelReadHalf, mut near: OwnedWriteHalf) {
    while let Some(message) = far.wait().await {
        let handed_over = match message {
            ChannelMsg::Data { data } => near.write_all(&data).await,
            ChannelMsg::Eof => near.shutdown().await,
            ChannelMsg::Close => return,
            _ => Ok(()),
        };
        if handed_over.is_err() {
            return;
        }
    }
}

#[async_trait]
impl Tunnels for Pool {
    async fn carry(&self, near: TcpStream, port: u16) -> Result<(), ConnectionError> {
        let (channel, link) = self.stream(port).await?;
        let (far_read, far_write) = channel.split();
        let (near_read, near_write) = near.into_split();
        let closed = CancellationToken::new();
        let receiving = async {
            receive(far_read, near_write).await;
            closed.cancel();
        };
        let both = async { tokio::join!(send(near_read, &far_write, &closed), receiving) };
        tokio::select! {
            biased;
            () = link.wait_until_gone() => return Err(link.lost_error()),
            _ = both => {}
        }
        drop(far_write.close().await);
        Ok(())
    }
}
