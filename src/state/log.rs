//! The log of a run: `output.log` with the task's output as it came (see [`crate::state::output`]), `events.log` with a line
//! per step.
//!
//! A log that cannot be written never ends a run. What a [`TaskOutput`] cannot keep is refused, so that whoever follows a task
//! asks for it again. Of all else the first failure is told once, by the function given at the start, and what is missing is
//! remembered for the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::text;
use crate::model::event::{Event, Sink};
use crate::model::fault::Fault;
use crate::model::task::{Chunk, Offsets, TaskOutput};
use crate::state::file;
use crate::state::output::Output;
use crate::state::runs::{RunDir, RunFile};

/// How many bytes of events are gathered before they are written.
const BUFFER: usize = 64 * 1024;

/// How long events may wait before they are written. Output never waits.
const FLUSH: Duration = Duration::from_secs(1);

/// The log of one run. Takes events as a [`Sink`]; [`RunLog::finish`] puts everything on the disk.
pub struct RunLog {
    shared: Arc<Shared>,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

/// Told the first time that something could not be written. Called without any lock held, from any thread.
pub type Warn = Box<dyn Fn(&str) + Send + Sync>;

struct Shared {
    files: Mutex<Files>,
    ended: Condvar,
    clock: fn() -> Timestamp,
    warn: Warn,
}

struct Files {
    output: Output,
    /// What of the output was not kept, and why.
    missing: Missing,
    events: Buffered,
    end: bool,
}

impl RunLog {
    /// Opens the files to go on with what they hold, and begins to write events out every second. `clock` says their time.
    pub fn start(run: &RunDir, clock: fn() -> Timestamp, warn: Warn) -> Result<Self, Fault> {
        let files = Files {
            output: Output::open(run)?,
            missing: Missing::default(),
            events: Buffered::open(&run.file(RunFile::Events))?,
            end: false,
        };
        let shared = Arc::new(Shared { files: Mutex::new(files), ended: Condvar::new(), clock, warn });
        let theirs = Arc::clone(&shared);
        let spawned = std::thread::Builder::new().name("run-log".to_owned()).spawn(move || theirs.flush_until_end());
        let flusher = spawned.map_err(|error| Fault::outside("cannot start a thread for the log").because(error))?;
        Ok(Self { shared, flusher: Mutex::new(Some(flusher)) })
    }

    /// Writes out what waits and puts it on the disk. Says what is missing in the log, if anything is.
    pub fn finish(&self) -> Option<String> {
        self.stop();
        self.shared.write(|files| [files.sync_output(), files.events.sync()].into_iter().flatten().next());
        self.trouble()
    }

    /// What is missing in the log up to now, if anything is.
    pub fn trouble(&self) -> Option<String> {
        let files = self.shared.lock();
        let output = files.missing.trouble(&files.output.path);
        let told: Vec<String> = [output, files.events.trouble()].into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    fn stop(&self) {
        self.shared.lock().end = true;
        self.shared.ended.notify_all();
        let flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(flusher) = flusher {
            // The thread holds nothing that is needed; a panic in it was reported by the runtime.
            let _ = flusher.join();
        }
    }
}

impl Drop for RunLog {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Sink for RunLog {
    fn event(&self, event: Event) {
        let line = match event {
            Event::Output(chunk) => return self.shared.write(|files| files.keep(&chunk)),
            Event::Bytes { .. } | Event::Expected(_) => return,
            Event::Step(text) => format!("begin {text}"),
            Event::StepDone { text, seconds } => format!("done {text} ({seconds:.3}s)"),
            Event::Detail(text) => format!("| {text}"),
            Event::Notice(text) => format!("notice: {text}"),
            Event::Warning(text) => format!("warning: {text}"),
        };
        let lines = stamped((self.shared.clock)(), &line);
        self.shared.write(|files| files.events.write(lines.as_bytes()));
    }
}

impl TaskOutput for RunLog {
    fn offsets(&self) -> Offsets {
        self.shared.lock().output.offsets()
    }

