//! `automation runs show`: one run, its results, its tests.

use jiff::Timestamp;
use model::base::clock;
use model::base::text;
use model::fault::Fault;
use model::outcome::{Results, TestOutcome, TestResult};
use model::run::RunRecord;
use state::events::EventReader;

use crate::command::command_end::cells::{CellResults, cells_table, read_cells};
use crate::command::error::exit;
use crate::command::run::RUN;
use crate::command::runs::{RunRow, check_cell, chosen, find_machine, find_test, no_results, results};
use crate::compose::Context;
use crate::ui::live::{LiveView, Progress};
use crate::ui::table;

/// Most running tests that are named.
const RUNNING: usize = 20;

/// `runs show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run's id, its beginning, or `latest`: the latest with tests or a command, one that goes on first
    #[arg(default_value = "latest")]
    run: String,
    /// These tests of it, with how their output differs; in every cell where it has a matrix
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// Only the tests of this cell of its matrix, by the name that the run gives it: `debian12/tmpfs`
    #[arg(long, value_name = "NAME")]
    cell: Option<String>,
    /// The tests of it that failed, timed out or were lost
    #[arg(long, conflicts_with = "tests")]
    failed: bool,
    /// How the output of each of them differs
    #[arg(long, requires = "failed")]
    diff: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows it.
pub(crate) fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let record = chosen::choose_run(context, &args.run)?;
    let machines = context.journal.machines()?;
    let mut results = results(context, &record.id)?;
    let choosing = args.failed || args.cell.is_some() || !args.tests.is_empty();
    if choosing {
        let kept = results.as_mut().ok_or_else(|| no_results(context, &record))?;
        choose(kept, args)?;
    }
    let progress = if record.has_ended() { None } else { progress(context, &record)? };
    let run = RunRow::of(&context.state, &record, find_machine(&machines, &record.id), results);
    let run = RunRow { progress, cells: cells(context, &record)?, ..run };
    if args.json {
        context.screen.json(&run);
        return Ok(exit::OK);
    }
    match run.results.as_ref().filter(|_| choosing) {
        Some(results) => show_tests(context, results, args, &run.folder),
        None => context.screen.data(&run_text(context, &run)),
    }
    Ok(exit::OK)
}

/// What the command of a run came to in each of its cells, where it has cells.
fn cells(context: &Context, record: &RunRecord) -> Result<Option<Vec<CellResults>>, Fault> {
    match context.state.run(&record.id) {
        Ok(dir) if record.command == RUN => read_cells(&dir),
        _ => Ok(None),
    }
}

/// How far the tests of a run are that goes on, by the events that its drivers kept.
fn progress(context: &Context, record: &RunRecord) -> Result<Option<Progress>, Fault> {
    // A run whose folder was removed by hand still has its record.
    let Ok(dir) = context.state.run(&record.id) else { return Ok(None) };
    let Some(mut events) = EventReader::open(&dir)? else { return Ok(None) };
    let mut view = LiveView::default();
    while let Some(event) = events.next_event()? {
        view.fold(&event);
    }
    Ok(view.progress())
}

/// Where the tests of a run stand, in lines of its description.
fn progress_text(progress: &Progress, now: Timestamp) -> String {
    let mut text = format!("\ntests    {}", progress.words());
    for running in progress.running.iter().take(RUNNING) {
        let since = clock::since(running.since, now);
        let machine = running.machine.as_ref().map(|id| format!(" on {id}")).unwrap_or_default();
        let cell = running.cell.as_ref().map(|cell| format!(" [{cell}]")).unwrap_or_default();
        text.push_str(&format!("\nrunning  {}{cell}{machine} for {}", running.test, text::seconds(since)));
    }
    if progress.running.len() > RUNNING {
        text.push_str(&format!("\n         and {} more", progress.running.len() - RUNNING));
    }
    text
}

