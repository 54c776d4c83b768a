//! How long tests take.

use std::collections::BTreeMap;
use std::time::Duration;

use model::base::clock;
use model::base::id::TestName;
use model::outcome::{Results, TestOutcome};
use serde::Serialize;

use crate::kept::{Places, Surroundings};

/// How many durations of a test are kept, the newest: a median needs no more, and a test of years ago says little of today.
const SAMPLES: usize = 100;

/// How long a test takes in one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlowTest {
    /// Its name.
    pub id: TestName,
    /// The distribution of its machines.
    pub distro: Option<String>,
    /// The file system of the work folder.
    pub filesystem: Option<String>,
    /// The duration that half of its runs do not exceed. `median_seconds` in JSON, as the others.
    #[serde(rename = "median_seconds", with = "clock::seconds")]
    pub median: Duration,
    /// The shortest.
    #[serde(rename = "shortest_seconds", with = "clock::seconds")]
    pub shortest: Duration,
    /// The longest.
    #[serde(rename = "longest_seconds", with = "clock::seconds")]
    pub longest: Duration,
    /// How many durations that rests on.
    pub runs: usize,
    /// The share of this test in the time of all tests in that place: 0 to 1.
    pub share: f64,
}

/// A distribution and a file system; the Python makes no place of its own here.
type Place = (Option<String>, Option<String>);

/// Gathers durations from runs that come newest first.
#[derive(Debug, Default)]
pub struct Durations {
    tests: BTreeMap<(TestName, Place), Vec<Duration>>,
}

impl Durations {
    /// Takes a run. Tests that passed or failed came to their end; one that ran out of its time says how long the limit is.
    pub fn add(&mut self, results: &Results) {
        let places = Places::of(results);
        for test in &results.tests {
            let Some(took) = test.took.filter(|_| matches!(test.outcome, TestOutcome::Passed | TestOutcome::Failed))
            else {
                continue;
            };
            let Surroundings { distro, filesystem, .. } = places.surroundings(test);
            let known = self.tests.entry((test.name.clone(), (distro, filesystem))).or_default();
            if known.len() < SAMPLES {
                known.push(took);
            }
        }
    }

    /// The tests, the slowest first.
    pub fn finish(self) -> Vec<SlowTest> {
        let mut totals: BTreeMap<Place, Duration> = BTreeMap::new();
        for ((_, place), known) in &self.tests {
            let total = totals.entry(place.clone()).or_default();
            *total = total.saturating_add(sum(known));
        }
        let mut tests: Vec<SlowTest> = Vec::with_capacity(self.tests.len());
        for ((id, place), mut known) in self.tests {
            known.sort_unstable();
            let total = totals.get(&place).copied().unwrap_or_default().as_secs_f64();
            let share = if total > 0.0 { sum(&known).as_secs_f64() / total } else { 0.0 };
            let at = |at: usize| known.get(at).copied().unwrap_or_default();
            tests.push(SlowTest {
                id,
                median: at(known.len().saturating_sub(1) / 2),
                shortest: at(0),
                longest: at(known.len().saturating_sub(1)),
                runs: known.len(),
                share,
                distro: place.0,
                filesystem: place.1,
            });
        }
        tests.sort_by(|a, b| b.median.cmp(&a.median).then_with(|| a.id.cmp(&b.id)));
        tests
    }
}

fn sum(durations: &[Duration]) -> Duration {
    durations.iter().fold(Duration::ZERO, |sum, duration| sum.saturating_add(*duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::tests::{run, tried};
    use model::outcome::TestResult;

    fn took(name: &str, outcome: TestOutcome, seconds: u64) -> TestResult {
        TestResult { took: Some(Duration::from_secs(seconds)), ..tried(name, &[outcome]) }
    }

    fn shown(durations: Durations) -> Vec<String> {
        let show = |test: &SlowTest| {
            let SlowTest { id, median, shortest, longest, runs, share, distro, .. } = test;
            let seconds = [median, shortest, longest].map(Duration::as_secs);
            format!("{id} {} {seconds:?} {runs} {:.0} %", distro.as_deref().unwrap_or("-"), share * 100.0)
        };
        durations.finish().iter().map(show).collect()
    }

    #[test]
    fn the_slowest_by_median_come_first_with_their_spread_and_share() {
        let mut durations = Durations::default();
        for (a, b) in [(2, 20), (4, 1), (9, 1)] {
            durations.add(&run(&[took("a", TestOutcome::Passed, a), took("b", TestOutcome::Failed, b)]));
        }
        durations.add(&run(&[took("a", TestOutcome::TimedOut, 360), tried("b", &[TestOutcome::Skipped])]));
        let mut elsewhere = run(&[took("a", TestOutcome::Passed, 3)]);
        elsewhere.cells[0].distro = Some("debian13".into());
        durations.add(&elsewhere);
        assert_eq!(
            shown(durations),
            ["a debian12 [4, 2, 9] 3 41 %", "a debian13 [3, 3, 3] 1 100 %", "b debian12 [1, 1, 20] 3 59 %"]
        );
    }

    #[test]
    fn the_newest_durations_are_kept_and_no_more() {
        let mut durations = Durations::default();
        for n in 0..SAMPLES + 50 {
            durations.add(&run(&[took("a", TestOutcome::Passed, if n < SAMPLES { 1 } else { 100 })]));
        }
        assert_eq!(shown(durations), ["a debian12 [1, 1, 1] 100 100 %"]);
        assert_eq!(shown(Durations::default()), [""; 0]);
    }
}
