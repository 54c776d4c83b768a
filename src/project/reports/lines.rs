//! Reports of lines, which come in pieces of any size.

use std::collections::BTreeSet;

use model::base::id::TestName;
use model::base::text;
use model::runner::{ReportReader, RunnerReport, TestNews};

use crate::reports::tally::Tally;

/// The longest line. The longest one of an honest report names all tests: 50 KiB for the 1,100 of Mercurial's suite.
pub(super) const LINE_CAP: usize = 512 << 10;

/// What the lines of a report mean.
pub(crate) trait LineStream: Send {
    /// Whether a last line without its end is read as well: half a result may say the opposite of the whole.
    const READS_TORN: bool = true;

    /// Takes a line.
    fn take(&mut self, line: &[u8]);

    /// All lines have come.
    fn close(&mut self);

    /// What the lines said so far.
    fn tally(&self) -> &Tally;

    /// The same, to be added to.
    fn tally_mut(&mut self) -> &mut Tally;

    /// The file on the machine that holds the output of a failed test; none where there are no such files.
    fn output_file(&self, _test: &TestName) -> Option<String> {
        None
    }
}

/// Reads a report line by line.
pub(crate) struct LineReader<S> {
    lines: Lines,
    pub(super) stream: S,
}

impl<S: LineStream> LineReader<S> {
    /// A reader of nothing yet.
    pub(super) fn of(stream: S) -> Self {
        Self { lines: Lines::default(), stream }
    }
}

impl<S: LineStream> ReportReader for LineReader<S> {
    fn feed(&mut self, bytes: &[u8]) {
        self.lines.feed(bytes, |line| self.stream.take(line));
        if self.lines.too_long {
            self.stream.tally_mut().note(format!("a line of more than {}", text::bytes(LINE_CAP as u64)));
        }
    }

    fn report(&mut self) -> RunnerReport {
        if S::READS_TORN {
            self.lines.finish(|line| self.stream.take(line));
        }
        self.stream.close();
        self.stream.tally_mut().report()
    }

    fn news(&mut self) -> Vec<TestNews> {
        self.stream.tally_mut().news()
    }

    fn ended(&self) -> BTreeSet<TestName> {
        self.stream.tally().ended()
    }

    fn output_file(&self, test: &TestName) -> Option<String> {
        self.stream.output_file(test)
    }
}

/// The line whose end has not come.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    /// Whether the present line is too long and is skipped.
    skipping: bool,
    /// Whether any line was too long.
    too_long: bool,
}

impl Lines {
    /// Takes the next bytes and hands on every line that they end. A line that is too long is left out.
    fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.extend(&rest[..end]);
            self.end(&mut take);
            rest = &rest[end + 1..];
        }
        self.extend(rest);
    }

    /// Hands on the last line, which has no end.
    fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            self.end(&mut take);
        }
    }

    fn end(&mut self, take: &mut impl FnMut(&[u8])) {
        let line = std::mem::take(&mut self.line);
        if !std::mem::take(&mut self.skipping) {
            take(line.strip_suffix(b"\r").unwrap_or(&line));
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.line.len() + bytes.len() > LINE_CAP {
            self.skipping = true;
            self.too_long = true;
            self.line = Vec::new();
            return;
        }
        self.line.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_in_which_lines_come_do_not_matter() {
        let text = b"one\n\ntwo\r\nthree";
        for size in 1..=text.len() {
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            text.chunks(size).for_each(|piece| lines.feed(piece, |line| got.push(line.to_vec())));
            lines.finish(|line| got.push(line.to_vec()));
            assert_eq!(got, [&b"one"[..], b"", b"two", b"three"]);
        }
    }

    #[test]
    fn a_line_without_end_is_left_out_and_what_follows_is_read() {
        let (mut lines, mut got) = (Lines::default(), Vec::new());
        for _ in 0..3 {
            lines.feed(&vec![b'x'; LINE_CAP], |line| got.push(line.to_vec()));
        }
        lines.feed(b"\nnext\n", |line| got.push(line.to_vec()));
        assert!(lines.too_long && lines.line.is_empty());
        assert_eq!(got, [b"next"]);
    }
}
