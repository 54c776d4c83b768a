//! What changed from an earlier run to this one.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use model::base::id::TestName;
use model::base::text::distinct;
use model::outcome::{Cell, Results, TestOutcome, TestResult};

/// A test is slower or faster when its time changed by this factor and by this span at least. By choice: a smaller change is as often
/// the work of others on the same computer.
const FACTOR: f64 = 1.5;
const LEAST: Duration = Duration::from_secs(1);

/// One test in both runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) before: &'a TestResult,
    pub(super) now: &'a TestResult,
}

impl Change<'_> {
    /// How long it took before and now, where it passed both times: how long a test takes that fails says nothing.
    fn spans(&self) -> Option<(Duration, Duration)> {
        let passed = [self.before, self.now].iter().all(|test| test.outcome == TestOutcome::Passed);
        Some((self.before.took?, self.now.took?)).filter(|_| passed)
    }

    /// By how much its time changed.
    pub(super) fn difference(&self) -> Duration {
        self.spans().map_or(Duration::ZERO, |(before, now)| before.abs_diff(now))
    }
}

/// The tests of two runs, by what became of them.
#[derive(Debug, Default)]
pub(super) struct Comparison<'a> {
    /// Those that fail now and did not before.
    pub(super) newly_failing: Vec<Change<'a>>,
    /// Those that fail as they did before.
    pub(super) still_failing: Vec<Change<'a>>,
    /// Those that failed before and pass now.
    pub(super) fixed: Vec<Change<'a>>,
    /// Those that passed both times and take longer now; the largest difference first.
    pub(super) slower: Vec<Change<'a>>,
    /// Those that passed both times and take less time now; the largest difference first.
    pub(super) faster: Vec<Change<'a>>,
    /// Those that the earlier run did not have.
    pub(super) unseen: Vec<&'a TestResult>,
    /// Those that only the earlier run had.
    pub(super) gone: Vec<&'a TestResult>,
    /// How long those took together that passed both times, before and now.
    pub(super) spans: (Duration, Duration),
    /// How many passed both times.
    pub(super) passed_twice: usize,
    /// The cell of the earlier run whose tests alone are compared, because only that run has a matrix.
    pub(super) cell: Option<String>,
}

/// By what a test is found in the earlier run: its name, and its cell where both runs have a matrix.
type Key<'a> = (Option<&'a str>, &'a TestName);

impl<'a> Comparison<'a> {
    /// Compares the tests of `now` with those of `before`, by name: in each cell with the same cell where both have a matrix, in each
    /// with the only one of a run that has none, and where only the earlier one has a matrix with the cell that is most like this run.
    pub(super) fn of(now: &'a Results, before: &'a Results) -> Self {
        let with_cells = now.has_matrix() && before.has_matrix();
        let key = |test: &'a TestResult| -> Key<'a> { (test.cell.as_deref().filter(|_| with_cells), &test.name) };
        let alike = if now.has_matrix() { None } else { most_alike(now, before) };
        let cell = alike.and_then(|cell| cell.point.name());
        let is_compared = |test: &&TestResult| cell.is_none() || test.cell == cell;
        let earlier: HashMap<Key<'_>, &TestResult> =
            before.tests.iter().filter(is_compared).map(|test| (key(test), test)).collect();
        let mut left: BTreeMap<Key<'_>, &TestResult> = earlier.iter().map(|(key, test)| (*key, *test)).collect();
        let mut comparison = Self::default();
        for test in &now.tests {
            left.remove(&key(test));
            match earlier.get(&key(test)) {
                Some(before) => comparison.add(Change { before, now: test }),
                None => comparison.unseen.push(test),
            }
        }
        comparison.gone = left.into_values().collect();
        comparison.cell = cell;
        for list in [&mut comparison.slower, &mut comparison.faster] {
            list.sort_by_key(|change| std::cmp::Reverse(change.difference()));
        }
        comparison
    }

