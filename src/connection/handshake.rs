//! One attempt to reach, recognise and be let in by a machine, and what its failure means.

use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use model::base::deadline::Deadline;
use model::connection::ConnectionError;
use model::machine::Address;
use russh::client::{self, AuthResult, DisconnectReason};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::host_key::Expected;
use crate::link::Link;
use crate::login::{self, Candidate, Candidates};
use crate::{address, keys};

/// How much of what a server says first is kept for a message, bytes.
const GREETING_CAP: usize = 80;

/// Everything an attempt needs, resolved once.
pub(super) struct Target {
    pub(super) address: Address,
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
pub(super) struct Failure {
    pub(super) error: ConnectionError,
    /// Whether it may get better by itself: a machine that boots refuses, drops and is silent, but never shows a wrong
    /// key or turns one down.
    pub(super) again: bool,
}

impl Failure {
    fn final_(error: ConnectionError) -> Self {
        Self { error, again: false }
    }

    fn passing(error: ConnectionError) -> Self {
        Self { error, again: true }
    }
}

/// Dials, exchanges keys, checks the host key and authenticates, all within `limit`.
pub(super) async fn attempt(target: &Target, limit: Duration) -> Result<Established, Failure> {
    let address = target.address.to_string();
    let deadline = Deadline::after(limit, String::new());
    let timed_out = |awaited: &str| {
        let what = format!("waited {} for {awaited}", model::base::text::seconds(limit));
        Failure::passing(ConnectionError::TimedOut { address: address.clone(), what })
    };
    let stream =
        deadline.bound(address::dial(&target.address)).await.map_err(|_| timed_out("the TCP connection"))?.map_err(
            |error| match error {
                ConnectionError::Protocol { .. }
                | ConnectionError::MachineEnded { .. }
                | ConnectionError::Invalid(_) => Failure::final_(error),
                error => Failure::passing(error),
            },
        )?;
    // Not every handed-over socket has the option, and none needs it to be right.
    drop(stream.set_nodelay(true));
    let (stream, severing) = Severing::of(stream).map_err(|error| {
        Failure::passing(ConnectionError::Lost { address: address.clone(), reason: error.to_string() })
    })?;
    let mut established =
        deadline.bound(exchange(target, &address, stream)).await.map_err(|_| timed_out("the SSH key exchange"))??;
    deadline.bound(authenticate(target, &mut established)).await.map_err(|_| timed_out("authentication"))??;
    severing.disarm();
    Ok(established)
}

/// The key exchange, with the host key's check inside.
async fn exchange(target: &Target, address: &str, stream: TcpStream) -> Result<Established, Failure> {
    let link = Arc::new(Link::new(address.to_owned()));
    let heard = Arc::new(Heard::default());
    let client = Client { link: Arc::clone(&link), heard: Arc::clone(&heard), expected: target.expected.clone() };
    let stream = Listening { inner: stream, heard: Arc::clone(&heard), prompt: PROMPT_READS };
    match client::connect_stream(Arc::clone(&target.config), stream, client).await {
        Ok(handle) => Ok(Established { handle, link }),
        Err(error) => Err(explain(error, address, &heard, &target.expected)),
    }
}

/// What a failed key exchange means.
fn explain(error: russh::Error, address: &str, heard: &Heard, expected: &Expected) -> Failure {
    let heard = heard.lock();
    // Asked first: what `russh` reports is often only that the socket was closed afterwards.
    if let Some(Rejected { shown, revoked_in }) = &heard.rejected {
        let (address, shown) = (address.to_owned(), shown.clone());
        return Failure::final_(match revoked_in.clone() {
            Some(file) => ConnectionError::HostKeyRevoked { address, shown, file },
            None => match expected.unknown() {
                Some((name, file)) => ConnectionError::HostKeyUnknown { name, shown, file },
                None => ConnectionError::HostKeyMismatch { address, expected: expected.describe(), shown },
            },
        });
    }
    let lost = |reason: String| Failure::passing(ConnectionError::Lost { address: address.to_owned(), reason });
    let protocol = |reason: String| ConnectionError::Protocol { address: address.to_owned(), reason };
    let closed = matches!(error, russh::Error::Disconnect | russh::Error::HUP | russh::Error::IO(_));
    if heard.greeting.is_empty() {
        return lost("closed before it said anything".to_owned());
    }
    if heard.spoke_ssh() {
        return match closed {
            true => lost(format!("closed during the key exchange ({error})")),
            false => Failure::final_(protocol(error.to_string())),
        };
    }
    let said = String::from_utf8_lossy(&heard.greeting);
    let said = said.lines().next().unwrap_or_default().escape_debug().to_string();
    // OpenSSH says `Exceeded MaxStartups` and the like in place of its banner, then hangs up: that passes.
    Failure { error: protocol(format!("it answered `{said}`")), again: closed }
}

/// Offers one key after the other.
async fn authenticate(target: &Target, established: &mut Established) -> Result<(), Failure> {
    let link = Arc::clone(&established.link);
    for candidate in &target.keys.offered {
        if offer(target, candidate, established).await? {
            return Ok(());
        }
    }
    Err(Failure::final_(ConnectionError::AuthenticationRefused {
        address: link.address().to_owned(),
        user: target.user.clone(),
        identity: target.keys.describe(),
    }))
}

/// Whether the key was taken.
async fn offer(target: &Target, candidate: &Candidate, established: &mut Established) -> Result<bool, Failure> {
    let link = Arc::clone(&established.link);
    let handle = &mut established.handle;
    let broken = |error: String| match link.is_gone() {
        true => Failure::passing(link.lost()),
        false => Failure::final_(link.protocol(error)),
    };
    // SHA-1 signatures are refused by every server of the last years; SHA-2 is what a silent one will know.
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
            // An agent that has gone meanwhile, or whose user says no, has no key: the next may do.
            let Ok(mut agent) = login::agent(socket).await else { return Ok(false) };
            match handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await {
                Ok(result) => result,
                Err(_) if link.is_gone() => return Err(Failure::passing(link.lost())),
                Err(_) => return Ok(false),
            }
        }
    };
    match result {
        AuthResult::Success => Ok(true),
        // `russh` reports a session that ended as a failure without methods to go on with.
        AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() && link.is_gone() => {
            Err(Failure::passing(link.lost()))
        }
        AuthResult::Failure { .. } => Ok(false),
    }
}

