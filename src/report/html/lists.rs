//! Lists of tests: all of them, the slowest, the flaky ones, and those that changed since an earlier run.

use std::time::Duration;

use jiff::Timestamp;
use model::base::text::seconds;
use model::outcome::{Results, TestResult};

use super::compare::{Change, Comparison, conditions};
use super::figures::date;
use super::mark::Mark;
use super::text::{Fitting, Named, Room, cell_name, one_line, percent, reason, took, weight};

/// Room for the list of all tests, in bytes: 1,000 take 170 kB.
const ALL: usize = 210_000;

/// Room for each list of changes, and for the flaky tests, in bytes.
const CHANGES: usize = 8_000;
const FLAKY: usize = 30_000;

/// What a row weighs beside its texts.
const ROW: usize = 170;

/// The most cells by which the list of all tests can be narrowed: a line or two of choices.
pub(super) const CELLS: usize = 16;

/// How many of the slowest tests are named.
const SLOWEST: usize = 15;

/// Most changes in a list that are shown, how many of them at first, and most bytes of a condition in which two runs differ.
const SHOWN: usize = 40;
const FIRST: usize = 8;
const CONDITION: usize = 200;

/// One test, as a row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) mark: Mark,
    pub(super) test: Named,
    /// The place of its cell among those by which the list can be narrowed.
    pub(super) cell: Option<usize>,
    pub(super) took: String,
    pub(super) machine: String,
    pub(super) began: String,
}

/// One of the slowest tests.
#[derive(Debug)]
pub(super) struct Slow {
    pub(super) row: Row,
    pub(super) width: String,
}

/// A test that passed in one try and failed in another.
#[derive(Debug)]
pub(super) struct Flaky {
    pub(super) test: Named,
    pub(super) tries: Vec<Tried>,
}

/// One of its tries.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) number: u32,
    pub(super) mark: Mark,
    pub(super) words: String,
}

/// What changed since an earlier run.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) run: String,
    /// The only one of its cells that was compared.
    pub(super) cell: Option<String>,
    pub(super) started: Option<String>,
    pub(super) verdict: Mark,
    pub(super) counts: Vec<super::figures::Share>,
    /// The conditions that differ: name, before, now.
    pub(super) conditions: Vec<(&'static str, String, String)>,
    pub(super) spans: Option<String>,
    pub(super) lists: Vec<ChangeList>,
}

/// The tests that changed in one way.
#[derive(Debug)]
pub(super) struct ChangeList {
    pub(super) class: &'static str,
    pub(super) title: &'static str,
    pub(super) what: &'static str,
    pub(super) count: usize,
    /// The name of each test, and how it changed.
    pub(super) tests: Fitting<(Named, String)>,
}

impl ChangeList {
    /// The tests that are shown at first.
    pub(super) fn first(&self) -> &[(Named, String)] {
        self.tests.shown.get(..FIRST).unwrap_or(&self.tests.shown)
    }

    /// Those behind them.
    pub(super) fn rest(&self) -> &[(Named, String)] {
        self.tests.shown.get(FIRST..).unwrap_or_default()
    }
}

/// All tests, by name.
pub(super) fn all(results: &Results) -> Fitting<Row> {
    let first = results.machines.iter().map(|machine| machine.asked_at).min();
    let names: Vec<Option<String>> = results.cells.iter().map(|cell| cell.point.name()).collect();
    let chosen = |test: &TestResult| match names.len() {
        2..=CELLS if test.cell.is_some() => names.iter().position(|name| *name == test.cell),
        _ => None,
    };
    let rows = results.tests.iter().map(|test| Row { cell: chosen(test), ..row(test, first) });
    Fitting::of(rows, &mut Room::of(ALL), |row| row.test.weight() + ROW)
}

