//! What one test came to in run after run.

use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::{RunId, TestName};
use model::mute::Muted;
use model::outcome::{Attempt, OtherAttempt, Results, TestOutcome};
use model::run::RunRecord;
use serde::Serialize;

use crate::kept::{Places, Surroundings};

/// What a test came to in one run, in one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastResult {
    /// The run.
    pub id: RunId,
    /// When it began.
    pub started_at: Timestamp,
    /// The test.
    pub test: TestName,
    /// Its outcome.
    pub outcome: TestOutcome,
    /// How long it ran; none when it did not run. `seconds` in JSON.
    #[serde(rename = "seconds", with = "clock::optional_seconds")]
    pub took: Option<Duration>,
    /// Why it was skipped, failed or lost.
    pub reason: Option<String>,
    /// The tested software: as `software` of its subject says, else the source in words.
    pub source: String,
    /// The name of its cell, where the run has a matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Where it ran.
    #[serde(flatten)]
    pub surroundings: Surroundings,
    /// The machine, and which try counts.
    #[serde(flatten)]
    pub attempt: Option<Attempt>,
    /// The other tries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherAttempt>,
    /// Whether it passed in one try and failed in another.
    pub flaky: bool,
    /// Why a failure did not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted: Option<Muted>,
}

/// The results of the test that is called `name` in a run: none where it had no such test, several where it ran in several
/// places.
pub fn of_run(record: &RunRecord, results: &Results, name: &str) -> Vec<PastResult> {
    let places = Places::of(results);
    let found = results.tests.iter().filter(|test| test.name.as_str() == name);
    let past = found.map(|test| PastResult {
        id: record.id.clone(),
        started_at: record.started_at,
        test: test.name.clone(),
        outcome: test.outcome,
        took: test.took,
        reason: test.reason.clone(),
        source: results.subject.software().unwrap_or_else(|| results.source.clone()),
        cell: test.cell.clone(),
        surroundings: places.surroundings(test),
        attempt: test.attempt.clone(),
        others: test.others.clone(),
        flaky: test.is_flaky(),
        muted: test.muted.clone(),
    });
    past.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::tests::{record, run, tried};

    #[test]
    fn a_run_says_what_a_test_came_to_and_where() {
        let results = run(&[tried("a", &[TestOutcome::Failed, TestOutcome::Passed]), tried("b", &[TestOutcome::Lost])]);
        let [past] = of_run(&record(1), &results, "a").try_into().unwrap();
        assert_eq!((past.outcome, past.flaky, past.others.len()), (TestOutcome::Passed, true, 1));
        assert_eq!(
            (past.source.as_str(), past.surroundings.distro.as_deref()),
            ("hg 6.3.2 a1b2c3d4e5f6", Some("debian12"))
        );
        let shown = serde_json::to_value(&past).unwrap();
        assert_eq!(
            (&shown["id"], &shown["machine"], &shown["attempt"]),
            (&"r-1".into(), &"hg-4x2k9q0d7m".into(), &2.into())
        );
        assert_eq!(of_run(&record(1), &results, "c"), []);
    }
}
