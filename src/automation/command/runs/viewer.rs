//! What a run keeps of itself, shown as it grows.

use std::cell::RefCell;

use model::event::{Event, Words};
use model::fault::Fault;
use model::task::{Chunk, Offsets};
use state::events::EventReader;
use state::output::OutputReader;
use state::runs::RunDir;

use crate::command::testing::CellFolder;
use crate::ui::Screen;
use crate::ui::prefix::Prefixed;

/// Shows the output in a run's log, each byte once.
pub(crate) struct Viewer {
    dir: RunDir,
    reader: Option<OutputReader>,
    offsets: Offsets,
}

impl Viewer {
    /// A viewer of this run, from the beginning.
    pub(crate) fn new(dir: RunDir) -> Self {
        Self { dir, reader: None, offsets: Offsets::default() }
    }

    /// Shows the output that is new since the last call.
    pub(crate) fn show(&mut self, screen: &Screen) -> Result<(), Fault> {
        self.pass(&|chunk| screen.task_output(chunk))
    }

    fn pass(&mut self, show: &dyn Fn(Chunk)) -> Result<(), Fault> {
        if self.reader.is_none() {
            self.reader = OutputReader::open(&self.dir.output())?;
        }
        let Some(reader) = &mut self.reader else { return Ok(()) };
        while let Some(chunk) = reader.next_piece()? {
            match &chunk {
                Chunk::Stdout(bytes) => self.offsets.stdout += bytes.len() as u64,
                Chunk::Stderr(bytes) => self.offsets.stderr += bytes.len() as u64,
            }
            show(chunk);
        }
        Ok(())
    }

    /// How many bytes of each stream were shown.
    pub(crate) fn offsets(&self) -> Offsets {
        self.offsets
    }
}

/// Shows the output of a run's command in each cell of its matrix, each line behind the cell's name.
pub(crate) struct CellsViewer(Vec<(Viewer, RefCell<[Prefixed; 2]>)>);

impl CellsViewer {
    /// A viewer of a run's cells from the beginning; none where it has no matrix.
    pub(crate) fn of(dir: &RunDir) -> Result<Option<Self>, Fault> {
        let cells = dir.matrix_cells()?;
        let name = |cell: &RunDir| {
            let note = CellFolder::read_note(cell).unwrap_or_else(|_| CellFolder::note_of(cell));
            note.point.to_string()
        };
        let names: Vec<String> = cells.iter().map(name).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        let viewer = |(cell, name): (RunDir, &String)| {
            let lines = [Prefixed::new(name, width), Prefixed::new(name, width)];
            (Viewer::new(cell), RefCell::new(lines))
        };
        let cells: Vec<_> = cells.into_iter().zip(&names).map(viewer).collect();
        Ok((!cells.is_empty()).then_some(Self(cells)))
    }

    /// Shows the lines that are new since the last call.
    pub(crate) fn show(&mut self, screen: &Screen) -> Result<(), Fault> {
        for (viewer, lines) in &mut self.0 {
            viewer.pass(&|chunk| {
                let [stdout, stderr] = &mut *lines.borrow_mut();
                screen.task_output(match chunk {
                    Chunk::Stdout(bytes) => Chunk::Stdout(stdout.push(&bytes)),
                    Chunk::Stderr(bytes) => Chunk::Stderr(stderr.push(&bytes)),
                });
            })?;
        }
        Ok(())
    }

    /// Shows last lines that have no end.
    pub(crate) fn finish(&self, screen: &Screen) {
        for (_, lines) in &self.0 {
            let [stdout, stderr] = &mut *lines.borrow_mut();
            screen.task_output(Chunk::Stdout(stdout.end()));
            screen.task_output(Chunk::Stderr(stderr.end()));
        }
    }
}

/// Shows a run that somebody else drives, or drove, as its driver does: how far it is, and the output of its tests.
pub(crate) struct RunViewer {
    dir: RunDir,
    events: Option<EventReader>,
    output: Option<Viewer>,
    cells: Option<CellsViewer>,
    /// Whether all that happened before anybody watched was shown.
    is_present: bool,
}

impl RunViewer {
    /// A viewer of this run from its beginning on; with `shows_output` also of what its tests print.
    pub(crate) fn new(dir: RunDir, shows_output: bool) -> Self {
        let output = shows_output.then(|| Viewer::new(dir.clone()));
        Self { dir, events: None, output, cells: None, is_present: false }
    }

    /// Shows what is new since the last call.
    pub(crate) fn show(&mut self, screen: &Screen) -> Result<(), Fault> {
        if self.events.is_none() {
            self.events = EventReader::open(&self.dir)?;
        }
        if let Some(events) = &mut self.events {
            while let Some(event) = events.next_event()? {
                show_event(screen, event, self.is_present);
            }
        }
        self.is_present = true;
        let Some(output) = &mut self.output else { return Ok(()) };
        output.pass(&|chunk| screen.test_output(chunk))?;
        if self.cells.is_none() {
            self.cells = CellsViewer::of(&self.dir)?;
        }
        self.cells.as_mut().map_or(Ok(()), |cells| cells.show(screen))
    }
}

fn show_event(screen: &Screen, event: Event, is_present: bool) {
    match event.words() {
        // What the run came to is told by whoever asks for it, from its results.
        Words::Outcome(_) => screen.replay(event),
        _ if is_present => model::event::Sink::event(screen, event),
        _ => screen.replay(event),
    }
}
