//! What is going on, for a person who watches: events are folded into counts and lanes, and those are laid out as lines.
//!
//! Nothing here prints, reads a clock or knows a terminal: the time and the size are arguments, so that a test can say what a person
//! sees. The same fold over the kept events of a run says what `runs show` tells of one that goes on.

mod bill;
mod lane;
mod layout;
mod progress;
mod status;
mod tally;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::MachineId;
use model::base::text;
use model::event::{Event, EventKind, MachineEvent, StepEvent, Subject, TestsEvent, Words};
use model::outcome::Counts;
use model::work::Work;

use bill::Bill;
use lane::Lane;
pub use layout::Frame;
pub use progress::Progress;
use tally::Tally;

use super::measure;

/// The most lanes that are followed; sixteen times the number of machines that a run was asked to have.
const LANES: usize = 1024;

/// The present state of a run, or of other work, as far as its events tell it.
#[derive(Debug, Default)]
pub struct LiveView {
    began: Option<Timestamp>,
    lanes: Vec<Lane>,
    tally: Tally,
    bill: Bill,
    /// The cells in which something happened, as they are shown.
    cells: BTreeSet<String>,
    /// The most machines that there were at a time.
    most_machines: usize,
}

impl LiveView {
    /// Takes one event; false where it only tells again what is known.
    pub fn fold(&mut self, event: &Event) -> bool {
        self.began.get_or_insert(event.at);
        if let Some(cell) = event.cell.as_deref().filter(|_| self.cells.len() < LANES) {
            self.cells.insert(measure::brief(cell));
        }
        match &event.kind {
            EventKind::Step(step) => self.step(event, step),
            EventKind::Tests(tests) => return self.tests(event, tests),
            EventKind::Machine(machine) => {
                if let Some(Subject::Machine(id)) = &event.subject {
                    self.bill.take(id, machine, event.at);
                }
                if matches!(machine, MachineEvent::Following { .. }) {
                    self.take_over(event.at);
                }
            }
            // What happens to one cell is not the end of the others.
            EventKind::Run(_) if event.cell.is_none() => self.tally.end(),
            _ => {}
        }
        true
    }

    /// Another driver goes on: what the one before was at was given up with it, and its tests go on.
    fn take_over(&mut self, at: Timestamp) {
        self.lanes.retain_mut(|lane| {
            lane.steps.clear();
            lane.machine().is_some()
        });
        self.tally.reopen(at);
    }

    fn step(&mut self, event: &Event, step: &StepEvent) {
        let said = |line: &str| measure::brief(line.trim());
        match step {
            StepEvent::Began { work } => {
                if let Some(lane) = self.lane(subject_of(event, work), event) {
                    lane.begin(work, event.at);
                }
            }
            StepEvent::Ended { work, .. } | StepEvent::Stopped { work, .. } => self.end_step(event, work),
            StepEvent::Expected { took } => self.of_newest(event, |step| step.expected = Some(*took)),
            StepEvent::Said { line } => self.of_newest(event, |step| step.said = said(line)),
            StepEvent::Waiting { .. } | StepEvent::Moved { .. } => {
                if let Words::Detail(text) | Words::Progress(text) = event.words() {
                    self.of_newest(event, |step| step.said = said(&text));
                }
            }
        }
    }

    fn of_newest(&mut self, event: &Event, change: impl FnOnce(&mut lane::OpenStep)) {
        let lane = self.lanes.iter_mut().find(|lane| lane.subject == event.subject);
        if let Some(step) = lane.and_then(Lane::newest) {
            change(step);
        }
    }

    fn end_step(&mut self, event: &Event, work: &Work) {
        let subject = subject_of(event, work);
        let Some(found) = self.lanes.iter().position(|lane| lane.subject == subject) else { return };
        let lane = &mut self.lanes[found];
        lane.end(work, event.at);
        let stopped = matches!(&event.kind, EventKind::Step(StepEvent::Stopped { .. }));
        let is_gone = match work {
            Work::Releasing { .. } | Work::Leaving { .. } => true,
            // One that could not be made, or not be reached: releasing it is a step of its own.
            Work::Booting { .. } | Work::Using { .. } => stopped,
            _ => false,
        };
        match lane.machine().cloned() {
            Some(machine) if is_gone => {
                self.bill.settle(&machine, event.at);
                self.lanes.remove(found);
            }
            None if !lane.is_busy() => drop(self.lanes.remove(found)),
            _ => {}
        }
    }

