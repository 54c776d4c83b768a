//! `automation runs show`: one run, its results, its tests.

use model::fault::Fault;
use model::outcome::{Results, TestOutcome, TestResult};
use model::run::RunRecord;

use crate::command::error::exit;
use crate::command::runs::{RunRow, chosen, find_machine, find_test, results};
use crate::compose::Context;
use crate::ui::table;

/// `runs show`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  automation runs show latest --failed --diff\n  automation runs show latest test-merge1.t"
)]
pub struct Args {
    /// The run's id, its beginning, or `latest`: the latest with tests, one that goes on first
    #[arg(default_value = "latest")]
    run: String,
    /// These tests of it, with how their output differs
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
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
    let choosing = args.failed || !args.tests.is_empty();
    if choosing {
        let kept = results.as_mut().ok_or_else(|| no_results(context, &record))?;
        choose(kept, args)?;
    }
    let run = RunRow::of(&context.state, &record, find_machine(&machines, &record.id), results);
    if args.json {
        context.screen.json(&run);
        return Ok(exit::OK);
    }
    match run.results.as_ref().filter(|_| choosing) {
        Some(results) => context.screen.data(&tests_text(results, args, &run.folder)),
        None => context.screen.data(&run_text(context, &run)),
    }
    Ok(exit::OK)
}

fn no_results(context: &Context, record: &RunRecord) -> Fault {
    let fault = Fault::usage(format!("run `{}` has no results", record.id));
    let follow = context.to_type(&format!("runs wait {}", record.id));
    fault.hint(format!(
        "`{follow}` brings those of a run that goes on; `runs show` without tests says what became of this one."
    ))
}

/// Leaves those tests in the results that are asked for.
fn choose(results: &mut Results, args: &Args) -> Result<(), Fault> {
    for name in &args.tests {
        find_test(results, name)?;
    }
    let is_bad = |test: &TestResult| !matches!(test.outcome, TestOutcome::Passed | TestOutcome::Skipped);
    let is_named = |test: &TestResult| args.tests.iter().any(|name| test.name.as_str() == name);
    results.tests.retain(|test| if args.failed { is_bad(test) } else { is_named(test) });
    Ok(())
}

/// The chosen tests, a line each, or with all that is known of them.
fn tests_text(results: &Results, args: &Args, folder: &std::path::Path) -> String {
    if results.tests.is_empty() {
        return "No test failed, timed out or was lost.\n".to_owned();
    }
    if args.failed && !args.diff {
        let rows: Vec<Vec<String>> = results.tests.iter().map(row).collect();
        return table::render(&["TEST", "OUTCOME", "TOOK", "WHY"], 0, &rows);
    }
    let text = |test: &TestResult| match &test.output_file {
        Some(file) => format!("{}\nWhole output: {}\n", report::terminal::test(test), folder.join(file).display()),
        None => format!("{}\n", report::terminal::test(test)),
    };
    results.tests.iter().map(text).collect::<Vec<_>>().join("\n")
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
    let ended = record.ended_at.map(|at| format!("\nended    {at}")).unwrap_or_default();
    let summary = match (&run.results, &record.summary) {
        (Some(results), _) => format!("\n\n{}", report::terminal::summary(results)),
        (None, Some(summary)) => format!("\nsummary  {summary}"),
        (None, None) => String::new(),
    };
    format!(
        "run      {}\ncommand  {} {}\nowner    {}\nstanding {}\nstarted  {:.0}{ended}\nfolder   {}{}\n",
        record.id,
        "automation",
        record.arguments.join(" "),
        record.owner,
        run.standing(context.now()),
        record.started_at,
        run.folder.display(),
        summary.trim_end()
    )
}
