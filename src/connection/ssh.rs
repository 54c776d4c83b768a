//! SSH: the connector, and connections that carry any number of commands and copies.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use russh::client::{self, Msg};
use russh::{Channel, ChannelMsg, ChannelOpenFailure, Disconnect, Preferred, cipher, kex};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::base::deadline::{Deadline, Pace};
use crate::connection::handshake::{Established, Target, attempt};
use crate::connection::host_key::Expected;
use crate::connection::lane::Lane;
use crate::connection::large::{self, LARGE};
use crate::connection::link::Link;
use crate::connection::login::{Candidates, Keyring, Login};
use crate::connection::process::SshProcess;
use crate::connection::sftp::Sftp;
use crate::connection::tree;
use crate::model::connection::{Connection, ConnectionError, Connector, Parcel, Process, Progress, Totals};
use crate::model::machine::Machine;
use crate::model::task::Command;

/// How long a peer may be silent before it is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How many such questions may stay unanswered; the next interval ends the connection.
const KEEPALIVE_MISSES: usize = 3;

/// Sessions on one transport. OpenSSH allows ten by default, and counts one a moment longer than we do. More commands than
/// this open a further transport.
const SESSIONS: usize = 8;

/// How long the other side may take to open a session, and a further transport to come up.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// How long the other side may take to put away a session that has ended here, where it allows no second beside it.
const CLOSING_LIMIT: Duration = Duration::from_secs(5);

/// How long one attempt of a patient caller may take: something that accepts connections before the machine is up must
/// not use up the whole limit.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(15);

/// The pause between attempts starts at the first and doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// How long a goodbye may take to reach the transport's task.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

/// Messages of at most 32 KiB that are held for a command whose output is not read.
pub const CHANNEL_MESSAGES: usize = 512;

/// Bytes that the other side may send ahead on one channel.
const WINDOW: u32 = 2 << 20;

/// The largest packet that the other side may send, bytes.
const PACKET: u32 = 32 << 10;

/// What can be chosen about SSH connections; resolved by the caller, never read from the environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a peer may be silent before it is asked for a sign of life.
    pub keepalive: Duration,
    /// How many such questions may stay unanswered.
    pub keepalive_misses: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keepalive: KEEPALIVE, keepalive_misses: KEEPALIVE_MISSES }
    }
}

impl Settings {
    /// How long a silent peer takes to be given up; a minute by default.
    pub fn silence(&self) -> Duration {
        self.keepalive * u32::try_from(self.keepalive_misses + 1).unwrap_or(u32::MAX)
    }

    fn config(&self, expected: &Expected) -> client::Config {
        let mut preferred = Preferred::DEFAULT;
        // The key exchange decides how long a connect takes; curve25519 is the cheapest that every server of the last ten
        // years speaks. The others stay for compatibility.
        preferred.kex = first(&[kex::CURVE25519, kex::CURVE25519_PRE_RFC_8731], &preferred.kex).into();
        // 200 MB of output over loopback, on a processor with AES instructions: 0.44 s with aes128-gcm, 0.55 s with
        // aes256-gcm, 1.39 s with chacha20-poly1305.
        let ciphers = [cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];
        preferred.cipher = first(&ciphers, &preferred.cipher).into();
        preferred.key = expected.order(&preferred.key).into();
        client::Config {
            window_size: WINDOW,
            maximum_packet_size: PACKET,
            channel_buffer_size: CHANNEL_MESSAGES,
            preferred,
            inactivity_timeout: None,
            keepalive_interval: Some(self.keepalive),
            keepalive_max: self.keepalive_misses,
            nodelay: true,
            ..client::Config::default()
        }
    }
}

/// `all`, with `favoured` first.
fn first<T: Clone + PartialEq>(favoured: &[T], all: &[T]) -> Vec<T> {
    let mut order = favoured.to_vec();
    order.extend(all.iter().filter(|name| !favoured.contains(name)).cloned());
    order
}

/// Opens SSH connections.
#[derive(Debug, Clone, Default)]
pub struct SshConnector {
    settings: Settings,
    keyring: Keyring,
}

