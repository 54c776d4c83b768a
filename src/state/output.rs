//! The output of a run's task: `output.log` with the bytes as they came, `output.index` with a record for each piece.
//!
//! A record is five bytes, the stream (1 standard output, 2 standard error) and the piece's length as a little-endian
//! `u32`. It is written after its bytes, so everything that the index covers is in the log. A writer that opens the
//! files to go on cuts both back to that: one that was killed at any byte has left nothing half, and the sums of the
//! records are the offsets from which the task is followed.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use model::fault::Fault;
use model::task::{Chunk, Offsets, TaskOutput};

use crate::file;

/// Bytes of a record.
const RECORD: usize = 5;

/// How many bytes of output are read at once.
const PIECE: u64 = 64 * 1024;

/// Where the two files of an output are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPlace {
    bytes: PathBuf,
    index: PathBuf,
}

impl OutputPlace {
    /// Files of this name in a folder.
    pub(super) fn in_folder(folder: &Path, name: &str) -> Self {
        Self { bytes: folder.join(format!("{name}.log")), index: folder.join(format!("{name}.index")) }
    }
}

/// The output of one machine, where several are at work for a run.
pub(super) struct MachineOutput(Mutex<OutputFiles>);

impl MachineOutput {
    /// Opens it to go on after what it holds.
    pub(super) fn open(place: &OutputPlace) -> Result<Self, Fault> {
        Ok(Self(Mutex::new(OutputFiles::open(place)?)))
    }
}

impl TaskOutput for MachineOutput {
    fn offsets(&self) -> Offsets {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).offsets()
    }

    fn append(&self, chunk: &Chunk) -> Result<(), Fault> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.append(chunk).map_err(|error| file::fault("write", &files.path, error))
    }
}

/// The kept output of a task. One process at a time writes it: the one that holds the run's driver lock.
pub(super) struct OutputFiles {
    /// The log, for messages.
    pub(super) path: PathBuf,
    bytes: File,
    index: File,
    records: u64,
    offsets: Offsets,
}

impl OutputFiles {
    /// Opens both files, making them when they are missing, and cuts them back to what the index covers.
    pub(super) fn open(place: &OutputPlace) -> Result<Self, Fault> {
        let bytes = open(&place.bytes)?;
        let index = open(&place.index)?;
        let mut output = Self { path: place.bytes.clone(), bytes, index, records: 0, offsets: Offsets::default() };
        output.cut_back().map_err(|error| file::fault("read the log", &output.path, error))?;
        Ok(output)
    }

    fn cut_back(&mut self) -> io::Result<()> {
        let held = self.bytes.metadata()?.len();
        let mut index = BufReader::new(&self.index);
        let (mut record, mut records, mut offsets) = ([0; RECORD], 0, Offsets::default());
        while read_whole(&mut index, &mut record)? {
            let Some(further) = add_record(offsets, &record).filter(|offsets| total(*offsets) <= held) else { break };
            (records, offsets) = (records + 1, further);
        }
        (self.records, self.offsets) = (records, offsets);
        self.cut()
    }

    /// Cuts both files to the length of what is kept.
    fn cut(&self) -> io::Result<()> {
        for (file, length) in [(&self.bytes, total(self.offsets)), (&self.index, self.records * RECORD as u64)] {
            if file.metadata()?.len() > length {
                file.set_len(length)?;
            }
        }
        Ok(())
    }

    /// How much of every stream is kept.
    pub(super) fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// Keeps a piece whole or not at all.
    pub(super) fn append(&mut self, chunk: &Chunk) -> io::Result<()> {
        let (stream, bytes) = match chunk {
            Chunk::Stdout(bytes) => (1, bytes),
            Chunk::Stderr(bytes) => (2, bytes),
        };
        // A record counts no more than 4 GiB; real pieces are packets.
        for piece in bytes.chunks(u32::MAX as usize) {
            let mut record = [stream; RECORD];
            record[1..].copy_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes());
            let written = self
                .bytes
                .write_all_at(piece, total(self.offsets))
                .and_then(|()| self.index.write_all_at(&record, self.records * RECORD as u64));
            if let Err(error) = written {
                // Bytes that stay behind the end are overwritten by the next piece, or cut off by the next writer.
                drop(self.cut());
                return Err(error);
            }
            self.records += 1;
            self.offsets = add_record(self.offsets, &record).unwrap_or(self.offsets);
        }
        Ok(())
    }

    /// Puts everything on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.bytes.sync_all().and_then(|()| self.index.sync_all())
    }
}

