//! `report.html`: the results of a run as one page that needs nothing but itself: no network, no script, no other file.
//!
//! Whatever the results hold, the page stays below [`LIMIT`]: every list has room of its own, and says how much did not fit.

mod compare;
mod failures;
mod figures;
mod lists;
mod mark;
mod text;
mod timeline;

use askama::Template;
use jiff::Timestamp;
use model::fault::Fault;
use model::outcome::{Results, TestOutcome};

use self::compare::Comparison;
use self::failures::{Failure, Group};
use self::figures::{CellRow, Fact, MachineRow, Part, Share};
use self::lists::{Changes, Flaky, Row, Slow};
use self::mark::Mark;
use self::text::{Fitting, one_line};
use self::timeline::Timeline;
use crate::terminal;

/// The most bytes of a page, by choice: it is sent by mail, and read on a telephone.
pub const LIMIT: usize = 1_000_000;

/// Most bytes of what is said about the subject, and of the last lines of a build.
const SUBJECT: usize = 400;
const LAST_OUTPUT: usize = 4_000;

/// Most reasons that are named why the verdict means less than it seems.
const CAVEATS: usize = 5;

/// What a page is made of.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The results of the run.
    pub results: &'a Results,
    /// The results of an earlier run, to say what changed.
    pub against: Option<&'a Results>,
    /// When the run began.
    pub started_at: Option<Timestamp>,
    /// The command with its arguments, as a person would type it.
    pub command: Option<&'a str>,
    /// The other files of the run's folder, each with what it holds, which the page names; links where it lies beside them.
    pub files: &'a [(&'a str, &'a str)],
    /// Whether the page lies in the run's folder.
    pub is_beside: bool,
}

/// The page, as the template takes it.
#[derive(Template)]
#[template(path = "page.html")]
struct Document<'a> {
    id: String,
    verdict: Mark,
    sentence: String,
    subject: Vec<String>,
    caveats: Vec<String>,
    why: Option<String>,
    last_output: Option<String>,
    shares: Vec<Share>,
    key_figures: Vec<Fact>,
    facts: Vec<Fact>,
    cells: Fitting<CellRow>,
    has_cells: bool,
    has_matrix: bool,
    /// Whether the list of all tests can be narrowed to one cell.
    can_choose_cell: bool,
    changes: Option<Changes>,
    failures: Fitting<Failure>,
    failed: usize,
    can_accept: bool,
    flaky: Fitting<Flaky>,
    lost: Fitting<Group>,
    skipped: Fitting<Group>,
    timeline: Option<Timeline>,
    machines: Fitting<MachineRow>,
    slowest: Vec<Slow>,
    parts: Vec<Part>,
    all: Fitting<Row>,
    total: usize,
    files: &'a [(&'a str, &'a str)],
    is_beside: bool,
}

/// The page of a run.
pub fn render(page: &Page<'_>) -> Result<String, Fault> {
    let document = document(page);
    document.render().map_err(|error| Fault::infrastructure("cannot write the results as a page").because(error))
}

