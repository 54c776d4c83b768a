//! The cells of a run with a command: the same command under each choice of a matrix, on a machine of its own each.

use futures_util::StreamExt;
use model::event::RunEvent;
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::matrix::Point;
use model::preparation::UserCommand;

use crate::command::{
    CommandEnd, CommandJob, CommandOutcome, CommandRecords, CommandTask, resume_command, run_command,
};
use crate::lease::LeaseEnd;
use crate::run::Run;
use crate::site::Site;

/// One cell to run.
pub struct CommandCell<'a> {
    /// What was chosen for it.
    pub point: Point,
    /// Its command and its machine.
    pub job: CommandJob<'a>,
    /// Where things of it are kept.
    pub records: CommandRecords<'a>,
}

/// The end of one cell.
pub struct CommandCellEnd {
    /// What was chosen for it.
    pub point: Point,
    /// What it came to. A fault says that its command was not begun.
    pub result: Result<CommandEnd, Fault>,
}

/// Runs the cells, `at_once` of them side by side: all of them where they are to be left. One that fails stops no other. Gives their ends in
/// their order.
pub async fn run_commands(run: &Run, site: &Site, cells: &[CommandCell<'_>], at_once: usize) -> Vec<CommandCellEnd> {
    let one = async |cell: &CommandCell<'_>| {
        let run = run.in_cell(&cell.point);
        let result = match (run.stop.is_cancelled(), run.detach.is_cancelled()) {
            (true, _) => Err(Fault::new(FaultKind::Interrupted, "interrupted before it was begun")),
            (false, true) => Err(Fault::new(FaultKind::Interrupted, "the run was left before it was begun")),
            (false, false) => run_command(&run, site, &cell.job, &cell.records).await,
        };
        end_of(&run, &cell.point, result)
    };
    futures_util::stream::iter(cells).map(one).buffered(at_once.max(1)).collect().await
}

/// A cell that an earlier driver began.
pub struct BegunCell<'a> {
    /// What was chosen for it.
    pub point: Point,
    /// Its command, with what was written down of it; none where it was not begun.
    pub task: Option<(Box<dyn UserCommand>, CommandTask)>,
    /// Its machine, and where that came from; none where it is gone.
    pub machine: Option<(Machine, Site)>,
    /// Why it was not begun, where that is known.
    pub failed: Option<String>,
    /// Where things of it are kept.
    pub records: CommandRecords<'a>,
}

/// Goes on with cells that an earlier driver began.
pub async fn resume_commands(run: &Run, cells: Vec<BegunCell<'_>>) -> Vec<CommandCellEnd> {
    let one = async |cell: BegunCell<'_>| {
        let run = run.in_cell(&cell.point);
        let never = || cell.failed.clone().unwrap_or_else(|| "its driver ended before it was begun".to_owned());
        let result = match (cell.task, cell.machine) {
            (None, _) => Err(Fault::infrastructure(never())),
            (Some((command, task)), Some((machine, site))) => {
                let ended = resume_command(&run, &site, machine, command.as_ref(), &task, &cell.records).await;
                Ok((ended, Some(task)))
            }
            (Some((_, task)), None) => match CommandOutcome::read(cell.records.folder) {
                Some(outcome) => {
                    let ended = LeaseEnd { result: Ok(Some(outcome)), left: Vec::new(), cost: None, detached: None };
                    Ok((ended, Some(task)))
                }
                None => Err(Fault::infrastructure("its machine ended before it was followed to its end")),
            },
        };
        end_of(&run, &cell.point, result)
    };
    futures_util::future::join_all(cells.into_iter().map(one)).await
}

/// The end of a cell, whose fault is told at once: others go on meanwhile.
fn end_of(run: &Run, point: &Point, result: Result<CommandEnd, Fault>) -> CommandCellEnd {
    let fault = match &result {
        Err(fault) => Some(fault),
        Ok((ended, _)) => ended.result.as_ref().err(),
    };
    if let Some(fault) = fault {
        run.tell(RunEvent::Failed { failure: fault.into() });
    }
    CommandCellEnd { point: point.clone(), result }
}