    fn add(&mut self, change: Change<'a>) {
        match (change.before.outcome.is_failure(), change.now.outcome.is_failure()) {
            (false, true) => self.newly_failing.push(change),
            (true, true) => self.still_failing.push(change),
            (true, false) if change.now.outcome == TestOutcome::Passed => self.fixed.push(change),
            _ => self.time(change),
        }
    }

    fn time(&mut self, change: Change<'a>) {
        let Some((before, now)) = change.spans() else { return };
        self.passed_twice += 1;
        self.spans = (self.spans.0.saturating_add(before), self.spans.1.saturating_add(now));
        let (short, long) = (before.min(now), before.max(now));
        if long - short < LEAST || long.as_secs_f64() < short.as_secs_f64() * FACTOR {
            return;
        }
        if now > before { self.slower.push(change) } else { self.faster.push(change) }
    }
}

/// The cell of `before` that is most like `now`, which has no matrix; none where `before` has none either.
fn most_alike<'a>(now: &Results, before: &'a Results) -> Option<&'a Cell> {
    let subject = &now.subject;
    let likeness = |cell: &Cell| {
        let same = [
            cell.distro == subject.distro,
            cell.filesystem == subject.filesystem,
            cell.python == subject.python,
            cell.image == now.image,
        ];
        same.into_iter().filter(|same| *same).count()
    };
    let cells = before.cells.iter().filter(|cell| cell.point.name().is_some());
    // The first of several that are equally like it.
    cells.rev().max_by_key(|cell| likeness(cell))
}

/// What varies over the cells of a run: every value once.
fn values(results: &Results, of: impl Fn(&Cell) -> Option<String>) -> Option<String> {
    let values = distinct(results.cells.iter().filter_map(of));
    Some(values.join(", ")).filter(|values| !values.is_empty())
}

