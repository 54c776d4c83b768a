//! The end of a run in a few lines of plain text.

mod cells;

use std::time::Duration;

use model::base::{escapes, text};
use model::exit::Exit;
use model::outcome::{Counts, Results, TestOutcome, TestResult, TimeSplit, Verdict};

pub use self::cells::why as why_cell_incomplete;

/// Most tests of one outcome that are named.
const NAMED: usize = 20;

/// Most failures that are shown with their differences, and most lines of each.
const FAILURES: usize = 5;
const DIFF_LINES: usize = 30;

/// Most characters of the runner's flags that the verdict shows.
const FLAGS_SHOWN: usize = 80;

/// Why a run whose tests were all skipped has no verdict.
const ALL_SKIPPED: &str = "every test was skipped, so nothing was tried; `--allow-all-skipped` counts that as passed";

/// The verdict, the counts, the cells of a matrix, the failed and lost tests by name, and how the time was spent; lines without a
/// final line end.
pub fn summary(results: &Results) -> String {
    summary_without(results, &[])
}

/// The same where [`failures`] follows: what that shows is not named twice.
pub fn summary_before_failures(results: &Results) -> String {
    summary_without(results, &shown_failures(results))
}

fn summary_without(results: &Results, shown: &[&TestResult]) -> String {
    let mut lines = vec![verdict(results)];
    lines.extend(why_incomplete(results).map(|why| format!("Why: {why}")));
    lines.push(format!("Tests: {}", outcomes(&results.counts)));
    lines.extend(cells::table(results));
    for (outcome, title) in
        [(TestOutcome::Failed, "Failed"), (TestOutcome::TimedOut, "Timed out"), (TestOutcome::Lost, "Lost")]
    {
        lines.extend(list_tests(results, outcome, title, shown));
    }
    lines.extend(list_flaky(results));
    lines.extend(muted_failures(results));
    if let Some(last_output) = &results.last_output {
        lines.push("The last lines of the build:".to_owned());
        lines.extend(last_output.lines().map(|line| format!("  {}", escape(line))));
    }
    lines.push(time(results));
    lines.join("\n")
}

/// The verdict in one line that names what was tested:
/// `PASSED  3 of 3 tests · hg 7.2.4 db34ec2475d1 + changes · debian13 · python 3.13 · 46 s`. With a matrix it says how many cells
/// there are.
pub fn verdict(results: &Results) -> String {
    let counts = &results.counts;
    let total = text::pluralize(counts.total, "test");
    let (word, mut result) = match results.verdict {
        Verdict::Passed => ("PASSED", format!("{} of {total}", counts.passed)),
        Verdict::Failed => {
            ("FAILED", format!("{} of {total}{}", counts.unmuted(), timed_out(unmuted_timed_out(results))))
        }
        Verdict::Incomplete => {
            let lost = if counts.lost > 0 { format!("{} of {total} lost", counts.lost) } else { total };
            let failed = if counts.unmuted() > 0 { format!(", {} failed", counts.unmuted()) } else { String::new() };
            ("INCOMPLETE", lost + &failed)
        }
        Verdict::NotRun => ("NOT RUN", total),
    };
    if counts.muted > 0 {
        result.push_str(&format!(", {}", text::pluralize(counts.muted, "muted failure")));
    }
    if counts.skipped > 0 {
        result.push_str(&format!(", {} skipped", counts.skipped));
    }
    if counts.flaky > 0 {
        result.push_str(&format!(", {} flaky", counts.flaky));
    }
    let subject = &results.subject;
    let flags = subject.flags.join(" ");
    let flags = (!flags.is_empty()).then(|| format!("flags {}", text::cut(&flags, FLAGS_SHOWN)));
    let parts = cells::count(results)
        .into_iter()
        .chain(repeated(results))
        .chain(results.caveats.iter().cloned())
        .chain(subject.words());
    let parts = parts.chain(flags);
    let parts: String = parts.map(|part| format!(" · {}", escape(&part))).collect();
    format!("{word}  {result}{parts} · {}", span(results.time.total))
}

/// `each 3 times`, where every test that was tried was tried several times; none otherwise.
fn repeated(results: &Results) -> Option<String> {
    let tried =
        results.tests.iter().filter(|test| matches!(test.outcome, TestOutcome::Passed) || test.outcome.is_failure());
    let least = tried.map(|test| test.others.len() + 1).min().filter(|least| *least > 1)?;
    Some(format!("each {least} times"))
}

