//! `automation audit`.

mod forget;
mod releasing;
mod table;

use flow::audit::fix::{choose, fix};
use flow::audit::remaining::find_remaining;
use flow::audit::{Finding, Standing};
use flow::preparation;
use flow::testing::TestTask;
use model::base::id::RunId;
use model::fault::Fault;
use model::journal::{ResourceFilter, all_closed};
use model::machine::{Platform, ProviderKind};
use model::resource::{Fate, Resource, ResourceState};
use model::task::StepCommand;
use serde::Serialize;

use crate::command::error::exit;
use crate::compose::Context;
use crate::ui::table::render;

/// The options of `automation audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this run, once its machines have ended if they are told to; with `--json` its certificate: every resource, its id, when it was
    /// seen gone
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

/// Audits.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    if !args.forget.is_empty() {
        return forget::run(&context, &args.forget, args.dry_run, args.json).await;
    }
    let estate = context.estate();
    let run = args.run.as_deref().map(|text| context.resolve_run(text)).transpose()?;
    if (args.fix || run.is_some()) && !args.dry_run {
        releasing::wait(&context, run.as_ref()).await?;
    }
    let mut found = find_remaining(&estate, run.as_ref(), !args.dry_run).await?;
    let mut fixed = Vec::new();
    if args.fix {
        let going = choose(&found, &args.ids)?;
        let fates = match args.dry_run {
            true => vec!["would be removed".to_owned(); going.len()],
            false => {
                let clean =
                    |run: &RunId, platform: Platform, folder: &str| cleaning_of(&context, run, platform, folder);
                fix(&estate, &found, &going, run.as_ref(), &clean).await?.into_iter().map(describe_fate).collect()
            }
        };
        fixed = going.into_iter().cloned().zip(fates).collect();
        if !args.dry_run {
            found = find_remaining(&estate, run.as_ref(), false).await?;
        }
    }
    let (left, unasked) = (found.findings, found.unasked);
    match (run, args.json) {
        (Some(run), true) => certificate(&context, &run, left),
        (_, json) => {
            show(&context, &left, &unasked, &fixed, json)?;
            Ok(exit_code(&left))
        }
    }
}

/// The step that removes what a run left on a machine that stays, by what is kept of its tests. A run whose folder is gone
/// is taken for one of builds that knew only one runner.
fn cleaning_of(context: &Context, run: &RunId, platform: Platform, folder: &str) -> Result<StepCommand, Fault> {
    let task = context.state.run(run).and_then(|dir| TestTask::read(&dir)).ok().flatten();
    let runner = project::runner(task.and_then(|task| task.runner).as_ref(), context.ssh()?)?;
    Ok(preparation::cleaning(runner.as_ref(), platform, folder))
}

fn describe_fate(fate: Fate) -> String {
    match fate {
        Fate::Gone => "gone".to_owned(),
        Fate::Remains(why) => format!("stays: {why}"),
        Fate::Kept(locator) => format!("kept: {locator}"),
    }
}

/// The exit code: what was kept, is in use or is being removed is there on purpose, and what is gone is not there.
fn exit_code(left: &[Finding]) -> i32 {
    match left.iter().any(|finding| finding.standing.is_unwanted()) {
        true => exit::LEFT_BEHIND,
        false => exit::OK,
    }
}

fn show(
    context: &Context,
    remaining: &[Finding],
    unasked: &[ProviderKind],
    fixed: &[(Finding, String)],
    json: bool,
) -> Result<(), Fault> {
    if json {
        // Listings are newest first; the ids of rows sort by time.
        let mut newest: Vec<&Finding> = remaining.iter().collect();
        newest.sort_by(|a, b| b.id.cmp(&a.id));
        context.screen.json(&newest);
        return Ok(());
    }
    if !fixed.is_empty() {
        let rows: Vec<Vec<String>> = fixed
            .iter()
            .map(|(finding, fate)| vec![finding.kind.name().to_owned(), finding.name.clone(), fate.clone()])
            .collect();
        context.screen.data(&render(&["KIND", "NAME", "FATE"], 1, &rows));
    }
    if remaining.is_empty() {
        let unasked: Vec<String> = unasked.iter().map(|kind| format!("`{}`", kind.name())).collect();
        context.screen.message(&match unasked.is_empty() {
            true => "Nothing remains.".to_owned(),
            false => format!("Nothing remains by the record; {} was not looked at.", unasked.join(" and ")),
        });
        return Ok(());
    }
    let (machines, now) = (context.journal.machines()?, context.now());
    context.screen.data(&match context.verbose() {
        true => table::by_part(remaining, &machines, now),
        false => table::by_machine(remaining, &machines, now),
    });
    if exit_code(remaining) == exit::OK {
        context.screen.message("All of that is there on purpose; nothing else remains.");
    }
    if fixed.is_empty() && remaining.iter().any(|finding| finding.standing.is_fixable()) {
        context.screen.message("`automation audit --fix` removes what nobody uses.");
    }
    if let Some(finding) = remaining.iter().find(|finding| finding.standing == Standing::Elsewhere) {
        context.screen.message(&format!(
            "What is `elsewhere` is not in the journal here, and its expiry is ahead: a driver on another computer, with a copy of \
             this state directory, may be using it. `automation audit --fix {}` ends it all the same.",
            finding.machine
        ));
    }
    Ok(())
}

/// The certificate of a run.
#[derive(Serialize)]
struct Certificate {
    id: RunId,
    /// Whether every resource was seen gone.
    clean: bool,
    /// Whether its local machines were asked to have root of this computer inside.
    privileged: bool,
    made: usize,
    gone: usize,
    /// Resources that are meant to outlive the run.
    kept: usize,
    /// Resources that a person gave up, and that were not seen gone.
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
    // All rows are closed, but a forgotten resource was never seen gone.
    let clean = ended && forgotten == 0;
    let privileged = context.journal.run(run)?.is_some_and(|record| record.has_flag("--privileged-machine"));
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
