//! Reading TAP, the Test Anything Protocol, in versions 12 to 14: a line a test, and a plan that says how many there are.

use std::collections::BTreeSet;
use std::time::Duration;

use model::base::text;
use model::outcome::TestOutcome;

use crate::reports::lines::{LineReader, LineStream};
use crate::reports::tally::{MOST_TESTS, REASON_CAP, Rules, Tally};

/// How much of what a failed test says is collected, in bytes; the tally has a bound of its own for all.
const SAID_CAP: usize = 64 << 10;

/// A TAP stream, line by line.
pub(crate) type TapReader = LineReader<TapStream>;

/// What the stream said so far.
pub(crate) struct TapStream {
    tally: Tally,
    /// How many tests the plan announces; none before it came.
    planned: Option<u64>,
    /// The numbers of the tests that came.
    numbers: BTreeSet<u64>,
    /// The test whose diagnostics follow, and these.
    failed: Option<(String, String)>,
    /// Whether the block of a test's diagnostics is open (`---`).
    in_block: bool,
    bailed: bool,
}

impl TapReader {
    /// A reader of nothing yet.
    pub(crate) fn new() -> Self {
        let stream = TapStream {
            tally: Tally::new(Rules::STRICT),
            planned: None,
            numbers: BTreeSet::new(),
            failed: None,
            in_block: false,
            bailed: false,
        };
        Self::of(stream)
    }
}

impl LineStream for TapStream {
    const READS_TORN: bool = false;

    fn take(&mut self, line: &[u8]) {
        self.take_text(&String::from_utf8_lossy(line));
    }

