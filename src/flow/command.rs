//! A user's command on a machine of its own: the source comes there, the command is begun and followed to its end, or left there,
//! and its files come home.

pub mod cells;
mod terminal;
mod watch;

use std::time::{Duration, Instant};

use model::artifact::CollectedArtifacts;
use model::base::clock;
use model::base::id::TaskId;
use model::build::BuildStore;
use model::connection::Connection;
use model::event::{RunEvent, TroubleEvent};
use model::exit::Exit;
use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::Machine;
use model::preparation::{SecretFile, UserCommand};
use model::provider::MachineRequest;
use model::run::RunFolder;
use model::task::{Offsets, TaskOutput};
use model::work::Work;
use serde::{Deserialize, Serialize};

use crate::command::terminal::run_on_terminal;
use crate::command::watch::run_again;
use crate::contract;
use crate::image::bake::{BakeOptions, request_with_image};
use crate::lease::{self, Completion, LeaseEnd, until_stopped, with_machine};
use crate::order::Order;
use crate::preparation::{SetUpTimes, cleaning, folder, hold, prepare};
use crate::run::Run;
use crate::site::Site;
use crate::task::begun::{BegunTask, OnceBegun};
use crate::task::durable::Durable;
use crate::task::files::make_folder;
use crate::transfer::artifacts::{self, Fetch};
use crate::transfer::sync_back::{self, SyncBack, SyncedBack};

pub use terminal::{Conversation, was_on_terminal};
pub use watch::Watch;

/// The exit status of a command that was not run; one that was may have it too.
const NOT_RUN: Exit = Exit::Code(125);

/// The longest reason that is read.
const EXCUSE_CAP: u64 = 4096;

/// A command to run on a machine of its own.
pub struct CommandJob<'a> {
    /// The command, with its source.
    pub command: &'a dyn UserCommand,
    /// The image to bake first if it is missing; none on a machine that somebody else made.
    pub plan: Option<&'a ImagePlan>,
    /// How to bake it.
    pub baking: &'a BakeOptions,
    /// The machine.
    pub order: &'a Order,
    /// How long the command may take; none leaves that to the command's own limit.
    pub limit: Option<Duration>,
    /// The files to fetch afterwards.
    pub fetch: &'a Fetch,
    /// How long the machine is kept where the command fails; none for not at all.
    pub keep_failed: Option<Duration>,
    /// The files that are brought back into the folder that they came from; none for none.
    pub sync_back: Option<&'a SyncBack>,
    /// Who talks with the command on a terminal. Such a command does not go on without its driver.
    pub conversation: Option<&'a dyn Conversation>,
    /// Who waits for changes of its files, where it runs again after each.
    pub watch: Option<&'a dyn Watch>,
    /// What happens once the command goes on by itself.
    pub once_begun: OnceBegun<'a>,
}

/// Where things of the run are kept on this computer.
pub struct CommandRecords<'a> {
    /// The run's folder.
    pub folder: &'a dyn RunFolder,
    /// The command's output, in that folder.
    pub output: &'a dyn TaskOutput,
    /// The builds that are kept.
    pub builds: &'a dyn BuildStore,
}

/// Everything that a later driver needs to know of a command that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandTask {
    /// The settings from which the command is made again.
    pub settings: serde_json::Value,
    /// The image that the machine was booted from, in words.
    pub image: String,
    /// How long making the image took.
    #[serde(with = "clock::seconds")]
    pub baking: Duration,
    /// How long it took from then until the machine was up.
    #[serde(with = "clock::seconds")]
    pub booting: Duration,
    /// How long making the machine ready took.
    #[serde(flatten)]
    pub before: SetUpTimes,
    /// The command on its machine.
    pub begun: BegunTask,
    /// The files to fetch after it.
    pub fetch: Fetch,
    /// How many processes the machine's limit of memory had ended before it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_kills: Option<u64>,
    /// How long the machine is kept where it fails.
    #[serde(default, with = "clock::optional_seconds")]
    pub keep_failed: Option<Duration>,
    /// The files to bring back after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_back: Option<SyncBack>,
}