/// ` (2 timed out)`, which follows the number of failed tests; empty where none timed out.
fn timed_out(count: usize) -> String {
    if count > 0 { format!(" ({count} timed out)") } else { String::new() }
}

/// The number of tests that timed out and are not muted.
fn unmuted_timed_out(results: &Results) -> usize {
    let counts = |test: &&TestResult| test.outcome == TestOutcome::TimedOut && test.muted.is_none();
    results.tests.iter().filter(counts).count()
}

/// The numbers of tests by outcome: `58 passed, 2 failed (1 timed out, 1 muted), 1 skipped`; `none` where there is no test.
pub fn outcomes(counts: &Counts) -> String {
    let parts = [(counts.timed_out, "timed out"), (counts.muted, "muted")];
    let parts: Vec<String> =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let of = [
        (counts.passed, "passed".to_owned()),
        (counts.failed, format!("failed{parts}")),
        (counts.skipped, "skipped".to_owned()),
        (counts.lost, "lost".to_owned()),
        (counts.not_run, "not run".to_owned()),
        (counts.flaky, "flaky".to_owned()),
    ];
    let parts: Vec<String> =
        of.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// Why there is no verdict of passed or failed; none where there is one.
pub fn why_incomplete(results: &Results) -> Option<String> {
    let counts = &results.counts;
    match results.verdict {
        Verdict::Passed | Verdict::Failed => return None,
        _ if results.has_matrix() => return Some(cells::why_incomplete(results)),
        Verdict::NotRun => {
            let why = results.tests.iter().find_map(|test| test.reason.as_deref());
            return Some(escape(why.unwrap_or("nothing was built")));
        }
        Verdict::Incomplete => {}
    }
    Some(match (&results.runner, &results.gap) {
        (Exit::Lost(reason), _) => format!("the test runner was lost: {}", escape(reason)),
        (Exit::Signal(name), _) => format!("signal {} ended the test runner", escape(name)),
        (Exit::Code(code), Some(gap)) => {
            format!("the test runner ended with exit status {code} and its report is not whole: {}", escape(gap))
        }
        (Exit::Code(_), None) if counts.lost > 0 => "some tests that were expected did not report".to_owned(),
        (Exit::Code(0), None) if counts.skipped > 0 => ALL_SKIPPED.to_owned(),
        (Exit::Code(0), None) => "no test ran".to_owned(),
        (Exit::Code(code), None) if counts.passed + counts.failed == 0 => {
            format!("no test ran, and the test runner ended with exit status {code}")
        }
        (Exit::Code(code), None) => {
            format!("the test runner ended with exit status {code} and names no failed test")
        }
    })
}

/// A line of a report, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What the line is, for a reader that has colours.
    pub kind: LineKind,
    /// The line, without its end. Names and reasons in it are harmless; lines of a test's output are as they came.
    pub text: String,
}

/// What a line of a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// It names a test that came to this.
    Test(TestOutcome),
    /// A test printed it, and was not expected to.
    Added,
    /// A test was expected to print it, and did not.
    Removed,
    /// It says where in the output a difference is.
    Place,
    /// It is a remark of ours.
    Remark,
    /// Anything else.
    Plain,
}

