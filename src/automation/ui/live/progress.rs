//! How far a run is, for those who ask once.

use jiff::Timestamp;
use model::base::id::{MachineId, TestName};
use model::base::text;
use model::outcome::Counts;
use serde::Serialize;

use super::LiveView;

/// The tests of a run that goes on, so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// How many tests have ended.
    pub done: usize,
    /// What they came to, and how many there are in all, as far as that is known.
    #[serde(flatten)]
    pub counts: Counts,
    /// Those that run, by machine, the oldest first.
    pub running: Vec<RunningNow>,
}

/// A test that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunningNow {
    /// The test.
    pub test: TestName,
    /// Its cell, where the run has a matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// The machine that it runs on.
    pub machine: Option<MachineId>,
    /// When it began.
    pub since: Timestamp,
}

impl LiveView {
    /// The tests so far; none where tests have not begun.
    pub fn progress(&self) -> Option<Progress> {
        let running = self.lanes.iter().flat_map(|lane| {
            let now = |test: &super::lane::RunningTest| RunningNow {
                test: test.name.clone(),
                cell: lane.cell.clone(),
                machine: lane.machine().cloned(),
                since: test.since,
            };
            lane.running.iter().map(now)
        });
        let has_begun = self.tally.is_open() || self.tally.done() > 0;
        has_begun.then(|| Progress { done: self.tally.done(), counts: self.counts(), running: running.collect() })
    }
}

impl Progress {
    /// In words: `412 of 983 tests: 396 passed, 3 failed, 13 skipped`.
    pub fn words(&self) -> String {
        let counts = &self.counts;
        let of = [
            (counts.passed, "passed"),
            (counts.failed, "failed"),
            (counts.skipped, "skipped"),
            (counts.lost, "lost"),
            (counts.flaky, "flaky"),
        ];
        let parts: Vec<String> =
            of.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        let tests = format!("{} of {}", self.done, text::pluralize(counts.total, "test"));
        if parts.is_empty() { tests } else { format!("{tests}: {}", parts.join(", ")) }
    }
}
