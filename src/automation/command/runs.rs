//! `automation runs list|show|report|logs|attach|wait|accept|cancel|gc`.

mod accept;
mod attach;
mod cancel;
mod chosen;
pub(crate) mod gc;
mod list;
mod logs;
mod report;
mod show;
mod viewer;

use jiff::Timestamp;
use model::base::id::RunId;
use model::base::text;
use model::fault::Fault;
use model::machine::Machine;
use model::outcome::{Results, TestResult};
use model::run::{RunRecord, RunState};
use serde::Serialize;
use state::dir::StateDir;
use state::runs::RunFile;

use crate::command::command_end::cells::CellResults;
use crate::compose::Context;
use crate::ui::live::Progress;

/// Subcommands of `runs`. A run is named by its id, the beginning of it, or `latest`, the latest that has tests or a command: one that still goes
/// on before those that have ended.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List runs, newest first
    List(list::Args),
    /// Show one run and its results
    ///
    /// With the names of tests: these, with how the output of each differs. With `--failed`: all that failed, timed out or were
    /// lost; `--diff` adds the differences. Of a run with a matrix `--cell` leaves those of one cell.
    Show(show::Args),
    /// Make a page of a run's results, for people
    ///
    /// One file that needs neither a network nor a script: the verdict, the failures with how their output differs, what ran where
    /// and when, the slowest and the flaky tests, and with `--against` what changed since another run. Its path is printed.
    Report(report::Args),
    /// Print the output of one run's task, or the log of its steps
    Logs(logs::Args),
    /// Follow a run to its end: how far it is, its verdict, its exit code
    ///
    /// A run that was detached, or whose driver died, is driven from here: its results are collected and its machine is
    /// released. While somebody else drives it, the same is shown as there, and it is taken over should that driver die. Without a terminal, and
    /// with `-v`, what the tests print is shown as well. Of a run
    /// that has ended the verdict is shown.
    Attach(attach::Args),
    /// Follow a run to its end without its output: its verdict, its exit code
    Wait(attach::Args),
    /// Take what failed tests printed for what is expected of them
    ///
    /// The file of the checkout that says what a test prints (the test itself, or the `.out` beside it) gets what it printed in
    /// that run. Nothing is written where one of them was changed since.
    Accept(accept::Args),
    /// End a run: its tests, then its machine
    ///
    /// What was known by then is kept as its result.
    Cancel(cancel::Args),
    /// Remove old runs: their logs, their results, and their closed rows in the journal
    ///
    /// A run stays that goes on, that was left to a machine which lives, whose resources were not all seen gone or are kept, and
    /// the latest with tests. Asks first, on a terminal.
    Gc(gc::Args),
}

#[derive(Serialize)]
struct RunRow<'a> {
    #[serde(flatten)]
    record: &'a RunRecord,
    /// Whether its driver is at work now.
    alive: bool,
    /// When the machine on which its tests go on ends at the latest; null where the run left no machine.
    expires_at: Option<Timestamp>,
    folder: std::path::PathBuf,
    /// The tests of a run that goes on, so far; none where none began.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Results>,
    /// What a command came to in each of its cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<Vec<CellResults>>,
}

impl Command {
    /// Runs it.
    pub async fn run(self, context: Context) -> Result<i32, Fault> {
        match self {
            Self::List(args) => list::run(&context, &args),
            Self::Show(args) => show::run(&context, &args),
            Self::Report(args) => report::run(&context, &args),
            Self::Logs(args) => logs::run(&context, &args).await,
            Self::Attach(args) => attach::run(context, &args, true).await,
            Self::Wait(args) => attach::run(context, &args, false).await,
            Self::Accept(args) => accept::run(&context, &args),
            Self::Cancel(args) => cancel::run(context, &args).await,
            Self::Gc(args) => gc::run(&context, &args),
        }
    }
}

impl<'a> RunRow<'a> {
    fn of(state: &StateDir, record: &'a RunRecord, machine: Option<&Machine>, results: Option<Results>) -> Self {
        let alive = state::process::is_driven(record);
        let expires_at = machine.filter(|_| record.state == RunState::Detached).map(|machine| machine.expires_at);
        Self {
            record,
            alive,
            expires_at,
            folder: state.runs().join(record.id.as_str()),
            progress: None,
            results,
            cells: None,
        }
    }

    fn standing(&self, now: Timestamp) -> String {
        let record = self.record;
        let ended = || record.exit_code.map_or("ended".to_owned(), |code| format!("exit {code}"));
        match (record.state, self.alive, self.expires_at) {
            (RunState::Running | RunState::Detached, true, _) => "running".to_owned(),
            (RunState::Running, false, _) => "driver died".to_owned(),
            (RunState::Detached, false, Some(until)) if until > now => {
                format!("detached, machine ends {}", text::until(until, now))
            }
            (RunState::Detached, false, Some(_)) => "machine expired".to_owned(),
            (RunState::Detached, false, None) => "machine gone".to_owned(),
            (RunState::Releasing, true, _) => format!("{}, releasing", ended()),
            (RunState::Releasing, false, _) => format!("{}, release cut off", ended()),
            (RunState::Ended, _, _) => ended(),
        }
    }

