//! `automation audit`.

mod forget;

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use crate::base::id::{MachineId, RunId};
use crate::command::context::Context;
use crate::command::error::exit;
use crate::flow::audit::{Finding, Standing, World, as_row, findings, seen_gone, went_meanwhile};
use crate::flow::lease::remove_files;
use crate::flow::look::Looks;
use crate::flow::release::{Part, release};
use crate::flow::site::Sites;
use crate::guest;
use crate::model::fault::Fault;
use crate::model::journal::{ResourceFilter, all_closed};
use crate::model::machine::ProviderKind;
use crate::model::resource::{Observed, Resource, ResourceKind, ResourceState};
use crate::model::run::RunState;
use crate::model::suite::Suite;
use crate::project::mercurial::LinuxTests;
use crate::ui::table;

/// Say exactly what remains of all that was ever made, and remove what nobody uses.
///
/// Holds the journal against what is really there, both ways; rows of machines that ended by themselves are closed. Exit
/// code 0 when nothing remains, 5 otherwise. Machines of living runs and machines that were kept on purpose are shown and
/// never touched; `machine down` ends the latter. A machine that is not in the journal here and whose expiry is ahead may be
/// another computer's that has a copy of this state directory: it is shown as `elsewhere`, and ended where its id is given.
/// Machines on EC2 whose expiry has passed are told to end, whoever made them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this run; with `--json` its certificate: every resource, its id, when it was seen gone
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Remove at once what belongs to a dead driver, has expired, or has no record; with IDs, these alone
    #[arg(long, group = "change")]
    fix: bool,
    /// With `--fix`: what to remove, by the id of a machine, a resource or a row; also a machine that is `elsewhere`
    #[arg(value_name = "ID", requires = "fix")]
    ids: Vec<String>,
    /// Give up what is out of reach for good, by the id of a machine or of a finding: it counts no more as left behind, and
    /// the record says who gave it up. What is there is not forgotten
    #[arg(long, group = "change", value_name = "ID", conflicts_with = "run")]
    forget: Vec<String>,
    /// With `--fix` and `--forget`: only say what would be done
    #[arg(long, requires = "change")]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long a machine of somebody else's may take to answer.
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// What remains, and what was seen.
struct Remaining {
    findings: Vec<Finding>,
    observed: Vec<Observed>,
}

/// Audits.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    if !args.forget.is_empty() {
        return forget::run(&context, &args.forget, args.dry_run, args.json).await;
    }
    let run = args.run.as_deref().map(|text| context.resolve_run(text)).transpose()?;
    let mut remaining = look(&context, run.as_ref(), !args.dry_run).await?.findings;
    let mut fixed = Vec::new();
    if args.fix {
        let now = context.now();
        let going = going(&remaining, &args.ids)?;
        if !args.dry_run {
            end_all(&context, &going, now).await?;
        }
        for finding in going {
            let fate = match args.dry_run {
                true => "would be removed".to_owned(),
                // One that fails keeps no other from being removed.
                false => match fix(&context, finding, &remaining, now).await {
                    Ok(fate) => fate,
                    Err(fault) => format!("stays: {}", fault.line()),
                },
            };
            fixed.push((finding.clone(), fate));
        }
        if !args.dry_run {
            forget_machines(&context, fixed.iter().map(|(finding, _)| &finding.machine))?;
            close_dead_runs(&context, run.as_ref())?;
            remaining = look(&context, run.as_ref(), false).await?.findings;
        }
    }
    match (run, args.json) {
        (Some(run), true) => certificate(&context, &run, remaining),
        (_, json) => {
            show(&context, &remaining, &fixed, json);
            Ok(if remaining.is_empty() { exit::OK } else { exit::LEFT_BEHIND })
        }
    }
}

/// What remains. With `ends_expired`, machines of anybody whose time is over are told to end.
async fn look(context: &Context, run: Option<&RunId>, ends_expired: bool) -> Result<Remaining, Fault> {
    let journal = context.journal.as_ref();
    // The system is looked at before the journal is read: what a living run makes in between is in the journal by then.
    let looked = context.now();
    let estate = context.estate();
    let looks = estate.look().await?;
    if ends_expired {
        estate.end_expired(&looks).await?;
    }
    let Looks { observed, open, unseen, .. } = looks;
    let ids: BTreeSet<&RunId> = open.iter().map(|row| &row.run).collect();
    let mut runs = Vec::new();
    for id in ids {
        runs.extend(journal.run(id)?);
    }
    let alive =
        runs.iter().filter(|record| crate::state::process::is_driven(record)).map(|record| record.id.clone()).collect();
    let machines = journal.machines()?;
    let world = World {
        open: &open,
        observed: &observed,
        runs: &runs,
        machines: &machines,
        alive: &alive,
        unseen: &unseen,
        now: context.now(),
    };
    let mut found = Vec::new();
    for finding in findings(&world) {
        let filter = ResourceFilter { machine: Some(finding.machine.clone()), ..ResourceFilter::default() };
        // A living run that released it meanwhile closed its row.
        if finding.run.is_some() || !went_meanwhile(&finding, &journal.resources(&filter)?, looked) {
            found.push(finding);
        }
    }
    let mut found = close(context, found, &observed)?;
    if let Some(run) = run {
        found.retain(|finding| finding.run.as_ref() == Some(run));
    }
    // Processes first, files last: the order of release.
    found.reverse();
    found.sort_by_key(|finding| !finding.kind.is_machine());
    Ok(Remaining { findings: found, observed })
}