impl Line {
    fn new(kind: LineKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// A line of what a test said, behind `indent`; in a difference its first character says what it is.
    fn said(test: &TestResult, indent: &str, line: &str) -> Self {
        let kind = match line.bytes().next() {
            _ if test.detail.is_none() => LineKind::Plain,
            Some(b'+') => LineKind::Added,
            Some(b'-') => LineKind::Removed,
            Some(b'@') => LineKind::Place,
            _ => LineKind::Plain,
        };
        Self::new(kind, format!("{indent}{line}"))
    }
}

/// The first failures with the beginnings of how their outputs differ; empty where nothing failed or nothing is known of it.
pub fn failures(results: &Results) -> Vec<Line> {
    let shown = shown_failures(results);
    let mut lines: Vec<Line> = shown.iter().flat_map(|test| failure(test)).collect();
    let more = known_failures(results).len() - shown.len();
    if more > 0 {
        let more = text::pluralize(more, "failure");
        lines.push(Line::new(LineKind::Remark, format!("… and {more} more")));
    }
    lines
}

/// The failures of whose output something is known, those that count first.
fn known_failures(results: &Results) -> Vec<&TestResult> {
    let mut failed: Vec<&TestResult> =
        results.tests.iter().filter(|test| test.outcome.is_failure() && said(test).is_some()).collect();
    failed.sort_by_key(|test| test.is_muted_failure());
    failed
}

/// Those of them that are shown.
fn shown_failures(results: &Results) -> Vec<&TestResult> {
    let mut failed = known_failures(results);
    failed.truncate(FAILURES);
    failed
}

/// One test with how its output differs, or the output where nothing was compared, which is cut after [`DIFF_LINES`] lines.
pub fn failure(test: &TestResult) -> Vec<Line> {
    let mut lines = vec![Line::new(LineKind::Test(test.outcome), title(test))];
    let text = said(test).unwrap_or_default();
    let shown: Vec<&str> = text.lines().skip_while(|line| is_header(line)).collect();
    lines.extend(shown.iter().take(DIFF_LINES).map(|line| Line::said(test, "  ", line)));
    if shown.len() > DIFF_LINES {
        let more = text::pluralize(shown.len() - DIFF_LINES, "line");
        lines.push(Line::new(LineKind::Remark, format!("  … {more} more")));
    }
    lines
}

/// One test with everything that is known of it: `test-a.t  failed  4.2s  output changed`, then how its output differs, or the output
/// where nothing was compared.
pub fn test(result: &TestResult) -> Vec<Line> {
    let text = said(result).unwrap_or_default().trim_end();
    let said = text.lines().map(|line| Line::said(result, "", line));
    std::iter::once(Line::new(LineKind::Test(result.outcome), title(result))).chain(said).collect()
}

/// A line of our own words.
pub fn plain(text: impl Into<String>) -> Line {
    Line::new(LineKind::Plain, text)
}

/// The name of a test, with its cell behind it where the run has a matrix: `test-disk.t [tmpfs]`.
pub fn name(test: &TestResult) -> String {
    let cell = test.cell.as_deref().map(|cell| format!(" [{}]", escape(cell))).unwrap_or_default();
    format!("{}{cell}", escape(test.name.as_str()))
}

/// A test in one line: its name, its outcome, how long it ran, why it did not pass.
pub fn title(test: &TestResult) -> String {
    let took = test.took.map(|took| format!("  {}", text::seconds(took))).unwrap_or_default();
    let reason = first_line(test.reason.as_deref()).map(|reason| format!("  {reason}")).unwrap_or_default();
    let muted = muted(test).map(|why| format!("  {why}")).unwrap_or_default();
    format!("{}  {}{took}{reason}{muted}", name(test), test.outcome.words())
}

/// Why a failure does not count: `muted until 2026-12-31: issue 6789`; none for any other outcome.
pub fn muted(test: &TestResult) -> Option<String> {
    let muted = test.muted.as_ref().filter(|_| test.outcome.is_failure())?;
    Some(format!("muted until {}: {}", muted.expires, escape(muted.reason.trim())))
}

/// How the output of a test differs, or the output where nothing was compared.
fn said(test: &TestResult) -> Option<&str> {
    test.detail.as_deref().or(test.output.as_deref()).filter(|text| !text.trim().is_empty())
}

/// Whether a line at the beginning of a difference names the files that were compared, which the name of the test says.
fn is_header(line: &str) -> bool {
    line.starts_with("--- ") || line.starts_with("+++ ")
}

/// `46 s` below a minute, `3m 05s` beyond.
fn span(span: Duration) -> String {
    if span.as_secs_f64().round() < 60.0 { format!("{:.0} s", span.as_secs_f64()) } else { text::seconds(span) }
}

fn list_tests(results: &Results, outcome: TestOutcome, title: &str, shown: &[&TestResult]) -> Vec<String> {
    let is_shown = |test: &TestResult| shown.iter().any(|other| std::ptr::eq(*other, test));
    let listed = |test: &&TestResult| test.outcome == outcome && !test.is_muted_failure() && !is_shown(test);
    let tests: Vec<_> = results.tests.iter().filter(listed).collect();
    if tests.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!("{title}:")];
    // The reason of a test that timed out says no more than the title.
    let reason = |test: &TestResult| test.reason.clone().filter(|_| outcome != TestOutcome::TimedOut);
    lines.extend(tests.iter().take(NAMED).map(|test| match first_line(reason(test).as_deref()) {
        Some(reason) => format!("  {} ({reason})", name(test)),
        None => format!("  {}", name(test)),
    }));
    if tests.len() > NAMED {
        lines.push(format!("  and {} more", tests.len() - NAMED));
    }
    lines
}

