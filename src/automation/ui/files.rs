//! Files that are printed in pieces.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use model::fault::Fault;

use super::screen::{OutputTo, Screen};

/// Bytes of a file that are printed at once.
const PIECE: usize = 64 << 10;

impl Screen {
    /// Prints the output of a task that is kept in a file, in pieces.
    pub fn output_file(&self, path: &Path) -> Result<(), Fault> {
        let Some(mut file) = self.open(path)? else { return Ok(()) };
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece).map_err(|error| unreadable(path, error))?;
            if read == 0 || self.write_output(OutputTo::Stdout, &piece[..read]).is_err() {
                return Ok(());
            }
        }
    }

    /// Prints one of our own files, which holds a JSON value a line.
    pub fn json_file(&self, path: &Path) -> Result<(), Fault> {
        let Some(file) = self.open(path)? else { return Ok(()) };
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|error| unreadable(path, error))?;
            if self.json_text(&String::from_utf8_lossy(&line)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Opens the file; none where it does not exist.
    fn open(&self, path: &Path) -> Result<Option<std::fs::File>, Fault> {
        self.settle();
        match std::fs::File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, error)),
        }
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Fault {
    Fault::outside(format!("cannot read `{}`", path.display())).because(error)
}
