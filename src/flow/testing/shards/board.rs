//! The queue of a run as its machines share it: every change is written into the run's folder before anybody acts on it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::base::id::{MachineId, TestName};
use model::event::TestsEvent;
use model::fault::Fault;
use model::run::RunFolder;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::run::Run;
use crate::testing::shards::entry::{Entry, Happening, Selection};
use crate::testing::shards::queue::{Next, Queue};
use crate::testing::shards::record::ShardRecord;

/// The queue, shared.
pub(super) struct Board<'a> {
    run: &'a Run,
    folder: &'a dyn RunFolder,
    queue: Mutex<Option<Queue>>,
    shares: Mutex<Option<BTreeMap<MachineId, Vec<TestName>>>>,
    /// Told whenever something happened to the queue.
    pub(super) changed: Notify,
    /// Cancelled when the tests that are at work are to end: with the run, and when enough have failed.
    pub(super) enough: CancellationToken,
}

impl<'a> Board<'a> {
    /// A board without a queue, or with one that an earlier driver left.
    pub(super) fn new(run: &'a Run, folder: &'a dyn RunFolder, queue: Option<Queue>) -> Self {
        let enough = run.stop.child_token();
        Self { run, folder, queue: Mutex::new(queue), shares: Mutex::new(None), changed: Notify::new(), enough }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fixes the tests, and writes down with them what a later driver needs to know, unless another machine did; then the tests must be
    /// the same.
    pub(super) fn select(&self, record: &ShardRecord, selection: Selection) -> Result<(), Fault> {
        let mut queue = self.lock();
        if let Some(queue) = queue.as_ref() {
            return agree(&queue.selection().tests, &selection.tests);
        }
        self.write(&Happening::Opened(Box::new(record.clone())))?;
        self.write(&Happening::Selected(Box::new(selection.clone())))?;
        let tests = selection.tests.len();
        let made = queue.insert(Queue::new(selection));
        self.run.tell(TestsEvent::Selected { tests, foreseen: made.foreseen() });
        Ok(())
    }

    /// Asks the queue.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&Queue) -> T) -> Option<T> {
        self.lock().as_ref().map(question)
    }

    /// Writes down what happened, and then lets it happen. Nothing happens to a queue that was never made.
    pub(super) fn record(&self, what: Happening) -> Result<(), Fault> {
        let mut queue = self.lock();
        let Some(queue) = queue.as_mut() else { return Ok(()) };
        self.write(&what)?;
        queue.apply(what);
        if queue.stopped().is_some() {
            self.enough.cancel();
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// What a machine is to do next; tests are its own from then on.
    pub(super) fn take(&self, machine: &MachineId) -> Result<Next, Fault> {
        let mut queue = self.lock();
        let Some(queue) = queue.as_mut() else { return Ok(Next::Done) };
        let next = queue.next(machine);
        if let Next::Part(part) = &next {
            let took = Happening::Took { machine: machine.clone(), part: part.number, tests: part.tests.clone() };
            self.write(&took)?;
            queue.apply(took);
        }
        Ok(next)
    }

    /// The share of all that waits that is a machine's where nobody will be there to hand it out; each machine's is fixed with the first.
    pub(super) fn share(&self, machine: &MachineId) -> Vec<TestName> {
        let queue = self.lock();
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let shares = shares.get_or_insert_with(|| queue.as_ref().map(Queue::share_out).unwrap_or_default());
        shares.remove(machine).unwrap_or_default()
    }

    /// The queue, when nobody works on it any more.
    pub(super) fn into_queue(self) -> Option<Queue> {
        self.queue.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, what: &Happening) -> Result<(), Fault> {
        let entry = Entry { at: self.run.now(), what: what.clone() };
        let line =
            serde_json::to_vec(&entry).map_err(|error| Fault::infrastructure("cannot write JSON").because(error))?;
        self.folder.append_queue(&line)
    }
}

/// Refuses a machine that would run other tests than the first one.
fn agree(first: &[TestName], other: &[TestName]) -> Result<(), Fault> {
    let sorted = |tests: &[TestName]| {
        let mut tests = tests.to_vec();
        tests.sort();
        tests
    };
    if sorted(first) == sorted(other) {
        return Ok(());
    }
    Err(Fault::outside(format!("this machine lists {} tests and the first one listed {}", other.len(), first.len()))
        .hint("Machines of one run must be alike: it is not known of which list a green run would be."))
}
