//! What all machines of a run share while its tests are under way, in whatever cell they work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use model::fault::Fault;
use model::machine::Machine;
use tokio::sync::Notify;

use crate::lease::until_stopped;
use crate::run::Run;

/// All machines of a run.
pub(super) struct Crew {
    /// How many machines have not come to their first test, and who waits for that.
    unready: AtomicUsize,
    ready: Notify,
    /// Whether the run was announced, where it is left.
    announced: tokio::sync::Mutex<Option<bool>>,
}

/// A thing that is counted once.
#[derive(Debug, Default)]
pub(super) struct Counted(AtomicBool);

impl Counted {
    /// Whether this is the first time.
    fn is_new(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

impl Crew {
    /// So many machines.
    pub(super) fn new(machines: usize) -> Self {
        Self { unready: AtomicUsize::new(machines), ready: Notify::new(), announced: tokio::sync::Mutex::new(None) }
    }

    /// One place for a machine is at its first test, or never will be.
    pub(super) fn is_ready(&self, place: &Counted) {
        if place.is_new() {
            self.unready.fetch_sub(1, Ordering::SeqCst);
            self.ready.notify_waiters();
        }
    }

    /// Waits until every machine is at its first test, or known to come to none.
    pub(super) async fn until_all_are_ready(&self, run: &Run) -> Result<(), Fault> {
        loop {
            let ready = self.ready.notified();
            if self.unready.load(Ordering::SeqCst) == 0 {
                return Ok(());
            }
            until_stopped(run, async {
                ready.await;
                Ok(())
            })
            .await?;
        }
    }

    /// Announces the run, whose first tests go on on `machine`, unless another machine did; gives whether it is announced. The fault is
    /// that of the machine that tried.
    pub(super) async fn announce(
        &self,
        machine: &Machine,
        announce: &(dyn Fn(&Machine) -> Result<(), Fault> + Sync),
    ) -> Result<bool, Fault> {
        let mut announced = self.announced.lock().await;
        if let Some(announced) = *announced {
            return Ok(announced);
        }
        let told = announce(machine);
        *announced = Some(told.is_ok());
        told.map(|()| true)
    }
}
