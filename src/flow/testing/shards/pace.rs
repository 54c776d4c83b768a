//! How much a machine is given at once: the longest tests first, and less and less towards the end, so that all machines end together.
//!
//! A part is half of what each processor has still to do, so that a wrong guess can be made good by the parts that follow; it is never
//! so short that starting the runner weighs more than the tests. Guesses come from earlier runs; where there are none, from the tests
//! that were measured in this one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::base::id::{MachineId, TestName};
use model::outcome::TestResult;
use sha2::{Digest, Sha256};

use crate::testing::shards::entry::{Selection, TestOrder};

/// The most tests of a part: their names are arguments of a command, and Windows takes 32,767 characters in all.
const MOST_TESTS: usize = 200;

/// How much of the names a part may hold, bytes, for the same reason.
const MOST_BYTES: usize = 16 << 10;

/// How many tests for each processor a machine gets while nothing is known of any test.
const UNKNOWN_TESTS: usize = 2;

/// How long starting a runner takes where none was measured, seconds: Mercurial's takes about one.
const OVERHEAD: f64 = 1.0;

/// How many times longer than that a part lasts at least, and between which bounds, seconds.
const LEAST_PART: f64 = 3.0;
const LEAST_BOUNDS: (f64, f64) = (0.3, 30.0);

/// Of what a processor has still to do, how much it gets at once; and while nothing is known of its speed: one that is three times slower
/// than the others must not hold them up with its first part.
const PORTION: f64 = 0.5;
const FIRST_PORTION: f64 = 0.2;

/// From which share of the fastest machine's speed on a machine counts as fast: the longest tests are for those.
const FAST: f64 = 0.7;

/// How many tests must have been measured on a machine before its speed is judged by them, where earlier runs tell nothing.
const JUDGED_FROM: u32 = 3;

/// The tests that wait, in the order in which they are handed out.
#[derive(Debug)]
pub(super) struct Line {
    /// Those of which it is known how long they take, and how long that is in all.
    known: BTreeSet<(Reverse<Duration>, usize, TestName)>,
    known_total: Duration,
    /// The others, and all where the order is not by length.
    others: BTreeMap<[u8; 8], TestName>,
    /// How long tests took in earlier runs.
    foreseen: BTreeMap<TestName, Duration>,
    /// The places of all tests.
    places: BTreeMap<TestName, usize>,
    order: TestOrder,
    /// The tests that were measured in this run.
    measured: (u32, Duration),
}

impl Line {
    pub(super) fn new(selection: &Selection) -> Self {
        let span = |seconds: &f64| Duration::try_from_secs_f64(*seconds).ok();
        let foreseen = selection.foreseen.iter().filter_map(|(test, took)| Some((test.clone(), span(took)?)));
        let places = selection.tests.iter().enumerate().map(|(place, test)| (test.clone(), place));
        let mut line = Self {
            known: BTreeSet::new(),
            known_total: Duration::ZERO,
            others: BTreeMap::new(),
            foreseen: foreseen.collect(),
            places: places.collect(),
            order: selection.policy.order,
            measured: (0, Duration::ZERO),
        };
        for test in &selection.tests {
            line.insert(test);
        }
        line
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.others.is_empty()
    }

    /// How many they are.
    fn count(&self) -> usize {
        self.known.len() + self.others.len()
    }

    /// Whether anything is known of how long the tests take.
    pub(super) fn is_known(&self) -> bool {
        self.guess().is_some()
    }

    fn key(&self, test: &TestName) -> [u8; 8] {
        let place = self.places.get(test).copied().unwrap_or(usize::MAX) as u64;
        match self.order {
            TestOrder::LongestFirst => place.to_be_bytes(),
            TestOrder::Random { seed } => {
                let hash = Sha256::new().chain_update(seed.to_be_bytes()).chain_update(test.as_str()).finalize();
                // The first eight bytes of a hash are as random as all of it; two tests that share them share a place.
                std::array::from_fn(|at| hash[at])
            }
        }
    }

    fn entry(&self, test: &TestName) -> Option<(Reverse<Duration>, usize, TestName)> {
        let took = *self.foreseen.get(test).filter(|_| self.order == TestOrder::LongestFirst)?;
        Some((Reverse(took), self.places.get(test).copied().unwrap_or(usize::MAX), test.clone()))
    }

    pub(super) fn insert(&mut self, test: &TestName) {
        match self.entry(test) {
            Some(entry) => {
                let took = entry.0.0;
                if self.known.insert(entry) {
                    self.known_total += took;
                }
            }
            None => drop(self.others.insert(self.key(test), test.clone())),
        }
    }

    pub(super) fn remove(&mut self, test: &TestName) {
        match self.entry(test) {
            Some(entry) => {
                if self.known.remove(&entry) {
                    self.known_total = self.known_total.saturating_sub(entry.0.0);
                }
            }
            None => {
                let key = self.key(test);
                if self.others.get(&key) == Some(test) {
                    self.others.remove(&key);
                }
            }
        }
    }

