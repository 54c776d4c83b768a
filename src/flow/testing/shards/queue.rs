//! The queue of a run's tests: which machine gets which tests next, and what came of each. Pure: it is the sum of its entries, and a
//! second driver that reads them has the same queue.
//!
//! * A test waits, is out on a machine, or is done. Each comes to a result exactly once, however often it was tried.
//! * A machine that is lost gives its tests back. A test that was at work there may be what ends machines: the second time it is
//!   handed out alone, and after [`MOST_RETURNS`] it is lost. The tests behind it in the part wait again, and nothing is held against them.
//! * A machine whose runner brings nothing [`MOST_FRUITLESS`] times in a row, and begins no test, gets no more tests where another is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::base::id::{MachineId, TestName};
use model::exit::Exit;
use model::outcome::{Attempt, TestOutcome, TestResult};

use crate::testing::shards::entry::{Closing, Entry, Happening, Joined, PartEnd, Selection};
use crate::testing::shards::pace::{Line, Pace};

/// How many times a test may come back without a result before it counts as lost: because it was at work, or because nothing in its part
/// was begun.
pub const MOST_RETURNS: u32 = 3;

/// How many times a test that was at work when its machine or its runner ended is handed out among others.
const MOST_BLAMES: u32 = 2;

/// How many parts without a single result a machine may bring in a row.
const MOST_FRUITLESS: u32 = 2;

/// The tests that a machine is to run next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextPart {
    /// The number of the part among those of the machine.
    pub number: u32,
    /// The tests, at least one.
    pub tests: Vec<TestName>,
}

/// The answer to a machine that asks for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These tests.
    Part(NextPart),
    /// None now; others are out that may come back.
    Wait,
    /// There will be none.
    Done,
}

/// One test.
#[derive(Debug, Default)]
pub(super) struct Item {
    /// The tries with a result, in the order of their ends.
    pub tries: Vec<TestResult>,
    /// The tries in which it was at work and came to no result, in the order of their ends.
    pub losses: Vec<TestResult>,
    /// Why it came back without a result the last time.
    pub why: Option<String>,
    /// How many runs with a result are still wanted.
    wanted: u32,
    /// How many times it may still be tried again after a failure.
    retries: u32,
    /// How many times it came back without a result.
    returns: u32,
    /// How many of those times it was at work.
    blames: u32,
    /// The machine that has it.
    out: Option<MachineId>,
    /// Whether it is to be run alone, and where it failed last.
    alone: bool,
    avoid: Option<MachineId>,
    /// Whether it was counted as done.
    counted: bool,
}

impl Item {
    fn is_done(&self) -> bool {
        self.wanted == 0 && self.out.is_none()
    }

    /// The number of the next try.
    fn next_number(&self) -> u32 {
        u32::try_from(self.tries.len() + self.losses.len()).unwrap_or(u32::MAX - 1) + 1
    }
}

/// A machine.
#[derive(Debug)]
struct Worker {
    jobs: u32,
    /// Its parts, in the order in which they run: more than one only where nobody will be there to hand out the second.
    has: Vec<NextPart>,
    parts: u32,
    fruitless: u32,
    gone: bool,
}

/// The queue.
pub struct Queue {
    selection: Selection,
    pub(super) items: BTreeMap<TestName, Item>,
    /// The tests that wait and may run among others.
    line: Line,
    /// The tests that wait to be run alone, in the order in which they came.
    alone: Vec<TestName>,
    workers: BTreeMap<MachineId, Worker>,
    pace: Pace,
    out: usize,
    done: usize,
    failures: u32,
    /// Results of tests that nobody expected.
    pub(super) strangers: BTreeMap<TestName, TestResult>,
    pub(super) caveats: BTreeSet<String>,
    pub(super) gap: Option<String>,
    /// The worst status with which a runner ended.
    worst: u32,
    /// Why no further test is begun: enough have failed, or something else.
    stopped: Option<String>,
    closed: Option<Closing>,
}

impl Queue {
    /// The queue before any machine has joined.
    pub fn new(selection: Selection) -> Self {
        let policy = selection.policy.clone();
        let item =
            |_: &TestName| Item { wanted: policy.runs_per_test.max(1), retries: policy.retries, ..Item::default() };
        Self {
            items: selection.tests.iter().map(|test| (test.clone(), item(test))).collect(),
            line: Line::new(&selection),
            alone: Vec::new(),
            workers: BTreeMap::new(),
            pace: Pace::default(),
            out: 0,
            done: 0,
            failures: 0,
            strangers: BTreeMap::new(),
            caveats: BTreeSet::new(),
            gap: None,
            worst: 0,
            stopped: None,
            closed: None,
            selection,
        }
    }

