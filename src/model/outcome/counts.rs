//! How many tests came to what.

use serde::{Deserialize, Serialize};

/// The numbers of tests by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All tests.
    pub total: usize,
    /// Tests that ran and passed.
    pub passed: usize,
    /// Tests that ran and failed, or ran out of their own time.
    pub failed: usize,
    /// Failed tests that ran out of their own time.
    #[serde(default)]
    pub timed_out: usize,
    /// Tests that were not run, for a reason that the runner names.
    pub skipped: usize,
    /// Tests that were expected, and about which nothing was reported.
    pub lost: usize,
    /// Tests that were expected, and not begun because the software under test was not built.
    #[serde(default)]
    pub not_run: usize,
    /// Tests that passed in one try and failed in another; each of them also counts as what it came to.
    #[serde(default)]
    pub flaky: usize,
    /// Failed tests whose failure does not count, because they are muted.
    #[serde(default)]
    pub muted: usize,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            timed_out: self.timed_out + other.timed_out,
            skipped: self.skipped + other.skipped,
            lost: self.lost + other.lost,
            not_run: self.not_run + other.not_run,
            flaky: self.flaky + other.flaky,
            muted: self.muted + other.muted,
        }
    }
}

impl Counts {
    /// The number of failed tests that make a run fail.
    pub fn unmuted(&self) -> usize {
        self.failed.saturating_sub(self.muted)
    }
}
