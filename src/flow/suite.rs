//! Running a test suite on a machine: put the scripts there, prepare, synchronise, run, bring the report home.

pub mod build;
mod detail;
mod output;
mod report;

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::id::{MachineId, TaskId};
use crate::base::text;
use crate::flow::durable::Durable;
use crate::flow::hold;
use crate::flow::lease::until_stopped;
use crate::flow::parts::{put_parts, remove_folder, write_parts};
use crate::flow::run::Run;
use crate::flow::suite::build::build;
use crate::flow::suite::report::Report;
use crate::guest;
use crate::model::build::{BuildStore, Built};
use crate::model::check::Check;
use crate::model::connection::{Connection, ConnectionError};
use crate::model::event::{StepEvent, TestsEvent};
use crate::model::exit::Exit;
use crate::model::fault::{Fault, FaultKind};
use crate::model::machine::{Machine, Platform};
use crate::model::outcome::{Attempt, TestResult, not_run, reconcile};
use crate::model::output::{Limits, Output, output};
use crate::model::subject::Subject;
use crate::model::suite::{Job, Reported, Suite};
use crate::model::task::{Offsets, Stepped, TaskOutput};

/// Longest list of tests that a runner may print. That of Mercurial's suite has 50 KiB.
const LISTING_CAP: usize = 2 << 20;

/// How often bringing the source to the machine is tried again after its connection broke.
const MORE_SYNCS: u32 = 2;

/// What a run on a machine came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ran {
    /// Every test, once.
    pub tests: Vec<TestResult>,
    /// How the runner ended.
    pub runner: Exit,
    /// The last lines of a build that failed, as far as they are known.
    #[serde(default)]
    pub said: Option<String>,
    /// What was tested, in words.
    pub source: String,
    /// What was tested and on what.
    #[serde(default)]
    pub subject: Subject,
    /// What makes green mean less than it seems, a phrase each.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// What is missing of the runner's report; none where it is whole.
    #[serde(default)]
    pub gap: Option<String>,
    /// Where the build of it came from.
    #[serde(default)]
    pub built: Option<Built>,
    /// How long what came before the runner took.
    #[serde(flatten)]
    pub before: Before,
    /// How long the runner took, by the wall clock.
    #[serde(with = "clock::seconds")]
    pub testing: Duration,
}

/// How long making a machine ready for tests took, by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Before {
    /// All of it.
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

/// A machine on which the tests can start.
#[derive(Debug, Clone)]
pub struct Ready {
    source: String,
    subject: Subject,
    expected: Vec<String>,
    runner: Stepped,
    folder: String,
    built: Built,
    before: Before,
    /// How the build failed and the last that it said; then there is nothing to test.
    failed: Option<(Exit, String)>,
}

