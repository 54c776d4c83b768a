//! One machine that takes tests from the queue: set up, given part after part, and left or given back.

use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::{MachineId, TaskId, TestName};
use model::connection::{Connection, ConnectionError};
use model::event::{RunEvent, TestsEvent, TroubleEvent};
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::mute;
use model::outcome::{TestOutcome, TestResult};
use model::provider::ability::Notice;
use model::run::RunFolder;
use model::runner::{Part, Runner};
use model::task::{Offsets, TaskOutput};
use tokio::sync::OnceCell;

use crate::lease::{Completion, LeaseEnd};
use crate::run::{Run, saturating_add};
use crate::task::begun::BegunTask;
use crate::task::durable::Durable;
use crate::testing::shards::board::Board;
use crate::testing::shards::entry::{Closing, Happening, PartEnd};
use crate::testing::shards::outcome;
use crate::testing::shards::queue::Next;
use crate::testing::shards::record::{ShardRecord, ShardTask};
use crate::testing::{BegunTests, Finished, Records, finish};

/// How long a file of the image that describes it may be.
const BAKED_CAP: u64 = 1 << 20;

/// A machine that is ready for tests.
pub(super) struct Worker<'a> {
    pub(super) run: &'a Run,
    pub(super) board: &'a Board<'a>,
    pub(super) runner: &'a dyn Runner,
    pub(super) durable: &'a Durable,
    /// The folder of the run.
    pub(super) folder: &'a dyn RunFolder,
    pub(super) output: &'a dyn TaskOutput,
    /// What a later driver needs to know of every part alike.
    pub(super) record: &'a ShardRecord,
    /// Called each time that tests go on by themselves.
    pub(super) begun: &'a (dyn Fn() + Sync),
    /// What the image tells of itself, once it was asked; none where it does not.
    pub(super) baked: OnceCell<Option<Vec<u8>>>,
}

/// What became of a machine's tests.
#[derive(Debug)]
pub(super) enum Served {
    /// It has no more to do.
    Done,
    /// Its tests go on without us.
    Left,
}

