//! A file that the user named for a report. The report is written into it, whatever it is: a device, a pipe or a link
//! is never replaced by a file. A pipe never keeps the tool waiting for ever.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use model::base::text;
use model::fault::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, OFlags, access, fstat};
use rustix::io::Errno;

use crate::ui::Screen;

/// How long a pipe may be without a reader, or its reader without reading.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two looks at whether a pipe has a reader.
const LOOK: Duration = Duration::from_millis(100);

/// The kind of file that the name leads to, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportTarget {
    /// Our own standard output, by whatever name.
    Stdout,
    /// Our own standard error.
    Stderr,
    /// A regular file, or nothing yet.
    File,
    /// A named pipe.
    Pipe,
    /// A character device.
    Device,
}

impl ReportTarget {
    fn of(path: &Path) -> Result<Self, String> {
        let found = match std::fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::File),
            Err(error) => return Err(error.to_string()),
        };
        let kind = found.file_type();
        match () {
            () if is_same_file(&found, rustix::stdio::stdout()) => Ok(Self::Stdout),
            () if is_same_file(&found, rustix::stdio::stderr()) => Ok(Self::Stderr),
            () if kind.is_file() => Ok(Self::File),
            () if kind.is_fifo() => Ok(Self::Pipe),
            () if kind.is_char_device() => Ok(Self::Device),
            () if kind.is_dir() => Err("it is a folder".to_owned()),
            () if kind.is_block_device() => Err("it is a disk".to_owned()),
            () => Err("it is a socket".to_owned()),
        }
    }
}

/// Whether the open descriptor is the same file.
fn is_same_file(found: &Metadata, descriptor: std::os::fd::BorrowedFd<'_>) -> bool {
    fstat(descriptor).is_ok_and(|open| (open.st_dev, open.st_ino) == (found.dev(), found.ino()))
}

/// Refuses a file that cannot be written, before anything else is done; `flag` named it. A regular file is emptied: its
/// old content must not pass for the new report.
pub fn prepare(flag: &str, path: &Path) -> Result<(), Fault> {
    let fault = |why: String| {
        Fault::usage(format!("cannot write `{flag} {}`", path.display()))
            .because(why)
            .hint("Name a file in a folder that is there and that you may write to.")
    };
    let unfit = |error: std::io::Error| fault(error.to_string());
    match ReportTarget::of(path).map_err(fault)? {
        ReportTarget::Stdout | ReportTarget::Stderr => Ok(()),
        ReportTarget::File => File::create(path).map(drop).map_err(unfit),
        // Opening the pipe would show a waiting reader an empty report.
        ReportTarget::Pipe => access(path, Access::WRITE_OK).map_err(|error| unfit(error.into())),
        ReportTarget::Device => open(path).map(drop).map_err(unfit),
    }
}

/// Whether the file is our own standard output, by whatever name.
pub fn is_stdout(path: &Path) -> bool {
    ReportTarget::of(path) == Ok(ReportTarget::Stdout)
}

/// Writes the report.
pub fn write(path: &Path, report: &str, screen: &Screen) -> Result<(), Fault> {
    let fault = |why: String| {
        Fault::outside(format!("cannot write `{}`", path.display()))
            .because(why)
            .hint("The report is in the run's folder as well: `automation runs show` says where that is.")
    };
    match ReportTarget::of(path).map_err(fault)? {
        ReportTarget::Stdout => screen.data(report),
        ReportTarget::Stderr => screen.message(report.trim_end()),
        ReportTarget::File => std::fs::write(path, report).map_err(|error| fault(error.to_string()))?,
        ReportTarget::Pipe | ReportTarget::Device => {
            open_patiently(path).and_then(|file| write_patiently(file, report.as_bytes())).map_err(fault)?;
        }
    }
    Ok(())
}

/// Writes the report into a regular file that [`prepare`] emptied and nobody has filled; into anything else nothing.
pub fn fill_empty(path: &Path, report: &str) {
    let empty = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0);
    if empty && ReportTarget::of(path) == Ok(ReportTarget::File) {
        // What is to be written says why the command failed, and that is told in any case.
        drop(std::fs::write(path, report));
    }
}

/// Opens a pipe or a device without waiting for its other side.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn open_patiently(path: &Path) -> Result<File, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match open(path) {
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) && Instant::now() < end => {
                std::thread::sleep(LOOK);
            }
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                return Err(format!("nobody reads it, for {}", text::seconds(PATIENCE)));
            }
            done => return done.map_err(|error| error.to_string()),
        }
    }
}

fn write_patiently(mut file: File, mut rest: &[u8]) -> Result<(), String> {
    let mut end = Instant::now() + PATIENCE;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err("it takes nothing".to_owned()),
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                end = Instant::now() + PATIENCE;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                let pause = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                let _ = poll(&mut [PollFd::new(&file, PollFlags::OUT)], Some(&pause));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(format!("its reader has read nothing for {}", text::seconds(PATIENCE)));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::{Look, OutputTo};

    fn written(path: &Path, report: &str) -> Result<(), Fault> {
        prepare("--junit", path)?;
        write(path, report, &Screen::new(OutputTo::Stderr, Look::default(), None))
    }

    #[test]
    fn a_file_is_written_and_a_link_to_one_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "what was green yesterday").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        prepare("--junit", &link).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"");
        written(&link, "new").unwrap();
        assert!(link.is_symlink());
        fill_empty(&link, "failed");
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        prepare("--junit", &link).unwrap();
        fill_empty(&link, "failed");
        assert_eq!(std::fs::read(&file).unwrap(), b"failed");
        for bad in [dir.path(), &dir.path().join("none/file")] {
            assert!(prepare("--junit", bad).unwrap_err().message.starts_with("cannot write `--junit /"));
        }
    }

    #[test]
    fn a_device_is_written_into_and_stays_one() {
        written(Path::new("/dev/null"), "report").unwrap();
        assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        let fault = written(Path::new("/dev/full"), "report").unwrap_err();
        assert!(fault.line().contains("No space left"), "{}", fault.line());
    }

    #[test]
    fn a_pipe_gets_the_report_and_nobody_at_its_end_is_no_reason_to_wait_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let report = "line\n".repeat(100_000);
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read_to_string(pipe).unwrap()
        });
        written(&pipe, &report).unwrap();
        assert_eq!(reader.join().unwrap(), report);
        let began = Instant::now();
        let fault = written(&pipe, &report).unwrap_err();
        assert_eq!(fault.chain()[1], "nobody reads it, for 10.0s");
        assert!(began.elapsed() < 3 * PATIENCE);
        assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