/// What a command came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandOutcome {
    /// How it ended; lost where that is not known, or where it was ended.
    pub exit: Exit,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// How long it ran.
    #[serde(with = "clock::seconds")]
    pub took: Duration,
    /// The most memory that it used, bytes, where that is known.
    pub peak_memory: Option<u64>,
    /// Whether it failed and the machine's limit of memory had ended a process meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub memory_limit: bool,
    /// The files that were fetched; none if none were asked for.
    pub artifacts: Option<CollectedArtifacts>,
    /// The files that were brought back; none if none were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_back: Option<SyncedBack>,
}

impl CommandOutcome {
    /// What is wrong with the files that were to come home.
    pub fn lack(&self) -> Option<Fault> {
        let fetched = self.artifacts.as_ref().and_then(CollectedArtifacts::fault);
        fetched.or_else(|| self.synced_back.as_ref().and_then(SyncedBack::fault))
    }
}

/// The end of a job, and what was written down of its command; none where that never began.
pub type CommandEnd = (LeaseEnd<Option<CommandOutcome>>, Option<CommandTask>);

impl CommandTask {
    /// Reads the record of a run; none if its command was never begun.
    pub fn read(folder: &dyn RunFolder) -> Result<Option<Self>, Fault> {
        let Some(task) = folder.tasks()?.into_iter().next() else { return Ok(None) };
        let read = serde_json::from_slice(&task.text);
        read.map(Some).map_err(|error| Fault::outside(format!("`{}` is damaged", task.path.display())).because(error))
    }

    fn keep(&self, folder: &dyn RunFolder) -> Result<(), Fault> {
        folder.keep_task(&self.begun.machine, &json(self)?)
    }
}

impl CommandOutcome {
    /// Reads what an earlier driver knew before it released the machine; a file that cannot be read is as good as none.
    pub fn read(folder: &dyn RunFolder) -> Option<Self> {
        serde_json::from_slice(&folder.outcome().ok()??).ok()
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec_pretty(value).map_err(|error| Fault::infrastructure("cannot write JSON").because(error))
}

/// Bakes the image where it is missing, makes the machine, begins the command on it and follows it, or leaves it there. The
/// machine is released unless the command was left.
pub async fn run_command(
    run: &Run,
    site: &Site,
    job: &CommandJob<'_>,
    records: &CommandRecords<'_>,
) -> Result<CommandEnd, Fault> {
    let began = Instant::now();
    let request = request_with_image(run, site, job.plan, job.baking, job.order).await?;
    let work = CommandOnMachine { job, records, began, baked_in: began.elapsed() };
    Ok(work.run(run, site, &request).await)
}

/// A job whose image is there.
struct CommandOnMachine<'a> {
    job: &'a CommandJob<'a>,
    records: &'a CommandRecords<'a>,
    /// When it began, for the times of its parts.
    began: Instant,
    /// How long it took until the image was there.
    baked_in: Duration,
}

impl CommandOnMachine<'_> {
    async fn run(&self, run: &Run, site: &Site, request: &MachineRequest) -> CommandEnd {
        let command = self.job.command;
        let folder = folder(run, request.platform);
        let clean = cleaning(command, request.platform, &folder);
        let mut task = None;
        let ended = with_machine(run, site, request, &folder, Some(&clean), async |machine, durable| {
            let booting = self.began.elapsed().saturating_sub(self.baked_in);
            contract::require_where_it_stays(run, durable, &[]).await?;
            let work = self.work(run, machine, durable, booting, &mut task);
            hold::with_presence(durable, command, work).await
        })
        .await;
        (ended, task)
    }

    /// Makes the machine ready and runs the command on it.
    async fn work(
        &self,
        run: &Run,
        machine: &Machine,
        durable: &Durable,
        booting: Duration,
        kept: &mut Option<CommandTask>,
    ) -> Result<Completion<Option<CommandOutcome>>, Fault> {
        let job = self.job;
        let run = &run.on(&machine.id);
        let target = self.records.folder.write_target(machine)?;
        let began = Instant::now();
        let preparing = prepare(run, machine, durable, job.command, &target, self.records.builds);
        let (before, _) = until_stopped(run, preparing).await?;
        let mut sync_back = job.sync_back.cloned();
        if let Some(files) = &mut sync_back {
            until_stopped(run, files.note_there(durable, job.command.root())).await?;
        }
        let limit = job.command.run(durable.folder()).limit;
        let task = kept.insert(CommandTask {
            settings: job.command.settings(),
            image: job.order.image_words(job.plan),
            baking: self.baked_in,
            booting,
            before: SetUpTimes { setup: began.elapsed(), ..before },
            begun: BegunTask {
                machine: machine.id.clone(),
                id: TaskId::random(),
                folder: durable.folder().to_owned(),
                began_at: run.now(),
                limit: job.limit.unwrap_or(limit),
                log_base: Offsets::default(),
            },
            memory_kills: memory_kills(durable),
            fetch: job.fetch.clone(),
            keep_failed: job.keep_failed,
            sync_back,
        });
        if let Some(conversation) = job.conversation {
            return run_on_terminal(run, durable, job.command, task, self.records, conversation).await;
        }
        begin(run, durable, job.command, task, self.records).await?;
        if let Some(watch) = job.watch {
            return run_again(run, (machine, durable), (job, watch), task, (self.records, &target)).await;
        }
        job.once_begun.go_on(run, machine, follow(run, durable, job.command, task, self.records)).await
    }
}