    /// The queue that these entries tell of; none where the tests were never fixed.
    pub fn replay(entries: impl IntoIterator<Item = Entry>) -> Option<Self> {
        let mut queue: Option<Self> = None;
        for entry in entries {
            match (entry.what, &mut queue) {
                (Happening::Selected(selection), _) => queue = Some(Self::new(*selection)),
                (what, Some(queue)) => queue.apply(what),
                (_, None) => {}
            }
        }
        queue
    }

    /// The tests and what is tested.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Whether no test waits or is out.
    pub fn is_done(&self) -> bool {
        self.out == 0 && (self.ends() || self.done == self.items.len())
    }

    /// Whether any test has come to a result on any machine.
    pub fn has_any_result(&self) -> bool {
        self.items.values().any(|item| !item.tries.is_empty())
    }

    /// Whether no further test is begun.
    fn ends(&self) -> bool {
        self.stopped.is_some() || self.closed.is_some()
    }

    /// Whether any test waits that may still be begun.
    pub fn waits(&self) -> bool {
        !(self.ends() || self.line.is_empty() && self.alone.is_empty())
    }

    /// The worst status with which a runner ended.
    pub(super) fn worst_status(&self) -> u32 {
        self.worst
    }

    /// Whether a machine is there that gets no more tests, because its runner brought nothing too often.
    pub(super) fn is_withdrawn(&self, machine: &MachineId) -> bool {
        self.workers.get(machine).is_some_and(|worker| worker.fruitless >= MOST_FRUITLESS && worker.gone)
    }

    /// Why no further test is begun, where enough have failed.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Why no further test is begun, for another reason.
    pub fn closed(&self) -> Option<&Closing> {
        self.closed.as_ref()
    }

    /// How many machines were asked for and have not come yet.
    fn awaited(&self) -> usize {
        self.selection.machines.saturating_sub(self.workers.len())
    }

    /// How long the rest will take, by what is known.
    pub fn foreseen(&self) -> Option<Duration> {
        self.line.is_known().then(|| self.pace.share_all(&self.line, self.awaited()))
    }

    /// The numbers of the parts that a machine has at present.
    pub fn parts_of(&self, machine: &MachineId) -> Vec<u32> {
        self.workers.get(machine).map(|worker| worker.has.iter().map(|part| part.number).collect()).unwrap_or_default()
    }

    /// After how many failures more no test is begun; none where that is decided only when a failed test was tried again, or never.
    pub fn failures_left(&self) -> Option<u32> {
        let policy = &self.selection.policy;
        policy.max_failures.filter(|_| policy.retries == 0).map(|most| most.saturating_sub(self.failures))
    }

    /// Whether the try of a test that counts failed on this machine.
    pub fn has_failed_on(&self, machine: &MachineId) -> bool {
        let failed = |item: &Item| {
            let counts = self.selection.policy.deciding(&item.tries);
            counts.is_some_and(|test| {
                test.outcome.is_failure() && test.attempt.as_ref().is_some_and(|attempt| attempt.machine == *machine)
            })
        };
        self.items.values().any(failed)
    }

    /// How many tests a machine runs at once.
    pub fn jobs_of(&self, machine: &MachineId) -> u32 {
        self.workers.get(machine).map_or(1, |worker| worker.jobs)
    }

    /// The machines that may still take tests.
    pub fn living(&self) -> impl Iterator<Item = &MachineId> {
        self.workers.iter().filter(|(_, worker)| !worker.gone).map(|(machine, _)| machine)
    }

    /// What `machine`, which has joined and has no part, is to do. The caller writes that down and [applies](Queue::apply) it before
    /// the tests begin.
    pub fn next(&self, machine: &MachineId) -> Next {
        let Some(worker) = self.workers.get(machine).filter(|worker| !worker.gone) else { return Next::Done };
        if self.ends() || self.done == self.items.len() {
            return Next::Done;
        }
        let tests = match self.line.is_empty() {
            false => self.pace.choose(&self.line, machine, worker.jobs, self.awaited()),
            true => self.lone_test(machine).into_iter().collect(),
        };
        match tests.is_empty() {
            true => Next::Wait,
            false => Next::Part(NextPart { number: worker.parts + 1, tests }),
        }
    }

    /// A test that is to be run alone: for one that failed on this machine another is better, where there is another.
    fn lone_test(&self, machine: &MachineId) -> Option<TestName> {
        let others = self.living().any(|other| other != machine);
        let fits =
            |test: &&TestName| !others || self.items.get(*test).is_none_or(|item| item.avoid.as_ref() != Some(machine));
        self.alone.iter().find(fits).cloned()
    }

