//! All machines of a run whose tests are split: they boot side by side, and each takes tests as soon as it is ready.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use model::base::id::TestName;
use model::build::BuildStore;
use model::event::RunEvent;
use model::fault::{Fault, FaultKind};
use model::image::ImagePlan;
use model::machine::{Machine, ProviderKind};
use model::output::{OutputLimits, run_command};
use model::provider::MachineRequest;
use model::run::RunFolder;
use model::runner::{Runner, RunnerRecord};
use tokio::sync::OnceCell;

use crate::contract;
use crate::image::bake::{BakeOptions, request_with_image};
use crate::lease::{Completion, LeaseEnd, with_machine};
use crate::order::Order;
use crate::preparation::{cleaning, folder, hold};
use crate::run::Run;
use crate::site::Site;
use crate::task::begun::OnceBegun;
use crate::task::durable::Durable;
use crate::testing::TestTerms;
use crate::testing::set_up::{ReadyMachine, set_up};
use crate::testing::shards::board::Board;
use crate::testing::shards::crew::{Counted, Crew};
use crate::testing::shards::entry::{Closing, Happening, Joined, Policy, Selection};
use crate::testing::shards::outcome::{self, ShardsEnd};
use crate::testing::shards::record::ShardRecord;
use crate::testing::shards::worker::{self, Served, Worker, note_end};

/// How many times a machine that is lost is replaced.
const SPARE: u32 = 1;

/// Machines that are alike.
pub struct Group<'a> {
    /// Where they come from.
    pub site: &'a Site,
    /// The image to bake first if it is missing; none on machines that somebody else made.
    pub plan: Option<&'a ImagePlan>,
    /// How to bake it.
    pub baking: BakeOptions,
    /// Each of them.
    pub order: &'a Order,
    /// How many there are; at least one.
    pub machines: usize,
}

/// How tests are split.
#[derive(Clone, Copy)]
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
    /// What holds for the tests anywhere.
    pub terms: TestTerms<'a>,
    /// How long the tests may take altogether.
    pub limit: Duration,
    /// What happens once the tests go on by themselves.
    pub once_begun: OnceBegun<'a>,
}

impl ShardsJob<'_> {
    /// How many machines it takes.
    pub(super) fn machines(&self) -> usize {
        self.groups.iter().map(|group| group.machines).sum()
    }
}

/// Bakes the images where they are missing, makes the machines, has them take tests from one queue until none waits, and releases them.
/// Gives the end of the tests, or the machines on which they go on. A fault says that no test was begun.
pub(super) async fn run_shards(
    run: &Run,
    job: &ShardsJob<'_>,
    records: &dyn RunFolder,
    builds: &dyn BuildStore,
    crew: &Crew,
) -> Result<ShardsEnd, Fault> {
    let places: Vec<Counted> = (0..job.machines()).map(|_| Counted::default()).collect();
    let ended = drive(run, job, (records, builds), crew, &places).await;
    places.iter().for_each(|place| crew.is_ready(place));
    ended
}

async fn drive(
    run: &Run,
    job: &ShardsJob<'_>,
    (records, builds): (&dyn RunFolder, &dyn BuildStore),
    crew: &Crew,
    places: &[Counted],
) -> Result<ShardsEnd, Fault> {
    let began = Instant::now();
    let mut requests = Vec::new();
    for group in job.groups {
        let first = request_with_image(run, group.site, group.plan, &group.baking, group.order).await?;
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
        crew,
        record: ShardRecord {
            runner: RunnerRecord::of(job.runner),
            image: job.groups.first().map(|group| group.order.image_words(group.plan)).unwrap_or_default(),
            baking: began.elapsed(),
            fetch: job.terms.fetch.clone(),
            allow_all_skipped: job.terms.allow_all_skipped,
            keep_failed: job.terms.keep_failed,
            mutes: job.terms.mutes.to_vec(),
            until: worker::until(run, job.limit),
        },
    };
    let all = requests.into_iter().zip(places);
    let all = all.map(|((group, request), place)| drive.on_machines(group, request, place));
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
    crew: &'a Crew,
    record: ShardRecord,
}

