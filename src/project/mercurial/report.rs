//! Reading what `remote/linux/run_tests_events.py` wrote: a JSON object a line, complete up to the moment of a loss.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::model::outcome::{TestOutcome, TestResult};
use crate::model::suite::Reported;

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Expected { tests: Vec<String> },
    Start { test: String },
    Finish { test: String, outcome: Outcome, seconds: Option<f64>, reason: Option<String> },
    End,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Passed,
    Failed,
    Errored,
    Skipped,
    Ignored,
    Interrupted,
}

impl Outcome {
    fn into_test(self) -> TestOutcome {
        match self {
            Self::Passed => TestOutcome::Passed,
            // A test that the runner could not run is not a test that passed.
            Self::Failed | Self::Errored => TestOutcome::Failed,
            Self::Skipped | Self::Ignored => TestOutcome::Skipped,
            Self::Interrupted => TestOutcome::Lost,
        }
    }
}

/// Reads a report; a line that breaks off, or that is none of ours, is passed over: what it would have said stays
/// unknown, and so lost.
pub fn read(report: &[u8]) -> Reported {
    let mut reported = Reported::default();
    let mut started = BTreeSet::new();
    for line in report.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Expected { tests }) => reported.expected = tests,
            // The runner also says "passed" of a test that it was only asked to list.
            Ok(Line::Finish { test, outcome: Outcome::Passed | Outcome::Failed, .. }) if !started.contains(&test) => {}
            Ok(Line::Finish { test, outcome, seconds, reason }) => {
                let interrupted = matches!(outcome, Outcome::Interrupted).then(|| "interrupted".to_owned());
                reported.tests.push(TestResult {
                    name: test,
                    outcome: outcome.into_test(),
                    seconds,
                    reason: reason.or(interrupted),
                    detail: None,
                });
            }
            Ok(Line::End) => reported.complete = true,
            Ok(Line::Start { test }) => drop(started.insert(test)),
            Err(_) => {}
        }
    }
    reported.began = !started.is_empty();
    reported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_breaks_off_keeps_what_it_said() {
        let report = br#"{"event": "expected", "tests": ["test-a.t", "test-b.t"]}
{"event": "start", "test": "test-a.t"}
{"event": "finish", "test": "test-a.t", "outcome": "skipped", "seconds": 0.5, "reason": "missing feature: x"}
{"event": "start", "test": "test-b.t"}
{"event": "finish", "test": "test-b.t", "outc"#;
        let reported = read(report);
        assert_eq!(reported.expected, ["test-a.t", "test-b.t"]);
        assert_eq!(reported.tests.len(), 1);
        assert_eq!(reported.tests[0].outcome, TestOutcome::Skipped);
        assert_eq!(reported.tests[0].reason.as_deref(), Some("missing feature: x"));
        assert!(reported.began && !reported.complete);
    }

    #[test]
    fn a_test_that_never_started_did_not_pass() {
        let report = br#"{"event": "finish", "test": "t", "outcome": "passed", "seconds": 0, "reason": null}
{"event": "finish", "test": "u", "outcome": "skipped", "seconds": 0, "reason": "blacklisted"}
{"event": "end"}"#;
        let Reported { tests, began, .. } = read(report);
        assert!(!began);
        assert_eq!(tests.iter().map(|test| test.name.as_str()).collect::<Vec<_>>(), ["u"]);
    }

    #[test]
    fn an_unknown_outcome_is_no_outcome() {
        let report = br#"{"event": "finish", "test": "t", "outcome": "splendid", "seconds": 1, "reason": null}
{"event": "end"}"#;
        let reported = read(report);
        assert!(reported.tests.is_empty() && reported.complete);
    }
}
