//! How many tests have come to what, and how long the rest may take.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::{MachineId, TestName};
use model::outcome::{Counts, TestOutcome};

/// The most tests, and the most tries of them, that are told apart: 25 times as many as the largest suite that was asked for, and at
/// sixteen bytes each a few megabytes. A machine may report names without end, and those beyond are not counted.
const KNOWN: usize = 1 << 18;

/// How many tests must have ended before their pace says something of the rest.
const PACE_TESTS: usize = 5;

/// The most cells whose tests are added up; more than a matrix may have.
const CELLS: usize = 1024;

/// By how many of the latest tests the pace is judged.
const LATEST: usize = 50;

/// The tests of a run by what they came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The cells that have begun, by name; one without a name where there is no matrix.
    cells: BTreeMap<Option<String>, Selected>,
    /// When the first test began or all were selected.
    since: Option<Timestamp>,
    counts: Counts,
    known: HashMap<u64, Standing>,
    /// Every try, by what is known of it: a driver that takes a run over hears of all of them again.
    tries: HashSet<u64>,
    keys: RandomState,
    over: bool,
    /// When the latest tests ended, the oldest first.
    latest: VecDeque<Timestamp>,
}

/// The tests of one cell.
#[derive(Debug, Clone, Copy)]
struct Selected {
    /// When the first of them began or all were selected.
    since: Timestamp,
    /// How many there are, and how long they are foreseen to take; none where nobody said.
    tests: Option<usize>,
    foreseen: Option<Duration>,
}

/// What is known of one test.
#[derive(Debug, Clone, Copy)]
struct Standing {
    outcome: TestOutcome,
    has_passed: bool,
    has_failed: bool,
}

impl Standing {
    fn is_flaky(self) -> bool {
        self.has_passed && self.has_failed
    }

    fn after(before: Option<Self>, outcome: TestOutcome) -> Self {
        Self {
            outcome,
            has_passed: outcome == TestOutcome::Passed || before.is_some_and(|before| before.has_passed),
            has_failed: outcome.is_failure() || before.is_some_and(|before| before.has_failed),
        }
    }
}

impl Tally {
    /// The whole run, or this cell of it, has this many tests, whatever its machines were told.
    pub(super) fn select(&mut self, cell: Option<&str>, tests: usize, foreseen: Option<Duration>, at: Timestamp) {
        self.begin(cell, at);
        if let Some(selected) = self.cells.get_mut(&cell.map(str::to_owned)) {
            (selected.tests, selected.foreseen) = (Some(tests), foreseen);
        }
    }

    /// A test began in this cell, or tests are about to.
    pub(super) fn begin(&mut self, cell: Option<&str>, at: Timestamp) {
        self.reopen(at);
        if self.cells.len() < CELLS {
            let begun = Selected { since: at, tests: None, foreseen: None };
            self.cells.entry(cell.map(str::to_owned)).or_insert(begun);
        }
    }

    /// Tests go on.
    pub(super) fn reopen(&mut self, at: Timestamp) {
        self.since.get_or_insert(at);
        self.over = false;
    }

    /// The run has its verdict, or goes on without this driver.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// Whether the run has its verdict, or went on without this driver.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether tests have begun and the run has no verdict.
    pub(super) fn is_open(&self) -> bool {
        self.since.is_some() && !self.over
    }

    /// Takes the end of one try of a test in its cell; false where that try is known already, and where there are too many.
    pub(super) fn ended(
        &mut self,
        (cell, test): (Option<&str>, &TestName),
        machine: Option<&MachineId>,
        outcome: TestOutcome,
        took: Option<Duration>,
    ) -> bool {
        let one_try = self.keys.hash_one((cell, test, machine, outcome, took.map(|took| took.as_millis())));
        if self.tries.len() >= KNOWN || !self.tries.insert(one_try) {
            return false;
        }
        let test = self.keys.hash_one((cell, test));
        let before = self.known.get(&test).copied();
        if before.is_none() && self.known.len() >= KNOWN {
            return false;
        }
        let standing = Standing::after(before, outcome);
        if let Some(before) = before {
            self.count(before, |count| *count -= 1);
        }
        self.count(standing, |count| *count += 1);
        self.known.insert(test, standing);
        true
    }