fn row(test: &TestResult, first: Option<Timestamp>) -> Row {
    let began = first.and_then(|first| Duration::try_from(test.began_at?.duration_since(first)).ok());
    Row {
        mark: Mark::of_test(test),
        test: Named::of(test),
        cell: None,
        took: took(test.took),
        machine: test.attempt.as_ref().map(|attempt| attempt.machine.to_string()).unwrap_or_default(),
        began: began.map(seconds).unwrap_or_default(),
    }
}

/// The tests that took longest; those without a time are none of them.
pub(super) fn slowest(results: &Results) -> Vec<Slow> {
    let mut tests: Vec<(&TestResult, Duration)> =
        results.tests.iter().filter_map(|test| Some((test, test.took?))).collect();
    tests.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    let longest = tests.first().map_or(0.0, |(_, took)| took.as_secs_f64());
    let slow = |(test, took): (&TestResult, Duration)| Slow {
        row: row(test, None),
        width: percent(took.as_secs_f64(), longest),
    };
    tests.into_iter().take(SLOWEST).map(slow).collect()
}

/// The flaky tests, each with all its tries in order.
pub(super) fn flaky(results: &Results) -> Fitting<Flaky> {
    let flaky = results.tests.iter().filter(|test| test.is_flaky()).map(|test| {
        let own = test.attempt.iter().map(|attempt| (attempt, test.outcome, test.took, &test.reason));
        let others = test.others.iter().map(|other| (&other.attempt, other.outcome, other.took, &other.reason));
        let mut tries: Vec<_> = own.chain(others).collect();
        tries.sort_by_key(|(attempt, ..)| attempt.number);
        let tried = |(attempt, outcome, span, why): (&model::outcome::Attempt, _, _, &Option<String>)| {
            let why = why.as_deref().map(reason).map(|why| format!(": {why}")).unwrap_or_default();
            let words = format!("on {} after {}{why}", attempt.machine, took(span));
            Tried { number: attempt.number, mark: Mark::of(outcome), words }
        };
        Flaky { test: Named::of(test), tries: tries.into_iter().map(tried).collect() }
    });
    Fitting::of(flaky, &mut Room::of(FLAKY), |test| {
        ROW + test.test.weight() + test.tries.iter().map(|tried| ROW + weight(&tried.words)).sum::<usize>()
    })
}

/// What changed from `before` to `now`.
pub(super) fn changes(now: &Results, before: &Results, comparison: &Comparison<'_>) -> Changes {
    let outcome = |test: &TestResult| Mark::of_test(test).word;
    let outcomes = |change: &Change<'_>| format!("{} → {}", outcome(change.before), outcome(change.now));
    let spans = |change: &Change<'_>| {
        let sign = if change.now.took > change.before.took { "+" } else { "−" };
        let (before, now) = (took(change.before.took), took(change.now.took));
        format!("{before} → {now} ({sign}{})", seconds(change.difference()))
    };
    let alone = |test: &&TestResult| format!("{} {}", outcome(test), took(test.took));
    let list = |class, title, what, changes: &[Change<'_>], words: &dyn Fn(&Change<'_>) -> String| {
        let tests = changes.iter().map(|change| (change.now, words(change)));
        change_list((class, title, what), changes.len(), tests)
    };
    let single = |class, title, what, tests: &[&TestResult]| {
        change_list((class, title, what), tests.len(), tests.iter().map(|test| (*test, alone(test))))
    };
    let longer = "passed both times, and took at least 1 s and half as long again";
    let shorter = "passed both times, and took at least 1 s and a third less";
    let lists = vec![
        list("failed", "Newly failing", "fail now, did not before", &comparison.newly_failing, &outcomes),
        list("passed", "Fixed", "failed before, pass now", &comparison.fixed, &outcomes),
        list("timed", "Slower", longer, &comparison.slower, &spans),
        list("faster", "Faster", shorter, &comparison.faster, &spans),
        single("unseen", "Never seen before", "the earlier run did not have them", &comparison.unseen),
        list("failed", "Still failing", "failed before too", &comparison.still_failing, &outcomes),
        single("skipped", "No longer there", "only the earlier run had them", &comparison.gone),
    ];
    let differ = conditions(now, before).into_iter();
    Changes {
        run: before.id.to_string(),
        cell: comparison.cell.as_deref().map(cell_name),
        started: before.machines.iter().map(|machine| machine.asked_at).min().map(date),
        verdict: Mark::of_verdict(before.verdict),
        counts: super::figures::shares(&before.counts),
        conditions: differ
            .map(|(name, from, to)| (name, one_line(&from, CONDITION), one_line(&to, CONDITION)))
            .collect(),
        spans: total(comparison),
        lists,
    }
}

