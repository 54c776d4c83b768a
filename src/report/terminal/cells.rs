//! The cells of a run that has a matrix, in lines of plain text.

use std::time::Duration;

use model::base::text;
use model::outcome::{Cell, Results, TimeSplit, Verdict};

use super::{escape, first_line, outcomes};

/// Most cells that have a line of their own, and most bytes of a name and of a reason in it.
const SHOWN: usize = 40;
const NAME: usize = 60;
const WHY: usize = 300;

/// `2 cells`; none where there is no matrix.
pub(super) fn count(results: &Results) -> Option<String> {
    results.has_matrix().then(|| text::pluralize(results.cells.len(), "cell"))
}

/// A line for each cell, below a title: its name, its verdict, what its tests came to, and why where it has no verdict. Of very many
/// those that did not pass are shown before others. Empty where there is no matrix.
pub(super) fn table(results: &Results) -> Vec<String> {
    if !results.has_matrix() {
        return Vec::new();
    }
    let mut shown: Vec<&Cell> = results.cells.iter().collect();
    if shown.len() > SHOWN {
        shown.sort_by_key(|cell| cell.verdict == Verdict::Passed);
        shown.truncate(SHOWN);
    }
    let names: Vec<String> = shown.iter().map(|cell| escape(&text::cut(&cell.point.to_string(), NAME))).collect();
    let names_width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let verdicts_width = shown.iter().map(|cell| cell.verdict.words().len()).max().unwrap_or_default();
    let line = |(cell, name): (&&Cell, &String)| {
        let (verdict, counts) = (cell.verdict.words(), outcomes(&cell.counts));
        let why = why(cell).map(|why| format!(" ({why})")).unwrap_or_default();
        format!("  {name:names_width$}  {verdict:verdicts_width$}  {counts}{why}")
    };
    let left_out = results.cells.len() - shown.len();
    let more = (left_out > 0).then(|| format!("  and {left_out} more"));
    let lines: Vec<String> = shown.iter().zip(&names).map(line).collect();
    std::iter::once("Cells:".to_owned()).chain(lines).chain(more).collect()
}

/// How the time of a run with a matrix was spent. Cells begin one after another and go on side by side, so that no share of the whole is
/// set-up or tests.
pub(super) fn time(time: &TimeSplit) -> String {
    let image = match time.image {
        Duration::ZERO => String::new(),
        image => format!(", image {}", text::seconds(image)),
    };
    let total = text::seconds(time.total);
    format!(
        "Time: total {total}{image}; {} from the first test's beginning to the last one's end",
        text::seconds(time.tests)
    )
}

/// Why a cell has no verdict of passed or failed; none where it has one.
pub fn why(cell: &Cell) -> Option<String> {
    let counts = &cell.counts;
    if matches!(cell.verdict, Verdict::Passed | Verdict::Failed) {
        return None;
    }
    if let Some(why) = first_line(cell.why.as_deref()) {
        return Some(text::cut(&why, WHY));
    }
    let why = match () {
        () if cell.verdict == Verdict::NotRun => "nothing was built",
        () if counts.lost > 0 => "some tests that were expected did not report",
        () if counts.total == 0 => "no test ran",
        () if counts.total == counts.skipped => super::ALL_SKIPPED,
        () => "the test runner ended as after a failure, and names no failed test",
    };
    Some(why.to_owned())
}

