//! Turns to make a build that several machines of a run wait for: one makes it, and the others take it from there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::build::Build;
use model::event::Teller;
use model::exit::Exit;
use model::work::Work;
use tokio::sync::OwnedMutexGuard;

/// How a build failed: its exit and its last output.
pub type BuildFailure = (Exit, String);

/// The builds that machines of one run make, by their keys. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<BTreeMap<String, Slot>>>);

/// Held while the build is made; has its failure, which is that of every machine: they have the same source and the same image.
type Slot = Arc<tokio::sync::Mutex<Option<BuildFailure>>>;

/// The turn to make one build.
pub(super) type Turn = OwnedMutexGuard<Option<BuildFailure>>;

impl Turns {
    /// Waits for the turn to make a build, and says so where that takes any time.
    pub(super) async fn take(&self, teller: &Teller, key: &str, build: &Build) -> Turn {
        let slot = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key.to_owned()).or_default());
        match Arc::clone(&slot).try_lock_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let waiting = teller.begin(Work::WaitingForBuild { what: build.what.clone() });
                let turn = slot.lock_owned().await;
                waiting.finish();
                turn
            }
        }
    }
}
