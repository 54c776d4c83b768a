//! All machines of a run whose tests are split: they boot side by side, and each takes tests as soon as it is ready.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::base::id::TestName;
use model::build::BuildStore;
use model::event::RunEvent;
use model::fault::{Fault, FaultKind};
use model::image::ImagePlan;
use model::machine::{Machine, ProviderKind};
use model::mute::Mute;
use model::output::{OutputLimits, run_command};
use model::preparation::Job;
use model::provider::MachineRequest;
use model::run::RunFolder;
use model::runner::{Runner, RunnerRecord};
use model::script::ScriptFile;
use tokio::sync::{Mutex, Notify, OnceCell};

use crate::contract;
use crate::image::bake::{BakeOptions, request_with_image};
use crate::lease::{Completion, LeaseEnd, until_stopped, with_machine};
use crate::order::Order;
use crate::preparation::{cleaning, folder, hold};
use crate::run::Run;
use crate::site::Site;
use crate::task::durable::Durable;
use crate::testing::OnceBegun;
use crate::testing::set_up::{ReadyMachine, set_up};
use crate::testing::shards::board::Board;
use crate::testing::shards::entry::{Closing, Happening, Joined, Policy, Selection};
use crate::testing::shards::outcome::{self, ShardsEnd};
use crate::testing::shards::record::ShardRecord;
use crate::testing::shards::worker::{self, Served, Worker, note_end};
use crate::transfer::artifacts::Fetch;

/// How many times a machine that is lost is replaced.
const SPARE: u32 = 1;

/// Machines that are alike.
pub struct Group<'a> {
    /// Where they come from.
    pub site: &'a Site,
    /// The image to bake first if it is missing; none on machines that somebody else made.
    pub plan: Option<&'a ImagePlan>,
    /// Each of them.
    pub order: &'a Order,
    /// How many there are; at least one.
    pub machines: usize,
}

/// How tests are split.
pub struct Split<'a> {
    /// How they are handed out.
    pub policy: &'a Policy,
    /// What each took before, in seconds, as far as it is known: for machines of the kind that the tests run on.
    pub foreseen: &'a (dyn Fn(&model::subject::TestSubject) -> BTreeMap<TestName, f64> + Sync),
    /// How many processors this computer has.
    pub processors: u32,
}

/// Tests to run on several machines.
pub struct ShardsJob<'a> {
    /// The tests.
    pub runner: &'a dyn Runner,
    /// The machines; at least one group.
    pub groups: &'a [Group<'a>],
    /// How the tests are split.
    pub split: Split<'a>,
    /// How to bake.
    pub baking: &'a BakeOptions,
    /// Scripts with the clauses that the runner adds to the machine contract.
    pub clauses: &'a [ScriptFile],
    /// The files to fetch afterwards.
    pub fetch: &'a Fetch,
    /// How long the tests may take altogether.
    pub limit: Duration,
    /// Whether a run in which every test was skipped is green.
    pub allow_all_skipped: bool,
    /// How long a machine is kept on which a test failed; none for not at all.
    pub keep_failed: Option<Duration>,
    /// The mutes that hold.
    pub mutes: &'a [Mute],
    /// When the job began, for the times of its parts.
    pub began: Instant,
    /// What happens once the tests go on by themselves.
    pub once_begun: OnceBegun<'a>,
}

/// Bakes the images where they are missing, makes the machines, has them take tests from one queue until none waits, and releases them.
/// Gives the end of the tests, or the machines on which they go on. A fault says that no test was begun.
pub async fn run_shards(
    run: &Run,
    job: &ShardsJob<'_>,
    records: &dyn RunFolder,
    builds: &dyn BuildStore,
) -> Result<ShardsEnd, Fault> {
    let mut requests = Vec::new();
    for group in job.groups {
        let first = request_with_image(run, group.site, group.plan, job.baking, group.order).await?;
        let others = (1..group.machines).map(|_| group.order.request(run, run.now()));
        requests.extend(std::iter::once(first).chain(others).map(|request| (group, request)));
    }
    let board = Board::new(run, records, None);
    let drive = Drive {
        run,
        job,
        records,
        builds,
        board: &board,
        turn: &Mutex::new(()),
        record: ShardRecord {
            runner: RunnerRecord::of(job.runner),
            image: job.groups.first().map(|group| group.order.image_words(group.plan)).unwrap_or_default(),
            baking: job.began.elapsed(),
            fetch: job.fetch.clone(),
            allow_all_skipped: job.allow_all_skipped,
            keep_failed: job.keep_failed,
            mutes: job.mutes.to_vec(),
            until: worker::until(run, job.limit),
        },
        unready: &AtomicUsize::new(requests.len()),
        ready: &Notify::new(),
        announced: &Mutex::new(None),
    };
    let all = requests.into_iter().map(|(group, request)| drive.on_machines(group, request));
    let ends = futures_util::future::join_all(all).await;
    let record = drive.record.clone();
    let (left, faults): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
    let left: Vec<Machine> = left.into_iter().flatten().collect();
    let faults: Vec<Fault> = faults.into_iter().flatten().collect();
    let told = faults.iter().filter(|fault| fault.kind != FaultKind::Interrupted);
    match board.into_queue() {
        None => Err(faults.into_iter().next().unwrap_or_else(|| Fault::infrastructure("no machine was made"))),
        Some(queue) => {
            told.for_each(|fault| run.tell(RunEvent::Failed { failure: fault.into() }));
            let why = faults.first().map_or_else(|| "no machine was left to run it".to_owned(), Fault::line);
            Ok(outcome::end(record, &queue, &why, left))
        }
    }
}

