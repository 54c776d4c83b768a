//! Running a test suite on a machine: put the scripts there, prepare, synchronise, run, bring the report home.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::deadline::Deadline;
use crate::base::id::RunId;
use crate::flow::Stage;
use crate::flow::collect::{Collected, Limits, collect};
use crate::flow::lease::until_stopped;
use crate::flow::script::follow;
use crate::model::check::Check;
use crate::model::connection::{Chunk, Connection, ConnectionError};
use crate::model::event::Event;
use crate::model::fault::{Fault, FaultKind};
use crate::model::machine::Machine;
use crate::model::outcome::{Exit, TestOutcome, TestResult, reconcile};
use crate::model::suite::{Reported, Stepped, Suite};
use crate::model::task::Command;

/// Most bytes of a report that are read. A report of the 1,000 tests of Mercurial's suite with every difference in it
/// takes a few MiB.
const REPORT_CAP: u64 = 256 << 20;

/// Of how many failed tests the output is fetched; the run's log has that of all.
const DETAILS: usize = 100;

/// How long fetching a report may take, and connecting once more for it after a connection was lost. A report is a few
/// MiB at the most.
const SECOND_CHANCE: Duration = Duration::from_secs(15);

/// Follows the file `$1` until standard input ends. A `tail` alone would live on, on a machine that stays, after the
/// channel that it writes to was closed: it learns of that when it writes next, which may be never.
const FOLLOW: &str = r#"tail -c +1 -F -s 0.2 -- "$1" & cat >/dev/null; kill "$!""#;

/// What a run on a machine came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Every test, once.
    pub tests: Vec<TestResult>,
    /// How the runner ended.
    pub runner: Exit,
    /// What was tested.
    pub source: String,
    /// Wall clock seconds from the call to the start of the runner.
    pub setup: f64,
    /// Wall clock seconds of the runner.
    pub testing: f64,
}

/// The folder on the machine for the scripts of a stage's run.
pub fn folder(stage: &Stage) -> String {
    folder_of(&stage.run)
}

/// The folder on the machine for a run's scripts.
pub fn folder_of(run: &RunId) -> String {
    format!("/tmp/hg-automation-{run}")
}

/// Runs `suite`. `target` is a file here in which the machine is written down for processes that the suite starts.
pub async fn run(
    stage: &Stage,
    machine: &Machine,
    connection: &dyn Connection,
    suite: &dyn Suite,
    target: &Path,
    limit: Option<Duration>,
) -> Result<Ran, Fault> {
    let began = Instant::now();
    let Ready { source, expected, runner } =
        until_stopped(stage, set_up(stage, machine, connection, suite, target)).await?;
    stage.tell(Event::Notice(format!("Testing {source}: {} expected", count(expected.len()))));
    let setup = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let (runner, reported) = tests(stage, machine, connection, suite, runner, limit).await?;
    let testing = began.elapsed().as_secs_f64();
    let why = match &runner {
        Exit::Lost(reason) => format!("the run was lost: {reason}"),
        exit if !reported.complete => format!("the runner ended with {exit} before it came to this test"),
        _ => "the runner's report does not mention it".to_owned(),
    };
    let known: Vec<String> = expected.into_iter().chain(reported.expected).collect();
    let mut tests = reconcile(&known, reported.tests, &why);
    if !stage.stop.is_cancelled() {
        details(connection, suite, &mut tests).await;
    }
    Ok(Ran { tests, runner, source, setup, testing })
}

/// A machine on which the tests can start.
struct Ready {
    source: String,
    expected: Vec<String>,
    runner: Stepped,
}

async fn set_up(
    stage: &Stage,
    machine: &Machine,
    connection: &dyn Connection,
    suite: &dyn Suite,
    target: &Path,
) -> Result<Ready, Fault> {
    let folder = folder(stage);
    put_parts(connection, suite, &folder).await?;
    prepare(stage, machine, connection, suite, &folder).await?;
    for step in suite.synchronise(&folder, target, stage.sink.as_ref()).await? {
        let done = shown(stage, connection, &step).await?;
        if !done.exit.success() {
            return Err(failed(&step, &done));
        }
    }
    let baked = connection.read_file(suite.baked_file(), 1 << 20).await.ok();
    let step = suite.list(&folder, baked.as_deref());
    let listed = collect(connection, &step.command, Limits { bytes: 16 << 20, time: step.limit }).await?;
    let expected = suite.judge_listing(&listed.exit, &listed.stdout, &String::from_utf8_lossy(&listed.stderr))?;
    Ok(Ready { source: suite.source(baked.as_deref()), expected, runner: suite.run(&folder, baked.as_deref()) })
}

