//! Going on with a run whose tests were split, as another driver left it.

use model::event::RunEvent;
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::run::RunFolder;
use model::runner::Runner;
use tokio::sync::OnceCell;

use crate::lease::{self, Completion, LeaseEnd};
use crate::preparation::{cleaning, folder, hold};
use crate::run::Run;
use crate::site::Site;
use crate::task::durable::Durable;
use crate::testing::shards::board::Board;
use crate::testing::shards::entry::{Happening, entries};
use crate::testing::shards::outcome::{self, ShardsEnd};
use crate::testing::shards::queue::Queue;
use crate::testing::shards::record::{ShardRecord, ShardTask};
use crate::testing::shards::worker::{Served, Worker, note_end, note_lost};

/// Split tests that an earlier driver began.
pub struct ShardsRun {
    /// What all machines have alike.
    pub record: ShardRecord,
    /// Its runner.
    pub runner: Box<dyn Runner>,
    /// Its machines that are still there, each with where it came from.
    pub machines: Vec<(Machine, Site)>,
    /// What its machines had begun.
    pub tasks: Vec<ShardTask>,
}

impl ShardsRun {
    /// What the folder of split tests says of them; none where no test was fixed.
    pub fn record(folder: &dyn RunFolder) -> Result<Option<ShardRecord>, Fault> {
        let Some(lines) = folder.queue()? else { return Ok(None) };
        let (mut opened, mut is_fixed) = (None, false);
        for entry in entries(&lines) {
            match entry.what {
                Happening::Opened(record) => opened = Some(*record),
                Happening::Selected(_) => is_fixed = true,
                _ => {}
            }
        }
        match opened {
            _ if !is_fixed => Ok(None),
            Some(record) => Ok(Some(record)),
            // A folder of an older build has it with each machine.
            None => Ok(ShardTask::read(folder)?.into_iter().next().map(|task| task.record)),
        }
    }
}

/// Goes on with a run: its machines end what they had begun and take what waits. Machines that had not come to their first test are
/// released, and those that are gone are not replaced.
pub(super) async fn resume_shards(
    run: &Run,
    shards: ShardsRun,
    kept: &dyn RunFolder,
    begun: &(dyn Fn() + Sync),
) -> Result<ShardsEnd, Fault> {
    let queue = Queue::replay(entries(&kept.queue()?.unwrap_or_default()));
    let Some(queue) = queue else { return Err(Fault::outside("the queue of the run's tests cannot be read")) };
    let gone: Vec<_> =
        queue.living().filter(|id| !shards.machines.iter().any(|(machine, _)| machine.id == **id)).cloned().collect();
    let board = Board::new(run, kept, Some(queue));
    for machine in gone {
        note_lost(
            run,
            &board,
            &machine,
            &Fault::infrastructure("it ended before its tests were followed to their end"),
        );
    }
    let resume = Resume { run, board: &board, runner: shards.runner.as_ref(), kept, begun };
    let tasks = shards.tasks;
    let ends = shards.machines.into_iter().map(|(machine, site)| {
        let task = tasks.iter().find(|task| task.is_on(&machine.id));
        resume.on_machine(machine, site, task)
    });
    let (mut left, mut why) = (Vec::new(), None);
    for ended in futures_util::future::join_all(ends).await {
        left.extend(ended.detached);
        if let Err(fault) = ended.result {
            why.get_or_insert_with(|| fault.line());
            if fault.kind != FaultKind::Interrupted {
                run.tell(RunEvent::Failed { failure: (&fault).into() });
            }
        }
    }
    let queue = board.into_queue().ok_or_else(|| Fault::infrastructure("the queue of the run's tests was lost"))?;
    let why = why.unwrap_or_else(|| "no machine was left to run it".to_owned());
    Ok(outcome::end(shards.record, &queue, &why, left))
}

struct Resume<'a> {
    run: &'a Run,
    board: &'a Board<'a>,
    runner: &'a dyn Runner,
    kept: &'a dyn RunFolder,
    begun: &'a (dyn Fn() + Sync),
}

impl Resume<'_> {
    async fn on_machine(&self, machine: Machine, site: Site, task: Option<&ShardTask>) -> LeaseEnd<()> {
        let run = &self.run.on(&machine.id);
        let id = machine.id.clone();
        let folder = folder(run, machine.platform);
        let clean = cleaning(self.runner, machine.platform, &folder);
        let ended = lease::attach(run, &site, machine, &folder, Some(&clean), async |_, durable| match task {
            // It had not come to its first test.
            None => Ok(Completion::Release(())),
            Some(task) => hold::with_presence(durable, self.runner, self.go_on(run, durable, task)).await,
        })
        .await;
        note_end(run, self.board, &id, &ended);
        ended
    }

    /// Follows what the machine had begun, and serves it after that.
    async fn go_on(&self, run: &Run, durable: &Durable, task: &ShardTask) -> Result<Completion<()>, Fault> {
        let output = self.kept.machine_output(&durable.machine().id)?;
        let worker = Worker {
            run,
            board: self.board,
            runner: self.runner,
            durable,
            folder: self.kept,
            output: output.as_ref(),
            record: &task.record,
            begun: self.begun,
            baked: OnceCell::new(),
        };
        (self.begun)();
        let has = self.board.ask(|queue| queue.parts_of(&durable.machine().id)).unwrap_or_default();
        for part in task.parts.iter().filter(|part| part.part.is_some_and(|number| has.contains(&number))) {
            if let Served::Left = worker.follow(part).await? {
                return worker.complete(Served::Left).await;
            }
        }
        worker.give_back_unbegun(&task.parts)?;
        worker.complete(worker.serve().await?).await
    }
}
