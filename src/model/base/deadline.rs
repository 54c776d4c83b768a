//! Every wait has a deadline, a poll interval and a sentence that says what it waits for.

use std::future::Future;
use std::time::{Duration, Instant};

/// A point in time by which something must have happened, and what that is.
#[derive(Debug, Clone)]
pub struct Deadline {
    at: Instant,
    limit: Duration,
    awaited: String,
}

/// The deadline passed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("waited {limit:?} for {awaited}")]
pub struct Expired {
    /// How long the wait was.
    pub limit: Duration,
    /// The awaited thing, for example `` `sshd` to answer``.
    pub awaited: String,
}

impl Deadline {
    /// `limit` from now, waiting for `awaited` (a fragment that completes "waited 5s for").
    pub fn after(limit: Duration, awaited: impl Into<String>) -> Self {
        Self { at: Instant::now() + limit, limit, awaited: awaited.into() }
    }

    /// The time that is left; zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The error to report once the deadline has passed.
    pub fn expired(&self) -> Expired {
        Expired { limit: self.limit, awaited: self.awaited.clone() }
    }

    /// Runs `future` until it ends or the deadline passes; a future that is cut off is dropped.
    pub async fn bound<T>(&self, future: impl Future<Output = T>) -> Result<T, Expired> {
        tokio::time::timeout(self.remaining(), future).await.map_err(|_| self.expired())
    }

    /// Asks `probe` every `interval` until it answers `Some`.
    pub async fn poll<T, F, Fut>(&self, interval: Duration, mut probe: F) -> Result<T, Expired>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Option<T>>,
    {
        self.bound(async {
            loop {
                if let Some(found) = probe().await {
                    return found;
                }
                tokio::time::sleep(interval).await;
            }
        })
        .await
    }
}

/// Pauses that double: short at first, for waits that are over soon, and longer for waits that take their time.
#[derive(Debug, Clone)]
pub struct Pace {
    next: Duration,
    longest: Duration,
}

impl Pace {
    /// Pauses that begin with `first` and grow up to `longest`.
    pub fn new((first, longest): (Duration, Duration)) -> Self {
        Self { next: first, longest }
    }

    /// How long the next pause will be.
    pub fn next(&self) -> Duration {
        self.next
    }

    /// Waits, and doubles the next pause.
    pub async fn pause(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest() {
        let (began, mut pace) =
            (tokio::time::Instant::now(), Pace::new((Duration::from_secs(1), Duration::from_secs(3))));
        for whole in [1, 3, 6, 9] {
            pace.pause().await;
            assert_eq!(began.elapsed().as_secs(), whole);
        }
        assert_eq!(pace.next(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn says_what_it_waited_for() {
        let deadline = Deadline::after(Duration::from_millis(20), "the machine to answer");
        let error = deadline.poll(Duration::from_millis(5), || async { None::<()> }).await.unwrap_err();
        assert_eq!(error.to_string(), "waited 20ms for the machine to answer");
    }
}
