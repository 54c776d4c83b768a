//! The kept output of a run, shown as it grows.

use model::fault::Fault;
use model::task::{Chunk, Offsets};
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
        if self.reader.is_none() {
            self.reader = OutputReader::open(&self.dir.output())?;
        }
        let Some(reader) = &mut self.reader else { return Ok(()) };
        while let Some(chunk) = reader.next_piece()? {
            match &chunk {
                Chunk::Stdout(bytes) => self.offsets.stdout += bytes.len() as u64,
                Chunk::Stderr(bytes) => self.offsets.stderr += bytes.len() as u64,
            }
            screen.task_output(chunk);
        }
        Ok(())
    }

    /// How many bytes of each stream were shown.
    pub(crate) fn offsets(&self) -> Offsets {
        self.offsets
    }
}