impl SshConnector {
    /// A connector with these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings, keyring: Keyring::default() }
    }

    /// The same, with more to log in with than the key that is named for a machine.
    #[must_use]
    pub fn with_login(self, login: Login) -> Self {
        Self { keyring: Keyring::new(login), ..self }
    }
}

#[async_trait]
impl Connector for SshConnector {
    async fn connect(
        &self,
        machine: &Machine,
        user: &str,
        limit: Duration,
        patient: bool,
    ) -> Result<Box<dyn Connection>, ConnectionError> {
        let expected = Expected::of(machine)?;
        let mut target = Target {
            address: machine.address.clone(),
            user: user.to_owned(),
            keys: self.keyring.candidates(&machine.identity).await?,
            config: Arc::new(self.settings.config(&expected)),
            expected,
        };
        let established = match reach(&target, limit, patient).await {
            // The last thing to try: whoever is there opens what is locked.
            Err(refused @ ConnectionError::AuthenticationRefused { .. }) if !target.keys.locked.is_empty() => {
                let Some(opened) = self.keyring.unlock(&target.keys.locked).await else { return Err(refused) };
                target.keys = Candidates { offered: vec![opened], locked: Vec::new() };
                reach(&target, limit, patient).await?
            }
            reached => reached?,
        };
        let first = Arc::new(Transport::new(established));
        Ok(Box::new(SshConnection { target, transports: Mutex::new(vec![first]), sftp: Mutex::new(None) }))
    }
}

/// Attempts until one succeeds, fails for good, or the limit is over.
async fn reach(target: &Target, limit: Duration, patient: bool) -> Result<Established, ConnectionError> {
    let end = Instant::now() + limit;
    let mut pace = Pace::new(BACKOFF);
    let mut last: Option<ConnectionError> = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let bound = if patient { left.min(ATTEMPT_LIMIT) } else { left };
        match attempt(target, bound).await {
            Ok(established) => return Ok(established),
            Err(failure) if !patient || !failure.again => return Err(failure.error),
            Err(failure) => {
                // An attempt that was cut short by the end says less than the whole one before it.
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
    Err(insisted(last, target, limit))
}

/// The last reason, with how long it was tried.
fn insisted(last: Option<ConnectionError>, target: &Target, limit: Duration) -> ConnectionError {
    let tried = format!("kept trying for {}", crate::base::text::seconds(limit));
    match last {
        Some(ConnectionError::Refused { address, source }) => {
            let kind = source.as_ref().map_or(std::io::ErrorKind::Other, std::io::Error::kind);
            let reason = source.map_or_else(String::new, |source| format!(": {source}"));
            ConnectionError::Refused { address, source: Some(std::io::Error::new(kind, format!("{tried}{reason}"))) }
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
    handle: client::Handle<super::handshake::Client>,
    link: Arc<Link>,
    /// Places for sessions that nobody has.
    slots: Arc<Semaphore>,
    /// All places, those that somebody has included.
    places: AtomicUsize,
    /// Sessions that were opened on it, ended ones included.
    opened: AtomicUsize,
}

/// Why a session could not be opened.
enum NoSession {
    /// The other side allows no more on this transport.
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
                () = self.link.gone() => Err(russh::Error::Disconnect),
                opened = self.handle.channel_open_session() => opened,
            }
        });
        match opened.await {
            Err(expired) => Err(NoSession::Error(ConnectionError::TimedOut {
                address: self.link.address().to_owned(),
                what: expired.to_string(),
            })),
            Ok(Ok(channel)) => {
                self.link.answered_after(asked.elapsed());
                self.opened.fetch_add(1, Ordering::Relaxed);
                Ok(channel)
            }
            Ok(Err(russh::Error::ChannelOpenFailure(
                ChannelOpenFailure::AdministrativelyProhibited
                | ChannelOpenFailure::ConnectFailed
                | ChannelOpenFailure::ResourceShortage,
            ))) => Err(NoSession::Full),
            Ok(Err(_)) => Err(NoSession::Error(self.link.lost())),
        }
    }
}

/// Bytes a second that a large copy should reach where only the distance is in the way: more than a gigabit network carries
/// and about what one processor encrypts.
const RATE: f64 = 400e6;