    /// Fails with a [`Fault`] of kind outside, most often because the disk is full; then nothing of the piece is kept.
    fn append(&self, chunk: &Chunk) -> Result<(), Fault> {
        let mut files = self.shared.lock();
        files.output.append(chunk).map_err(|error| file::fault("write", &files.output.path, error))
    }
}

impl Files {
    /// Keeps a piece of output, or remembers that it could not; gives the warning the first time.
    fn keep(&mut self, chunk: &Chunk) -> Option<String> {
        let (Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = chunk;
        let error = self.output.append(chunk).err()?;
        self.missing.add(&self.output.path, bytes.len() as u64, error)
    }

    fn sync_output(&mut self) -> Option<String> {
        let error = self.output.sync().err()?;
        self.missing.add(&self.output.path, 0, error)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Files> {
        // A panic elsewhere leaves the buffers whole: every change is a single append.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work`, and tells of the first failure after the lock is free: the teller may log its warning here.
    fn write(&self, work: impl FnOnce(&mut Files) -> Option<String>) {
        let failed = work(&mut self.lock());
        if let Some(message) = failed {
            (self.warn)(&message);
        }
    }

    fn flush_until_end(&self) {
        loop {
            let (mut failed, mut end) = (Vec::new(), true);
            {
                let files = self.lock();
                let waited = self.ended.wait_timeout_while(files, FLUSH, |files| !files.end);
                let mut files = waited.unwrap_or_else(PoisonError::into_inner).0;
                failed.extend(files.events.flush());
                end &= files.end;
            }
            for message in &failed {
                (self.warn)(message);
            }
            if end {
                return;
            }
        }
    }
}

/// What of a file could not be written.
#[derive(Default)]
struct Missing {
    bytes: u64,
    cause: Option<String>,
}

impl Missing {
    /// Remembers that `lost` bytes more are missing; gives the warning the first time.
    fn add(&mut self, path: &Path, lost: u64, error: io::Error) -> Option<String> {
        self.bytes += lost;
        if self.cause.is_some() {
            return None;
        }
        self.cause = Some(error.to_string());
        Some(format!("`{}` cannot be written and will not be whole: {error}", path.display()))
    }

    fn trouble(&self, path: &Path) -> Option<String> {
        let cause = self.cause.as_ref()?;
        Some(format!("`{}` lacks {}: {cause}", path.display(), text::bytes(self.bytes)))
    }
}

/// A file that is appended to, with a buffer of bounded size, and a memory of what could not be written.
struct Buffered {
    path: PathBuf,
    file: File,
    waiting: Vec<u8>,
    missing: Missing,
}

impl Buffered {
    fn open(path: &Path) -> Result<Self, Fault> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| file::fault("open the log", path, error))?;
        Ok(Self { path: path.to_owned(), file, waiting: Vec::new(), missing: Missing::default() })
    }

    /// Takes bytes; gives the warning when this is the first time that some could not be written.
    fn write(&mut self, bytes: &[u8]) -> Option<String> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= BUFFER { self.flush() } else { None }
    }

    fn flush(&mut self) -> Option<String> {
        let (written, error) = write_all(&mut self.file, &self.waiting);
        let lost = self.waiting.len() - written;
        // What cannot be written is let go: memory stays bounded, and a later write may find room again.
        self.waiting.clear();
        error.and_then(|error| self.missing.add(&self.path, lost as u64, error))
    }

    fn sync(&mut self) -> Option<String> {
        let first = self.flush();
        let synced = self.file.sync_all().err().and_then(|error| self.missing.add(&self.path, 0, error));
        first.or(synced)
    }

    fn trouble(&self) -> Option<String> {
        self.missing.trouble(&self.path)
    }
}

/// Writes as much as can be written; says how much that was.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return (done, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Some(error)),
        }
    }
    (done, None)
}

