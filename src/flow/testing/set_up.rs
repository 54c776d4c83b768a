//! Making a machine ready for tests, and beginning them there.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::base::id::{TaskId, TestName};
use model::base::text;
use model::build::{BuildOrigin, BuildStore};
use model::connection::{Connection, ConnectionError};
use model::event::TestsEvent;
use model::exit::Exit;
use model::fault::Fault;
use model::machine::Machine;
use model::outcome::not_run_results;
use model::output::{OutputLimits, run_command};
use model::runner::{Runner, TestListing};
use model::subject::TestSubject;
use model::task::{Offsets, StepCommand};
use model::work::Work;

use crate::lease::until_stopped;
use crate::preparation::{SetUpTimes, prepare};
use crate::run::Run;
use crate::task::begun::BegunTask;
use crate::task::durable::Durable;
use crate::testing::{BegunTests, RunResult};

/// The longest list of tests that a runner may print. The list of Mercurial's suite has 50 KiB.
const LISTING_CAP: usize = 2 << 20;

/// A machine on which the tests can start.
#[derive(Debug, Clone)]
pub struct ReadyMachine {
    source: String,
    subject: TestSubject,
    expected: Vec<TestName>,
    runner: StepCommand,
    folder: String,
    built: BuildOrigin,
    before: SetUpTimes,
    /// How the build failed, with its last output; then there is nothing to test.
    failed: Option<(Exit, String)>,
}

impl ReadyMachine {
    /// The outcome of a run whose source could not be built; none if it was built.
    pub fn unbuilt_run(&self) -> Option<RunResult> {
        let (exit, said) = self.failed.clone()?;
        Some(RunResult {
            tests: not_run_results(&self.expected, &format!("the build ended with {exit}")),
            runner: exit,
            said: Some(said),
            source: self.source.clone(),
            subject: self.subject.clone(),
            caveats: Vec::new(),
            gap: None,
            built: Some(self.built),
            before: self.before,
            testing: Duration::ZERO,
        })
    }

    /// The tests that are expected to run.
    pub(super) fn expected(&self) -> &[TestName] {
        &self.expected
    }

    /// What is tested: the source in words, the software and its environment, and where the build comes from.
    pub(super) fn tested(&self) -> (&str, &TestSubject, BuildOrigin) {
        (&self.source, &self.subject, self.built)
    }

    /// How long making the machine ready took.
    pub(super) fn before(&self) -> SetUpTimes {
        self.before
    }

    /// The record of tests on `machine` that begin at `now`, to be written down before that.
    pub fn begun(&self, machine: &Machine, now: Timestamp, limit: Option<Duration>) -> BegunTests {
        BegunTests {
            task: BegunTask {
                machine: machine.id.clone(),
                id: TaskId::random(),
                folder: self.folder.clone(),
                began_at: now,
                limit: limit.unwrap_or(self.runner.limit),
                log_base: Offsets::default(),
            },
            part: None,
            expected: self.expected.clone(),
            source: self.source.clone(),
            subject: self.subject.clone(),
            built: Some(self.built),
            before: self.before,
        }
    }
}

/// Puts the runner on the machine, brings the source there and has it built, or takes a build of `builds` if one fits.
/// `target` is a file on this computer that describes the machine to processes that the runner starts.
pub async fn set_up(
    run: &Run,
    machine: &Machine,
    durable: &Durable,
    runner: &dyn Runner,
    target: &Path,
    builds: &dyn BuildStore,
) -> Result<ReadyMachine, Fault> {
    let run = &run.on(&machine.id);
    let began = Instant::now();
    let mut ready = until_stopped(run, prepare_all(run, machine, durable, runner, target, builds)).await?;
    ready.before.setup = began.elapsed();
    if ready.failed.is_none() {
        run.tell(TestsEvent::Ready { source: ready.source.clone(), expected: ready.expected.len() });
    }
    Ok(ready)
}

async fn prepare_all(
    run: &Run,
    machine: &Machine,
    durable: &Durable,
    runner: &dyn Runner,
    target: &Path,
    builds: &dyn BuildStore,
) -> Result<ReadyMachine, Fault> {
    let folder = durable.folder();
    let (mut before, outcome) = prepare(run, machine, durable, runner, target, builds).await?;
    let baked = match durable.read_file(&runner.layout().baked, 1 << 20).await {
        Ok(baked) => Some(baked),
        Err(ConnectionError::File { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let baked = baked.as_deref();
    let step = runner.list(folder, baked);
    // A list alone is too short to be told.
    let showing = (step.work != Work::ListingTests).then(|| run.teller.begin(step.work.clone()));
    let began = Instant::now();
    let listed = run_command(durable, &step.command, OutputLimits { bytes: LISTING_CAP, time: step.limit }).await?;
    if let Some(showing) = showing.filter(|_| listed.exit.is_success()) {
        showing.finish();
        // The source came to its place only now.
        before.push += began.elapsed();
    }
    if listed.capped {
        let cap = text::bytes(LISTING_CAP as u64);
        return Err(Fault::outside(format!("the test runner's list of tests is longer than {cap}")));
    }
    let TestListing { tests, source, subject, built } = runner.read_list(baked, &listed)?;
    Ok(ReadyMachine {
        source,
        subject,
        expected: tests,
        runner: runner.run(folder, baked, None),
        folder: folder.to_owned(),
        built: outcome.as_ref().map_or(built, |outcome| outcome.built),
        before,
        failed: outcome.and_then(|outcome| outcome.failed),
    })
}

/// Starts the tests, at most once, and returns. `keep` is called before anything is started, with the record that it
/// takes to follow them.
///
/// A connection that cannot be made again is not an error here: following the tests will report it, with every test
/// lost.
pub async fn begin(
    run: &Run,
    durable: &Durable,
    ready: ReadyMachine,
    limit: Option<Duration>,
    keep: &(dyn Fn(&BegunTests) -> Result<(), Fault> + Sync),
) -> Result<BegunTests, Fault> {
    let begun = ready.begun(durable.machine(), run.now(), limit);
    keep(&begun)?;
    begun.task.launch(run, durable, &ready.runner.command).await?;
    Ok(begun)
}
