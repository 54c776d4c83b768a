//! Following tests to their end: their output, their report, the result of each.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::base::id::TestName;
use model::base::text;
use model::build::BuildOrigin;
use model::exit::Exit;
use model::fault::Fault;
use model::outcome::{Attempt, TestOutcome, TestResult, not_run_results, reconcile};
use model::runner::{Runner, RunnerReport};

use crate::preparation::{SetUpTimes, hold};
use crate::run::Run;
use crate::task::durable::Durable;
use crate::testing::report::FollowedReport;
use crate::testing::{BegunTests, Records, RunResult, failed_output};

/// How much of a test's name a sentence shows, in bytes.
const NAME_SHOWN: usize = 200;

/// The outcome of following tests.
#[derive(Debug, Clone)]
pub enum Finished {
    /// They ended, or were ended, or were lost.
    Ran(Box<RunResult>),
    /// They go on without us.
    Detached,
}

/// Follows the tests from where their kept output ends until they have ended, and brings their report home. A run that is asked to stop
/// ends them; one that is asked to detach leaves them running.
pub async fn finish(
    run: &Run,
    durable: &Durable,
    runner: &dyn Runner,
    begun: &BegunTests,
    records: &Records<'_>,
) -> Result<Finished, Fault> {
    let run = &run.on(&durable.machine().id);
    let report = FollowedReport::of(runner, begun.part, run.teller.clone(), records.watch);
    let before_stop = Mutex::new(None);
    let stopping = async {
        records.stop.cancelled().await;
        *before_stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.ended());
        std::future::pending::<Infallible>().await
    };
    let ended = tokio::select! {
        ended = begun.task.follow(run, durable, records.output, &records.stop) => ended?,
        // Following the report never ends; the runner's own end decides.
        never = report.follow(durable) => match never {},
        never = stopping => match never {},
    };
    let Some(ended) = ended else { return Ok(Finished::Detached) };
    let took = ended.took(begun.task.began_at, run.now());
    let exit = ended.exit;
    let root = hold::root(durable, runner, &runner.layout().root, &begun.task.folder).await;
    let report_file = locate(runner, &root, &runner.report_file(begun.part));
    let drained = match report.drain(durable, &report_file).await {
        Err(_) if matches!(exit, Exit::Lost(_)) && !records.stop.is_cancelled() => {
            report.drain_once_more(run, durable, &report_file).await
        }
        drained => drained,
    };
    let mut reported = report.reported();
    if reported.extras {
        leave_out_extras(&begun.expected, &mut reported);
    }
    let gap = gap(&reported, drained.err()).or_else(|| unasked(begun, &reported));
    let caveats = std::mem::take(&mut reported.caveats);
    let building = build_time(begun.built, &reported, took);
    let mut tests = judge(&exit, begun, reported);
    if let Some(before) = before_stop.into_inner().unwrap_or_else(PoisonError::into_inner) {
        forget_what_was_stopped(&mut tests, &before);
    }
    if !run.stop.is_cancelled() {
        let file_of = |test: &TestName| report.output_file(test).map(|path| locate(runner, &root, &path));
        failed_output::fetch(durable, &file_of, records.folder.path(), &mut tests).await;
    }
    Ok(Finished::Ran(Box::new(RunResult {
        tests,
        runner: exit,
        said: None,
        source: begun.source.clone(),
        built: begun.built,
        before: SetUpTimes {
            build: begun.before.build + building,
            setup: begun.before.setup + building,
            ..begun.before
        },
        subject: begun.subject.clone(),
        caveats,
        gap,
        testing: took - building,
    })))
}

/// A test that had not ended `before` the run was stopped was ended by that: how it failed then says nothing of it.
fn forget_what_was_stopped(tests: &mut [TestResult], before: &BTreeSet<TestName>) {
    for test in tests.iter_mut().filter(|test| test.outcome.is_failure() && !before.contains(&test.name)) {
        test.outcome = TestOutcome::Lost;
        test.reason = Some("it was ended with the run".to_owned());
        (test.detail, test.expected) = (None, None);
    }
}

/// How much of the runner's time went into a build of its own. A runner that never came to its first test was building
/// until its end.
fn build_time(built: Option<BuildOrigin>, reported: &RunnerReport, took: Duration) -> Duration {
    match (built, reported.building) {
        (Some(BuildOrigin::Runner), Some(building)) => building.min(took),
        (Some(BuildOrigin::Runner), None) if !reported.began => took,
        _ => Duration::ZERO,
    }
}