/// A second hold on the socket, to cut it off when an attempt is given up.
///
/// `russh` runs the session in a task of its own; dropping the future that waits for it leaves the task, and its socket,
/// waiting for a server that may never answer.
struct Severing(Option<std::net::TcpStream>);

impl Severing {
    fn of(stream: TcpStream) -> std::io::Result<(TcpStream, Self)> {
        let stream = stream.into_std()?;
        let second = stream.try_clone()?;
        Ok((TcpStream::from_std(stream)?, Self(Some(second))))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Severing {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

/// What was heard of the server before the keys were exchanged.
#[derive(Default)]
struct Heard(Mutex<Greeting>);

#[derive(Default)]
struct Greeting {
    greeting: Vec<u8>,
    /// The host key that was turned down.
    rejected: Option<Rejected>,
}

/// A host key that was turned down.
struct Rejected {
    /// Its fingerprint.
    shown: String,
    /// The file that says that it was withdrawn, if one does.
    revoked_in: Option<String>,
}

impl Greeting {
    fn spoke_ssh(&self) -> bool {
        self.greeting.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"SSH-"))
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Greeting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads after which the kernel is asked to acknowledge at once.
///
/// OpenSSH's server leaves Nagle's algorithm on until the first session runs, and announces its host keys just before that
/// session is confirmed: the confirmation then waits for our acknowledgement, which the kernel would hold back for 40 ms.
const PROMPT_READS: usize = 32;

/// A socket that keeps the first bytes that were read from it.
struct Listening {
    inner: TcpStream,
    heard: Arc<Heard>,
    prompt: usize,
}

impl AsyncRead for Listening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.prompt == 0 || result.is_pending() {
            return result;
        }
        self.prompt -= 1;
        // Holds only until the kernel thinks otherwise, so it is asked again; a socket without the option is slower.
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

impl AsyncWrite for Listening {
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

/// Our side of a session's callbacks.
pub(super) struct Client {
    link: Arc<Link>,
    heard: Arc<Heard>,
    expected: Expected,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let rejected = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } if self.expected.accepts(key) => return Ok(true),
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                Rejected { shown: keys::shown(key), revoked_in: self.expected.revoked_in(key).map(str::to_owned) }
            }
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

// Also runs where `russh` forgets to call `disconnected`: when shutting down a reset socket fails.
impl Drop for Client {
    fn drop(&mut self) {
        self.link.end();
    }
}
