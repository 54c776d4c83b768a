//! The figures of a run: counts, how the time was spent, cells, machines.

use std::time::Duration;

use jiff::Timestamp;
use model::base::clock::since;
use model::base::id::MachineId;
use model::base::text::{pluralize, seconds};
use model::outcome::{Cell, Counts, MachineUse, Results};
use model::price::amount;

use super::mark::Mark;
use super::text::{Fitting, Room, cell_name, name, one_line, percent, reason, weight};
use crate::terminal;

/// Most bytes of a fact, such as the command with all its arguments.
const FACT: usize = 300;

/// Room for the cells and for the machines, in bytes, and what a row of either weighs beside its name.
const ROWS: usize = 20_000;
const ROW: usize = 330;

/// A number of tests that came to the same.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) mark: Mark,
    pub(super) count: usize,
    pub(super) width: String,
}

/// A part of the run's time.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) span: String,
    pub(super) share: String,
    pub(super) width: String,
}

/// One cell, as a row.
#[derive(Debug)]
pub(super) struct CellRow {
    pub(super) name: String,
    pub(super) mark: Mark,
    /// Why it has no verdict.
    pub(super) why: Option<String>,
    pub(super) counts: Counts,
    pub(super) machines: usize,
}

/// One machine, as a row.
#[derive(Debug)]
pub(super) struct MachineRow {
    pub(super) name: String,
    /// The name of its cell, where the run has a matrix.
    pub(super) cell: Option<String>,
    pub(super) provider: &'static str,
    pub(super) boot: String,
    pub(super) push: String,
    pub(super) build: String,
    pub(super) ready_after: String,
    pub(super) work: String,
    pub(super) tests: usize,
    pub(super) cost: Option<String>,
    pub(super) is_lost: bool,
}

/// The numbers of tests by outcome, those that are worst first.
pub(super) fn shares(counts: &Counts) -> Vec<Share> {
    use model::outcome::TestOutcome::{Failed, Lost, NotRun, Passed, Skipped, TimedOut};
    let of = [
        (Failed, counts.failed.saturating_sub(counts.timed_out)),
        (TimedOut, counts.timed_out),
        (Lost, counts.lost),
        (NotRun, counts.not_run),
        (Passed, counts.passed),
        (Skipped, counts.skipped),
    ];
    let share =
        |(outcome, count)| Share { mark: Mark::of(outcome), count, width: percent(count as f64, counts.total as f64) };
    of.into_iter().filter(|(_, count)| *count > 0).map(share).collect()
}

/// The verdict in a sentence: `3 of 983 tests failed, 1 of them ran out of its time.`
pub(super) fn sentence(counts: &Counts) -> String {
    let total = pluralize(counts.total, "test");
    let mut parts = Vec::new();
    if counts.failed > 0 {
        parts.push(format!("{} of {total} failed", counts.failed));
    }
    for (count, what) in [(counts.lost, "lost"), (counts.not_run, "not run")] {
        if count > 0 {
            let of = if parts.is_empty() { format!(" of {total}") } else { String::new() };
            parts.push(format!("{count}{of} {what}"));
        }
    }
    if parts.is_empty() {
        parts.push(if counts.passed + counts.skipped == counts.total && counts.skipped == 0 && counts.total > 1 {
            format!("All {total} passed")
        } else {
            format!("{} of {total} passed", counts.passed)
        });
    }
    if counts.skipped > 0 {
        parts.push(format!("{} skipped", counts.skipped));
    }
    if counts.flaky > 0 {
        parts.push(format!("{} flaky", counts.flaky));
    }
    parts.join(", ")
}

