//! The events of a command as they happen, a JSON object a line, for programs that watch (`docs/json.md`).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use model::base::escapes;
use model::event::{Event, Words};
use model::fault::Fault;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::out;

/// The name that means standard output.
const STDOUT: &str = "-";

/// Where the events go.
pub struct EventStream(Target);

enum Target {
    Stdout,
    File(PathBuf, Mutex<File>),
}

impl EventStream {
    /// Opens the file, which is emptied, or standard output for `-`. A pipe must have a reader by then.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        if path == Path::new(STDOUT) {
            return Ok(Self(Target::Stdout));
        }
        let unfit = |error: std::io::Error| {
            Fault::usage(format!("cannot write `--events {}`", path.display())).because(error).hint(
                "Name a file in a folder that is there and that you may write to; a pipe must have its reader first.",
            )
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // Opening a pipe without a reader would wait for one for ever.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = options.custom_flags(flags.bits().cast_signed()).open(path).map_err(unfit)?;
        let flags = fcntl_getfl(&file).map_err(|error| unfit(error.into()))?;
        fcntl_setfl(&file, flags - OFlags::NONBLOCK).map_err(|error| unfit(error.into()))?;
        Ok(Self(Target::File(path.to_owned(), Mutex::new(file))))
    }

    /// Whether standard output belongs to the events.
    pub fn is_stdout(&self) -> bool {
        matches!(self.0, Target::Stdout)
    }

    /// Writes an event. How far a step is, which comes often and is outdated a moment later, is left out. A failure to write is
    /// reported at the end of the process.
    pub(super) fn write(&self, event: &Event) {
        if matches!(event.words(), Words::Progress(_)) {
            return;
        }
        // JSON can hold every event.
        let Ok(text) = serde_json::to_string(event) else { return };
        let line = format!("{}\n", escapes::json(&text));
        match &self.0 {
            Target::Stdout => drop(out::data(line.as_bytes())),
            Target::File(path, file) => {
                let written = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
                if let Err(error) = written {
                    out::note_file(path, &error);
                }
            }
        }
    }
}
