//! The end of a run in a few lines of plain text.

use std::time::Duration;

use crate::base::{escapes, text};
use crate::model::outcome::{Exit, Results, TestOutcome, Verdict};

/// How many tests of one outcome are named.
const NAMED: usize = 20;

/// The verdict, the counts, the failed and lost tests by name, and where the time went; lines without a final line end.
pub fn summary(results: &Results) -> String {
    let mut lines = vec![verdict(results)];
    for (outcome, title) in [(TestOutcome::Failed, "Failed"), (TestOutcome::Lost, "Lost")] {
        lines.extend(named(results, outcome, title));
    }
    if let Some(said) = &results.said {
        lines.push("The last lines of the build:".to_owned());
        lines.extend(said.lines().map(|line| format!("  {}", visible(line))));
    }
    lines.push(time(results));
    lines.join("\n")
}

fn verdict(results: &Results) -> String {
    let counts = &results.counts;
    let parts: Vec<String> =
        [(counts.passed, "passed"), (counts.failed, "failed"), (counts.skipped, "skipped"), (counts.lost, "lost")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
    let counted: String = parts.iter().map(|part| format!(", {part}")).collect();
    let said = format!("{}{counted}", text::counted(counts.total, "test"));
    match results.verdict {
        Verdict::Passed => format!("PASSED: {said}."),
        Verdict::Failed => format!("FAILED: {said}."),
        Verdict::Incomplete => format!("INCOMPLETE: {said}; {}.", why_incomplete(results)),
        Verdict::NotRun => {
            let why = results.tests.iter().find_map(|test| test.reason.as_deref()).unwrap_or("nothing was built");
            format!("NOT RUN: {}; {}.", text::counted(counts.total, "test"), visible(why))
        }
    }
}

/// What is missing to a verdict.
fn why_incomplete(results: &Results) -> String {
    let counts = &results.counts;
    match &results.runner {
        Exit::Lost(reason) => format!("the test runner was lost: {}", visible(reason)),
        Exit::Signal(name) => format!("signal {} ended the test runner", visible(name)),
        Exit::Code(_) if counts.lost > 0 => "some tests that were expected did not report".to_owned(),
        Exit::Code(0) => "no test ran".to_owned(),
        Exit::Code(code) if counts.passed + counts.failed == 0 => {
            format!("no test ran, and the test runner ended with exit status {code}")
        }
        Exit::Code(code) => format!("the test runner ended with exit status {code} and names no failed test"),
    }
}

fn named(results: &Results, outcome: TestOutcome, title: &str) -> Vec<String> {
    let tests: Vec<_> = results.tests.iter().filter(|test| test.outcome == outcome).collect();
    if tests.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!("{title}:")];
    lines.extend(tests.iter().take(NAMED).map(|test| match first_line(test.reason.as_deref()) {
        Some(reason) => format!("  {} ({reason})", visible(&test.name)),
        None => format!("  {}", visible(&test.name)),
    }));
    if tests.len() > NAMED {
        lines.push(format!("  and {} more", tests.len() - NAMED));
    }
    lines
}

fn time(results: &Results) -> String {
    let time = &results.time;
    let span = |seconds: f64| text::seconds(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    // What took no time was not done.
    let part = |name: &str, seconds: f64| match seconds {
        0.0 => String::new(),
        seconds => format!(", {name} {}", span(seconds)),
    };
    // The image is made once, not for every run: it would hide what a run's own setup costs.
    let own = time.total - time.image;
    let share = if own > 0.0 { (time.setup / own * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    format!(
        "Time: total {}{}, setup {}{}{}, tests {}; setup share {share:.0} %",
        span(time.total),
        part("image", time.image),
        span(time.setup),
        part("push", time.push),
        part("build", time.build),
        span(time.tests)
    )
}

fn first_line(reason: Option<&str>) -> Option<String> {
    let line = reason?.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(visible(line))
}

/// Names and reasons come from the machine.
fn visible(text: &str) -> String {
    escapes::one_line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::verdict;
    use crate::report::json::tests::{results, test};

    #[test]
    fn a_good_run_takes_two_lines() {
        let tests = ["a", "b"].map(|name| test(name, TestOutcome::Passed, None));
        insta::assert_snapshot!(summary(&results(tests.to_vec())), @r"
        PASSED: 2 tests, 2 passed.
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
        (failed.time.image, failed.time.push, failed.time.build) = (4.0, 0.5, 63.0);
        insta::assert_snapshot!(summary(&failed), @r"
        FAILED: 3 tests, 1 passed, 1 failed, 1 skipped.
        Failed:
          test-b.t\u{1b}[2J (output changed)
        Time: total 10.0s, image 4.0s, setup 2.0s, push 0.5s, build 1m 03s, tests 7.5s; setup share 33 %
        ");
        tests.push(test("test-d.t", TestOutcome::Lost, None));
        insta::assert_snapshot!(summary(&results(tests)), @r"
        INCOMPLETE: 4 tests, 1 passed, 1 failed, 1 skipped, 1 lost; some tests that were expected did not report.
        Failed:
          test-b.t\u{1b}[2J (output changed)
        Lost:
          test-d.t
        Time: total 10.0s, setup 2.0s, tests 7.5s; setup share 20 %
        ");
    }

    #[test]
    fn a_build_that_failed_is_shown_with_its_last_lines_and_names_no_test() {
        let why = "the test runner ended with exit status 1 before its first test";
        let mut results = results(crate::model::outcome::not_run(&["a".into(), "b".into()], why));
        results.said = Some("error: no\u{1b}[1m compiler\nmake: *** stop".into());
        insta::assert_snapshot!(summary(&results), @r"
        NOT RUN: 2 tests; the test runner ended with exit status 1 before its first test.
        The last lines of the build:
          error: no\u{1b}[1m compiler
          make: *** stop
        Time: total 10.0s, setup 2.0s, tests 7.5s; setup share 20 %
        ");
    }

    #[test]
    fn a_long_list_ends_with_how_many_more() {
        let tests = (0..25).map(|n| test(&format!("test-{n:02}.t"), TestOutcome::Failed, None)).collect();
        let text = summary(&results(tests));
        assert!(text.contains("  test-19.t\n  and 5 more\n") && !text.contains("test-20.t"), "{text}");
    }

    #[test]
    fn an_incomplete_run_says_what_is_missing() {
        let first = |tests, runner: Exit| {
            let mut results = results(tests);
            results.verdict = verdict(&results.tests, &runner);
            results.runner = runner;
            summary(&results).lines().next().unwrap().to_owned()
        };
        let passed = || vec![test("a", TestOutcome::Passed, None)];
        insta::assert_snapshot!(first(passed(), Exit::Lost("the machine went away".into())), @"INCOMPLETE: 1 test, 1 passed; the test runner was lost: the machine went away.");
        insta::assert_snapshot!(first(passed(), Exit::Code(2)), @"INCOMPLETE: 1 test, 1 passed; the test runner ended with exit status 2 and names no failed test.");
        insta::assert_snapshot!(first(vec![test("a", TestOutcome::Skipped, None)], Exit::Code(0)), @"INCOMPLETE: 1 test, 1 skipped; no test ran.");
        insta::assert_snapshot!(first(vec![], Exit::Code(255)), @"INCOMPLETE: 0 tests; no test ran, and the test runner ended with exit status 255.");
    }
}