impl Ready {
    /// What the run came to when what it was to test was not built; none where it was.
    pub fn unbuilt(&self) -> Option<Ran> {
        let (exit, said) = self.failed.clone()?;
        Some(Ran {
            tests: not_run(&self.expected, &format!("the build ended with {exit}")),
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

    /// Tests on `machine` that begin at `now`, written down before that.
    pub fn begun(&self, machine: &Machine, now: Timestamp, limit: Option<Duration>) -> Begun {
        Begun {
            machine: machine.id.clone(),
            task: TaskId::random(),
            folder: self.folder.clone(),
            expected: self.expected.clone(),
            source: self.source.clone(),
            subject: self.subject.clone(),
            began_at: now,
            limit: limit.unwrap_or(self.runner.limit),
            built: Some(self.built),
            before: self.before,
            log_base: Offsets::default(),
        }
    }
}

/// Tests that were begun: everything needed to follow them later, from another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// The machine.
    pub machine: MachineId,
    /// The task on it.
    pub task: TaskId,
    /// The folder on the machine of the task and its supervisor.
    pub folder: String,
    /// The tests that are expected to run.
    pub expected: Vec<String>,
    /// What is tested, in words.
    pub source: String,
    /// What is tested and on what.
    #[serde(default)]
    pub subject: Subject,
    /// When they were begun, by the clock here.
    pub began_at: Timestamp,
    /// How long they may take from then.
    #[serde(with = "clock::seconds")]
    pub limit: Duration,
    /// Where the build of what is tested came from.
    #[serde(default)]
    pub built: Option<Built>,
    /// How long setting the machine up took.
    #[serde(flatten)]
    pub before: Before,
    /// What the run's log held of each stream before the tests; nothing, unless whoever keeps this says otherwise.
    pub log_base: Offsets,
}

/// What following the tests came to.
#[derive(Debug, Clone)]
pub enum Finished {
    /// They ended, or were ended, or were lost.
    Ran(Box<Ran>),
    /// They go on without us.
    Detached,
}

/// Puts `suite` on the machine, brings the source there and has it built, with a build of `builds` where one fits. `target` is a
/// file here in which the machine is written down for processes that the suite starts.
pub async fn set_up(
    run: &Run,
    machine: &Machine,
    durable: &Durable,
    suite: &dyn Suite,
    target: &Path,
    builds: &dyn BuildStore,
) -> Result<Ready, Fault> {
    let run = &run.on(&machine.id);
    let began = Instant::now();
    let mut ready = until_stopped(run, prepare_all(run, machine, durable, suite, target, builds)).await?;
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
    suite: &dyn Suite,
    target: &Path,
    builds: &dyn BuildStore,
) -> Result<Ready, Fault> {
    let folder = durable.folder();
    durable.prepare().await?;
    write_parts(durable, suite, folder).await?;
    hold::hold(run, durable, suite).await?;
    prepare(run, machine, durable, suite, folder).await?;
    let pushing = Instant::now();
    let jobs = synchronise(run, durable, suite, target).await?;
    let pushed = !jobs.is_empty();
    let mut outcome = None;
    for job in jobs {
        match job {
            Job::Step(step) => {
                let done = shown(run, durable, &step).await?;
                if !done.exit.success() {
                    return Err(failed(&step, &done));
                }
            }
            Job::Build(job) => outcome = Some(build(run, durable, builds, &job).await?),
        }
    }
    let mut before =
        Before { build: outcome.as_ref().map_or(Duration::ZERO, |outcome| outcome.took), ..Before::default() };
    if pushed {
        before.push = pushing.elapsed().saturating_sub(before.build);
    }
    // An image without this file is none the worse.
    let baked = match durable.read_file(suite.baked_file(), 1 << 20).await {
        Ok(baked) => Some(baked),
        Err(ConnectionError::File { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let step = suite.list(folder, baked.as_deref());
    let listed = output(durable, &step.command, Limits { bytes: LISTING_CAP, time: step.limit }).await?;
    let told = listed.said();
    if listed.capped {
        let cap = text::bytes(LISTING_CAP as u64);
        return Err(Fault::outside(format!("the test runner's list of tests is longer than {cap}")));
    }
    let expected = suite.judge_listing(&listed.exit, &listed.stdout, &told)?;
    Ok(Ready {
        source: suite.source(baked.as_deref()),
        subject: suite.subject(baked.as_deref(), &told),
        expected,
        runner: suite.run(folder, baked.as_deref()),
        folder: folder.to_owned(),
        built: outcome.as_ref().map_or_else(|| suite.built(baked.as_deref()), |outcome| outcome.built),
        before,
        failed: outcome.and_then(|outcome| outcome.failed),
    })
}

/// Brings the source to the machine. A process on this computer does that over a connection of its own: where that broke and the
/// machine still answers, it is done again, and sends what is missing by then.
async fn synchronise(run: &Run, durable: &Durable, suite: &dyn Suite, target: &Path) -> Result<Vec<Job>, Fault> {
    let mut tries = 0;
    loop {
        let fault = match suite.synchronise(durable.folder(), target, &run.teller).await {
            Err(fault) if fault.kind == FaultKind::Infrastructure && tries < MORE_SYNCS => fault,
            done => return done,
        };
        tries += 1;
        run.tell(TestsEvent::SendingAgain { failure: (&fault).into() });
        // Whether the machine is still there is for it to say: this waits for as long as it may be.
        output(durable, &durable.guest().nothing(), Limits::SMALL).await?;
    }
}

/// Starts the tests, at most once, and returns. `keep` is called before anything is started, with what it takes to follow them.
///
/// A connection that cannot be had any more is no error here: following them will say so, with every test lost.
pub async fn begin(
    run: &Run,
    durable: &Durable,
    ready: Ready,
    limit: Option<Duration>,
    keep: &(dyn Fn(&Begun) -> Result<(), Fault> + Sync),
) -> Result<Begun, Fault> {
    let begun = ready.begun(durable.machine(), run.now(), limit);
    keep(&begun)?;
    match until_stopped(run, async { Ok(durable.launch_task(&begun.task, &ready.runner.command).await?) }).await {
        Err(fault) if fault.kind != FaultKind::Infrastructure => Err(fault),
        _ => Ok(begun),
    }
}

/// Follows the tests from where `output` ends until they have ended, and brings their report home. A run that is asked to stop
/// ends them; one that is asked to detach leaves them running.
pub async fn finish(
    run: &Run,
    durable: &Durable,
    suite: &dyn Suite,
    begun: &Begun,
    output: &dyn TaskOutput,
) -> Result<Finished, Fault> {
    let run = &run.on(&durable.machine().id);
    let report = Report::of(suite);
    let runner = tokio::select! {
        ended = output::until_ended(run, durable, begun, output) => ended?,
        // It never ends; the runner's own end decides.
        never = report.follow(durable) => match never {},
    };
    let Some((runner, record)) = runner else { return Ok(Finished::Detached) };
    // By the machine's clock where it says so: they may have ended long before anybody looked.
    let took = match &record {
        Some(record) => record.ended_at.duration_since(record.started_at),
        None => run.now().duration_since(begun.began_at),
    };
    let took = Duration::try_from(took).unwrap_or_default();
    let root = hold::root(durable, suite, &begun.folder).await;
    let report_file = at(suite, &root, suite.report_file());
    let drained = match report.drain(durable, &report_file).await {
        Err(_) if matches!(runner, Exit::Lost(_)) && !run.stop.is_cancelled() => {
            report.drain_once_more(run, durable, &report_file).await
        }
        drained => drained,
    };
    let mut reported = report.reported();
    let (gap, caveats) = (gap(&reported, drained.err()), std::mem::take(&mut reported.caveats));
    let building = building(begun.built, &reported, took);
    let mut tests = judge(&runner, begun, reported);
    if !run.stop.is_cancelled() {
        detail::fetch(durable, &|test| suite.detail_file(test).map(|path| at(suite, &root, &path)), &mut tests).await;
    }
    Ok(Finished::Ran(Box::new(Ran {
        tests,
        runner,
        said: None,
        source: begun.source.clone(),
        built: begun.built,
        before: Before { build: begun.before.build + building, setup: begun.before.setup + building, ..begun.before },
        subject: begun.subject.clone(),
        caveats,
        gap,
        testing: took - building,
    })))
}

/// How much of the time that the runner took went into a build of its own. One that never came to its first test built until
/// its end.
fn building(built: Option<Built>, reported: &Reported, took: Duration) -> Duration {
    match (built, reported.building) {
        (Some(Built::Runner), Some(building)) => building.min(took),
        (Some(Built::Runner), None) if !reported.began => took,
        _ => Duration::ZERO,
    }
}

/// What is missing of a report.
fn gap(reported: &Reported, unread: Option<Fault>) -> Option<String> {
    match (&reported.beyond, unread) {
        (Some(beyond), _) => Some(format!("it holds {beyond}, which was not taken")),
        (None, _) if reported.complete => None,
        (None, Some(fault)) => Some(format!("its end could not be read: {}", fault.line())),
        (None, None) => Some("it does not say that the runner came to its end".to_owned()),
    }
}

/// What a run came to whose runner ended by `runner`: every test that it told of, and what is to be said of the others. All were
/// this machine's to run, for the first time.
fn judge(runner: &Exit, begun: &Begun, reported: Reported) -> Vec<TestResult> {
    let known: Vec<String> = begun.expected.iter().cloned().chain(reported.expected).collect();
    let why = match runner {
        // It builds what it tests before it comes to a test. Beyond 127 a signal ended it, whatever it was doing.
        Exit::Code(1..=127) if !reported.began && reported.tests.is_empty() => {
            return not_run(&known, &format!("the test runner ended with {runner} before its first test"));
        }
        Exit::Lost(reason) => format!("the run was lost: {reason}"),
        exit if !reported.complete => format!("the runner ended with {exit} before it came to this test"),
        _ => "the runner's report does not mention it".to_owned(),
    };
    let mut tests = reconcile(&known, reported.tests, &why);
    for test in &mut tests {
        test.attempt = Some(Attempt { machine: begun.machine.clone(), number: 1 });
    }
    tests
}

/// Lets the machine check itself against its contract; the suite's files are put there first where they are not, and
/// removed afterwards.
pub async fn check(run: &Run, connection: &dyn Connection, suite: &dyn Suite) -> Result<Vec<Check>, Fault> {
    // The run's own folder: whatever cuts this short, the end of the run removes it.
    let folder = folder(run, connection.platform());
    let step = suite.check(&folder);
    let done = match put_parts(connection, suite, &folder).await {
        Ok(()) => {
            output(connection, &step.command, Limits { bytes: 1 << 20, time: step.limit }).await.map_err(Fault::from)
        }
        Err(fault) => Err(fault),
    };
    let removed = remove_folder(connection, &folder).await;
    let done = done?;
    removed?;
    if done.exit.success() { suite.read_checks(&done.stdout) } else { Err(failed(&step, &done)) }
}

/// Where a file of the suite's folder is when that folder is `root`.
fn at(suite: &dyn Suite, root: &str, path: &str) -> String {
    match path.strip_prefix(suite.artifact_root()).and_then(|below| below.strip_prefix('/')) {
        Some(below) => format!("{root}/{below}"),
        None => path.to_owned(),
    }
}

async fn prepare(
    run: &Run,
    machine: &Machine,
    connection: &dyn Connection,
    suite: &dyn Suite,
    folder: &str,
) -> Result<(), Fault> {
    let step = suite.prepare(folder, machine);
    let done = shown(run, connection, &step).await?;
    if done.exit.success() {
        return Ok(());
    }
    Err(suite.refused(&done.exit, &done.said()))
}

async fn shown(run: &Run, connection: &dyn Connection, step: &Stepped) -> Result<Output, Fault> {
    let showing = run.teller.begin(step.work.clone());
    let done = output(connection, &step.command, Limits { bytes: 1 << 20, time: step.limit }).await?;
    for line in done.said().lines() {
        run.tell(StepEvent::Said { line: line.to_owned() });
    }
    if done.exit.success() {
        showing.done();
    }
    Ok(done)
}

fn failed(step: &Stepped, done: &Output) -> Fault {
    let (message, said) = (format!("{} failed with {}", step.work.words(), done.exit), done.said());
    let fault = match done.exit {
        Exit::Lost(_) => Fault::infrastructure(message),
        _ => Fault::outside(message),
    };
    if said.is_empty() { fault } else { fault.because(said) }
}