/// What became of one place among the machines: the machine that was left, and the fault that ended it.
type PlaceEnd = (Option<Machine>, Option<Fault>);

impl Drive<'_> {
    /// Has a machine serve the queue, and another in its place where it is lost.
    async fn on_machines(&self, group: &Group<'_>, request: MachineRequest, place: &Counted) -> PlaceEnd {
        let end = self.until_served(group, request, place).await;
        self.crew.is_ready(place);
        end
    }

    async fn until_served(&self, group: &Group<'_>, mut request: MachineRequest, place: &Counted) -> PlaceEnd {
        // Another machine of somebody else's is not to be had.
        let mut spare = if group.site.provider.kind() == ProviderKind::Host { 0 } else { SPARE };
        loop {
            let ended = self.on_machine(group, &request, place).await;
            let fault = match ended.result {
                Ok(()) => return (ended.detached, None),
                Err(fault) => fault,
            };
            let waits = self.board.ask(|queue| queue.waits()).unwrap_or(true);
            if spare == 0 || fault.kind != FaultKind::Infrastructure || !waits || self.run.stop.is_cancelled() {
                return (None, Some(fault));
            }
            spare -= 1;
            self.run.tell(RunEvent::Failed { failure: (&fault).into() });
            request = group.order.request(self.run, self.run.now());
        }
    }

    async fn on_machine(&self, group: &Group<'_>, request: &MachineRequest, place: &Counted) -> LeaseEnd<()> {
        let (runner, asked_at) = (self.job.runner, self.run.now());
        let folder = folder(self.run, request.platform);
        let clean = cleaning(runner, request.platform, &folder);
        let ended = with_machine(self.run, group.site, request, &folder, Some(&clean), async |machine, durable| {
            let up_at = self.run.now();
            let target = self.records.write_target(machine)?;
            contract::require_where_it_stays(self.run, durable, self.job.terms.clauses).await?;
            let work = self.serve(machine, durable, &target, (asked_at, up_at), place);
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
        place: &Counted,
    ) -> Result<Completion<()>, Fault> {
        let run = &self.run.on(&machine.id);
        let preparing = set_up(run, machine, durable, self.job.runner, target, self.builds);
        let ready = worker::unless_taken_back(durable, preparing).await?;
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
        self.crew.is_ready(place);
        let served = match self.job.once_begun {
            OnceBegun::Leave(announce) if !run.stop.is_cancelled() => self.leave(&worker, announce).await,
            _ => worker.serve().await,
        };
        worker.complete(served?).await
    }

    /// Fixes the tests.
    fn select(&self, ready: &ReadyMachine) -> Result<(), Fault> {
        let (source, subject, built) = ready.tested();
        let tests = ready.expected().to_vec();
        let mut foreseen = (self.job.split.foreseen)(subject);
        let wanted: std::collections::BTreeSet<&TestName> = tests.iter().collect();
        foreseen.retain(|test, _| wanted.contains(test));
        let selection = Selection {
            foreseen,
            source: source.to_owned(),
            subject: subject.clone(),
            built,
            policy: self.job.split.policy.clone(),
            machines: self.job.machines(),
            tests,
        };
        self.board.select(&self.record, selection)
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
        self.crew.until_all_are_ready(self.run).await?;
        let machine = worker.durable.machine();
        let share = self.board.share(&machine.id);
        if share.is_empty() {
            return Ok(Served::Done);
        }
        self.board.record(Happening::Took { machine: machine.id.clone(), part: 1, tests: share.clone() })?;
        let begun = worker.begin(1, share, None).await?;
        let told = self.crew.announce(machine, announce).await;
        if let Ok(true) = told {
            return Ok(Served::Left);
        }
        self.run.stop.cancel();
        // Their results do not matter, but a machine that stays must not go on running them.
        drop(worker.follow(&begun).await);
        Err(told.err().unwrap_or_else(|| Fault::new(FaultKind::Interrupted, "interrupted")))
    }
}
