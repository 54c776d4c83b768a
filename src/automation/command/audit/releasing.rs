//! Waiting for the processes that see to the end of machines: what they do is certain only when they are done.

use std::collections::BTreeSet;
use std::time::Duration;

use model::base::deadline::Deadline;
use model::base::id::RunId;
use model::fault::Fault;
use model::journal::{ResourceFilter, runs_of};
use model::run::{RunRecord, RunState};

use crate::command::release;
use crate::compose::Context;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until the machines of `run`, or of all runs that have come to their end, were seen to; at most as long as whoever does that may
/// take. One that is killed meanwhile is started again.
pub(super) async fn wait(context: &Context, run: Option<&RunId>) -> Result<(), Fault> {
    let deadline = Deadline::after(release::LIMIT, "the machines of runs that have ended to be gone");
    let mut told = BTreeSet::new();
    loop {
        let records = releasing(context, run)?;
        if records.is_empty() {
            return Ok(());
        }
        for RunRecord { id, driver, .. } in &records {
            if told.insert(id.clone()) {
                let pid = driver.pid;
                context
                    .screen
                    .message(&format!("Waiting for process {pid}, which sees to the end of run {id}'s machines."));
            }
        }
        context.go_on_releasing()?;
        deadline.bound(tokio::time::sleep(LOOK)).await?;
    }
}

/// The records of `run`, or of all runs, whose machines are ending.
fn releasing(context: &Context, run: Option<&RunId>) -> Result<Vec<RunRecord>, Fault> {
    let filter = ResourceFilter { run: run.cloned(), open: true, ..ResourceFilter::default() };
    let open = context.journal.resources(&filter)?;
    let mut records = Vec::new();
    for id in runs_of(&open) {
        records.extend(context.journal.run(id)?.filter(|record| record.state == RunState::Releasing));
    }
    Ok(records)
}