/// Leaves those tests in the results that are asked for.
fn choose(results: &mut Results, args: &Args) -> Result<(), Fault> {
    let cell = args.cell.as_deref();
    check_cell(results, cell)?;
    let is_there = |test: &TestResult| cell.is_none() || test.cell.as_deref() == cell;
    for name in &args.tests {
        find_test(results, name)?;
        if !results.tests.iter().any(|test| test.name.as_str() == name && is_there(test)) {
            let cell = cell.unwrap_or_default();
            return Err(Fault::usage(format!("run `{}` had no test `{name}` in its cell `{cell}`", results.id)));
        }
    }
    let is_bad = |test: &TestResult| !matches!(test.outcome, TestOutcome::Passed | TestOutcome::Skipped);
    let is_named = |test: &TestResult| args.tests.iter().any(|name| test.name.as_str() == name);
    results.tests.retain(|test| match () {
        () if !is_there(test) => false,
        () if args.failed => is_bad(test),
        () => args.tests.is_empty() || is_named(test),
    });
    Ok(())
}

/// Prints the chosen tests, a line each, or with all that is known of them.
fn show_tests(context: &Context, results: &Results, args: &Args, folder: &std::path::Path) {
    if results.tests.is_empty() {
        let none = if args.failed { "No test failed, timed out or was lost.\n" } else { "There is no test.\n" };
        return context.screen.data(none);
    }
    if args.tests.is_empty() && !args.diff {
        return context.screen.data(&tests_table(results));
    }
    let whole = |test: &TestResult| {
        let mut lines = report::terminal::test(test);
        let file = test.output_file.as_ref().map(|file| folder.join(file).display().to_string());
        lines.extend(file.map(|file| report::terminal::plain(format!("Whole output: {file}"))));
        lines
    };
    let tests: Vec<_> = results.tests.iter().map(whole).collect();
    context.screen.report(&tests.join(&report::terminal::plain("")));
}

/// A line for each test, which names its cell where there is a matrix.
fn tests_table(results: &Results) -> String {
    let (mut header, mut rows) =
        (vec!["TEST", "OUTCOME", "TOOK", "WHY"], results.tests.iter().map(row).collect::<Vec<_>>());
    if results.has_matrix() {
        header.insert(1, "CELL");
        for (row, test) in rows.iter_mut().zip(&results.tests) {
            row.insert(1, test.cell.clone().unwrap_or_default());
        }
    }
    table::render(&header, 0, &rows)
}

fn row(test: &TestResult) -> Vec<String> {
    let took = test.took.map(model::base::text::seconds).unwrap_or_else(|| "-".to_owned());
    let why = [report::terminal::first_line(test.reason.as_deref()), report::terminal::muted(test)];
    let why: Vec<String> = why.into_iter().flatten().collect();
    vec![test.name.to_string(), test.outcome.words().to_owned(), took, why.join("; ")]
}

/// The run and its verdict.
fn run_text(context: &Context, run: &RunRow<'_>) -> String {
    let record = run.record;
    let next = run.next(context).map(|next| format!("\nnext     {next}")).unwrap_or_default();
    let ended = record.ended_at.map(|at| format!("\nended    {at:.0}")).unwrap_or_default();
    let progress = run.progress.as_ref().map(|progress| progress_text(progress, context.now())).unwrap_or_default();
    let summary = match (&run.results, &record.summary) {
        (Some(results), _) => format!("\n\n{}", report::terminal::summary(results)),
        (None, Some(summary)) => format!("\nsummary  {summary}"),
        (None, None) => String::new(),
    };
    let cells = run.cells.as_ref().map(|cells| format!("\n\n{}", cells_table(cells))).unwrap_or_default();
    format!(
        "run      {}\ncommand  {} {}\nowner    {}\nstanding {}{next}\nstarted  {:.0}{ended}\nfolder   {}{progress}{}{cells}\n",
        record.id,
        "automation",
        record.arguments.join(" "),
        record.owner,
        run.standing(context.now()),
        record.started_at,
        run.folder.display(),
        summary.trim_end(),
        cells = cells.trim_end(),
    )
}
