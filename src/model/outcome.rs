//! What a test and a whole run came to.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::artifact::Collected;
use crate::base::clock;
use crate::base::id::{MachineId, RunId, TestName};
use crate::build::Built;
use crate::exit::Exit;
use crate::exit_code;
use crate::subject::Subject;

/// What one test came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestOutcome {
    /// It ran and passed.
    Passed,
    /// It ran and failed.
    Failed,
    /// It ran out of the time that its runner gives each test, and was ended: a failure of a kind of its own.
    #[serde(rename = "timed_out")]
    TimedOut,
    /// It was not run, for a reason that the runner names.
    Skipped,
    /// It was expected and there is no word of it.
    Lost,
    /// The software under test was not built, so that no test was begun.
    #[serde(rename = "not_run")]
    NotRun,
}

impl TestOutcome {
    /// How bad it is, for a test of which several outcomes are known: the worst counts.
    pub fn rank(self) -> u8 {
        match self {
            Self::Lost | Self::NotRun => 4,
            Self::Failed => 3,
            Self::TimedOut => 2,
            Self::Passed => 1,
            Self::Skipped => 0,
        }
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
    /// Which try of this test in its run it was, from 1.
    #[serde(rename = "attempt")]
    pub number: u32,
}

/// One test of a run; each test appears exactly once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// The test's name.
    pub name: TestName,
    /// What it came to.
    pub outcome: TestOutcome,
    /// How long it ran, by the wall clock; none when it did not run. `seconds` in JSON.
    #[serde(rename = "seconds", default, with = "clock::optional_seconds")]
    pub took: Option<Duration>,
    /// Why it was skipped, failed or lost.
    pub reason: Option<String>,
    /// The difference between the expected and the actual output, where it failed, capped.
    pub detail: Option<String>,
    /// Where it was tried; none of a test that no machine was to run, and in results of builds that did not say it.
    #[serde(flatten)]
    pub attempt: Option<Attempt>,
}

impl TestResult {
    /// Of a test that did not run, for this reason.
    fn without_run(name: &TestName, outcome: TestOutcome, why: &str) -> Self {
        Self { name: name.clone(), outcome, took: None, reason: Some(why.to_owned()), detail: None, attempt: None }
    }
}

/// How many tests came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All of them.
    pub total: usize,
    /// Ran and passed.
    pub passed: usize,
    /// Ran and failed, or ran out of their own time.
    pub failed: usize,
    /// Of those that failed: ran out of their own time.
    #[serde(default)]
    pub timed_out: usize,
    /// Not run, with a reason.
    pub skipped: usize,
    /// Expected, and no word of them.
    pub lost: usize,
    /// Expected, and not begun because what they test was not built.
    #[serde(default)]
    pub not_run: usize,
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

/// Where the time of a run went, by the wall clock; seconds in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeSplit {
    /// From the start of the command to the verdict.
    #[serde(with = "clock::seconds")]
    pub total: Duration,
    /// Making images, where they were not there yet.
    #[serde(with = "clock::seconds")]
    pub image: Duration,
    /// From asking for a machine to the start of the tests, without what follows here.
    #[serde(with = "clock::seconds")]
    pub setup: Duration,
    /// Bringing the source to the machine, and checking it out.
    #[serde(default, with = "clock::seconds")]
    pub push: Duration,
    /// Building it there, or bringing a build that was kept.
    #[serde(default, with = "clock::seconds")]
    pub build: Duration,
    /// The tests.
    #[serde(with = "clock::seconds")]
    pub tests: Duration,
}

/// One point of a matrix: what varies from one cell of a run to the next, and what the tests on it came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The image that its machines booted, with its fingerprint.
    pub image: String,
    /// Their distribution, as they name it themselves.
    pub distro: Option<String>,
    /// The version of the Python that ran the tests.
    pub python: Option<String>,
    /// The file system of the work folder.
    pub filesystem: Option<String>,
    /// The machines that ran its tests; by them a test is found to belong to it.
    pub machines: Vec<MachineId>,
    /// The verdict on its tests alone.
    pub verdict: Verdict,
    /// How many of its tests came to what.
    pub counts: Counts,
}

