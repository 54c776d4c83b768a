//! `automation runs cancel`.

use std::time::{Duration, Instant};

use flow::command::{CommandTask, was_on_terminal};
use flow::task::begun::BegunTask;
use flow::testing::TestTask;
use model::base::text;
use model::event::Remainder;
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::Machine;
use model::run::{RunFolder, RunRecord};
use rustix::process::{Pid, Signal, kill_process};
use state::dir::StateDir;
use state::file::Lock;
use state::process::is_driven;

use crate::command::error::exit;
use crate::command::run::RUN;
use crate::command::runs::attach::{Drive, is_split, take_over};
use crate::command::runs::chosen::choose_run;
use crate::command::session::left_behind;
use crate::command::testing::Reports;
use crate::compose::Context;

/// How long a driver may take to end after SIGTERM: it fetches the report from the machine and releases it.
const DRIVER_LIMIT: Duration = Duration::from_secs(300);

/// The pause between two looks at whether a driver has ended.
const LOOK: Duration = Duration::from_millis(100);

/// The options of `runs cancel`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run's id, its beginning, or `latest`: the latest with tests or a command, one that goes on first
    #[arg(default_value = "latest")]
    run: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print the run as JSON
    #[arg(long)]
    json: bool,
}

/// Cancels the run.
pub(crate) async fn run(context: Context, args: &Args) -> Result<i32, Fault> {
    let record = choose_run(&context, &args.run)?;
    let id = record.id.clone();
    let dir = context.state.run(&id)?;
    if args.dry_run {
        context.screen.data(&format!("{}\n", describe_plan(&context, &record)?));
        return Ok(exit::OK);
    }
    let journal = std::sync::Arc::clone(&context.journal);
    let (audit, down) = (context.to_type(&format!("audit --fix --run {id}")), context.to_type("machine down"));
    let confirm = context.to_type(&format!("audit --run {id}"));
    let (state, screen) = (context.state.clone(), std::sync::Arc::clone(&context.screen));
    let made_for = journal.machines()?.into_iter().find(|machine| machine.run == id);
    let taken = match record.has_ended() {
        // Its machines may be ending still; another process sees to that.
        true => None,
        false => match take_over(&context, &dir)? {
            Some(taken) => Some(taken),
            None => stop_driver(&context, &dir).await?,
        },
    };
    if let Some((record, driving)) = taken.filter(|(record, _)| !record.has_ended()) {
        let (reports, parting) = (Reports::default(), std::sync::Arc::default());
        let drive = Drive { reports: &reports, shows_output: false, cancels: true, parting };
        drive
            .run(context, record, driving)
            .await
            .map_err(|fault| explain_full_disk(fault, &state, made_for.as_ref(), &down))?;
    }
    let found = journal.run(&id)?.ok_or_else(|| Fault::usage(format!("the journal has no run `{id}`")))?;
    let open = journal.resources(&ResourceFilter { run: Some(id), open: true, ..ResourceFilter::default() })?;
    let mut kept = journal.machines()?;
    kept.retain(|machine| machine.kept && machine.run == found.id);
    match args.json {
        true => screen.json(&super::RunRow::of(&state, &found, None, None)),
        false => screen.message(&format!("Run {} {}.", found.id, describe_end(&found))),
    }
    let left = left_behind(&open, &kept);
    if is_driven(&found) && !left.is_empty() {
        screen.message(&format!("Its machines are ending; `{confirm}` confirms it."));
        return Ok(exit::OK);
    }
    if !left.is_empty() {
        let names: Vec<String> = left.iter().map(|row| Remainder::from(*row).line()).collect();
        screen.message(&format!("Left behind:\n{}\n`{audit}` removes it.", names.join("\n")));
    }
    for machine in kept {
        screen
            .message(&format!("Kept {} until {:.0}; `{down} {}` ends it.", machine.id, machine.expires_at, machine.id));
    }
    Ok(if left.is_empty() { exit::OK } else { exit::LEFT_BEHIND })
}