/// How many processes the limit of a machine's memory has ended, where that is known.
fn memory_kills(durable: &Durable) -> Option<u64> {
    durable.site().provider.abilities().memory?.kills(&durable.machine().id)
}

/// Whether a command failed and the limit of the machine's memory had ended a process meanwhile.
fn met_memory_limit(durable: &Durable, task: &CommandTask, exit: &Exit) -> bool {
    let kills = task.memory_kills.zip(memory_kills(durable).filter(|_| !exit.is_success()));
    kills.is_some_and(|(before, now)| now > before)
}

/// Begins the command on its machine, where nobody has to follow it.
async fn begin(
    run: &Run,
    durable: &Durable,
    command: &dyn UserCommand,
    task: &CommandTask,
    records: &CommandRecords<'_>,
) -> Result<(), Fault> {
    task.keep(records.folder)?;
    if let Some(secrets) = command.secrets(durable.folder()) {
        until_stopped(run, send_secrets(durable, &secrets)).await?;
    }
    task.begun.launch(run, durable, &command.run(durable.folder()).command).await
}

/// Puts secrets where the command takes them from.
async fn send_secrets(durable: &Durable, secrets: &SecretFile) -> Result<(), Fault> {
    make_folder(durable, &secrets.folder).await?;
    Ok(durable.write_file(&secrets.path, &secrets.bytes, 0o600).await?)
}

/// Goes on with a command that another driver began on `machine`, and ends as that driver would have done.
pub async fn resume_command(
    run: &Run,
    site: &Site,
    machine: Machine,
    command: &dyn UserCommand,
    task: &CommandTask,
    records: &CommandRecords<'_>,
) -> LeaseEnd<Option<CommandOutcome>> {
    let folder = &task.begun.folder;
    let clean = cleaning(command, machine.platform, folder);
    lease::attach(run, site, machine, folder, Some(&clean), async |_, durable| {
        hold::with_presence(durable, command, follow(run, durable, command, task, records)).await
    })
    .await
}

/// Follows the command to its end, or until the user leaves it. If its output can no longer be kept here it is left as well: it goes on,
/// and can be followed once there is room.
async fn follow(
    run: &Run,
    durable: &Durable,
    command: &dyn UserCommand,
    task: &CommandTask,
    records: &CommandRecords<'_>,
) -> Result<Completion<Option<CommandOutcome>>, Fault> {
    if let Some(outcome) = CommandOutcome::read(records.folder) {
        return Ok(Completion::Release(Some(outcome)));
    }
    let outcome = match follow_to_end(run, durable, command, task, records).await? {
        Some(ended) => settle(run, durable, command, task, records, ended).await,
        None => return Ok(Completion::Detach(None)),
    };
    // Releasing takes a while; a driver that dies during it must not lose what is known.
    if let Err(fault) = json(&outcome).and_then(|text| records.folder.store_outcome(&text)) {
        run.tell(TroubleEvent::from(&fault));
    }
    Ok(complete(run, task, outcome))
}

