//! `results.json`: the results of a run, for programs. Fields are only ever added.

use std::path::Path;
use std::time::Duration;

use model::fault::Fault;
use model::outcome::Results;
use model::outline::Outline;

/// The content of `results.json`: indented, with times in seconds with three decimals, and a line end at the end. The
/// same results give the same bytes.
pub fn render(results: &Results) -> Result<String, Fault> {
    let mut results = results.clone();
    let time = &mut results.time;
    for span in [&mut time.total, &mut time.image, &mut time.setup, &mut time.push, &mut time.build, &mut time.tests] {
        *span = milliseconds(*span);
    }
    for test in &mut results.tests {
        test.took = test.took.map(milliseconds);
    }
    let text = serde_json::to_string_pretty(&results);
    text.map(|text| text + "\n")
        .map_err(|error| Fault::infrastructure("cannot write the results as JSON").because(error))
}

/// Reads what [`render`] wrote; unknown fields are ignored. `path` is for the error message.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Results, Fault> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(path, error))
}

/// Reads of what [`render`] wrote only what a list of runs says of it; the tests are passed over.
pub fn parse_outline(bytes: &[u8], path: &Path) -> Result<Outline, Fault> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: serde_json::Error) -> Fault {
    Fault::outside(format!("`{}` holds no results that this build can read", path.display()))
        .because(error)
        .hint("It was changed or written by a newer build; the output of the run is in `output.log` beside it.")
}