/// A live SSH connection.
pub(super) struct SshConnection {
    target: Target,
    /// The first is the connection; the others carry what did not fit on it. None is ever taken out.
    transports: Mutex<Vec<Arc<Transport>>>,
    sftp: Mutex<Option<Arc<Sftp>>>,
}

type Session = (Channel<Msg>, Arc<Link>, OwnedSemaphorePermit);

impl SshConnection {
    pub(super) fn address(&self) -> String {
        self.target.address.to_string()
    }

    /// As many channels with a file server as a large file needs for this distance: on each no more than a window can be under
    /// way, and the other side's is what it is. At least one.
    pub(super) async fn lanes(&self) -> Result<Vec<Lane>, ConnectionError> {
        let (room, distance) = {
            let transports = self.transports.lock().await;
            let live = || transports.iter().filter(|transport| !transport.link.is_gone());
            let room: usize = live().map(|transport| transport.slots.available_permits()).sum();
            (room, live().filter_map(|transport| transport.link.distance()).min().unwrap_or_default())
        };
        let count = (distance.as_secs_f64() * RATE / f64::from(WINDOW)).ceil() as usize;
        // One place is left for a command beside the copy, which would otherwise need a further transport.
        let count = count.clamp(1, room.saturating_sub(1).max(1));
        let opened = join_all((0..count).map(|_| async { Lane::start(self.session().await?).await })).await;
        let (mut lanes, mut last) = (Vec::new(), None);
        for lane in opened {
            match lane {
                Ok(lane) => lanes.push(lane),
                Err(error) => last = Some(error),
            }
        }
        match last {
            // Fewer are slower, and nothing worse.
            Some(error) if lanes.is_empty() => Err(error),
            _ => Ok(lanes),
        }
    }

    /// A session on a transport that has room for one.
    async fn session(&self) -> Result<Session, ConnectionError> {
        let closing = Deadline::after(CLOSING_LIMIT, "the other side to close a session");
        let mut pace = Pace::new(BACKOFF);
        loop {
            let (transport, slot, alone) = self.transport().await?;
            match transport.session().await {
                Ok(channel) => return Ok((channel, Arc::clone(&transport.link), slot)),
                Err(NoSession::Error(error)) => return Err(error),
                Err(NoSession::Full) if alone && transport.opened.load(Ordering::Relaxed) == 0 => {
                    let reason = "it opens no session, not even the first: its `MaxSessions` may be 0";
                    return Err(transport.link.protocol(reason));
                }
                // A session that has ended here is counted there until all is put away.
                Err(NoSession::Full) if alone && !closing.left().is_zero() => {
                    drop(slot);
                    pace.pause().await;
                }
                // A server with a smaller `MaxSessions`: this transport has as many as it will ever have.
                Err(NoSession::Full) => {
                    slot.forget();
                    let fewer = 1 + transport.slots.forget_permits(SESSIONS);
                    transport.places.fetch_sub(fewer, Ordering::Relaxed);
                }
            }
        }
    }

