//! The transports to one machine and the sessions on them. A further transport is opened where no other has room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use model::base::deadline::{Deadline, Pace};
use model::connection::ConnectionError;
use russh::client::{self, Msg};
use russh::{Channel, ChannelOpenFailure, Disconnect};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::handshake::{Client, ConnectTarget, Established, attempt};
use crate::lane::Lane;
use crate::link::Link;
use crate::sftp::Sftp;

/// The number of sessions on one transport. OpenSSH allows ten by default, and counts one a moment longer than we do.
/// Further commands open a further transport.
const SESSIONS: usize = 8;

/// How long the other side may take to close a session that has ended here, where it allows no second one beside it.
const CLOSING_LIMIT: Duration = Duration::from_secs(5);

/// How long one attempt of a patient caller may take: a program that accepts connections before the machine is up must
/// not use up the whole limit.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(15);

/// The pause between attempts: the first value, doubled after each attempt up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// How long the transport's task may take to accept a goodbye, and then to end.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

/// How long the other side may take to open a session, and how long a further transport may take to come up.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// The host that the machine connects to for a stream: itself, at whichever of its addresses a program listens.
const HOST: &str = "localhost";

/// From where a stream comes, as the machine's server is told: it may write that into its log.
const ORIGIN: &str = "127.0.0.1";

/// The number of bytes that the other side may send ahead on one channel.
pub(super) const WINDOW: u32 = 2 << 20;

/// The bytes a second that a large copy should reach where only the round trip limits it: more than a gigabit network
/// carries, and about as many as one processor encrypts.
const RATE: f64 = 400e6;

/// Makes attempts until one succeeds or fails for good, or the limit is over.
pub(super) async fn reach(
    target: &ConnectTarget,
    limit: Duration,
    patient: bool,
) -> Result<Established, ConnectionError> {
    let end = Instant::now() + limit;
    let mut pace = Pace::new(BACKOFF);
    let mut last: Option<ConnectionError> = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let bound = if patient { left.min(ATTEMPT_LIMIT) } else { left };
        match attempt(target, bound).await {
            Ok(established) => return Ok(established),
            Err(failure) if !patient || !failure.retryable => return Err(failure.error),
            Err(failure) => {
                // An attempt that the end of the limit cut short tells less than the whole one before it.
                let cut_short = bound < limit.min(ATTEMPT_LIMIT) / 2;
                match failure.error {
                    ConnectionError::TimedOut { .. } if cut_short && last.is_some() => {}
                    error => last = Some(error),
                }
            }
        }
        if end.saturating_duration_since(Instant::now()) <= pace.next() {
            break;
        }
        pace.pause().await;
    }
    Err(with_time_tried(last, target, limit))
}

/// The last error, with the time for which attempts were made.
fn with_time_tried(last: Option<ConnectionError>, target: &ConnectTarget, limit: Duration) -> ConnectionError {
    let tried = format!("kept trying for {}", model::base::text::seconds(limit));
    match last {
        Some(ConnectionError::Refused { address, source }) => {
            let kind = source.as_ref().map_or(std::io::ErrorKind::Other, std::io::Error::kind);
            let reason = source.map_or_else(String::new, |source| format!(": {source}"));
            ConnectionError::Refused { address, source: Some(std::io::Error::new(kind, format!("{tried}{reason}"))) }
        }
        Some(ConnectionError::NoAddress { host, source }) => {
            let source = std::io::Error::new(source.kind(), format!("{tried}: {source}"));
            ConnectionError::NoAddress { host, source }
        }
        Some(ConnectionError::Lost { address, reason }) => {
            ConnectionError::Lost { address, reason: format!("{reason} ({tried})") }
        }
        Some(error) => error,
        None => ConnectionError::TimedOut { address: target.address.to_string(), what: tried },
    }
}

/// One authenticated SSH transport.
struct Transport {
    handle: client::Handle<Client>,
    link: Arc<Link>,
    /// The free places for sessions.
    slots: Arc<Semaphore>,
    /// The number of all places, free and taken.
    places: AtomicUsize,
    /// The number of sessions that were opened on the transport, ended ones included.
    opened: AtomicUsize,
}

/// Why a session could not be opened.
enum NoSession {
    /// The other side allows no further session on this transport.
    Full,
    Error(ConnectionError),
}

impl Transport {
    fn new(established: Established) -> Self {
        let slots = Arc::new(Semaphore::new(SESSIONS));
        let (places, opened) = (AtomicUsize::new(SESSIONS), AtomicUsize::new(0));
        Self { handle: established.handle, link: established.link, slots, places, opened }
    }

