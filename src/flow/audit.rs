//! Comparing the journal with what really exists, both ways.

pub mod fix;
pub mod forget;
pub mod remaining;

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::machine::Machine;
use model::resource::{ObservedResource, Resource, ResourceKind, ResourceState};
use model::run::{RunRecord, RunState};
use serde::{Deserialize, Serialize};

/// Why something still exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A living run is using it.
    InUse,
    /// Its run has come to its end, and a process is seeing to the end of its machines.
    Releasing,
    /// It was kept on purpose and its expiry is ahead.
    Kept,
    /// Its driver is dead or has ended, or its machine was kept and has ended without it: nobody will release it.
    Orphaned,
    /// It was kept on purpose and its expiry has passed.
    Expired,
    /// It exists, and the journal does not know it.
    Unrecorded,
    /// Its expiry is ahead, and it is not in the journal, or it says that another computer made it with a copy of this
    /// state directory: a driver there may be at work on it. It is ended only when the user gives its id.
    Elsewhere,
    /// The journal has it open, and it does not exist.
    Vanished,
}

impl Standing {
    /// Whether there is nothing to do about it: somebody uses it, kept it, or is removing it.
    pub fn is_wanted(self) -> bool {
        matches!(self, Self::InUse | Self::Releasing | Self::Kept)
    }

    /// Whether it is there, or may be, and nothing known here wants it.
    pub fn is_unwanted(self) -> bool {
        !self.is_wanted() && self != Self::Vanished
    }

    /// Whether `audit --fix` deals with it.
    pub fn is_fixable(self) -> bool {
        !self.is_wanted() && self != Self::Elsewhere
    }
}

impl Finding {
    /// Whether `word` names it: the id of its row, of its machine or of the thing itself, or its name.
    pub fn is_named(&self, word: &str) -> bool {
        [Some(self.id.as_str()), Some(self.machine.as_str()), Some(self.name.as_str()), self.locator.as_deref()]
            .contains(&Some(word))
    }

    /// Whether `audit --fix` with the words `named` deals with it; without words it deals with everything that nobody
    /// uses.
    pub fn is_to_go(&self, named: &[String]) -> bool {
        match named.is_empty() {
            true => self.standing.is_fixable(),
            false => {
                let may = self.standing.is_fixable() || self.standing == Standing::Elsewhere;
                may && named.iter().any(|word| self.is_named(word))
            }
        }
    }
}

/// One thing that remains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The row's id, or `KIND:NAME` of a thing that has no row.
    pub id: String,
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name.
    pub name: String,
    /// The system's name for it.
    pub locator: Option<String>,
    /// The machine that it belongs to.
    pub machine: MachineId,
    /// The run that made it, when known.
    pub run: Option<RunId>,
    /// Why it still exists.
    pub standing: Standing,
    /// When its machine ends by itself at the latest, where that is known.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// The last thing that went wrong with it.
    pub note: Option<String>,
}

/// Everything that is known of the world: rows, runs, machines and what a look at the system showed.
pub struct World<'a> {
    /// The open rows.
    pub open: &'a [Resource],
    /// The things that were seen.
    pub observed: &'a [ObservedResource],
    /// The runs that the rows name.
    pub runs: &'a [RunRecord],
    /// The open rows whose resources the look could not have seen, had they existed.
    pub unseen: &'a BTreeSet<ResourceId>,
    /// The stored machines.
    pub machines: &'a [Machine],
    /// The runs whose driver is alive.
    pub alive: &'a BTreeSet<RunId>,
    /// The time.
    pub now: Timestamp,
}

/// Decides what remains and why, without I/O.
pub fn findings(world: &World<'_>) -> Vec<Finding> {
    let rows = world.open.iter().map(|row| judge_row(world, row));
    let known: BTreeSet<(&str, &str)> = world.open.iter().map(|row| (row.kind.name(), row.name.as_str())).collect();
    let strangers = world.observed.iter().filter(|seen| !known.contains(&(seen.kind.name(), seen.name.as_str())));
    rows.chain(strangers.map(|seen| judge_stranger(seen, world.now))).collect()
}

fn judge_row(world: &World<'_>, row: &Resource) -> Finding {
    let seen = world.observed.iter().find(|seen| seen.kind == row.kind && seen.name == row.name);
    let stored = world.machines.iter().find(|machine| machine.id == row.machine);
    let standing = standing(world, row, seen);
    // Nobody renews the lease of what has no driver.
    let lease = seen.and_then(|seen| seen.lease).filter(|_| standing == Standing::Orphaned);
    Finding {
        id: row.id.to_string(),
        kind: row.kind,
        name: row.name.clone(),
        locator: seen.map(|s| s.locator.clone()).or_else(|| row.locator.clone()),
        machine: row.machine.clone(),
        run: Some(row.run.clone()),
        standing,
        expires_at: lease.or_else(|| stored.map(|machine| machine.expires_at)).or_else(|| seen?.expires_at),
        note: row.explanation(),
    }
}

