//! `automation runs gc`, and the same by itself after a command that makes runs.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::collect_runs::{CollectedRun, planned, remove, tidy};
use jiff::Timestamp;
use model::base::id::RunId;
use model::base::text;
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::resource::ResourceState;
use model::retention::{PastRun, Retention, RunFate};
use serde::Serialize;
use state::dir::StateDir;
use state::process::is_running;

use crate::command::error::exit;
use crate::command::runs::chosen::has_tests;
use crate::compose::{Context, state_path};
use crate::globals::Globals;
use crate::ui::{confirm, table};

/// `runs gc`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many of the newest runs stay [default: 50, where `--older-than` is not given either]
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// The age up to which runs stay; with `--keep` a run stays that either of them keeps [default: 90d, where `--keep` is
    /// not given either]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    older_than: Option<Duration>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A line of the listing.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a RunId,
    command: &'a str,
    started_at: Timestamp,
    bytes: u64,
    fate: String,
}

impl<'a> Shown<'a> {
    fn of(one: &'a CollectedRun, removed: &str) -> Self {
        let fate = match &one.fate {
            RunFate::Goes => removed.to_owned(),
            RunFate::Stays(why) => format!("stays: {why}"),
        };
        let record = &one.run.record;
        Self { id: &record.id, command: &record.command, started_at: record.started_at, bytes: one.bytes, fate }
    }
}

/// Removes the runs that the rule does not keep.
pub(crate) fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let asks = !args.yes && !args.dry_run;
    let (store, rule) = (context.state.run_folders(), Retention::of(args.keep, args.older_than));
    let plan = || Ok::<_, Fault>(planned(&store, &past_runs(context)?, context.now(), &rule));
    if asks && !confirm::can_ask() && plan()?.iter().any(|run| run.fate == RunFate::Goes) {
        return Err(Fault::usage("there is no terminal on which to ask whether runs are to be removed")
            .hint("`--dry-run` lists what would be removed; `--yes` removes it without asking."));
    }
    if !args.dry_run {
        tidy(&store, context.journal.as_ref())?;
    }
    let mut runs = plan()?;
    let going: Vec<&CollectedRun> = runs.iter().filter(|run| run.fate == RunFate::Goes).collect();
    if args.dry_run || going.is_empty() {
        show(context, args, &runs, "would be removed");
        return Ok(exit::OK);
    }
    if asks {
        let bytes = going.iter().map(|run| run.bytes).sum();
        let what =
            format!("{} with their logs and results, {}", text::pluralize(going.len(), "run"), text::bytes(bytes));
        context.screen.message(listing(context, &runs, "goes").trim_end());
        if !confirm::confirm(&format!("Remove {what}?")) {
            context.screen.message("Nothing was removed.");
            return Ok(exit::OK);
        }
    }
    let left = remove(&store, context.journal.as_ref(), &mut runs);
    show(context, args, &runs, "removed");
    left.map_or(Ok(exit::OK), Err)
}

/// Removes old runs where the settings ask for it, after a command with these `words` that may have made one. What keeps it
/// from that is told, and is no fault of that command.
pub(crate) fn collect_by_settings(globals: &Globals, words: Vec<String>) {
    if !state_path(globals).is_ok_and(|path| StateDir::has_settings(&path)) {
        return;
    }
    // A command that could not open the state directory has said so itself.
    let Ok(context) = Context::open_for_cleanup(globals, words) else { return };
    let settings = context.settings.runs;
    if settings.keep.is_none() && settings.older_than.is_none() {
        return;
    }
    let context = &context;
    let store = context.state.run_folders();
    let rule = Retention::of(settings.keep, settings.older_than);
    let collect = || {
        tidy(&store, context.journal.as_ref())?;
        let mut runs = planned(&store, &past_runs(context)?, context.now(), &rule);
        let left = remove(&store, context.journal.as_ref(), &mut runs);
        let gone: Vec<&CollectedRun> = runs.iter().filter(|run| run.fate == RunFate::Goes).collect();
        if !gone.is_empty() {
            let (count, bytes) = (text::pluralize(gone.len(), "old run"), gone.iter().map(|run| run.bytes).sum());
            context.screen.message(&format!("Removed {count} ({}; `runs` of the settings).", text::bytes(bytes)));
        }
        left.map_or(Ok(()), Err)
    };
    if let Err(fault) = collect() {
        context.screen.message(&format!("warning: not all old runs were removed: {}", fault.line()));
    }
}

/// All runs, newest first, with what decides whether they may go.
fn past_runs(context: &Context) -> Result<Vec<PastRun>, Fault> {
    let (records, machines) = (context.journal.runs(usize::MAX)?, context.journal.machines()?);
    let mut counts: BTreeMap<RunId, (usize, usize)> = BTreeMap::new();
    for row in context.journal.resources(&ResourceFilter::default())? {
        let (open, kept) = counts.entry(row.run.clone()).or_default();
        *open += usize::from(row.is_open());
        *kept += usize::from(row.state == ResourceState::Kept);
    }
    let now = context.now();
    let past = records.into_iter().map(|record| {
        let (open, kept) = counts.get(&record.id).copied().unwrap_or_default();
        PastRun {
            goes_on: is_running(&record, &machines, now),
            has_tests: has_tests(context, &record),
            has_machine: machines.iter().any(|machine| machine.run == record.id),
            open,
            kept,
            record,
        }
    });
    Ok(past.collect())
}

fn show(context: &Context, args: &Args, runs: &[CollectedRun], removed: &str) {
    if args.json {
        context.screen.json(&runs.iter().map(|run| Shown::of(run, removed)).collect::<Vec<_>>());
    } else if runs.is_empty() {
        context.screen.message("Nothing to collect.");
    } else {
        context.screen.data(&listing(context, runs, removed));
    }
}

fn listing(context: &Context, runs: &[CollectedRun], removed: &str) -> String {
    let now = context.now();
    let row = |run: &CollectedRun| {
        let shown = Shown::of(run, removed);
        let age = text::ago(shown.started_at, now);
        vec![shown.id.to_string(), age, shown.command.to_owned(), text::bytes(shown.bytes), shown.fate]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    table::render(&["ID", "AGE", "COMMAND", "SIZE", "FATE"], 0, &rows)
}
