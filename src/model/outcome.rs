//! The outcomes of tests and the results of a run.

mod counts;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::artifact::CollectedArtifacts;
use crate::base::clock;
use crate::base::id::{MachineId, RunId, TestName};
use crate::build::BuildOrigin;
use crate::exit::Exit;
use crate::exit_code;
use crate::machine::ProviderKind;
use crate::matrix::Point;
use crate::mute::Muted;
use crate::subject::TestSubject;
use crate::sum::Sha256Sum;

pub use counts::Counts;

/// The outcome of one test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestOutcome {
    /// It ran and passed.
    Passed,
    /// It ran and failed.
    Failed,
    /// It ran longer than its runner allows a test, and was ended: a failure of a separate kind.
    #[serde(rename = "timed_out")]
    TimedOut,
    /// It was not run, for a reason that the runner names.
    Skipped,
    /// It was expected, and nothing was reported about it.
    Lost,
    /// The software under test was not built, so that no test was begun.
    #[serde(rename = "not_run")]
    NotRun,
}

impl TestOutcome {
    /// How bad the outcome is: of several outcomes of one test the worst counts.
    pub fn rank(self) -> u8 {
        match self {
            Self::Lost | Self::NotRun => 4,
            Self::Failed => 3,
            Self::TimedOut => 2,
            Self::Passed => 1,
            Self::Skipped => 0,
        }
    }

    /// The outcome in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Skipped => "skipped",
            Self::Lost => "lost",
            Self::NotRun => "not run",
        }
    }

    /// Whether it is known what the test came to.
    pub fn is_known(self) -> bool {
        !matches!(self, Self::Lost | Self::NotRun)
    }

    /// Whether the test ran and did not do what it should.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut)
    }
}

/// One try of a test on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The machine.
    pub machine: MachineId,
    /// The number of this try among those of the test in the run, from 1.
    #[serde(rename = "attempt")]
    pub number: u32,
}

/// A file that says what a test is expected to print, as it was when the test ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Its path from the top of the source, with slashes.
    pub file: String,
    /// The sum of its bytes; none where there was no such file.
    pub sha256: Option<Sha256Sum>,
}

/// One test of a run; each test appears exactly once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// The test's name.
    pub name: TestName,
    /// Its outcome.
    pub outcome: TestOutcome,
    /// How long it ran, by the wall clock; none when it did not run. `seconds` in JSON.
    #[serde(rename = "seconds", default, with = "clock::optional_seconds")]
    pub took: Option<Duration>,
    /// Why it was skipped, failed or lost.
    pub reason: Option<String>,
    /// The difference between the expected and the actual output, where it failed and its output was compared, capped.
    pub detail: Option<String>,
    /// The output that it had, where it failed: its beginning and its end, capped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The file with the whole of that, as a path from the run's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_file: Option<String>,
    /// The file with what it is expected to print, where its output was compared with that and differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expectation>,
    /// When it began, by the clock of its machine; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
    /// The name of its cell, where the run has a matrix: the same test may be there once in each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Where it was tried; none for a test that no machine was to run, and in results of older builds of the tool.
    #[serde(flatten)]
    pub attempt: Option<Attempt>,
    /// The other tries in the run, in the order of their ends; this result is the one that counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherAttempt>,
    /// Why a failure of the test does not count, and until when; none where nobody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<Muted>,
}

/// A try of a test that is not the one that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OtherAttempt {
    /// Where it was tried.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// Its outcome.
    pub outcome: TestOutcome,
    /// How long it ran, by the wall clock; none when it did not run. `seconds` in JSON.
    #[serde(rename = "seconds", default, with = "clock::optional_seconds")]
    pub took: Option<Duration>,
    /// Why it was skipped, failed or lost.
    pub reason: Option<String>,
    /// When it began, by the clock of its machine; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
}

impl TestResult {
    /// What a runner reported of a test; its output and its attempt are not known yet.
    pub fn of(name: TestName, outcome: TestOutcome, took: Option<Duration>, reason: Option<String>) -> Self {
        Self {
            name,
            outcome,
            took,
            reason,
            detail: None,
            output: None,
            output_file: None,
            expected: None,
            began_at: None,
            cell: None,
            attempt: None,
            others: Vec::new(),
            muted: None,
        }
    }

