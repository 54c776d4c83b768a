//! A way to a server on loopback that fails on order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the connections that are open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Forward,
    /// Closes them.
    Drop,
    /// Carries nothing any more, and leaves them open.
    Stall,
}

/// A relay; it ends with the runtime of its test.
pub struct Proxy {
    /// Where it listens, on loopback.
    pub port: u16,
    target: Arc<AtomicU16>,
    /// After how many bytes from the server a connection is reset.
    most: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
    order: watch::Sender<Order>,
}

impl Proxy {
    /// One that carries connections to a port of loopback.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (order, _) = watch::channel(Order::Forward);
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            target: Arc::new(AtomicU16::new(port)),
            most: Arc::new(AtomicU64::new(u64::MAX)),
            accepted: Arc::default(),
            order,
        };
        let (target, most, accepted) = (proxy.target.clone(), proxy.most.clone(), proxy.accepted.clone());
        let order = proxy.order.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepted.fetch_add(1, SeqCst);
                let (target, most) = (target.load(SeqCst), most.load(SeqCst));
                let mut order = order.subscribe();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
                    relay(client, server, most, &mut order).await;
                });
            }
        });
        proxy
    }

    /// How many connections there were.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(SeqCst)
    }

    /// Later connections go to this port.
    pub fn retarget(&self, port: u16) {
        self.target.store(port, SeqCst);
    }

    /// Later connections are reset after that many bytes from the server.
    pub fn reset_after(&self, bytes: u64) {
        self.most.store(bytes, SeqCst);
    }

    /// Closes what is open.
    pub fn drop_all(&self) {
        self.order.send_replace(Order::Drop);
    }

    /// Leaves what is open hanging.
    pub fn stall_all(&self) {
        self.order.send_replace(Order::Stall);
    }
}

async fn relay(mut client: TcpStream, mut server: TcpStream, most: u64, order: &mut watch::Receiver<Order>) {
    let (mut up, mut down) = (vec![0; 32 << 10], vec![0; 32 << 10]);
    let mut left = most;
    loop {
        tokio::select! {
            biased;
            changed = order.changed() => {
                if changed.is_ok() && *order.borrow() == Order::Stall {
                    std::future::pending::<()>().await;
                }
                return;
            }
            read = client.read(&mut up) => match read {
                Ok(count) if count > 0 && server.write_all(&up[..count]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(count) if count > 0 => {
                    let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
                    left -= count as u64;
                    if client.write_all(&down[..count]).await.is_err() {
                        return;
                    }
                    if left == 0 {
                        // A reset rather than an end.
                        drop(reset_at_close(&client));
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

fn reset_at_close(stream: &TcpStream) -> std::io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO)).map_err(Into::into)
}
