//! The end of a command that ran in several cells: one table, one exit code, the worst.

use std::sync::{Arc, Mutex, PoisonError};

use flow::command::cells::CommandCellEnd;
use flow::command::{CommandOutcome, CommandTask};
use flow::testing::shards::CellNote;
use model::base::id::{MachineId, RunId};
use model::base::text;
use model::event::RunEvent;
use model::exit::Exit;
use model::exit_code::{CellCode, worst};
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::task::{Chunk, Offsets, TaskOutput};
use serde::{Deserialize, Serialize};
use state::runs::{RunDir, RunFile};

use crate::command::command_end::{LINE_SHOWN, code_of, code_of_fault};
use crate::command::error::exit;
use crate::command::session::{Ending, Session};
use crate::command::testing::CellFolder;
use crate::ui::prefix::Prefixed;
use crate::ui::{Screen, table};

/// Keeps the output of a cell in its folder, and shows it, each line behind the cell's name.
pub struct CellOutput {
    kept: Box<dyn TaskOutput>,
    screen: Option<Arc<Screen>>,
    lines: Mutex<[Prefixed; 2]>,
}

impl CellOutput {
    /// The output of the cell of this folder; names have up to `width` characters.
    pub fn open(session: &Session, folder: &RunDir, name: &str, width: usize) -> Result<Self, Fault> {
        let lines = || Prefixed::new(name, width);
        let screen = session.shows_output().then(|| Arc::clone(&session.context.screen));
        Ok(Self { kept: folder.open_output()?, screen, lines: Mutex::new([lines(), lines()]) })
    }

    /// Shows a last line that has no end.
    fn finish(&self) {
        let [stdout, stderr] = &mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        self.show(Chunk::Stdout(stdout.end()));
        self.show(Chunk::Stderr(stderr.end()));
    }

    fn show(&self, chunk: Chunk) {
        let (Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = &chunk;
        if let Some(screen) = self.screen.as_ref().filter(|_| !bytes.is_empty()) {
            screen.task_output(chunk);
        }
    }
}

impl TaskOutput for CellOutput {
    fn offsets(&self) -> Offsets {
        self.kept.offsets()
    }

    fn append(&self, chunk: &Chunk) -> Result<(), Fault> {
        self.kept.append(chunk)?;
        let [stdout, stderr] = &mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        self.show(match chunk {
            Chunk::Stdout(bytes) => Chunk::Stdout(stdout.push(bytes)),
            Chunk::Stderr(bytes) => Chunk::Stderr(stderr.push(bytes)),
        });
        Ok(())
    }
}

/// The end of one cell, its folder and its output.
pub struct EndedCell {
    /// How it ended.
    pub end: CommandCellEnd,
    /// Its folder.
    pub folder: RunDir,
    /// Its output.
    pub output: CellOutput,
}

/// What is kept and printed of a command that ran in several cells.
#[derive(Serialize)]
struct CellsResults<'a> {
    id: &'a RunId,
    command: &'a str,
    /// Our exit code.
    code: i32,
    cost: Option<f64>,
    cells: Vec<CellResults>,
}

/// What was kept of the cells of a command that has ended.
#[derive(Deserialize)]
struct KeptCells {
    cells: Vec<CellResults>,
}

/// What one cell came to.
#[derive(Serialize, Deserialize)]
pub struct CellResults {
    cell: String,
    /// What its exit code would be if it were alone.
    code: i32,
    image: Option<String>,
    machine: Option<MachineId>,
    cost: Option<f64>,
    /// Why its command was not begun, or not followed to its end.
    failed: Option<String>,
    #[serde(flatten)]
    outcome: Option<CommandOutcome>,
}

impl CellResults {
    fn of(session: &Session, end: CommandCellEnd) -> Self {
        let cell = end.point.to_string();
        let failed = |fault: &Fault, task: Option<&CommandTask>, cost| Self {
            cell: cell.clone(),
            code: code_of_fault(fault),
            image: task.map(|task| task.image.clone()),
            machine: task.map(|task| task.begun.machine.clone()),
            cost,
            failed: Some(fault.line()),
            outcome: None,
        };
        let (ended, task) = match end.result {
            Ok(ended) => ended,
            Err(fault) => return failed(&fault, None, None),
        };
        let outcome = match (ended.result, &task) {
            (Ok(Some(outcome)), Some(_)) => outcome,
            (Ok(_), task) => {
                let fault = Fault::new(FaultKind::Interrupted, "interrupted");
                return failed(&fault, task.as_ref(), ended.cost);
            }
            (Err(fault), task) => return failed(&fault, task.as_ref(), ended.cost),
        };
        let own = code_of(&outcome, session.run.stop.is_cancelled());
        let lack = outcome.lack();
        let code = if own == exit::OK && lack.is_some() { exit::COMMAND_NOT_RUN } else { own };
        Self {
            cell,
            code,
            image: task.as_ref().map(|task| task.image.clone()),
            machine: task.map(|task| task.begun.machine),
            cost: ended.cost,
            failed: lack.map(|fault| fault.line()),
            outcome: Some(outcome),
        }
    }

