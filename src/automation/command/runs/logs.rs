//! `automation runs logs`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flow::command::CommandTask;
use flow::site::Sites;
use flow::task::durable::Durable;
use flow::testing::TestTask;
use model::base::id::{MachineId, RunId};
use model::connection::Process;
use model::exit::Exit;
use model::fault::Fault;
use model::task::Offsets;
use serde::Serialize;
use state::process::is_driven;
use state::runs::{RunDir, RunFile};

use crate::command::error::exit;
use crate::command::run::RUN;
use crate::command::runs::attach::{is_split, machine_of, require_visible};
use crate::command::runs::chosen::choose_run;
use crate::command::runs::viewer::{CellsViewer, Viewer};
use crate::command::testing::CellFolder;
use crate::compose::Context;

/// The pause between two looks at the log of a run that goes on.
const LOOK: Duration = Duration::from_millis(200);

/// Print the output of one run's task, or the log of its steps
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run's id, its beginning, or `latest`: the latest with tests or a command, one that goes on first
    #[arg(default_value = "latest")]
    run: String,
    /// Print the log of the run's own steps instead of the task's output
    #[arg(long)]
    steps: bool,
    /// Go on printing until the task ends; of a run without a driver, straight from its machine
    #[arg(short, long, conflicts_with_all = ["steps", "json"])]
    follow: bool,
    /// Print where the logs are, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Logs {
    id: RunId,
    output: PathBuf,
    steps: PathBuf,
    events: PathBuf,
    /// The output of each machine, where several took tests of the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    machines: Vec<MachineLog>,
    /// The output in each cell of its matrix, of a run with a command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cells: Vec<CellLog>,
}

#[derive(Serialize)]
struct CellLog {
    cell: String,
    output: PathBuf,
}

/// The output in each cell of a run with a command; none where it has no matrix.
fn cell_logs(context: &Context, dir: &RunDir) -> Result<Vec<CellLog>, Fault> {
    if super::record(context, dir.id())?.command != RUN {
        return Ok(Vec::new());
    }
    let log = |cell: RunDir| {
        let note = CellFolder::read_note(&cell).unwrap_or_else(|_| CellFolder::note_of(&cell));
        CellLog { cell: note.point.to_string(), output: cell.file(RunFile::Output) }
    };
    Ok(dir.matrix_cells()?.into_iter().map(log).collect())
}

#[derive(Serialize)]
struct MachineLog {
    machine: MachineId,
    output: PathBuf,
}

/// Prints the logs.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let id = choose_run(context, &args.run)?.id;
    let dir = context.state.run(&id)?;
    if args.json {
        let [output, steps, events] = [RunFile::Output, RunFile::Steps, RunFile::Events].map(|file| dir.file(file));
        let machines =
            dir.machine_outputs()?.into_iter().map(|(machine, output)| MachineLog { machine, output }).collect();
        let cells = cell_logs(context, &dir)?;
        context.screen.json(&Logs { id, output, steps, events, machines, cells });
        return Ok(exit::OK);
    }
    if args.follow {
        return follow(context, &dir).await;
    }
    let machines = dir.machine_outputs()?;
    let cells = cell_logs(context, &dir)?;
    match args.steps {
        false if !cells.is_empty() => {
            for CellLog { cell, output } in cells {
                context.screen.message(&format!("Output of {cell}:"));
                context.screen.output_file(&output)?;
            }
        }
        true => context.screen.json_file(&dir.file(RunFile::Steps))?,
        false if machines.is_empty() => context.screen.output_file(&dir.file(RunFile::Output))?,
        false => {
            for (machine, path) in machines {
                context.screen.message(&format!("Output of {machine}:"));
                context.screen.output_file(&path)?;
            }
        }
    }
    let record = super::record(context, &id)?;
    if !args.steps && !record.has_ended() && !is_driven(&record) {
        let follow = context.to_type(&format!("runs logs -f {id}"));
        context.screen.message(&format!(
            "Nobody drives this run: this is the output from while it was driven. `{follow}` reads on."
        ));
    }
    Ok(exit::OK)
}

/// Shows the log while another process drives the run, then the output that comes from the machine.
async fn follow(context: &Context, dir: &RunDir) -> Result<i32, Fault> {
    let mut viewer = Viewer::new(dir.clone());
    let mut cells = None;
    loop {
        // The record is read before the log, so that all that a driver wrote before it ended is shown.
        let record = super::record(context, dir.id())?;
        let driven = is_driven(&record);
        viewer.show(&context.screen)?;
        if cells.is_none() && record.command == RUN {
            cells = CellsViewer::of(dir)?;
        }
        if let Some(cells) = &mut cells {
            cells.show(&context.screen)?;
        }
        match (record.has_ended(), &cells) {
            (true, cells) => {
                if let Some(cells) = cells {
                    cells.finish(&context.screen);
                }
                return Ok(exit::OK);
            }
            _ if driven => tokio::time::sleep(LOOK).await,
            _ => return from_machine(context, dir, viewer.offsets()).await,
        }
    }
}

/// Shows the output that the machine has beyond `shown`, without taking the run over.
async fn from_machine(context: &Context, dir: &RunDir, shown: Offsets) -> Result<i32, Fault> {
    let none = || Fault::infrastructure(format!("run `{}` has no machine to read from", dir.id()));
    let cells = dir.cells()?;
    if cells.len() > 1 || is_split(&cells)? {
        let attach = context.to_type(&format!("runs attach {}", dir.id()));
        return Err(Fault::outside(format!("run `{}` goes on on several machines", dir.id()))
            .hint(format!("`{attach}` follows it there, and brings what is printed home.")));
    }
    let task = match super::record(context, dir.id())?.command == RUN {
        true => CommandTask::read(dir)?.map(|task| task.begun),
        false => TestTask::read(dir)?.map(|task| task.begun.task),
    };
    let task = task.ok_or_else(none)?;
    let machine = machine_of(context, &task.machine)?.ok_or_else(none)?;
    require_visible(context, &machine).await?;
    let screen = Arc::clone(&context.screen);
    let (run, site) = (context.run(dir.id().clone(), screen), context.sites.site(machine.provider).await?);
    let durable = Durable::new(&run, &site, &machine, None, &task.folder);
    let base = task.log_base;
    let from =
        Offsets { stdout: shown.stdout.saturating_sub(base.stdout), stderr: shown.stderr.saturating_sub(base.stderr) };
    let mut process = durable.follow_task(&task.id, from);
    while let Some(chunk) = process.next().await {
        context.screen.task_output(chunk);
    }
    match process.exit() {
        // Another process followed it to its end meanwhile, and released the machine.
        Exit::Lost(_) if super::record(context, dir.id())?.has_ended() => Ok(exit::OK),
        Exit::Lost(reason) => Err(Fault::infrastructure(format!("the log of run `{}` breaks off: {reason}", dir.id()))),
        Exit::Code(_) | Exit::Signal(_) => Ok(exit::OK),
    }
}
