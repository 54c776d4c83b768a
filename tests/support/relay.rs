//! A network of the bench's own: a relay on loopback that holds every byte for a while, each way. Part of several benches.
//!
//! Kernel delay queues are not everywhere. Bandwidth is unlimited: what arrived together leaves together, later.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Bytes that are under way in one direction; more wait in the sender's socket. 25 ms of 10 GB/s.
const UNDER_WAY: usize = 256 << 20;

/// Bytes of one read.
const PIECE: usize = 256 << 10;

/// One direction.
#[derive(Default)]
struct Wire {
    under_way: Mutex<UnderWay>,
    changed: Condvar,
}

/// Each piece with the moment at which it may arrive; an empty piece ends it. And the bytes of them all.
#[derive(Default)]
struct UnderWay {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

/// Listens on a port of loopback, which is returned, and carries connections to `port`, each way `delay` late. Lasts as long
/// as the process.
pub fn start(port: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            for stream in [&near, &far] {
                stream.set_nodelay(true).unwrap();
            }
            carry(near.try_clone().unwrap(), far.try_clone().unwrap(), delay);
            carry(far, near, delay);
        }
    });
    own
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let wire = Arc::new(Wire::default());
    let far = Arc::clone(&wire);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let got = from.read(&mut buffer).unwrap_or(0);
            let mut queue = wire.under_way.lock().unwrap();
            while queue.bytes > UNDER_WAY {
                queue = wire.changed.wait(queue).unwrap();
            }
            queue.bytes += got;
            queue.pieces.push_back((Instant::now() + delay, buffer[..got].to_vec()));
            wire.changed.notify_all();
            if got == 0 {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        loop {
            let mut queue = far.under_way.lock().unwrap();
            let (at, piece) = loop {
                match queue.pieces.pop_front() {
                    Some(piece) => break piece,
                    None => queue = far.changed.wait(queue).unwrap(),
                }
            };
            queue.bytes -= piece.len();
            far.changed.notify_all();
            drop(queue);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if piece.is_empty() || to.write_all(&piece).is_err() {
                drop(to.shutdown(Shutdown::Both));
                return;
            }
        }
    });
}