    fn count(&mut self, standing: Standing, change: impl Fn(&mut usize)) {
        let counts = &mut self.counts;
        change(match standing.outcome {
            TestOutcome::Passed => &mut counts.passed,
            TestOutcome::Failed | TestOutcome::TimedOut => &mut counts.failed,
            TestOutcome::Skipped => &mut counts.skipped,
            TestOutcome::Lost => &mut counts.lost,
            TestOutcome::NotRun => &mut counts.not_run,
        });
        if standing.outcome == TestOutcome::TimedOut {
            change(&mut counts.timed_out);
        }
        if standing.is_flaky() {
            change(&mut counts.flaky);
        }
    }

    /// The numbers of tests that have ended, and of all: those of every cell that has begun, `expected` of the machines where nobody told
    /// of the whole. There are never fewer than have ended.
    pub(super) fn counts(&self, expected: usize) -> Counts {
        let selected = self.cells.values().filter_map(|cell| cell.tests).reduce(|all, tests| all.saturating_add(tests));
        let total = selected.unwrap_or(expected);
        Counts { total: total.max(self.done()), ..self.counts }
    }

    /// A test has ended at this time.
    pub(super) fn pass(&mut self, at: Timestamp) {
        if self.latest.len() >= LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(at);
    }

    /// How long a test takes, all machines together: by all that have ended, or by the latest of them where that is less. Where nothing is foreseen
    /// the longest are run first, and all together would foretell hours that never come.
    fn pace(&self, since: Timestamp, now: Timestamp) -> Option<Duration> {
        let done = self.done();
        let all = (done >= PACE_TESTS).then(|| clock::since(since, now).div_f64(done as f64))?;
        let first = self.latest.front().filter(|_| self.latest.len() >= LATEST);
        let latest = first.map(|first| clock::since(*first, now).div_f64((LATEST - 1) as f64));
        Some(latest.map_or(all, |latest| latest.min(all)))
    }

    /// How many tests have ended.
    pub(super) fn done(&self) -> usize {
        self.known.len()
    }

    /// How long the other tests of `total` may take from `now`: by what was foreseen, which the pace so far replaces little by little;
    /// by the pace alone where nothing was foreseen. None where neither says anything yet.
    pub(super) fn left(&self, total: usize, now: Timestamp) -> Option<Duration> {
        let (since, done) = (self.since.filter(|_| self.is_open())?, self.done());
        let pace = self.pace(since, now).map(|pace| pace.mul_f64((total - done) as f64));
        let foreseen = self.foreseen(now);
        match (foreseen, pace) {
            (Some(foreseen), Some(pace)) => {
                let share = done as f64 / total as f64;
                Some(foreseen.mul_f64(1.0 - share) + pace.mul_f64(share))
            }
            (foreseen, pace) => foreseen.or(pace),
        }
    }