    /// Tests of this run came to these results in a part that took `wall`. Those that earlier runs tell of say nothing of the others, which
    /// are new. Of a test whose runner does not say how long it took, the part says how long it took at most.
    pub(super) fn measure_all<'a>(&mut self, results: impl Iterator<Item = &'a TestResult> + Clone, wall: Duration) {
        let at_most = mean(results.clone().count(), wall);
        for result in results.filter(|result| !self.foreseen.contains_key(&result.name)) {
            let took = result.took.unwrap_or(at_most);
            self.measured = (self.measured.0 + 1, self.measured.1.saturating_add(took));
        }
    }

    /// How long a test takes of which nothing is known; none while nothing was measured. It may be as long as any: a new one that was thought
    /// to be short would be the last to end.
    fn guess(&self) -> Option<Duration> {
        match self.measured {
            (0, _) => self.foreseen.values().max().copied(),
            (count, total) => Some(mean(count as usize, total)),
        }
    }

    /// How long a test takes, by what is known.
    fn length(&self, test: &TestName) -> Duration {
        self.foreseen.get(test).copied().or_else(|| self.guess()).unwrap_or_default()
    }

    /// How long all that waits takes, one after the other, seconds.
    fn total(&self) -> f64 {
        let others: Duration = match self.order {
            TestOrder::LongestFirst => {
                self.guess().unwrap_or_default() * u32::try_from(self.others.len()).unwrap_or(u32::MAX)
            }
            TestOrder::Random { .. } => self.others.values().map(|test| self.length(test)).sum(),
        };
        (self.known_total + others).as_secs_f64()
    }
}

fn mean(count: usize, total: Duration) -> Duration {
    total / u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

/// What is known of a machine's speed.
#[derive(Debug)]
struct Speed {
    jobs: u32,
    /// How many times faster it is than what was foreseen.
    factor: f64,
    /// The tests that were measured on it.
    measured: (u32, Duration),
}

/// The speeds of the machines, and how long a runner takes to start.
#[derive(Debug)]
pub(super) struct Pace {
    speeds: BTreeMap<MachineId, Speed>,
    overhead: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { speeds: BTreeMap::new(), overhead: OVERHEAD }
    }
}

impl Pace {
    pub(super) fn join(&mut self, machine: &MachineId, jobs: u32) {
        self.speeds.insert(machine.clone(), Speed { jobs, factor: 1.0, measured: (0, Duration::ZERO) });
    }

    pub(super) fn leave(&mut self, machine: &MachineId) {
        self.speeds.remove(machine);
    }

    /// How many tests of the usual length are at work at once, when `awaited` machines more, as fast as those that are there, have come.
    fn power(&self, awaited: usize) -> f64 {
        let present: f64 = self.speeds.values().map(|speed| f64::from(speed.jobs) * speed.factor).sum();
        let usual = if self.speeds.is_empty() { 1.0 } else { present / self.speeds.len() as f64 };
        (present + usual * awaited as f64).max(f64::MIN_POSITIVE)
    }

    /// How long all that waits takes on all machines together.
    pub(super) fn share_all(&self, line: &Line, awaited: usize) -> Duration {
        let longest = line.known.first().map(|(took, ..)| took.0).unwrap_or_default();
        Duration::try_from_secs_f64(line.total() / self.power(awaited)).unwrap_or_default().max(longest)
    }

