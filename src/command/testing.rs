//! What every driver of a test run does, be it the first or one that comes later: follow the tests, publish the results.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{clock, text};
use crate::command::artifact_args::Fetch;
use crate::command::session::{Ending, Session};
use crate::command::signals::TIDYING_LIMIT;
use crate::command::{error, report_file};
use crate::flow::artifacts;
use crate::flow::durable::Durable;
use crate::flow::lease::{After, Ended, until_stopped};
use crate::flow::testing::{self, Begun, Finished, Ran, hold};
use crate::model::artifact::Collected;
use crate::model::build::Built;
use crate::model::event::{RunEvent, TestsEvent, TroubleEvent};
use crate::model::fault::{Fault, FaultKind};
use crate::model::machine::Machine;
use crate::model::outcome::{Cell, Evidence, Results, TimeSplit, Verdict, count, verdict};
use crate::model::runner::Runner;
use crate::report;
use crate::state::runs::{RunDir, RunFile};

/// The name of test runs in the journal and in reports.
pub const COMMAND: &str = "run-tests-linux";

/// How many last lines of a build that failed are shown, and in how many last bytes of the output they are looked for.
const LAST_LINES: usize = 20;
const LAST_BYTES: u64 = 64 << 10;

/// What a later driver needs to know of tests that were begun, the content of `task.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskFile {
    /// The image that the machine was booted from, in words.
    pub image: String,
    /// How long making images took.
    #[serde(with = "clock::seconds")]
    pub baking: Duration,
    /// How long it was from then until the machine was there.
    #[serde(with = "clock::seconds")]
    pub booting: Duration,
    /// The tests.
    pub begun: Begun,
    /// What is to be brought home after them.
    #[serde(default)]
    pub fetch: Fetch,
    /// Whether a run in which every test was skipped is green.
    #[serde(default)]
    pub allow_all_skipped: bool,
}

/// Tests that were followed to their end, and what was brought home; the content of `tested.json`, from which whoever comes after a
/// driver that died while it released the machine learns what they came to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tested {
    ran: Ran,
    artifacts: Option<Collected>,
}

impl Tested {
    /// Tests that came to this without having been followed: nothing was there to test.
    pub fn unbuilt(ran: Ran) -> Self {
        Self { ran, artifacts: None }
    }

    /// Writes it into the folder of a run.
    fn write(&self, dir: &RunDir) -> Result<(), Fault> {
        let text = serde_json::to_vec(self).map_err(|e| Fault::infrastructure("cannot write JSON").because(e))?;
        dir.write(RunFile::Tested, &text)
    }

    /// What an earlier driver knew before it released the machine; a file that cannot be read is as good as none.
    pub fn read(dir: &RunDir) -> Option<Self> {
        serde_json::from_slice(&dir.read(RunFile::Tested).ok()??).ok()
    }
}

impl TaskFile {
    /// Writes it into the folder of a run.
    pub fn write(&self, dir: &RunDir) -> Result<(), Fault> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Fault::infrastructure("cannot write JSON").because(error))?;
        dir.write(RunFile::Task, &text)
    }

    /// Reads that of a run; none where its tests were never begun.
    pub fn read(dir: &RunDir) -> Result<Option<Self>, Fault> {
        let Some(bytes) = dir.read(RunFile::Task)? else { return Ok(None) };
        let path = dir.file(RunFile::Task);
        let read = serde_json::from_slice(&bytes);
        read.map(Some).map_err(|error| Fault::outside(format!("`{}` is damaged", path.display())).because(error))
    }
}

/// Where results go beside the run's folder.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Reports {
    /// Also write the JUnit report to this file, which is emptied first; a pipe or a device is written into
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Print the results as JSON; the tests' output goes to standard error
    #[arg(long)]
    pub json: bool,
}

impl Reports {
    /// Refuses a report that cannot be written: that is better known before the tests than after them.
    pub fn check(&self) -> Result<(), Fault> {
        self.junit.as_deref().map_or(Ok(()), |path| report_file::prepare("--junit", path))
    }

    /// Writes and prints what was asked for, of results that lie in the run's folder.
    pub fn give(&self, screen: &crate::ui::Screen, results: &Results) -> Result<(), Fault> {
        if self.json {
            // That it could not be written is told at the end of the process.
            drop(screen.json_text(&report::json::render(results)?));
        }
        let Some(path) = &self.junit else { return Ok(()) };
        report_file::write(path, &report::junit::render(COMMAND, results)?, screen)
    }
}

/// Follows tests that were begun to their end, or until the user leaves them. Where their output cannot be kept here any more they
/// are left as well: they go on, and whoever has made room follows them.
pub async fn follow(
    session: &Session,
    durable: &Durable,
    runner: &dyn Runner,
    task: &TaskFile,
) -> Result<After<Option<Tested>>, Fault> {
    let (run, output) = (&session.run, session.output());
    if let Some(tested) = Tested::read(&session.dir) {
        return Ok(After::Release(Some(tested)));
    }
    match testing::finish(run, durable, runner, &task.begun, &output).await {
        Ok(Finished::Ran(mut ran)) => {
            if count(&ran.tests).not_run > 0 {
                let said = session.dir.tail(RunFile::Output, LAST_BYTES)?;
                ran.said = Some(text::last_lines(&String::from_utf8_lossy(&said), LAST_LINES));
            }
            let artifacts = fetch(session, durable, runner, task).await;
            let tested = Tested { ran: *ran, artifacts };
            // Releasing takes a while; a driver that dies in it must not lose what is known.
            if let Err(fault) = tested.write(&session.dir) {
                run.tell(TroubleEvent::from(&fault));
            }
            Ok(After::Release(Some(tested)))
        }
        Ok(Finished::Detached) => Ok(After::Detach(None)),
        Err(fault) if run.stop.is_cancelled() => Err(fault),
        Err(fault) => {
            run.tell(RunEvent::Failed { failure: (&fault).into() });
            Ok(After::Detach(None))
        }
    }
}

