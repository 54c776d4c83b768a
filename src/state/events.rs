//! The events of a run as its log keeps them, read as they come.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};

use model::event::Event;
use model::fault::Fault;

use crate::file;
use crate::runs::{RunDir, RunFile};

/// The longest line that is an event, bytes: ours hold at most a difference of 8 KiB and a hundred names of files.
const LONGEST: u64 = 4 << 20;

/// Reads the events of a run from the first on.
pub struct EventReader {
    path: std::path::PathBuf,
    file: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    line: Vec<u8>,
}

impl EventReader {
    /// Opens the events of a run; none where nothing was written yet.
    pub fn open(run: &RunDir) -> Result<Option<Self>, Fault> {
        let path = run.file(RunFile::Events);
        match File::open(&path) {
            Ok(file) => Ok(Some(Self { path, file: BufReader::new(file), line: Vec::new() })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file::fault("open the log", &path, error)),
        }
    }

    /// The next event; none at the present end of the file, where others may follow. Lines that are no event are left out, as
    /// [`model::event::read`] does.
    pub fn next_event(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            let most = LONGEST.saturating_sub(self.line.len() as u64);
            let read = (&mut self.file).take(most).read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| file::fault("read the log", &self.path, error))?;
            if self.line.last() != Some(&b'\n') {
                if read == 0 && most > 0 {
                    return Ok(None);
                }
                if self.line.len() as u64 >= LONGEST {
                    // The rest of it is no event either.
                    self.line.clear();
                }
                continue;
            }
            let event = serde_json::from_slice(&self.line).ok();
            self.line.clear();
            if event.is_some() {
                return Ok(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use model::event::StepEvent;

    fn line(text: &str) -> String {
        let kind = StepEvent::Said { line: text.to_owned() }.into();
        let event = Event { at: jiff::Timestamp::UNIX_EPOCH, subject: None, cell: None, kind };
        serde_json::to_string(&event).unwrap() + "\n"
    }

    #[test]
    fn events_are_read_as_they_are_written_and_what_is_none_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &"r-1".parse().unwrap()).unwrap();
        assert!(EventReader::open(&run).unwrap().is_none());
        let path = run.file(RunFile::Events);
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        let mut reader = EventReader::open(&run).unwrap().unwrap();
        let mut read = || -> Vec<String> {
            let next = || reader.next_event().unwrap().map(|event| format!("{:?}", event.words()));
            std::iter::from_fn(next).collect()
        };
        assert!(read().is_empty());
        let (one, two) = (line("one"), line("two"));
        file.write_all(format!("{one}{{\"torn\n{}", &two[..20]).as_bytes()).unwrap();
        assert_eq!(read(), [r#"Detail("one")"#]);
        file.write_all(&two.as_bytes()[20..]).unwrap();
        assert_eq!(read(), [r#"Detail("two")"#]);
        file.write_all(&vec![b'x'; usize::try_from(LONGEST).unwrap() * 2 + 7]).unwrap();
        file.write_all(format!("\n{}", line("three")).as_bytes()).unwrap();
        assert_eq!(read(), [r#"Detail("three")"#]);
        assert!(read().is_empty());
    }
}
