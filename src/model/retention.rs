//! Which old runs go.

use std::time::Duration;

use jiff::Timestamp;

use crate::base::text;
use crate::run::RunRecord;

/// How many runs are kept where nobody says otherwise.
const KEEP: usize = 50;

/// How long runs, and set-ups of images, are kept where nobody says otherwise.
pub const OLDER_THAN: Duration = Duration::from_secs(90 * 24 * 3600);

/// The rule by which runs go: those that are neither among the newest nor young.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many of the newest stay.
    keep: usize,
    /// The age up to which runs stay.
    older_than: Duration,
}

impl Retention {
    /// The rule of what was asked for. Where one of the two is given, it decides alone; with both, a run stays that either of them
    /// keeps; with none, the 50 newest stay and what is younger than 90 days.
    pub fn of(keep: Option<usize>, older_than: Option<Duration>) -> Self {
        match (keep, older_than) {
            (None, None) => Self { keep: KEEP, older_than: OLDER_THAN },
            (keep, older_than) => Self { keep: keep.unwrap_or_default(), older_than: older_than.unwrap_or_default() },
        }
    }
}

/// A run with all that decides whether it may go.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// Its record.
    pub record: RunRecord,
    /// Whether it goes on: somebody drives it, or its tests were left to a machine that lives.
    pub goes_on: bool,
    /// Whether it is one with tests.
    pub has_tests: bool,
    /// Whether a machine of it is recorded.
    pub has_machine: bool,
    /// How many of its resources nobody has seen gone.
    pub open: usize,
    /// How many of its resources are kept for later runs.
    pub kept: usize,
}

/// What becomes of a run that the rule does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunFate {
    /// It goes.
    Goes,
    /// It stays, for this reason, a phrase.
    Stays(String),
}

/// Decides what becomes of the runs, newest first, that `rule` does not keep: their places among `runs`, and their fates.
///
/// A run stays that goes on, that has a machine, or that made something which nobody has seen gone or which is kept:
/// its rows are the record of that. The latest run with tests stays, because `latest` means it.
pub fn plan(runs: &[PastRun], now: Timestamp, rule: &Retention) -> Vec<(usize, RunFate)> {
    let latest = runs.iter().position(|run| run.has_tests);
    let is_old = |run: &PastRun| text::between(run.record.started_at, now) >= rule.older_than;
    let passed_over = runs.iter().enumerate().skip(rule.keep).filter(|(_, run)| is_old(run));
    let fate = |(at, run): (usize, &PastRun)| {
        let stays = match run {
            PastRun { goes_on: true, .. } => Some("it goes on".to_owned()),
            PastRun { has_machine: true, .. } => Some("its machine is recorded".to_owned()),
            PastRun { open: 1.., .. } => Some(format!("{} of it may be left", text::pluralize(run.open, "resource"))),
            PastRun { kept: 1.., .. } => {
                Some(format!("{} of it kept for later runs", text::pluralize(run.kept, "resource")))
            }
            _ if Some(at) == latest => Some("it is the latest with tests".to_owned()),
            _ => None,
        };
        (at, stays.map_or(RunFate::Goes, RunFate::Stays))
    };
    passed_over.map(fate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Driver, RunState};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> Timestamp {
        "2026-11-30T00:00:00Z".parse().unwrap()
    }

    /// A run that began so many days ago.
    fn run(days: u32) -> PastRun {
        let record = RunRecord {
            id: format!("r-{days}").parse().unwrap(),
            command: "image build".into(),
            arguments: vec![],
            owner: "ann@example".into(),
            driver: Driver { pid: 1, started: 1, boot: "b".into() },
            state: RunState::Ended,
            started_at: now() - DAY * days,
            ended_at: None,
            exit_code: None,
            summary: None,
        };
        PastRun { record, goes_on: false, has_tests: false, has_machine: false, open: 0, kept: 0 }
    }

    /// The places of the runs that go.
    fn going(runs: &[PastRun], keep: Option<usize>, older_than: Option<Duration>) -> Vec<usize> {
        let planned = plan(runs, now(), &Retention::of(keep, older_than));
        planned.into_iter().filter(|(_, fate)| *fate == RunFate::Goes).map(|(at, _)| at).collect()
    }

    #[test]
    fn one_limit_decides_alone_and_of_two_each_keeps() {
        let runs: Vec<PastRun> = [1, 5, 20, 40].map(run).to_vec();
        assert_eq!(going(&runs, Some(1), None), [1, 2, 3]);
        assert_eq!(going(&runs, None, Some(DAY * 20)), [2, 3], "the age itself is old enough");
        assert_eq!(going(&runs, Some(3), Some(DAY * 10)), [3]);
        assert_eq!(going(&runs, Some(1), Some(DAY * 30)), [3]);
        assert_eq!(going(&runs, Some(0), None), [0, 1, 2, 3]);
        assert_eq!(going(&runs, Some(usize::MAX), None), [0; 0]);
    }

    #[test]
    fn without_a_limit_fifty_runs_and_ninety_days_stay() {
        let runs: Vec<PastRun> = (50..=120).map(run).collect();
        assert_eq!(going(&runs, None, None), (50..=70).collect::<Vec<_>>());
        assert_eq!(going(&runs[..50], None, None), [0; 0]);
        assert_eq!(going(&(0..70).map(run).collect::<Vec<_>>(), None, None), [0; 0], "they are young");
    }

    #[test]
    fn what_is_still_needed_stays_and_says_why() {
        let runs = [
            PastRun { has_tests: true, goes_on: true, ..run(1) },
            PastRun { has_machine: true, ..run(2) },
            PastRun { open: 2, ..run(3) },
            PastRun { kept: 1, ..run(4) },
            PastRun { has_tests: true, ..run(5) },
        ];
        let planned = plan(&runs, now(), &Retention::of(Some(0), None));
        let why: Vec<&str> = planned
            .iter()
            .map(|(_, fate)| match fate {
                RunFate::Stays(why) => why.as_str(),
                RunFate::Goes => "goes",
            })
            .collect();
        assert_eq!(
            why,
            [
                "it goes on",
                "its machine is recorded",
                "2 resources of it may be left",
                "1 resource of it kept for later runs",
                "goes"
            ]
        );
        let ended = [PastRun { has_tests: true, ..run(1) }, PastRun { has_tests: true, ..run(2) }];
        assert_eq!(going(&ended, Some(0), None), [1], "`latest` means the other");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_run_old() {
        let mut future = run(0);
        future.record.started_at = now() + DAY;
        assert_eq!(going(&[future], None, Some(DAY)), [0; 0]);
    }
}