    /// Whether it failed, and that does not count.
    pub fn is_muted_failure(&self) -> bool {
        self.muted.is_some() && self.outcome.is_failure()
    }

    /// Whether it passed in one try and failed in another.
    pub fn is_flaky(&self) -> bool {
        let mut outcomes = self.others.iter().map(|other| other.outcome).chain([self.outcome]);
        outcomes.clone().any(TestOutcome::is_failure) && outcomes.any(|outcome| outcome == TestOutcome::Passed)
    }

    /// The result of a test that did not run, with the reason.
    fn without_run(name: &TestName, outcome: TestOutcome, why: &str) -> Self {
        Self::of(name.clone(), outcome, None, Some(why.to_owned()))
    }
}

/// The verdict on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The runner said that it came to its end, every expected test was accounted for, at least one ran, none failed.
    Passed,
    /// The same, and some failed.
    Failed,
    /// Some expected test is lost, the runner's report is not whole, or nothing ran at all. Stronger than
    /// `failed`: what is not known may be worse than what is.
    Incomplete,
    /// The software under test was not built: no test was begun, and nobody knows what they would have come to. The
    /// cause is in the source, or in what the machine lacks to build it.
    #[serde(rename = "not_run")]
    NotRun,
}

impl Verdict {
    /// How bad the verdict is: of several cells the worst counts. What is not known may be worse than what is.
    pub fn rank(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::NotRun => 2,
            Self::Incomplete => 3,
        }
    }

    /// The verdict in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::NotRun => "not run",
        }
    }

    /// The exit code of a run with this verdict that left nothing behind.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Passed => exit_code::OK,
            Self::Failed => exit_code::FAILED,
            Self::Incomplete => exit_code::INFRASTRUCTURE,
            Self::NotRun => exit_code::OUTSIDE,
        }
    }
}

/// How the time of a run was spent, by the wall clock; seconds in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeSplit {
    /// From the start of the command to the verdict.
    #[serde(with = "clock::seconds")]
    pub total: Duration,
    /// Making images that did not exist yet.
    #[serde(with = "clock::seconds")]
    pub image: Duration,
    /// From the request for a machine to the start of the tests, without the push and the build.
    #[serde(with = "clock::seconds")]
    pub setup: Duration,
    /// Sending the source to the machine, and checking it out.
    #[serde(default, with = "clock::seconds")]
    pub push: Duration,
    /// Building the source there, or sending a build that was kept.
    #[serde(default, with = "clock::seconds")]
    pub build: Duration,
    /// Running the tests.
    #[serde(with = "clock::seconds")]
    pub tests: Duration,
}

/// One point of a matrix: the properties that vary from one cell of a run to the next, and the result of its tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// What was chosen for it; nothing where the run has no matrix.
    #[serde(default)]
    pub point: Point,
    /// Why its verdict is incomplete, or why nothing was built; none where there is a verdict, or where its tests say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The image that its machines booted, with its fingerprint.
    pub image: String,
    /// The distribution of its machines, by its own name.
    pub distro: Option<String>,
    /// The version of the Python that ran the tests.
    pub python: Option<String>,
    /// The file system of the work folder.
    pub filesystem: Option<String>,
    /// The machines that ran its tests; a test belongs to the cell of its machine.
    pub machines: Vec<MachineId>,
    /// The verdict on its tests alone.
    pub verdict: Verdict,
    /// The numbers of its tests by outcome.
    pub counts: Counts,
}

/// How one machine of a run spent its time, by the clock here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineUse {
    /// The machine.
    pub machine: MachineId,
    /// Where it came from.
    pub provider: ProviderKind,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it answered; none where it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_at: Option<Timestamp>,
    /// When it was ready for its first test; none where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// From `up_at` to `ready_at`: bringing the source there.
    #[serde(default, with = "clock::seconds")]
    pub push: Duration,
    /// From `up_at` to `ready_at`: building the source, or bringing a build there.
    #[serde(default, with = "clock::seconds")]
    pub build: Duration,
    /// When the runner was at work, in order.
    pub at_work: Vec<Span>,
    /// When it was given back; none in results that were written before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Its cost in US dollars; none where it cost nothing or the cost is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Why it was lost; none where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// A piece of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