/// A name and a value.
pub(super) type Fact = (&'static str, String);

/// The figures by which runs are told apart.
pub(super) fn key_figures(results: &Results) -> Vec<Fact> {
    let known = [
        ("Duration", Some(seconds(results.time.total))),
        ("Tests", Some(seconds(results.time.tests))),
        ("Set-up share", Some(format!("{:.0} %", terminal::setup_share(&results.time)))),
        ("Cells", results.has_matrix().then(|| results.cells.len().to_string())),
        ("Machines", Some(results.machines.len().to_string()).filter(|_| !results.machines.is_empty())),
        ("Flaky", Some(results.counts.flaky.to_string()).filter(|_| results.counts.flaky > 0)),
        ("Cost", results.cost.map(|cost| format!("{} USD", amount(cost)))),
    ];
    fit(known)
}

/// What is known of the run beside its figures.
pub(super) fn facts(results: &Results, started_at: Option<Timestamp>, command: Option<&str>) -> Vec<Fact> {
    let flags = results.subject.flags.join(" ");
    let known = [
        ("Started", started_at.map(date)),
        ("Run", Some(results.id.to_string())),
        ("Source", Some(results.source.clone())),
        ("Image", Some(results.image.clone())),
        ("Flags", Some(flags).filter(|flags| !flags.is_empty())),
        ("Command", command.map(str::to_owned)),
    ];
    fit(known)
}

fn fit<const COUNT: usize>(known: [(&'static str, Option<String>); COUNT]) -> Vec<Fact> {
    known.into_iter().filter_map(|(name, value)| Some((name, one_line(&value?, FACT)))).collect()
}

/// A date for people: `20 Nov 2026, 10:53 UTC`.
pub(super) fn date(at: Timestamp) -> String {
    at.strftime("%-d %b %Y, %H:%M UTC").to_string()
}

/// How the run's time was spent.
pub(super) fn parts(results: &Results) -> Vec<Part> {
    let time = &results.time;
    let named = time.image + time.setup + time.push + time.build + time.tests;
    let whole = time.total.max(named);
    let of = [
        ("image", "Baking the image", time.image),
        ("boot", "Set-up", time.setup),
        ("push", "Bringing the source", time.push),
        ("build", "Building", time.build),
        ("tests", "Tests", time.tests),
        ("rest", "The rest", whole - named),
    ];
    let part = |(class, name, span): (&'static str, &'static str, Duration)| {
        let width = percent(span.as_secs_f64(), whole.as_secs_f64());
        let share = format!("{:.0} %", span.as_secs_f64() * 100.0 / whole.as_secs_f64().max(f64::MIN_POSITIVE));
        Part { class, name, span: seconds(span), share, width }
    };
    of.into_iter().filter(|(_, _, span)| *span >= Duration::from_millis(50)).map(part).collect()
}

/// The cells, in their order.
pub(super) fn cells(results: &Results) -> Fitting<CellRow> {
    let row = |cell: &Cell| CellRow {
        name: cell.point.name().map_or_else(|| surroundings(cell), |name| cell_name(&name)),
        mark: Mark::of_verdict(cell.verdict),
        why: terminal::why_cell_incomplete(cell).filter(|_| results.has_matrix()).map(|why| reason(&why)),
        counts: cell.counts,
        machines: cell.machines.len(),
    };
    Fitting::of(results.cells.iter().map(row), &mut Room::of(ROWS), |row| {
        weight(&row.name) + row.why.as_deref().map_or(0, weight) + ROW
    })
}

/// The cell of a machine, by its place among the cells; none where there is no matrix.
pub(super) fn cell_of<'a>(results: &'a Results, machine: &MachineId) -> Option<(usize, &'a Cell)> {
    let mut cells = results.cells.iter().enumerate().filter(|(_, cell)| cell.point.name().is_some());
    cells.find(|(_, cell)| cell.machines.contains(machine))
}

/// `debian13 · python 3.13.5 · tmpfs`, or the image where nothing is known.
fn surroundings(cell: &Cell) -> String {
    let python = cell.python.as_deref().map(|version| match version.contains(' ') {
        true => version.to_owned(),
        false => format!("python {version}"),
    });
    let filesystem = cell.filesystem.clone().filter(|filesystem| filesystem != "default");
    let parts: Vec<String> = [cell.distro.clone(), python, filesystem].into_iter().flatten().collect();
    let words = parts.join(" · ");
    name(if words.is_empty() { &cell.image } else { &words })
}

/// The machines, in the order in which they were asked for.
pub(super) fn machines(results: &Results) -> Fitting<MachineRow> {
    let rows = results.machines.iter().map(|machine| machine_row(machine, results));
    Fitting::of(rows, &mut Room::of(ROWS), |row| weight(&row.name) + row.cell.as_deref().map_or(0, weight) + ROW)
}

fn machine_row(machine: &MachineUse, results: &Results) -> MachineRow {
    let after = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| seconds(since(machine.asked_at, at)));
    let span = |span: Duration| if span.is_zero() { "–".to_owned() } else { seconds(span) };
    let here = |test: &&model::outcome::TestResult| {
        test.attempt.as_ref().is_some_and(|attempt| attempt.machine == machine.machine)
    };
    MachineRow {
        name: machine.machine.to_string(),
        cell: cell_of(results, &machine.machine).map(|(_, cell)| cell_name(&cell.point.to_string())),
        provider: machine.provider.name(),
        boot: after(machine.up_at),
        push: span(machine.push),
        build: span(machine.build),
        ready_after: after(machine.ready_at),
        work: span(machine.at_work.iter().map(|work| since(work.from, work.until)).sum()),
        tests: results.tests.iter().filter(here).count(),
        cost: machine.cost.map(amount),
        is_lost: machine.lost.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::{results, test};
    use model::outcome::TestOutcome;

    #[test]
    fn the_sentence_says_what_is_bad_first() {
        let said = |outcomes: &[TestOutcome]| {
            let tests = outcomes.iter().enumerate().map(|(at, outcome)| test(&at.to_string(), *outcome, None));
            sentence(&results(tests.collect()).counts)
        };
        use TestOutcome::{Failed, Lost, NotRun, Passed, Skipped};
        assert_eq!(said(&[Passed, Passed]), "All 2 tests passed");
        assert_eq!(said(&[Passed, Skipped]), "1 of 2 tests passed, 1 skipped");
        assert_eq!(said(&[Passed, Failed, Lost, Lost]), "1 of 4 tests failed, 2 lost");
        assert_eq!(said(&[Lost, Passed]), "1 of 2 tests lost");
        assert_eq!(said(&[NotRun]), "1 of 1 test not run");
        assert_eq!(said(&[]), "0 of 0 tests passed");
    }

    #[test]
    fn the_parts_of_the_time_are_the_whole_of_it() {
        let mut run = results(vec![]);
        let named = |run: &Results| {
            parts(run).into_iter().map(|part| format!("{} {}", part.name, part.share)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(named(&run), "Set-up 20 %, Tests 75 %, The rest 5 %");
        // Several machines at once take more time than there was.
        run.time.tests = Duration::from_secs(18);
        assert_eq!(named(&run), "Set-up 10 %, Tests 90 %");
        run.time = model::outcome::TimeSplit::default();
        assert_eq!(named(&run), "");
    }

    #[test]
    fn a_cell_is_named_by_what_varies() {
        let mut cell = results(vec![]).cells.remove(0);
        assert_eq!(surroundings(&cell), "debian12 · python 3.11.2");
        (cell.python, cell.filesystem) = (Some("pypy 3.10.13".into()), Some("tmpfs".into()));
        assert_eq!(surroundings(&cell), "debian12 · pypy 3.10.13 · tmpfs");
        (cell.python, cell.filesystem, cell.distro) = (None, None, None);
        assert_eq!(surroundings(&cell), "linux-dev-debian12 (0123456789ab)");
    }
}