/// The span rounded to milliseconds.
fn milliseconds(span: Duration) -> Duration {
    let half = Duration::from_micros(500);
    let up = span.saturating_add(half);
    Duration::new(up.as_secs(), up.subsec_millis() * 1_000_000)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use model::base::id::MachineId;
    use model::exit::Exit;
    use model::matrix::{Coordinate, Point};
    use model::outcome::{Attempt, Cell, Evidence, TestOutcome, TestResult, TimeSplit, count, verdict};
    use model::subject::TestSubject;

    pub(crate) fn test(name: &str, outcome: TestOutcome, reason: Option<&str>) -> TestResult {
        let ran = outcome == TestOutcome::Passed || outcome.is_failure();
        let took = ran.then_some(Duration::from_micros(1_234_567));
        let attempt = Attempt { machine: "hg-4x2k9q0d7m".parse().unwrap(), number: 1 };
        TestResult { attempt: Some(attempt), ..TestResult::of(name.into(), outcome, took, reason.map(str::to_owned)) }
    }

    pub(crate) fn results(tests: Vec<TestResult>) -> Results {
        let runner = Exit::Code(u32::from(tests.iter().any(|test| test.outcome.is_failure())));
        let verdict = verdict(&tests, &Evidence { runner: &runner, gap: None, may_all_skip: false });
        let cell = Cell {
            point: Default::default(),
            why: None,
            image: "linux-dev-debian12 (0123456789ab)".into(),
            distro: Some("debian12".into()),
            python: Some("3.11.2".into()),
            filesystem: Some("default".into()),
            machines: vec!["hg-4x2k9q0d7m".parse().unwrap()],
            verdict,
            counts: count(&tests),
        };
        Results {
            id: "20261120-105301-abcdef".parse().unwrap(),
            verdict,
            counts: count(&tests),
            time: TimeSplit {
                total: Duration::from_secs(10),
                setup: Duration::from_secs(2),
                tests: Duration::from_millis(7500),
                ..TimeSplit::default()
            },
            image: "linux-dev-debian12 (0123456789ab)".into(),
            source: "the image's own source 6.3.2 (a1b2c3d4e5f6)".into(),
            built: None,
            subject: TestSubject {
                program: "hg".into(),
                version: Some("6.3.2".into()),
                revision: Some("a1b2c3d4e5f60718".into()),
                working_copy: false,
                distro: Some("debian12".into()),
                python: Some("3.11.2".into()),
                filesystem: Some("default".into()),
                flags: Vec::new(),
            },
            caveats: Vec::new(),
            gap: None,
            cost: Some(0.25),
            artifacts: None,
            runner,
            last_output: None,
            cells: vec![cell],
            machines: Vec::new(),
            tests,
        }
    }

    /// Results of a run whose matrix has one axis with these values; each has its own tests and machine.
    pub(crate) fn in_cells(cells: &[(&str, Vec<TestResult>)]) -> Results {
        let mut all = results(Vec::new());
        all.cells.clear();
        for (number, (value, tests)) in cells.iter().enumerate() {
            let of_cell = results(tests.clone());
            let coordinate = Coordinate { axis: "filesystem".into(), value: (*value).to_owned() };
            let cell = of_cell.cells.into_iter().next().unwrap();
            let machine: MachineId = format!("hg-cell{number}").parse().unwrap();
            all.cells.push(Cell {
                point: Point(vec![coordinate]),
                filesystem: Some((*value).to_owned()),
                machines: vec![machine.clone()],
                ..cell
            });
            all.tests.extend(of_cell.tests.into_iter().map(|test| TestResult {
                cell: Some((*value).to_owned()),
                attempt: test.attempt.map(|attempt| Attempt { machine: machine.clone(), ..attempt }),
                ..test
            }));
        }
        all.subject.filesystem = None;
        all.counts = count(&all.tests);
        let worst = all.cells.iter().map(|cell| cell.verdict).max_by_key(|verdict| verdict.rank());
        Results { verdict: worst.unwrap(), ..all }
    }

    #[test]
    fn a_cell_looks_like_this_and_is_read_back() {
        let results = results(vec![test("test-add.t", TestOutcome::TimedOut, None)]);
        let cell = serde_json::to_string(&results.cells[0]).unwrap();
        insta::assert_snapshot!(cell, @r#"{"point":[],"image":"linux-dev-debian12 (0123456789ab)","distro":"debian12","python":"3.11.2","filesystem":"default","machines":["hg-4x2k9q0d7m"],"verdict":"failed","counts":{"total":1,"passed":0,"failed":1,"timed_out":1,"skipped":0,"lost":0,"not_run":0,"flaky":0,"muted":0}}"#);
        let back = parse(render(&results).unwrap().as_bytes(), Path::new("results.json")).unwrap();
        assert_eq!(back.cells, results.cells);
    }

    #[test]
    fn a_cell_of_a_matrix_says_what_was_chosen_and_its_tests_name_it() {
        let mut results =
            in_cells(&[("default", vec![]), ("tmpfs", vec![test("test-a.t", TestOutcome::Passed, None)])]);
        results.cells[0].why = Some("no machine".into());
        let value: serde_json::Value = serde_json::from_str(&render(&results).unwrap()).unwrap();
        let cell = &value["cells"][0];
        let point = serde_json::json!([{"axis": "filesystem", "value": "default"}]);
        assert_eq!(
            (&cell["point"], &cell["why"], &value["cells"][1]["why"]),
            (&point, &"no machine".into(), &serde_json::Value::Null)
        );
        assert_eq!(value["tests"][0]["cell"], "tmpfs");
        assert_eq!(parse(value.to_string().as_bytes(), Path::new("x")).unwrap().cells, results.cells);
    }

    fn without_cells() -> Results {
        let skipped = test("test-x.t", TestOutcome::Skipped, Some("missing feature: \u{1b}x"));
        let results = results(vec![test("test-add.t", TestOutcome::Passed, None), skipped]);
        Results { cells: Vec::new(), ..results }
    }

    #[test]
    fn results_read_back_and_look_like_this() {
        let results = without_cells();
        let text = render(&results).unwrap();
        insta::assert_snapshot!(text, @r#"
        {
          "id": "20261120-105301-abcdef",
          "verdict": "passed",
          "counts": {
            "total": 2,
            "passed": 1,
            "failed": 0,
            "timed_out": 0,
            "skipped": 1,
            "lost": 0,
            "not_run": 0,
            "flaky": 0,
            "muted": 0
          },
          "time": {
            "total": 10.0,
            "image": 0.0,
            "setup": 2.0,
            "push": 0.0,
            "build": 0.0,
            "tests": 7.5
          },
          "image": "linux-dev-debian12 (0123456789ab)",
          "source": "the image's own source 6.3.2 (a1b2c3d4e5f6)",
          "program": "hg",
          "version": "6.3.2",
          "revision": "a1b2c3d4e5f60718",
          "working_copy": false,
          "distro": "debian12",
          "python": "3.11.2",
          "filesystem": "default",
          "flags": [],
          "caveats": [],
          "gap": null,
          "cost": 0.25,
          "runner": {
            "kind": "code",
            "value": 0
          },
          "cells": [],
          "machines": [],
          "tests": [
            {
              "name": "test-add.t",
              "outcome": "passed",
              "seconds": 1.235,
              "reason": null,
              "detail": null,
              "machine": "hg-4x2k9q0d7m",
              "attempt": 1
            },
            {
              "name": "test-x.t",
              "outcome": "skipped",
              "seconds": null,
              "reason": "missing feature: \u001bx",
              "detail": null,
              "machine": "hg-4x2k9q0d7m",
              "attempt": 1
            }
          ]
        }
        "#);
        let back = parse(text.as_bytes(), Path::new("results.json")).unwrap();
        assert_eq!(render(&back).unwrap(), text);
        assert_eq!((back.counts, back.verdict), (results.counts, results.verdict));
    }

    /// Results as older builds of the tool wrote them, which did not know attempts and cells.
    const OLD: &str = r#"{"id": "20261120-105301-abcdef", "verdict": "failed",
        "counts": {"total": 2, "passed": 0, "failed": 1, "skipped": 1, "lost": 0, "not_run": 0},
        "time": {"total": 10.5, "image": 0.0, "setup": 2.0, "push": 0.0, "build": 0.0, "tests": 7.5},
        "image": "linux-dev-debian12 (0123456789ab)", "source": "the image's own source", "built": "image",
        "program": "hg", "version": null, "revision": null, "working_copy": false, "distro": "debian12", "python": "3.11.2",
        "filesystem": "default", "flags": [], "caveats": [], "gap": null, "cost": null,
        "runner": {"kind": "code", "value": 1}, "tests": [
        {"name": "test-a.t", "outcome": "failed", "seconds": 1.235, "reason": "timed out", "detail": null},
        {"name": "test-b.t", "outcome": "skipped", "seconds": null, "reason": "no svn", "detail": null}]}"#;

    #[test]
    fn results_of_builds_that_knew_of_no_attempts_and_no_cells_are_still_read() {
        let read = parse(OLD.as_bytes(), Path::new("x")).unwrap();
        assert_eq!(
            (read.time.total, read.tests[0].took),
            (Duration::from_millis(10_500), Some(Duration::from_millis(1235)))
        );
        assert_eq!((read.cells.len(), &read.tests[0].attempt, read.counts.timed_out), (0, &None, 0));
        let again = render(&read).unwrap();
        assert!(!again.contains("attempt") && again.contains("\"seconds\": 1.235"), "{again}");
    }

    #[test]
    fn results_of_builds_that_named_no_subject_are_still_read() {
        let mut old: serde_json::Value = serde_json::from_str(&render(&results(vec![])).unwrap()).unwrap();
        let new = [
            "program",
            "version",
            "revision",
            "working_copy",
            "distro",
            "python",
            "filesystem",
            "flags",
            "caveats",
            "gap",
        ];
        for field in new {
            assert!(old.as_object_mut().unwrap().remove(field).is_some(), "{field}");
        }
        let read = parse(old.to_string().as_bytes(), Path::new("x")).unwrap();
        assert_eq!((read.subject, read.gap), (TestSubject::default(), None));
    }

    #[test]
    fn an_outline_says_the_same_without_the_tests() {
        let results = results(vec![test("test-add.t", TestOutcome::TimedOut, None)]);
        let text = render(&results).unwrap();
        let outline = parse_outline(text.as_bytes(), Path::new("x")).unwrap();
        assert_eq!((outline.verdict, outline.counts, &outline.time), (results.verdict, results.counts, &results.time));
        assert_eq!((&outline.subject, &outline.cells), (&results.subject, &results.cells));
        let shown = serde_json::to_value(&outline).unwrap();
        assert_eq!((&shown["revision"], shown.get("tests")), (&"a1b2c3d4e5f60718".into(), None), "{shown}");
        parse_outline(OLD.as_bytes(), Path::new("x")).unwrap();
        let error = parse_outline(&text.as_bytes()[..text.len() - 3], Path::new("/r/results.json")).unwrap_err();
        assert_eq!(error.message, "`/r/results.json` holds no results that this build can read");
    }

    #[test]
    fn unknown_fields_are_passed_over_and_damage_is_named() {
        let text = render(&results(vec![])).unwrap().replacen('{', "{\"new_field\": [1],", 1);
        parse(text.as_bytes(), Path::new("x")).unwrap();
        let error = parse(&text.as_bytes()[..40], Path::new("/r/results.json")).unwrap_err();
        assert_eq!(error.message, "`/r/results.json` holds no results that this build can read");
    }
}