/// How long the tests took together that passed both times; none where there are none.
fn total(comparison: &Comparison<'_>) -> Option<String> {
    let (before, now) = comparison.spans;
    let tests = match comparison.passed_twice {
        0 => return None,
        1 => "The test that passed both times took".to_owned(),
        count => format!("The {count} tests that passed both times took"),
    };
    Some(format!("{tests} {} now, {} before, summed up over all machines.", seconds(now), seconds(before)))
}

fn change_list<'a>(
    (class, title, what): (&'static str, &'static str, &'static str),
    count: usize,
    tests: impl Iterator<Item = (&'a TestResult, String)>,
) -> ChangeList {
    let tests = tests.take(SHOWN).map(|(test, words)| (Named::of(test), words));
    let mut tests = Fitting::of(tests, &mut Room::of(CHANGES), |(test, words)| ROW + test.weight() + weight(words));
    tests.left_out = count - tests.shown.len();
    ChangeList { class, title, what, count, tests }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::tests::ran;
    use crate::json::tests::{results, test};
    use model::outcome::{Attempt, OtherAttempt, TestOutcome};

    #[test]
    fn the_slowest_come_first_and_tests_that_did_not_run_are_none_of_them() {
        let run = results(vec![
            ran("quick", "hg-a", 0.0, 1.0, TestOutcome::Passed),
            ran("slow", "hg-a", 0.0, 4.0, TestOutcome::Passed),
            test("skipped", TestOutcome::Skipped, None),
        ]);
        let slow = slowest(&run);
        let shown: Vec<_> = slow.iter().map(|slow| (slow.row.test.name.as_str(), slow.width.as_str())).collect();
        assert_eq!(shown, [("slow", "100"), ("quick", "25")]);
    }

    #[test]
    fn a_flaky_test_shows_its_tries_in_their_order() {
        let mut test = ran("t", "hg-b", 0.0, 1.0, TestOutcome::Passed);
        test.attempt = Some(Attempt { machine: "hg-b".parse().unwrap(), number: 2 });
        test.others = vec![OtherAttempt {
            attempt: Attempt { machine: "hg-a".parse().unwrap(), number: 1 },
            outcome: TestOutcome::Failed,
            took: Some(Duration::from_secs(3)),
            reason: Some("output changed".into()),
            began_at: None,
        }];
        let shown = flaky(&results(vec![test])).shown;
        let tries: Vec<_> = shown[0]
            .tries
            .iter()
            .map(|tried| format!("{} {} {}", tried.number, tried.mark.word, tried.words))
            .collect();
        assert_eq!(tries, ["1 failed on hg-a after 3.0s: output changed", "2 passed on hg-b after 1.0s"]);
    }

    #[test]
    fn a_long_list_of_changes_is_cut_and_says_how_many_are_missing() {
        let before = results(vec![]);
        let now = results((0..100).map(|at| test(&format!("t{at}"), TestOutcome::Passed, None)).collect());
        let changes = changes(&now, &before, &Comparison::of(&now, &before));
        let unseen = changes.lists.iter().find(|list| list.title == "Never seen before").unwrap();
        assert_eq!((unseen.count, unseen.tests.shown.len(), unseen.tests.left_out), (100, SHOWN, 100 - SHOWN));
        assert_eq!(changes.spans, None);
    }
}
