//! Machines that are written down without having been made by a command. Part of several benches, beside `state`.

use std::path::Path;

use model::machine::Machine;

use super::state::{open, record};

/// Writes machines of one run down, as `machine up` would.
pub(crate) fn store(state: &Path, machines: &[Machine]) {
    let context = open(state, None);
    let Some(first) = machines.first() else { return };
    context.journal.store_run(&record(&context, &first.run)).unwrap();
    machines.iter().for_each(|machine| context.journal.store_machine(machine).unwrap());
}
