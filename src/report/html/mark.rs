//! The sign of an outcome: a colour, a symbol and a word, which always stand together.

use model::outcome::{TestOutcome, TestResult, Verdict};

/// A sign. Its class names the colour in the style sheet and the symbol in the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) class: &'static str,
    pub(super) word: &'static str,
}

impl Mark {
    /// The sign of a test that passed in one try and failed in another.
    pub(super) const FLAKY: Self = Self { class: "flaky", word: "flaky" };

    pub(super) fn of(outcome: TestOutcome) -> Self {
        let class = match outcome {
            TestOutcome::Passed => "passed",
            TestOutcome::Failed => "failed",
            TestOutcome::TimedOut => "timed",
            TestOutcome::Skipped => "skipped",
            TestOutcome::Lost => "lost",
            TestOutcome::NotRun => "notrun",
        };
        Self { class, word: outcome.words() }
    }

    /// The sign of a test: that it is flaky says more than that it passed in the end.
    pub(super) fn of_test(test: &TestResult) -> Self {
        if test.is_flaky() { Self::FLAKY } else { Self::of(test.outcome) }
    }

    pub(super) fn of_verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self { class: "passed", word: "Passed" },
            Verdict::Failed => Self { class: "failed", word: "Failed" },
            Verdict::Incomplete => Self { class: "lost", word: "Incomplete" },
            Verdict::NotRun => Self { class: "notrun", word: "Not run" },
        }
    }
}
