//! What a run keeps of itself, shown as it grows.

use model::event::{Event, Words};
use model::fault::Fault;
use model::task::{Chunk, Offsets};
use state::events::EventReader;
use state::output::OutputReader;
use state::runs::RunDir;

use crate::ui::Screen;

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

/// Shows a run that somebody else drives, or drove, as its driver does: how far it is, and the output of its tests.
pub(crate) struct RunViewer {
    dir: RunDir,
    events: Option<EventReader>,
    output: Option<Viewer>,
    /// Whether all that happened before anybody watched was shown.
    is_present: bool,
}

impl RunViewer {
    /// A viewer of this run from its beginning on; with `shows_output` also of what its tests print.
    pub(crate) fn new(dir: RunDir, shows_output: bool) -> Self {
        let output = shows_output.then(|| Viewer::new(dir.clone()));
        Self { dir, events: None, output, is_present: false }
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
        self.output.as_mut().map_or(Ok(()), |output| output.pass(&|chunk| screen.test_output(chunk)))
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
