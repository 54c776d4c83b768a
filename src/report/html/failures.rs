//! The tests that failed, each with how its output differs, and the lost and skipped ones by their reasons.

use std::collections::BTreeMap;

use model::base::escapes;
use model::base::text::pluralize;
use model::outcome::{Results, TestOutcome, TestResult};

use super::compare::Comparison;
use super::mark::Mark;
use super::text::{Fitting, Named, Room, link, name, reason, took, weight};

/// Room for all failures, in bytes; a tenth of it for a single one.
const ROOM: usize = 240_000;

/// Most lines of a difference, and most bytes of a line: beyond a few screens the file is the better reading.
const LINES: usize = 120;
const LINE: usize = 1_000;

/// What a failure weighs beside its text.
const MARKUP: usize = 900;

/// What a piece of a difference weighs beside its text.
const PIECE: usize = 14;

/// How many failures are open at first; the others are a list of names that fits on a screen.
const OPEN: usize = 5;

/// Room for the names of skipped or lost tests, and for the reasons, in bytes.
const NAMES: usize = 25_000;
const REASONS: usize = 15_000;

/// What a reason or a name weighs beside its text.
const GROUP: usize = 120;
const NAME: usize = 20;

/// One test that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) number: usize,
    pub(super) test: Named,
    pub(super) mark: Mark,
    /// What an earlier run says of it.
    pub(super) news: Option<&'static str>,
    pub(super) took: String,
    /// On which machine it failed, and in which of several tries.
    pub(super) at: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) is_open: bool,
    /// Whether the text says how the output differs; else it is the output.
    pub(super) is_difference: bool,
    pub(super) pieces: Vec<Piece>,
    /// What of the text is not shown.
    pub(super) cut: Option<String>,
    /// The file with the whole output: a link, and its name.
    pub(super) file: Option<(String, String)>,
}

/// Lines of a difference that have the same meaning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// The meaning of a line of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It was expected, and is not there.
    Removed,
    /// It is there, and was not expected.
    Added,
    /// It says where the next lines stand.
    Place,
    /// Any other.
    Same,
}

/// Tests that share a reason.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) reason: String,
    pub(super) count: usize,
    pub(super) names: Vec<String>,
    pub(super) left_out: usize,
}

