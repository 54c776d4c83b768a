//! The outline of a run's results: what a list of runs says of each, without its tests.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::outcome::{Cell, Counts, TimeSplit, Verdict};
use crate::subject::TestSubject;

/// The results of a run without its tests. Reading it keeps no more than this in memory, however many tests there were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers of tests by outcome.
    pub counts: Counts,
    /// How the time was spent.
    pub time: TimeSplit,
    /// The tested source, in words that name its origin.
    pub source: String,
    /// The tested software and the environment, a field each.
    #[serde(flatten)]
    pub subject: TestSubject,
    /// The points of the tested matrix; empty in results of older builds of the tool.
    #[serde(default)]
    pub cells: Vec<Cell>,
    /// They are passed over. Without this field they would be read as a part of the flattened one.
    #[serde(default, skip_serializing)]
    tests: IgnoredAny,
}
