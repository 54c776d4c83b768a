//! The state of one transport: whether it is alive, and how it broke.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::connection::ConnectionError;
use tokio_util::sync::CancellationToken;

/// The state that everything on one transport shares.
///
/// `russh` announces the end of a session in three ways (a callback, a dropped handler, a closed queue), and none of
/// them reaches a task that waits on a full window; so the handler's own drop is the one signal that every wait races
/// with.
pub(super) struct Link {
    address: String,
    gone: CancellationToken,
    reason: Mutex<Option<String>>,
    /// The shortest time in which an answer came, in nanoseconds; `u64::MAX` before the first answer.
    distance: AtomicU64,
}

impl Link {
    pub(super) fn new(address: String) -> Self {
        Self { address, gone: CancellationToken::new(), reason: Mutex::new(None), distance: AtomicU64::new(u64::MAX) }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Records how long an answer took, from which the distance of the other side follows.
    pub(super) fn record_round_trip(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.distance.fetch_min(time, Ordering::Relaxed);
    }

    /// About one round trip; `None` before the first answer.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let time = self.distance.load(Ordering::Relaxed);
        (time != u64::MAX).then(|| Duration::from_nanos(time))
    }

    fn slot(&self) -> MutexGuard<'_, Option<String>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the first reason: later ones are consequences.
    pub(super) fn blame(&self, reason: String) {
        self.slot().get_or_insert(reason);
    }

    /// Declares the transport dead.
    pub(super) fn end(&self) {
        self.gone.cancel();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Waits until the transport is dead.
    pub(super) async fn wait_until_gone(&self) {
        self.gone.cancelled().await;
    }

    /// The reason why the transport broke, as far as it is known.
    pub(super) fn reason(&self) -> String {
        self.slot().clone().unwrap_or_else(|| "the other side closed the connection".to_owned())
    }

    pub(super) fn lost_error(&self) -> ConnectionError {
        ConnectionError::Lost { address: self.address.clone(), reason: self.reason() }
    }

    pub(super) fn protocol_error(&self, reason: impl Into<String>) -> ConnectionError {
        ConnectionError::Protocol { address: self.address.clone(), reason: reason.into() }
    }
}