    fn tests(&mut self, event: &Event, tests: &TestsEvent) -> bool {
        let (at, cell) = (event.at, event.cell.as_deref());
        match tests {
            TestsEvent::Selected { tests, foreseen } => self.tally.select(cell, *tests, *foreseen, at),
            TestsEvent::Ready { expected, .. } => {
                self.tally.begin(cell, at);
                if let Some(lane) = self.lane(event.subject.clone(), event) {
                    lane.expected = *expected;
                }
            }
            TestsEvent::TestBegan { test } => {
                self.tally.begin(cell, at);
                if let Some(lane) = self.lane(event.subject.clone(), event) {
                    lane.test_began(test, at);
                }
            }
            TestsEvent::TestEnded { test, outcome, took, .. } => {
                self.tally.begin(cell, at);
                if let Some(lane) = self.lane(event.subject.clone(), event) {
                    lane.test_ended(test, at);
                }
                let machine = match &event.subject {
                    Some(Subject::Machine(id)) => Some(id),
                    _ => None,
                };
                let is_new = self.tally.ended((cell, test), machine, *outcome, *took);
                if is_new {
                    self.tally.pass(at);
                }
                return is_new;
            }
            TestsEvent::PartEnded { .. } => {
                if let Some(lane) = self.lane(event.subject.clone(), event) {
                    lane.running.clear();
                }
            }
            TestsEvent::Judged { .. } => self.tally.end(),
            _ => {}
        }
        true
    }

    /// The lane of a subject, which is made where there is none; none where there are too many. A machine is of one cell only.
    fn lane(&mut self, subject: Option<Subject>, event: &Event) -> Option<&mut Lane> {
        let mut found = self.lanes.iter().position(|lane| lane.subject == subject);
        if found.is_none() && self.lanes.len() < LANES {
            found = Some(self.lanes.len());
            self.lanes.push(Lane::new(subject, event.at));
            self.most_machines = self.most_machines.max(self.machines());
        }
        let lane = self.lanes.get_mut(found?)?;
        if let (Some(cell), Some(_)) = (&event.cell, lane.machine()) {
            lane.cell = Some(measure::brief(cell));
        }
        Some(lane)
    }

    /// The cell of a lane, where it has to be told from others.
    fn cell_of<'a>(&self, lane: &'a Lane) -> &'a str {
        lane.cell.as_deref().filter(|_| self.cells.len() > 1).unwrap_or_default()
    }

    /// Whether something is under way that a person waits for: also what is done to a machine between two steps.
    pub fn is_at_work(&self) -> bool {
        self.tally.is_open() || self.lanes.iter().any(|lane| lane.is_busy() || self.is_idle(lane))
    }

    /// Whether a lane with nothing open is shown: that of a machine of a run that goes on.
    fn is_idle(&self, lane: &Lane) -> bool {
        lane.machine().is_some() && !self.tally.is_over()
    }

    /// Whether work on several things is under way side by side.
    pub(super) fn is_parallel(&self) -> bool {
        self.lanes.iter().filter(|lane| lane.is_busy()).count() > 1
    }

    /// How many machines there are.
    pub fn machines(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.machine().is_some()).count()
    }

    /// Whether there were several machines at a time, or cells: what one of them prints stands among the lines of others then.
    pub fn has_several(&self) -> bool {
        self.most_machines > 1 || self.cells.len() > 1
    }

    /// The numbers of tests by what they came to; `total` is that of all, as far as it is known.
    fn counts(&self) -> Counts {
        self.tally.counts(self.lanes.iter().map(|lane| lane.expected).sum())
    }

    /// How long it has gone on.
    fn elapsed(&self, now: Timestamp) -> Duration {
        self.began.map_or(Duration::ZERO, |began| clock::since(began, now))
    }
}

/// The subject of a step: the machine that it makes or removes, whoever tells of it.
fn subject_of(event: &Event, work: &Work) -> Option<Subject> {
    match work {
        Work::Booting { machine, .. } | Work::Releasing { machine } => Some(Subject::Machine(machine.clone())),
        _ => event.subject.clone(),
    }
}

/// A span for a line that changes every second: `48s`, `4m 12s`, `1h 02m`.
fn span(span: Duration) -> String {
    let whole = Duration::from_secs(span.as_secs());
    if whole < Duration::from_secs(60) { format!("{}s", whole.as_secs()) } else { text::seconds(whole) }
}

/// The machine's id as an argument of formats.
fn name_of(machine: Option<&MachineId>) -> &str {
    machine.map_or("", MachineId::as_str)
}

#[cfg(test)]
mod tests;
