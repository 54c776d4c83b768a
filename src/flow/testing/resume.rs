//! Going on with tests that were begun: every driver does that, the first and any later one.

use model::artifact::CollectedArtifacts;
use model::base::text;
use model::event::{RunEvent, TroubleEvent};
use model::fault::Fault;
use model::machine::Machine;
use model::outcome::count;
use model::run::RunFolder;
use model::runner::Runner;

use crate::lease::{self, Completion, LeaseEnd, until_stopped};
use crate::preparation::{cleaning, hold};
use crate::run::Run;
use crate::site::Site;
use crate::task::durable::Durable;
use crate::testing::{Finished, Records, TestTask, Tested, finish};
use crate::transfer::artifacts;

/// How many last lines of a build that failed are shown, and in how many last bytes of the output they are looked for.
const LAST_LINES: usize = 20;
const LAST_BYTES: u64 = 64 << 10;

/// Goes on with tests that another driver began on `machine`, and ends as that driver would have done: their outcome is
/// kept, and the machine is released, or left to them.
pub async fn resume(
    run: &Run,
    site: &Site,
    machine: Machine,
    runner: &dyn Runner,
    task: &TestTask,
    records: &Records<'_>,
) -> LeaseEnd<Option<Tested>> {
    let folder = &task.begun.task.folder;
    let clean = cleaning(runner, machine.platform, folder);
    lease::attach(run, site, machine, folder, Some(&clean), async |_, durable| {
        hold::with_presence(durable, runner, follow(run, durable, runner, task, records)).await
    })
    .await
}

/// Follows tests that were begun to their end, or until the user leaves them. If their output can no longer be kept
/// here, they are left as well: they go on, and can be followed once there is room.
pub async fn follow(
    run: &Run,
    durable: &Durable,
    runner: &dyn Runner,
    task: &TestTask,
    records: &Records<'_>,
) -> Result<Completion<Option<Tested>>, Fault> {
    if let Some(tested) = Tested::read(records.folder) {
        return Ok(Completion::Release(Some(tested)));
    }
    match finish(run, durable, runner, &task.begun, records).await {
        Ok(Finished::Ran(mut ran)) => {
            if count(&ran.tests).not_run > 0 {
                let said = records.folder.last_output(LAST_BYTES)?;
                ran.said = Some(text::last_lines(&String::from_utf8_lossy(&said), LAST_LINES));
            }
            let artifacts = fetch(run, durable, runner, task, records.folder).await;
            let tested = Tested { ran: *ran, artifacts };
            // Releasing takes a while; a driver that dies during it must not lose what is known.
            if let Err(fault) = tested.keep(records.folder) {
                run.tell(TroubleEvent::from(&fault));
            }
            let failed = tested.ran.tests.iter().any(|test| test.outcome.is_failure());
            Ok(match task.keep_failed.filter(|_| failed && !run.stop.is_cancelled()) {
                Some(span) => Completion::Keep(Some(tested), span),
                None => Completion::Release(Some(tested)),
            })
        }
        Ok(Finished::Detached) => Ok(Completion::Detach(None)),
        Err(fault) if run.stop.is_cancelled() => Err(fault),
        Err(fault) => {
            run.tell(RunEvent::Failed { failure: (&fault).into() });
            Ok(Completion::Detach(None))
        }
    }
}

/// Fetches the files that were asked for, also after tests that failed. The machine goes either way, and a failure is
/// part of the result.
async fn fetch(
    run: &Run,
    durable: &Durable,
    runner: &dyn Runner,
    task: &TestTask,
    kept: &dyn RunFolder,
) -> Option<CollectedArtifacts> {
    if task.fetch.wanted.is_empty() || run.stop.is_cancelled() {
        return None;
    }
    let folder = task.fetch.folder(kept.path());
    let teller = run.on(&durable.machine().id).teller;
    let root = hold::root(durable, runner, &runner.layout().root, &task.begun.task.folder).await;
    let collecting = artifacts::collect(&teller, durable, &root, &task.fetch.wanted, &folder);
    match until_stopped(run, collecting).await {
        Ok(collected) => Some(collected),
        Err(fault) => Some(CollectedArtifacts { folder, failed: Some(fault.line()), ..CollectedArtifacts::default() }),
    }
}
