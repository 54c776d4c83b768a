//! Names for machines that people use by hand: no two that live have the same.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::base::name::MachineName;
use model::fault::Fault;
use model::journal::MachineJournal;
use model::machine::Machine;

/// Refuses a name that a machine has which lives.
pub fn refuse_taken(journal: &(impl MachineJournal + ?Sized), name: &MachineName, now: Timestamp) -> Result<(), Fault> {
    let machines = journal.machines()?;
    let Some(other) = living(&machines, now).find(|machine| machine.name.as_ref() == Some(name)) else { return Ok(()) };
    Err(Fault::usage(format!(
        "`{name}` is the name of machine {}, which lives until {:.0}",
        other.id, other.expires_at
    ))
    .hint("Give another name, or none: then one is made up."))
}

/// Gives the stored `machine` the name that is `wanted`, else one that is made up; gives the machine with it. Others may name theirs
/// at the same time: who comes second sees the other's, and takes another name, or fails where this one was wanted.
pub fn name(
    journal: &(impl MachineJournal + ?Sized),
    machine: &Machine,
    wanted: Option<&MachineName>,
    now: Timestamp,
) -> Result<Machine, Fault> {
    loop {
        let name = match wanted {
            Some(name) => name.clone(),
            None => MachineName::random(&taken(journal, machine, now)?),
        };
        let named = Machine { name: Some(name.clone()), ..machine.clone() };
        journal.store_machine(&named)?;
        if !taken(journal, machine, now)?.contains(&name) {
            return Ok(named);
        }
        if wanted.is_some() {
            let fault = format!("`{name}` was given to another machine meanwhile");
            return Err(Fault::usage(fault).hint("Give another name, or none: then one is made up."));
        }
    }
}

/// The names of all machines that live, but for that of `machine`.
fn taken(
    journal: &(impl MachineJournal + ?Sized),
    machine: &Machine,
    now: Timestamp,
) -> Result<BTreeSet<MachineName>, Fault> {
    let machines = journal.machines()?;
    let others = living(&machines, now).filter(|other| other.id != machine.id);
    Ok(others.filter_map(|other| other.name.clone()).collect())
}

/// Those of `machines` that have not expired.
fn living(machines: &[Machine], now: Timestamp) -> impl Iterator<Item = &Machine> {
    machines.iter().filter(move |machine| machine.expires_at > now)
}
