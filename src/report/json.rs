//! `results.json`: the results of a run, for programs. Fields are only ever added.

use std::path::Path;

use crate::model::fault::Fault;
use crate::model::outcome::Results;

/// The content of `results.json`: indented, times in seconds with three digits, a line end at the end. The same results
/// give the same bytes.
pub fn render(results: &Results) -> Result<String, Fault> {
    let mut results = results.clone();
    let time = &mut results.time;
    for seconds in [&mut time.total, &mut time.image, &mut time.setup, &mut time.push, &mut time.build, &mut time.tests]
    {
        *seconds = milliseconds(*seconds);
    }
    for test in &mut results.tests {
        test.seconds = test.seconds.map(milliseconds);
    }
    let text = serde_json::to_string_pretty(&results);
    text.map(|text| text + "\n")
        .map_err(|error| Fault::infrastructure("cannot write the results as JSON").because(error))
}

/// Reads what [`render`] wrote; fields that are not known are passed over. `path` is for the message.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Results, Fault> {
    serde_json::from_slice(bytes).map_err(|error| {
        Fault::outside(format!("`{}` holds no results that this build can read", path.display()))
            .because(error)
            .hint("It was changed or written by a newer build; the output of the run is in `output.log` beside it.")
    })
}

/// Rounded to milliseconds; JSON has no infinities, and no time is endless or negative.
fn milliseconds(seconds: f64) -> f64 {
    if seconds.is_finite() && seconds > 0.0 { (seconds * 1000.0).round() / 1000.0 } else { 0.0 }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::exit::Exit;
    use crate::model::outcome::{Evidence, TestOutcome, TestResult, TimeSplit, count, verdict};
    use crate::model::subject::Subject;

    pub(in crate::report) fn test(name: &str, outcome: TestOutcome, reason: Option<&str>) -> TestResult {
        let ran = matches!(outcome, TestOutcome::Passed | TestOutcome::Failed);
        TestResult {
            name: name.into(),
            outcome,
            seconds: ran.then_some(1.234_567),
            reason: reason.map(str::to_owned),
            detail: None,
        }
    }

    pub(in crate::report) fn results(tests: Vec<TestResult>) -> Results {
        let runner = Exit::Code(u32::from(tests.iter().any(|test| test.outcome == TestOutcome::Failed)));
        Results {
            id: "20261120-105301-abcdef".parse().unwrap(),
            verdict: verdict(&tests, &Evidence { runner: &runner, gap: None, may_all_skip: false }),
            counts: count(&tests),
            time: TimeSplit { total: 10.0, image: 0.0, setup: 2.0, push: 0.0, build: 0.0, tests: 7.5 },
            image: "linux-dev-debian12 (0123456789ab)".into(),
            source: "the image's own source 6.3.2 (a1b2c3d4e5f6)".into(),
            built: None,
            subject: Subject {
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
            said: None,
            tests,
        }
    }

    #[test]
    fn results_read_back_and_look_like_this() {
        let results = results(vec![
            test("test-add.t", TestOutcome::Passed, None),
            test("test-x.t", TestOutcome::Skipped, Some("missing feature: \u{1b}x")),
        ]);
        let text = render(&results).unwrap();
        insta::assert_snapshot!(text, @r#"
        {
          "id": "20261120-105301-abcdef",
          "verdict": "passed",
          "counts": {
            "total": 2,
            "passed": 1,
            "failed": 0,
            "skipped": 1,
            "lost": 0,
            "not_run": 0
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
          "tests": [
            {
              "name": "test-add.t",
              "outcome": "passed",
              "seconds": 1.235,
              "reason": null,
              "detail": null
            },
            {
              "name": "test-x.t",
              "outcome": "skipped",
              "seconds": null,
              "reason": "missing feature: \u001bx",
              "detail": null
            }
          ]
        }
        "#);
        let back = parse(text.as_bytes(), Path::new("results.json")).unwrap();
        assert_eq!(render(&back).unwrap(), text);
        assert_eq!((back.counts, back.verdict), (results.counts, results.verdict));
    }

    #[test]
    fn a_time_that_is_no_number_does_not_spoil_the_file() {
        let mut results = results(vec![test("a", TestOutcome::Passed, None)]);
        results.time.total = f64::NAN;
        results.tests[0].seconds = Some(f64::INFINITY);
        let back = parse(render(&results).unwrap().as_bytes(), Path::new("x")).unwrap();
        assert_eq!((back.time.total, back.tests[0].seconds), (0.0, Some(0.0)));
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
        assert_eq!((read.subject, read.gap), (Subject::default(), None));
    }

    #[test]
    fn unknown_fields_are_passed_over_and_damage_is_named() {
        let text = render(&results(vec![])).unwrap().replacen('{', "{\"new_field\": [1],", 1);
        parse(text.as_bytes(), Path::new("x")).unwrap();
        let error = parse(&text.as_bytes()[..40], Path::new("/r/results.json")).unwrap_err();
        assert_eq!(error.message, "`/r/results.json` holds no results that this build can read");
    }
}
