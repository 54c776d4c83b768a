//! Every command begins by clearing away machines whose driver and guard were both killed, so that nothing of them
//! stays until somebody asks, and by going on with the end of machines that nobody sees to any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use local::sweep::{DeadMachine, Sweeper};
use model::base::clock;
use model::base::id::{MachineId, RunId};
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::ProviderKind;

use crate::compose::{Context, executable};

/// How long this may delay a command; the next command does the rest.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a folder without a row may exist before it counts as left behind: a machine that is being made has rows.
const UNKNOWN: Duration = Duration::from_secs(60);

impl Context {
    /// Clears away dead machines, closes their rows and those of machines that ended by themselves, and starts again what saw to the end
    /// of others. A failure does
    /// not stop the command: `audit` reports what stays.
    pub(super) fn sweep(&self) {
        let Ok(executable) = executable() else { return };
        let sweeper = Sweeper::new(self.state.root(), executable);
        self.clear_away(&sweeper);
        drop(self.close_vanished(&sweeper));
        drop(self.go_on_releasing());
    }

    fn clear_away(&self, sweeper: &Sweeper) {
        let end = Instant::now() + LIMIT;
        for dead in sweeper.dead(self.now()).unwrap_or_default() {
            if Instant::now() > end {
                return;
            }
            let Ok(true) = self.is_abandoned(&dead) else { continue };
            let id = &dead.machine;
            match sweeper.clear(id) {
                None => {
                    self.screen.message(&format!("Cleared away {id}: its driver was dead, and nobody guarded it."));
                    drop(self.close_rows(id, None));
                }
                Some(reason) => drop(self.close_rows(id, Some(&reason))),
            }
        }
    }

    /// Whether no driver will come back for the machine.
    fn is_abandoned(&self, dead: &DeadMachine) -> Result<bool, Fault> {
        let filter = ResourceFilter { machine: Some(dead.machine.clone()), ..ResourceFilter::default() };
        let rows = self.journal.resources(&filter)?;
        let Some(row) = rows.first() else {
            let age = clock::since(dead.since, self.now());
            return Ok(dead.launched || age > UNKNOWN);
        };
        Ok(!self.is_driven(&row.run)?)
    }

    fn is_driven(&self, run: &RunId) -> Result<bool, Fault> {
        Ok(self.journal.run(run)?.is_some_and(|run| state::process::is_driven(&run)))
    }

    /// Closes the rows of machines of which nothing exists any more: a keeper whose driver was killed has no journal to
    /// tell.
    fn close_vanished(&self, sweeper: &Sweeper) -> Result<(), Fault> {
        let open = self.journal.resources(&ResourceFilter { open: true, ..ResourceFilter::default() })?;
        let local = open.iter().filter(|row| row.provider == ProviderKind::Local);
        let runs: BTreeMap<&MachineId, &RunId> = local.map(|row| (&row.machine, &row.run)).collect();
        for machine in sweeper.vanished(runs.keys().map(|&machine| machine.clone()).collect())? {
            // A driver that lives is about to make it, or closes the rows itself.
            if runs.get(&machine).is_some_and(|run| self.is_driven(run).is_ok_and(|driven| !driven)) {
                self.close_rows(&machine, None)?;
            }
        }
        Ok(())
    }

    /// Closes the rows of a machine that is gone, or notes why it is not.
    fn close_rows(&self, machine: &MachineId, reason: Option<&str>) -> Result<(), Fault> {
        let filter = ResourceFilter { machine: Some(machine.clone()), open: true, ..ResourceFilter::default() };
        for row in self.journal.resources(&filter)? {
            match reason {
                None => self.journal.mark_gone(&row.id, self.now())?,
                Some(reason) => self.journal.note(&row.id, reason)?,
            }
        }
        if reason.is_none() { self.journal.forget_machine(machine) } else { Ok(()) }
    }
}
