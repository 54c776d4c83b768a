//! How things stand, in one look: the machines that are there with what they cost, and what of earlier work waits to be removed.

use jiff::Timestamp;
use model::event::AccountEvent;
use model::fault::Fault;
use model::machine::{Machine, ProviderKind, Sighting};

use crate::audit::Finding;
use crate::audit::remaining::remaining_by_record;
use crate::down;
use crate::look::Estate;

/// A stored machine, and how it stands.
#[derive(Debug)]
pub struct MachineStatus {
    /// The machine.
    pub machine: Machine,
    /// Whether a living run is using it.
    pub used: bool,
    /// Whether its run has come to its end, and a process is seeing to the end of the machine.
    pub ending: bool,
    /// US dollars so far, where that is known.
    pub cost: Option<f64>,
    /// The price of an hour more, in US dollars, where it is known.
    pub per_hour: Option<f64>,
}

/// How a machine stands, in a word; `used` says whether a living run is using it.
pub fn standing(machine: &Machine, used: bool, now: Timestamp) -> &'static str {
    match (used, machine.kept, machine.expires_at > now) {
        (true, _, _) => "in use",
        (false, _, false) => "expired",
        (false, true, true) => "kept",
        (false, false, true) => "orphaned",
    }
}

/// How things stand.
#[derive(Debug)]
pub struct Overview {
    /// The stored machines, newest first.
    pub machines: Vec<MachineStatus>,
    /// What the record says is left, and that nobody uses.
    pub left: Vec<Finding>,
}

/// Looks, without a call of a provider whose machines cost nothing. A provider that cannot be asked is reported, and what its
/// machines cost is not known then.
pub async fn overview(estate: &Estate<'_>) -> Result<Overview, Fault> {
    let stored = Machine::each_once(estate.journal.machines()?);
    let unused = down::unused(estate)?;
    let costs = stored.iter().any(|machine| machine.provider.costs());
    let seen = if costs { survey(estate).await } else { Vec::new() };
    let mut machines = Vec::new();
    for machine in stored {
        let sighting = seen.iter().find(|sighting| sighting.id == machine.id.as_str());
        let per_hour = match sighting {
            Some(_) => per_hour(estate, &machine).await,
            None => None,
        };
        let cost = sighting.and_then(|sighting| sighting.cost);
        let run = estate.journal.run(&machine.run)?;
        let ending = run.is_some_and(|run| run.has_ended() && estate.is_driven(&run));
        machines.push(MachineStatus { used: !unused.contains(&machine), ending, machine, cost, per_hour });
    }
    Ok(Overview { machines, left: remaining_by_record(estate)? })
}

/// The machines that providers list which cost something; none where they cannot be asked, which is reported.
async fn survey(estate: &Estate<'_>) -> Vec<Sighting> {
    let seen = async { estate.survey(&estate.look_where_possible().await?).await };
    match seen.await {
        Ok(seen) => seen.into_iter().filter(|(kind, _)| kind.costs()).map(|(_, sighting)| sighting).collect(),
        Err(fault) => {
            let provider = estate.sites.chosen_provider().unwrap_or(ProviderKind::Local).name().to_owned();
            estate.teller.tell(AccountEvent::NotLookedAt { provider, failure: (&fault).into() });
            Vec::new()
        }
    }
}

async fn per_hour(estate: &Estate<'_>, machine: &Machine) -> Option<f64> {
    let site = estate.sites.site(machine.provider).await.ok()?;
    Some(site.price(machine, &estate.teller).await?.per_hour())
}
