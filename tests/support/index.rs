//! Package indexes: a real server, and one that answers as a test orders.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::sshd::free_port;

/// A pypiserver on loopback, which takes anybody's files; killed when dropped.
pub struct IndexServer {
    /// Where it takes files.
    pub url: String,
    /// The folder with them.
    pub folder: tempfile::TempDir,
    child: Child,
}

/// The server that `tests/index-venv` installed.
fn program() -> PathBuf {
    let named = std::env::var_os("AUTOMATION_INDEX_SERVER").map(PathBuf::from);
    let program = named.unwrap_or_else(|| crate::root().join("target/index/bin/pypi-server"));
    assert!(program.is_file(), "run `tests/index-venv`, which installs it, or name one with AUTOMATION_INDEX_SERVER");
    program
}

impl IndexServer {
    /// Starts one and waits until it answers; `further` are options of its own.
    pub fn start(further: &[&str]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut command = Command::new(program());
        command.args(["run", "-i", "127.0.0.1", "-p", &port.to_string(), "-P", ".", "-a", "."]).args(further);
        let child = command.arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { url: format!("http://127.0.0.1:{port}/"), folder, child };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "pypi-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// The names of its files, sorted.
    pub fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }
}

impl Drop for IndexServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The names of what is in a folder, hidden ones included, sorted.
pub fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What the index does with an upload.
#[derive(Clone, Copy)]
pub enum Order {
    /// Keeps it.
    Keep,
    /// Answers this status and does not keep it.
    Refuse(u16),
    /// Keeps it, and closes the connection without an answer.
    KeepAndCut,
    /// Reads half of it and closes the connection.
    Cut,
}

#[derive(Default)]
struct Kept {
    files: Vec<(String, Vec<u8>)>,
    authorizations: Vec<String>,
    uploads: usize,
}

/// An index that answers as it is ordered.
pub struct OrderedIndex {
    /// Where it takes files.
    pub url: String,
    kept: Arc<Mutex<Kept>>,
}

impl OrderedIndex {
    /// Starts one; `order` is asked for each upload, with the number of those before it.
    pub fn start(order: impl Fn(usize) -> Order + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (kept, order) = (Arc::new(Mutex::new(Kept::default())), Arc::new(order));
        let shared = Arc::clone(&kept);
        // It ends with the process: nobody waits for a test's index.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, order) = (Arc::clone(&shared), Arc::clone(&order));
                std::thread::spawn(move || drop(answer(stream.unwrap(), &kept, order.as_ref())));
            }
        });
        Self { url, kept }
    }

    /// The names of the files that it keeps, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.kept.lock().unwrap().files.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// How many uploads were begun.
    pub fn uploads(&self) -> usize {
        self.kept.lock().unwrap().uploads
    }

    /// The credentials that came with requests.
    pub fn authorizations(&self) -> Vec<String> {
        self.kept.lock().unwrap().authorizations.clone()
    }
}

fn answer(mut stream: TcpStream, kept: &Mutex<Kept>, order: &dyn Fn(usize) -> Order) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((key, value)) = line.trim_end().split_once(": ") else { break };
        match key.to_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => kept.lock().unwrap().authorizations.push(value.to_owned()),
            _ => {}
        }
    }
    if first.starts_with("GET") {
        let link = |(name, bytes): &(String, Vec<u8>)| {
            let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("<a href='/files/{name}#sha256={sum}'>{name}</a>\n")
        };
        let page: String = kept.lock().unwrap().files.iter().map(link).collect();
        return say(&mut stream, 200, &format!("<html>{page}</html>"));
    }
    let number = {
        let mut kept = kept.lock().unwrap();
        kept.uploads += 1;
        kept.uploads - 1
    };
    let order = order(number);
    let mut body = vec![0; if matches!(order, Order::Cut) { length / 2 } else { length }];
    reader.read_exact(&mut body)?;
    if matches!(order, Order::Keep | Order::KeepAndCut) {
        kept.lock().unwrap().files.push(content_of(&body));
    }
    match order {
        Order::Keep => say(&mut stream, 200, ""),
        Order::Refuse(status) => say(&mut stream, status, "<h1>not so</h1>"),
        Order::KeepAndCut | Order::Cut => Ok(()),
    }
}

fn say(stream: &mut TcpStream, status: u16, text: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()).as_bytes())
}

/// The name and the bytes of the file in a form.
fn content_of(body: &[u8]) -> (String, Vec<u8>) {
    let find =
        |what: &[u8], from: usize| from + body[from..].windows(what.len()).position(|window| window == what).unwrap();
    let boundary = body[..find(b"\r\n", 0)].to_vec();
    let at = find(b"; filename=\"", 0) + b"; filename=\"".len();
    let name = String::from_utf8(body[at..find(b"\"", at)].to_vec()).unwrap();
    let start = find(b"\r\n\r\n", at) + 4;
    let end = find(&[b"\r\n", boundary.as_slice()].concat(), start);
    (name, body[start..end].to_vec())
}