    async fn session(&self) -> Result<Channel<Msg>, NoSession> {
        let deadline = Deadline::after(OPEN_LIMIT, "a session to open");
        let asked = Instant::now();
        let opened = deadline.bound(async {
            tokio::select! {
                biased;
                () = self.link.wait_until_gone() => Err(russh::Error::Disconnect),
                opened = self.handle.channel_open_session() => opened,
            }
        });
        match opened.await {
            Err(expired) => Err(NoSession::Error(ConnectionError::TimedOut {
                address: self.link.address().to_owned(),
                what: expired.to_string(),
            })),
            Ok(Ok(channel)) => {
                self.link.record_round_trip(asked.elapsed());
                self.opened.fetch_add(1, Ordering::Relaxed);
                Ok(channel)
            }
            Ok(Err(russh::Error::ChannelOpenFailure(
                ChannelOpenFailure::AdministrativelyProhibited
                | ChannelOpenFailure::ConnectFailed
                | ChannelOpenFailure::ResourceShortage,
            ))) => Err(NoSession::Full),
            Ok(Err(_)) => Err(NoSession::Error(self.link.lost_error())),
        }
    }

    /// A channel whose other end is a connection of the machine to `port` of its own.
    async fn stream(&self, port: u16) -> Result<Channel<Msg>, ConnectionError> {
        let deadline = Deadline::after(OPEN_LIMIT, "a stream to open");
        let opened = deadline.bound(async {
            tokio::select! {
                biased;
                () = self.link.wait_until_gone() => Err(russh::Error::Disconnect),
                opened = self.handle.channel_open_direct_tcpip(HOST, u32::from(port), ORIGIN, 0) => opened,
            }
        });
        match opened.await {
            Ok(opened) => opened.map_err(|error| refusal(&error, &self.link, port)),
            Err(expired) => {
                Err(ConnectionError::TimedOut { address: self.link.address().to_owned(), what: expired.to_string() })
            }
        }
    }
}

/// The failure of a stream to `port` that could not be opened.
fn refusal(error: &russh::Error, link: &Link, port: u16) -> ConnectionError {
    let russh::Error::ChannelOpenFailure(why) = error else { return link.lost_error() };
    let address = format!("port {port} of the machine");
    match why {
        ChannelOpenFailure::ConnectFailed => ConnectionError::Refused { address, source: None },
        ChannelOpenFailure::AdministrativelyProhibited => ConnectionError::Denied {
            address,
            reason: "its SSH server passes no streams on (`AllowTcpForwarding`, `PermitOpen`)".to_owned(),
        },
        _ => link.protocol_error("it opens no channel for a stream"),
    }
}

/// The transports to one machine, and the sessions on them.
pub(super) struct Pool {
    target: ConnectTarget,
    /// The first transport is the connection; the others carry sessions that did not fit on it. None is ever removed.
    transports: Mutex<Vec<Arc<Transport>>>,
    sftp: Mutex<Option<Arc<Sftp>>>,
}

/// A session, the state of its transport, and its place there.
pub(super) type OpenSession = (Channel<Msg>, Arc<Link>, OwnedSemaphorePermit);

impl Pool {
    /// The pool of a machine whose first transport is up.
    pub(super) fn new(target: ConnectTarget, first: Established) -> Self {
        let first = Arc::new(Transport::new(first));
        Self { target, transports: Mutex::new(vec![first]), sftp: Mutex::new(None) }
    }

    pub(super) fn address(&self) -> String {
        self.target.address.to_string()
    }

    /// As many channels with a file server as a large file needs for this round trip, and at least one: on each channel
    /// no more than a window can be under way, and we cannot enlarge the other side's window.
    pub(super) async fn lanes(&self) -> Result<Vec<Lane>, ConnectionError> {
        let (room, distance) = {
            let transports = self.transports.lock().await;
            let live = || transports.iter().filter(|transport| !transport.link.is_gone());
            let room: usize = live().map(|transport| transport.slots.available_permits()).sum();
            (room, live().filter_map(|transport| transport.link.round_trip()).min().unwrap_or_default())
        };
        let count = (distance.as_secs_f64() * RATE / f64::from(WINDOW)).ceil() as usize;
        // One place is left for a command beside the copy, which would otherwise need a further transport.
        let count = count.clamp(1, room.saturating_sub(1).max(1));
        let opened =
            join_all((0..count).map(|_| async { Lane::start(self.session().await?, self.target.platform).await }))
                .await;
        let (mut lanes, mut last) = (Vec::new(), None);
        for lane in opened {
            match lane {
                Ok(lane) => lanes.push(lane),
                Err(error) => last = Some(error),
            }
        }
        match last {
            // Fewer channels are only slower.
            Some(error) if lanes.is_empty() => Err(error),
            _ => Ok(lanes),
        }
    }