/// The tests that passed in one try and failed in another, and what they came to.
fn list_flaky(results: &Results) -> Vec<String> {
    let flaky: Vec<_> = results.tests.iter().filter(|test| test.is_flaky()).collect();
    if flaky.is_empty() {
        return Vec::new();
    }
    let told = flaky.iter().take(NAMED).map(|test| {
        let passed = |outcome| u32::from(outcome == TestOutcome::Passed);
        let times: u32 = test.others.iter().map(|other| passed(other.outcome)).sum::<u32>() + passed(test.outcome);
        format!("  {} (passed {times} of {} times)", name(test), test.others.len() + 1)
    });
    let more = flaky.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("  and {more} more"));
    std::iter::once("Flaky:".to_owned()).chain(told).chain(more).collect()
}

/// The failures that do not count, each with why.
fn muted_failures(results: &Results) -> Vec<String> {
    let tests: Vec<_> = results.tests.iter().filter_map(|test| Some((test, muted(test)?))).collect();
    if tests.is_empty() {
        return Vec::new();
    }
    let mut lines = vec!["Failed and muted:".to_owned()];
    let line = |(test, why): &(&TestResult, String)| format!("  {} ({why})", name(test));
    lines.extend(tests.iter().take(NAMED).map(line));
    if tests.len() > NAMED {
        lines.push(format!("  and {} more", tests.len() - NAMED));
    }
    lines
}

fn time(results: &Results) -> String {
    let time = &results.time;
    if results.has_matrix() {
        return cells::time(time);
    }
    // A part that took no time was not done, and is left out.
    let part = |name: &str, span: Duration| match span {
        Duration::ZERO => String::new(),
        span => format!(", {name} {}", text::seconds(span)),
    };
    let share = setup_share(time);
    format!(
        "Time: total {}{}, setup {}{}{}, tests {}; setup share {share:.0} %",
        text::seconds(time.total),
        part("image", time.image),
        text::seconds(time.setup),
        part("push", time.push),
        part("build", time.build),
        text::seconds(time.tests)
    )
}

/// The share of the run's time that its setup took, in per cent. The image is made once and not for every run, so its time would
/// hide the share of a run's own setup.
pub(crate) fn setup_share(time: &TimeSplit) -> f64 {
    let own = time.total.saturating_sub(time.image);
    if own.is_zero() { 0.0 } else { (time.setup.div_duration_f64(own) * 100.0).min(100.0) }
}

/// The first line of a reason that is not blank, with its control characters escaped.
pub fn first_line(reason: Option<&str>) -> Option<String> {
    let line = reason?.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(escape(line))
}

