//! Tests that came to different ends although what was tested was the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::base::id::{RunId, TestName};
use model::outcome::{Results, TestOutcome, TestResult};
use model::outline::Outline;
use model::run::RunRecord;
use serde::Serialize;

use crate::kept::{Places, Surroundings};

/// The identity of a tested source: two runs with the same one should come to the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceKey {
    program: String,
    revision: String,
    flags: Vec<String>,
}

impl SourceKey {
    /// The identity of what a run tested; none where it is not known, or had changes that no other run can be known to
    /// have had.
    pub fn of(outline: &Outline) -> Option<Self> {
        let subject = &outline.subject;
        let revision = subject.revision.clone().filter(|_| !subject.working_copy)?;
        Some(Self { program: subject.program.clone(), revision, flags: subject.flags.clone() })
    }
}

/// A test that passed and failed on the same source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlakyTest {
    /// Its name.
    pub id: TestName,
    /// The share of its tries that failed, of those on sources on which others passed: 0 to 1.
    pub rate: f64,
    /// How many of these tries failed.
    pub failed: usize,
    /// How many there were.
    pub tries: usize,
    /// In how many runs it passed in one try and failed in another.
    pub flaky_runs: usize,
    /// On how many sources it passed in one run and failed in another, with nothing changed.
    pub changed_sources: usize,
    /// When the last run began in which it failed on such a source.
    pub last_failed_at: Timestamp,
    /// That run.
    pub last_run: RunId,
    /// In how many runs it passed or failed at all, each cell of a matrix by itself.
    pub runs: usize,
}

/// What is known of a test over all sources.
#[derive(Debug, Default)]
struct Total {
    failed: usize,
    tries: usize,
    flaky_runs: usize,
    changed_sources: usize,
    runs: usize,
    last: Option<(Timestamp, RunId)>,
}

/// What is known of a test on one source in one place.
#[derive(Debug, Default)]
struct Tries {
    passed: usize,
    failed: usize,
    flaky_runs: usize,
    passed_runs: usize,
    failed_runs: usize,
    last: Option<(Timestamp, RunId)>,
}

/// Looks for flaky tests in runs that come source by source.
#[derive(Debug, Default)]
pub struct FlakySearch {
    totals: BTreeMap<TestName, Total>,
    source: BTreeMap<(TestName, Surroundings), Tries>,
}

impl FlakySearch {
    /// Takes a run of the present source.
    pub fn add(&mut self, record: &RunRecord, results: &Results) {
        let places = Places::of(results);
        for test in &results.tests {
            let (passed, failed) = tries(test);
            if passed + failed == 0 {
                continue;
            }
            let known = self.source.entry((test.name.clone(), places.surroundings(test))).or_default();
            known.passed += passed;
            known.failed += failed;
            known.flaky_runs += usize::from(test.is_flaky());
            known.passed_runs += usize::from(failed == 0);
            known.failed_runs += usize::from(passed == 0);
            if failed > 0 && known.last.as_ref().is_none_or(|(at, _)| *at < record.started_at) {
                known.last = Some((record.started_at, record.id.clone()));
            }
        }
    }

    /// The runs from now on are of another source.
    pub fn next_source(&mut self) {
        for ((name, _), known) in std::mem::take(&mut self.source) {
            let total = self.totals.entry(name).or_default();
            total.runs += known.passed_runs + known.failed_runs + known.flaky_runs;
            if known.passed == 0 || known.failed == 0 {
                continue;
            }
            total.failed += known.failed;
            total.tries += known.passed + known.failed;
            total.flaky_runs += known.flaky_runs;
            total.changed_sources += usize::from(known.passed_runs > 0 && known.failed_runs > 0);
            total.last = total.last.take().max(known.last);
        }
    }

    /// The flaky tests, those that fail most often first.
    pub fn finish(mut self) -> Vec<FlakyTest> {
        self.next_source();
        let flaky = |(id, total): (TestName, Total)| {
            let (last_failed_at, last_run) = total.last?;
            let Total { failed, tries, flaky_runs, changed_sources, runs, .. } = total;
            let rate = failed as f64 / tries.max(1) as f64;
            Some(FlakyTest { id, rate, failed, tries, flaky_runs, changed_sources, last_failed_at, last_run, runs })
        };
        let mut tests: Vec<FlakyTest> = self.totals.into_iter().filter_map(flaky).collect();
        tests.sort_by(|a, b| b.rate.total_cmp(&a.rate).then_with(|| a.id.cmp(&b.id)));
        tests
    }
}