/// Follows the command to its end; none where the user leaves it.
async fn follow_to_end(
    run: &Run,
    durable: &Durable,
    command: &dyn UserCommand,
    task: &CommandTask,
    records: &CommandRecords<'_>,
) -> Result<Option<CommandExit>, Fault> {
    let machine = &run.on(&durable.machine().id);
    let showing = machine.teller.begin(Work::RunningCommand { line: command.line() });
    let ended = match task.begun.follow(machine, durable, records.output, &run.stop).await {
        Ok(Some(ended)) => ended,
        Ok(None) => return Ok(None),
        Err(fault) if run.stop.is_cancelled() => return Err(fault),
        Err(fault) => {
            run.tell(RunEvent::Failed { failure: (&fault).into() });
            return Ok(None);
        }
    };
    showing.finish();
    Ok(Some(CommandExit {
        took: ended.took(task.begun.began_at, run.now()),
        memory_limit: met_memory_limit(durable, task, &ended.exit),
        exit: ended.exit,
        timed_out: ended.timed_out,
        peak_memory: ended.record.and_then(|record| record.peak_memory),
    }))
}

/// How a command ended on its machine.
struct CommandExit {
    exit: Exit,
    took: Duration,
    timed_out: bool,
    peak_memory: Option<u64>,
    memory_limit: bool,
}

/// Brings the files of a command that ended home; gives what it came to.
async fn settle(
    run: &Run,
    durable: &Durable,
    command: &dyn UserCommand,
    task: &CommandTask,
    records: &CommandRecords<'_>,
    ended: CommandExit,
) -> CommandOutcome {
    let run = &run.on(&durable.machine().id);
    let CommandExit { exit, took, timed_out, peak_memory, memory_limit } = ended;
    let exit = excused(durable, command, exit).await;
    let artifacts = fetch(run, durable, command, task, records.folder).await;
    let synced_back = bring_back(run, durable, command, task, records.folder).await;
    CommandOutcome { exit, timed_out, took, peak_memory, memory_limit, artifacts, synced_back }
}

/// What becomes of the machine.
fn complete(run: &Run, task: &CommandTask, outcome: CommandOutcome) -> Completion<Option<CommandOutcome>> {
    match task.keep_failed.filter(|_| !outcome.exit.is_success() && !run.stop.is_cancelled()) {
        Some(span) => Completion::Keep(Some(outcome), span),
        None => Completion::Release(Some(outcome)),
    }
}

/// How the command ended: a status that is not its own is no end of it.
async fn excused(durable: &Durable, command: &dyn UserCommand, exit: Exit) -> Exit {
    if exit != NOT_RUN {
        return exit;
    }
    match durable.read_file(&command.excuse_file(durable.folder()), EXCUSE_CAP).await {
        Ok(why) => Exit::Lost(String::from_utf8_lossy(&why).trim().to_owned()),
        Err(_) => exit,
    }
}

/// Fetches the files that were asked for, also after a command that failed. The machine goes either way, and a failure is
/// part of the outcome.
async fn fetch(
    run: &Run,
    durable: &Durable,
    command: &dyn UserCommand,
    task: &CommandTask,
    kept: &dyn RunFolder,
) -> Option<CollectedArtifacts> {
    if task.fetch.wanted.is_empty() || run.stop.is_cancelled() {
        return None;
    }
    let into = task.fetch.folder(kept.path());
    let root = hold::root(durable, command, command.root(), &task.begun.folder).await;
    match until_stopped(run, artifacts::collect(&run.teller, durable, &root, &task.fetch.wanted, &into)).await {
        Ok(collected) => Some(collected),
        Err(fault) => {
            Some(CollectedArtifacts { folder: into, failed: Some(fault.line()), ..CollectedArtifacts::default() })
        }
    }
}

/// Brings files back into the folder that they came from, also after a command that failed.
async fn bring_back(
    run: &Run,
    durable: &Durable,
    command: &dyn UserCommand,
    task: &CommandTask,
    kept: &dyn RunFolder,
) -> Option<SyncedBack> {
    let files = task.sync_back.as_ref().filter(|_| !run.stop.is_cancelled())?;
    let root = hold::root(durable, command, command.root(), &task.begun.folder).await;
    let into = kept.path().join("changed");
    match until_stopped(run, sync_back::sync_back(&run.teller, durable, &root, files, &into)).await {
        Ok(synced) => Some(synced),
        Err(fault) => Some(SyncedBack { failed: Some(fault.line()), ..SyncedBack::default() }),
    }
}