/// What all machines of the run share.
struct Drive<'a> {
    run: &'a Run,
    job: &'a ShardsJob<'a>,
    records: &'a dyn RunFolder,
    builds: &'a dyn BuildStore,
    board: &'a Board<'a>,
    /// Held while a build is made that the others can use.
    turn: &'a Mutex<()>,
    record: ShardRecord,
    /// How many machines have not come to their first test, and who waits for that.
    unready: &'a AtomicUsize,
    ready: &'a Notify,
    /// Whether the run was announced, where it is left.
    announced: &'a Mutex<Option<bool>>,
}

/// What became of one place among the machines: the machine that was left, and the fault that ended it.
type PlaceEnd = (Option<Machine>, Option<Fault>);

impl Drive<'_> {
    /// Has a machine serve the queue, and another in its place where it is lost.
    async fn on_machines(&self, group: &Group<'_>, mut request: MachineRequest) -> PlaceEnd {
        let mut spare = SPARE;
        let counted = std::cell::Cell::new(false);
        loop {
            let ended = self.on_machine(group, &request, &counted).await;
            let fault = match ended.result {
                Ok(()) => return (ended.detached, None),
                Err(fault) => fault,
            };
            let waits = self.board.ask(|queue| queue.waits()).unwrap_or(true);
            if spare == 0 || fault.kind != FaultKind::Infrastructure || !waits || self.run.stop.is_cancelled() {
                self.count(&counted);
                return (None, Some(fault));
            }
            spare -= 1;
            self.run.tell(RunEvent::Failed { failure: (&fault).into() });
            request = group.order.request(self.run, self.run.now());
        }
    }

    /// One place more is ready, or never will be.
    fn count(&self, counted: &std::cell::Cell<bool>) {
        if !counted.replace(true) {
            self.unready.fetch_sub(1, Ordering::SeqCst);
            self.ready.notify_waiters();
        }
    }

    async fn on_machine(
        &self,
        group: &Group<'_>,
        request: &MachineRequest,
        counted: &std::cell::Cell<bool>,
    ) -> LeaseEnd<()> {
        let (runner, asked_at) = (self.job.runner, self.run.now());
        let folder = folder(self.run, request.platform);
        let clean = cleaning(runner, request.platform, &folder);
        let ended = with_machine(self.run, group.site, request, &folder, Some(&clean), async |machine, durable| {
            let up_at = self.run.now();
            let target = self.records.write_target(machine)?;
            contract::require_where_it_stays(self.run, durable, self.job.clauses).await?;
            let work = self.serve(machine, durable, &target, (asked_at, up_at), counted);
            hold::with_presence(durable, runner, work).await
        })
        .await;
        note_end(self.run, self.board, &request.id, &ended);
        ended
    }

    async fn serve(
        &self,
        machine: &Machine,
        durable: &Durable,
        target: &Path,
        (asked_at, up_at): (jiff::Timestamp, jiff::Timestamp),
        counted: &std::cell::Cell<bool>,
    ) -> Result<Completion<()>, Fault> {
        let run = &self.run.on(&machine.id);
        let ready = self.set_up(run, machine, durable, target).await?;
        self.select(&ready)?;
        if self.close_unbuilt(&ready)? {
            return Ok(Completion::Release(()));
        }
        let before = ready.before();
        self.board.record(Happening::Joined(Joined {
            machine: machine.id.clone(),
            provider: machine.provider,
            jobs: self.jobs(machine, durable).await?,
            asked_at,
            up_at,
            push: before.push,
            build: before.build,
        }))?;
        let output = self.records.machine_output(&machine.id)?;
        let begun: &(dyn Fn() + Sync) = match self.job.once_begun {
            OnceBegun::Follow(left) => left,
            OnceBegun::Leave(_) => &|| (),
        };
        let worker = Worker {
            run,
            board: self.board,
            runner: self.job.runner,
            durable,
            folder: self.records,
            output: output.as_ref(),
            record: &self.record,
            begun,
            baked: OnceCell::new(),
        };
        self.count(counted);
        let served = match self.job.once_begun {
            OnceBegun::Leave(announce) if !run.stop.is_cancelled() => self.leave(&worker, announce).await,
            _ => worker.serve().await,
        };
        worker.complete(served?).await
    }

    /// Makes a machine ready. Where the source is built and the build can be kept, one machine does that, and the others take it from there.
    async fn set_up(
        &self,
        run: &Run,
        machine: &Machine,
        durable: &Durable,
        target: &Path,
    ) -> Result<ReadyMachine, Fault> {
        let jobs = self.job.runner.set_up(durable.folder(), machine);
        let key = jobs.iter().find_map(|job| match job {
            Job::Build(build) => build.key.as_deref(),
            Job::Step(_) | Job::Send | Job::SendFiles(_) => None,
        });
        let turn = match key {
            Some(key) if self.builds.find(key).is_none() => {
                Some(until_stopped(run, async { Ok(self.turn.lock().await) }).await?)
            }
            _ => None,
        };
        let ready = set_up(run, machine, durable, self.job.runner, target, self.builds).await;
        drop(turn);
        ready
    }

    /// Fixes the tests.
    fn select(&self, ready: &ReadyMachine) -> Result<(), Fault> {
        let (source, subject, built) = ready.tested();
        let tests = ready.expected().to_vec();
        let mut foreseen = (self.job.split.foreseen)(subject);
        let wanted: std::collections::BTreeSet<&TestName> = tests.iter().collect();
        foreseen.retain(|test, _| wanted.contains(test));
        self.board.select(Selection {
            foreseen,
            source: source.to_owned(),
            subject: subject.clone(),
            built,
            policy: self.job.split.policy.clone(),
            tests,
        })
    }

    /// Closes the queue where the source could not be built; gives whether that is so.
    fn close_unbuilt(&self, ready: &ReadyMachine) -> Result<bool, Fault> {
        let Some(ran) = ready.unbuilt_run() else { return Ok(false) };
        let why = format!("the build ended with {}", ran.runner);
        let build = Some((ran.runner, ran.said.unwrap_or_default()));
        let outcome = model::outcome::TestOutcome::NotRun;
        self.board.record(Happening::Closed(Closing { outcome, why, build }))?;
        Ok(true)
    }

    /// How many tests the machine runs at once: as many as it has processors, or its part of those of this computer.
    async fn jobs(&self, machine: &Machine, durable: &Durable) -> Result<u32, Fault> {
        if let Some(jobs) = self.job.runner.jobs() {
            return Ok(jobs);
        }
        if machine.provider == ProviderKind::Local {
            let local = self.job.groups.iter().filter(|group| group.site.provider.kind() == ProviderKind::Local);
            let machines: usize = local.map(|group| group.machines).sum();
            let machines = u32::try_from(machines).unwrap_or(u32::MAX).max(1);
            return Ok((self.job.split.processors / machines).max(1));
        }
        let asked = run_command(durable, &durable.guest().processors(), OutputLimits::SMALL).await?;
        Ok(asked.stdout_text().trim().parse().unwrap_or(1).max(1))
    }

    /// Gives the machine its share of all tests, and leaves it; the last one to begin announces the run.
    async fn leave(
        &self,
        worker: &Worker<'_>,
        announce: &(dyn Fn(&Machine) -> Result<(), Fault> + Sync),
    ) -> Result<Served, Fault> {
        loop {
            let ready = self.ready.notified();
            if self.unready.load(Ordering::SeqCst) == 0 {
                break;
            }
            until_stopped(self.run, async {
                ready.await;
                Ok(())
            })
            .await?;
        }
        let machine = worker.durable.machine();
        let share = self.board.share(&machine.id);
        if share.is_empty() {
            return Ok(Served::Done);
        }
        self.board.record(Happening::Took { machine: machine.id.clone(), part: 1, tests: share.clone() })?;
        let begun = worker.begin(1, share, None).await?;
        let mut announced = self.announced.lock().await;
        let told = if announced.is_none() { announce(machine) } else { Ok(()) };
        *announced.get_or_insert(told.is_ok()) &= told.is_ok();
        if *announced == Some(true) {
            return Ok(Served::Left);
        }
        drop(announced);
        self.run.stop.cancel();
        // Their results do not matter, but a machine that stays must not go on running them.
        drop(worker.follow(&begun).await);
        Err(told.err().unwrap_or_else(|| Fault::new(FaultKind::Interrupted, "interrupted")))
    }
}
