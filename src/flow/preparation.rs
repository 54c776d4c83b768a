//! Preparing a machine for the work of a project: its files there, its turn on a machine that stays, its source.

pub mod build;
pub mod hold;

use std::path::Path;
use std::time::{Duration, Instant};

use model::base::clock;
use model::build::BuildStore;
use model::event::TestsEvent;
use model::fault::{Fault, FaultKind};
use model::machine::{Machine, Platform};
use model::output::{OutputLimits, run_command};
use model::preparation::{Job, Preparation};
use model::task::StepCommand;
use model::work::Work;
use serde::{Deserialize, Serialize};

use crate::preparation::build::{BuildOutcome, build};
use crate::run::Run;
use crate::task::durable::Durable;
use crate::task::files::write_files;
use crate::task::step::{do_step, failed};

/// How many times sending the source is tried again after its connection broke.
const MORE_SENDS: u32 = 2;

/// How long making a machine ready for tests took, by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetUpTimes {
    /// All steps together.
    #[serde(with = "clock::seconds")]
    pub setup: Duration,
    /// Of that, bringing the source there.
    #[serde(default, with = "clock::seconds")]
    pub push: Duration,
    /// Of that, building it.
    #[serde(default, with = "clock::seconds")]
    pub build: Duration,
}

/// The folder for the scripts of this run on a machine of this kind.
pub fn folder(run: &Run, platform: Platform) -> String {
    guest::of(platform).run_folder(&run.id)
}

/// How long removing a run's files from a machine may take.
const CLEANING_LIMIT: Duration = Duration::from_secs(120);

/// The step that removes what a run left on a machine that stays, with its folder: what the work made outside of the
/// folder goes first.
pub fn cleaning(preparation: &dyn Preparation, platform: Platform, folder: &str) -> StepCommand {
    match preparation.tenancy() {
        Some(tenancy) => tenancy.clean(folder),
        None => {
            let command = guest::of(platform).remove_run(folder, None);
            StepCommand { work: Work::RemovingFiles, command, limit: CLEANING_LIMIT }
        }
    }
}

/// Puts the files there, waits for the machine's turn, and does the jobs that make it ready. `target` is a file on this
/// computer that describes the machine to processes that send the source. Gives how long the parts of it took, and the
/// outcome of a build if there was one to make.
pub async fn prepare(
    run: &Run,
    machine: &Machine,
    durable: &Durable,
    preparation: &dyn Preparation,
    target: &Path,
    builds: &dyn BuildStore,
) -> Result<(SetUpTimes, Option<BuildOutcome>), Fault> {
    let mut jobs = preparation.set_up(durable.folder(), machine);
    let put_files = async {
        durable.prepare().await?;
        write_files(durable, &preparation.files(), durable.folder()).await
    };
    let mut sending = None;
    if !machine.provider.machines_stay() && matches!(jobs.first(), Some(Job::Send)) {
        // Nobody's turn has to be waited for, and neither needs the other.
        jobs.remove(0);
        sending = Some(Instant::now());
        futures_util::try_join!(put_files, send(run, durable, preparation, target))?;
    } else {
        put_files.await?;
        hold::hold(run, durable, preparation).await?;
    }
    let outcome = run_jobs(run, durable, preparation, jobs, (target, builds), &mut sending).await?;
    let build = outcome.as_ref().map_or(Duration::ZERO, |outcome| outcome.took);
    // The jobs after the sending belong to it: the source is checked out, changes are applied.
    let push = sending.map_or(Duration::ZERO, |since| since.elapsed().saturating_sub(build));
    Ok((SetUpTimes { build, push, ..SetUpTimes::default() }, outcome))
}

/// Does a step that must succeed; the preparation explains its failure.
pub(crate) async fn take_step(
    run: &Run,
    durable: &Durable,
    preparation: &dyn Preparation,
    step: &StepCommand,
) -> Result<(), Fault> {
    let done = do_step(run, durable, step).await?;
    if done.exit.is_success() {
        return Ok(());
    }
    Err(preparation.explain(step, &done).unwrap_or_else(|| failed(step, &done)))
}

/// Does the jobs that make a machine ready, and tells when the source began to be sent; gives the outcome of a build if there was
/// one to make.
async fn run_jobs(
    run: &Run,
    durable: &Durable,
    preparation: &dyn Preparation,
    jobs: Vec<Job>,
    (target, builds): (&Path, &dyn BuildStore),
    sending: &mut Option<Instant>,
) -> Result<Option<BuildOutcome>, Fault> {
    let mut outcome = None;
    for job in jobs {
        match job {
            Job::Step(step) => take_step(run, durable, preparation, &step).await?,
            Job::Send => {
                sending.get_or_insert_with(Instant::now);
                send(run, durable, preparation, target).await?;
            }
            Job::Build(job) => outcome = Some(build(run, durable, builds, &job).await?),
        }
    }
    Ok(outcome)
}

/// Sends the source to the machine. A process on this computer does that over a connection of its own: if that breaks
/// and the machine still answers, it is done again, and sends only what is still missing.
async fn send(run: &Run, durable: &Durable, preparation: &dyn Preparation, target: &Path) -> Result<(), Fault> {
    let mut tries = 0;
    loop {
        let fault = match preparation.send(target, &run.teller).await {
            Err(fault) if fault.kind == FaultKind::Infrastructure && tries < MORE_SENDS => fault,
            done => return done,
        };
        tries += 1;
        run.tell(TestsEvent::SendingAgain { failure: (&fault).into() });
        // That process had a connection of its own, and what kept it away is told best by another one: a key that is not the
        // machine's is no reason to try again.
        durable.reach_anew().await?;
        // Only the machine itself can show that it still exists: this waits for as long as it may.
        run_command(durable, &durable.guest().nothing(), OutputLimits::SMALL).await?;
    }
}
