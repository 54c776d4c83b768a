//! Ending machines on somebody's word, whichever run made them.

use model::base::id::RunId;
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::Machine;
use model::provider::Provider;
use model::resource::Resource;
use model::run::RunRecord;
use model::work::Work;

use crate::look::Estate;
use crate::release::{ReleaseScope, release};
use crate::site::observe;

/// The fate of a machine that was to end.
#[derive(Debug)]
pub enum Ended {
    /// Nothing is left of it, and that is written down.
    Gone,
    /// Nothing is left of it, but there was no room to write that down.
    Unwritten,
    /// These stay, each with its reason as a note.
    Stays(Vec<Resource>),
    /// It could not be removed, or that could not be written down.
    Failed(Fault),
}

/// The run that is using each of `machines`: one that is driven, or whose tests were left to the machine; none where no run is.
pub fn users(estate: &Estate<'_>, machines: &[Machine]) -> Result<Vec<Option<RunId>>, Fault> {
    let records: Vec<Machine> =
        estate.journal.machines()?.into_iter().filter(|machine| machine.provider.machines_stay()).collect();
    machines.iter().map(|machine| user(estate, &records, machine)).collect()
}

/// The run that is using a machine. A run that did not make it has a record of its own of it, one of `records`.
fn user(estate: &Estate<'_>, records: &[Machine], machine: &Machine) -> Result<Option<RunId>, Fault> {
    let found = records.iter().filter(|record| record.address == machine.address);
    for there in found.chain([machine]) {
        if estate.journal.run(&there.run)?.is_some_and(|run| is_used(estate, &run, there)) {
            return Ok(Some(there.run.clone()));
        }
    }
    Ok(None)
}

/// The first of `machines` that a run is using, and that run.
pub fn used<'a>(estate: &Estate<'_>, machines: &'a [Machine]) -> Result<Option<(&'a Machine, RunId)>, Fault> {
    let users = users(estate, machines)?;
    Ok(machines.iter().zip(users).find_map(|(machine, user)| Some((machine, user?))))
}

/// The stored machines that no living run is using, newest first.
pub fn unused(estate: &Estate<'_>) -> Result<Vec<Machine>, Fault> {
    let machines = estate.journal.machines()?;
    let users = users(estate, &machines)?;
    Ok(machines.into_iter().zip(users).filter_map(|(machine, user)| user.is_none().then_some(machine)).collect())
}

fn is_used(estate: &Estate<'_>, run: &RunRecord, machine: &Machine) -> bool {
    run.is_running(estate.alive, Some(machine), estate.teller.now())
}

/// The resources of a machine that [`down`] would remove, oldest first.
pub fn rows(estate: &Estate<'_>, machine: &Machine) -> Result<Vec<Resource>, Fault> {
    let filter = ResourceFilter { machine: Some(machine.id.clone()), open: true, ..ResourceFilter::default() };
    estate.journal.resources(&filter)
}

/// Ends `machines` and removes all that belongs to them: all of them are asked to end first, then one after the other is
/// seen gone. `report` hears of each as soon as it is over; one that fails does not stop the others.
///
/// `no_room` says whether the journal has no room left: a machine of which nothing exists any more has ended even then.
pub async fn down(
    estate: &Estate<'_>,
    machines: &[Machine],
    no_room: &(dyn Fn() -> bool + Sync),
    report: &mut (dyn FnMut(&Machine, Ended) + Send),
) -> Result<(), Fault> {
    let mut asked = Vec::new();
    for machine in machines {
        asked.extend(rows(estate, machine)?.into_iter().filter(|row| row.kind.is_machine()));
    }
    estate.end_together(asked).await?;
    for machine in machines {
        let releasing = estate.teller.begin(Work::Releasing { machine: machine.id.clone() });
        let ended = end(estate, machine, no_room).await.unwrap_or_else(Ended::Failed);
        if matches!(ended, Ended::Gone | Ended::Unwritten) {
            releasing.finish();
        }
        report(machine, ended);
    }
    Ok(())
}

async fn end(estate: &Estate<'_>, machine: &Machine, no_room: &(dyn Fn() -> bool + Sync)) -> Result<Ended, Fault> {
    let rows = rows(estate, machine)?;
    let provider = estate.sites.site(machine.provider).await?.provider;
    let clock = || estate.teller.now();
    match release(provider.as_ref(), estate.journal, rows.clone(), ReleaseScope::All, &clock).await {
        Err(_) if no_room() && is_gone(provider.as_ref(), machine, &rows).await? => Ok(Ended::Unwritten),
        Err(fault) => Err(fault),
        Ok(remaining) if remaining.is_empty() => {
            estate.journal.forget_machine(&machine.id)?;
            Ok(Ended::Gone)
        }
        Ok(remaining) => Ok(Ended::Stays(remaining)),
    }
}

/// Whether the provider shows that nothing of the machine exists any more.
async fn is_gone(provider: &dyn Provider, machine: &Machine, rows: &[Resource]) -> Result<bool, Fault> {
    let observed = observe(provider, rows).await?;
    Ok(observed.iter().all(|seen| seen.machine != machine.id))
}