    /// All that waits, shared between the machines by what is known: for when nobody will be there to hand it out.
    pub fn share_out(&self) -> BTreeMap<MachineId, Vec<TestName>> {
        let machines: Vec<(MachineId, u32)> = self
            .workers
            .iter()
            .filter(|(_, worker)| !worker.gone)
            .map(|(id, worker)| (id.clone(), worker.jobs))
            .collect();
        self.pace.share_out(&self.line, &self.alone, &machines)
    }

    /// Takes what happened.
    pub fn apply(&mut self, what: Happening) {
        match what {
            Happening::Opened(_) | Happening::Selected(_) | Happening::Fetched { .. } => {}
            Happening::Joined(joined) => self.join(&joined),
            Happening::Took { machine, part, tests } => self.hand_out(&machine, part, tests),
            Happening::Returned { machine, part } => self.take_back(&machine, part),
            Happening::Ended { machine, part, end } => self.end_part(&machine, part, *end),
            Happening::Lost { machine, why } => self.lose(&machine, &why),
            Happening::Closed(closing) => drop(self.closed.get_or_insert(closing)),
            Happening::Left { machine, .. } => {
                if let Some(worker) = self.workers.get_mut(&machine) {
                    worker.gone = true;
                }
                self.pace.leave(&machine);
            }
        }
    }

    fn join(&mut self, joined: &Joined) {
        let worker = Worker { jobs: joined.jobs.max(1), has: Vec::new(), parts: 0, fruitless: 0, gone: false };
        self.pace.join(&joined.machine, worker.jobs);
        self.workers.insert(joined.machine.clone(), worker);
    }

    fn hand_out(&mut self, machine: &MachineId, part: u32, tests: Vec<TestName>) {
        let Some(worker) = self.workers.get_mut(machine) else { return };
        for test in &tests {
            self.line.remove(test);
            self.alone.retain(|lone| lone != test);
            if let Some(item) = self.items.get_mut(test) {
                self.out += usize::from(item.out.is_none());
                item.out = Some(machine.clone());
            }
        }
        worker.parts = worker.parts.max(part);
        worker.has.push(NextPart { number: part, tests });
    }

    /// Takes back a part that was never begun.
    fn take_back(&mut self, machine: &MachineId, part: u32) {
        let Some(worker) = self.workers.get_mut(machine) else { return };
        let Some(at) = worker.has.iter().position(|has| has.number == part) else { return };
        let tests = worker.has.remove(at).tests;
        self.put_back(machine, tests);
    }

    /// Has tests wait again that a machine had, and that nothing is held against.
    fn put_back(&mut self, machine: &MachineId, tests: impl IntoIterator<Item = TestName>) {
        for test in tests {
            if let Some(item) = self.items.get_mut(&test).filter(|item| item.out.as_ref() == Some(machine)) {
                item.out = None;
                self.out -= 1;
            }
            self.queue_again(&test);
        }
    }

    fn end_part(&mut self, machine: &MachineId, part: u32, end: PartEnd) {
        let Some(worker) = self.workers.get_mut(machine) else { return };
        let Some(at) = worker.has.iter().position(|has| has.number == part) else { return };
        let had = worker.has.remove(at).tests;
        let PartEnd { exit, gap, caveats, took, mut results, taken_back } = end;
        if taken_back {
            results.retain(|result| result.outcome.is_known());
        }
        self.caveats.extend(caveats);
        self.worst = self.worst.max(if let Exit::Code(code) = exit { code } else { 0 });
        let known = || results.iter().filter(|result| result.outcome.is_known());
        // What can be blamed for the end of the part: nothing is held against the tests behind it.
        let explained = known().next().is_some() || results.iter().any(|result| result.began_at.is_some());
        worker.fruitless = if explained { 0 } else { worker.fruitless + 1 };
        let jobs = worker.jobs;
        self.line.measure_all(known(), took);
        self.pace.learn(&self.line, machine, jobs, took, known());
        // The last machine goes on: each test is to have its own reason.
        let others = self.living().any(|other| other != machine);
        if let Some(worker) = self.workers.get_mut(machine) {
            worker.gone |= others && worker.fruitless >= MOST_FRUITLESS;
        }
        let is_lost = matches!(exit, Exit::Lost(_));
        if let Some(gap) = contradiction(&exit, gap, &results) {
            self.gap.get_or_insert(format!("of part {part} on {machine}: {gap}"));
        }
        let mut rest: BTreeSet<TestName> = had.into_iter().collect();
        for result in results {
            rest.remove(&result.name);
            let blame = match result.began_at {
                Some(_) => Blame::AtWork,
                None if explained || is_lost => Blame::Another,
                None => Blame::Nobody,
            };
            self.take_result(machine, result, blame);
        }
        if taken_back {
            return self.put_back(machine, rest);
        }
        for test in rest {
            let blame = if explained { Blame::Another } else { Blame::Nobody };
            let lost =
                TestResult::of(test, TestOutcome::Lost, None, Some("the runner's report does not mention it".into()));
            self.give_back(machine, lost, blame);
        }
    }

