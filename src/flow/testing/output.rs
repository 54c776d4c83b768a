//! The output of tests while they run: kept piece by piece until their end, even when they are told to end.

use std::time::Duration;

use model::base::clock;
use model::connection::Process;
use model::event::{TestsEvent, TroubleEvent};
use model::exit::Exit;
use model::fault::Fault;
use model::task::{Chunk, Offsets, TaskOutput, TaskRecord};

use crate::run::{Run, saturating_add};
use crate::task::durable::{Durable, Task};
use crate::testing::{BegunTests, Records};

/// How long tests that were told to stop may take to do so, with their last output kept. It is less than a machine's
/// flow leaves for last words.
const ENDING_LIMIT: Duration = Duration::from_secs(12);

/// How long output waits for room on this computer, and the pause between two tries.
const ROOM_LIMIT: Duration = Duration::from_secs(15 * 60);
const ROOM_PAUSE: Duration = Duration::from_secs(3);

/// Waits for the runner's end and keeps its output; none when it is to be left running.
pub(super) async fn until_ended(
    run: &Run,
    durable: &Durable,
    begun: &BegunTests,
    records: &Records<'_>,
) -> Result<Option<(Exit, Option<TaskRecord>)>, Fault> {
    let output = records.output;
    let from = || {
        let (kept, base) = (output.offsets(), begun.log_base);
        let stdout = kept.stdout.saturating_sub(base.stdout);
        durable.follow_task(&begun.task, Offsets { stdout, stderr: kept.stderr.saturating_sub(base.stderr) })
    };
    let limit = begun.limit;
    let mut over = clock::since(run.now(), saturating_add(begun.began_at, limit));
    // A driver that comes after the limit still takes tests that ended before it. If the machine cannot be asked,
    // following says why.
    if over.is_zero() && durable.has_ended(&begun.task).await.unwrap_or(true) {
        over = Duration::MAX;
    }
    let mut task = from();
    let why = tokio::select! {
        biased;
        ended = keep_output(run, &mut task, output) => return ended.map(|()| Some((task.exit(), task.record().cloned()))),
        () = run.detach.cancelled() => return Ok(None),
        () = records.stop.cancelled() => "interrupted".to_owned(),
        () = tokio::time::sleep(over) => format!("waited {limit:?} for the tests to end"),
    };
    // The last output is kept, as far as it comes in time. A piece that was on its way just now comes again: following
    // begins at the end of the kept output.
    let mut task = from();
    let ending = async {
        let ended = durable.cancel_task(&begun.task).await;
        if let Err(fault) = &ended {
            run.tell(TroubleEvent::from(fault));
        }
        // If the task could not be ended, following it would not end either.
        if ended.is_ok() { keep_output(run, &mut task, output).await } else { Ok(()) }
    };
    if let Ok(kept) = tokio::time::timeout(ENDING_LIMIT, ending).await {
        kept?;
    }
    Ok(Some((Exit::Lost(why), None)))
}

/// Keeps a task's output until its end.
async fn keep_output(run: &Run, task: &mut Task, output: &dyn TaskOutput) -> Result<(), Fault> {
    while let Some(chunk) = task.next().await {
        if let Err(fault) = output.append(&chunk) {
            run.tell(TestsEvent::OutputWaits { failure: (&fault).into() });
            wait_for_room(run, &chunk, output).await?;
        }
    }
    Ok(())
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
                    format!("The tests go on on the machine: make room, then `automation runs attach {}`.", run.id);
                return Err(fault.hint(hint));
            }
            Err(_) => {}
        }
    }
}