/// Closes the rows of machines of which nothing is there any more; gives what remains.
fn close(context: &Context, found: Vec<Finding>, observed: &[Observed]) -> Result<Vec<Finding>, Fault> {
    let (gone, remaining) = seen_gone(found, observed);
    for finding in &gone {
        if let Some(row) = row_of(context, finding)? {
            context.journal.gone(&row.id, context.now())?;
        }
    }
    forget_machines(context, gone.iter().map(|finding| &finding.machine))?;
    Ok(remaining)
}

/// What is to go of what remains: all that nobody uses, or what `ids` name. One that names nothing is a mistake.
fn going<'a>(remaining: &'a [Finding], ids: &[String]) -> Result<Vec<&'a Finding>, Fault> {
    for id in ids {
        match remaining.iter().find(|finding| finding.is_named(id)) {
            None => {
                return Err(Fault::usage(format!("nothing that remains is called `{id}`"))
                    .hint("`automation audit` shows what remains, with its ids."));
            }
            Some(finding) if !remaining.iter().any(|it| it.is_named(id) && it.is_to_go(ids)) => {
                return Err(Fault::usage(format!("`{id}` is in use")).hint(format!(
                    "`automation machine down {}` ends a machine that was kept; a living run ends its own.",
                    finding.machine
                )));
            }
            Some(_) => {}
        }
    }
    Ok(remaining.iter().filter(|finding| finding.is_to_go(ids)).collect())
}

/// Tells all machines that are to go to end, before one is waited for after the other.
async fn end_all(context: &Context, going: &[&Finding], now: jiff::Timestamp) -> Result<(), Fault> {
    let mut rows: HashMap<ProviderKind, Vec<Resource>> = HashMap::new();
    for finding in going.iter().filter(|finding| finding.kind.is_machine()) {
        let row = match (row_of(context, finding)?, &finding.run) {
            // An open row that was closed meanwhile names nothing any more.
            (None, Some(_)) => continue,
            (Some(row), _) => Resource { locator: finding.locator.clone(), ..row },
            (None, None) => as_row(finding, &RunId::new(now), finding.kind.provider(), now),
        };
        rows.entry(row.provider).or_default().push(row);
    }
    for (kind, rows) in rows {
        context.sites.site(kind).await?.provider.end_all(&rows).await;
    }
    Ok(())
}

async fn fix(context: &Context, finding: &Finding, all: &[Finding], now: jiff::Timestamp) -> Result<String, Fault> {
    let row = match row_of(context, finding)? {
        Some(row) if row.kind == ResourceKind::RemoteFiles => clean_remote(context, row, all).await?,
        Some(row) => row,
        None => {
            let run = RunId::new(now);
            as_row(finding, &run, finding.kind.provider(), now)
        }
    };
    if row.state == ResourceState::Gone {
        return Ok("gone".to_owned());
    }
    let provider = context.sites.site(row.provider).await?.provider;
    if finding.run.is_none() {
        return Ok(match provider.release(&row).await? {
            crate::model::resource::Fate::Gone => "gone".to_owned(),
            crate::model::resource::Fate::Stays(why) => format!("stays: {why}"),
            crate::model::resource::Fate::Kept(locator) => format!("kept: {locator}"),
        });
    }
    let stays = release(provider.as_ref(), context.journal.as_ref(), vec![row], Part::All, &|| context.now()).await?;
    Ok(match stays.first() {
        None => "gone".to_owned(),
        Some(row) => format!("stays: {}", row.note.clone().unwrap_or_default()),
    })
}

/// Removes our files from a machine of somebody else's, as the run that put them there would have; gives their row as it
/// is then.
async fn clean_remote(context: &Context, row: Resource, all: &[Finding]) -> Result<Resource, Fault> {
    let shares = |other: &&Finding| other.kind == row.kind && other.locator == row.locator;
    if let Some(other) = all.iter().filter(shares).find(|other| other.standing == Standing::InUse) {
        let run = other.run.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(Fault::outside(format!("the living run {run} is at work on that machine")));
    }
    let machine = context.journal.machines()?.into_iter().find(|machine| machine.id == row.machine);
    let Some(machine) = machine.filter(|_| row.state == ResourceState::Present) else { return Ok(row) };
    let folder = guest::of(machine.platform).run_folder(&row.run);
    let clean = LinuxTests::for_checks(context.ssh()?).clean(&folder);
    let why =
        match context.sites.connector(row.provider).await?.connect(&machine, &machine.user, CONNECT_LIMIT, false).await
        {
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
    context.journal.gone(&row.id, context.now())?;
    Ok(Resource { state: ResourceState::Gone, ..row })
}

fn row_of(context: &Context, finding: &Finding) -> Result<Option<Resource>, Fault> {
    let filter = ResourceFilter { machine: Some(finding.machine.clone()), open: true, ..ResourceFilter::default() };
    Ok(context.journal.resources(&filter)?.into_iter().find(|row| row.id.as_str() == finding.id))
}

fn forget_machines<'a>(context: &Context, machines: impl Iterator<Item = &'a MachineId>) -> Result<(), Fault> {
    for machine in machines.collect::<BTreeSet<_>>() {
        let filter = ResourceFilter { machine: Some(machine.clone()), open: true, ..ResourceFilter::default() };
        if context.journal.resources(&filter)?.is_empty() {
            context.journal.forget_machine(machine)?;
        }
    }
    Ok(())
}