    /// What to do about a run that nobody follows, commands to type; none where nothing is to be done.
    fn next(&self, context: &Context) -> Option<String> {
        let record = self.record;
        let to_type = |words: &str| context.to_type(&format!("{words} {}", record.id));
        match (record.state, self.alive) {
            (_, true) | (RunState::Ended, _) => None,
            (RunState::Running | RunState::Detached, false) if chosen::has_task(context, record) => {
                let (attach, cancel) = (to_type("runs attach"), to_type("runs cancel"));
                Some(format!("`{attach}` follows it to its end, `{cancel}` ends it"))
            }
            _ => Some(format!("`{}` removes what is left of it", to_type("audit --fix --run"))),
        }
    }
}

/// The machine on which a run's tests were left to go on.
fn find_machine<'a>(machines: &'a [Machine], run: &RunId) -> Option<&'a Machine> {
    machines.iter().find(|machine| machine.run == *run)
}

/// The journal's record of a run.
fn record(context: &Context, id: &RunId) -> Result<RunRecord, Fault> {
    context.journal.run(id)?.ok_or_else(|| Fault::usage(format!("the journal has no run `{id}`")))
}

/// The results of the run that a user names; it must have some.
pub(crate) fn ended_results(context: &Context, name: &str) -> Result<Results, Fault> {
    let record = chosen::choose_test_run(context, name)?;
    results(context, &record.id)?.ok_or_else(|| no_results(context, &record))
}

/// The fault where results are wanted of a run that has none, or none yet.
fn no_results(context: &Context, record: &RunRecord) -> Fault {
    let id = &record.id;
    let list = context.to_type("runs list");
    if record.has_ended() {
        let why = record.summary.as_deref().filter(|summary| !summary.is_empty()).unwrap_or("it is not known why");
        let code = record.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
        return Fault::usage(format!("run `{id}` ended{code} without results: {why}"))
            .hint(format!("`{list}` shows the runs there are; name another one."));
    }
    let wait = context.to_type(&format!("runs wait {id}"));
    Fault::usage(format!("run `{id}` has no results yet")).hint(format!("`{wait}` waits for them."))
}

/// The same where `latest` names the latest run that tested `program`.
pub(crate) fn ended_results_of(context: &Context, name: &str, program: &str) -> Result<Results, Fault> {
    if name != "latest" {
        return ended_results(context, name);
    }
    for record in context.journal.runs(usize::MAX)? {
        if !record.has_ended() || !chosen::has_tests(context, &record) {
            continue;
        }
        match results(context, &record.id) {
            Ok(Some(results)) if results.subject.program == program => return Ok(results),
            // An old run of something else is no reason to stop.
            _ => {}
        }
    }
    let list = context.to_type("runs list");
    Err(Fault::usage(format!("there is no run with tests of `{program}` that has ended"))
        .hint(format!("`{list}` shows the runs there are.")))
}

/// The result of a test that a user names.
fn find_test<'a>(results: &'a Results, name: &str) -> Result<&'a TestResult, Fault> {
    results.tests.iter().find(|test| test.name.as_str() == name).ok_or_else(|| {
        Fault::usage(format!("run `{}` had no test `{name}`", results.id))
            .hint("Name it as the run's list does, with the case behind `#` where it has cases.")
    })
}

/// Refuses a cell that the run does not have.
pub(crate) fn check_cell(results: &Results, name: Option<&str>) -> Result<(), Fault> {
    let Some(name) = name else { return Ok(()) };
    let cells: Vec<String> = results.cells.iter().filter_map(|cell| cell.point.name()).collect();
    if cells.iter().any(|cell| cell == name) {
        return Ok(());
    }
    let fault = Fault::usage(format!("run `{}` has no cell `{name}`", results.id));
    Err(match (cells.is_empty(), text::nearest(name, cells.iter().map(String::as_str))) {
        (true, _) => fault.hint("It has no matrix: leave `--cell` out."),
        (false, Some(near)) => fault.hint(format!("Did you mean `{near}`?")),
        (false, None) => fault.hint(format!("`runs show {}` lists its cells.", results.id)),
    })
}

fn results(context: &Context, id: &RunId) -> Result<Option<Results>, Fault> {
    // A run whose folder was removed by hand still has its record.
    let Ok(dir) = context.state.run(id) else { return Ok(None) };
    let path = dir.file(RunFile::Results);
    dir.read(RunFile::Results)?.map(|bytes| ::report::json::parse(&bytes, &path)).transpose()
}