/// Brings home what was asked for, also of tests that failed. The machine goes either way, and what could not be fetched is told.
async fn fetch(session: &Session, durable: &Durable, runner: &dyn Runner, task: &TaskFile) -> Option<Collected> {
    let run = &session.run;
    if task.fetch.wanted.is_empty() || run.stop.is_cancelled() {
        return None;
    }
    let folder = task.fetch.folder(session.dir.path());
    let teller = run.on(&durable.machine().id).teller;
    let root = hold::root(durable, runner, &task.begun.folder).await;
    let collecting = artifacts::collect(&teller, durable, &root, &task.fetch.wanted, &folder);
    match until_stopped(run, collecting).await {
        Ok(collected) => Some(collected),
        Err(fault) => {
            let _ = tokio::time::timeout(TIDYING_LIMIT, crate::connection::tidied()).await;
            Some(Collected { folder, failed: Some(fault.line()), ..Collected::default() })
        }
    }
}

/// What a run came to whose tests were followed.
pub fn conclude(
    session: &Session,
    reports: &Reports,
    task: Option<TaskFile>,
    ended: Ended<Option<Tested>>,
) -> Result<Ending, Fault> {
    let tested = ended.result?;
    let task = task.ok_or_else(|| Fault::infrastructure("the tests were followed before they were begun"))?;
    match (tested, ended.detached) {
        (Some(tested), _) => publish(session, reports, results(session, task, tested, ended.cost)),
        (None, Some(machine)) => Ok(detached(&task.begun, machine)),
        (None, None) => Err(Fault::new(FaultKind::Interrupted, "interrupted")),
    }
}

/// The ending of a run whose tests go on by themselves.
fn detached(begun: &Begun, machine: Machine) -> Ending {
    let tests = text::counted(begun.expected.len(), "test");
    let summary = format!("{tests} on {} until {:.0}", machine.id, machine.expires_at);
    Ending { code: error::exit::DETACHED, summary, detached: Some(machine) }
}

fn results(session: &Session, task: TaskFile, tested: Tested, cost: Option<f64>) -> Results {
    let Tested { ran, artifacts } = tested;
    let total = Duration::try_from(session.context.now().duration_since(session.started_at())).unwrap_or_default();
    let evidence = Evidence { runner: &ran.runner, gap: ran.gap.as_deref(), may_all_skip: task.allow_all_skipped };
    let (verdict, counts) = (verdict(&ran.tests, &evidence), count(&ran.tests));
    let cell = Cell {
        image: task.image.clone(),
        distro: ran.subject.distro.clone(),
        python: ran.subject.python.clone(),
        filesystem: ran.subject.filesystem.clone(),
        machines: vec![task.begun.machine],
        verdict,
        counts,
    };
    Results {
        id: session.id().clone(),
        verdict,
        counts,
        time: TimeSplit {
            total,
            image: task.baking,
            setup: (task.booting + ran.before.setup).saturating_sub(ran.before.push + ran.before.build),
            push: ran.before.push,
            build: ran.before.build,
            tests: ran.testing,
        },
        image: task.image,
        source: ran.source,
        built: ran.built,
        subject: ran.subject,
        caveats: ran.caveats,
        gap: ran.gap,
        cost,
        artifacts,
        runner: ran.runner,
        said: ran.said,
        cells: vec![cell],
        tests: ran.tests,
    }
}

/// Writes the reports, shows the verdict.
fn publish(session: &Session, reports: &Reports, results: Results) -> Result<Ending, Fault> {
    session.dir.write(RunFile::Results, report::json::render(&results)?.as_bytes())?;
    session.dir.write(RunFile::Junit, report::junit::render(COMMAND, &results)?.as_bytes())?;
    let (verdict, counts) = (results.verdict, results.counts);
    let summary = report::terminal::summary(&results).trim_end().to_owned();
    session.run.tell(TestsEvent::Judged { verdict, counts, summary });
    if results.verdict == Verdict::NotRun {
        // What a build of ours said are details of its step; what the runner's said is its output.
        let which = if results.built == Some(Built::Made) { " --steps" } else { "" };
        let look = session.context.to_type(&format!("runs logs {}{which}", results.id));
        session.run.tell(TestsEvent::NotBuilt { look });
    }
    let screen = &session.context.screen;
    screen.message(&format!("Results: {}", session.dir.file(RunFile::Results).display()));
    if let Some(found) = results.artifacts.as_ref().filter(|found| found.files > 0) {
        screen.message(&format!("Artifacts: {} in {}", text::bytes(found.bytes), found.folder.display()));
    }
    // Last: a file that cannot be written must not hide the verdict.
    reports.give(screen, &results)?;
    let mut code = results.verdict.exit_code();
    if let Some(fault) = results.artifacts.as_ref().and_then(Collected::fault) {
        session.run.tell(TestsEvent::ArtifactsLack { failure: (&fault).into() });
        // Tests that failed or were lost are the worse news.
        code = if code == error::exit::OK { fault.kind.exit_code() } else { code };
    }
    if session.run.stop.is_cancelled() {
        code = error::exit::INTERRUPTED;
    }
    let summary = report::terminal::verdict(&results);
    Ok(Ending { code, summary, detached: None })
}