/// The results of one run, the content of `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The run's id.
    pub id: RunId,
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers of tests by outcome.
    pub counts: Counts,
    /// How the time was spent.
    pub time: TimeSplit,
    /// The image that was booted, with its fingerprint.
    pub image: String,
    /// The tested source, in words that name its origin, for example `revision 0123… of /home/me/hg`.
    pub source: String,
    /// Where the build of the source came from; none in results of older builds of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built: Option<BuildOrigin>,
    /// The tested software and the environment, a field each.
    #[serde(flatten)]
    pub subject: TestSubject,
    /// The reasons why the verdict means less than it seems, a phrase each, for example
    /// `output not compared (--debug)`.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// The missing part of the runner's own report; null where the report is whole.
    #[serde(default)]
    pub gap: Option<String>,
    /// The cost of the machine in US dollars; null where it cost nothing or the cost is not known.
    pub cost: Option<f64>,
    /// The artifacts that were fetched; none where none were requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<CollectedArtifacts>,
    /// How the runner's process ended; where the software under test was not built, how the build ended.
    pub runner: Exit,
    /// The last lines of a build that failed; none otherwise.
    #[serde(default, rename = "said", skip_serializing_if = "Option::is_none")]
    pub last_output: Option<String>,
    /// The points of the tested matrix, each with its own verdict; empty in results of older builds of the tool, which
    /// did not distinguish cells.
    #[serde(default)]
    pub cells: Vec<Cell>,
    /// The machines, in the order in which they were asked for; empty in results of older builds of the tool.
    #[serde(default)]
    pub machines: Vec<MachineUse>,
    /// Every test, by name, and in a run with a matrix by the order of its cells before.
    pub tests: Vec<TestResult>,
}

impl Results {
    /// Whether the run has several cells, so that a test's name alone does not say which result is meant.
    pub fn has_matrix(&self) -> bool {
        self.cells.iter().any(|cell| cell.point.name().is_some())
    }

    /// The cell of a test; none where there is no matrix.
    pub fn cell_of(&self, test: &TestResult) -> Option<&Cell> {
        let name = test.cell.as_deref()?;
        self.cells.iter().find(|cell| cell.point.name().as_deref() == Some(name))
    }
}

/// Counts `tests` by outcome.
pub fn count(tests: &[TestResult]) -> Counts {
    let of = |outcome| tests.iter().filter(|test| test.outcome == outcome).count();
    Counts {
        total: tests.len(),
        passed: of(TestOutcome::Passed),
        failed: of(TestOutcome::Failed) + of(TestOutcome::TimedOut),
        timed_out: of(TestOutcome::TimedOut),
        skipped: of(TestOutcome::Skipped),
        lost: of(TestOutcome::Lost),
        not_run: of(TestOutcome::NotRun),
        flaky: tests.iter().filter(|test| test.is_flaky()).count(),
        muted: tests.iter().filter(|test| test.is_muted_failure()).count(),
    }
}

/// The results of `expected` tests that were not begun, one per test, sorted by name.
pub fn not_run_results(expected: &[TestName], why: &str) -> Vec<TestResult> {
    let names: BTreeSet<&TestName> = expected.iter().collect();
    names.into_iter().map(|name| TestResult::without_run(name, TestOutcome::NotRun, why)).collect()
}

/// Compares the reported tests with the expected ones: gives one result per test, sorted by name; an expected test
/// without a report is lost.
///
/// `expected` has the names that the runner itself listed for the same arguments. A name that was reported twice keeps
/// its worst outcome (lost, failed, timed out, passed, skipped). Reported names that were not expected are kept: those
/// tests did run.
pub fn reconcile(expected: &[TestName], reported: Vec<TestResult>, why_lost: &str) -> Vec<TestResult> {
    let mut by_name = std::collections::BTreeMap::<TestName, TestResult>::new();
    for result in reported {
        match by_name.get(&result.name) {
            Some(known) if known.outcome.rank() >= result.outcome.rank() => {}
            _ => {
                by_name.insert(result.name.clone(), result);
            }
        }
    }
    let names: BTreeSet<&TestName> = expected.iter().collect();
    for name in names {
        by_name.entry(name.clone()).or_insert_with(|| TestResult::without_run(name, TestOutcome::Lost, why_lost));
    }
    by_name.into_values().collect()
}