/// The conditions in which two runs differ, each as its name, what it was and what it is.
pub(super) fn conditions(now: &Results, before: &Results) -> Vec<(&'static str, String, String)> {
    let of = |results: &Results| {
        let subject = &results.subject;
        let changes = if subject.working_copy { " + changes" } else { "" };
        let revision = subject.revision.as_deref().map(|revision| format!("{revision:.12}{changes}"));
        [
            ("version", subject.version.clone()),
            ("revision", revision),
            ("distribution", subject.distro.clone().or_else(|| values(results, |cell| cell.distro.clone()))),
            ("python", subject.python.clone().or_else(|| values(results, |cell| cell.python.clone()))),
            ("file system", subject.filesystem.clone().or_else(|| values(results, |cell| cell.filesystem.clone()))),
            ("flags", Some(subject.flags.join(" "))),
            ("image", Some(results.image.clone())),
            ("cells", values(results, |cell| cell.point.name())),
            ("machines", Some(results.machines.len().to_string()).filter(|_| !results.machines.is_empty())),
        ]
    };
    let known = |value: Option<String>| value.filter(|value| !value.is_empty()).unwrap_or_else(|| "–".to_owned());
    let pairs = of(before).into_iter().zip(of(now));
    let differs = pairs.filter(|((_, before), (_, now))| before != now);
    differs.map(|((name, before), (_, now))| (name, known(before), known(now))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::{in_cells, results, test};

    fn timed(name: &str, seconds: f64) -> TestResult {
        TestResult { took: Some(Duration::from_secs_f64(seconds)), ..test(name, TestOutcome::Passed, None) }
    }

    #[test]
    fn every_test_is_in_the_list_that_says_what_became_of_it() {
        let failed = |name| test(name, TestOutcome::Failed, None);
        let before = results(vec![
            timed("broken", 1.0),
            failed("mended"),
            failed("red"),
            timed("slow", 2.0),
            timed("slowest", 2.0),
            timed("fast", 4.0),
            timed("same", 10.0),
            timed("short", 0.1),
            failed("vanishes"),
            timed("left", 1.0),
        ]);
        let now = results(vec![
            failed("broken"),
            timed("mended", 1.0),
            test("red", TestOutcome::TimedOut, None),
            timed("slow", 3.5),
            timed("slowest", 30.0),
            timed("fast", 2.0),
            timed("same", 12.0),
            timed("short", 0.9),
            test("vanishes", TestOutcome::Skipped, None),
            failed("new"),
        ]);
        let found = Comparison::of(&now, &before);
        let names =
            |list: &[Change<'_>]| list.iter().map(|change| change.now.name.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&found.newly_failing), "broken");
        assert_eq!(names(&found.still_failing), "red");
        assert_eq!(names(&found.fixed), "mended", "what is skipped now is not mended");
        assert_eq!((names(&found.slower).as_str(), names(&found.faster).as_str()), ("slowest slow", "fast"));
        assert_eq!((found.unseen.len(), found.gone[0].name.as_str(), found.gone.len()), (1, "left", 1));
        assert_eq!((found.passed_twice, found.spans.0), (5, Duration::from_secs_f64(18.1)));
    }

    #[test]
    fn a_test_is_compared_with_itself_in_the_same_cell_or_in_the_one_that_is_most_alike() {
        let (passed, failed) = (|| timed("a", 1.0), || test("a", TestOutcome::Failed, None));
        let shown = |now: &Results, before: &Results| {
            let found = Comparison::of(now, before);
            let cells = |list: &[Change<'_>]| {
                list.iter().map(|change| change.now.cell.clone().unwrap_or_default()).collect::<Vec<_>>().join(" ")
            };
            let counts = (found.unseen.len(), found.gone.len(), found.passed_twice);
            (cells(&found.newly_failing), cells(&found.still_failing), counts, found.cell)
        };
        let both = |default, tmpfs| in_cells(&[("default", vec![default]), ("tmpfs", vec![tmpfs])]);
        let (red, green) = (both(passed(), failed()), both(passed(), passed()));
        assert_eq!(shown(&red, &green), ("tmpfs".into(), String::new(), (0, 0, 1), None));
        assert_eq!(shown(&red, &red), (String::new(), "tmpfs".into(), (0, 0, 1), None));
        let other = in_cells(&[("default", vec![passed()]), ("ext4", vec![passed()])]);
        assert_eq!(shown(&other, &red), (String::new(), String::new(), (1, 1, 1), None), "a cell of its own");
        // An earlier run without a matrix is what each cell is compared with.
        let plain = results(vec![passed(), timed("b", 1.0)]);
        assert_eq!(shown(&red, &plain), ("tmpfs".into(), String::new(), (0, 1, 1), None));
        // A run without a matrix is compared with one cell of the earlier one.
        let mut plain = results(vec![failed()]);
        let default = Some("default".to_owned());
        assert_eq!(shown(&plain, &red), (String::new(), String::new(), (0, 0, 0), default));
        assert_eq!(Comparison::of(&plain, &red).newly_failing.len(), 1, "it passed there");
        plain.subject.filesystem = Some("tmpfs".into());
        assert_eq!(shown(&plain, &red).3.as_deref(), Some("tmpfs"));
        let expected = [
            ("file system", "default, tmpfs".to_owned(), "tmpfs".to_owned()),
            ("cells", "default, tmpfs".to_owned(), "–".to_owned()),
        ];
        assert_eq!(conditions(&plain, &red), expected);
    }

    #[test]
    fn a_run_that_differs_in_what_it_ran_on_says_so() {
        let before = results(vec![]);
        let mut now = before.clone();
        assert!(conditions(&now, &before).is_empty());
        (now.subject.distro, now.subject.working_copy) = (Some("debian13".into()), true);
        let expected = [
            ("revision", "a1b2c3d4e5f6".to_owned(), "a1b2c3d4e5f6 + changes".to_owned()),
            ("distribution", "debian12".to_owned(), "debian13".to_owned()),
        ];
        assert_eq!(conditions(&now, &before), expected);
    }
}