    /// Whose its exit code is.
    fn kind(&self) -> CellCode {
        match &self.outcome {
            Some(CommandOutcome { exit: Exit::Lost(_), .. }) | None => CellCode::Ours(self.code),
            // It succeeded, and its files are missing.
            Some(outcome) if outcome.exit.is_success() && self.code != exit::OK => CellCode::Ours(self.code),
            Some(_) => CellCode::Own(self.code),
        }
    }

    /// How it ended, in a word or two.
    fn words(&self) -> String {
        match &self.outcome {
            Some(outcome) if outcome.timed_out => "its time was over".to_owned(),
            _ if self.code == exit::INTERRUPTED => "cancelled".to_owned(),
            Some(CommandOutcome { exit: Exit::Lost(_), .. }) => "lost".to_owned(),
            Some(_) if self.code == exit::COMMAND_NOT_RUN && self.failed.is_some() => "files are missing".to_owned(),
            Some(outcome) if outcome.exit.is_success() => "succeeded".to_owned(),
            Some(outcome) if outcome.memory_limit => format!("{} (memory limit)", outcome.exit),
            Some(outcome) => outcome.exit.to_string(),
            None => "not run".to_owned(),
        }
    }

    fn row(&self) -> Vec<String> {
        let took = self.outcome.as_ref().map(|outcome| text::seconds(outcome.took));
        let machine = self.machine.as_ref().map(ToString::to_string);
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        vec![self.cell.clone(), self.words(), or_none(took), or_none(machine)]
    }
}

/// What the cells of a run with a command came to, where it has cells and has ended.
pub fn read_cells(folder: &RunDir) -> Result<Option<Vec<CellResults>>, Fault> {
    if folder.matrix_cells()?.is_empty() {
        return Ok(None);
    }
    let Some(text) = folder.read(RunFile::Command)? else { return Ok(None) };
    let path = folder.file(RunFile::Command);
    let kept: KeptCells = serde_json::from_slice(&text)
        .map_err(|error| Fault::outside(format!("`{}` is damaged", path.display())).because(error))?;
    Ok(Some(kept.cells))
}

/// A table of what the cells came to.
pub fn cells_table(cells: &[CellResults]) -> String {
    let rows: Vec<Vec<String>> = cells.iter().map(CellResults::row).collect();
    table::render(&["CELL", "RESULT", "TOOK", "MACHINE"], 0, &rows)
}

/// The ending of a run whose cells were followed, or left.
pub fn conclude_cells(session: &Session, line: &str, cells: Vec<EndedCell>, json: bool) -> Result<Ending, Fault> {
    let mut detached = Vec::new();
    for cell in &cells {
        cell.output.finish();
        match &cell.end.result {
            Ok((ended, _)) => detached.extend(ended.detached.clone()),
            Err(fault) => {
                // Whoever attaches later tells it.
                let note = CellNote { point: cell.end.point.clone(), failed: Some(fault.line()) };
                CellFolder::write_note(&cell.folder, &note)?;
            }
        }
    }
    if !detached.is_empty() {
        return Ok(left(line, detached));
    }
    let cells: Vec<CellResults> = cells.into_iter().map(|cell| CellResults::of(session, cell.end)).collect();
    publish(session, line, cells, json)
}

fn left(line: &str, detached: Vec<Machine>) -> Ending {
    let until = detached.iter().map(|machine| machine.expires_at).min();
    let until = until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
    let machines = text::pluralize(detached.len() as u64, "machine");
    let summary = format!("`{}` on {machines}{until}", text::cut(line, LINE_SHOWN));
    Ending { code: exit::DETACHED, summary, detached }
}

/// Keeps what the cells came to, and tells it.
fn publish(session: &Session, line: &str, cells: Vec<CellResults>, json: bool) -> Result<Ending, Fault> {
    let code = worst(cells.iter().map(CellResults::kind));
    let costs = || cells.iter().filter_map(|cell| cell.cost);
    let cost = costs().next().map(|_| costs().sum());
    let table = cells_table(&cells);
    let good = cells.iter().filter(|cell| cell.code == exit::OK).count();
    let results = CellsResults { id: session.id(), command: line, code, cost, cells };
    let json_text = serde_json::to_string_pretty(&results)
        .map_err(|error| Fault::infrastructure("cannot write JSON").because(error))?;
    session.dir.write(RunFile::Command, json_text.as_bytes())?;
    let screen = &session.context.screen;
    screen.message(table.trim_end());
    for cell in results.cells.iter().filter(|cell| cell.outcome.is_some()) {
        if let Some(failed) = &cell.failed {
            screen.message(&format!("{}: {failed}", cell.cell));
        }
    }
    let ended = RunEvent::CellsEnded { line: line.to_owned(), cells: results.cells.len(), succeeded: good, code };
    let summary = ended.text();
    session.run.tell(ended);
    if json {
        drop(screen.json_text(&json_text));
    }
    Ok(Ending { code, summary, detached: Vec::new() })
}
