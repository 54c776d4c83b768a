//! One attempt to reach a machine, check its host key and log in, and the meaning of its failures.

use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use model::base::deadline::Deadline;
use model::connection::ConnectionError;
use model::machine::{Address, Platform};
use russh::client::{self, AuthResult, DisconnectReason};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::host_key::Expected;
use crate::link::Link;
use crate::login::{self, Candidate, Candidates};
use crate::{address, keys};

/// How many of the first bytes of a server are kept for a message.
const GREETING_CAP: usize = 80;

/// Everything an attempt needs, resolved once.
pub(super) struct ConnectTarget {
    pub(super) address: Address,
    /// The machine's system.
    pub(super) platform: Platform,
    pub(super) user: String,
    pub(super) keys: Candidates,
    pub(super) expected: Expected,
    pub(super) config: Arc<client::Config>,
}

/// A live, authenticated transport.
pub(super) struct Established {
    pub(super) handle: client::Handle<Client>,
    pub(super) link: Arc<Link>,
}

/// A failed attempt.
pub(super) struct AttemptFailure {
    pub(super) error: ConnectionError,
    /// Whether another attempt may succeed: a machine that boots refuses or drops connections or is silent, but never
    /// shows a wrong host key or rejects a key of the user.
    pub(super) retryable: bool,
}

impl AttemptFailure {
    fn permanent(error: ConnectionError) -> Self {
        Self { error, retryable: false }
    }

    fn transient(error: ConnectionError) -> Self {
        Self { error, retryable: true }
    }
}

/// Dials, exchanges keys, checks the host key and authenticates, all within `limit`.
pub(super) async fn attempt(target: &ConnectTarget, limit: Duration) -> Result<Established, AttemptFailure> {
    let address = target.address.to_string();
    let deadline = Deadline::after(limit, String::new());
    let timed_out = |awaited: &str| {
        let what = format!("waited {} for {awaited}", model::base::text::seconds(limit));
        AttemptFailure::transient(ConnectionError::TimedOut { address: address.clone(), what })
    };
    let stream =
        deadline.bound(address::dial(&target.address)).await.map_err(|_| timed_out("the TCP connection"))?.map_err(
            |error| match error {
                ConnectionError::Protocol { .. }
                | ConnectionError::MachineEnded { .. }
                | ConnectionError::Invalid(_) => AttemptFailure::permanent(error),
                error => AttemptFailure::transient(error),
            },
        )?;
    // Not every socket that a guard hands over has the option, and the connection works without it.
    drop(stream.set_nodelay(true));
    let (stream, severing) = ShutdownGuard::of(stream).map_err(|error| {
        AttemptFailure::transient(ConnectionError::Lost { address: address.clone(), reason: error.to_string() })
    })?;
    let mut established =
        deadline.bound(exchange(target, &address, stream)).await.map_err(|_| timed_out("the SSH key exchange"))??;
    deadline.bound(authenticate(target, &mut established)).await.map_err(|_| timed_out("authentication"))??;
    severing.disarm();
    Ok(established)
}

/// The key exchange, with the host key's check inside.
async fn exchange(target: &ConnectTarget, address: &str, stream: TcpStream) -> Result<Established, AttemptFailure> {
    let link = Arc::new(Link::new(address.to_owned()));
    let heard = Arc::new(SharedRecord::default());
    let client = Client { link: Arc::clone(&link), heard: Arc::clone(&heard), expected: target.expected.clone() };
    let stream = RecordingStream { inner: stream, heard: Arc::clone(&heard), prompt: QUICK_ACK_READS };
    match client::connect_stream(Arc::clone(&target.config), stream, client).await {
        Ok(handle) => Ok(Established { handle, link }),
        Err(error) => Err(explain(error, address, &heard, &target.expected)),
    }
}

/// The failure that an error of the key exchange means.
fn explain(error: russh::Error, address: &str, heard: &SharedRecord, expected: &Expected) -> AttemptFailure {
    let heard = heard.lock();
    // The host key comes first: `russh` often reports only that the socket was closed afterwards.
    if let Some(Rejected { shown, revoked_in }) = &heard.rejected {
        let (address, shown) = (address.to_owned(), shown.clone());
        return AttemptFailure::permanent(match revoked_in.clone() {
            Some(file) => ConnectionError::HostKeyRevoked { address, shown, file },
            None => match expected.unknown_host() {
                Some((name, file)) => ConnectionError::HostKeyUnknown { name, shown, file },
                None => ConnectionError::HostKeyMismatch { address, expected: expected.describe(), shown },
            },
        });
    }
    let lost =
        |reason: String| AttemptFailure::transient(ConnectionError::Lost { address: address.to_owned(), reason });
    let protocol = |reason: String| ConnectionError::Protocol { address: address.to_owned(), reason };
    let closed = matches!(error, russh::Error::Disconnect | russh::Error::HUP | russh::Error::IO(_));
    if heard.greeting.is_empty() {
        return lost("closed before it said anything".to_owned());
    }
    if heard.spoke_ssh() {
        return match closed {
            true => lost(format!("closed during the key exchange ({error})")),
            false => AttemptFailure::permanent(protocol(error.to_string())),
        };
    }
    let greeting = String::from_utf8_lossy(&heard.greeting);
    let first_line = greeting.lines().next().unwrap_or_default().escape_debug();
    // OpenSSH sends `Exceeded MaxStartups` and the like instead of its banner and hangs up: another attempt may
    // succeed.
    AttemptFailure { error: protocol(format!("it answered `{first_line}`")), retryable: closed }
}