/// The failures of a run, those that are news first.
pub(super) fn failures(results: &Results, comparison: Option<&Comparison<'_>>) -> Fitting<Failure> {
    let news = |test: &TestResult| {
        let is_in = |list: &[super::compare::Change<'_>]| list.iter().any(|change| std::ptr::eq(change.now, test));
        comparison.map(|comparison| match () {
            () if is_in(&comparison.newly_failing) => "newly failing",
            () if is_in(&comparison.still_failing) => "failed before too",
            () => "never seen before",
        })
    };
    let failed = results.tests.iter().filter(|test| test.outcome.is_failure());
    let mut failed: Vec<(&TestResult, Option<&str>)> = failed.map(|test| (test, news(test))).collect();
    failed.sort_by_key(|(_, news)| *news == Some("failed before too"));
    let several = results.machines.len() > 1;
    let failures = failed.into_iter().enumerate().map(|(at, (test, news))| failure(at, test, news, several));
    Fitting::of(failures, &mut Room::of(ROOM), |failure| {
        let texts = failure.pieces.iter().map(|piece| weight(&piece.text) + PIECE).sum::<usize>();
        let file = failure.file.as_ref().map_or(0, |(link, name)| link.len() + weight(name));
        MARKUP + texts + file + failure.test.weight() + failure.reason.as_deref().map_or(0, weight)
    })
}

fn failure(at: usize, test: &TestResult, news: Option<&'static str>, several: bool) -> Failure {
    let text = test.detail.as_deref().or(test.output.as_deref()).unwrap_or_default().trim_end();
    let (pieces, cut) = pieces(text, test.detail.is_some());
    let place = test.attempt.as_ref().map(|attempt| match (several, attempt.number) {
        (_, 2..) => format!("on {}, try {}", attempt.machine, attempt.number),
        (true, _) => format!("on {}", attempt.machine),
        (false, _) => String::new(),
    });
    Failure {
        number: at + 1,
        test: Named::of(test),
        mark: Mark::of_test(test),
        news,
        took: took(test.took),
        at: place.filter(|place| !place.is_empty()),
        reason: test.reason.as_deref().map(reason).filter(|reason| !reason.is_empty()),
        is_open: at < OPEN,
        is_difference: test.detail.is_some(),
        pieces,
        cut,
        file: test.output_file.as_deref().map(|file| (link(file), name(file))),
    }
}

/// The text of a failure in pieces, and how much of it is not shown.
fn pieces(text: &str, is_difference: bool) -> (Vec<Piece>, Option<String>) {
    let header = |line: &&str| is_difference && (line.starts_with("--- ") || line.starts_with("+++ "));
    let lines: Vec<&str> = text.lines().skip_while(header).collect();
    let mut room = Room::of(ROOM / 10);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut shown = 0;
    for line in lines.iter().take(LINES) {
        let text = escapes::plain(&model::base::text::cut(line, LINE)).into_owned() + "\n";
        if !room.take(weight(&text) + PIECE) {
            break;
        }
        shown += 1;
        let kind = if is_difference { kind(line) } else { Kind::Same };
        match pieces.last_mut() {
            Some(last) if last.kind == kind => last.text.push_str(&text),
            _ => pieces.push(Piece { kind, text }),
        }
    }
    let cut = (lines.len() > shown).then(|| format!("{} more", pluralize(lines.len() - shown, "line")));
    (pieces, cut)
}

fn kind(line: &str) -> Kind {
    match line.as_bytes().first() {
        Some(b'-') => Kind::Removed,
        Some(b'+') => Kind::Added,
        Some(b'@') => Kind::Place,
        _ => Kind::Same,
    }
}

/// The tests with one of these outcomes, by reason; the largest group first.
pub(super) fn by_reason(results: &Results, outcomes: &[TestOutcome]) -> Fitting<Group> {
    let mut groups: BTreeMap<&str, Vec<&TestResult>> = BTreeMap::new();
    for test in results.tests.iter().filter(|test| outcomes.contains(&test.outcome)) {
        groups.entry(test.reason.as_deref().unwrap_or_default().trim()).or_default().push(test);
    }
    let mut groups: Vec<(&str, Vec<&TestResult>)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, tests)| std::cmp::Reverse(tests.len()));
    let mut room = Room::of(NAMES);
    let group = |(why, tests): (&str, Vec<&TestResult>)| {
        let names = tests.iter().map(|test| Named::of(test).text());
        let names = Fitting::of(names, &mut room, |name| weight(name) + NAME);
        let reason = if why.is_empty() { "without a reason".to_owned() } else { reason(why) };
        Group { reason, count: tests.len(), names: names.shown, left_out: names.left_out }
    };
    Fitting::of(groups.into_iter().map(group), &mut Room::of(REASONS), |group| weight(&group.reason) + GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::{results, test};

    fn failed(name: &str, detail: &str) -> TestResult {
        TestResult { detail: Some(detail.into()), ..test(name, TestOutcome::Failed, Some("output changed")) }
    }

    #[test]
    fn lines_of_a_difference_are_told_apart_and_lines_of_one_kind_stay_together() {
        let text = "--- a\n+++ a.err\n@@ -1 +1 @@\n   $ x\n-one\n-two\n+\u{1b}[31m<b>\n--- three";
        let (pieces, cut) = pieces(text, true);
        let shown: Vec<_> = pieces.iter().map(|piece| (piece.kind, piece.text.as_str())).collect();
        let expected = [
            (Kind::Place, "@@ -1 +1 @@\n"),
            (Kind::Same, "   $ x\n"),
            (Kind::Removed, "-one\n-two\n"),
            (Kind::Added, "+\\u{1b}[31m<b>\n"),
            (Kind::Removed, "--- three\n"),
        ];
        assert_eq!((shown.as_slice(), cut), (expected.as_slice(), None));
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let (shown, cut) = pieces(&"+x\n".repeat(1_000), true);
        assert_eq!((shown[0].text.len(), cut.as_deref()), (3 * LINES, Some("880 lines more")));
        let (shown, cut) = pieces(&("<".repeat(1 << 20) + "\nend"), false);
        assert!(shown[0].text.contains("[… 1047576 bytes left out]\nend"), "{shown:?}");
        assert_eq!(cut, None);
        let (_, cut) = pieces(&("<".repeat(900) + "\n").repeat(100), false);
        assert_eq!(cut.as_deref(), Some("95 lines more"), "five bytes a character in the page");
    }

    #[test]
    fn what_fails_anew_comes_before_what_failed_already() {
        let before = results(vec![failed("a", "-x"), test("b", TestOutcome::Passed, None)]);
        let now = results(vec![failed("a", "-x"), failed("b", "-x"), failed("c", "-x")]);
        let comparison = Comparison::of(&now, &before);
        let shown = failures(&now, Some(&comparison)).shown;
        let shown: Vec<_> = shown.iter().map(|failure| (failure.test.name.as_str(), failure.news.unwrap())).collect();
        assert_eq!(shown, [("b", "newly failing"), ("c", "never seen before"), ("a", "failed before too")]);
    }

    #[test]
    fn of_very_many_failures_as_many_are_shown_as_there_is_room_for() {
        let long = "+some line of a difference\n".repeat(100);
        let now = results((0..1_000).map(|number| failed(&format!("test-{number}.t"), &long)).collect());
        let shown = failures(&now, None);
        assert!(shown.shown.len() > 50 && shown.shown.len() + shown.left_out == 1_000, "{}", shown.shown.len());
    }

    #[test]
    fn skipped_tests_stand_under_their_reason() {
        let skipped = |name, why| test(name, TestOutcome::Skipped, why);
        let all = vec![skipped("a", Some("no svn")), skipped("b", None), skipped("c", Some("no svn"))];
        let groups = by_reason(&results(all), &[TestOutcome::Skipped]);
        let shown: Vec<_> = groups.shown.iter().map(|group| (group.reason.as_str(), group.names.join(" "))).collect();
        assert_eq!(shown, [("no svn", "a c".to_owned()), ("without a reason", "b".to_owned())]);
    }
}