/// How many tries of a test in one run passed, and how many failed.
fn tries(test: &TestResult) -> (usize, usize) {
    let outcomes = || test.others.iter().map(|other| other.outcome).chain([test.outcome]);
    let passed = outcomes().filter(|outcome| *outcome == TestOutcome::Passed).count();
    (passed, outcomes().filter(|outcome| outcome.is_failure()).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::tests::{record, run, tried};
    use TestOutcome::{Failed, Lost, Passed, Skipped};

    /// What was found: name, failed tries of all, flaky runs, changed sources, the last run, runs.
    fn shown(search: FlakySearch) -> Vec<String> {
        let show = |test: &FlakyTest| {
            let FlakyTest { id, failed, tries, flaky_runs, changed_sources, last_run, runs, .. } = test;
            format!("{id} {failed}/{tries} within {flaky_runs} between {changed_sources} last {last_run} of {runs}")
        };
        search.finish().iter().map(show).collect()
    }

    #[test]
    fn a_test_is_flaky_within_a_run_and_between_runs_of_one_source() {
        let mut search = FlakySearch::default();
        search.add(&record(3), &run(&[tried("a", &[Failed, Passed]), tried("b", &[Passed]), tried("c", &[Failed])]));
        search.add(&record(1), &run(&[tried("a", &[Passed]), tried("b", &[Failed]), tried("c", &[Failed])]));
        search.add(&record(2), &run(&[tried("a", &[Passed]), tried("b", &[Passed]), tried("c", &[Lost])]));
        search.next_source();
        // Another source: what failed there and passed here says nothing.
        search.add(&record(4), &run(&[tried("a", &[Passed]), tried("b", &[Failed]), tried("c", &[Passed])]));
        assert_eq!(shown(search), ["b 1/3 within 0 between 1 last r-1 of 4", "a 1/4 within 1 between 0 last r-3 of 4"]);
    }

    #[test]
    fn a_test_that_passes_in_one_cell_and_fails_in_another_is_not_flaky() {
        let cells = |default: &[TestOutcome], tmpfs: &[TestOutcome]| {
            crate::json::tests::in_cells(&[("default", vec![tried("a", default)]), ("tmpfs", vec![tried("a", tmpfs)])])
        };
        let mut search = FlakySearch::default();
        search.add(&record(1), &cells(&[Passed], &[Failed]));
        search.add(&record(2), &cells(&[Passed], &[Failed]));
        search.next_source();
        // The same where only what was chosen tells the cells apart.
        let mut alike = cells(&[Passed], &[Failed]);
        alike.cells.iter_mut().for_each(|cell| cell.point.0[0].axis = "arch".into());
        alike.cells.iter_mut().for_each(|cell| cell.filesystem = Some("default".into()));
        search.add(&record(3), &alike);
        assert_eq!(shown(search), [""; 0]);
        let mut search = FlakySearch::default();
        search.add(&record(1), &cells(&[Passed], &[Failed]));
        search.add(&record(2), &cells(&[Passed], &[Failed, Passed]));
        assert_eq!(shown(search), ["a 2/3 within 1 between 0 last r-2 of 4"], "within one cell it is");
        // A run without a matrix in the same place is another observation of it.
        let mut search = FlakySearch::default();
        search.add(&record(1), &cells(&[Passed], &[Failed]));
        search.add(&record(2), &run(&[tried("a", &[Failed])]));
        assert_eq!(shown(search), ["a 1/2 within 0 between 1 last r-2 of 3"]);
    }

    #[test]
    fn another_place_or_no_word_of_a_test_is_no_change() {
        let mut search = FlakySearch::default();
        search.add(&record(1), &run(&[tried("a", &[Failed]), tried("b", &[Passed])]));
        let mut elsewhere = run(&[tried("a", &[Passed]), tried("b", &[Skipped])]);
        elsewhere.cells[0].distro = Some("debian13".into());
        search.add(&record(2), &elsewhere);
        search.add(&record(3), &run(&[tried("a", &[Lost]), tried("b", &[Lost])]));
        assert_eq!(shown(search), [""; 0]);
    }

    #[test]
    fn only_a_source_that_is_known_and_has_no_changes_is_the_same_in_two_runs() {
        let key = |changes: bool, revision: Option<&str>| {
            let mut results = run(&[]);
            (results.subject.working_copy, results.subject.revision) = (changes, revision.map(str::to_owned));
            let text = crate::json::render(&results).unwrap();
            SourceKey::of(&crate::json::parse_outline(text.as_bytes(), std::path::Path::new("x")).unwrap())
        };
        assert!(key(false, Some("a")).is_some() && key(false, Some("a")) == key(false, Some("a")));
        assert_ne!(key(false, Some("a")), key(false, Some("b")));
        assert_eq!((key(true, Some("a")), key(false, None)), (None, None));
    }
}