/// The fault of a run that could not be cancelled; where the disk has no room for its results, with the command that
/// ends it all the same.
fn explain_full_disk(fault: Fault, state: &StateDir, machine: Option<&Machine>, down: &str) -> Fault {
    let Some(machine) = machine.filter(|_| state.is_full()) else { return fault };
    fault.hint(format!(
        "Free space on this disk and cancel the run again; or end it without its results: `{down} {}`.",
        machine.id
    ))
}

/// How a run ended, for people.
fn describe_end(record: &RunRecord) -> String {
    match record.exit_code {
        Some(exit::INTERRUPTED) => "was cancelled".to_owned(),
        Some(code) => format!("had ended with exit code {code}"),
        None => "has ended".to_owned(),
    }
}

fn describe_plan(context: &Context, record: &RunRecord) -> Result<String, Fault> {
    let id = &record.id;
    if record.has_ended() {
        return Ok(format!("Run {id} {}.", describe_end(record)));
    }
    if is_driven(record) {
        return Ok(format!("Would tell process {}, which drives run {id}, to stop.", record.driver.pid));
    }
    let dir = context.state.run(id)?;
    let end = |what: &str, begun: &BegunTask| {
        format!("Would end the {what} of run {id} on {} and release it.", begun.machine)
    };
    let cells = dir.matrix_cells()?;
    if record.command == RUN && !cells.is_empty() {
        let begun = cells.iter().map(|cell| Ok(cell.tasks()?.len())).sum::<Result<usize, Fault>>()?;
        let machines = text::pluralize(begun, "machine");
        return Ok(format!("Would end the command of run {id} on {machines} and release all of them."));
    }
    if record.command == RUN {
        return Ok(match CommandTask::read(&dir)? {
            Some(task) => end("command", &task.begun),
            None if was_on_terminal(&dir) => {
                format!("The command of run {id} ended with its terminal: there is nothing to cancel.")
            }
            None => format!("The command of run {id} was never begun: there is nothing to cancel."),
        });
    }
    let cells = dir.cells()?;
    if is_split(&cells)? {
        let tasks = cells.iter().map(|cell| Ok(cell.tasks()?.len())).sum::<Result<usize, Fault>>()?;
        let machines = text::pluralize(tasks, "machine");
        return Ok(format!("Would end the tests of run {id} on {machines} and release all of them."));
    }
    Ok(match TestTask::read(&dir)? {
        Some(task) => end("tests", &task.begun.task),
        None => format!("Run {id} has no tests that go on: there is nothing to cancel."),
    })
}

/// Tells the driver to stop and waits for its end; gives the run's record after that, or none where the run has ended and another process
/// sees to its machines.
async fn stop_driver(context: &Context, dir: &state::runs::RunDir) -> Result<Option<(RunRecord, Lock)>, Fault> {
    let record = super::record(context, dir.id())?;
    let pid = i32::try_from(record.driver.pid).ok().and_then(Pid::from_raw).filter(|_| is_driven(&record));
    if let Some(pid) = pid {
        context.screen.message(&format!("Telling process {}, which drives the run, to stop.", record.driver.pid));
        kill_process(pid, Signal::TERM).map_err(|error| {
            Fault::outside(format!("cannot tell process {} to stop", record.driver.pid)).because(error)
        })?;
    }
    let end = Instant::now() + DRIVER_LIMIT;
    loop {
        if let Some(taken) = take_over(context, dir)? {
            return Ok(Some(taken));
        }
        if super::record(context, dir.id())?.has_ended() {
            return Ok(None);
        }
        if Instant::now() > end {
            let (pid, limit) = (record.driver.pid, model::base::text::seconds(DRIVER_LIMIT));
            return Err(Fault::outside(format!("process {pid} still drives run `{}` after {limit}", record.id))
                .hint(format!("End it with `kill -9 {pid}` and cancel the run again.")));
        }
        tokio::time::sleep(LOOK).await;
    }
}
