//! Seeing to the end of a run's machines when the run itself is over, in a process of its own.

use std::time::Duration;

use flow::down::{self, Ended};
use model::base::deadline::Deadline;
use model::base::id::RunId;
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::Machine;
use model::run::{RunRecord, RunState};
use state::file::Lock;
use state::runs::RunDir;

use crate::command::error::{self, exit};
use crate::compose::Context;

/// How long the process that starts this one may take to write down what it knows, and to let go of the run.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(60);

/// The pause between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// How long all of it may take: a provider gives an instance ten minutes to end, and may be out of reach for some time. What is left
/// then is shown by `audit`.
pub(crate) const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// Sees to the end of the machines of `run`, and ends its record. What it does and what fails goes to standard error, which is the run's
/// `release.log`.
pub(crate) async fn run(context: Context, run: &RunId) -> Result<i32, Fault> {
    // Neither a Ctrl-C on the terminal that the run was started on, nor the terminal's end, is meant for this process.
    let _ = rustix::process::setsid();
    let dir = context.state.run(run)?;
    let Some((record, _driving)) = take_over(&context, &dir).await? else { return Ok(exit::OK) };
    let deadline = Deadline::after(LIMIT, format!("the machines of run {run} to end"));
    while !end_machines(&context, run).await? {
        if deadline.remaining() < AGAIN {
            context.screen.message("Nobody sees to the rest from here on; `automation audit` shows it.");
            break;
        }
        tokio::time::sleep(AGAIN).await;
    }
    context.journal.update_run(&record.into_released())?;
    let filter = ResourceFilter { run: Some(run.clone()), open: true, ..ResourceFilter::default() };
    let left = context.journal.resources(&filter)?;
    if left.is_empty() {
        context.screen.message(&format!("Nothing of run {run} is left behind."));
    }
    Ok(if left.is_empty() { exit::OK } else { exit::LEFT_BEHIND })
}

/// The run's record, and the right to drive it; none where there is nothing to see to, or another process does.
async fn take_over(context: &Context, dir: &RunDir) -> Result<Option<(RunRecord, Lock)>, Fault> {
    let deadline =
        Deadline::after(TAKE_OVER_LIMIT, format!("the process that drives run {} to let go of it", dir.id()));
    loop {
        if let Some(driving) = dir.lock_driver()? {
            let record = context.journal.run(dir.id())?.filter(|record| record.state == RunState::Releasing);
            let Some(record) = record else { return Ok(None) };
            let record = RunRecord { driver: state::process::current()?, ..record };
            context.journal.update_run(&record)?;
            return Ok(Some((record, driving)));
        }
        deadline.bound(tokio::time::sleep(LOOK)).await?;
    }
}

/// Ends the machines of the run that were not kept; whether all are gone. What failed is told.
async fn end_machines(context: &Context, run: &RunId) -> Result<bool, Fault> {
    let mut machines = context.journal.machines()?;
    machines.retain(|machine| machine.run == *run && !machine.kept);
    let mut all = true;
    let mut report = |Machine { id, .. }: &Machine, ended: Ended| match ended {
        Ended::Gone | Ended::Unwritten => context.screen.message(&format!("Ended {id}, nothing is left of it.")),
        Ended::Stays(remaining) => {
            all = false;
            for row in &remaining {
                let why = row.explanation().unwrap_or_default();
                context.screen.message(&format!("{id}: {} {} is there still: {why}", row.kind.name(), row.name));
            }
        }
        Ended::Failed(fault) => {
            all = false;
            context.screen.message(&format!("{id}: {}", fault.line()));
        }
    };
    match down::down(&context.estate(), &machines, &|| context.state.is_full(), &mut report).await {
        Ok(()) => Ok(all),
        // The network may be gone, or credentials have expired; both come back.
        Err(fault) => {
            context.screen.message(&error::render(&fault));
            Ok(false)
        }
    }
}
