//! `automation runs report`: the results of a run as a page for people.

use std::path::{Path, PathBuf};

use model::base::id::RunId;
use model::base::quote;
use model::fault::Fault;
use model::outcome::Results;
use model::run::RunRecord;
use serde::Serialize;
use state::runs::{RunDir, RunFile};

use crate::command::error::exit;
use crate::command::report_file;
use crate::command::runs::{chosen, no_results, results};
use crate::compose::{Context, browser};

/// The files of a run that its page names.
const FILES: [(RunFile, &str); 4] = [
    (RunFile::Results, "the results, for programs"),
    (RunFile::Junit, "the results, for systems that read JUnit"),
    (RunFile::Output, "the output of the test runner"),
    (RunFile::Steps, "what the tool did, and when"),
];

/// `runs report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: its id, its beginning, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// Say what changed since this run: its id, or its beginning
    #[arg(long, value_name = "RUN")]
    against: Option<String>,
    /// Show the page in the browser: that of `$BROWSER`, else that of the desktop
    #[arg(long)]
    open: bool,
    /// The file to write [default: `report.html` in the run's folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print what was written, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Written<'a> {
    id: &'a RunId,
    path: &'a Path,
    against: Option<&'a RunId>,
    bytes: usize,
    /// Whether a browser was told to show it.
    opened: bool,
}

/// Writes the page.
pub(crate) fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let (record, now) = read(context, &args.run)?;
    let before = args.against.as_deref().map(|earlier| read(context, earlier)).transpose()?;
    let before = before.map(|(_, before)| before);
    if before.as_ref().is_some_and(|before| before.id == now.id) {
        return Err(Fault::usage(format!("run `{}` cannot be compared with itself", now.id))
            .hint("`automation runs list` shows the runs there are."));
    }
    let dir = context.state.run(&record.id)?;
    let own = dir.file(RunFile::Report);
    let output = args.output.as_deref().filter(|output| !is_same(output, &own));
    if let Some(output) = output {
        refuse_crowding(args, output)?;
        report_file::prepare("--output", output)?;
    }
    let page = render(&record, &dir, &now, before.as_ref(), output.is_none())?;
    let path = match output {
        Some(output) => report_file::write(output, &page, &context.screen).map(|()| output)?,
        None => dir.write(RunFile::Report, page.as_bytes()).map(|()| own.as_path())?,
    };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let against = before.as_ref().map(|before| &before.id);
    let written = Written { id: &now.id, path: &path, against, bytes: page.len(), opened: args.open };
    // What was written is told in any case: a browser that is missing does not unmake it.
    let opened = if args.open { browser::open(&path) } else { Ok(()) };
    tell(context, args, &Written { opened: args.open && opened.is_ok(), ..written });
    opened.map(|()| exit::OK)
}

/// A run and its results.
fn read(context: &Context, text: &str) -> Result<(RunRecord, Results), Fault> {
    let record = chosen::choose_test_run(context, text)?;
    let found = results(context, &record.id)?.ok_or_else(|| no_results(context, &record))?;
    Ok((record, found))
}

/// Refuses two things in one place, and to show what is no file.
fn refuse_crowding(args: &Args, output: &Path) -> Result<(), Fault> {
    if report_file::is_stdout(output) && (args.json || args.open) {
        let other = if args.json { "--json" } else { "--open" };
        return Err(Fault::usage(format!(
            "`{other}` needs a file, and `--output {}` is standard output",
            output.display()
        )));
    }
    Ok(())
}

/// Whether two paths lead to one file, or would.
fn is_same(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| std::path::absolute(path).ok()?.parent()?.canonicalize().ok();
    one.file_name() == other.file_name() && folder(one).is_some_and(|found| Some(found) == folder(other))
}

fn render(
    record: &RunRecord,
    dir: &RunDir,
    now: &Results,
    before: Option<&Results>,
    is_beside: bool,
) -> Result<String, Fault> {
    let there = FILES.iter().filter(|(file, _)| dir.file(*file).is_file());
    let files: Vec<(&str, &str)> = there.map(|(file, what)| (file.name(), *what)).collect();
    let command = quote::join(&record.arguments).unwrap_or_else(|_| record.command.clone());
    ::report::html::render(&::report::html::Page {
        results: now,
        against: before,
        started_at: Some(record.started_at),
        command: Some(&format!("automation {command}")),
        files: &files,
        is_beside,
    })
}

/// Prints the path, or all of it as JSON; nothing more where the page itself went to standard output.
fn tell(context: &Context, args: &Args, written: &Written<'_>) {
    if args.json {
        context.screen.json(written);
    } else if !report_file::is_stdout(written.path) {
        context.screen.data(&format!("{}\n", written.path.display()));
    }
}
