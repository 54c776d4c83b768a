//! As much of HTTP/1.1 as the SDK and moto need, over plain TCP: bodies by length or in chunks, and persistent
//! connections.
//!
//! It is implemented here because the SDK's crates are built without an HTTP server, and another feature would build
//! all of them twice.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The longest line and the longest body that are read, bytes.
const LONGEST: (u64, u64) = (64 << 10, 64 << 20);

/// How long moto may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A request as it was received.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The method: `GET`, `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header; empty if the request does not have it.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers besides the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer with a content type.
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("Content-Type".to_owned(), kind.to_owned())], body: body.into() }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether it reports success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    (&mut *stream).take(LONGEST.0).read_until(b'\n', &mut bytes).await?;
    if bytes.last() != Some(&b'\n') {
        return if bytes.is_empty() { Ok(None) } else { Err(invalid("a line without an end")) };
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

async fn read_headers(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    while let Some(line) = read_line(stream).await? {
        if line.is_empty() {
            return Ok(found);
        }
        if let Some((name, value)) = line.split_once(':') {
            found.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    Err(invalid("headers without an end"))
}

async fn read_body(
    stream: &mut BufReader<TcpStream>,
    headers: &[(String, String)],
    to_end: bool,
) -> io::Result<Vec<u8>> {
    let of = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let mut bytes = Vec::new();
    if of("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = read_line(stream).await?.ok_or_else(|| invalid("no chunk"))?;
            let size = size.split(';').next().and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
            let size = size.filter(|size| *size <= LONGEST.1).ok_or_else(|| invalid("a chunk of no size"))?;
            (&mut *stream).take(size).read_to_end(&mut bytes).await?;
            read_line(stream).await?;
            if size == 0 {
                return Ok(bytes);
            }
        }
    }
    match of("content-length").map(str::parse::<u64>) {
        Some(Ok(length)) if length <= LONGEST.1 => {
            (&mut *stream).take(length).read_to_end(&mut bytes).await?;
        }
        Some(_) => return Err(invalid("a body too long")),
        None if to_end => {
            (&mut *stream).take(LONGEST.1).read_to_end(&mut bytes).await?;
        }
        None => {}
    }
    Ok(bytes)
}

/// The next request on a connection; `None` if the other side has closed it.
pub(crate) async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let Some(first) = read_line(stream).await? else { return Ok(None) };
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let headers = read_headers(stream).await?;
    if headers.iter().any(|(name, value)| name == "expect" && value.eq_ignore_ascii_case("100-continue")) {
        stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let body = read_body(stream, &headers, false).await?;
    Ok(Some(Request { method, path, headers, body }))
}

/// Answers a request; the connection stays open.
pub(crate) async fn write_response(stream: &mut BufReader<TcpStream>, response: &Response) -> io::Result<()> {
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let (status, length) = (response.status, response.body.len());
    let mut head = format!("HTTP/1.1 {status} Answer\r\nContent-Length: {length}\r\nDate: {date}\r\n");
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let bytes = [head.as_bytes(), &response.body].concat();
    stream.get_mut().write_all(&bytes).await?;
    stream.get_mut().flush().await
}

/// Sends a request to a server on a connection of its own and reads the whole answer.
pub(crate) async fn send(server: SocketAddr, request: &Request) -> io::Result<Response> {
    let exchange = async {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!(
            "host: {server}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            request.body.len()
        ));
        stream.get_mut().write_all(&[head.as_bytes(), &request.body].concat()).await?;
        let first = read_line(&mut stream).await?.ok_or_else(|| invalid("no answer"))?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| invalid("no status"))?;
        let headers = read_headers(&mut stream).await?;
        let body = read_body(&mut stream, &headers, true).await?;
        let kept = |name: &str| name == "content-type" || name.starts_with("x-amzn");
        let headers = headers.into_iter().filter(|(name, _)| kept(name)).collect();
        Ok(Response { status, headers, body })
    };
    match tokio::time::timeout(ANSWER_LIMIT, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {server}"))),
    }
}
