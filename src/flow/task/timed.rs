//! A command with a time limit, which its reader uses like any other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::connection::{ConnectionError, Process, Stdin};
use model::exit::Exit;
use model::task::{Chunk, WindowSize};
use tokio::time::Instant;

use crate::fleet::ENDINGS;

/// Ends its command when its time is over, with the signals and the patience of [`crate::fleet`]. Output that still
/// comes meanwhile is passed on.
pub struct Timed {
    /// A process alone cannot be shared between threads, as its readers need; nobody locks this for long.
    process: Mutex<Box<dyn Process>>,
    /// When the next of the endings is due, and how many were sent.
    due: Instant,
    asked: usize,
    over: Arc<AtomicBool>,
}

impl Timed {
    /// Limits a command. The flag says afterwards whether its time was over before it ended.
    pub fn new(process: Box<dyn Process>, limit: Duration) -> (Self, Arc<AtomicBool>) {
        let over = Arc::new(AtomicBool::new(false));
        // A span that the clock cannot add counts as no limit.
        let now = Instant::now();
        let due = now.checked_add(limit).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        (Self { process: Mutex::new(process), due, asked: 0, over: Arc::clone(&over) }, over)
    }

    fn process(&mut self) -> &mut Box<dyn Process> {
        self.process.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Process for Timed {
    async fn next(&mut self) -> Option<Chunk> {
        loop {
            let due = tokio::time::sleep_until(self.due);
            tokio::select! {
                biased;
                chunk = self.process().next() => return chunk,
                () = due => {}
            }
            self.over.store(true, Ordering::Relaxed);
            // A command that heeds no signal is dropped, which closes its channel.
            let (signal, limit) = ENDINGS.get(self.asked)?;
            (self.asked, self.due) = (self.asked + 1, Instant::now() + *limit);
            self.process().signal(signal).await.ok()?;
        }
    }

    fn take_stdin(&mut self) -> Option<Box<dyn Stdin>> {
        self.process().take_stdin()
    }

    async fn resize(&self, _size: WindowSize) -> Result<(), ConnectionError> {
        Err(ConnectionError::Invalid("a command that may take only so long has no terminal".to_owned()))
    }

    async fn signal(&mut self, name: &str) -> Result<(), ConnectionError> {
        self.process().signal(name).await
    }

    fn exit(&self) -> Exit {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).exit()
    }
}