    fn close(&mut self) {
        self.close_failed();
        if self.is_whole() {
            self.tally.end();
        }
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// A line that says how one test ended.
#[derive(Debug, PartialEq, Eq)]
struct TestLine {
    ok: bool,
    number: Option<u64>,
    description: String,
    directive: Option<Directive>,
}

/// What stands behind `#` of such a line.
#[derive(Debug, PartialEq, Eq)]
enum Directive {
    Skip(String),
    Todo(String),
}

impl TapStream {
    fn take_text(&mut self, line: &str) {
        if self.in_block {
            self.in_block = line.trim() != "...";
            return self.say(line.trim_start_matches("  "));
        }
        if line.trim() == "---" && line.starts_with(' ') {
            self.in_block = true;
            return;
        }
        // Subtests are indented: the line of their test, which follows them, says how they came out.
        if line.starts_with([' ', '\t']) {
            return self.say(line);
        }
        if let Some(said) = line.strip_prefix("Bail out!") {
            self.bailed = true;
            let said = text::cut(said.trim(), REASON_CAP);
            return self.tally.note(format!("`Bail out!` ({})", said.escape_debug()));
        }
        if let Some(plan) = line.strip_prefix("1..") {
            return self.plan(plan);
        }
        if let Some(test) = read_test(line) {
            return self.test(test);
        }
        // Whatever else a program prints is not TAP; its comments belong to the test before them.
        if let Some(comment) = line.strip_prefix('#') {
            self.say(comment.strip_prefix(' ').unwrap_or(comment));
        }
    }

    fn plan(&mut self, plan: &str) {
        let digits: String = plan.chars().take_while(char::is_ascii_digit).collect();
        let Ok(count) = digits.parse() else { return };
        if self.planned.replace(count).is_some() {
            self.tally.note("a second plan");
        }
    }

    fn test(&mut self, test: TestLine) {
        self.close_failed();
        let next = self.numbers.last().map_or(1, |last| last.saturating_add(1));
        let number = test.number.unwrap_or(next);
        // Their number is bounded as that of the tests is.
        if self.numbers.len() < MOST_TESTS && !self.numbers.insert(number) {
            self.tally.note(format!("the number {number} twice"));
        }
        let name = match test.description.is_empty() {
            true => format!("test {number}"),
            false => test.description,
        };
        let (outcome, reason) = match (test.ok, test.directive) {
            (true, None) => (TestOutcome::Passed, None),
            (true, Some(Directive::Skip(why))) => (TestOutcome::Skipped, some(why)),
            (true, Some(Directive::Todo(why))) => (TestOutcome::Passed, Some(format!("to do, and passed: {why}"))),
            // It is known to fail: that is what the directive is for.
            (false, Some(Directive::Todo(why))) => (TestOutcome::Skipped, Some(format!("to do: {why}"))),
            (false, Some(Directive::Skip(why))) => (TestOutcome::Failed, some(why)),
            (false, None) => (TestOutcome::Failed, None),
        };
        self.tally.may_have_begun = true;
        self.tally.finish(name.clone(), outcome, None::<Duration>, reason);
        if outcome.is_failure() {
            self.failed = Some((name, String::new()));
        }
    }

    /// Collects what a failed test says.
    fn say(&mut self, line: &str) {
        if let Some((_, said)) = self.failed.as_mut().filter(|(_, said)| said.len() < SAID_CAP) {
            said.push_str(line);
            said.push('\n');
        }
    }

    /// The diagnostics of a failed test have ended.
    fn close_failed(&mut self) {
        if let Some((name, said)) = self.failed.take().filter(|(_, said)| !said.is_empty()) {
            self.tally.detail(name, &said, None);
        }
    }

    /// Whether there is a plan, and all that it announces and nothing else has come.
    fn is_whole(&mut self) -> bool {
        let (Some(planned), false) = (self.planned, self.bailed) else { return false };
        let (came, last) = (self.numbers.len() as u64, self.numbers.last().copied().unwrap_or(0));
        if came > planned || last > planned {
            self.tally.note(format!("more tests than its plan, which announces {planned}"));
        }
        came >= planned
    }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Reads `ok 1 - what it is # SKIP why`; none of a line that is no test's.
fn read_test(line: &str) -> Option<TestLine> {
    let (ok, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    let rest = rest.trim_start();
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    // A description may begin with a digit: a number stands alone.
    let alone = rest[digits..].chars().next().is_none_or(char::is_whitespace);
    let (number, rest) = match rest[..digits].parse() {
        Ok(number) if alone => (Some(number), rest[digits..].trim_start()),
        _ => (None, rest),
    };
    let rest = rest.strip_prefix('-').map_or(rest, str::trim_start);
    let (description, directive) = split_directive(rest);
    Some(TestLine { ok, number, description, directive })
}

/// Splits a directive off: it stands behind the last `#` that has no backslash before it.
fn split_directive(text: &str) -> (String, Option<Directive>) {
    let plain = |text: &str| text.trim().replace("\\#", "#").replace("\\\\", "\\");
    let marks = text.match_indices('#').filter(|(at, _)| !text[..*at].ends_with('\\'));
    for (at, _) in marks {
        let behind = text[at + 1..].trim();
        let word = behind.split(char::is_whitespace).next().unwrap_or_default();
        let why = behind[word.len()..].trim().to_owned();
        // `# SKIPPED` is meant as well.
        let directive = match word.to_ascii_uppercase().trim_end_matches(':') {
            word if word.starts_with("SKIP") => Directive::Skip(why),
            "TODO" => Directive::Todo(why),
            _ => continue,
        };
        return (plain(&text[..at]), Some(directive));
    }
    (plain(text), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::lines::LINE_CAP;
    use model::runner::{ReportReader, RunnerReport};

    fn read(stream: &str) -> RunnerReport {
        let mut reader = TapReader::new();
        reader.feed(stream.as_bytes());
        reader.report()
    }

    fn outcomes(report: &RunnerReport) -> Vec<(&str, TestOutcome)> {
        report.tests.iter().map(|test| (test.name.as_str(), test.outcome)).collect()
    }

    #[test]
    fn every_form_of_a_test_line_is_read() {
        let report = read(
            "TAP version 14\n1..8\nok 1 - adds\nnot ok 2 - breaks\nok 3 - waits # SKIP no clock\nnot ok 4 - plans # TODO later\n\
             ok 5 - hash \\# in it\nok\nnot ok 7 # skip never\nok 8 - 3 blind mice # todo\n",
        );
        use TestOutcome::{Failed, Passed, Skipped};
        assert_eq!(
            outcomes(&report),
            [
                ("3 blind mice", Passed),
                ("adds", Passed),
                ("breaks", Failed),
                ("hash # in it", Passed),
                ("plans", Skipped),
                ("test 6", Passed),
                ("test 7", Failed),
                ("waits", Skipped)
            ]
        );
        assert!(report.complete && report.excess.is_none(), "{report:?}");
        assert_eq!(report.tests[7].reason.as_deref(), Some("no clock"));
        assert_eq!(report.tests[4].reason.as_deref(), Some("to do: later"));
    }

    #[test]
    fn subtests_and_diagnostics_belong_to_their_test() {
        let report = read(
            "# Subtest: outer\n    ok 1 - inner\n    not ok 2 - other\n    1..2\nnot ok 1 - outer\n  ---\n  message: 'x'\n  ok 9 - no test\n  \
             ...\n# at line 3\nok 2 - last\n# of the last\n1..2\n",
        );
        assert_eq!(outcomes(&report), [("last", TestOutcome::Passed), ("outer", TestOutcome::Failed)]);
        let detail = report.tests[1].detail.as_deref().unwrap();
        assert!(detail.contains("message: 'x'") && detail.contains("at line 3"), "{detail}");
        assert!(!detail.contains("of the last"), "{detail}");
        assert!(report.complete);
    }

    #[test]
    fn a_stream_that_is_cut_or_lies_is_not_whole() {
        let whole = |stream: &str| {
            let report = read(stream);
            report.complete && report.excess.is_none()
        };
        assert!(whole("1..2\nok 1\nok 2\n") && whole("ok 1\nok 2\n1..2\n") && whole("1..0 # SKIP no perl\n"));
        for (stream, why) in [
            ("", "nothing"),
            ("ok 1\nok 2\n", "no plan"),
            ("1..3\nok 1\nok 2\n", "fewer than planned"),
            ("1..1\nok 1\nok 2\n", "more than planned"),
            ("1..2\nok 1\nok 3\n", "a number beyond the plan"),
            ("1..2\nok 1 - a\nok 1 - b\n", "a number twice"),
            ("1..2\nok 1 - a\nok 2 - a\n", "a name twice"),
            ("1..1\nok 1\n1..1\n", "two plans"),
            ("1..1\nok 1\nBail out! no database\n", "given up"),
            ("1..2\nok 1\nok 2", "the last line has no end"),
        ] {
            assert!(!whole(stream), "{why}: {stream}");
        }
        let bailed = read("1..1\nok 1\nBail out! no\u{1b}[2J database\n").excess.unwrap();
        assert_eq!(bailed, "`Bail out!` (no\\u{1b}[2J database)");
    }

    #[test]
    fn what_a_program_prints_beside_is_no_test() {
        let report = read("okay 1 - no\nnot okay\nstarting\nok 1 - yes\n1..1\n");
        assert_eq!(outcomes(&report), [("yes", TestOutcome::Passed)]);
        assert!(report.complete);
    }

    #[test]
    fn a_stream_without_end_is_kept_in_little() {
        let mut reader = TapReader::new();
        reader.feed(b"not ok 1 - t\n");
        for _ in 0..2000 {
            reader.feed(&[b"# ", &[b'x'; 1000][..], b"\n"].concat());
        }
        let said = reader.stream.failed.as_ref().unwrap().1.len();
        assert!(said <= SAID_CAP + 1001, "{said}");
        reader.feed(&vec![b'y'; LINE_CAP + 1]);
        assert_eq!(reader.report().excess.as_deref(), Some("a line of more than 512.0 KiB"));
    }
}