impl Worker<'_> {
    fn machine(&self) -> &Machine {
        self.durable.machine()
    }

    /// Takes parts until there are none.
    pub(super) async fn serve(&self) -> Result<Served, Fault> {
        loop {
            // Made before the queue is asked, so that no change between the two is missed.
            let changed = self.board.changed.notified();
            let over = self.board.ask(|queue| queue.is_done()).unwrap_or_default();
            if let Some(notice) = self.durable.notice().filter(|_| !over) {
                return Err(self.lost(taken_back(self.machine(), &notice)));
            }
            if self.run.now() >= self.record.until {
                self.close("the time for the tests was over before it was begun")?;
            }
            match self.board.take(&self.machine().id)? {
                Next::Done => return Ok(Served::Done),
                Next::Part(part) => {
                    let begun = self.begin(part.number, part.tests, None).await?;
                    if let Served::Left = self.follow(&begun).await? {
                        return self.leave_rest(&begun).await;
                    }
                }
                Next::Wait => {
                    let rest = clock::since(self.run.now(), self.record.until);
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(rest) => {}
                        _ = self.durable.noticed() => {}
                        () = self.run.stop.cancelled() => return Ok(Served::Done),
                        () = self.run.detach.cancelled() => return Ok(Served::Left),
                    }
                }
            }
        }
    }

    fn close(&self, why: &str) -> Result<(), Fault> {
        let outcome = model::outcome::TestOutcome::Lost;
        self.board.record(Happening::Closed(Closing { outcome, why: why.to_owned(), build: None }))
    }

    /// Begins a part, which is this machine's already; behind another one, if that is still at work.
    pub(super) async fn begin(
        &self,
        number: u32,
        tests: Vec<TestName>,
        behind: Option<&BegunTests>,
    ) -> Result<BegunTests, Fault> {
        let folder = self.durable.folder();
        let baked = self.baked.get_or_try_init(|| self.read_baked()).await?;
        let jobs = self.board.ask(|queue| queue.jobs_of(&self.machine().id)).unwrap_or(1);
        let step = self.runner.run(folder, baked.as_deref(), Some(Part { number, tests: &tests, jobs }));
        let tested = self.board.ask(|queue| {
            let selection = queue.selection();
            (selection.source.clone(), selection.subject.clone(), selection.built)
        });
        let (source, subject, built) =
            tested.ok_or_else(|| Fault::infrastructure("a part was begun before its tests were fixed"))?;
        let begun = BegunTests {
            task: BegunTask {
                machine: self.machine().id.clone(),
                id: TaskId::random(),
                folder: folder.to_owned(),
                began_at: self.run.now(),
                limit: clock::since(self.run.now(), self.record.until),
                log_base: if behind.is_some() { Offsets::default() } else { self.output.offsets() },
            },
            part: Some(number),
            expected: tests,
            source,
            subject,
            built: Some(built),
            before: crate::preparation::SetUpTimes::default(),
        };
        let parts = behind.into_iter().chain([&begun]).cloned().collect();
        ShardTask { record: self.record.clone(), parts }.keep(self.folder, &self.machine().id)?;
        let command = match behind {
            None => Some(step.command),
            Some(first) => self.durable.guest().after(folder, &first.task.id, &step.command),
        };
        let Some(command) = command else { return Ok(begun) };
        begun.task.launch(self.run, self.durable, &command).await?;
        (self.begun)();
        Ok(begun)
    }

    async fn read_baked(&self) -> Result<Option<Vec<u8>>, Fault> {
        match self.durable.read_file(&self.runner.layout().baked, BAKED_CAP).await {
            Ok(baked) => Ok(Some(baked)),
            Err(ConnectionError::File { .. }) => Ok(None),
            Err(error) => Err(self.lost(error.into())),
        }
    }

    /// Follows a part to its end, and tells the queue.
    pub(super) async fn follow(&self, begun: &BegunTests) -> Result<Served, Fault> {
        let counted = std::sync::atomic::AtomicU32::new(0);
        let most = self.board.ask(|queue| queue.failures_left()).flatten();
        let is_muted = |test: &TestName| mute::find(&self.record.mutes, test).is_some();
        let watch = |result: &TestResult| {
            let failed = result.outcome.is_failure() && !is_muted(&result.name);
            let count = counted.fetch_add(u32::from(failed), std::sync::atomic::Ordering::Relaxed) + u32::from(failed);
            // The other machines are told when this part has ended.
            if failed && most.is_some_and(|most| count >= most) {
                self.board.enough.cancel();
            }
        };
        let stop = self.board.enough.child_token();
        let records = Records { folder: self.folder, output: self.output, stop: stop.clone(), watch: &watch };
        let stopping = async {
            self.durable.noticed().await;
            stop.cancel();
            std::future::pending::<Infallible>().await
        };
        let ended = tokio::select! {
            biased;
            ended = finish(self.run, self.durable, self.runner, begun, &records) => ended?,
            never = stopping => match never {},
        };
        let ran = match ended {
            Finished::Detached => return Ok(Served::Left),
            Finished::Ran(ran) => ran,
        };
        let part = begun.part.unwrap_or_default();
        let machine = self.machine().id.clone();
        let exit = ran.runner.clone();
        let muted = |test: TestResult| TestResult { muted: mute::find(&self.record.mutes, &test.name), ..test };
        let mut results: Vec<TestResult> = ran.tests.into_iter().map(muted).collect();
        let unbuilt = match self.board.ask(|queue| queue.has_any_result()).unwrap_or_default() {
            // What is tested can be run: it is the machine that cannot run it any more, and another may.
            true => {
                results.iter_mut().for_each(lose_what_was_not_run);
                None
            }
            false => unbuilt(&results, &exit, ran.said),
        };
        // A part that had come to its end by itself is judged as ever.
        let taken_back = self.durable.notice().is_some() && matches!(exit, Exit::Lost(_));
        let end =
            PartEnd { exit: ran.runner, gap: ran.gap, caveats: ran.caveats, took: ran.testing, results, taken_back };
        self.board.record(Happening::Ended { machine, part, end: Box::new(end) })?;
        self.run.tell(TestsEvent::PartEnded { part });
        if self.board.ask(|queue| queue.is_withdrawn(&self.machine().id)).unwrap_or_default() {
            self.run.tell(TestsEvent::MachineWithdrawn);
        }
        if let Some(closing) = unbuilt {
            self.board.record(Happening::Closed(closing))?;
        }
        match exit {
            // The next look at the queue says why.
            Exit::Lost(_) if taken_back => Ok(Served::Done),
            Exit::Lost(why) if !self.board.enough.is_cancelled() && self.run.now() < self.record.until => {
                Err(self.lost(Fault::infrastructure(format!("machine {} was lost", self.machine().id)).because(why)))
            }
            _ => Ok(Served::Done),
        }
    }

    /// Gives back the parts that were handed out and are not among `begun`: the driver died before it began them.
    pub(super) fn give_back_unbegun(&self, begun: &[BegunTests]) -> Result<(), Fault> {
        let machine = &self.machine().id;
        for part in self.board.ask(|queue| queue.parts_of(machine)).unwrap_or_default() {
            if !begun.iter().any(|begun| begun.part == Some(part)) {
                self.board.record(Happening::Returned { machine: machine.clone(), part })?;
            }
        }
        Ok(())
    }

    /// What is to become of the machine, whose tests were served: its files come home, and one on which a test failed may be kept.
    pub(super) async fn complete(&self, served: Served) -> Result<Completion<()>, Fault> {
        if let Served::Left = served {
            return Ok(Completion::Detach(()));
        }
        let fetch = &self.record.fetch;
        if let Some(fetched) = outcome::fetch(self.run, self.durable, self.runner, fetch, self.folder.path()).await {
            self.board.record(fetched)?;
        }
        let failed = self.board.ask(|queue| queue.has_failed_on(&self.machine().id)).unwrap_or_default();
        Ok(match self.record.keep_failed.filter(|_| failed && !self.run.stop.is_cancelled()) {
            Some(span) => Completion::Keep((), span),
            None => Completion::Release(()),
        })
    }

    /// Notes that the machine takes no more tests.
    fn lost(&self, fault: Fault) -> Fault {
        note_lost(self.run, self.board, &self.machine().id, &fault);
        fault
    }

    /// Gives the machine its share of all that waits, to be begun when its present part has ended: nobody hands it out any more.
    async fn leave_rest(&self, present: &BegunTests) -> Result<Served, Fault> {
        let share = self.board.share(&self.machine().id);
        if share.is_empty() || self.durable.guest().after("", &present.task.id, &Default::default()).is_none() {
            return Ok(Served::Left);
        }
        let (machine, part) = (self.machine().id.clone(), present.part.unwrap_or_default() + 1);
        self.board.record(Happening::Took { machine, part, tests: share.clone() })?;
        if let Err(fault) = self.begin(part, share, Some(present)).await {
            self.run.tell(RunEvent::Failed { failure: (&fault).into() });
        }
        Ok(Served::Left)
    }
}

