//! Following a run with a user's command to its end.

use flow::command::cells::{BegunCell, resume_commands};
use flow::command::{CommandOutcome, CommandRecords, CommandTask, resume_command, was_on_terminal};
use flow::lease::LeaseEnd;
use flow::site::{Site, Sites};
use flow::testing::shards::CellNote;
use model::event::{MachineEvent, TroubleEvent};
use model::fault::Fault;
use model::machine::Machine;
use model::preparation::{Preparation, UserCommand};
use model::run::RunRecord;
use project::command::FolderCommand;
use state::file::Lock;
use state::runs::RunDir;

use crate::command::command_end;
use crate::command::command_end::cells::{CellOutput, EndedCell, conclude_cells};
use crate::command::runs::attach::{Drive, close_lost, machine_of, never_began, require_visible};
use crate::command::session::{Ending, Session};
use crate::command::testing::CellFolder;
use crate::compose::Context;

/// One cell as an earlier driver left it.
struct LeftCell {
    note: CellNote,
    task: Option<(FolderCommand, CommandTask)>,
    machine: Option<(Machine, Site)>,
}

/// The fault of a run whose command talked with a terminal that is gone.
fn ended_with_its_terminal(context: &Context, record: &RunRecord) -> Fault {
    let fix = context.to_type(&format!("audit --fix --run {}", record.id));
    Fault::outside(format!(
        "the command of run `{}` ran on a terminal, and ended with the process that held it",
        record.id
    ))
    .because("such a command runs over the connection itself, and nothing of it is kept")
    .hint(format!("`{fix}` removes what the run left. Without `--terminal` a command goes on by itself."))
}

/// Reads what was left of a cell.
async fn left_cell(context: &Context, folder: &RunDir) -> Result<LeftCell, Fault> {
    let note = CellFolder::read_note(folder).unwrap_or_else(|fault| {
        context.teller().tell(TroubleEvent::from(&fault));
        CellFolder::note_of(folder)
    });
    let Some(task) = CommandTask::read(folder)? else { return Ok(LeftCell { note, task: None, machine: None }) };
    let command = FolderCommand::from_settings(&task.settings)?;
    let machine = match machine_of(context, &task.begun.machine)? {
        None => None,
        Some(machine) => {
            require_visible(context, &machine).await?;
            let site = context.sites.site(machine.provider).await?;
            Some((machine, site))
        }
    };
    Ok(LeftCell { note, task: Some((command, task)), machine })
}

impl Drive<'_> {
    /// Drives a run with a user's command to its end.
    pub(super) async fn run_command(
        &self,
        context: Context,
        record: RunRecord,
        driving: Lock,
        dir: &RunDir,
    ) -> Result<i32, Fault> {
        let cells = dir.matrix_cells()?;
        if !cells.is_empty() {
            return self.run_command_cells(context, record, driving, &cells).await;
        }
        let Some(task) = CommandTask::read(dir)? else {
            return Err(if was_on_terminal(dir) {
                ended_with_its_terminal(&context, &record)
            } else {
                never_began(&context, &record)
            });
        };
        let command = FolderCommand::from_settings(&task.settings)?;
        let (line, json) = (command.line(), self.reports.json);
        let Some(machine) = machine_of(&context, &task.begun.machine)? else {
            let Some(outcome) = CommandOutcome::read(dir) else { return Err(close_lost(&context, record)?) };
            let kind = context.default_provider()?;
            let session = self.resume(context, record, kind, driving).await?;
            let ended = LeaseEnd { result: Ok(Some(outcome)), left: Vec::new(), cost: None, detached: None };
            let ended = command_end::conclude(&session, &line, (ended, Some(task)), json);
            return command_end::close(session, ended).await;
        };
        require_visible(&context, &machine).await?;
        let session = self.resume(context, record, machine.provider, driving).await?;
        self.begin(&session, &machine.id);
        session.works_at(command.place());
        let (output, builds) = (session.task_output(), session.context.state.builds());
        let records = CommandRecords { folder: &session.dir, output: &output, builds: &builds };
        let ended = resume_command(&session.run, &session.site, machine, &command, &task, &records).await;
        let ended = command_end::conclude(&session, &line, (ended, Some(task)), json);
        command_end::close(session, ended).await
    }

    /// Drives a run whose command runs in several cells to its end.
    async fn run_command_cells(
        &self,
        context: Context,
        record: RunRecord,
        driving: Lock,
        folders: &[RunDir],
    ) -> Result<i32, Fault> {
        let mut cells = Vec::new();
        for folder in folders {
            cells.push(left_cell(&context, folder).await?);
        }
        let line = cells.iter().find_map(|cell| cell.task.as_ref()).map(|(command, _)| command.line());
        let Some(line) = line else { return Err(never_began(&context, &record)) };
        let machine = cells.iter().find_map(|cell| cell.machine.as_ref());
        let kind = machine.map_or(context.default_provider()?, |(machine, _)| machine.provider);
        let session = self.resume(context, record, kind, driving).await?;
        if self.cancels {
            session.run.stop.cancel();
        } else {
            for (machine, _) in cells.iter().filter_map(|cell| cell.machine.as_ref()) {
                session.run.teller.machine(&machine.id, MachineEvent::Following { run: session.id().clone() });
            }
        }
        let first = cells.iter().find_map(|cell| cell.task.as_ref());
        session.works_at(first.and_then(|(command, _)| command.place()));
        let ended = self.follow_cells(&session, folders, cells, &line).await;
        command_end::close(session, ended).await
    }

    async fn follow_cells(
        &self,
        session: &Session,
        folders: &[RunDir],
        cells: Vec<LeftCell>,
        line: &str,
    ) -> Result<Ending, Fault> {
        let width = cells.iter().map(|cell| cell.note.point.to_string().chars().count()).max().unwrap_or_default();
        let open = |(folder, cell): (&RunDir, &LeftCell)| {
            CellOutput::open(session, folder, &cell.note.point.to_string(), width)
        };
        let outputs = folders.iter().zip(&cells).map(open).collect::<Result<Vec<_>, Fault>>()?;
        let builds = session.context.state.builds();
        let begun = cells.into_iter().zip(folders).zip(&outputs).map(|((cell, folder), output)| {
            let task = cell.task.map(|(command, task)| (Box::new(command) as Box<dyn UserCommand>, task));
            let records = CommandRecords { folder, output, builds: &builds };
            let CellNote { point, failed } = cell.note;
            BegunCell { point, task, machine: cell.machine, failed, records }
        });
        let ends = resume_commands(&session.run, begun.collect()).await;
        let ended = ends.into_iter().zip(folders).zip(outputs);
        let ended = ended.map(|((end, folder), output)| EndedCell { end, folder: folder.clone(), output }).collect();
        conclude_cells(session, line, ended, self.reports.json)
    }
}
