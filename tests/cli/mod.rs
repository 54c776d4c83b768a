//! The real binary, end to end: what a user types, what comes out, and that nothing is left.

mod attach;
mod bad_input;
mod chaos;
mod chosen;
mod completions;
mod config;
mod confinement;
mod declared;
mod demo;
mod distros;
mod features;
mod fleet;
mod full_disk;
mod hosts;
mod images;
mod install;
mod interrupts;
mod kills;
mod live;
mod machines;
mod manual;
mod matrix;
mod newest;
mod outputs;
mod packages;
mod past;
mod pictures;
mod publish;
mod report;
mod run;
mod runners;
mod runs;
mod shards;
mod snapshots;
mod standin;
mod status;
mod suite;
mod tunnel;
mod uninstall;
mod upgrade;
mod users;
mod version;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by tests that need both processors for themselves for many seconds, so that their deadlines hold.
fn alone() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}