fn document<'a>(page: &Page<'a>) -> Document<'a> {
    let results = page.results;
    let comparison = page.against.map(|before| Comparison::of(results, before));
    let changes = page.against.zip(comparison.as_ref());
    let lines = |lines: Vec<String>| lines.iter().map(|line| one_line(line, SUBJECT)).collect();
    let last_output = results.last_output.as_deref().map(|text| model::base::text::cut(text, LAST_OUTPUT));
    Document {
        id: results.id.to_string(),
        verdict: Mark::of_verdict(results.verdict),
        sentence: figures::sentence(&results.counts),
        subject: lines(results.subject.words()),
        caveats: lines(results.caveats.iter().take(CAVEATS).cloned().collect()),
        why: terminal::why_incomplete(results).map(|why| model::base::text::cut(&why, SUBJECT)),
        last_output: last_output.map(|text| model::base::escapes::plain(&text).into_owned()),
        shares: figures::shares(&results.counts),
        key_figures: figures::key_figures(results),
        facts: figures::facts(results, page.started_at, page.command),
        cells: figures::cells(results),
        has_cells: results.cells.len() > 1 || results.has_matrix(),
        has_matrix: results.has_matrix(),
        can_choose_cell: results.has_matrix() && (2..=lists::CELLS).contains(&results.cells.len()),
        changes: changes.map(|(before, comparison)| lists::changes(results, before, comparison)),
        failures: failures::failures(results, comparison.as_ref()),
        failed: results.counts.failed,
        can_accept: results.tests.iter().any(|test| test.expected.is_some() && test.output_file.is_some()),
        flaky: lists::flaky(results),
        lost: failures::by_reason(results, &[TestOutcome::Lost, TestOutcome::NotRun]),
        skipped: failures::by_reason(results, &[TestOutcome::Skipped]),
        timeline: Timeline::of(results),
        machines: figures::machines(results),
        slowest: lists::slowest(results),
        parts: figures::parts(results),
        all: lists::all(results),
        total: results.tests.len(),
        files: page.files,
        is_beside: page.is_beside,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::json::tests::{in_cells, results, test};
    use model::machine::ProviderKind;
    use model::outcome::{Attempt, MachineUse, OtherAttempt, Span, TestResult};
    use std::time::Duration;

    /// A moment, in seconds from the beginning of a run.
    pub(crate) fn at(seconds: f64) -> Timestamp {
        let start: Timestamp = "2026-11-20T10:53:01Z".parse().unwrap();
        start + jiff::SignedDuration::from_secs_f64(seconds)
    }

    /// A test that began at a moment on a machine.
    pub(crate) fn ran(name: &str, machine: &str, began: f64, took: f64, outcome: TestOutcome) -> TestResult {
        TestResult {
            took: Some(Duration::from_secs_f64(took)),
            began_at: Some(at(began)),
            attempt: Some(Attempt { machine: machine.parse().unwrap(), number: 1 }),
            ..test(name, outcome, None)
        }
    }

    /// A machine that was asked for, up, ready and at its end at these moments.
    pub(crate) fn machine(id: &str, asked: f64, up: f64, ready: f64, end: f64) -> MachineUse {
        MachineUse {
            machine: id.parse().unwrap(),
            provider: ProviderKind::Local,
            asked_at: at(asked),
            up_at: Some(at(up)),
            ready_at: Some(at(ready)),
            push: Duration::from_secs(1),
            build: Duration::from_secs(3),
            at_work: vec![Span { from: at(ready), until: at(end) }],
            ended_at: Some(at(end)),
            cost: None,
            lost: None,
        }
    }

    fn page<'a>(results: &'a Results, against: Option<&'a Results>) -> Page<'a> {
        Page {
            results,
            against,
            started_at: Some(at(0.0)),
            command: Some("automation run-tests-linux"),
            files: &[("results.json", "the results, for programs")],
            is_beside: true,
        }
    }

    /// What a hostile machine sends wherever it can.
    const HOSTILE: &str = "</pre></title><script>alert(1)</script><img src=x onerror='alert(2)'>\" onload=\"x\u{1b}]0;\u{7}\u{202e}{{ id }}";

    /// Results in which every text of a machine or a test is hostile.
    fn hostile(count: usize) -> Results {
        let text = || Some(HOSTILE.repeat(40));
        let tests = (0..count).map(|number| TestResult {
            reason: Some(format!("{number} {}", HOSTILE.repeat(40))),
            detail: Some(format!("-{HOSTILE}\n+{HOSTILE}\n").repeat(500)),
            output: text(),
            output_file: text(),
            ..ran(
                &format!("{HOSTILE} {number}"),
                "hg-a",
                number as f64,
                1.5,
                match number % 4 {
                    0 => TestOutcome::Failed,
                    1 => TestOutcome::Skipped,
                    2 => TestOutcome::Lost,
                    _ => TestOutcome::Passed,
                },
            )
        });
        let mut run = results(tests.collect());
        run.tests.iter_mut().filter(|test| test.outcome == TestOutcome::Passed).for_each(|test| {
            let (attempt, reason) = (test.attempt.clone().unwrap(), text());
            test.others = vec![OtherAttempt {
                attempt,
                outcome: TestOutcome::Failed,
                took: None,
                reason,
                began_at: test.began_at,
            }];
        });
        let mut other = machine("hg-a", 0.0, 1.0, 2.0, count as f64);
        other.lost = text();
        run.machines = vec![other; 300];
        run.cells = vec![run.cells[0].clone(); 300];
        run.cells[0].distro = text();
        (run.gap, run.last_output, run.image, run.source) = (text(), text(), HOSTILE.repeat(40), HOSTILE.repeat(40));
        run.caveats = vec![HOSTILE.repeat(40); 300];
        let subject = &mut run.subject;
        (subject.version, subject.distro, subject.python, subject.filesystem) = (text(), text(), text(), text());
        subject.flags = vec![HOSTILE.into(); 300];
        run
    }

    /// The same with a matrix, whose values somebody chose as badly.
    fn hostile_cells(count: usize) -> Results {
        let mut run = hostile(count);
        for (number, cell) in run.cells.iter_mut().enumerate() {
            let value = format!("{number} {}", HOSTILE.repeat(40));
            cell.point.0 = vec![model::matrix::Coordinate { axis: HOSTILE.into(), value }];
            cell.why = Some(HOSTILE.repeat(40));
            cell.verdict = model::outcome::Verdict::Incomplete;
            cell.machines = vec!["hg-a".parse().unwrap()];
        }
        let names: Vec<_> = run.cells.iter().map(|cell| cell.point.name()).collect();
        run.tests.iter_mut().enumerate().for_each(|(at, test)| test.cell.clone_from(&names[at % names.len()]));
        run
    }

    #[test]
    fn nothing_that_a_machine_sends_becomes_a_part_of_the_page() {
        for (now, mut before) in [(hostile(40), hostile(30)), (hostile_cells(40), hostile_cells(30))] {
            before.tests.iter_mut().for_each(|test| test.outcome = TestOutcome::Passed);
            before.image.clear();
            let text = render(&page(&now, Some(&before))).unwrap();
            for part in ["<script", "<img", "\" onload", "' alert", "\u{1b}", "\u{7}", "\u{202e}"] {
                assert!(!text.contains(part), "{part:?}");
            }
            assert!(text.contains("&#60;script&#62;") && text.contains("\\u{1b}]0;\\u{7}"));
        }
    }

    #[test]
    fn the_page_stays_below_its_limit_whatever_the_results_hold() {
        for (now, mut before) in [(hostile(10_000), hostile(9_000)), (hostile_cells(10_000), hostile_cells(9_000))] {
            before.tests.iter_mut().for_each(|test| test.outcome = TestOutcome::Passed);
            let text = render(&page(&now, Some(&before))).unwrap();
            let parts: Vec<_> = text.split("<section").map(|part| format!("{:.30} {}", part, part.len())).collect();
            assert!(text.len() < LIMIT, "{} of {parts:#?}", text.len());
            assert!(text.contains("more failures are not shown") && text.contains("more tests are not shown"));
        }
    }

    #[test]
    fn every_test_stands_with_its_cell_and_no_part_of_the_page_has_the_name_of_another() {
        let failed = || {
            let failed = |name| TestResult {
                detail: Some("-1\n+2\n".into()),
                ..ran(name, "hg-a", 11.0, 2.0, TestOutcome::Failed)
            };
            vec![failed("a"), failed("b")]
        };
        let mut run = in_cells(&[("default", failed()), ("tmpfs", failed()), ("ext4", vec![])]);
        run.machines = vec![machine("hg-cell1", 0.0, 4.0, 10.0, 25.0), machine("hg-cell0", 1.0, 4.0, 10.0, 25.0)];
        run.cells[2].why = Some("no machine <was> free".into());
        let text = render(&page(&run, Some(&run))).unwrap();
        let ids: Vec<&str> = text.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let distinct: std::collections::BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
        for part in [
            "<th scope=\"row\">ext4<td><span class=\"badge lost\">",
            "<bdi class=\"why\">no machine &#60;was&#62; free</bdi>",
            "<bdi class=\"name\">a</bdi> <em>tmpfs</em>",
            "title=\"b [default], failed, 2.0s\"",
            "<span class=\"id\">hg-cell1</span> <em>tmpfs</em>",
            "Timeline of hg-cell0 in the cell default: ",
            "<tr class=\"failed k0\">",
            "<td>a <em>default</em><td>",
            "<label><input type=\"radio\" name=\"cell\" value=\"k2\"> ext4</label>",
            ".all:has([value=k2]:checked) tbody tr:not(.k2){display:none}",
            "<dt>Cells</dt><dd>3</dd>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let lanes: Vec<_> = ["hg-cell0</span> <em>", "hg-cell1</span> <em>"].map(|lane| text.find(lane)).to_vec();
        assert!(lanes.is_sorted(), "machines of a cell stay together");
        let plain = render(&page(&results(vec![test("a", TestOutcome::Passed, None)]), None)).unwrap();
        assert!(plain.contains("<tr class=passed>") && !plain.contains("<em>") && !plain.contains("name=\"cell\""));
    }

    #[test]
    fn the_page_asks_nothing_of_a_network_and_runs_nothing() {
        let text = render(&page(&hostile(8), None)).unwrap();
        for part in ["http:", "https:", "//", "<link", "@import", "url(", "javascript:"] {
            let found = text.find(part).map(|at| text[at.saturating_sub(40)..].chars().take(90).collect::<String>());
            assert_eq!(found, None, "{part}");
        }
    }

    #[test]
    fn results_of_a_build_that_noted_neither_machines_nor_times_have_a_page() {
        let mut old = results(vec![test("a", TestOutcome::Failed, Some("output changed"))]);
        (old.cells, old.machines, old.subject) = (Vec::new(), Vec::new(), Default::default());
        old.tests[0].attempt = None;
        let text = render(&page(&old, None)).unwrap();
        assert!(text.contains("did not note what its machines did") && text.contains("No output was kept"), "{text}");
        let empty = results(Vec::new());
        let text = render(&page(&empty, None)).unwrap();
        assert!(text.contains("Incomplete") && text.contains("no test ran"), "{text}");
    }

    #[test]
    fn files_are_links_where_the_page_lies_beside_them() {
        let mut run = results(vec![test("a", TestOutcome::Failed, None)]);
        run.tests[0].output_file = Some("outputs/a#1.err".into());
        let beside = render(&page(&run, None)).unwrap();
        for link in ["<a href=\"./results.json\">", "<a href=\"./outputs/a%231.err\">"] {
            assert!(beside.contains(link), "{link}");
        }
        let elsewhere = render(&Page { is_beside: false, ..page(&run, None) }).unwrap();
        assert!(!elsewhere.contains("href=\"./") && elsewhere.contains("<code>results.json</code>"));
    }
}
