//! `automation runs list`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::base::id::RunId;
use model::base::text;
use model::fault::Fault;
use model::outline::Outline;
use model::run::RunState;
use serde::Serialize;
use state::runs::RunFile;

use crate::command::error::exit;
use crate::command::runs::{RunRow, find_machine};
use crate::compose::Context;
use crate::ui::table;

/// How many bytes of what was done are shown: the fault that ended a bake has many lines, and `runs show` has all of it.
const WHAT_SHOWN: usize = 80;

/// `runs list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many runs at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A line of the list.
#[derive(Serialize)]
struct ListedRun<'a> {
    #[serde(flatten)]
    run: RunRow<'a>,
    /// From its beginning to its end, or until now; null where nobody recorded its end.
    seconds: Option<f64>,
    /// The results of its tests without the tests; null where there are none, or none that can be read.
    tested: Option<Outline>,
}

/// Lists.
pub(crate) fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let records = context.journal.runs(args.limit)?;
    let (machines, now) = (context.journal.machines()?, context.now());
    let listed = |record| {
        let run = RunRow::of(&context.state, record, find_machine(&machines, &record.id), None);
        let until = record.ended_at.or(run.alive.then_some(now));
        let seconds = until.map(|until| text::between(record.started_at, until).as_secs_f64());
        ListedRun { run, seconds, tested: outline(context, &record.id) }
    };
    let runs: Vec<ListedRun<'_>> = records.iter().map(listed).collect();
    if args.json {
        context.screen.json(&runs);
        return Ok(exit::OK);
    }
    let rows: Vec<Vec<String>> = runs.iter().map(|run| run.cells(now)).collect();
    let header = ["ID", "AGE", "STATUS", "TESTS", "WHAT", "DISTRO", "TOOK"];
    context.screen.data(&table::render(&header, 0, &rows));
    let is_forsaken = |run: &&ListedRun<'_>| run.run.record.state == RunState::Running && !run.run.alive;
    if let Some(forsaken) = runs.iter().find(is_forsaken)
        && let Some(next) = forsaken.run.next(context)
    {
        context.screen.message(&format!("hint: The driver of run {} died: {next}.", forsaken.run.record.id));
    }
    Ok(exit::OK)
}

/// The results of a run without its tests. One whose results are damaged is listed all the same; `runs show` says what is wrong.
fn outline(context: &Context, id: &RunId) -> Option<Outline> {
    let dir = context.state.run(id).ok()?;
    let bytes = dir.read(RunFile::Results).ok()??;
    report::json::parse_outline(&bytes, &dir.file(RunFile::Results)).ok()
}

/// The distribution, or those of all cells.
fn distros(tested: &Outline) -> String {
    let of_cells = || {
        let distros: BTreeSet<&str> = tested.cells.iter().filter_map(|cell| cell.distro.as_deref()).collect();
        distros.into_iter().collect::<Vec<_>>().join(", ")
    };
    tested.subject.distro.clone().unwrap_or_else(of_cells)
}

impl ListedRun<'_> {
    fn cells(&self, now: Timestamp) -> Vec<String> {
        let record = self.run.record;
        let tests = self.tested.as_ref().map(|tested| report::terminal::outcomes(&tested.counts));
        let distro = self.tested.as_ref().map(distros);
        let took = self.seconds.map(|seconds| text::seconds(std::time::Duration::from_secs_f64(seconds)));
        vec![
            record.id.to_string(),
            text::ago(record.started_at, now),
            self.standing(now),
            tests.unwrap_or_default(),
            text::cut(&self.what(), WHAT_SHOWN),
            distro.unwrap_or_default(),
            took.unwrap_or_default(),
        ]
    }

    /// The verdict of a run that has one, with its exit code where that says something else; how any other run stands.
    fn standing(&self, now: Timestamp) -> String {
        let record = self.run.record;
        let releasing = if record.state == RunState::Releasing { ", releasing" } else { "" };
        match (&self.tested, record.exit_code.filter(|_| record.has_ended())) {
            (Some(tested), Some(code)) if code == tested.verdict.exit_code() => {
                format!("{}{releasing}", tested.verdict.words())
            }
            (Some(tested), Some(code)) => format!("{}, exit {code}{releasing}", tested.verdict.words()),
            _ => self.run.standing(now),
        }
    }

    /// The tested software; for other runs what was done, and what came of it.
    fn what(&self) -> String {
        let record = self.run.record;
        let summary = record.summary.as_ref().filter(|summary| !summary.is_empty());
        match (&self.tested, summary) {
            (Some(tested), _) => tested.subject.software().unwrap_or_else(|| tested.source.clone()),
            (None, Some(summary)) => format!("{}: {summary}", record.command),
            (None, None) => record.command.clone(),
        }
    }
}