    /// Learns from a part that took `wall` on a machine.
    pub(super) fn learn<'a>(
        &mut self,
        line: &Line,
        machine: &MachineId,
        jobs: u32,
        wall: Duration,
        results: impl Iterator<Item = &'a TestResult>,
    ) {
        let (mut took, mut longest, mut known, mut foreseen, mut count) =
            (Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO, 0);
        for (test, span) in results.filter_map(|result| Some((&result.name, result.took?))) {
            (took, longest, count) = (took + span, longest.max(span), count + 1);
            if let Some(before) = line.foreseen.get(test) {
                (known, foreseen) = (known + span, foreseen + *before);
            }
        }
        if count == 0 {
            return;
        }
        let at_work = (took / jobs.max(1)).max(longest);
        self.overhead = blend(self.overhead, wall.saturating_sub(at_work).as_secs_f64());
        let usual = line.guess().unwrap_or_default().as_secs_f64();
        let Some(speed) = self.speeds.get_mut(machine) else { return };
        speed.measured = (speed.measured.0 + count, speed.measured.1 + took);
        let seen = if known > took / 2 {
            Some(foreseen.as_secs_f64() / known.as_secs_f64().max(0.001))
        } else {
            let own = mean(speed.measured.0 as usize, speed.measured.1).as_secs_f64();
            (speed.measured.0 >= JUDGED_FROM).then(|| usual / own.max(0.001))
        };
        if let Some(seen) = seen {
            speed.factor = blend(speed.factor, seen.clamp(0.05, 20.0));
        }
    }

    /// The tests that a machine gets next, from those that wait, where `awaited` machines have not come yet. It is no more than its even share by
    /// number: one test that does not end must not keep all the others from the other machines.
    pub(super) fn choose(&self, line: &Line, machine: &MachineId, jobs: u32, awaited: usize) -> Vec<TestName> {
        let Some(speed) = self.speeds.get(machine) else { return Vec::new() };
        let jobs = jobs.max(1) as usize;
        if !line.is_known() {
            return line.others.values().take(UNKNOWN_TESTS * jobs).cloned().collect();
        }
        let share = line.total() / self.power(awaited);
        let most = line.count().div_ceil(self.speeds.len() + awaited).max(jobs).min(MOST_TESTS);
        let fastest = self.speeds.values().map(|speed| speed.factor).fold(0.0, f64::max);
        let least = (self.overhead * LEAST_PART).clamp(LEAST_BOUNDS.0, LEAST_BOUNDS.1);
        let mut picker = Picker::new(line);
        // The time for which a slow machine may hold up the others is what they have to do anyway.
        let limit = if speed.factor >= FAST * fastest { f64::INFINITY } else { share * speed.factor };
        let Some((first, length)) = picker.longest(limit).or_else(|| picker.shortest()) else { return Vec::new() };
        let portion = if speed.measured.0 == 0 { FIRST_PORTION } else { PORTION };
        let span = (share * portion).max(least).max(length / speed.factor);
        let mut room = span * jobs as f64 * speed.factor - length;
        let mut bytes = first.as_str().len();
        let mut tests = vec![first];
        while tests.len() < most && bytes < MOST_BYTES {
            let Some((test, length)) = picker.longest(room.min(span * speed.factor)) else { break };
            (room, bytes) = (room - length, bytes + test.as_str().len());
            tests.push(test);
        }
        tests
    }

    /// All that waits, shared between `machines`: the longest tests first, each to the machine that would be the first to end.
    pub(super) fn share_out(
        &self,
        line: &Line,
        alone: &[TestName],
        machines: &[(MachineId, u32)],
    ) -> BTreeMap<MachineId, Vec<TestName>> {
        let mut ends: Vec<(f64, f64, &MachineId)> = machines
            .iter()
            .map(|(machine, jobs)| {
                let factor = self.speeds.get(machine).map_or(1.0, |speed| speed.factor);
                (0.0, f64::from((*jobs).max(1)) * factor, machine)
            })
            .collect();
        let mut shares: BTreeMap<MachineId, Vec<TestName>> = BTreeMap::new();
        let waiting = line.known.iter().map(|(_, _, test)| test).chain(line.others.values()).chain(alone);
        for test in waiting {
            // Where nothing is known all tests count alike.
            let length = line.length(test).as_secs_f64().max(0.001);
            let first = ends.iter_mut().min_by(|a, b| (a.0 + length / a.1).total_cmp(&(b.0 + length / b.1)));
            let Some((end, power, machine)) = first else { break };
            *end += length / *power;
            shares.entry((*machine).clone()).or_default().push(test.clone());
        }
        shares
    }
}

/// The mean of what was believed and what was seen.
fn blend(believed: f64, seen: f64) -> f64 {
    f64::midpoint(believed, seen)
}

/// Takes tests from a line, each once, without changing it.
struct Picker<'a> {
    line: &'a Line,
    guess: f64,
    taken: BTreeSet<&'a TestName>,
    others: std::iter::Peekable<std::collections::btree_map::Values<'a, [u8; 8], TestName>>,
}

impl<'a> Picker<'a> {
    fn new(line: &'a Line) -> Self {
        let guess = line.guess().unwrap_or_default().as_secs_f64();
        Self { line, guess, taken: BTreeSet::new(), others: line.others.values().peekable() }
    }

    /// The longest test that takes no longer than `limit`, seconds; of those of which nothing is known, the next.
    fn longest(&mut self, limit: f64) -> Option<(TestName, f64)> {
        let from = Duration::try_from_secs_f64(limit).unwrap_or(Duration::MAX);
        let known = self.line.known.range((Reverse(from), 0, TestName::from(""))..);
        let known =
            known.map(|(took, _, test)| (took.0.as_secs_f64(), test)).find(|(_, test)| !self.taken.contains(test));
        let other =
            self.others.peek().copied().map(|test| (self.length(test), test)).filter(|(length, _)| *length <= limit);
        match (known, other) {
            (Some((length, test)), None) => self.take(test, length),
            (Some((length, test)), Some((guess, _))) if length >= guess => self.take(test, length),
            (_, Some((length, test))) => {
                self.others.next();
                self.take(test, length)
            }
            (None, None) => None,
        }
    }

    fn length(&self, test: &TestName) -> f64 {
        self.line.foreseen.get(test).map_or(self.guess, Duration::as_secs_f64)
    }

    /// The shortest test.
    fn shortest(&mut self) -> Option<(TestName, f64)> {
        match self.line.known.iter().next_back() {
            Some((took, _, test)) => self.take(test, took.0.as_secs_f64()),
            None => {
                let test = self.others.next()?;
                self.take(test, self.length(test))
            }
        }
    }

    fn take(&mut self, test: &'a TestName, length: f64) -> Option<(TestName, f64)> {
        self.taken.insert(test);
        Some((test.clone(), length))
    }
}