fn count(tests: usize) -> String {
    if tests == 1 { "1 test".to_owned() } else { format!("{tests} tests") }
}

/// Puts the suite's files into `folder` on the machine.
pub async fn put_parts(connection: &dyn Connection, suite: &dyn Suite, folder: &str) -> Result<(), Fault> {
    // The folder must be new: another user of the machine could have put a program there.
    let command = Command::new("mkdir").arg("-m").arg("0700").arg(folder);
    let made = collect(connection, &command, crate::flow::collect::SMALL).await?;
    if !made.exit.success() {
        let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        return Err(Fault::infrastructure(format!("cannot make `{folder}` on the machine")).because(said));
    }
    let writes = suite.parts().into_iter().map(|part| {
        let path = format!("{folder}/{}", part.name);
        async move { connection.write_file(&path, part.text.as_bytes(), 0o755).await }
    });
    let written: Result<Vec<()>, ConnectionError> = futures_util::future::join_all(writes).await.into_iter().collect();
    written?;
    Ok(())
}

/// Lets the machine check itself against its contract; the suite's files are put there first where they are not, and
/// removed afterwards.
pub async fn check(stage: &Stage, connection: &dyn Connection, suite: &dyn Suite) -> Result<Vec<Check>, Fault> {
    // The run's own folder: whatever cuts this short, the end of the run removes it.
    let folder = folder(stage);
    let step = suite.check(&folder);
    let done = match put_parts(connection, suite, &folder).await {
        Ok(()) => collect(connection, &step.command, Limits { bytes: 1 << 20, time: step.limit }).await,
        Err(fault) => Err(fault),
    };
    let removed = remove_folder(connection, &folder).await;
    let done = done?;
    removed?;
    if done.exit.success() { suite.read_checks(&done.stdout) } else { Err(failed(&step, &done)) }
}

/// Removes a folder that [`put_parts`] made.
pub async fn remove_folder(connection: &dyn Connection, folder: &str) -> Result<(), Fault> {
    let command = Command::new("rm").args(["-rf", "--", folder]);
    let removed = collect(connection, &command, crate::flow::collect::SMALL).await?;
    if removed.exit.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&removed.stderr).trim().to_owned();
    Err(Fault::infrastructure(format!("cannot remove `{folder}` on the machine")).because(said))
}

/// The output of failed tests, for the reports.
async fn details(connection: &dyn Connection, suite: &dyn Suite, tests: &mut [TestResult]) {
    let failed = tests.iter_mut().filter(|test| test.outcome == TestOutcome::Failed).take(DETAILS);
    for test in failed {
        let Some(path) = suite.detail_file(&test.name) else { continue };
        let command = Command::new("head").args(["-c", "65536", "--", &path]);
        match collect(connection, &command, crate::flow::collect::SMALL).await {
            Ok(done) if done.exit.success() => {
                test.detail = Some(String::from_utf8_lossy(&done.stdout).into_owned());
            }
            // A test that ran out of its time may have left none.
            Ok(done) if !matches!(done.exit, Exit::Lost(_)) => {}
            _ => return,
        }
    }
}

async fn prepare(
    stage: &Stage,
    machine: &Machine,
    connection: &dyn Connection,
    suite: &dyn Suite,
    folder: &str,
) -> Result<(), Fault> {
    let step = suite.prepare(folder, machine);
    let done = shown(stage, connection, &step).await?;
    if done.exit.success() {
        return Ok(());
    }
    Err(suite.refused(&done.exit, &String::from_utf8_lossy(&done.stderr)))
}

