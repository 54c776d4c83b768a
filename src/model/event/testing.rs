//! Events about tests, their source and its build.

use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::id::{RunId, TestName};
use crate::base::{clock, text};
use crate::event::words::Words;
use crate::failure::Failure;
use crate::outcome::{Counts, TestOutcome, TestResult, Verdict};

/// Something happened to the tests of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TestsEvent {
    /// Nobody named the distribution, and this one was chosen.
    DistroChosen {
        /// The distribution.
        distro: String,
        /// The source that is to be built on it.
        of: String,
        /// Why the distributions before it were not chosen, a phrase each.
        passed_over: Vec<String>,
    },
    /// Tests of an earlier run are run again, and another revision is checked out now.
    OtherSource {
        /// The earlier run.
        run: RunId,
        /// The revision that it tested.
        before: String,
        /// The revision that is tested now.
        now: String,
    },
    /// Uncommitted changes were to be tested, and there are none.
    NothingUncommitted,
    /// There are uncommitted changes, and they are not sent.
    ChangesNotTested {
        /// How many files have such changes.
        files: usize,
    },
    /// An entry of the list of mutes has expired, and mutes nothing.
    MuteExpired {
        /// The test that it names, or a pattern.
        test: String,
        /// The last day on which it held.
        expires: Date,
        /// Why the test was muted.
        reason: String,
    },
    /// The source could not be sent; the run tries again.
    SendingAgain {
        /// Why.
        failure: Failure,
    },
    /// A build of an earlier run is used.
    BuildReused {
        /// The built source.
        what: String,
        /// Its size.
        bytes: u64,
        /// Why it fits although the tested source differs from the source that was built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        despite: Option<String>,
    },
    /// A build of an earlier run does not work, and is made anew.
    BuildUseless {
        /// The built source.
        what: String,
    },
    /// The runner builds by itself.
    RunnerBuilds {
        /// The source that it builds.
        what: String,
        /// Why, in the words of the script that builds.
        why: String,
    },
    /// A build could not be kept for the next run.
    BuildNotKept {
        /// The built source.
        what: String,
        /// Why.
        failure: Failure,
    },
    /// The tests of the whole run are known, whatever machines they go to.
    Selected {
        /// How many there are.
        tests: usize,
        /// How long they are foreseen to take from now on, by earlier runs; none where there are none.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "clock::optional_seconds")]
        foreseen: Option<Duration>,
    },
    /// All is ready for the tests on the machine that is the subject.
    Ready {
        /// The tested source, in words.
        source: String,
        /// How many tests are expected.
        expected: usize,
    },
    /// A test began on the machine that is the subject.
    TestBegan {
        /// The test.
        test: TestName,
    },
    /// A test came to an end on that machine. Others may follow for the same test.
    TestEnded {
        /// The test.
        test: TestName,
        /// What it came to.
        outcome: TestOutcome,
        /// How long it ran; null where that is not known.
        #[serde(default, with = "clock::optional_seconds")]
        took: Option<Duration>,
        /// Why it was skipped, failed or lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How its output differs from what was expected, where it failed: the first lines.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// The runner has ended on the machine that is the subject: no test of its part is at work there any more.
    PartEnded {
        /// The number of the part among those of the machine, from 1.
        part: u32,
    },
    /// The machine that is the subject gets no more tests: its runner began none too often, and another machine is there.
    MachineWithdrawn,
    /// The run was lost; the report is asked for once more.
    ReportAskedAgain,
    /// The run has a verdict.
    Judged {
        /// The verdict.
        verdict: Verdict,
        /// How many tests came to what.
        counts: Counts,
        /// The verdict and more for people, in lines.
        summary: String,
    },
    /// The software under test could not be built.
    NotBuilt {
        /// The command that shows the output of the build.
        look: String,
    },
    /// Not all requested artifacts were fetched.
    ArtifactsLack {
        /// The artifacts that lack, and the reason.
        failure: Failure,
    },
}

/// The most bytes of a difference that an event holds; the results have more of it.
const DETAIL_CAP: usize = 8 << 10;

impl TestsEvent {
    /// A test came to an end.
    pub fn ended(result: &TestResult) -> Self {
        Self::TestEnded {
            test: result.name.clone(),
            outcome: result.outcome,
            took: result.took,
            reason: result.reason.clone(),
            detail: result.detail.as_ref().map(|detail| text::cut(detail, DETAIL_CAP)),
        }
    }

    pub(super) fn words(&self) -> Words {
        match self {
            Self::DistroChosen { distro, of, passed_over } => Words::Notice(match passed_over.as_slice() {
                [] => format!("Distribution: {distro}"),
                why => format!("Distribution: {distro}, the first that can build {of} ({})", why.join("; ")),
            }),
            Self::OtherSource { run, before, now } => {
                let short = |node: &str| text::cut(node, 12);
                Words::Notice(format!("Run {run} tested {}; {} is checked out now", short(before), short(now)))
            }
            Self::NothingUncommitted => {
                Words::Notice("There are no uncommitted changes: the committed source is used".to_owned())
            }
            Self::ChangesNotTested { files } => Words::Notice(format!(
                "The uncommitted changes of {} are not sent; `--working-copy` sends them",
                text::pluralize(*files, "file")
            )),
            Self::MuteExpired { test, expires, reason } => {
                Words::Warning(format!("`{test}` is not muted any more: its entry expired on {expires} ({reason})"))
            }
            Self::SendingAgain { failure } => Words::Warning(format!("{}; trying again", failure.line())),
            Self::BuildReused { what, bytes, despite } => {
                let size = text::bytes(*bytes);
                let despite = despite.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
                Words::Notice(format!("The build of {what} that was kept is used again ({size}){despite}"))
            }
            Self::BuildUseless { what } => {
                Words::Warning(format!("the build of {what} that was kept does not work; it is built again"))
            }
            Self::RunnerBuilds { what, why } => {
                Words::Notice(format!("The test runner builds {what} in its own way: {why}"))
            }
            Self::BuildNotKept { what, failure } => {
                Words::Warning(format!("the build of {what} is not kept: {}", failure.line()))
            }
            Self::Ready { source, expected } => {
                Words::Notice(format!("Testing {source}: {} expected", text::pluralize(*expected, "test")))
            }
            Self::Selected { tests, foreseen } => {
                let foreseen =
                    foreseen.map(|span| format!(", about {} of work", text::seconds(span))).unwrap_or_default();
                Words::Notice(format!("{} for all machines{foreseen}", text::pluralize(*tests, "test")))
            }
            Self::TestBegan { test } => Words::Test(format!("{test} ...")),
            Self::TestEnded { test, outcome, took, reason, .. } => {
                let took = took.map(|took| format!(" ({})", text::seconds(took))).unwrap_or_default();
                let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                Words::Test(format!("{test} {}{took}{reason}", outcome.words()))
            }
            Self::PartEnded { part } => Words::Test(format!("part {part} has ended")),
            Self::MachineWithdrawn => {
                Words::Warning("its test runner began no test several times in a row: it gets no more tests".to_owned())
            }
            Self::ReportAskedAgain => Words::Warning("the run was lost; trying once more for the report".to_owned()),
            Self::Judged { summary, .. } => Words::Outcome(summary.clone()),
            Self::NotBuilt { look } => Words::Outcome(format!(
                "hint: `{look}` shows all that was said; fix the source, or name a distribution that has what it needs \
                 (`--distro NAME`)."
            )),
            Self::ArtifactsLack { failure } => Words::Outcome(failure.text()),
        }
    }
}