/// `text` as lines, each with the time in front; control characters are made visible so that a log cannot drive a
/// terminal.
fn stamped(now: Timestamp, text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        lines.push_str(&format!("{now:.3} "));
        for c in line.chars() {
            match c {
                '\t' => lines.push(c),
                c if c.is_control() => lines.extend(c.escape_default()),
                c => lines.push(c),
            }
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Timestamp {
        "2026-11-20T10:53:01.25Z".parse().unwrap()
    }

    fn run() -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &"r-1".parse().unwrap()).unwrap();
        (dir, run)
    }

    #[test]
    fn output_lands_byte_for_byte_and_steps_as_lines_with_times() {
        let (_dir, run) = run();
        let log = RunLog::start(&run, clock, Box::new(|_| panic!("nothing to warn of"))).unwrap();
        log.event(Event::Step("boot the machine".into()));
        log.event(Event::Output(Chunk::Stdout(b"a\0\xff\x1b[1m".to_vec())));
        log.event(Event::Output(Chunk::Stderr(b"b\n".to_vec())));
        log.event(Event::Bytes { done: 1, total: None });
        log.event(Event::Detail("two\nlines \x1b[0m".into()));
        log.event(Event::StepDone { text: "boot the machine".into(), seconds: 0.25 });
        assert_eq!(log.finish(), None);
        assert_eq!(run.read(RunFile::Output).unwrap().unwrap(), b"a\0\xff\x1b[1mb\n");
        insta::assert_snapshot!(String::from_utf8(run.read(RunFile::Events).unwrap().unwrap()).unwrap(), @r"
        2026-11-20T10:53:01.250Z begin boot the machine
        2026-11-20T10:53:01.250Z | two
        2026-11-20T10:53:01.250Z lines \u{1b}[0m
        2026-11-20T10:53:01.250Z done boot the machine (0.250s)
        ");
    }

    #[test]
    fn output_is_in_the_file_at_once_and_a_second_log_goes_on_where_the_first_was_killed() {
        let (_dir, run) = run();
        let log = RunLog::start(&run, clock, Box::new(|_| {})).unwrap();
        log.append(&Chunk::Stdout(b"first ".to_vec())).unwrap();
        assert_eq!(run.read(RunFile::Output).unwrap().unwrap(), b"first ", "without finish");
        log.event(Event::Step("a step".into()));
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while run.read(RunFile::Events).unwrap().unwrap().is_empty() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!run.read(RunFile::Events).unwrap().unwrap().is_empty(), "without finish");
        drop(log);
        let mut half = OpenOptions::new().append(true).open(run.file(RunFile::Output)).unwrap();
        half.write_all(b"what no record tells of").unwrap();
        let log = RunLog::start(&run, clock, Box::new(|_| {})).unwrap();
        assert_eq!(log.offsets(), Offsets { stdout: 6, stderr: 0 });
        log.append(&Chunk::Stderr(b"second".to_vec())).unwrap();
        drop(log);
        assert_eq!(run.read(RunFile::Output).unwrap().unwrap(), b"first second");
    }

    #[test]
    fn what_cannot_be_kept_is_refused_and_counts_for_nothing() {
        let (_dir, run) = run();
        std::os::unix::fs::symlink("/dev/full", run.file(RunFile::Index)).unwrap();
        let log = RunLog::start(&run, clock, Box::new(|_| {})).unwrap();
        let fault = log.append(&Chunk::Stdout(b"abc".to_vec())).unwrap_err();
        assert!(fault.line().contains("output.log`: No space left on device"), "{}", fault.line());
        assert!(fault.hint.unwrap().contains("Free space"));
        assert_eq!(log.offsets(), Offsets::default());
        assert_eq!(run.read(RunFile::Output).unwrap().unwrap(), b"", "the bytes without a record are cut off");
        assert_eq!(log.trouble(), None, "the caller knows, and asks again");
    }

    #[test]
    fn a_full_disk_is_told_once_and_remembered() {
        let (_dir, run) = run();
        // Every write to this device fails with "no space left on device".
        std::os::unix::fs::symlink("/dev/full", run.file(RunFile::Output)).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&told);
        let warn: Warn = Box::new(move |text| theirs.lock().unwrap().push(text.to_owned()));
        let log = RunLog::start(&run, clock, warn).unwrap();
        for _ in 0..3 {
            log.event(Event::Output(Chunk::Stdout(vec![b'x'; BUFFER])));
        }
        let missing = log.finish().unwrap();
        assert!(missing.contains("output.log` lacks 192.0 KiB: No space left on device"), "{missing}");
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("cannot be written and will not be whole"), "{told:?}");
    }
}
