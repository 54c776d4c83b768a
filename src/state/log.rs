//! The log of a run: `output.log` with the task's output as it came (see [`crate::output`]), and its events twice:
//! `events.log` has them in words for people, `events.jsonl` as data for programs (`docs/json.md`), a line each.
//!
//! A log that cannot be written never ends a run. Output that cannot be kept as a [`TaskOutput`] is refused, so that
//! the follower of the task asks for it again. For everything else the first failure is reported once, by the function
//! given at the start, and what is missing is remembered for the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use model::base::text;
use model::event::{Event, Sink, TroubleEvent, Words};
use model::fault::Fault;
use model::task::{Chunk, Offsets, TaskOutput};

use crate::file;
use crate::output::OutputFiles;
use crate::runs::{RunDir, RunFile};

/// How many bytes of events are gathered before they are written.
const BUFFER: usize = 64 * 1024;

/// How long events may wait before they are written. Output never waits.
const FLUSH: Duration = Duration::from_secs(1);

/// The log of one run. Takes events as a [`Sink`]; [`RunLog::finish`] puts everything on the disk.
pub struct RunLog {
    shared: Arc<SharedLog>,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

/// Called the first time that something could not be written, from any thread and without any lock held.
pub type Warn = Box<dyn Fn(TroubleEvent) + Send + Sync>;

struct SharedLog {
    files: Mutex<LogFiles>,
    ended: Condvar,
    warn: Warn,
}

struct LogFiles {
    output: OutputFiles,
    /// The part of the output that did not get onto the disk, and the reason.
    missing: Missing,
    steps: BufferedFile,
    events: BufferedFile,
    end: bool,
}

impl RunLog {
    /// Opens the files to go on after what they hold, and begins to write events out every second.
    pub fn start(run: &RunDir, warn: Warn) -> Result<Self, Fault> {
        let files = LogFiles {
            output: OutputFiles::open(&run.output())?,
            missing: Missing::default(),
            steps: BufferedFile::open(&run.file(RunFile::Steps))?,
            events: BufferedFile::open(&run.file(RunFile::Events))?,
            end: false,
        };
        let shared = Arc::new(SharedLog { files: Mutex::new(files), ended: Condvar::new(), warn });
        let theirs = Arc::clone(&shared);
        let spawned = std::thread::Builder::new().name("run-log".to_owned()).spawn(move || theirs.flush_until_end());
        let flusher = spawned.map_err(|error| Fault::outside("cannot start a thread for the log").because(error))?;
        Ok(Self { shared, flusher: Mutex::new(Some(flusher)) })
    }

    /// Writes out everything that waits and puts it on the disk. Gives what is missing in the log, if anything is.
    pub fn finish(&self) -> Option<String> {
        self.stop();
        self.shared.write(|files| {
            let failed = [files.sync_output(), files.steps.sync(), files.events.sync()];
            failed.into_iter().flatten().next()
        });
        self.trouble()
    }