fn standing(world: &World<'_>, row: &Resource, seen: Option<&ObservedResource>) -> Standing {
    if world.alive.contains(&row.run) {
        let has_ended = world.runs.iter().any(|run| run.id == row.run && run.has_ended());
        return if has_ended { Standing::Releasing } else { Standing::InUse };
    }
    // Mounts and namespaces live inside the machine: they exist as long as its process, which is looked for as well.
    let inside = matches!(row.kind, ResourceKind::Mount | ResourceKind::Namespace);
    let is_machine = |seen: &ObservedResource| seen.machine == row.machine && seen.kind.is_machine();
    let machine_seen = world.observed.iter().any(is_machine);
    let looked = !world.unseen.contains(&row.id);
    if looked && seen.is_none() && !(inside && machine_seen) {
        return Standing::Vanished;
    }
    // A machine whose release failed is stored as well: only a machine that was left on purpose counts. What one leaves that ended without
    // its end being seen to, as when its guard was killed, was not kept for anything.
    let has_ended = looked && !machine_seen && !row.provider.machines_stay();
    let kept = world.machines.iter().find(|machine| machine.id == row.machine && machine.kept && !has_ended);
    // A run that is recorded as running although its driver is dead never reported the machine that it meant to leave.
    let reported = world.runs.iter().any(|run| run.id == row.run && run.state != RunState::Running);
    match kept {
        Some(machine) if reported && machine.expires_at > world.now => Standing::Kept,
        Some(_) if reported => Standing::Expired,
        // The row came here with a copy of the journal, and the driver that it names lives on another computer.
        _ if seen.is_some_and(|seen| seen.elsewhere && expiry_ahead(seen, world.now).is_some()) => Standing::Elsewhere,
        _ => Standing::Orphaned,
    }
}

/// The time at which a thing ends by itself, if that is still ahead.
fn expiry_ahead(seen: &ObservedResource, now: Timestamp) -> Option<Timestamp> {
    seen.expires_at.filter(|expires| *expires > now)
}

fn judge_stranger(seen: &ObservedResource, now: Timestamp) -> Finding {
    let ahead = expiry_ahead(seen, now);
    Finding {
        id: format!("{}:{}", seen.kind.name(), seen.name),
        kind: seen.kind,
        name: seen.name.clone(),
        locator: Some(seen.locator.clone()),
        machine: seen.machine.clone(),
        run: None,
        standing: if ahead.is_some() { Standing::Elsewhere } else { Standing::Unrecorded },
        expires_at: seen.lease.or(seen.expires_at),
        note: ahead.map(|at| format!("not in the journal here, and it ends by itself at {at:.0} at the latest")),
    }
}

/// Splits `found` into the rows to close, because nothing of their machine exists any more, and the rest.
///
/// While anything of a machine exists, something may still be making or ending it, so a row whose resource was not seen
/// stays open.
pub fn split_gone(found: Vec<Finding>, observed: &[ObservedResource]) -> (Vec<Finding>, Vec<Finding>) {
    let exists = |machine: &MachineId| observed.iter().any(|seen| seen.machine == *machine);
    found.into_iter().partition(|finding| finding.standing == Standing::Vanished && !exists(&finding.machine))
}

/// Whether a thing that no open row names was released between the look at the system, which began at `looked`, and the
/// reading of the journal; `rows` are all rows of its machine.
pub fn was_released_meanwhile(finding: &Finding, rows: &[Resource], looked: Timestamp) -> bool {
    let same = |row: &&Resource| row.kind == finding.kind && row.name == finding.name;
    matches!(finding.standing, Standing::Unrecorded | Standing::Elsewhere)
        && rows.iter().filter(same).any(|row| row.gone_at.is_some_and(|gone| gone >= looked))
}

/// The row that a thing without a row would have, so that the ordinary release can remove it.
pub fn as_row(finding: &Finding, run: &RunId, provider: model::machine::ProviderKind, now: Timestamp) -> Resource {
    Resource {
        id: model::base::id::ResourceId::random(),
        run: run.clone(),
        machine: finding.machine.clone(),
        provider,
        kind: finding.kind,
        name: finding.name.clone(),
        locator: finding.locator.clone(),
        state: ResourceState::Present,
        planned_at: now,
        gone_at: None,
        note: None,
    }
}