/// Offers the keys one after another.
async fn authenticate(target: &ConnectTarget, established: &mut Established) -> Result<(), AttemptFailure> {
    let link = Arc::clone(&established.link);
    for candidate in &target.keys.offered {
        if offer(target, candidate, established).await? {
            return Ok(());
        }
    }
    Err(AttemptFailure::permanent(ConnectionError::AuthenticationRefused {
        address: link.address().to_owned(),
        user: target.user.clone(),
        identity: target.keys.describe(),
    }))
}

/// Offers one key; whether the server accepted it.
async fn offer(
    target: &ConnectTarget,
    candidate: &Candidate,
    established: &mut Established,
) -> Result<bool, AttemptFailure> {
    let link = Arc::clone(&established.link);
    let handle = &mut established.handle;
    let broken = |error: String| match link.is_gone() {
        true => AttemptFailure::transient(link.lost_error()),
        false => AttemptFailure::permanent(link.protocol_error(error)),
    };
    // A server that does not announce its signature algorithms gets SHA-2: every recent server refuses SHA-1.
    let hash = match candidate.public().algorithm().is_rsa() {
        true => match handle.best_supported_rsa_hash().await.map_err(|error| broken(error.to_string()))? {
            Some(best) => best,
            None => Some(russh::keys::HashAlg::Sha256),
        },
        false => None,
    };
    let user = target.user.as_str();
    let result = match candidate {
        Candidate::File(_, key) => {
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            handle.authenticate_publickey(user, key).await.map_err(|error| broken(error.to_string()))?
        }
        Candidate::Agent { socket, key, .. } => {
            // The agent may have gone by now, or its user may have declined: the next key may still succeed.
            let Ok(mut agent) = login::connect_agent(socket).await else { return Ok(false) };
            match handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await {
                Ok(result) => result,
                Err(_) if link.is_gone() => return Err(AttemptFailure::transient(link.lost_error())),
                Err(_) => return Ok(false),
            }
        }
    };
    match result {
        AuthResult::Success => Ok(true),
        // `russh` reports a session that has ended as a failure without remaining methods.
        AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() && link.is_gone() => {
            Err(AttemptFailure::transient(link.lost_error()))
        }
        AuthResult::Failure { .. } => Ok(false),
    }
}

/// A duplicate of the socket, by which an attempt that is given up shuts it down.
///
/// `russh` runs the session in a task of its own. Dropping the future that waits for it would leave that task, and its
/// socket, waiting for a server that may never answer.
struct ShutdownGuard(Option<std::net::TcpStream>);

impl ShutdownGuard {
    fn of(stream: TcpStream) -> std::io::Result<(TcpStream, Self)> {
        let stream = stream.into_std()?;
        let second = stream.try_clone()?;
        Ok((TcpStream::from_std(stream)?, Self(Some(second))))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

/// The server's words before the end of the key exchange, shared by the socket and the session.
#[derive(Default)]
struct SharedRecord(Mutex<HandshakeRecord>);

#[derive(Default)]
struct HandshakeRecord {
    greeting: Vec<u8>,
    /// The host key that was rejected.
    rejected: Option<Rejected>,
}

/// A host key that was rejected.
struct Rejected {
    /// The fingerprint of the key.
    shown: String,
    /// The file that revokes the key, if one does.
    revoked_in: Option<String>,
}

impl HandshakeRecord {
    fn spoke_ssh(&self) -> bool {
        self.greeting.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"SSH-"))
    }
}

impl SharedRecord {
    fn lock(&self) -> MutexGuard<'_, HandshakeRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of first reads after which the kernel is asked to acknowledge at once.
///
/// OpenSSH's server leaves Nagle's algorithm on until the first session runs, and announces its host keys just before
/// it confirms that session: the confirmation then waits for our acknowledgement, which the kernel would delay by 40
/// ms.
const QUICK_ACK_READS: usize = 32;

/// A socket that keeps a copy of the first bytes that were read from it.
struct RecordingStream {
    inner: TcpStream,
    heard: Arc<SharedRecord>,
    prompt: usize,
}

impl AsyncRead for RecordingStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.prompt == 0 || result.is_pending() {
            return result;
        }
        self.prompt -= 1;
        // The kernel drops this setting at its own discretion, so it is set after each read. A socket without it is
        // only slower.
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.inner, true);
        let mut heard = self.heard.lock();
        let room = GREETING_CAP.saturating_sub(heard.greeting.len());
        if room > 0 {
            heard.greeting.extend(buf.filled().iter().skip(before).take(room));
        }
        drop(heard);
        result
    }
}

impl AsyncWrite for RecordingStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The callbacks of a session.
pub(super) struct Client {
    link: Arc<Link>,
    heard: Arc<SharedRecord>,
    expected: Expected,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let rejected = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } if self.expected.accepts(key) => return Ok(true),
            PublicKeyOrCertificate::PublicKey { key, .. } => Rejected {
                shown: keys::key_fingerprint(key),
                revoked_in: self.expected.revoked_in(key).map(str::to_owned),
            },
            PublicKeyOrCertificate::Certificate(_) => Rejected { shown: "a certificate".to_owned(), revoked_in: None },
        };
        self.heard.lock().rejected = Some(rejected);
        Ok(false)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        self.link.blame(match reason {
            DisconnectReason::ReceivedDisconnect(info) => format!("the other side hung up: {}", info.message),
            DisconnectReason::Error(russh::Error::KeepaliveTimeout) => "it no longer answers".to_owned(),
            DisconnectReason::Error(russh::Error::Disconnect | russh::Error::HUP) => return Ok(()),
            DisconnectReason::Error(error) => error.to_string(),
        });
        Ok(())
    }
}

// This also runs where `russh` does not call `disconnected`, as when shutting down a reset socket fails.
impl Drop for Client {
    fn drop(&mut self) {
        self.link.end();
    }
}
