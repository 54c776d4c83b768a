//! A task that goes on by itself on its machine: what it takes to follow it, from this process or a later one, and following
//! it to its end, with its output kept piece by piece even when it is told to end.

use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::{MachineId, TaskId};
use model::base::text;
use model::connection::Process;
use model::event::{MachineEvent, TroubleEvent};
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::task::{Chunk, Command, Offsets, TaskOutput, TaskRecord};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::lease::{Completion, until_stopped};
use crate::run::{Run, saturating_add};
use crate::task::durable::{Durable, Task};

/// How long a task that was told to stop may take to do so, with its last output kept. It is less than a machine's
/// flow leaves for last words.
const ENDING_LIMIT: Duration = Duration::from_secs(12);

/// How long output waits for room on this computer, and the pause between two tries.
const ROOM_LIMIT: Duration = Duration::from_secs(15 * 60);
const ROOM_PAUSE: Duration = Duration::from_secs(3);

/// A task that was begun, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunTask {
    /// The machine.
    pub machine: MachineId,
    /// The task on it.
    #[serde(rename = "task")]
    pub id: TaskId,
    /// The folder on the machine of the task and its supervisor.
    pub folder: String,
    /// When it was begun, by the clock here.
    pub began_at: Timestamp,
    /// How long it may take from then.
    #[serde(with = "clock::seconds")]
    pub limit: Duration,
    /// How much of each stream the run's log held before it; nothing, unless the caller that keeps this sets it.
    pub log_base: Offsets,
}

/// How a task ended that was followed.
#[derive(Debug, Clone)]
pub struct TaskEnd {
    /// How it ended; lost where it was ended here.
    pub exit: Exit,
    /// What the machine wrote down of its end; none where nothing is known of that.
    pub record: Option<TaskRecord>,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
}

/// What happens once a task goes on by itself on its machine.
#[derive(Clone, Copy)]
pub enum OnceBegun<'a> {
    /// It is followed to its end, after a call that says that it could be left from now on.
    Follow(&'a (dyn Fn() + Sync)),
    /// It is left, after a call that says where it is. If the call fails, nobody would know of it: it is
    /// cancelled, and the call's fault is the result.
    Leave(&'a (dyn Fn(&Machine) -> Result<(), Fault> + Sync)),
}

impl TaskEnd {
    /// How long the task ran: by the machine's clock if it left a record, for it may have ended long before anybody looked.
    pub fn took(&self, began_at: Timestamp, now: Timestamp) -> Duration {
        match &self.record {
            Some(record) => clock::since(record.started_at, record.ended_at),
            None => clock::since(began_at, now),
        }
    }
}

impl OnceBegun<'_> {
    /// Goes on with a task that was begun on `machine`: `following` it to its end, or leaving it there.
    pub async fn go_on<T>(
        self,
        run: &Run,
        machine: &Machine,
        following: impl Future<Output = Result<Completion<Option<T>>, Fault>>,
    ) -> Result<Completion<Option<T>>, Fault> {
        match self {
            // A user who interrupts at the last moment wants nothing left there.
            Self::Leave(announce) if !run.stop.is_cancelled() => match announce(machine) {
                Ok(()) => return Ok(Completion::Detach(None)),
                Err(fault) => {
                    run.stop.cancel();
                    // What came of it so far does not matter, but a machine that stays must not go on running it.
                    drop(following.await);
                    return Err(fault);
                }
            },
            Self::Leave(_) => {}
            Self::Follow(left) => left(),
        }
        following.await
    }
}

impl BegunTask {
    /// Starts it, at most once, and returns. A connection that cannot be made again is not an error here: following the task reports that.
    pub async fn launch(&self, run: &Run, durable: &Durable, command: &Command) -> Result<(), Fault> {
        match until_stopped(run, async { Ok(durable.launch_task(&self.id, command).await?) }).await {
            Err(fault) if fault.kind != FaultKind::Infrastructure => Err(fault),
            _ => Ok(()),
        }
    }

    /// Waits for its end and keeps its output; none when the run is asked to leave it running. `stop` ends it, as its limit does.
    pub async fn follow(
        &self,
        run: &Run,
        durable: &Durable,
        output: &dyn TaskOutput,
        stop: &CancellationToken,
    ) -> Result<Option<TaskEnd>, Fault> {
        let from = || {
            let (kept, base) = (output.offsets(), self.log_base);
            let stdout = kept.stdout.saturating_sub(base.stdout);
            durable.follow_task(&self.id, Offsets { stdout, stderr: kept.stderr.saturating_sub(base.stderr) })
        };
        let limit = self.limit;
        let mut over = clock::since(run.now(), saturating_add(self.began_at, limit));
        // A driver that comes after the limit still takes what ended before it. If the machine cannot be asked,
        // following says why.
        if over.is_zero() && durable.has_ended(&self.id).await.unwrap_or(true) {
            over = Duration::MAX;
        }
        let mut task = from();
        let (why, timed_out) = tokio::select! {
            biased;
            ended = self.keep_output(run, &mut task, output) => {
                return ended.map(|()| Some(TaskEnd { exit: task.exit(), record: task.record().cloned(), timed_out: false }));
            }
            () = run.detach.cancelled() => return Ok(None),
            () = stop.cancelled() => ("interrupted".to_owned(), false),
            () = tokio::time::sleep(over) => (format!("waited {} for its end", text::seconds(limit)), true),
        };
        // The last output is kept, as far as it comes in time. A piece that was on its way just now comes again: following
        // begins at the end of the kept output.
        let mut task = from();
        let ending = async {
            let ended = durable.cancel_task(&self.id).await;
            if let Err(fault) = &ended {
                run.tell(TroubleEvent::from(fault));
            }
            // If the task could not be ended, following it would not end either.
            if ended.is_ok() { self.keep_output(run, &mut task, output).await } else { Ok(()) }
        };
        if let Ok(kept) = tokio::time::timeout(ENDING_LIMIT, ending).await {
            kept?;
        }
        Ok(Some(TaskEnd { exit: Exit::Lost(why), record: None, timed_out }))
    }

    /// Keeps the task's output until its end.
    async fn keep_output(&self, run: &Run, task: &mut Task, output: &dyn TaskOutput) -> Result<(), Fault> {
        while let Some(chunk) = task.next().await {
            if let Err(fault) = output.append(&chunk) {
                run.teller.machine(&self.machine, MachineEvent::OutputWaits { failure: (&fault).into() });
                wait_for_room(run, &chunk, output).await?;
            }
        }
        Ok(())
    }
}

/// Tries for a while to keep a piece that could not be kept. The task's output waits on the machine meanwhile.
async fn wait_for_room(run: &Run, chunk: &Chunk, output: &dyn TaskOutput) -> Result<(), Fault> {
    let began = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(ROOM_PAUSE).await;
        match output.append(chunk) {
            Ok(()) => return Ok(()),
            Err(fault) if began.elapsed() >= ROOM_LIMIT => {
                let hint =
                    format!("The task goes on on the machine: make room, then `automation runs attach {}`.", run.id);
                return Err(fault.hint(hint));
            }
            Err(_) => {}
        }
    }
}