/// A run whose driver died, or whose machine ended while nobody followed it, says so from now on, once nothing is left of it:
/// what remains of a run that ended could pass for kept.
fn close_dead_runs(context: &Context, only: Option<&RunId>) -> Result<(), Fault> {
    for record in context.journal.runs(usize::MAX)? {
        let summary = match record.state {
            RunState::Ended => continue,
            RunState::Running => "its driver died",
            RunState::Detached => crate::command::runs::GONE,
        };
        let meant = only.is_none_or(|run| *run == record.id);
        if meant && !crate::state::process::is_alive(&record.driver) {
            let filter = ResourceFilter { run: Some(record.id.clone()), open: true, ..ResourceFilter::default() };
            if !context.journal.resources(&filter)?.is_empty() {
                continue;
            }
            let ended_at = Some(context.now());
            let exit_code = Some(exit::INFRASTRUCTURE);
            context.journal.update_run(&crate::model::run::RunRecord {
                state: RunState::Ended,
                ended_at,
                exit_code,
                summary: Some(summary.to_owned()),
                ..record
            })?;
        }
    }
    Ok(())
}

fn show(context: &Context, remaining: &[Finding], fixed: &[(Finding, String)], json: bool) {
    if json {
        // Listings are newest first; the ids of rows sort by time.
        let mut newest: Vec<&Finding> = remaining.iter().collect();
        newest.sort_by(|a, b| b.id.cmp(&a.id));
        context.screen.json(&newest);
        return;
    }
    if !fixed.is_empty() {
        let rows: Vec<Vec<String>> = fixed
            .iter()
            .map(|(finding, fate)| vec![finding.kind.name().to_owned(), finding.name.clone(), fate.clone()])
            .collect();
        context.screen.data(&table::render(&["KIND", "NAME", "FATE"], &rows));
    }
    if remaining.is_empty() {
        context.screen.message("Nothing remains.");
        return;
    }
    let rows: Vec<Vec<String>> = remaining
        .iter()
        .map(|finding| {
            let standing = serde_json::to_value(finding.standing).ok();
            vec![
                finding.kind.name().to_owned(),
                finding.name.clone(),
                finding.locator.clone().unwrap_or_default(),
                standing.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default(),
                finding.run.as_ref().map(ToString::to_string).unwrap_or_default(),
            ]
        })
        .collect();
    context.screen.data(&table::render(&["KIND", "NAME", "LOCATOR", "STANDING", "RUN"], &rows));
    if fixed.is_empty() && remaining.iter().any(|finding| finding.standing.fixable()) {
        context.screen.message("`automation audit --fix` removes what nobody uses.");
    }
    if let Some(finding) = remaining.iter().find(|finding| finding.standing == Standing::Elsewhere) {
        context.screen.message(&format!(
            "What is `elsewhere` is not in the journal here, and its expiry is ahead: a driver on another computer, with a copy of \
             this state directory, may be using it. `automation audit --fix {}` ends it all the same.",
            finding.machine
        ));
    }
}

/// The certificate of a run.
#[derive(Serialize)]
struct Certificate {
    id: RunId,
    /// Whether every resource was seen gone.
    clean: bool,
    /// Whether its local machines were told to have root of this computer inside.
    privileged: bool,
    made: usize,
    gone: usize,
    /// Meant to outlive the run.
    kept: usize,
    /// Given up by a person, and not seen gone.
    forgotten: usize,
    resources: Vec<Resource>,
    remaining: Vec<Finding>,
}

fn certificate(context: &Context, run: &RunId, remaining: Vec<Finding>) -> Result<i32, Fault> {
    let resources =
        context.journal.resources(&ResourceFilter { run: Some(run.clone()), ..ResourceFilter::default() })?;
    let in_state = |state| resources.iter().filter(|row| row.state == state).count();
    let (gone, kept) = (in_state(ResourceState::Gone), in_state(ResourceState::Kept));
    let forgotten = in_state(ResourceState::Forgotten);
    let ended = all_closed(&resources) && remaining.is_empty();
    // The matter has ended, but nobody saw that all is gone.
    let clean = ended && forgotten == 0;
    let privileged = context.journal.run(run)?.is_some_and(|record| record.was_told("--privileged-machine"));
    context.screen.json(&Certificate {
        id: run.clone(),
        clean,
        privileged,
        made: resources.len(),
        gone,
        kept,
        forgotten,
        resources,
        remaining,
    });
    Ok(if ended { exit::OK } else { exit::LEFT_BEHIND })
}