/// Why the run has no verdict: the cells that have none.
pub(super) fn why_incomplete(results: &Results) -> String {
    let bad: Vec<&Cell> = results.cells.iter().filter(|cell| cell.verdict == results.verdict).collect();
    let (is, are) = match results.verdict {
        Verdict::NotRun => ("was not built", "were not built"),
        _ => ("is incomplete", "are incomplete"),
    };
    match bad.as_slice() {
        [cell] => format!("the cell {} {is}", escape(&text::cut(&cell.point.to_string(), NAME))),
        _ => format!("{} of {} {are}", bad.len(), text::pluralize(results.cells.len(), "cell")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::{in_cells, test};
    use crate::terminal::{failures, summary};
    use model::outcome::TestOutcome;

    #[test]
    fn each_cell_has_a_line_and_each_test_its_cell_behind_it() {
        let failed = |name: &str| {
            let mut failed = test(name, TestOutcome::Failed, Some("output changed"));
            failed.detail = Some("-1\n+2\n".into());
            failed
        };
        let passed = |name: &str| test(name, TestOutcome::Passed, None);
        let mut results = in_cells(&[
            ("debian12/default", vec![passed("test-disk.t"), passed("test-ok.t")]),
            ("debian12/tmpfs\u{1b}", vec![failed("test-disk.t"), passed("test-ok.t")]),
        ]);
        insta::assert_snapshot!(summary(&results), @r"
        FAILED  1 of 4 tests · 2 cells · hg 6.3.2 a1b2c3d4e5f6 · debian12 · python 3.11 · 10 s
        Tests: 3 passed, 1 failed
        Cells:
          debian12/default      passed  2 passed
          debian12/tmpfs\u{1b}  failed  1 passed, 1 failed
        Failed:
          test-disk.t [debian12/tmpfs\u{1b}] (output changed)
        Time: total 10.0s; 7.5s from the first test's beginning to the last one's end
        ");
        assert_eq!(
            failures(&results)[0].text,
            "test-disk.t [debian12/tmpfs\\u{1b}]  failed  1.2s  output changed",
            "a name that steers nothing"
        );
        let lost = &mut results.cells[1];
        (lost.verdict, lost.counts, lost.why) =
            (Verdict::Incomplete, Default::default(), Some("no machine:\nno room".into()));
        lost.point.0[0].value = "debian12/tmpfs".into();
        results.tests.truncate(2);
        (results.verdict, results.counts) = (Verdict::Incomplete, model::outcome::count(&results.tests));
        insta::assert_snapshot!(summary(&results), @r"
        INCOMPLETE  2 tests · 2 cells · hg 6.3.2 a1b2c3d4e5f6 · debian12 · python 3.11 · 10 s
        Why: the cell debian12/tmpfs is incomplete
        Tests: 2 passed
        Cells:
          debian12/default  passed      2 passed
          debian12/tmpfs    incomplete  none (no machine:)
        Time: total 10.0s; 7.5s from the first test's beginning to the last one's end
        ");
    }

    #[test]
    fn a_cell_without_a_verdict_says_why_in_words_of_its_own() {
        let mut results = in_cells(&[
            ("a", vec![]),
            ("b", vec![test("x", TestOutcome::Skipped, None)]),
            ("c", vec![test("x", TestOutcome::Lost, None)]),
            ("d", vec![test("x", TestOutcome::Passed, None)]),
            ("e", model::outcome::not_run_results(&["x".into()], "no compiler")),
        ]);
        let whys: Vec<String> = results.cells.iter().map(|cell| why(cell).unwrap_or_default()).collect();
        assert_eq!(
            [whys[0].as_str(), &whys[2], &whys[3], &whys[4]],
            ["no test ran", "some tests that were expected did not report", "", "nothing was built"]
        );
        assert!(whys[1].starts_with("every test was skipped"), "{whys:?}");
        results.cells[3].verdict = Verdict::Incomplete;
        assert!(why(&results.cells[3]).unwrap().starts_with("the test runner ended as after a failure"));
        assert_eq!(why_incomplete(&results), "4 of 5 cells are incomplete");
    }

    #[test]
    fn of_very_many_cells_those_are_shown_that_did_not_pass() {
        let cells: Vec<(String, _)> = (0..100)
            .map(|number| {
                let outcome = if number == 99 { TestOutcome::Failed } else { TestOutcome::Passed };
                (format!("c{number}"), vec![test("x", outcome, None)])
            })
            .collect();
        let cells: Vec<(&str, _)> = cells.iter().map(|(name, tests)| (name.as_str(), tests.clone())).collect();
        let lines = table(&in_cells(&cells));
        assert_eq!((lines.len(), lines[1].trim_end()), (SHOWN + 2, "  c99  failed  1 failed"));
        assert_eq!(lines.last().unwrap(), "  and 60 more");
    }
}
