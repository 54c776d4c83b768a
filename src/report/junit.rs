//! `junit.xml`: the results of a run, for systems that show test results.

use std::time::Duration;

use model::base::{clock, escapes};
use model::fault::Fault;
use model::outcome::{Cell, Counts, Results, Span, TestOutcome, TestResult, Verdict};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::terminal::{self, why_cell_incomplete, why_incomplete};

/// The content of `junit.xml`. `suite` names the test suite, most often the subcommand (`run-tests-linux`); of a run with a matrix
/// there is one for each cell, which is named behind it: `run-tests-linux [tmpfs]`.
///
/// A test that ran out of its own time is a `failure` of the type `timed_out`. A failure that is muted is `skipped`, of the
/// type `muted`, with why: readers of the file know nothing else that is no failure and still shown. A lost test and a test that was not
/// begun are each an `error`, so that no reader of the file takes them for passed. Where the verdict is not `passed`
/// but no test shows that, because there is no test, all were skipped or the report is not whole, the suite holds one
/// error with the run's id as its name, for the same reason.
pub fn render(suite: &str, results: &Results) -> Result<String, Fault> {
    let mut report = Report::new(plain(suite));
    report.set_time(results.time.total);
    if results.has_matrix() {
        report.add_test_suites(results.cells.iter().map(|cell| Suite::of_cell(suite, results, cell).written()));
    } else {
        report.add_test_suite(Suite::of_run(suite, results).written());
    }
    report.to_string().map_err(|error| Fault::infrastructure("cannot write the results as XML").because(error))
}

/// The content of the file of a run that came to no results: a suite with one error, which says `why`.
pub fn render_failure(suite: &str, why: &str) -> Result<String, Fault> {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(plain(why));
    let mut cases = TestSuite::new(plain(suite));
    cases.add_test_case(TestCase::new(plain(suite), status));
    let mut report = Report::new(plain(suite));
    report.add_test_suite(cases);
    report.to_string().map_err(|error| Fault::infrastructure("cannot write a failure as XML").because(error))
}

/// The tests of a run, or of one of its cells.
struct Suite<'a> {
    name: String,
    /// What the error is called that says that there is no verdict.
    id: String,
    properties: Vec<(&'a str, String)>,
    took: Duration,
    tests: Vec<&'a TestResult>,
    verdict: Verdict,
    counts: Counts,
    why: Option<String>,
}

impl<'a> Suite<'a> {
    fn of_run(suite: &str, results: &'a Results) -> Self {
        let subject = &results.subject;
        let place = [&subject.distro, &subject.python, &subject.filesystem].map(Clone::clone);
        Self {
            name: suite.to_owned(),
            id: results.id.to_string(),
            properties: properties(results, &results.image, place),
            took: results.time.tests,
            tests: results.tests.iter().collect(),
            verdict: results.verdict,
            counts: results.counts,
            why: why_incomplete(results).or_else(|| Some(results.runner.to_string())),
        }
    }

    fn of_cell(suite: &str, results: &'a Results, cell: &'a Cell) -> Self {
        let known = |value: &Option<String>, axis| value.clone().or_else(|| cell.point.get(axis).map(str::to_owned));
        let place =
            [known(&cell.distro, "distro"), known(&cell.python, "python"), known(&cell.filesystem, "filesystem")];
        let mut properties = properties(results, &cell.image, place);
        for coordinate in &cell.point.0 {
            if !properties.iter().any(|(name, _)| *name == coordinate.axis) {
                properties.push((&coordinate.axis, coordinate.value.clone()));
            }
        }
        Self {
            name: format!("{suite} [{}]", cell.point),
            id: format!("{} [{}]", results.id, cell.point),
            properties,
            took: took(results, cell),
            tests: results.tests.iter().filter(|test| test.cell == cell.point.name()).collect(),
            verdict: cell.verdict,
            counts: cell.counts,
            why: why_cell_incomplete(cell),
        }
    }