/// Says what is missing in a report.
fn gap(reported: &RunnerReport, unread: Option<Fault>) -> Option<String> {
    match (&reported.excess, unread) {
        (Some(beyond), _) => Some(format!("it holds {beyond}, which was not taken")),
        (None, _) if reported.complete => None,
        (None, Some(fault)) => Some(format!("its end could not be read: {}", fault.line())),
        (None, None) => Some("it does not say that the runner came to its end".to_owned()),
    }
}

/// Leaves out the tests that a runner runs for others which were asked for: their results are told where they were asked for.
fn leave_out_extras(asked: &[TestName], reported: &mut RunnerReport) {
    let asked: BTreeSet<&TestName> = asked.iter().collect();
    reported.tests.retain(|test| asked.contains(&test.name));
    reported.unfinished.retain(|name, _| asked.contains(name));
}

/// Says which test a report names that nobody asked for: then the names in it are not those of the list, and one that is missing may
/// hide behind another.
fn unasked(begun: &BegunTests, reported: &RunnerReport) -> Option<String> {
    let known: BTreeSet<&TestName> = begun.expected.iter().chain(&reported.expected).collect();
    let unknown = reported.tests.iter().find(|test| !known.contains(&test.name))?;
    let name = text::cut(unknown.name.as_str(), NAME_SHOWN);
    Some(format!("it names the test `{}`, which was not asked for", name.escape_debug()))
}

/// The results of a run whose runner ended with `runner`: every test that it reported, and a reason for each of the
/// others. All were this machine's to run, for the first time.
fn judge(runner: &Exit, begun: &BegunTests, reported: RunnerReport) -> Vec<TestResult> {
    let known: Vec<TestName> = begun.expected.iter().cloned().chain(reported.expected).collect();
    let why = match runner {
        // The runner builds before it comes to a test. A code beyond 127 means that a signal ended it, whatever it was
        // doing.
        Exit::Code(1..=127) if !reported.began && reported.tests.is_empty() => {
            return not_run_results(&known, &format!("the test runner ended with {runner} before its first test"));
        }
        Exit::Lost(reason) => format!("the run was lost: {reason}"),
        exit if !reported.complete => format!("the runner ended with {exit} before it came to this test"),
        _ => "the runner's report does not mention it".to_owned(),
    };
    let mut tests = reconcile(&known, reported.tests, &why);
    for test in &mut tests {
        if let Some(at) = reported.unfinished.get(&test.name).filter(|_| test.outcome == TestOutcome::Lost) {
            test.began_at = Some(at.unwrap_or(begun.task.began_at));
            if matches!(runner, Exit::Code(_) | Exit::Signal(_)) {
                test.reason = Some(format!("the runner ended with {runner} while this test ran"));
            }
        }
        test.attempt = Some(Attempt { machine: begun.task.machine.clone(), number: 1 });
    }
    tests
}

/// The place of a file of the runner's folder if that folder is `root`.
fn locate(runner: &dyn Runner, root: &str, path: &str) -> String {
    match path.strip_prefix(runner.layout().root.as_ref()).and_then(|below| below.strip_prefix('/')) {
        Some(below) => format!("{root}/{below}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_ran_for_another_has_its_result_where_it_was_asked_for() {
        let names = ["needs", "starts", "stops"].map(TestName::from);
        let mut reported = RunnerReport { tests: not_run_results(&names, "why"), ..RunnerReport::default() };
        reported.unfinished.insert("other".into(), None);
        leave_out_extras(&names[..2], &mut reported);
        let left: Vec<&str> = reported.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!((left, reported.unfinished.len()), (vec!["needs", "starts"], 0));
    }

    #[test]
    fn a_test_that_was_ended_with_the_run_did_not_fail() {
        let names = ["a", "b", "c"].map(TestName::from);
        let mut tests = not_run_results(&names, "why");
        for (test, outcome) in tests.iter_mut().zip([TestOutcome::Failed, TestOutcome::Failed, TestOutcome::Passed]) {
            test.outcome = outcome;
        }
        forget_what_was_stopped(&mut tests, &BTreeSet::from([names[0].clone()]));
        let outcomes: Vec<TestOutcome> = tests.iter().map(|test| test.outcome).collect();
        assert_eq!(outcomes, [TestOutcome::Failed, TestOutcome::Lost, TestOutcome::Passed]);
    }
}
