//! The output of failed tests: the whole of it in files of the run's folder, and for the reports its beginning and its end, where the
//! failure most often is.

use std::path::Path;

use model::base::id::TestName;
use model::base::text;
use model::connection::{Connection, ConnectionError};
use model::exit::Exit;
use model::outcome::TestResult;
use model::output::{Output, OutputLimits, run_command};

/// How many failed tests have their output fetched, and how many bytes of it the reports hold in all; the run's log has all of it.
const OUTPUTS: usize = 100;
const REPORTED_BYTES: usize = 4 << 20;

/// The most bytes of one output that is kept as a file, and of all of them.
const FILE_CAP: u64 = 8 << 20;
const FILES_CAP: usize = 64 << 20;

/// The folder of these files, in that of the run.
const FOLDER: &str = "failed";

/// The text in place of an output for which there was no room.
const LEFT_OUT: &str =
    "[left out: reports hold the output of the first failed tests only; the run's log has all of it]";

/// How much of the beginning and of the end of an output the reports hold, bytes.
const HALF: usize = 32 << 10;

/// Fetches the output of failed tests into the run's `folder`; `file_of` gives the file on the machine that holds the output of a test.
pub(super) async fn fetch(
    connection: &dyn Connection,
    file_of: &(dyn Fn(&TestName) -> Option<String> + Sync),
    folder: &Path,
    tests: &mut [TestResult],
) {
    let (mut reported, mut kept) = (0, 0);
    for (number, test) in tests.iter_mut().filter(|test| test.outcome.is_failure()).enumerate() {
        if number >= OUTPUTS || reported >= REPORTED_BYTES {
            test.output = Some(LEFT_OUT.to_owned());
            continue;
        }
        let Some(path) = file_of(&test.name) else { continue };
        match connection.read_file(&path, FILE_CAP).await {
            Ok(bytes) => {
                kept += bytes.len();
                test.output_file =
                    Some(&bytes).filter(|_| kept <= FILES_CAP).and_then(|bytes| keep(folder, &test.name, bytes));
                let (head, tail) = (&bytes[..bytes.len().min(HALF)], &bytes[bytes.len().saturating_sub(HALF)..]);
                test.output = Some(shorten(bytes.len(), if bytes.len() <= 2 * HALF { &bytes } else { head }, tail));
            }
            // It is longer than that. A test that ran out of its time may have left none.
            Err(ConnectionError::File { .. }) => match ends(connection, &path).await {
                Ok(output) => test.output = output,
                Err(()) => return,
            },
            Err(_) => return,
        }
        reported += test.output.as_ref().map_or(0, String::len);
    }
}

/// Keeps an output as a file; gives its path from the run's folder. A name or a disk that does not take it costs the file alone.
fn keep(folder: &Path, test: &TestName, bytes: &[u8]) -> Option<String> {
    let file = format!("{FOLDER}/{test}.err");
    std::fs::create_dir_all(folder.join(FOLDER)).and_then(|()| std::fs::write(folder.join(&file), bytes)).ok()?;
    Some(file)
}

/// The ends of a file on the machine, if it has them; an error where nothing more can be asked.
async fn ends(connection: &dyn Connection, path: &str) -> Result<Option<String>, ()> {
    let command = guest::of(connection.platform()).file_ends(path, HALF);
    match run_command(connection, &command, OutputLimits::SMALL).await {
        Ok(done) if done.exit.is_success() => Ok(read(&done)),
        Ok(done) if !matches!(done.exit, Exit::Lost(_)) => Ok(None),
        _ => Err(()),
    }
}

/// Reads the two ends of a file as the machine printed them.
fn read(done: &Output) -> Option<String> {
    let at = done.stdout.iter().position(|byte| *byte == b'\n')?;
    let (size, output) = (&done.stdout[..at], &done.stdout[at + 1..]);
    let output = &output[..output.len().min(2 * HALF)];
    let size: usize = std::str::from_utf8(size).ok()?.parse().ok()?;
    let (head, tail) = output.split_at(output.len().min(HALF));
    Some(shorten(size, if size <= output.len() { output } else { head }, tail))
}

/// The text of an output of `size` bytes: its beginning where that is all of it, else with its end, and how much was left out in between.
fn shorten(size: usize, head: &[u8], tail: &[u8]) -> String {
    let as_text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if size <= head.len() {
        return as_text(head);
    }
    // Both are cut to whole lines, unless one line is longer than they are.
    let head = &head[..head.iter().rposition(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1)];
    let tail = &tail[tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1)..];
    let left_out = text::pluralize(size - head.len() - tail.len(), "byte");
    format!("{}\n[… {left_out} of {size} left out; the run's log has all of it …]\n\n{}", as_text(head), as_text(tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::machine::Platform;

    /// The ends of a file on this computer.
    fn ends_of(bytes: &[u8]) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let command = guest::of(Platform::Linux).file_ends(file.path().to_str().unwrap(), HALF);
        let output = std::process::Command::new(command.program).args(command.args).output().unwrap();
        let exit = Exit::Code(output.status.code().unwrap().unsigned_abs());
        read(&Output { stdout: output.stdout, stderr: output.stderr, capped: false, exit })
    }

    #[test]
    fn an_output_keeps_its_end_and_says_what_was_left_out() {
        let lines: String = (0..30_000).map(|n| format!("line {n}\n")).collect();
        let text = ends_of(lines.as_bytes()).unwrap();
        assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("\nline 29998\nline 29999\n"));
        let (head, rest) = text.split_once("\n[… ").unwrap();
        let (said, tail) = rest.split_once(" …]\n\n").unwrap();
        let left_out: usize = said.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(left_out + head.len() + tail.len(), lines.len(), "{said}");
        assert!(lines.starts_with(head) && lines.ends_with(tail));
        assert!(said.contains(&format!("of {} left out", lines.len())));
        // One long line has no better place to be cut.
        let long = "x".repeat(3 * HALF);
        assert!(ends_of(long.as_bytes()).unwrap().contains(&format!("[… {HALF} bytes of {} left out", long.len())));
    }

    #[test]
    fn a_short_output_is_whole() {
        for bytes in [&b""[..], b"one", &[b'x'; 2 * HALF]] {
            assert_eq!(ends_of(bytes).unwrap().as_bytes(), bytes);
        }
    }
}