    fn take_result(&mut self, machine: &MachineId, mut result: TestResult, blame: Blame) {
        let lost = !result.outcome.is_known();
        let Some(item) = self.items.get_mut(&result.name) else {
            if !lost {
                self.strangers.entry(result.name.clone()).or_insert(result);
            }
            return;
        };
        if lost {
            return self.give_back(machine, result, blame);
        }
        if item.out.as_ref() == Some(machine) {
            item.out = None;
            self.out -= 1;
            item.wanted = item.wanted.saturating_sub(1);
        }
        result.attempt = Some(Attempt { machine: machine.clone(), number: item.next_number() });
        let (name, failed) = (result.name.clone(), result.outcome.is_failure());
        item.tries.push(result);
        if failed && item.retries > 0 && item.wanted == 0 {
            (item.retries, item.wanted) = (item.retries - 1, 1);
            (item.alone, item.avoid) = (true, Some(machine.clone()));
        }
        self.queue_again(&name);
    }

    /// Puts a test back into the line where it is wanted again, else counts it.
    fn queue_again(&mut self, test: &TestName) {
        let Some(item) = self.items.get(test).filter(|item| item.out.is_none()) else { return };
        match (item.wanted > 0, item.alone) {
            (true, true) if !self.alone.contains(test) => self.alone.push(test.clone()),
            (true, false) => self.line.insert(test),
            (true, true) => {}
            (false, _) => self.count(test),
        }
    }

    /// A test came back without a result.
    fn give_back(&mut self, machine: &MachineId, mut lost: TestResult, blame: Blame) {
        let name = lost.name.clone();
        let Some(item) = self.items.get_mut(&name).filter(|item| item.out.as_ref() == Some(machine)) else { return };
        item.out = None;
        self.out -= 1;
        item.why.clone_from(&lost.reason);
        item.returns += u32::from(blame != Blame::Another);
        item.blames += u32::from(blame == Blame::AtWork);
        item.alone |= item.blames >= MOST_BLAMES;
        lost.attempt = Some(Attempt { machine: machine.clone(), number: item.next_number() });
        if item.returns >= MOST_RETURNS {
            item.wanted = 0;
            item.tries.push(lost);
        } else if blame == Blame::AtWork {
            item.losses.push(lost);
        }
        self.queue_again(&name);
    }

    fn lose(&mut self, machine: &MachineId, why: &str) {
        let Some(worker) = self.workers.get_mut(machine) else { return };
        worker.gone = true;
        let had: Vec<TestName> = worker.has.drain(..).flat_map(|part| part.tests).collect();
        self.pace.leave(machine);
        for test in had {
            let why = format!("its machine was lost: {why}");
            self.give_back(machine, TestResult::of(test, TestOutcome::Lost, None, Some(why)), Blame::Another);
        }
    }

    /// Counts a test that is done, and stops where enough has failed.
    fn count(&mut self, test: &TestName) {
        let policy = &self.selection.policy;
        let Some(item) = self.items.get_mut(test).filter(|item| item.is_done() && !item.counted) else { return };
        item.counted = true;
        self.done += 1;
        let failed =
            policy.deciding(&item.tries).is_some_and(|result| result.outcome.is_failure() && result.muted.is_none());
        self.failures += u32::from(failed);
        let reached =
            policy.max_failures.filter(|most| failed && self.failures >= *most && self.done < self.items.len());
        if let Some(most) = reached {
            let failed = model::base::text::pluralize(most as usize, "test");
            self.stopped.get_or_insert(format!("{failed} failed before"));
        }
    }
}

/// What a test has to do with the end of a part in which it came to no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// It was at work.
    AtWork,
    /// Another test was, or the machine was lost.
    Another,
    /// Nothing was begun.
    Nobody,
}

/// What in the end of a part takes the trust in the results that it did bring: a status that they do not explain, or more than a
/// report may hold.
fn contradiction(exit: &Exit, gap: Option<String>, results: &[TestResult]) -> Option<String> {
    let lacks = results.iter().any(|result| !result.outcome.is_known());
    let failed = results.iter().any(|result| result.outcome.is_failure());
    match exit {
        // The tests that lack are tried again, and what they come to counts.
        _ if lacks => None,
        Exit::Code(0) => gap,
        Exit::Code(_) if failed => gap,
        Exit::Code(code) => Some(format!("the runner ended with exit status {code} and reported no failed test")),
        Exit::Signal(_) | Exit::Lost(_) => None,
    }
}
