//! Preparing a machine for the work of a project: its files there, its turn on a machine that stays, its source.

pub mod build;
pub mod hold;
pub mod turns;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::base::clock;
use model::build::BuildStore;
use model::connection::Connection;
use model::event::{StepEvent, TestsEvent};
use model::fault::{Fault, FaultKind};
use model::machine::{Machine, Platform};
use model::output::{OutputLimits, run_command};
use model::preparation::{FilesToSend, Job, Preparation};
use model::task::StepCommand;
use model::work::{Moved, Work};
use serde::{Deserialize, Serialize};

use crate::preparation::build::{BuildOutcome, build};
use crate::run::Run;
use crate::task::durable::Durable;
use crate::task::files::write_files;
use crate::task::step::{do_step, failed};
use crate::transfer::sync;

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
    let mut done = JobsDone { sending, ..JobsDone::default() };
    done.run(run, durable, preparation, jobs, (target, builds)).await?;
    let JobsDone { sending, sent, outcome } = done;
    let (build, waited) = outcome.as_ref().map_or_else(Default::default, |outcome| (outcome.took, outcome.waited));
    // The jobs after the sending belong to it: the source is checked out, changes are applied.
    let push = sending.map_or(sent, |since| since.elapsed().saturating_sub(build + waited));
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
        if let Some(remark) = preparation.remark(step, &done) {
            run.tell(remark);
        }
        return Ok(());
    }
    Err(preparation.explain(step, &done).unwrap_or_else(|| failed(step, &done)))
}

/// What is known of the jobs that make a machine ready.
#[derive(Default)]
struct JobsDone {
    /// When the source began to be sent by a process of this computer.
    sending: Option<Instant>,
    /// How long files were sent over the connection that is there.
    sent: Duration,
    /// The outcome of a build; none where there was none to make.
    outcome: Option<BuildOutcome>,
}

impl JobsDone {
    /// Does the jobs.
    async fn run(
        &mut self,
        run: &Run,
        durable: &Durable,
        preparation: &dyn Preparation,
        jobs: Vec<Job>,
        (target, builds): (&Path, &dyn BuildStore),
    ) -> Result<(), Fault> {
        for job in jobs {
            match job {
                Job::Step(step) => take_step(run, durable, preparation, &step).await?,
                Job::Send => {
                    self.sending.get_or_insert_with(Instant::now);
                    send(run, durable, preparation, target).await?;
                }
                Job::SendFiles(files) => {
                    let began = Instant::now();
                    send_files(run, durable, &files).await?;
                    self.sent += began.elapsed();
                }
                Job::Build(job) => self.outcome = Some(build(run, durable, builds, &job).await?),
            }
        }
        Ok(())
    }
}

/// The folders, and then the rest with the oldest first: what comes first is the older one on the machine, too, and some builds go by that.
fn by_age(from: &Path, paths: &[PathBuf]) -> Vec<PathBuf> {
    let age = |path: &PathBuf| match std::fs::symlink_metadata(from.join(path)) {
        Ok(found) if !found.is_dir() => Some((found.mtime(), found.mtime_nsec())),
        _ => None,
    };
    let mut paths = paths.to_vec();
    // Equal keys keep their order, so that a folder stays before its entries.
    paths.sort_by_cached_key(age);
    paths
}

/// Sends files to the machine. The connection repeats it where it breaks.
async fn send_files(run: &Run, durable: &Durable, files: &FilesToSend) -> Result<(), Fault> {
    let sending = run.teller.begin(Work::SendingFiles { from: files.name.clone() });
    let moved = AtomicU64::new(0);
    let progress = |bytes: u64| {
        let done = moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        run.tell(StepEvent::Moved { done, total: None });
    };
    let (files, bytes) = match &files.memory {
        Some(memory) => {
            let done = sync::sync_own(durable, &run.teller, files, memory).await?;
            (done.files as u64, done.bytes)
        }
        None => {
            let paths = by_age(&files.from, &files.paths);
            let totals = durable.trees()?.upload_some(&files.from, &paths, &files.to, &progress).await?;
            (totals.files, totals.bytes)
        }
    };
    sending.finish_with(Moved { files, bytes });
    Ok(())
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
