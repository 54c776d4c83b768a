//! One line of the live region: a machine with its tests and steps, or work that belongs to no machine.

use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::{MachineId, TestName};
use model::event::Subject;
use model::work::Work;

use crate::ui::measure;

/// The most tests of one machine that are shown to run: more than a machine has processors for.
const RUNNING: usize = 1024;

/// The most steps of one lane that are open at once; they come from our own code, which opens two or three.
const STEPS: usize = 64;

/// Where the work of one line goes on.
#[derive(Debug)]
pub(super) struct Lane {
    /// The thing that the work is about; none outside of any run.
    pub subject: Option<Subject>,
    /// The cell of the run's matrix that it works for.
    pub cell: Option<String>,
    /// Since when nothing is open here.
    pub idle_since: Timestamp,
    /// The steps that began and have not ended, in the order of their beginnings.
    pub steps: Vec<OpenStep>,
    /// The tests that began and have not ended, the oldest first.
    pub running: Vec<RunningTest>,
    /// How many tests the machine was to run, where it said so.
    pub expected: usize,
    /// Whether a test ended here.
    pub has_tested: bool,
}

/// A step under way.
#[derive(Debug)]
pub(super) struct OpenStep {
    work: Work,
    /// Its words.
    pub words: String,
    /// When it began.
    pub since: Timestamp,
    /// How long it took the last time.
    pub expected: Option<Duration>,
    /// The newest line of what it says.
    pub said: String,
}

/// A test under way.
#[derive(Debug)]
pub(super) struct RunningTest {
    /// Its name.
    pub name: TestName,
    /// The name as it is shown.
    pub shown: String,
    /// When it began.
    pub since: Timestamp,
}

impl Lane {
    pub(super) fn new(subject: Option<Subject>, at: Timestamp) -> Self {
        Self {
            subject,
            cell: None,
            idle_since: at,
            steps: Vec::new(),
            running: Vec::new(),
            expected: 0,
            has_tested: false,
        }
    }

    /// The machine, where it is one.
    pub(super) fn machine(&self) -> Option<&MachineId> {
        match &self.subject {
            Some(Subject::Machine(id)) => Some(id),
            _ => None,
        }
    }

    /// Whether something is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.steps.is_empty() || !self.running.is_empty()
    }

    /// When the work that has gone on longest began, or since when there is none.
    pub(super) fn since(&self) -> Timestamp {
        let begun = self.steps.iter().map(|step| step.since).chain(self.running.iter().map(|test| test.since));
        begun.min().unwrap_or(self.idle_since)
    }

    pub(super) fn begin(&mut self, work: &Work, at: Timestamp) {
        if self.steps.len() >= STEPS {
            return;
        }
        // The line begins with the machine already.
        let words = match self.machine() {
            Some(id) => work.words().replacen(&format!(" {id}"), "", 1),
            None => work.words(),
        };
        let words = measure::brief(&words);
        self.steps.push(OpenStep { work: work.clone(), words, since: at, expected: None, said: String::new() });
    }

    pub(super) fn end(&mut self, work: &Work, at: Timestamp) {
        if let Some(found) = self.steps.iter().rposition(|step| step.work == *work) {
            self.steps.remove(found);
        }
        self.idle_since = at;
    }

    /// The step that what is said now belongs to.
    pub(super) fn newest(&mut self) -> Option<&mut OpenStep> {
        self.steps.last_mut()
    }

    pub(super) fn test_began(&mut self, test: &TestName, at: Timestamp) {
        let (name, shown) = (bounded(test), measure::brief(test.as_str()));
        // A driver that took the run over hears of it again.
        if self.running.len() >= RUNNING || self.running.iter().any(|running| running.name == name) {
            return;
        }
        self.running.push(RunningTest { name, shown, since: at });
    }

    pub(super) fn test_ended(&mut self, test: &TestName, at: Timestamp) {
        self.has_tested = true;
        let test = bounded(test);
        if let Some(found) = self.running.iter().position(|running| running.name == test) {
            self.running.remove(found);
        }
        self.idle_since = at;
    }
}

/// The longest name, in bytes, that is kept whole while its test runs: four times as long as the longest name of a file.
const LONGEST: usize = 1024;

/// The name, or the beginning of one that is longer than any real one.
fn bounded(test: &TestName) -> TestName {
    let name = test.as_str();
    if name.len() <= LONGEST {
        return test.clone();
    }
    let end = (0..=LONGEST).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    TestName::from(&name[..end])
}

impl OpenStep {
    /// How long it has gone on.
    pub(super) fn elapsed(&self, now: Timestamp) -> Duration {
        clock::since(self.since, now)
    }
}

impl RunningTest {
    /// How long it has run.
    pub(super) fn elapsed(&self, now: Timestamp) -> Duration {
        clock::since(self.since, now)
    }
}
