//! Building the source under test on the machine, or putting a build there that was kept from an earlier run.

use std::time::{Duration, Instant};

use model::base::deadline::Deadline;
use model::build::{Build, BuildOrigin, BuildStore};
use model::connection::Connection;
use model::event::{TestsEvent, TroubleEvent};
use model::exit::Exit;
use model::fault::Fault;
use model::output::follow;

use crate::preparation::turns::BuildFailure;
use crate::run::Run;
use crate::task::durable::Durable;
use crate::task::lines::Lines;
use crate::task::step::do_step;

/// The longest packed result that is fetched: many times the size of a build of Mercurial.
const PACKED_CAP: u64 = 64 << 20;

/// How long a packed result may be on its way home: waiting longer would cost more than it saves.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// The exit status of a build that cannot be made in this way; the runner tries its own.
const CANNOT: Exit = Exit::Code(3);

/// The outcome of a build.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildOutcome {
    /// Where it came from.
    pub built: BuildOrigin,
    /// How long it took, by the wall clock.
    pub took: Duration,
    /// How long another machine of the run was waited for, which made it.
    pub waited: Duration,
    /// How it failed, with its last output; none if the build is there.
    pub failed: Option<BuildFailure>,
}

/// Puts a build in place: a kept one if it fits, else one that is made now, and kept. Of the machines of a run that need the same one,
/// one makes it while the others wait. The outcome reports a build that fails; a machine that is lost meanwhile is a fault.
pub async fn build(run: &Run, durable: &Durable, store: &dyn BuildStore, build: &Build) -> Result<BuildOutcome, Fault> {
    let asked = Instant::now();
    let mut turn = match build.key.as_deref() {
        Some(key) if store.find(key).is_none() => Some(run.turns.take(&run.teller, key, build).await),
        _ => None,
    };
    let (waited, began) = (asked.elapsed(), Instant::now());
    if let Some(failure) = turn.as_deref().and_then(Option::clone) {
        return Ok(BuildOutcome { built: BuildOrigin::Made, took: Duration::ZERO, waited, failed: Some(failure) });
    }
    if let Some(packed) = build.key.as_deref().and_then(|key| store.find(key)) {
        // All that waited go on side by side.
        drop(turn.take());
        if restore(run, durable, store, build, &packed).await? {
            return Ok(BuildOutcome { built: BuildOrigin::Kept, took: began.elapsed(), waited, failed: None });
        }
    }
    let (built, failed) = make(run, durable, build).await?;
    let took = began.elapsed();
    if let (Some(turn), Some(failure)) = (&mut turn, &failed) {
        **turn = Some(failure.clone());
    }
    if built == BuildOrigin::Made
        && failed.is_none()
        && let Some(key) = &build.key
    {
        keep(run, durable, store, build, key).await;
    }
    Ok(BuildOutcome { built, took, waited, failed })
}

/// Builds; the output of the build becomes details of its step.
async fn make(run: &Run, durable: &Durable, build: &Build) -> Result<(BuildOrigin, Option<BuildFailure>), Fault> {
    let showing = run.teller.begin(build.make.work.clone());
    let mut lines = Lines::new(run);
    let deadline = Deadline::after(build.make.limit, format!("the build of {} to end", build.what));
    let exit = follow(durable, &build.make.command, &deadline, &mut |chunk| lines.take(&chunk)).await?;
    let tail = lines.tail();
    match exit {
        Exit::Code(0) => {
            showing.finish();
            Ok((BuildOrigin::Made, None))
        }
        exit if exit == CANNOT => {
            run.tell(TestsEvent::RunnerBuilds { what: build.what.clone(), why: tail });
            Ok((BuildOrigin::Runner, None))
        }
        Exit::Lost(why) => Err(Fault::infrastructure(format!("the build of {} was lost", build.what)).because(why)),
        exit => Ok((BuildOrigin::Made, Some((exit, tail)))),
    }
}

/// Puts the kept build in place, and gives whether it is there now. A build that does not run is of no use to any later
/// run, and is removed from the store.
async fn restore(
    run: &Run,
    durable: &Durable,
    store: &dyn BuildStore,
    build: &Build,
    packed: &[u8],
) -> Result<bool, Fault> {
    durable.write_file(&build.packed, packed, 0o600).await?;
    let done = do_step(run, durable, &build.restore).await?;
    if done.exit.is_success() {
        let (bytes, despite) = (packed.len() as u64, build.despite.clone());
        run.tell(TestsEvent::BuildReused { what: build.what.clone(), bytes, despite });
        return Ok(true);
    }
    if let Exit::Lost(why) = done.exit {
        return Err(
            Fault::infrastructure(format!("the machine was lost with the build of {}", build.what)).because(why)
        );
    }
    run.tell(TestsEvent::BuildUseless { what: build.what.clone() });
    if let Some(Err(fault)) = build.key.as_deref().map(|key| store.remove(key)) {
        run.tell(TroubleEvent::from(&fault));
    }
    Ok(false)
}

/// Fetches the result and keeps it. A failure to keep it is not a reason to end a run.
async fn keep(run: &Run, durable: &Durable, store: &dyn BuildStore, build: &Build, key: &str) {
    let fetching = durable.read_file(&build.packed, PACKED_CAP);
    let kept = match Deadline::after(FETCH_LIMIT, "the result of the build").bound(fetching).await {
        Ok(Ok(packed)) => store.keep(key, &packed),
        Ok(Err(error)) => Err(error.into()),
        Err(expired) => Err(expired.into()),
    };
    if let Err(fault) = kept {
        run.tell(TestsEvent::BuildNotKept { what: build.what.clone(), failure: (&fault).into() });
    }
}