fn open(path: &Path) -> Result<File, Fault> {
    // Not opened for appending: every write names its place, so that one that failed half-way is overwritten.
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map_err(|error| file::fault("open the log", path, error))
}

fn total(offsets: Offsets) -> u64 {
    offsets.stdout + offsets.stderr
}

/// `offsets` with the piece of a record added; none if the bytes are not a record.
fn add_record(offsets: Offsets, record: &[u8; RECORD]) -> Option<Offsets> {
    let [stream, length @ ..] = *record;
    let length = u64::from(u32::from_le_bytes(length));
    match stream {
        1 => Some(Offsets { stdout: offsets.stdout + length, ..offsets }),
        2 => Some(Offsets { stderr: offsets.stderr + length, ..offsets }),
        _ => None,
    }
}

/// Fills `buffer`; false where the file ends before that.
fn read_whole(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads the kept output of a task, also while its driver goes on writing. Changes nothing.
pub struct OutputReader {
    path: PathBuf,
    bytes: File,
    index: File,
    /// Records that were read, and bytes that were given.
    records: u64,
    given: u64,
    waiting: VecDeque<(u8, u64)>,
}

impl OutputReader {
    /// Opens an output; none while there is none.
    pub fn open(place: &OutputPlace) -> Result<Option<Self>, Fault> {
        let open = |path: &Path| match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file::fault("read", path, error)),
        };
        let (bytes, index) = (open(&place.bytes)?, open(&place.index)?);
        let (Some(bytes), Some(index)) = (bytes, index) else { return Ok(None) };
        let path = place.bytes.clone();
        Ok(Some(Self { path, bytes, index, records: 0, given: 0, waiting: VecDeque::new() }))
    }

    /// The next piece, of at most 64 KiB; none if everything that is there now was given.
    pub fn next_piece(&mut self) -> Result<Option<Chunk>, Fault> {
        self.read().map_err(|error| file::fault("read", &self.path, error))
    }

    fn read(&mut self) -> io::Result<Option<Chunk>> {
        if self.waiting.is_empty() {
            self.read_index()?;
        }
        let Some((stream, mut length)) = self.waiting.pop_front() else { return Ok(None) };
        while let Some((_, further)) = self.waiting.front().filter(|(other, _)| *other == stream && length < PIECE) {
            length += further;
            self.waiting.pop_front();
        }
        let now = length.min(PIECE);
        if now < length {
            self.waiting.push_front((stream, length - now));
        }
        let mut bytes = vec![0; usize::try_from(now).unwrap_or_default()];
        self.bytes.read_exact_at(&mut bytes, self.given)?;
        self.given += now;
        Ok(Some(if stream == 1 { Chunk::Stdout(bytes) } else { Chunk::Stderr(bytes) }))
    }

    fn read_index(&mut self) -> io::Result<()> {
        let mut block = vec![0; RECORD * 4096];
        let count = self.index.read_at(&mut block, self.records * RECORD as u64)?;
        for record in block[..count].chunks_exact(RECORD) {
            let [stream, length @ ..] = record else { break };
            let length = <[u8; 4]>::try_from(length).map(u32::from_le_bytes).unwrap_or_default();
            self.waiting.push_back((*stream, u64::from(length)));
            self.records += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{RunDir, RunFile};

    fn run() -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &"r-1".parse().unwrap()).unwrap();
        (dir, run)
    }

    fn pieces(run: &RunDir) -> Vec<Chunk> {
        let mut reader = OutputReader::open(&run.output()).unwrap().unwrap();
        std::iter::from_fn(|| reader.next_piece().unwrap()).collect()
    }

    #[test]
    fn a_writer_killed_at_any_byte_leaves_nothing_half() {
        let (_dir, run) = run();
        let (log, index) = (run.file(RunFile::Output), run.file(RunFile::Index));
        let chunks =
            [Chunk::Stdout(b"one".to_vec()), Chunk::Stderr(b"\0two\xff".to_vec()), Chunk::Stdout(b"3".to_vec())];
        let mut output = OutputFiles::open(&run.output()).unwrap();
        for chunk in &chunks {
            output.append(chunk).unwrap();
        }
        assert_eq!(output.offsets(), Offsets { stdout: 4, stderr: 5 });
        let (whole, records) = (std::fs::read(&log).unwrap(), std::fs::read(&index).unwrap());
        assert_eq!((whole.as_slice(), records.len()), (b"one\0two\xff3".as_slice(), 15));
        // The bytes come first, then their record: whatever part of either exists, only whole pieces are kept.
        for bytes in 0..=whole.len() {
            for index_bytes in 0..=records.len() {
                std::fs::write(&log, &whole[..bytes]).unwrap();
                std::fs::write(&index, &records[..index_bytes]).unwrap();
                let kept = total(OutputFiles::open(&run.output()).unwrap().offsets()) as usize;
                let fits =
                    [0, 3, 8, 9].into_iter().take(index_bytes / RECORD + 1).filter(|end| *end <= bytes).max().unwrap();
                assert_eq!(kept, fits, "{bytes} bytes, {index_bytes} of the index");
                assert_eq!(std::fs::read(&log).unwrap(), &whole[..fits]);
                let mut output = OutputFiles::open(&run.output()).unwrap();
                for chunk in &chunks[[0, 3, 8, 9].iter().position(|end| *end == fits).unwrap()..] {
                    output.append(chunk).unwrap();
                }
                assert_eq!(
                    (std::fs::read(&log).unwrap(), std::fs::read(&index).unwrap()),
                    (whole.clone(), records.clone())
                );
            }
        }
        assert_eq!(pieces(&run), chunks);
    }

    #[test]
    fn a_damaged_record_ends_what_is_kept() {
        let (_dir, run) = run();
        let mut output = OutputFiles::open(&run.output()).unwrap();
        output.append(&Chunk::Stdout(b"ab".to_vec())).unwrap();
        output.append(&Chunk::Stdout(b"cd".to_vec())).unwrap();
        output.index.write_all_at(&[9], RECORD as u64).unwrap();
        assert_eq!(OutputFiles::open(&run.output()).unwrap().offsets(), Offsets { stdout: 2, stderr: 0 });
        assert_eq!(std::fs::read(run.file(RunFile::Output)).unwrap(), b"ab");
    }

    #[test]
    fn a_reader_meets_what_comes_later_and_joins_small_pieces() {
        let (_dir, run) = run();
        assert!(OutputReader::open(&run.output()).unwrap().is_none());
        let mut output = OutputFiles::open(&run.output()).unwrap();
        let mut reader = OutputReader::open(&run.output()).unwrap().unwrap();
        assert_eq!(reader.next_piece().unwrap(), None);
        for _ in 0..3 {
            output.append(&Chunk::Stdout(b"ab".to_vec())).unwrap();
        }
        output.append(&Chunk::Stderr(vec![7; 100_000])).unwrap();
        assert_eq!(reader.next_piece().unwrap(), Some(Chunk::Stdout(b"ababab".to_vec())));
        assert_eq!(reader.next_piece().unwrap(), Some(Chunk::Stderr(vec![7; 65_536])));
        assert_eq!(reader.next_piece().unwrap(), Some(Chunk::Stderr(vec![7; 100_000 - 65_536])));
        assert_eq!(reader.next_piece().unwrap(), None);
        output.append(&Chunk::Stdout(b"c".to_vec())).unwrap();
        assert_eq!(reader.next_piece().unwrap(), Some(Chunk::Stdout(b"c".to_vec())));
    }
}