    /// How long the tests may take from `now` by what was foreseen. Cells that began together go on together, so that the one which ends
    /// last counts; those that follow each other are foreseen one after the other.
    fn foreseen(&self, now: Timestamp) -> Option<Duration> {
        let left = |cell: &Selected| Some(cell.foreseen?.saturating_sub(clock::since(cell.since, now)));
        self.cells.values().filter_map(left).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn tries(tally: &mut Tally, tries: &[(&str, TestOutcome, u64)]) {
        for (test, outcome, took) in tries {
            tally.begin(None, at(0));
            tally.ended((None, &TestName::from(*test)), None, *outcome, Some(Duration::from_secs(*took)));
        }
    }

    #[test]
    fn a_test_that_ran_twice_counts_once_and_as_flaky_where_it_both_passed_and_failed() {
        let mut tally = Tally::default();
        let (passed, failed) = (TestOutcome::Passed, TestOutcome::Failed);
        tries(&mut tally, &[("a", failed, 1), ("b", TestOutcome::Lost, 0), ("c", failed, 1), ("d", passed, 1)]);
        let counts = tally.counts(5);
        assert_eq!((counts.passed, counts.failed, counts.lost, counts.flaky, tally.done()), (1, 2, 1, 0, 4));
        tries(&mut tally, &[("a", passed, 2), ("b", passed, 1), ("c", TestOutcome::TimedOut, 9)]);
        let counts = tally.counts(5);
        assert_eq!((counts.passed, counts.failed, counts.timed_out, counts.lost), (3, 1, 1, 0), "{counts:?}");
        assert_eq!((counts.flaky, counts.total, tally.done()), (1, 5, 4));
        // A machine that reports more tests than were expected makes no bar longer than it is.
        assert_eq!(tally.counts(3).total, 4);
    }

    #[test]
    fn a_try_that_is_told_again_is_no_news() {
        let mut tally = Tally::default();
        let machine: MachineId = "hg-1".parse().unwrap();
        let mut ended = |machine, took| {
            tally.ended((None, &"a".into()), machine, TestOutcome::Failed, Some(Duration::from_millis(took)))
        };
        assert_eq!([ended(Some(&machine), 1500), ended(Some(&machine), 1500)], [true, false]);
        assert_eq!([ended(None, 1500), ended(Some(&machine), 1501)], [true, true], "another machine, another try");
    }

    #[test]
    fn the_tests_of_all_cells_add_up_and_a_test_is_another_one_in_each() {
        let mut tally = Tally::default();
        let minute = Some(Duration::from_secs(60));
        tally.select(Some("default"), 4, minute, at(0));
        tally.select(Some("tmpfs"), 3, Some(Duration::from_secs(90)), at(0));
        let mut ended = |cell, outcome| tally.ended((Some(cell), &"a".into()), None, outcome, None);
        assert_eq!([ended("default", TestOutcome::Passed), ended("tmpfs", TestOutcome::Failed)], [true, true]);
        assert!(!ended("tmpfs", TestOutcome::Failed), "it was told before");
        let counts = tally.counts(0);
        assert_eq!((counts.total, tally.done(), counts.passed, counts.failed, counts.flaky), (7, 2, 1, 1, 0));
        let left = |tally: &Tally, seconds| tally.left(7, at(seconds)).unwrap().as_secs();
        assert_eq!(left(&tally, 30), 60, "side by side: the one that ends last");
        tally.select(Some("ext4"), 1, minute, at(80));
        assert_eq!((left(&tally, 80), tally.counts(0).total), (60, 8), "and one that begins later");
        // What one of them is told again replaces what it was told.
        tally.select(Some("ext4"), 2, minute, at(80));
        assert_eq!(tally.counts(0).total, 9);
    }

    #[test]
    fn names_without_end_are_not_kept_without_end() {
        let mut tally = Tally::default();
        let ended = |number: usize| {
            tally.ended((None, &TestName::from(number.to_string().as_str())), None, TestOutcome::Passed, None)
        };
        let taken = (0..KNOWN + 1000).map(ended).filter(|taken| *taken).count();
        assert_eq!((taken, tally.known.len(), tally.tries.len()), (KNOWN, KNOWN, KNOWN));
    }

    #[test]
    fn the_time_left_goes_from_what_was_foreseen_to_the_pace() {
        let seconds = |left: Option<Duration>| left.map(|left| left.as_secs());
        let mut tally = Tally::default();
        assert_eq!(tally.left(10, at(0)), None, "nothing began");
        tries(&mut tally, &[("a", TestOutcome::Passed, 1)]);
        assert_eq!(tally.left(10, at(20)), None, "one test says nothing of the others");
        let four = ["b", "c", "d", "e"].map(|name| (name, TestOutcome::Passed, 1));
        tries(&mut tally, &four);
        assert_eq!(seconds(tally.left(10, at(20))), Some(20));
        tally.select(None, 10, Some(Duration::from_secs(100)), at(20));
        // Half of the tests took a fifth of the time: the rest is between what was foreseen and the pace.
        assert_eq!(seconds(tally.left(10, at(20))), Some(50));
        let mut tally = Tally::default();
        tally.select(None, 10, Some(Duration::from_secs(100)), at(0));
        assert_eq!(seconds(tally.left(10, at(30))), Some(70));
        assert_eq!(seconds(tally.left(10, at(300))), Some(0));
        tally.end();
        assert_eq!(tally.left(10, at(30)), None);
    }

    #[test]
    fn the_pace_is_that_of_the_latest_tests_where_they_are_shorter() {
        let mut tally = Tally::default();
        tally.begin(None, at(0));
        let mut now = 0;
        for number in 0..100 {
            // The longest come first.
            now += if number < 50 { 60 } else { 2 };
            tally.ended((None, &TestName::from(format!("t{number}").as_str())), None, TestOutcome::Passed, None);
            tally.pass(at(now));
        }
        assert_eq!(tally.left(150, at(now)).unwrap().as_secs(), 100);
        // While nothing ends, more and more is left.
        assert!(tally.left(150, at(now + 98)).unwrap().as_secs() > 190);
    }
}
