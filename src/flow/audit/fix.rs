//! Removing the remaining things that nobody uses, and ending the records of runs that nobody follows any more.

use std::time::Duration;

use jiff::Timestamp;
use model::base::id::RunId;
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::Platform;
use model::resource::{Fate, Resource, ResourceKind, ResourceState};
use model::run::RunState;
use model::task::StepCommand;

use crate::audit::remaining::{Remaining, row_of};
use crate::audit::{Finding, Standing, as_row};
use crate::lease::remove_files;
use crate::look::Estate;
use crate::release::{ReleaseScope, release};

/// How long somebody else's machine may take to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Makes the step that removes the files of a run, with the folder that is named, from a machine that stays: the runner
/// of the run's tests knows it.
pub type Clean<'a> = &'a (dyn Fn(&RunId, Platform, &str) -> Result<StepCommand, Fault> + Send + Sync);

/// Chooses the findings to remove: all that nobody uses, or those that `ids` name. An id that names nothing is a
/// mistake.
pub fn choose<'a>(remaining: &'a Remaining, ids: &[String]) -> Result<Vec<&'a Finding>, Fault> {
    let findings = &remaining.findings;
    for id in ids {
        match findings.iter().find(|finding| finding.is_named(id)) {
            None => {
                return Err(Fault::usage(format!("nothing that remains is called `{id}`"))
                    .hint("`automation audit` shows what remains, with its ids."));
            }
            Some(finding) if finding.standing == Standing::Releasing => {
                let run = finding.run.as_ref().map(ToString::to_string).unwrap_or_default();
                return Err(Fault::usage(format!("`{id}` is ending: a process is seeing to that"))
                    .hint(format!("`automation audit --run {run}` waits until nothing of it is left.")));
            }
            Some(finding) if !findings.iter().any(|it| it.is_named(id) && it.is_to_go(ids)) => {
                return Err(Fault::usage(format!("`{id}` is in use")).hint(format!(
                    "`automation machine down {}` ends a machine that was kept; a living run ends its own.",
                    finding.machine
                )));
            }
            Some(_) => {}
        }
    }
    Ok(findings.iter().filter(|finding| finding.is_to_go(ids)).collect())
}

/// Removes the findings `going`, and ends the records of dead runs of which nothing is left, or of the run `only` where
/// it is given. Gives the fate of each finding, in their order. A removal that fails does not stop the others.
pub async fn fix(
    estate: &Estate<'_>,
    remaining: &Remaining,
    going: &[&Finding],
    only: Option<&RunId>,
    clean: Clean<'_>,
) -> Result<Vec<Fate>, Fault> {
    let now = estate.teller.now();
    end_all(estate, going, now).await?;
    let mut fates = Vec::new();
    for finding in going {
        let removed = remove(estate, finding, &remaining.findings, clean, now).await;
        fates.push(removed.unwrap_or_else(|fault| Fate::Remains(fault.line())));
    }
    estate.forget_machines(going.iter().map(|finding| &finding.machine))?;
    close_dead_runs(estate, only)?;
    Ok(fates)
}

/// Asks all machines that are to go to end, before it waits for one after the other.
async fn end_all(estate: &Estate<'_>, going: &[&Finding], now: Timestamp) -> Result<(), Fault> {
    let mut machines = Vec::new();
    for finding in going.iter().filter(|finding| finding.kind.is_machine()) {
        machines.push(match (row_of(estate, finding)?, &finding.run) {
            // An open row that was closed meanwhile names nothing any more.
            (None, Some(_)) => continue,
            (Some(row), _) => Resource { locator: finding.locator.clone(), ..row },
            (None, None) => as_row(finding, &RunId::new(now), finding.kind.provider(), now),
        });
    }
    estate.end_together(machines).await
}

/// Removes one finding.
async fn remove(
    estate: &Estate<'_>,
    finding: &Finding,
    all: &[Finding],
    clean: Clean<'_>,
    now: Timestamp,
) -> Result<Fate, Fault> {
    let row = match row_of(estate, finding)? {
        Some(row) if row.kind == ResourceKind::RemoteFiles => clean_remote(estate, row, all, clean).await?,
        Some(row) => row,
        None => as_row(finding, &RunId::new(now), finding.kind.provider(), now),
    };
    if row.state == ResourceState::Gone {
        return Ok(Fate::Gone);
    }
    let provider = estate.sites.site(row.provider).await?.provider;
    if finding.run.is_none() {
        return provider.release(&row).await;
    }
    let clock = || estate.teller.now();
    let remaining = release(provider.as_ref(), estate.journal, vec![row], ReleaseScope::All, &clock).await?;
    Ok(match remaining.first() {
        None => Fate::Gone,
        Some(row) => Fate::Remains(row.explanation().unwrap_or_default()),
    })
}

/// Removes our files from somebody else's machine, as the run that put them there would have done. Gives their row as
/// it is afterwards.
async fn clean_remote(
    estate: &Estate<'_>,
    row: Resource,
    all: &[Finding],
    clean: Clean<'_>,
) -> Result<Resource, Fault> {
    let shares = |other: &&Finding| other.kind == row.kind && other.locator == row.locator;
    if let Some(other) = all.iter().filter(shares).find(|other| other.standing == Standing::InUse) {
        let run = other.run.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(Fault::outside(format!("the living run {run} is at work on that machine")));
    }
    let machines = estate.journal.machines()?;
    let machine = machines.iter().find(|machine| machine.id == row.machine);
    let Some(machine) = machine.filter(|_| row.state == ResourceState::Present) else { return Ok(row) };
    let clean = clean(&row.run, machine.platform, &guest::of(machine.platform).run_folder(&row.run))?;
    let connector = estate.sites.connector(row.provider).await?;
    let why = match connector.connect(machine, &machine.user, CONNECT_LIMIT, false).await {
        Ok(connection) => {
            let why = remove_files(connection.as_ref(), &clean).await;
            connection.close().await;
            why
        }
        Err(error) => Some(error.to_string()),
    };
    if why.is_some() {
        return Ok(Resource { note: why, ..row });
    }
    estate.journal.mark_gone(&row.id, estate.teller.now())?;
    Ok(Resource { state: ResourceState::Gone, ..row })
}

/// Records the end of runs whose driver died, or whose machine ended while nobody followed it, once nothing is left of
/// them. Not earlier: the remains of a run that ended could pass for kept.
pub(super) fn close_dead_runs(estate: &Estate<'_>, only: Option<&RunId>) -> Result<(), Fault> {
    for record in estate.journal.runs(usize::MAX)? {
        let meant = only.is_none_or(|run| *run == record.id);
        if record.state == RunState::Ended || !meant || (estate.alive)(&record.driver) {
            continue;
        }
        let filter = ResourceFilter { run: Some(record.id.clone()), open: true, ..ResourceFilter::default() };
        if estate.journal.resources(&filter)?.is_empty() {
            let ended = match record.state {
                RunState::Releasing => record.into_released(),
                _ => record.into_lost(estate.teller.now()),
            };
            estate.journal.update_run(&ended)?;
        }
    }
    Ok(())
}