/// The results of one run, the content of `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The run's id.
    pub id: RunId,
    /// The verdict.
    pub verdict: Verdict,
    /// How many tests came to what.
    pub counts: Counts,
    /// Where the time went.
    pub time: TimeSplit,
    /// The image that was booted, with its fingerprint.
    pub image: String,
    /// What was tested, in words that name where it came from, for example `revision 0123… of /home/me/hg`.
    pub source: String,
    /// Where the build of it came from; none in results of older builds of this tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built: Option<Built>,
    /// What was tested and on what, a field each.
    #[serde(flatten)]
    pub subject: Subject,
    /// What makes the verdict mean less than it seems, a phrase each, for example `output not compared (--debug)`.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// What is missing of the runner's own report; null where it is whole.
    #[serde(default)]
    pub gap: Option<String>,
    /// What the machine cost, in US dollars; null where it cost nothing or that is not known.
    pub cost: Option<f64>,
    /// What was brought home besides; none where nothing was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Collected>,
    /// How the runner's process ended; where what it tests was not built, how that ended.
    pub runner: Exit,
    /// The last lines of a build that failed; none otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// The points of the matrix that was tested, each with its own verdict; none in results of builds that did not tell them
    /// apart.
    #[serde(default)]
    pub cells: Vec<Cell>,
    /// Every test, by name.
    pub tests: Vec<TestResult>,
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
    }
}

/// The outcome of `expected` tests that were not begun, one result a test, sorted by name.
pub fn not_run(expected: &[TestName], why: &str) -> Vec<TestResult> {
    let names: BTreeSet<&TestName> = expected.iter().collect();
    names.into_iter().map(|name| TestResult::without_run(name, TestOutcome::NotRun, why)).collect()
}

/// Holds what was reported against what was expected: one result a test, sorted by name, tests without a report lost.
///
/// `expected` are the names that the runner itself listed for the same arguments. A name reported twice keeps its worst
/// outcome (lost, failed, timed out, passed, skipped). Reported names that were not expected are kept: they did run.
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

/// What a verdict rests on beside the tests.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// How the runner ended.
    pub runner: &'a Exit,
    /// What is missing of its report, its own word that it came to its end included; none where that is whole.
    pub gap: Option<&'a str>,
    /// Whether the user said that a run in which every test was skipped is green.
    pub may_all_skip: bool,
}

/// The verdict on `tests`.
///
/// A runner that ended without a status leaves the verdict incomplete even when its report looks whole, and so does one whose
/// report is not whole even when its status is 0. So does a run in which nothing passed and nothing failed while something was
/// asked for: all skipped is not green by itself, because nothing was tried.
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
        // The runner says that something failed and its report names nothing: the report is not whole.
        (0, Exit::Code(_)) => Verdict::Incomplete,
        (_, Exit::Code(_)) => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, outcome: TestOutcome) -> TestResult {
        let took = Some(Duration::from_secs(1));
        TestResult { name: name.into(), outcome, took, reason: None, detail: None, attempt: None }
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
    fn a_test_that_ran_out_of_its_time_has_failed_in_a_way_of_its_own() {
        let tests = [test("a", TestOutcome::TimedOut), test("b", TestOutcome::Passed)];
        assert_eq!((count(&tests).failed, count(&tests).timed_out), (1, 1));
        assert_eq!(judge(&tests, Exit::Code(1)), Verdict::Failed);
        assert_eq!(judge(&tests, Exit::Code(0)).exit_code(), 1);
        // Of one that once failed for a reason of its own that reason is told.
        let reported =
            [TestOutcome::TimedOut, TestOutcome::Failed, TestOutcome::Passed].map(|outcome| test("t", outcome));
        assert_eq!(reconcile(&[], reported.to_vec(), "")[0].outcome, TestOutcome::Failed);
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
        let tests = not_run(&names, "not built");
        assert_eq!(tests.iter().map(|test| test.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        for runner in [Exit::Code(0), Exit::Code(1)] {
            let verdict = judge(&tests, runner);
            assert_eq!((verdict, verdict.exit_code()), (Verdict::NotRun, 3));
        }
        assert_eq!((count(&tests).not_run, count(&tests).lost), (2, 0));
    }
}
