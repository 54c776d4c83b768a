//! A command that runs again on its machine each time its files change.

use std::path::Path;

use async_trait::async_trait;
use model::base::id::TaskId;
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::preparation::UserCommand;

use crate::command::{
    CommandJob, CommandOutcome, CommandRecords, CommandTask, begin, complete, follow_to_end, memory_kills, settle,
};
use crate::lease::{Completion, until_stopped};
use crate::preparation::prepare;
use crate::run::Run;
use crate::task::begun::BegunTask;
use crate::task::durable::Durable;

/// Waits for changes of the files that a command works on.
#[async_trait]
pub trait Watch: Send + Sync {
    /// The command has come to an end; it will run again.
    fn ended(&self, outcome: &CommandOutcome);

    /// Why the files that there are now were not run with; none where they were.
    fn unseen(&self) -> Option<Fault>;

    /// Waits until files have changed; gives the command with the files that there are then.
    async fn next(&self) -> Result<Box<dyn UserCommand>, Fault>;
}

/// Follows a command that was begun to its end, and runs it again after each change, until the run is asked to stop. What it came to last
/// counts.
pub(super) async fn run_again(
    run: &Run,
    (machine, durable): (&Machine, &Durable),
    (job, watch): (&CommandJob<'_>, &dyn Watch),
    task: &mut CommandTask,
    (records, target): (&CommandRecords<'_>, &Path),
) -> Result<Completion<Option<CommandOutcome>>, Fault> {
    let mut changed: Option<Box<dyn UserCommand>> = None;
    loop {
        let command = changed.as_deref().unwrap_or(job.command);
        let Some(ended) = follow_to_end(run, durable, command, task, records).await? else {
            return Ok(Completion::Detach(None));
        };
        let outcome = settle(run, durable, command, task, records, ended).await;
        watch.ended(&outcome);
        let next = match until_stopped(run, watch.next()).await {
            Ok(next) => next,
            // What came of files that are not there any more is no answer.
            Err(fault) if fault.kind == FaultKind::Interrupted => match watch.unseen() {
                Some(why) => return Err(why),
                None => return Ok(complete(run, task, outcome)),
            },
            Err(fault) => return Err(fault),
        };
        until_stopped(run, prepare(run, machine, durable, next.as_ref(), target, records.builds)).await?;
        let begun = BegunTask {
            id: TaskId::random(),
            began_at: run.now(),
            log_base: records.output.offsets(),
            ..task.begun.clone()
        };
        *task = CommandTask { begun, memory_kills: memory_kills(durable), ..task.clone() };
        begin(run, durable, next.as_ref(), task, records).await?;
        changed = Some(next);
    }
}