async fn shown(stage: &Stage, connection: &dyn Connection, step: &Stepped) -> Result<Collected, Fault> {
    let showing = stage.step(step.text.clone());
    let done = collect(connection, &step.command, Limits { bytes: 1 << 20, time: step.limit }).await?;
    for line in String::from_utf8_lossy(&done.stderr).lines() {
        stage.tell(Event::Detail(line.to_owned()));
    }
    if done.exit.success() {
        showing.done(stage);
    }
    Ok(done)
}

fn failed(step: &Stepped, done: &Collected) -> Fault {
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    let message = format!("{} failed with {}", step.text, done.exit);
    let fault = match done.exit {
        Exit::Lost(_) => Fault::infrastructure(message),
        _ => Fault::outside(message),
    };
    if said.is_empty() { fault } else { fault.because(said) }
}

/// Runs the tests and follows their report beside the output, so that what was reported before a loss is known.
async fn tests(
    stage: &Stage,
    machine: &Machine,
    connection: &dyn Connection,
    suite: &dyn Suite,
    step: Stepped,
    limit: Option<Duration>,
) -> Result<(Exit, Reported), Fault> {
    let live = Arc::new(Mutex::new(Vec::new()));
    let following = follow_report(connection, suite.report_file(), Arc::clone(&live));
    let deadline = Deadline::after(limit.unwrap_or(step.limit), "the tests to end");
    let mut output = |chunk| stage.tell(Event::Output(chunk));
    let running = follow(connection, &step.command, &deadline, &mut output);
    let runner = tokio::select! {
        exit = running => lost_at_start(exit)?,
        // What is known by now is told: the report is fetched all the same.
        () = stage.stop.cancelled() => Exit::Lost("interrupted".to_owned()),
        // Following ends first only when the connection breaks; the runner's own end decides.
        never = following => match never {},
    };
    let whole = match (&runner, fetch(connection, suite.report_file()).await) {
        (_, Ok(report)) => Some(report),
        (Exit::Lost(_), Err(_)) if !stage.stop.is_cancelled() => again(stage, machine, suite.report_file()).await,
        (_, Err(_)) => None,
    };
    let live = std::mem::take(&mut *live.lock().unwrap_or_else(PoisonError::into_inner));
    // What came while the tests ran counts where the file itself cannot be had any more.
    let report = whole.filter(|report| report.len() >= live.len()).unwrap_or(live);
    Ok((runner, suite.read_report(&report)))
}

/// A runner that could not be started because the connection was gone: no test ran, and that is what its report will say.
fn lost_at_start(started: Result<Exit, Fault>) -> Result<Exit, Fault> {
    match started {
        Err(fault) if fault.kind == FaultKind::Infrastructure => Ok(Exit::Lost(fault.line())),
        started => started,
    }
}

async fn fetch(connection: &dyn Connection, path: &str) -> Result<Vec<u8>, Fault> {
    let reading = connection.read_file(path, REPORT_CAP);
    Deadline::after(SECOND_CHANCE, format!("`{path}` from the machine")).bound(reading).await?.map_err(Fault::from)
}

async fn again(stage: &Stage, machine: &Machine, path: &str) -> Option<Vec<u8>> {
    stage.tell(Event::Warning("the connection was lost; trying once more for the report".to_owned()));
    let connection = stage.connector.connect(machine, &machine.user, SECOND_CHANCE, false).await.ok()?;
    fetch(connection.as_ref(), path).await.ok()
}

async fn follow_report(connection: &dyn Connection, path: &str, into: Arc<Mutex<Vec<u8>>>) -> std::convert::Infallible {
    // By name and for as long as it takes: the file is not there before the runner starts.
    let command = Command::new("sh").args(["-c", FOLLOW, "sh", path]);
    if let Ok(mut process) = connection.start(&command).await {
        // Held open for as long as the report is followed, and closed with the channel.
        let _stdin = process.take_stdin();
        while let Some(chunk) = process.next().await {
            if let Chunk::Stdout(bytes) = chunk {
                let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
                if (into.len() + bytes.len()) as u64 <= REPORT_CAP {
                    into.extend_from_slice(&bytes);
                }
            }
        }
    }
    std::future::pending().await
}