/// The evidence for a verdict besides the tests.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// How the runner ended.
    pub runner: &'a Exit,
    /// The missing part of its report, which must include its statement that it reached its end; none where the report
    /// is whole.
    pub gap: Option<&'a str>,
    /// Whether the user said that a run in which every test was skipped is green.
    pub may_all_skip: bool,
}

/// The verdict on `tests`.
///
/// The verdict is incomplete where the runner ended without a status, even when its report looks whole, and where its
/// report is not whole, even when its status is 0. It is also incomplete where no test passed or failed: a run in which
/// all tests were skipped is not green by itself, because nothing was tried. A failure that is muted explains the
/// runner's status and makes nothing red; a muted test that is lost or was not run counts as any other.
pub fn verdict(tests: &[TestResult], evidence: &Evidence<'_>) -> Verdict {
    let counts = count(tests);
    if counts.not_run > 0 {
        return Verdict::NotRun;
    }
    let tried = counts.passed + counts.failed > 0 || evidence.may_all_skip;
    if counts.lost > 0 || counts.total == 0 || evidence.gap.is_some() || !tried {
        return Verdict::Incomplete;
    }
    match (counts.failed, evidence.runner) {
        (_, Exit::Lost(_) | Exit::Signal(_)) => Verdict::Incomplete,
        (0, Exit::Code(0)) => Verdict::Passed,
        // The runner's status says that something failed but its report names no failed test, so the report is not
        // whole.
        (0, Exit::Code(_)) => Verdict::Incomplete,
        (_, Exit::Code(_)) if counts.unmuted() == 0 => Verdict::Passed,
        (_, Exit::Code(_)) => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, outcome: TestOutcome) -> TestResult {
        TestResult::of(name.into(), outcome, Some(Duration::from_secs(1)), None)
    }

    fn judge(tests: &[TestResult], runner: Exit) -> Verdict {
        verdict(tests, &Evidence { runner: &runner, gap: None, may_all_skip: false })
    }

    #[test]
    fn an_expected_test_without_a_report_is_lost_and_never_green() {
        let expected = ["test-a.t", "test-b.t"].map(TestName::from);
        let tests = reconcile(&expected, vec![test("test-a.t", TestOutcome::Passed)], "no report");
        assert_eq!(tests[1].outcome, TestOutcome::Lost);
        assert_eq!(judge(&tests, Exit::Code(0)), Verdict::Incomplete);
    }

    #[test]
    fn a_test_appears_once_with_its_worst_outcome() {
        let reported =
            vec![test("t", TestOutcome::Passed), test("t", TestOutcome::Failed), test("t", TestOutcome::Passed)];
        let tests = reconcile(&["t".into()], reported, "");
        assert_eq!((tests.len(), tests[0].outcome), (1, TestOutcome::Failed));
    }

    #[test]
    fn a_test_that_passed_and_failed_is_flaky_and_still_counts_as_what_it_came_to() {
        let mut flaky = test("t", TestOutcome::Passed);
        let other = |outcome| {
            let attempt = Attempt { machine: "hg-4x2k9q0d7m".parse().unwrap(), number: 1 };
            OtherAttempt { attempt, outcome, took: None, reason: None, began_at: None }
        };
        flaky.others = vec![other(TestOutcome::Lost)];
        assert!(!flaky.is_flaky(), "nobody knows what the lost one would have come to");
        flaky.others = vec![other(TestOutcome::TimedOut)];
        let counts = count(&[flaky, test("u", TestOutcome::Passed)]);
        assert_eq!((counts.flaky, counts.passed, counts.failed), (1, 2, 0));
    }

    #[test]
    fn a_test_that_ran_out_of_its_time_has_failed_in_a_way_of_its_own() {
        let tests = [test("a", TestOutcome::TimedOut), test("b", TestOutcome::Passed)];
        assert_eq!((count(&tests).failed, count(&tests).timed_out), (1, 1));
        assert_eq!(judge(&tests, Exit::Code(1)), Verdict::Failed);
        assert_eq!(judge(&tests, Exit::Code(0)).exit_code(), 1);
        // A test that also failed without running out of time is reported as failed.
        let reported =
            [TestOutcome::TimedOut, TestOutcome::Failed, TestOutcome::Passed].map(|outcome| test("t", outcome));
        assert_eq!(reconcile(&[], reported.to_vec(), "")[0].outcome, TestOutcome::Failed);
    }

    #[test]
    fn a_muted_failure_makes_nothing_red_and_hides_nothing_else() {
        let muted = |name: &str, outcome| {
            let entry = Muted { reason: "known".into(), expires: "2026-12-31".parse().unwrap() };
            TestResult { muted: Some(entry), ..test(name, outcome) }
        };
        let tests =
            [muted("a", TestOutcome::Failed), muted("b", TestOutcome::TimedOut), test("c", TestOutcome::Passed)];
        assert_eq!((count(&tests).failed, count(&tests).muted, count(&tests).unmuted()), (2, 2, 0));
        assert_eq!(judge(&tests, Exit::Code(1)), Verdict::Passed);
        assert_eq!(judge(&tests, Exit::Lost("gone".into())), Verdict::Incomplete);
        let with = |further| judge(&[muted("a", TestOutcome::Failed), further], Exit::Code(1));
        assert_eq!(with(test("b", TestOutcome::Failed)), Verdict::Failed);
        assert_eq!(with(muted("b", TestOutcome::Lost)), Verdict::Incomplete);
        assert_eq!(with(muted("b", TestOutcome::NotRun)), Verdict::NotRun);
        assert_eq!(count(&[muted("a", TestOutcome::Passed)]).muted, 0, "it need not be muted any more");
        let tests = [muted("a", TestOutcome::Passed), test("b", TestOutcome::Skipped)];
        assert_eq!(judge(&tests, Exit::Code(1)), Verdict::Incomplete, "no failure explains the status");
    }

    #[test]
    fn green_takes_a_test_that_ran_and_a_runner_that_said_so() {
        let passed = [test("a", TestOutcome::Passed), test("b", TestOutcome::Skipped)];
        assert_eq!(judge(&passed, Exit::Code(0)), Verdict::Passed);
        assert_eq!(judge(&passed, Exit::Code(1)), Verdict::Incomplete);
        assert_eq!(judge(&passed, Exit::Lost("gone".into())), Verdict::Incomplete);
        assert_eq!(judge(&passed, Exit::Signal("KILL".into())), Verdict::Incomplete);
        assert_eq!(judge(&[], Exit::Code(0)), Verdict::Incomplete);
        assert_eq!(judge(&[test("a", TestOutcome::Failed)], Exit::Code(1)), Verdict::Failed);
    }

    #[test]
    fn a_report_that_is_not_whole_is_neither_green_nor_red() {
        let of = |outcome, status| {
            let evidence = Evidence { runner: &Exit::Code(status), gap: Some("it breaks off"), may_all_skip: true };
            verdict(&[test("a", outcome)], &evidence)
        };
        assert_eq!(of(TestOutcome::Passed, 0), Verdict::Incomplete);
        assert_eq!(of(TestOutcome::Failed, 1), Verdict::Incomplete);
    }

    #[test]
    fn all_skipped_is_green_for_who_said_so_and_nothing_at_all_is_not() {
        let skipped = [test("b", TestOutcome::Skipped)];
        assert_eq!(judge(&skipped, Exit::Code(0)), Verdict::Incomplete);
        let allowed = |tests: &[TestResult], status| {
            verdict(tests, &Evidence { runner: &Exit::Code(status), gap: None, may_all_skip: true })
        };
        assert_eq!(allowed(&skipped, 0), Verdict::Passed);
        assert_eq!(allowed(&skipped, 1), Verdict::Incomplete);
        assert_eq!(allowed(&[], 0), Verdict::Incomplete);
    }

    #[test]
    fn tests_that_were_not_begun_are_neither_lost_nor_green() {
        let names = ["b", "a", "b"].map(TestName::from);
        let tests = not_run_results(&names, "not built");
        assert_eq!(tests.iter().map(|test| test.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        for runner in [Exit::Code(0), Exit::Code(1)] {
            let verdict = judge(&tests, runner);
            assert_eq!((verdict, verdict.exit_code()), (Verdict::NotRun, 3));
        }
        assert_eq!((count(&tests).not_run, count(&tests).lost), (2, 0));
    }
}