/// Escapes names and reasons, because they come from the machine.
fn escape(text: &str) -> String {
    escapes::one_line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::{results, test};
    use model::outcome::Evidence;

    #[test]
    fn a_good_run_takes_three_lines() {
        let tests = ["a", "b"].map(|name| test(name, TestOutcome::Passed, None));
        insta::assert_snapshot!(summary(&results(tests.to_vec())), @r"
        PASSED  2 of 2 tests · hg 6.3.2 a1b2c3d4e5f6 · debian12 · python 3.11 · 10 s
        Tests: 2 passed
        Time: total 10.0s, setup 2.0s, tests 7.5s; setup share 20 %
        ");
    }

    #[test]
    fn what_failed_and_what_is_lost_is_named() {
        let mut tests = vec![
            test("test-a.t", TestOutcome::Passed, None),
            test("test-b.t\u{1b}[2J", TestOutcome::Failed, Some("\noutput changed\nmore")),
            test("test-c.t", TestOutcome::Skipped, Some("no svn")),
        ];
        let mut failed = results(tests.clone());
        failed.time.image = Duration::from_secs(4);
        (failed.time.push, failed.time.build) = (Duration::from_millis(500), Duration::from_secs(63));
        insta::assert_snapshot!(summary(&failed), @r"
        FAILED  1 of 3 tests, 1 skipped · hg 6.3.2 a1b2c3d4e5f6 · debian12 · python 3.11 · 10 s
        Tests: 1 passed, 1 failed, 1 skipped
        Failed:
          test-b.t\u{1b}[2J (output changed)
        Time: total 10.0s, image 4.0s, setup 2.0s, push 0.5s, build 1m 03s, tests 7.5s; setup share 33 %
        ");
        tests.push(test("test-d.t", TestOutcome::Lost, None));
        insta::assert_snapshot!(summary(&results(tests)), @r"
        INCOMPLETE  1 of 4 tests lost, 1 failed, 1 skipped · hg 6.3.2 a1b2c3d4e5f6 · debian12 · python 3.11 · 10 s
        Why: some tests that were expected did not report
        Tests: 1 passed, 1 failed, 1 skipped, 1 lost
        Failed:
          test-b.t\u{1b}[2J (output changed)
        Lost:
          test-d.t
        Time: total 10.0s, setup 2.0s, tests 7.5s; setup share 20 %
        ");
    }

    fn texts(lines: &[Line]) -> String {
        lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn failures_are_shown_with_their_differences_within_limits() {
        let failed = |name: &str, detail: String| {
            let mut result = test(name, TestOutcome::Failed, Some("output changed"));
            result.detail = Some(detail);
            result
        };
        let long: String = (0..32).map(|n| format!("+{n}\n")).collect();
        let header = "--- /src/tests/test-a.t\n+++ /src/tests/test-a.t.err\n";
        let mut tests = vec![failed("test-a.t", format!("{header}@@ -1 +1 @@\n-two\u{1b}[2J\n--- three\n+one\n"))];
        tests.push(test("test-b.t", TestOutcome::Passed, None));
        tests.push(test("test-c.t", TestOutcome::Failed, Some("no output was kept")));
        let lines = failures(&results(tests.clone()));
        // Whoever shows what a test printed makes it harmless.
        insta::assert_snapshot!(texts(&lines).escape_debug().to_string().replace("\\n", "\n"), @r"
        test-a.t  failed  1.2s  output changed
          @@ -1 +1 @@
          -two\u{1b}[2J
          --- three
          +one
        ");
        let (failed_kind, removed) = (LineKind::Test(TestOutcome::Failed), LineKind::Removed);
        let kinds: Vec<LineKind> = lines.iter().map(|line| line.kind).collect();
        assert_eq!(kinds, [failed_kind, LineKind::Place, removed, removed, LineKind::Added]);
        let shown = results(tests.clone());
        assert!(summary(&shown).contains("\n  test-a.t (output changed)\n  test-c.t (no output was kept)\n"));
        let before = summary_before_failures(&shown);
        assert!(
            !before.contains("test-a.t") && before.contains("Failed:\n  test-c.t (no output was kept)\n"),
            "{before}"
        );
        assert_eq!(texts(&failures(&results(tests.split_off(1)))), "");
        let shown = texts(&failures(&results((0..7).map(|n| failed(&format!("test-{n}.t"), long.clone())).collect())));
        assert_eq!((shown.matches("  +29\n  … 2 lines more").count(), shown.contains("+30")), (5, false), "{shown}");
        assert!(shown.ends_with("… and 2 failures more"), "{shown}");
    }

    #[test]
    fn tests_that_ran_out_of_their_time_are_told_apart_from_those_that_failed() {
        let tests = vec![
            test("test-a.t", TestOutcome::Failed, Some("output changed")),
            test("test-b.t", TestOutcome::TimedOut, Some("timed out")),
            test("test-c.t", TestOutcome::Passed, None),
        ];
        insta::assert_snapshot!(summary(&results(tests)), @r"
        FAILED  2 of 3 tests (1 timed out) · hg 6.3.2 a1b2c3d4e5f6 · debian12 · python 3.11 · 10 s
        Tests: 1 passed, 2 failed (1 timed out)
        Failed:
          test-a.t (output changed)
        Timed out:
          test-b.t
        Time: total 10.0s, setup 2.0s, tests 7.5s; setup share 20 %
        ");
    }

    #[test]
    fn a_muted_failure_is_shown_beside_the_verdict_and_not_among_those_that_count() {
        let mute = |mut result: TestResult| {
            let expires = "2026-12-31".parse().unwrap();
            result.muted = Some(model::mute::Muted { reason: "issue 1\u{1b}[2J".into(), expires });
            result.detail = Some("-two\n+one\n".into());
            result
        };
        let mut tests = vec![
            mute(test("test-a.t", TestOutcome::TimedOut, Some("timed out"))),
            test("test-b.t", TestOutcome::Passed, None),
        ];
        insta::assert_snapshot!(summary(&results(tests.clone())), @r"
        PASSED  1 of 2 tests, 1 muted failure · hg 6.3.2 a1b2c3d4e5f6 · debian12 · python 3.11 · 10 s
        Tests: 1 passed, 1 failed (1 timed out, 1 muted)
        Failed and muted:
          test-a.t (muted until 2026-12-31: issue 1\u{1b}[2J)
        Time: total 10.0s, setup 2.0s, tests 7.5s; setup share 20 %
        ");
        let mut failed = test("test-c.t", TestOutcome::Failed, Some("output changed"));
        failed.detail = Some("-2\n+1\n".into());
        tests.push(failed);
        insta::assert_snapshot!(summary(&results(tests.clone())), @r"
        FAILED  1 of 3 tests, 1 muted failure · hg 6.3.2 a1b2c3d4e5f6 · debian12 · python 3.11 · 10 s
        Tests: 1 passed, 2 failed (1 timed out, 1 muted)
        Failed:
          test-c.t (output changed)
        Failed and muted:
          test-a.t (muted until 2026-12-31: issue 1\u{1b}[2J)
        Time: total 10.0s, setup 2.0s, tests 7.5s; setup share 20 %
        ");
        insta::assert_snapshot!(texts(&failures(&results(tests))), @r"
        test-c.t  failed  1.2s  output changed
          -2
          +1
        test-a.t  timed out  1.2s  timed out  muted until 2026-12-31: issue 1\u{1b}[2J
          -two
          +one
        ");
    }

    #[test]
    fn a_build_that_failed_is_shown_with_its_last_lines_and_names_no_test() {
        let why = "the test runner ended with exit status 1 before its first test";
        let mut results = results(model::outcome::not_run_results(&["a".into(), "b".into()], why));
        results.last_output = Some("error: no\u{1b}[1m compiler\nmake: *** stop".into());
        insta::assert_snapshot!(summary(&results), @r"
        NOT RUN  2 tests · hg 6.3.2 a1b2c3d4e5f6 · debian12 · python 3.11 · 10 s
        Why: the test runner ended with exit status 1 before its first test
        Tests: 2 not run
        The last lines of the build:
          error: no\u{1b}[1m compiler
          make: *** stop
        Time: total 10.0s, setup 2.0s, tests 7.5s; setup share 20 %
        ");
    }

    #[test]
    fn what_makes_green_mean_less_stands_in_its_line() {
        let mut results = results(vec![test("a", TestOutcome::Passed, None)]);
        results.caveats = vec!["output not compared (--debug)".into(), "x\u{1b}[2J".into()];
        results.subject.flags = vec!["--debug".into(), "x".repeat(100)];
        results.time.total = Duration::from_secs(3661);
        let line = verdict(&results);
        assert!(
            line.starts_with("PASSED  1 of 1 test · output not compared (--debug) · x\\u{1b}[2J · hg 6.3.2"),
            "{line}"
        );
        assert!(
            line.contains(" · flags --debug xxx") && line.ends_with("xxx [… 28 bytes left out] · 1h 01m"),
            "{line}"
        );
        // Older builds of the tool did not record what they had tested.
        results.subject = Default::default();
        results.caveats.clear();
        assert_eq!(verdict(&results), "PASSED  1 of 1 test · 1h 01m");
    }

    #[test]
    fn a_long_list_ends_with_how_many_more() {
        let tests = (0..25).map(|n| test(&format!("test-{n:02}.t"), TestOutcome::Failed, None)).collect();
        let text = summary(&results(tests));
        assert!(text.contains("  test-19.t\n  and 5 more\n") && !text.contains("test-20.t"), "{text}");
    }

    #[test]
    fn an_incomplete_run_says_what_is_missing() {
        let why = |tests, runner: Exit, gap: Option<&str>| {
            let mut results = results(tests);
            let evidence = Evidence { runner: &runner, gap, may_all_skip: false };
            results.verdict = model::outcome::verdict(&results.tests, &evidence);
            results.gap = gap.map(str::to_owned);
            results.runner = runner;
            summary(&results).lines().nth(1).unwrap().to_owned()
        };
        let passed = || vec![test("a", TestOutcome::Passed, None)];
        let skipped = || vec![test("a", TestOutcome::Skipped, None)];
        insta::assert_snapshot!(why(passed(), Exit::Lost("the machine went away".into()), Some("it breaks off")), @"Why: the test runner was lost: the machine went away");
        insta::assert_snapshot!(why(passed(), Exit::Code(0), Some("it breaks off")), @"Why: the test runner ended with exit status 0 and its report is not whole: it breaks off");
        insta::assert_snapshot!(why(passed(), Exit::Code(2), None), @"Why: the test runner ended with exit status 2 and names no failed test");
        insta::assert_snapshot!(why(skipped(), Exit::Code(0), None), @"Why: every test was skipped, so nothing was tried; `--allow-all-skipped` counts that as passed");
        insta::assert_snapshot!(why(vec![], Exit::Code(255), None), @"Why: no test ran, and the test runner ended with exit status 255");
    }
}
