//! How many tests have come to what, and how long the rest may take.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use model::base::id::{MachineId, TestName};
use model::outcome::{Counts, TestOutcome};

/// The most tests, and the most tries of them, that are told apart: 25 times as many as the largest suite that was asked for, and at
/// sixteen bytes each a few megabytes. A machine may report names without end, and those beyond are not counted.
const KNOWN: usize = 1 << 18;

/// How many tests must have ended before their pace says something of the rest.
const PACE_TESTS: usize = 5;

/// The tests of a run by what they came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many tests the whole run has, and how long they are foreseen to take; none where nobody said.
    selected: Option<(usize, Option<Duration>)>,
    /// When the first test began or all were selected.
    since: Option<Timestamp>,
    counts: Counts,
    known: HashMap<u64, Standing>,
    /// Every try, by what is known of it: a driver that takes a run over hears of all of them again.
    tries: HashSet<u64>,
    keys: RandomState,
    over: bool,
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
    /// The whole run has this many tests, whatever its machines were told.
    pub(super) fn select(&mut self, tests: usize, foreseen: Option<Duration>, at: Timestamp) {
        self.selected = Some((tests, foreseen));
        self.begin(at);
    }

    /// A test began, or tests are about to.
    pub(super) fn begin(&mut self, at: Timestamp) {
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

    /// Takes the end of one try of a test; false where that try is known already, and where there are too many.
    pub(super) fn ended(
        &mut self,
        machine: Option<&MachineId>,
        test: &TestName,
        outcome: TestOutcome,
        took: Option<Duration>,
    ) -> bool {
        let one_try = self.keys.hash_one((test, machine, outcome, took.map(|took| took.as_millis())));
        if self.tries.len() >= KNOWN || !self.tries.insert(one_try) {
            return false;
        }
        let test = self.keys.hash_one(test);
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

    /// The numbers of tests that have ended, and of all: `expected` of the machines where nobody told of the whole run. There are never
    /// fewer than have ended.
    pub(super) fn counts(&self, expected: usize) -> Counts {
        let total = self.selected.map_or(expected, |(tests, _)| tests);
        Counts { total: total.max(self.done()), ..self.counts }
    }

    /// How many tests have ended.
    pub(super) fn done(&self) -> usize {
        self.known.len()
    }

    /// How long the other tests of `total` may take from `now`: by what was foreseen, which the pace so far replaces little by little;
    /// by the pace alone where nothing was foreseen. None where neither says anything yet.
    pub(super) fn left(&self, total: usize, now: Timestamp) -> Option<Duration> {
        let (since, done) = (self.since.filter(|_| self.is_open())?, self.done());
        let spent = elapsed(since, now);
        let pace = (done >= PACE_TESTS && total > 0).then(|| spent.mul_f64((total - done) as f64 / done as f64));
        let foreseen = self.selected.and_then(|(_, foreseen)| foreseen).map(|foreseen| foreseen.saturating_sub(spent));
        match (foreseen, pace) {
            (Some(foreseen), Some(pace)) => {
                let share = done as f64 / total as f64;
                Some(foreseen.mul_f64(1.0 - share) + pace.mul_f64(share))
            }
            (foreseen, pace) => foreseen.or(pace),
        }
    }
}

/// The time from one moment to another; zero where a clock was turned back between them.
pub(super) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn tries(tally: &mut Tally, tries: &[(&str, TestOutcome, u64)]) {
        for (test, outcome, took) in tries {
            tally.begin(at(0));
            tally.ended(None, &TestName::from(*test), *outcome, Some(Duration::from_secs(*took)));
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
        let mut ended =
            |machine, took| tally.ended(machine, &"a".into(), TestOutcome::Failed, Some(Duration::from_millis(took)));
        assert_eq!([ended(Some(&machine), 1500), ended(Some(&machine), 1500)], [true, false]);
        assert_eq!([ended(None, 1500), ended(Some(&machine), 1501)], [true, true], "another machine, another try");
    }

    #[test]
    fn names_without_end_are_not_kept_without_end() {
        let mut tally = Tally::default();
        let ended =
            |number: usize| tally.ended(None, &TestName::from(number.to_string().as_str()), TestOutcome::Passed, None);
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
        tally.select(10, Some(Duration::from_secs(100)), at(20));
        // Half of the tests took a fifth of the time: the rest is between what was foreseen and the pace.
        assert_eq!(seconds(tally.left(10, at(20))), Some(50));
        let mut tally = Tally::default();
        tally.select(10, Some(Duration::from_secs(100)), at(0));
        assert_eq!(seconds(tally.left(10, at(30))), Some(70));
        assert_eq!(seconds(tally.left(10, at(300))), Some(0));
        tally.end();
        assert_eq!(tally.left(10, at(30)), None);
    }
}