    /// The missing part of the log up to now, if anything is missing.
    pub fn trouble(&self) -> Option<String> {
        let files = self.shared.lock();
        let output = files.missing.trouble(&files.output.path);
        let troubles: Vec<String> =
            [output, files.steps.trouble(), files.events.trouble()].into_iter().flatten().collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    fn stop(&self) {
        self.shared.lock().end = true;
        self.shared.ended.notify_all();
        let flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(flusher) = flusher {
            // The thread holds nothing that is needed; a panic in it was reported by the runtime.
            drop(flusher.join());
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
        let words = event.words();
        // Progress is worth nothing a moment later, and there are thousands of such events.
        if matches!(words, Words::Progress(_)) {
            return;
        }
        let cell = event.cell.as_ref().map(|cell| format!("[{cell}] ")).unwrap_or_default();
        let line = people_line(&words).map(|line| format!("{cell}{line}"));
        let steps = line.map(|line| stamp_lines(event.at, &line)).unwrap_or_default();
        self.shared.write(|files| {
            let failed = [files.steps.write(steps.as_bytes()), files.events.write(&program_line(&event))];
            failed.into_iter().flatten().next()
        });
    }
}

/// The line for `events.log`; none for what only programs want.
fn people_line(words: &Words) -> Option<String> {
    Some(match words {
        Words::Expect(_) | Words::Stop | Words::Progress(_) => return None,
        Words::Begin(text) => format!("begin {text}"),
        Words::End { text, took } => format!("done {text} ({:.3}s)", took.as_secs_f64()),
        Words::Detail(text) | Words::Test(text) => format!("| {text}"),
        Words::Notice(text) | Words::Outcome(text) => format!("notice: {text}"),
        Words::Warning(text) => format!("warning: {text}"),
    })
}

/// The line for `events.jsonl`.
fn program_line(event: &Event) -> Vec<u8> {
    // JSON can hold every event; one that it could not would be left out, as a torn line is.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line
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

impl LogFiles {
    fn sync_output(&mut self) -> Option<TroubleEvent> {
        let error = self.output.sync().err()?;
        self.missing.add(&self.output.path, 0, error)
    }
}

impl SharedLog {
    fn lock(&self) -> MutexGuard<'_, LogFiles> {
        // A panic elsewhere leaves the buffers whole: every change is a single append.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work`, and reports the first failure after the lock is free, because its warning may be logged here.
    fn write(&self, work: impl FnOnce(&mut LogFiles) -> Option<TroubleEvent>) {
        let failed = work(&mut self.lock());
        if let Some(trouble) = failed {
            (self.warn)(trouble);
        }
    }

    fn flush_until_end(&self) {
        loop {
            let (failed, end) = {
                let files = self.lock();
                let waited = self.ended.wait_timeout_while(files, FLUSH, |files| !files.end);
                let mut files = waited.unwrap_or_else(PoisonError::into_inner).0;
                let failed = [files.steps.flush(), files.events.flush()];
                (failed.into_iter().flatten().next(), files.end)
            };
            if let Some(trouble) = failed {
                (self.warn)(trouble);
            }
            if end {
                return;
            }
        }
    }
}

/// The part of a file that could not be written.
#[derive(Default)]
struct Missing {
    bytes: u64,
    cause: Option<String>,
}

impl Missing {
    /// Remembers that `lost` bytes more are missing; gives the warning the first time.
    fn add(&mut self, path: &Path, lost: u64, error: io::Error) -> Option<TroubleEvent> {
        self.bytes += lost;
        if self.cause.is_some() {
            return None;
        }
        self.cause = Some(error.to_string());
        Some(TroubleEvent::LogNotWhole { path: path.to_owned(), why: error.to_string() })
    }

    fn trouble(&self, path: &Path) -> Option<String> {
        let cause = self.cause.as_ref()?;
        Some(format!("`{}` lacks {}: {cause}", path.display(), text::bytes(self.bytes)))
    }
}

/// A file that is appended to, with a buffer of bounded size, and a memory of what could not be written.
struct BufferedFile {
    path: PathBuf,
    file: File,
    waiting: Vec<u8>,
    missing: Missing,
    /// Whether the file ends in the middle of a line: its writer was killed, or found no room.
    torn: bool,
}

impl BufferedFile {
    fn open(path: &Path) -> Result<Self, Fault> {
        let open = || {
            let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
            let torn = file::is_torn(&file)?;
            Ok((file, torn))
        };
        let (file, torn) = open().map_err(|error| file::fault("open the log", path, error))?;
        Ok(Self { path: path.to_owned(), file, waiting: Vec::new(), missing: Missing::default(), torn })
    }

    /// Takes whole lines; gives the warning when this is the first time that some could not be written.
    fn write(&mut self, lines: &[u8]) -> Option<TroubleEvent> {
        // A torn line is lost; glued to it, the next one would be lost as well.
        if std::mem::take(&mut self.torn) {
            self.waiting.push(b'\n');
        }
        self.waiting.extend_from_slice(lines);
        if self.waiting.len() >= BUFFER { self.flush() } else { None }
    }

    fn flush(&mut self) -> Option<TroubleEvent> {
        let (written, error) = write_all(&mut self.file, &self.waiting);
        let lost = self.waiting.len() - written;
        self.torn |= lost > 0 && written > 0 && self.waiting[written - 1] != b'\n';
        // Bytes that cannot be written are dropped: memory stays bounded, and a later write may find room again.
        self.waiting.clear();
        error.and_then(|error| self.missing.add(&self.path, lost as u64, error))
    }

    fn sync(&mut self) -> Option<TroubleEvent> {
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
fn stamp_lines(now: Timestamp, text: &str) -> String {
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
    use model::event::{self, EventKind, MachineEvent, StepEvent, Subject};
    use model::work::Work;

    fn run() -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &"r-1".parse().unwrap()).unwrap();
        (dir, run)
    }

    fn quiet() -> Warn {
        Box::new(|trouble| panic!("nothing to warn of, and yet {trouble:?}"))
    }

    fn event(kind: impl Into<EventKind>) -> Event {
        let subject = Some(Subject::Run("r-1".parse().unwrap()));
        Event { at: "2026-11-20T10:53:01.25Z".parse().unwrap(), subject, cell: None, kind: kind.into() }
    }

    fn output_line(line: &str) -> Event {
        event(StepEvent::Said { line: line.to_owned() })
    }

    fn file(run: &RunDir, file: RunFile) -> String {
        String::from_utf8(run.read(file).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn a_line_of_a_cell_begins_with_its_name() {
        let (_dir, run) = run();
        let log = RunLog::start(&run, quiet()).unwrap();
        log.event(Event {
            cell: Some("debian12/tmpfs\u{1b}".into()),
            ..event(EventKind::Machine(MachineEvent::CostUnknown))
        });
        assert_eq!(log.finish(), None);
        let steps = file(&run, RunFile::Steps);
        assert!(steps.starts_with("2026-11-20T10:53:01.250Z [debian12/tmpfs\\u{1b}] "), "{steps}");
        assert!(file(&run, RunFile::Events).contains(r#""in_cell":"debian12/tmpfs\u001b""#));
    }

    #[test]
    fn events_are_kept_as_words_with_times_and_as_data() {
        let (_dir, run) = run();
        let log = RunLog::start(&run, quiet()).unwrap();
        let work = Work::Pushing { revision: "0123".into(), from: "/home/me/hg".into() };
        let took = Duration::from_millis(250);
        let events = [
            event(StepEvent::Began { work: work.clone() }),
            event(StepEvent::Expected { took }),
            output_line("two\nlines \x1b[0m"),
            event(StepEvent::Ended { work, took, moved: None }),
            event(EventKind::Machine(MachineEvent::CostUnknown)),
        ];
        log.event(events[0].clone());
        log.event(event(StepEvent::Moved { done: 1, total: None }));
        events[1..].iter().for_each(|event| log.event(event.clone()));
        assert_eq!(log.finish(), None);
        insta::assert_snapshot!(file(&run, RunFile::Steps), @r"
        2026-11-20T10:53:01.250Z begin Pushing 0123 from /home/me/hg
        2026-11-20T10:53:01.250Z | two
        2026-11-20T10:53:01.250Z lines \u{1b}[0m
        2026-11-20T10:53:01.250Z done Pushing 0123 from /home/me/hg (0.250s)
        2026-11-20T10:53:01.250Z warning: the cost is not known, so it is not held against the limit
        ");
        let written = run.read(RunFile::Events).unwrap().unwrap();
        assert_eq!(event::read(&written).collect::<Vec<_>>(), events, "all but how far a step is");
    }

    #[test]
    fn a_line_that_was_cut_off_takes_no_other_with_it() {
        let (_dir, run) = run();
        run.write(RunFile::Events, br#"{"at":"2026-11-20T10:5"#).unwrap();
        for word in ["one", "two"] {
            let log = RunLog::start(&run, quiet()).unwrap();
            log.event(output_line(word));
            assert_eq!(log.finish(), None);
        }
        let written = file(&run, RunFile::Events);
        let read: Vec<Event> = event::read(written.as_bytes()).collect();
        assert_eq!(read, [output_line("one"), output_line("two")]);
        assert_eq!(written.lines().count(), 3, "{written}");
    }

    #[test]
    fn output_is_in_the_file_at_once_and_a_second_log_goes_on_where_the_first_was_killed() {
        let (_dir, run) = run();
        let log = RunLog::start(&run, quiet()).unwrap();
        log.append(&Chunk::Stdout(b"first ".to_vec())).unwrap();
        assert_eq!(file(&run, RunFile::Output), "first ", "without finish");
        log.event(output_line("a line"));
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while file(&run, RunFile::Steps).is_empty() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!file(&run, RunFile::Steps).is_empty(), "without finish");
        drop(log);
        let mut half = OpenOptions::new().append(true).open(run.file(RunFile::Output)).unwrap();
        half.write_all(b"what no record tells of").unwrap();
        let log = RunLog::start(&run, quiet()).unwrap();
        assert_eq!(log.offsets(), Offsets { stdout: 6, stderr: 0 });
        log.append(&Chunk::Stderr(b"second".to_vec())).unwrap();
        drop(log);
        assert_eq!(file(&run, RunFile::Output), "first second");
    }

    #[test]
    fn output_is_kept_byte_for_byte() {
        let (_dir, run) = run();
        let log = RunLog::start(&run, quiet()).unwrap();
        log.append(&Chunk::Stdout(b"a\0\xff\x1b[1m".to_vec())).unwrap();
        log.append(&Chunk::Stderr(b"b\n".to_vec())).unwrap();
        assert_eq!(log.finish(), None);
        assert_eq!(run.read(RunFile::Output).unwrap().unwrap(), b"a\0\xff\x1b[1mb\n");
    }

    #[test]
    fn what_cannot_be_kept_is_refused_and_counts_for_nothing() {
        let (_dir, run) = run();
        std::os::unix::fs::symlink("/dev/full", run.file(RunFile::Index)).unwrap();
        let log = RunLog::start(&run, quiet()).unwrap();
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
        std::os::unix::fs::symlink("/dev/full", run.file(RunFile::Events)).unwrap();
        let troubles = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&troubles);
        let log = RunLog::start(&run, Box::new(move |trouble| theirs.lock().unwrap().push(trouble))).unwrap();
        let line = output_line(&"x".repeat(BUFFER));
        for _ in 0..3 {
            log.event(line.clone());
        }
        let missing = log.finish().unwrap();
        assert!(missing.contains("events.jsonl` lacks 192."), "{missing}");
        assert!(missing.ends_with("KiB: No space left on device (os error 28)"), "{missing}");
        let [TroubleEvent::LogNotWhole { path, .. }] = &troubles.lock().unwrap()[..] else { panic!("{missing}") };
        assert_eq!(*path, run.file(RunFile::Events));
    }
}
