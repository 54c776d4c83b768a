//! `automation runs list|show|logs`.

use serde::Serialize;

use crate::base::id::RunId;
use crate::command::context::Context;
use crate::model::fault::Fault;
use crate::model::outcome::Results;
use crate::model::run::{RunRecord, RunState};
use crate::state::runs::RunFile;
use crate::ui::table;

/// Subcommands of `runs`. A run is named by its id, the beginning of it, or `latest`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List runs, newest first
    List(ListArgs),
    /// Show one run and its results
    Show(ShowArgs),
    /// Print the output of one run's task, or the log of its steps
    Logs(LogsArgs),
}

/// `runs list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// How many at the most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `runs show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The run's id, its beginning, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `runs logs`.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// The run's id, its beginning, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// Print the log of the run's own steps instead of the task's output
    #[arg(long)]
    steps: bool,
    /// Print where the logs are, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    record: &'a RunRecord,
    /// Whether its driver is at work now.
    alive: bool,
    folder: std::path::PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Results>,
}

#[derive(Serialize)]
struct Logs {
    id: RunId,
    output: std::path::PathBuf,
    steps: std::path::PathBuf,
}

impl Command {
    /// Runs it.
    pub async fn run(self, context: Context) -> Result<i32, Fault> {
        match self {
            Self::List(args) => list(&context, &args),
            Self::Show(args) => show(&context, &args),
            Self::Logs(args) => logs(&context, &args),
        }
    }
}

fn shown<'a>(context: &Context, record: &'a RunRecord, results: Option<Results>) -> Shown<'a> {
    let alive = crate::state::process::is_driven(record);
    Shown { record, alive, folder: context.state.runs().join(record.id.as_str()), results }
}

fn standing(run: &Shown<'_>) -> String {
    match (run.record.state, run.alive, run.record.exit_code) {
        (RunState::Running, true, _) => "running".to_owned(),
        (RunState::Running, false, _) => "driver died".to_owned(),
        (RunState::Detached, _, _) => "detached".to_owned(),
        (RunState::Ended, _, code) => code.map_or_else(|| "ended".to_owned(), |code| format!("exit {code}")),
    }
}

fn list(context: &Context, args: &ListArgs) -> Result<i32, Fault> {
    let records = context.journal.runs(args.limit)?;
    let runs: Vec<Shown<'_>> = records.iter().map(|record| shown(context, record, None)).collect();
    if args.json {
        context.screen.json(&runs);
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            vec![
                run.record.id.to_string(),
                run.record.command.clone(),
                standing(run),
                run.record.summary.clone().unwrap_or_default(),
            ]
        })
        .collect();
    context.screen.data(&table::render(&["ID", "COMMAND", "STANDING", "SUMMARY"], &rows));
    Ok(0)
}

fn show(context: &Context, args: &ShowArgs) -> Result<i32, Fault> {
    let id = context.resolve_run(&args.run)?;
    let record = context.journal.run(&id)?.ok_or_else(|| Fault::usage(format!("the journal has no run `{id}`")))?;
    let run = shown(context, &record, results(context, &id)?);
    if args.json {
        context.screen.json(&run);
        return Ok(0);
    }
    let ended = record.ended_at.map(|at| format!("\nended    {at}")).unwrap_or_default();
    let summary = match (&run.results, &record.summary) {
        (Some(results), _) => format!("\n\n{}", crate::report::terminal::summary(results)),
        (None, Some(summary)) => format!("\nsummary  {summary}"),
        (None, None) => String::new(),
    };
    context.screen.data(&format!(
        "run      {}\ncommand  {} {}\nowner    {}\nstanding {}\nstarted  {}{ended}\nfolder   {}{}\n",
        record.id,
        "automation",
        record.arguments.join(" "),
        record.owner,
        standing(&run),
        record.started_at,
        run.folder.display(),
        summary.trim_end()
    ));
    Ok(0)
}

fn results(context: &Context, id: &RunId) -> Result<Option<Results>, Fault> {
    // A run whose folder was removed by hand still has its record.
    let Ok(dir) = context.state.run(id) else { return Ok(None) };
    let path = dir.file(RunFile::Results);
    dir.read(RunFile::Results)?.map(|bytes| crate::report::json::parse(&bytes, &path)).transpose()
}

fn logs(context: &Context, args: &LogsArgs) -> Result<i32, Fault> {
    let id = context.resolve_run(&args.run)?;
    let name = if args.steps { RunFile::Events } else { RunFile::Output };
    let dir = context.state.run(&id)?;
    if args.json {
        context.screen.json(&Logs { output: dir.file(RunFile::Output), steps: dir.file(RunFile::Events), id });
        return Ok(0);
    }
    context.screen.file(&dir.file(name))?;
    Ok(0)
}