    /// A transport with room, made where there is none; whether it has no other session.
    async fn transport(&self) -> Result<(Arc<Transport>, OwnedSemaphorePermit, bool), ConnectionError> {
        let mut transports = self.transports.lock().await;
        if let Some(first) = transports.first()
            && first.link.is_gone()
        {
            return Err(first.link.lost());
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
        let slot = slot.map_err(|_| transport.link.protocol("it has no room for a session"))?;
        Ok((transport, slot, true))
    }

    /// The file session, opened at first use and again after it broke.
    pub(super) async fn sftp(&self) -> Result<Arc<Sftp>, ConnectionError> {
        let mut kept = self.sftp.lock().await;
        if let Some(sftp) = kept.as_ref()
            && sftp.alive()
        {
            return Ok(Arc::clone(sftp));
        }
        let (channel, link, slot) = self.session().await?;
        let sftp = Arc::new(Sftp::open(channel, link, slot).await?);
        *kept = Some(Arc::clone(&sftp));
        Ok(sftp)
    }
}

/// Asks for a terminal and waits for the answer, which a refusal makes worth waiting for.
async fn request_terminal(
    channel: &mut Channel<Msg>,
    link: &Link,
    terminal: &crate::model::task::Terminal,
) -> Result<(), ConnectionError> {
    let (columns, rows) = (terminal.size.columns, terminal.size.rows);
    channel.request_pty(true, &terminal.kind, columns, rows, 0, 0, &[]).await.map_err(|_| link.lost())?;
    let deadline = Deadline::after(OPEN_LIMIT, "a terminal");
    loop {
        let expired = |expired: crate::base::deadline::Expired| ConnectionError::TimedOut {
            address: link.address().to_owned(),
            what: expired.to_string(),
        };
        match deadline.bound(channel.wait()).await.map_err(expired)? {
            Some(ChannelMsg::Success) => return Ok(()),
            Some(ChannelMsg::Failure) => return Err(link.protocol("it gives no terminal")),
            Some(_) => {}
            None => return Err(link.lost()),
        }
    }
}

#[async_trait]
impl Connection for SshConnection {
    async fn start(&self, command: &Command) -> Result<Box<dyn Process>, ConnectionError> {
        let line = command.to_shell().map_err(|error| ConnectionError::Invalid(error.to_string()))?;
        let (mut channel, link, slot) = self.session().await?;
        if let Some(terminal) = &command.terminal {
            request_terminal(&mut channel, &link, terminal).await?;
        }
        // The answer is left to the process: waiting for it here would cost every command a round trip.
        let asked = match line.is_empty() {
            true => channel.request_shell(true).await,
            false => channel.exec(true, line).await,
        };
        asked.map_err(|_| link.lost())?;
        Ok(Box::new(SshProcess::new(channel, link, slot, command.stdin.clone())))
    }

    async fn write_file(&self, remote: &str, bytes: &[u8], mode: u32) -> Result<(), ConnectionError> {
        self.sftp().await?.write_file(remote, bytes, mode).await
    }

    async fn read_file(&self, remote: &str, cap: u64) -> Result<Vec<u8>, ConnectionError> {
        self.sftp().await?.read_file(remote, cap).await
    }

    async fn upload(&self, local: &Path, remote: &str, progress: Progress<'_>) -> Result<Totals, ConnectionError> {
        // What cannot be looked at is reported by whoever reads it.
        if std::fs::metadata(local).is_ok_and(|found| found.is_file() && found.len() > LARGE) {
            return large::upload(self, local, tree::file_name(remote)?, progress).await;
        }
        tree::upload(self, self.sftp(), local, remote, progress).await
    }

    async fn download(&self, remote: &str, local: &Path, progress: Progress<'_>) -> Result<Totals, ConnectionError> {
        let path = tree::trimmed(remote);
        match tree::download(self, self.sftp(), path, local, progress).await? {
            tree::Found::Tree(totals) => Ok(totals),
            tree::Found::File(_, found) if found.size.is_some_and(|size| size > LARGE) => {
                large::download(self, path, &found, local, progress).await
            }
            tree::Found::File(sftp, found) => {
                let bytes = sftp.download(path, &found, local, tree::LONE_DEPTH, progress).await?;
                Ok(Totals::file(bytes))
            }
        }
    }

    async fn send_parcel(
        &self,
        command: &Command,
        parcel: Parcel<'_>,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError> {
        tree::send(self, command, parcel, progress).await
    }

    async fn upload_some(
        &self,
        local: &Path,
        paths: &[PathBuf],
        remote: &str,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError> {
        tree::put(self, local, paths, remote, progress).await
    }

    async fn download_some(
        &self,
        remote: &str,
        paths: &[PathBuf],
        local: &Path,
        most: u64,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError> {
        tree::pick(self, remote, paths, local, most, progress).await
    }

    async fn close(&self) {
        for transport in self.transports.lock().await.iter() {
            let goodbye = transport.handle.disconnect(Disconnect::ByApplication, "", "");
            if tokio::time::timeout(GOODBYE_LIMIT, goodbye).await.is_ok() {
                let _ = tokio::time::timeout(GOODBYE_LIMIT, transport.link.gone()).await;
            }
        }
    }
}
