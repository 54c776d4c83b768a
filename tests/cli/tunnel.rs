//! Ports of a machine, from here.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use support::tool::{Place, Running};

/// Answers each connection, when its end was seen, with how many bytes it sent, and as many of its own as the port's number.
const SERVER: &str = "
import socket, threading
listener = socket.create_server(('127.0.0.1', 8765))
print('listening', flush=True)
def serve(one):
    count = 0
    while data := one.recv(65536):
        count += len(data)
    one.sendall(b'%d ' % count + b'x' * 300000)
    one.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],)).start()
";

/// The port here that a tunnel printed.
fn port(tunnel: &Running, place: &str) -> u16 {
    tunnel.wait_for(" -> ");
    let said = tunnel.printed();
    let line = said.lines().next().unwrap();
    assert!(line.starts_with("127.0.0.1:") && line.ends_with(place), "{line}");
    line.split([':', ' ']).nth(1).unwrap().parse().unwrap()
}

/// Sends so many bytes, ends that side, and reads all of the answer.
fn ask(port: u16, bytes: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The other side may end before it has read all.
    drop(stream.write_all(&vec![b'y'; bytes]));
    drop(stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    answer
}

#[test]
fn a_port_of_a_machine_is_reached_from_here_until_the_tunnel_is_closed() {
    let place = Place::small();
    let id = place.up(&["--name", "lobster"]);
    let server = place.start(&["machine", "exec", &id, "--", "python3", "-c", SERVER]);
    server.wait_for("listening");
    let tunnel = place.start(&["machine", "tunnel", "0:8765"]);
    let near = port(&tunnel, &format!("{id}:8765"));
    // More than a window of the channel, many at once, and the end of one side alone.
    let asking: Vec<_> = (0..20).map(|nth| std::thread::spawn(move || (nth, ask(near, nth * 300_000)))).collect();
    for asked in asking {
        let (nth, answer) = asked.join().unwrap();
        let head = format!("{} ", nth * 300_000);
        assert!(answer.starts_with(head.as_bytes()) && answer.len() == head.len() + 300_000, "{nth}: {}", answer.len());
    }
    // The port is taken here now, and that is said before a machine is asked for anything.
    let taken = place.run(&["machine", "tunnel", "lobster", &format!("{near}:8765")]).expect(3);
    taken.tells(&["cannot listen", &near.to_string(), "0:REMOTE"]);
    tunnel.signal(Signal::INT);
    tunnel.end().expect(130).tells(&["closing the tunnel"]);
    assert!(TcpStream::connect(("127.0.0.1", near)).is_err());

    // A far end that refuses ends its streams and not the tunnel, and is told once.
    let tunnel = place.start(&["machine", "tunnel", "lobster", "0:8766"]);
    let near = port(&tunnel, &format!("{id}:8766"));
    for _ in 0..3 {
        assert_eq!(ask(near, 10), b"");
    }
    let told = tunnel.said();
    assert_eq!(told.matches("port 8766 of the machine refused").count(), 1, "{told}");
    place.run(&["machine", "down", &id]).expect(0);
    drop(server);
    // Where the machine has gone, so has the tunnel.
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while tunnel.lives() && std::time::Instant::now() < end {
        drop(TcpStream::connect(("127.0.0.1", near)));
        std::thread::sleep(Duration::from_millis(100));
    }
    tunnel.end().expect(4);
    place.assert_clean();
}