    fn written(self) -> TestSuite {
        let mut cases = TestSuite::new(plain(&self.name));
        for (name, value) in &self.properties {
            cases.add_property(Property::new(plain(name), plain(value)));
        }
        cases.set_time(self.took);
        cases.add_test_cases(self.tests.iter().map(|test| case(&self.name, test)));
        let counts = self.counts;
        if self.verdict != Verdict::Passed && counts.unmuted() + counts.lost + counts.not_run == 0 {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(plain(self.why.as_deref().unwrap_or(self.verdict.words())));
            cases.add_test_case(TestCase::new(plain(&self.id), status));
        }
        cases
    }
}

/// How long the tests of a cell took by the wall clock, as far as its machines tell.
fn took(results: &Results, cell: &Cell) -> Duration {
    let of_cell = results.machines.iter().filter(|used| cell.machines.contains(&used.machine));
    let spans: Vec<&Span> = of_cell.flat_map(|used| &used.at_work).collect();
    let (from, until) = (spans.iter().map(|span| span.from).min(), spans.iter().map(|span| span.until).max());
    from.zip(until).map(|(from, until)| clock::since(from, until)).unwrap_or_default()
}

/// The tested software and the environment: `image`, and distribution, Python and file system; unknown properties are left out.
fn properties<'a>(results: &Results, image: &str, place: [Option<String>; 3]) -> Vec<(&'a str, String)> {
    let subject = &results.subject;
    let [distro, python, filesystem] = place;
    let several = |values: &[String], between: &str| Some(values.join(between)).filter(|text| !text.is_empty());
    let known = [
        ("run", Some(results.id.to_string())),
        ("image", Some(image.to_owned()).filter(|image| !image.is_empty() || !results.has_matrix())),
        ("source", Some(results.source.clone())),
        ("version", subject.version.clone()),
        ("revision", subject.revision.clone()),
        ("working_copy", subject.working_copy.then(|| "true".to_owned())),
        ("distro", distro),
        ("python", python),
        ("filesystem", filesystem),
        ("flags", several(&subject.flags, " ")),
        ("caveats", several(&results.caveats, "; ")),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn case(suite: &str, test: &TestResult) -> TestCase {
    let mut status = match test.outcome {
        TestOutcome::Passed => TestCaseStatus::success(),
        TestOutcome::Skipped => TestCaseStatus::skipped(),
        _ if test.is_muted_failure() => TestCaseStatus::skipped(),
        TestOutcome::Failed | TestOutcome::TimedOut => TestCaseStatus::non_success(NonSuccessKind::Failure),
        TestOutcome::Lost | TestOutcome::NotRun => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    let kind = match test.outcome {
        _ if test.is_muted_failure() => Some("muted"),
        TestOutcome::Lost => Some("lost"),
        TestOutcome::NotRun => Some("not_run"),
        TestOutcome::TimedOut => Some("timed_out"),
        _ => None,
    };
    if test.outcome != TestOutcome::Passed {
        let reason = test.reason.as_deref().or(kind).unwrap_or_default();
        let message = match terminal::muted(test) {
            Some(muted) => format!("{muted} ({})", test.reason.as_deref().unwrap_or(test.outcome.words())),
            None => reason.to_owned(),
        };
        if !message.is_empty() {
            status.set_message(plain(&message));
        }
        if let Some(said) = test.detail.as_ref().or(test.output.as_ref()) {
            status.set_description(plain(said));
        }
    }
    if let Some(kind) = kind {
        status.set_type(kind);
    }
    let mut case = TestCase::new(plain(test.name.as_str()), status);
    case.set_classname(plain(suite));
    if let Some(output) = test.output.as_ref().filter(|_| test.detail.is_some()) {
        case.set_system_out(plain(output));
    }
    if let Some(took) = test.took {
        case.set_time(took);
    }
    case
}

/// `text` with those characters made visible that XML cannot hold, that the writer would drop or that change the order of what a
/// reader shows: control characters as `\x1b`, those that reorder as `\u{202e}`, the two non-characters as `\u{fffe}`, a tab as spaces.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            '\t' => out.push_str("        "),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if escapes::steers(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::{in_cells, results, test};

    #[test]
    fn each_cell_is_a_suite_with_what_was_chosen_for_it() {
        let passed = || test("a", TestOutcome::Passed, None);
        let mut failed = in_cells(&[
            ("default", vec![passed()]),
            ("tmpfs", vec![test("a", TestOutcome::Failed, None)]),
            ("ext4", vec![]),
            ("skips", vec![test("a", TestOutcome::Skipped, None)]),
        ]);
        let cell = &mut failed.cells[2];
        (cell.image, cell.filesystem, cell.why) = (String::new(), None, Some("no machine".into()));
        cell.point.0.push(model::matrix::Coordinate { axis: "arch".into(), value: "x86".into() });
        let text = render("s", &failed).unwrap();
        let report = Report::deserialize_from_str(&text).unwrap();
        let suites: Vec<_> = report
            .test_suites
            .iter()
            .map(|suite| (suite.name.as_str(), suite.tests, suite.failures, suite.errors))
            .collect();
        let expected =
            [("s [default]", 1, 0, 0), ("s [tmpfs]", 1, 1, 0), ("s [ext4/x86]", 1, 0, 1), ("s [skips]", 2, 0, 1)];
        assert_eq!(suites, expected, "{text}");
        assert_eq!((report.tests, report.failures, report.errors), (5, 1, 2));
        let properties = |at: usize| {
            let of = |property: &Property| format!("{}={}", property.name.as_str(), property.value.as_str());
            report.test_suites[at].properties.iter().map(of).collect::<Vec<_>>().join(" ")
        };
        assert!(properties(1).contains("filesystem=tmpfs") && properties(1).contains("image=linux-dev"), "{text}");
        assert!(properties(2).contains("filesystem=ext4") && properties(2).ends_with("arch=x86"), "{text}");
        assert!(!properties(2).contains("image="), "{text}");
        let said = "<testcase name=\"20261120-105301-abcdef [ext4/x86]\">\n            <error message=\"no machine\"/>";
        assert!(text.contains(said), "{text}");
        assert!(
            text.contains("<testcase name=\"a\" classname=\"s [tmpfs]\""),
            "the same test is another one there: {text}"
        );
    }

    #[test]
    fn every_test_appears_once_with_what_it_came_to() {
        let mut failed = test("test-b.t#case<1>", TestOutcome::Failed, Some("output changed"));
        failed.detail = Some("--- a\n+++ b\n-\told & \"x\" ]]>\n+\u{1b}[1mnew\u{0}\u{ffff}\n".into());
        let results = results(vec![
            test("test-a.t", TestOutcome::Passed, None),
            failed,
            test("test-c.t", TestOutcome::Skipped, Some("missing feature: svn")),
            test("test-d.t", TestOutcome::Lost, Some("the machine went away")),
            test("test-e.t", TestOutcome::Lost, None),
        ]);
        insta::assert_snapshot!(render("run-tests-linux", &results).unwrap(), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="run-tests-linux" tests="5" skipped="1" failures="1" errors="2" time="10.000">
            <testsuite name="run-tests-linux" tests="5" skipped="1" errors="2" failures="1" time="7.500">
                <properties>
                    <property name="run" value="20261120-105301-abcdef"/>
                    <property name="image" value="linux-dev-debian12 (0123456789ab)"/>
                    <property name="source" value="the image&apos;s own source 6.3.2 (a1b2c3d4e5f6)"/>
                    <property name="version" value="6.3.2"/>
                    <property name="revision" value="a1b2c3d4e5f60718"/>
                    <property name="distro" value="debian12"/>
                    <property name="python" value="3.11.2"/>
                    <property name="filesystem" value="default"/>
                </properties>
                <testcase name="test-a.t" classname="run-tests-linux" time="1.235"/>
                <testcase name="test-b.t#case&lt;1&gt;" classname="run-tests-linux" time="1.235">
                    <failure message="output changed">--- a
        +++ b
        -        old &amp; &quot;x&quot; ]]&gt;
        +\x1b[1mnew\x00\u{ffff}
        </failure>
                </testcase>
                <testcase name="test-c.t" classname="run-tests-linux">
                    <skipped message="missing feature: svn"/>
                </testcase>
                <testcase name="test-d.t" classname="run-tests-linux">
                    <error message="the machine went away" type="lost"/>
                </testcase>
                <testcase name="test-e.t" classname="run-tests-linux">
                    <error message="lost" type="lost"/>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn what_is_written_reads_back() {
        let all: String = (0..0x3000).chain(0xfff0..0x1_0010).filter_map(char::from_u32).collect();
        let mut failed = test(&format!("test {all}"), TestOutcome::Failed, Some(&all));
        failed.detail = Some(all.clone());
        let text = render("s", &results(vec![failed])).unwrap();
        let report = Report::deserialize_from_str(&text).unwrap();
        assert_eq!((report.tests, report.failures, report.errors), (1, 1, 0));
        assert!(report.test_suites[0].test_cases[0].name.as_str().starts_with("test "));
        assert!(text.contains("\\u{202e}") && !text.contains('\u{202e}'), "what reorders is shown");
    }

    #[test]
    fn a_test_that_ran_out_of_its_time_is_a_failure_of_its_own_kind() {
        let text = render("s", &results(vec![test("a", TestOutcome::TimedOut, Some("timed out"))])).unwrap();
        assert!(text.contains("<failure message=\"timed out\" type=\"timed_out\"/>"), "{text}");
    }

    #[test]
    fn a_muted_failure_is_no_failure_and_is_shown_with_why() {
        let mut failed = test("a", TestOutcome::Failed, Some("output changed"));
        failed.detail = Some("-two\n+one\n".into());
        failed.muted = Some(model::mute::Muted { reason: "issue 1".into(), expires: "2026-12-31".parse().unwrap() });
        let text = render("s", &results(vec![failed.clone(), test("b", TestOutcome::Passed, None)])).unwrap();
        let said = "<skipped message=\"muted until 2026-12-31: issue 1 (output changed)\" type=\"muted\">-two\n+one\n</skipped>";
        assert!(text.contains(said), "{text}");
        let mut torn = results(vec![failed]);
        (torn.verdict, torn.gap) = (Verdict::Incomplete, Some("it breaks off".into()));
        let report = Report::deserialize_from_str(&render("s", &torn).unwrap()).unwrap();
        assert_eq!((report.failures, report.errors), (0, 1), "and hides nothing else");
    }

    #[test]
    fn a_test_that_was_not_begun_is_an_error_of_its_own_kind() {
        let text = render("s", &results(model::outcome::not_run_results(&["a".into()], "the build failed"))).unwrap();
        assert!(text.contains(r#"<error message="the build failed" type="not_run"/>"#), "{text}");
    }

    #[test]
    fn a_run_that_is_not_green_shows_it_whatever_its_tests_say() {
        let counts = |results: &Results| {
            let report = Report::deserialize_from_str(&render("s", results).unwrap()).unwrap();
            (report.tests, report.failures, report.errors)
        };
        assert_eq!(counts(&results(vec![])), (1, 0, 1), "no test at all");
        assert_eq!(counts(&results(vec![test("a", TestOutcome::Skipped, None)])), (2, 0, 1), "all skipped");
        let mut torn = results(vec![test("a", TestOutcome::Passed, None)]);
        assert_eq!(counts(&torn), (1, 0, 0));
        (torn.verdict, torn.gap) = (Verdict::Incomplete, Some("it breaks off".into()));
        assert_eq!(counts(&torn), (2, 0, 1), "its report is not whole");
        assert_eq!(counts(&results(vec![test("a", TestOutcome::Lost, None)])), (1, 0, 1));
        assert_eq!(counts(&results(vec![test("a", TestOutcome::Failed, None)])), (1, 1, 0));
    }
}