/// The loss of a machine of which notice was given.
fn taken_back(machine: &Machine, notice: &Notice) -> Fault {
    Fault::infrastructure(format!("machine {} was lost", machine.id)).because(notice.why.as_str())
}

/// Does `work`, unless notice is given before that the machine is taken back.
pub(super) async fn unless_taken_back<T>(
    durable: &Durable,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::select! {
        biased;
        done = work => done,
        notice = durable.noticed() => Err(taken_back(durable.machine(), &notice)),
    }
}

fn lose_what_was_not_run(test: &mut TestResult) {
    if test.outcome == TestOutcome::NotRun {
        test.outcome = TestOutcome::Lost;
    }
}

/// The end of all tests, where the runner could not build what they test: it could not on any other machine.
fn unbuilt(results: &[TestResult], exit: &Exit, said: Option<String>) -> Option<Closing> {
    let not_run = |test: &TestResult| test.outcome == TestOutcome::NotRun;
    let first = results.first().filter(|_| results.iter().all(not_run))?;
    let why = first.reason.clone().unwrap_or_else(|| "nothing was built".to_owned());
    Some(Closing { outcome: TestOutcome::NotRun, why, build: Some((exit.clone(), said.unwrap_or_default())) })
}

/// Notes that a machine takes no more tests, unless the run was told to stop: then it was not lost. The run goes on where that cannot be
/// written down.
pub(super) fn note_lost(run: &Run, board: &Board<'_>, machine: &MachineId, fault: &Fault) {
    if fault.kind == FaultKind::Interrupted {
        return;
    }
    let lost = Happening::Lost { machine: machine.clone(), why: fault.line() };
    if let Err(fault) = board.record(lost) {
        run.tell(TroubleEvent::from(&fault));
    }
}

/// Notes the end of a machine, unless tests go on on it.
pub(super) fn note_end(run: &Run, board: &Board<'_>, machine: &MachineId, ended: &LeaseEnd<()>) {
    if let Err(fault) = &ended.result {
        note_lost(run, board, machine, fault);
    }
    let left = Happening::Left { machine: machine.clone(), cost: ended.cost };
    if ended.detached.is_none()
        && let Err(fault) = board.record(left)
    {
        run.tell(TroubleEvent::from(&fault));
    }
}

/// When tests that begin now must have ended.
pub(super) fn until(run: &Run, limit: Duration) -> Timestamp {
    saturating_add(run.now(), limit)
}
