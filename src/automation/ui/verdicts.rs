//! Verdicts and failures in colour.

use model::event::{Event, EventKind, TestsEvent};
use model::outcome::{TestOutcome, TestResult, Verdict};
use report::terminal::{Line, LineKind};

use super::look::Look;
use super::paint::{Ink, Painted};

/// Lines of a report, each in the colour of what it is; a line that names a test begins with the sign of its outcome.
pub(super) fn report_lines(lines: &[Line], look: Look) -> Vec<Painted> {
    lines.iter().map(|line| report_line(line, look)).collect()
}

fn report_line(line: &Line, look: Look) -> Painted {
    let ink = match line.kind {
        LineKind::Test(outcome) => {
            let (sign, ink) = sign(outcome, look.unicode);
            return Painted::of(ink, &format!("{sign} {}", line.text));
        }
        LineKind::Added => Ink::Good,
        LineKind::Removed => Ink::Bad,
        LineKind::Place => Ink::Place,
        LineKind::Remark => Ink::Faint,
        LineKind::Plain => Ink::Plain,
    };
    Painted::line(ink, &line.text)
}

fn sign(outcome: TestOutcome, unicode: bool) -> (&'static str, Ink) {
    let (sign, ascii, ink) = match outcome {
        TestOutcome::Passed => ("✓", "+", Ink::Good),
        TestOutcome::Failed | TestOutcome::TimedOut => ("✗", "x", Ink::Bad),
        TestOutcome::Skipped => ("○", "o", Ink::Caution),
        TestOutcome::Lost | TestOutcome::NotRun => ("?", "?", Ink::Bad),
    };
    (if unicode { sign } else { ascii }, ink)
}

/// A test that failed, as soon as that is known: in a line, or with the beginning of how its output differs.
pub(super) fn failure(event: &Event, differs: bool, look: Look) -> Option<Vec<Painted>> {
    let EventKind::Tests(TestsEvent::TestEnded { test, outcome, took, reason, detail }) = &event.kind else {
        return None;
    };
    if matches!(outcome, TestOutcome::Passed | TestOutcome::Skipped) {
        return None;
    }
    let mut result = TestResult::of(test.clone(), *outcome, *took, reason.clone());
    result.detail = detail.clone().filter(|_| differs);
    result.cell.clone_from(&event.cell);
    Some(report_lines(&report::terminal::failure(&result), look))
}

/// The text of a verdict, whose first word has its colour.
pub(super) fn verdict(verdict: Verdict, summary: &str) -> Vec<Painted> {
    let ink = match verdict {
        Verdict::Passed => Ink::Good,
        Verdict::Failed => Ink::Bad,
        Verdict::Incomplete | Verdict::NotRun => Ink::Caution,
    };
    let (word, rest) = summary.split_once("  ").unwrap_or((summary, ""));
    let mut lines = rest.split('\n').map(|line| Painted::line(Ink::Plain, line));
    let gap = if rest.is_empty() { "" } else { "  " };
    let first = Painted::of(ink, word).with(Ink::Plain, gap).and(lines.next().unwrap_or_default());
    std::iter::once(first).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ui::paint::lines_text;

    #[test]
    fn a_failure_comes_with_its_difference_and_what_passed_with_nothing() {
        let mut result =
            TestResult::of("test-a.t\u{1b}".into(), TestOutcome::Failed, Some(Duration::from_millis(1250)), None);
        result.detail = Some("--- a\n+++ b\n@@ -1 +1 @@\n-\told\u{1b}[2J\n+new\n same\n".to_owned());
        let look = Look { unicode: true, ..Look::default() };
        let event = |result: &TestResult, cell: Option<&str>| Event {
            at: jiff::Timestamp::UNIX_EPOCH,
            subject: None,
            cell: cell.map(str::to_owned),
            kind: TestsEvent::ended(result).into(),
        };
        let text =
            |event: &Event, differs, colored| failure(event, differs, look).map(|lines| lines_text(&lines, colored));
        let ended = event(&result, None);
        assert_eq!(
            text(&ended, true, false).unwrap(),
            "✗ test-a.t\\u{1b}  failed  1.2s\n  @@ -1 +1 @@\n  -\told\\u{1b}[2J\n  +new\n   same\n"
        );
        assert_eq!(
            text(&ended, true, true).unwrap(),
            "\u{1b}[31m✗ test-a.t\\u{1b}  failed  1.2s\u{1b}[0m\n\u{1b}[36m  @@ -1 +1 @@\u{1b}[0m\n\u{1b}[31m  -\told\\u{1b}[2J\u{1b}[0m\n\u{1b}[32m  +new\u{1b}[0m\n   same\n"
        );
        assert_eq!(text(&ended, false, false).unwrap(), "✗ test-a.t\\u{1b}  failed  1.2s\n");
        let in_cell = text(&event(&result, Some("tmpfs\u{1b}")), false, false).unwrap();
        assert_eq!(in_cell, "✗ test-a.t\\u{1b} [tmpfs\\u{1b}]  failed  1.2s\n");
        result.outcome = TestOutcome::Passed;
        assert_eq!(text(&event(&result, None), true, false), None);
    }

    #[test]
    fn the_word_of_a_verdict_has_its_colour_and_the_rest_is_as_it_was() {
        let shown = |text: &str, colored| lines_text(&verdict(Verdict::NotRun, text), colored);
        assert_eq!(shown("NOT RUN  2 tests\nWhy: x", true), "\u{1b}[33mNOT RUN\u{1b}[0m  2 tests\nWhy: x\n");
        assert_eq!(shown("NOT RUN  2 tests\nWhy: x", false), "NOT RUN  2 tests\nWhy: x\n");
        assert_eq!(shown("odd", false), "odd\n");
    }
}
