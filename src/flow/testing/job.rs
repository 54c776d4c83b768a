//! One run of tests on one machine, from the missing image to their results: the whole of what a person's command does, and a
//! worker that takes its work from a queue.

use std::path::Path;
use std::time::{Duration, Instant};

use model::build::BuildStore;
use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::Machine;
use model::mute::Mute;
use model::provider::MachineRequest;
use model::runner::{Runner, RunnerRecord};
use model::script::ScriptFile;

use crate::contract;
use crate::image::bake::{BakeOptions, request_with_image};
use crate::lease::{Completion, LeaseEnd, with_machine};
use crate::order::Order;
use crate::preparation::{cleaning, folder, hold};
use crate::run::Run;
use crate::site::Site;
use crate::task::begun::OnceBegun;
use crate::task::durable::Durable;
use crate::testing::{BegunTests, Records, TestTask, Tested, begin, follow, set_up};
use crate::transfer::artifacts::Fetch;

/// What holds for tests on whatever machines they run.
#[derive(Clone, Copy)]
pub struct TestTerms<'a> {
    /// Scripts with the clauses that the runner adds to the machine contract.
    pub clauses: &'a [ScriptFile],
    /// The files to fetch afterwards.
    pub fetch: &'a Fetch,
    /// Whether a run in which every test was skipped is green.
    pub allow_all_skipped: bool,
    /// How long a machine is kept on which a test failed; none for not at all.
    pub keep_failed: Option<Duration>,
    /// The mutes that hold.
    pub mutes: &'a [Mute],
}

/// Tests to run on a machine of their own.
pub struct TestJob<'a> {
    /// The tests.
    pub runner: &'a dyn Runner,
    /// The image to bake first if it is missing; none on a machine that somebody else made.
    pub plan: Option<&'a ImagePlan>,
    /// How to bake it.
    pub baking: &'a BakeOptions,
    /// The machine.
    pub order: &'a Order,
    /// What holds for the tests anywhere.
    pub terms: TestTerms<'a>,
    /// How long the tests may take; none leaves that to the runner.
    pub limit: Option<Duration>,
    /// What happens once the tests go on by themselves.
    pub once_begun: OnceBegun<'a>,
}

/// The end of a job: the tests, and what was written down of them; none where they never began.
pub type JobEnd = (LeaseEnd<Option<Tested>>, Option<TestTask>);

/// Bakes the image where it is missing, makes the machine, begins the tests on it and follows them, or leaves them there.
/// The machine is released unless the tests were left.
pub async fn run_job(
    run: &Run,
    site: &Site,
    job: &TestJob<'_>,
    records: &Records<'_>,
    builds: &dyn BuildStore,
) -> Result<JobEnd, Fault> {
    let began = Instant::now();
    let request = request_with_image(run, site, job.plan, job.baking, job.order).await?;
    let baked_in = began.elapsed();
    Ok(on_machine(run, site, &TestOnMachine { job, records, builds, began, baked_in }, &request).await)
}

/// A job whose image is there.
struct TestOnMachine<'a> {
    job: &'a TestJob<'a>,
    records: &'a Records<'a>,
    builds: &'a dyn BuildStore,
    /// When it began, for the times of its parts.
    began: Instant,
    /// How long it took until the image was there.
    baked_in: Duration,
}

async fn on_machine(run: &Run, site: &Site, test: &TestOnMachine<'_>, request: &MachineRequest) -> JobEnd {
    let runner = test.job.runner;
    let folder = folder(run, request.platform);
    let clean = cleaning(runner, request.platform, &folder);
    let mut task = None;
    let ended = with_machine(run, site, request, &folder, Some(&clean), async |machine, durable| {
        let target = test.records.folder.write_target(machine)?;
        contract::require_where_it_stays(run, durable, test.job.terms.clauses).await?;
        let work = test.work(run, machine, durable, &target, &mut task);
        hold::with_presence(durable, runner, work).await
    })
    .await;
    (ended, task)
}

impl TestOnMachine<'_> {
    /// Sets the machine up and runs the tests on it.
    async fn work(
        &self,
        run: &Run,
        machine: &Machine,
        durable: &Durable,
        target: &Path,
        task: &mut Option<TestTask>,
    ) -> Result<Completion<Option<Tested>>, Fault> {
        let job = self.job;
        let booting = self.began.elapsed().saturating_sub(self.baked_in);
        let ready = set_up(run, machine, durable, job.runner, target, self.builds).await?;
        if let Some(ran) = ready.unbuilt_run() {
            *task = Some(self.record(&ready.begun(machine, run.now(), job.limit), booting));
            return Ok(Completion::Release(Some(Tested::unbuilt(ran))));
        }
        let keep = |begun: &BegunTests| self.record(begun, booting).keep(self.records.folder);
        let begun = begin(run, durable, ready, job.limit, &keep).await?;
        let task = task.insert(self.record(&begun, booting));
        job.once_begun.go_on(run, machine, follow(run, durable, job.runner, task, self.records)).await
    }

    /// The record by which a later driver follows the tests.
    fn record(&self, begun: &BegunTests, booting: Duration) -> TestTask {
        let job = self.job;
        TestTask {
            runner: Some(RunnerRecord::of(job.runner)),
            image: job.order.image_words(job.plan),
            baking: self.baked_in,
            booting,
            begun: begun.clone(),
            fetch: job.terms.fetch.clone(),
            allow_all_skipped: job.terms.allow_all_skipped,
            keep_failed: job.terms.keep_failed,
            mutes: job.terms.mutes.to_vec(),
        }
    }
}