    /// A session on a transport that has room for one.
    pub(super) async fn session(&self) -> Result<OpenSession, ConnectionError> {
        let closing = Deadline::after(CLOSING_LIMIT, "the other side to close a session");
        let mut pace = Pace::new(BACKOFF);
        loop {
            let (transport, slot, alone) = self.transport().await?;
            match transport.session().await {
                Ok(channel) => return Ok((channel, Arc::clone(&transport.link), slot)),
                Err(NoSession::Error(error)) => return Err(error),
                Err(NoSession::Full) if alone && transport.opened.load(Ordering::Relaxed) == 0 => {
                    let reason = "it opens no session, not even the first: its `MaxSessions` may be 0";
                    return Err(transport.link.protocol_error(reason));
                }
                // The other side counts a session that has ended here until it has closed it too.
                Err(NoSession::Full) if alone && !closing.remaining().is_zero() => {
                    drop(slot);
                    pace.pause().await;
                }
                // The server has a smaller `MaxSessions`: this transport gets no places beyond those that are taken
                // now.
                Err(NoSession::Full) => {
                    slot.forget();
                    let fewer = 1 + transport.slots.forget_permits(SESSIONS);
                    transport.places.fetch_sub(fewer, Ordering::Relaxed);
                }
            }
        }
    }

    /// A channel whose other end is a connection of the machine to `port` of its own, on the first transport: a server counts such
    /// channels not among the sessions of one.
    pub(super) async fn stream(&self, port: u16) -> Result<(Channel<Msg>, Arc<Link>), ConnectionError> {
        let first = self.transports.lock().await.first().map(Arc::clone);
        let Some(first) = first else { return Err(ConnectionError::Invalid("there is no connection".to_owned())) };
        let channel = first.stream(port).await?;
        Ok((channel, Arc::clone(&first.link)))
    }

    /// A transport with room, made where there is none, with a place on it; the last value says whether it has no other
    /// session.
    async fn transport(&self) -> Result<(Arc<Transport>, OwnedSemaphorePermit, bool), ConnectionError> {
        let mut transports = self.transports.lock().await;
        if let Some(first) = transports.first()
            && first.link.is_gone()
        {
            return Err(first.link.lost_error());
        }
        for transport in transports.iter().filter(|transport| !transport.link.is_gone()) {
            if let Ok(slot) = Arc::clone(&transport.slots).try_acquire_owned() {
                let alone = transport.slots.available_permits() + 1 == transport.places.load(Ordering::Relaxed);
                return Ok((Arc::clone(transport), slot, alone));
            }
        }
        let transport = Arc::new(Transport::new(reach(&self.target, OPEN_LIMIT, true).await?));
        transports.push(Arc::clone(&transport));
        let slot = Arc::clone(&transport.slots).try_acquire_owned();
        let slot = slot.map_err(|_| transport.link.protocol_error("it has no room for a session"))?;
        Ok((transport, slot, true))
    }

    /// The file session, opened at first use and again after it broke.
    pub(super) async fn sftp(&self) -> Result<Arc<Sftp>, ConnectionError> {
        let mut kept = self.sftp.lock().await;
        if let Some(sftp) = kept.as_ref()
            && sftp.is_alive()
        {
            return Ok(Arc::clone(sftp));
        }
        let (channel, link, slot) = self.session().await?;
        let sftp = Arc::new(Sftp::open(channel, link, slot, self.target.platform).await?);
        *kept = Some(Arc::clone(&sftp));
        Ok(sftp)
    }

    /// Says goodbye on every transport.
    pub(super) async fn close(&self) {
        for transport in self.transports.lock().await.iter() {
            let goodbye = transport.handle.disconnect(Disconnect::ByApplication, "", "");
            if tokio::time::timeout(GOODBYE_LIMIT, goodbye).await.is_ok() {
                let _ = tokio::time::timeout(GOODBYE_LIMIT, transport.link.wait_until_gone()).await;
            }
        }
    }
}
