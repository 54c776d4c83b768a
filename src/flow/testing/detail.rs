//! The output of failed tests, for the reports: its beginning and its end, where the failure most often is.

use model::base::id::TestName;
use model::base::text;
use model::connection::Connection;
use model::exit::Exit;
use model::outcome::TestResult;
use model::output::{Output, OutputLimits, run_command};

/// How many failed tests have their output fetched, and how many bytes of it are fetched in all; the run's log has all
/// of it.
const DETAILS: usize = 100;
const DETAIL_BYTES: usize = 4 << 20;

/// The text in place of an output for which there was no room.
const LEFT_OUT: &str =
    "[left out: reports hold the output of the first failed tests only; the run's log has all of it]";

/// How much of the beginning and of the end of an output is kept, bytes.
const HALF: usize = 32 << 10;

/// Fetches the output of failed tests; `file_of` gives the file that holds the output of a test.
pub(super) async fn fetch(
    connection: &dyn Connection,
    file_of: &(dyn Fn(&TestName) -> Option<String> + Sync),
    tests: &mut [TestResult],
) {
    let mut held = 0;
    for (number, test) in tests.iter_mut().filter(|test| test.outcome.is_failure()).enumerate() {
        if number >= DETAILS || held >= DETAIL_BYTES {
            test.detail = Some(LEFT_OUT.to_owned());
            continue;
        }
        let Some(path) = file_of(&test.name) else { continue };
        match run_command(connection, &guest::of(connection.platform()).file_ends(&path, HALF), OutputLimits::SMALL)
            .await
        {
            Ok(done) if done.exit.is_success() => test.detail = read(&done),
            // A test that ran out of its time may have left none.
            Ok(done) if !matches!(done.exit, Exit::Lost(_)) => {}
            _ => return,
        }
        held += test.detail.as_ref().map_or(0, String::len);
    }
}

/// Reads the two ends of a file as the machine printed them, and says how much was left out in between.
fn read(done: &Output) -> Option<String> {
    let at = done.stdout.iter().position(|byte| *byte == b'\n')?;
    let (size, output) = (&done.stdout[..at], &done.stdout[at + 1..]);
    let output = &output[..output.len().min(2 * HALF)];
    let size: usize = std::str::from_utf8(size).ok()?.parse().ok()?;
    let as_text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if size <= output.len() {
        return Some(as_text(output));
    }
    let (head, tail) = output.split_at(output.len().min(HALF));
    // Both are cut to whole lines, unless one line is longer than they are.
    let head = &head[..head.iter().rposition(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1)];
    let tail = &tail[tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1)..];
    let left_out = text::pluralize(size - head.len() - tail.len(), "byte");
    Some(format!(
        "{}\n[… {left_out} of {size} left out; the run's log has all of it …]\n\n{}",
        as_text(head),
        as_text(tail)
    ))
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
