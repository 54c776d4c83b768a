//! Finding what remains of everything that was ever made: the sites are looked at and compared with the journal, both
//! ways.

use std::collections::BTreeSet;

use model::base::id::RunId;
use model::fault::Fault;
use model::journal::{ResourceFilter, runs_of};
use model::machine::{Address, Machine, ProviderKind};
use model::resource::{ObservedResource, Resource, ResourceKind};

use crate::audit::{Finding, Standing, World, findings, split_gone, was_released_meanwhile};
use crate::look::{Estate, LookResult};

/// The findings, and everything that was seen.
pub struct Remaining {
    /// The things that remain, in the order of release: processes first, files last.
    pub findings: Vec<Finding>,
    /// Everything that was seen, whether it is ours or not.
    pub observed: Vec<ObservedResource>,
    /// The providers that could not be looked at; by the record nothing of theirs remains.
    pub unasked: Vec<ProviderKind>,
}

/// Finds what remains, of one run or of all, and closes the rows of machines of which nothing exists any more. With
/// `ends_expired`, everybody's machines whose time is over are ended.
pub async fn find_remaining(estate: &Estate<'_>, run: Option<&RunId>, ends_expired: bool) -> Result<Remaining, Fault> {
    let journal = estate.journal;
    // The system is looked at before the journal is read: what a living run makes in between is in the journal by then.
    let looked = estate.teller.now();
    let looks = estate.look().await?;
    if ends_expired {
        estate.end_expired(&looks).await?;
    }
    let mut found = Vec::new();
    for finding in judge(estate, &looks)? {
        let filter = ResourceFilter { machine: Some(finding.machine.clone()), ..ResourceFilter::default() };
        // A living run that released it meanwhile closed its row.
        if finding.run.is_some() || !was_released_meanwhile(&finding, &journal.resources(&filter)?, looked) {
            found.push(finding);
        }
    }
    let mut found = close(estate, found, &looks.observed)?;
    if let Some(run) = run {
        found.retain(|finding| finding.run.as_ref() == Some(run));
    }
    // Processes first, files last: the order of release.
    found.reverse();
    found.sort_by_key(|finding| !finding.kind.is_machine());
    Ok(Remaining { findings: found, observed: looks.observed, unasked: looks.unasked })
}

/// What remains and nobody uses, by the record alone: nothing is looked at.
pub fn remaining_by_record(estate: &Estate<'_>) -> Result<Vec<Finding>, Fault> {
    let open = estate.journal.resources(&ResourceFilter { open: true, ..ResourceFilter::default() })?;
    let mut found = judge(estate, &LookResult::of_record(open))?;
    found.retain(|finding| !finding.standing.is_wanted());
    Ok(found)
}

/// Judges by a look what remains, and why.
fn judge(estate: &Estate<'_>, looks: &LookResult) -> Result<Vec<Finding>, Fault> {
    let mut runs = Vec::new();
    for id in runs_of(&looks.open) {
        runs.extend(estate.journal.run(id)?);
    }
    let alive = runs.iter().filter(|record| estate.is_driven(record)).map(|record| record.id.clone()).collect();
    let machines = estate.journal.machines()?;
    Ok(findings(&World {
        open: &looks.open,
        observed: &looks.observed,
        runs: &runs,
        machines: &machines,
        alive: &alive,
        unseen: &looks.unseen,
        now: estate.teller.now(),
    }))
}

/// Closes the rows of machines of which nothing exists any more, and then those of files that went with the machine on which they were; gives
/// the other findings.
fn close(estate: &Estate<'_>, found: Vec<Finding>, observed: &[ObservedResource]) -> Result<Vec<Finding>, Fault> {
    let (gone, remaining) = split_gone(found, observed);
    close_rows(estate, &gone)?;
    let machines = estate.journal.machines()?;
    let (went, remaining): (Vec<Finding>, Vec<Finding>) =
        remaining.into_iter().partition(|finding| went_with_its_machine(finding, &machines));
    close_rows(estate, &went)?;
    Ok(remaining)
}

/// Closes the rows of what is gone, and the records that only waited for that.
fn close_rows(estate: &Estate<'_>, gone: &[Finding]) -> Result<(), Fault> {
    for finding in gone {
        if let Some(row) = row_of(estate, finding)? {
            estate.journal.mark_gone(&row.id, estate.teller.now())?;
        }
    }
    estate.forget_machines(gone.iter().map(|finding| &finding.machine))?;
    for run in gone.iter().filter_map(|finding| finding.run.as_ref()).collect::<BTreeSet<_>>() {
        close_released(estate, run)?;
    }
    Ok(())
}

/// Whether a finding is the files of a run on a machine that was made for us before that run, and that is not there any more. Such a machine
/// is reached through a guard of ours, or has hardware that we chose; its record goes when it was seen gone.
fn went_with_its_machine(finding: &Finding, machines: &[Machine]) -> bool {
    let is_left =
        finding.kind == ResourceKind::RemoteFiles && matches!(finding.standing, Standing::Orphaned | Standing::Kept);
    let Some(found) = machines.iter().find(|machine| is_left && machine.id == finding.machine) else { return false };
    let was_made = matches!(found.address, Address::Handover { .. }) || found.hardware.is_some();
    let is_it = |other: &Machine| {
        !other.provider.machines_stay() && other.address == found.address && other.host_key == found.host_key
    };
    was_made && !machines.iter().any(is_it)
}

/// Ends the record of a run whose machines were told to end, and of which nothing is left, where nobody does so any more.
fn close_released(estate: &Estate<'_>, run: &RunId) -> Result<(), Fault> {
    let open = ResourceFilter { run: Some(run.clone()), open: true, ..ResourceFilter::default() };
    match estate.journal.run(run)? {
        Some(record) if record.is_release_cut_off(estate.alive) && estate.journal.resources(&open)?.is_empty() => {
            estate.journal.update_run(&record.into_released())
        }
        _ => Ok(()),
    }
}

/// The open row of a finding; none if it has no row, or if the row was closed meanwhile.
pub(super) fn row_of(estate: &Estate<'_>, finding: &Finding) -> Result<Option<Resource>, Fault> {
    let filter = ResourceFilter { machine: Some(finding.machine.clone()), open: true, ..ResourceFilter::default() };
    Ok(estate.journal.resources(&filter)?.into_iter().find(|row| row.id.as_str() == finding.id))
}
