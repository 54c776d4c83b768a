//! The end of a run with tests, whichever process drove it: its results are published.

use std::path::PathBuf;

use flow::lease::LeaseEnd;
use flow::testing::shards::{CellEnd, CellNote, ShardsEnd, collect_cells};
use flow::testing::{BegunTests, TestTask, Tested, results};
use model::artifact::CollectedArtifacts;
use model::base::{quote, text};
use model::build::BuildOrigin;
use model::event::{TestsEvent, TroubleEvent};
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::matrix::{Coordinate, Point};
use model::outcome::{Results, TestOutcome, TestResult, Verdict};
use model::run::RunFolder;
use model::subject::TestSubject;
use state::history::HistoryKey;
use state::runs::{RunDir, RunFile};

use crate::command::session::{Ending, Session};
use crate::command::signals::TIDYING_LIMIT;
use crate::command::{error, report_file};

/// The commands that run tests, as the journal and reports name them.
pub const COMMANDS: [&str; 3] = [ON_LINUX, ON_WINDOWS, DECLARED];

/// The command for tests that a file declares.
pub const DECLARED: &str = "run-tests";

/// The command for machines that have Linux.
pub const ON_LINUX: &str = "run-tests-linux";

/// The command for machines that have Windows.
pub const ON_WINDOWS: &str = "run-tests-windows";

/// The places to which results go beside the run's folder.
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

    /// What a command comes to. Where it failed before there were results the JUnit report says so: an empty file is none, and readers of
    /// such files take it for one without failures.
    pub fn told<T>(&self, suite: &str, done: Result<T, Fault>) -> Result<T, Fault> {
        if let (Some(path), Err(fault)) = (&self.junit, &done)
            && let Ok(report) = report::junit::render_failure(suite, &fault.line())
        {
            report_file::fill_empty(path, &report);
        }
        done
    }

    /// Writes and prints the reports that were asked for; the results are in the run's folder already.
    pub fn deliver(&self, screen: &crate::ui::Screen, command: &str, results: &Results) -> Result<(), Fault> {
        if self.json {
            // A failure to write is reported at the end of the process.
            drop(screen.json_text(&report::json::render(results)?));
        }
        let Some(path) = &self.junit else { return Ok(()) };
        report_file::write(path, &report::junit::render(command, results)?, screen)
    }
}

/// The ending of a run whose tests were followed.
pub async fn conclude(
    session: &Session,
    reports: &Reports,
    task: Option<TestTask>,
    ended: LeaseEnd<Option<Tested>>,
) -> Result<Ending, Fault> {
    let failed = |tested: &Tested| tested.artifacts.as_ref().is_some_and(|artifacts| artifacts.failed.is_some());
    let given_up =
        ended.result.as_ref().map_or(session.run.stop.is_cancelled(), |tested| tested.as_ref().is_some_and(failed));
    if given_up {
        // A background thread removes the half of a file whose download was given up.
        let _ = tokio::time::timeout(TIDYING_LIMIT, archive::partial::wait_for_cleanup()).await;
    }
    let tested = ended.result?;
    let task = task.ok_or_else(|| Fault::infrastructure("the tests were followed before they were begun"))?;
    match (tested, ended.detached) {
        (Some(tested), _) => publish(
            session,
            reports,
            results(&session.run, session.started_at(), session.site.provider.kind(), task, tested, ended.cost),
        ),
        (None, Some(machine)) => Ok(detached_ending(&task.begun, machine)),
        (None, None) => Err(Fault::new(FaultKind::Interrupted, "interrupted")),
    }
}

/// The end of one cell, and its folder.
pub struct CellFolder {
    /// How it ended.
    pub end: CellEnd,
    /// The folder: that of the run, or one of its own in there.
    pub folder: RunDir,
}

impl CellFolder {
    /// Writes down in its folder what is to be known of a cell.
    pub fn write_note(folder: &RunDir, note: &CellNote) -> Result<(), Fault> {
        let text = serde_json::to_vec_pretty(note)
            .map_err(|error| Fault::infrastructure("cannot write JSON").because(error))?;
        folder.write(RunFile::Cell, &text)
    }

    /// What the name of its folder says of a cell whose note cannot be read.
    pub fn note_of(folder: &RunDir) -> CellNote {
        let value = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        CellNote { point: Point(vec![Coordinate { axis: "cell".to_owned(), value }]), failed: None }
    }

    /// What its folder says of a cell; nothing of the only cell of a run without a matrix.
    pub fn read_note(folder: &RunDir) -> Result<CellNote, Fault> {
        let Some(text) = folder.read(RunFile::Cell)? else { return Ok(CellNote::default()) };
        let path = folder.file(RunFile::Cell);
        serde_json::from_slice(&text)
            .map_err(|error| Fault::outside(format!("`{}` is damaged", path.display())).because(error))
    }
}

/// The ending of a run whose tests were split, or were of several cells.
pub async fn conclude_cells(session: &Session, reports: &Reports, cells: Vec<CellFolder>) -> Result<Ending, Fault> {
    if session.run.stop.is_cancelled() {
        // A background thread removes the half of a file whose download was given up.
        let _ = tokio::time::timeout(TIDYING_LIMIT, archive::partial::wait_for_cleanup()).await;
    }
    let detached: Vec<Machine> = cells.iter().flat_map(|cell| left(&cell.end)).cloned().collect();
    if !detached.is_empty() {
        for CellFolder { end: CellEnd { point, result }, folder } in &cells {
            if let (Err(fault), Some(_)) = (result, point.name()) {
                // Whoever attaches later tells it.
                let failed = Some(fault.line());
                CellFolder::write_note(folder, &CellNote { point: point.clone(), failed })?;
            }
        }
        let until = detached.iter().map(|machine| machine.expires_at).min();
        let until = until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
        let summary = format!("tests on {}{until}", text::pluralize(detached.len(), "machine"));
        return Ok(Ending { code: error::exit::DETACHED, summary, detached });
    }
    let (mut ends, folders): (Vec<CellEnd>, Vec<RunDir>) =
        cells.into_iter().map(|cell| (cell.end, cell.folder)).unzip();
    if ends.iter().all(|end| end.result.is_err()) && !ends.is_empty() {
        // Nothing was tested, wherever one looks: the first says why.
        return Err(ends.swap_remove(0).result.err().unwrap_or_else(|| Fault::infrastructure("no cell ended")));
    }
    let cells = ends.into_iter().zip(&folders).map(|(end, folder)| (end, folder as &dyn RunFolder)).collect();
    publish(session, reports, collect_cells(&session.run, session.started_at(), cells)?)
}

/// The machines on which tests of a cell go on.
fn left(end: &CellEnd) -> &[Machine] {
    match &end.result {
        Ok(ShardsEnd::Left(machines)) => machines,
        Ok(ShardsEnd::Ended(_)) | Err(_) => &[],
    }
}

/// The ending of a run whose tests go on by themselves.
fn detached_ending(begun: &BegunTests, machine: Machine) -> Ending {
    let tests = text::pluralize(begun.expected.len(), "test");
    let summary = format!("{tests} on {} until {:.0}", machine.id, machine.expires_at);
    Ending { code: error::exit::DETACHED, summary, detached: vec![machine] }
}

/// The options by which a command line says what declares its tests, for another one.
fn declared_by(arguments: &[String]) -> String {
    let words: Vec<&String> = arguments.iter().take_while(|word| *word != "--").collect();
    let mut options = String::new();
    for (at, word) in words.iter().enumerate() {
        for option in ["--config", "--suite"] {
            let value = match word.strip_prefix(option) {
                Some("") => words.get(at + 1).map(|value| value.as_str()),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            };
            let value = value.and_then(|value| quote::word(value).ok());
            options.push_str(&value.map(|value| format!(" {option} {value}")).unwrap_or_default());
        }
    }
    options
}

/// Shows how the first failures differ from what was expected, and what to do about them and about what was lost.
fn show_failures(session: &Session, results: &Results) {
    let (context, command) = (&session.context, session.command());
    let failures = report::terminal::failures(results);
    if !failures.is_empty() {
        context.screen.report_message(&failures);
        let see = context.to_type(&format!("runs show {} --failed --diff", results.id));
        context.screen.message(&format!("See all of it: {see}"));
    }
    let again = |flag: &str| match COMMANDS.contains(&command) {
        true => context.to_type(&format!("{command}{} {flag} {}", declared_by(session.arguments()), results.id)),
        // Its tests are always the same, and all of them.
        false => context.to_type(command),
    };
    if results.counts.unmuted() > 0 {
        context.screen.message(&format!("Run it again:  {}", again("--failed-of")));
    }
    if results.counts.lost > 0 {
        context.screen.message(&format!("Run the lost:  {}", again("--lost-of")));
    }
    if failures.is_empty() {
        return;
    }
    if results.tests.iter().any(|test| test.expected.is_some() && test.output_file.is_some()) {
        let accept = context.to_type(&format!("runs accept --from {} --dry-run", results.id));
        context.screen.message(&format!("Accept it:     {accept}"));
    }
}

/// Which history tells how long such tests take.
pub(crate) fn history_key(session: &Session, subject: &TestSubject) -> HistoryKey {
    let (program, filesystem) = (subject.program.clone(), subject.filesystem.clone());
    HistoryKey { program, command: session.command().to_owned(), filesystem }
}

/// Remembers how long the tests took. A failure to do so costs the next run its order, and is told.
fn learn(session: &Session, results: &Results) {
    let ran = |test: &&TestResult| matches!(test.outcome, TestOutcome::Passed | TestOutcome::Failed);
    let history = session.context.state.history();
    for cell in &results.cells {
        let name = cell.point.name();
        let here = |test: &&TestResult| ran(test) && test.cell == name;
        let tests = results.tests.iter().filter(here).filter_map(|test| Some((&test.name, test.took?)));
        // What varies from cell to cell is no part of what the run as a whole was.
        let subject = TestSubject { filesystem: cell.filesystem.clone(), ..results.subject.clone() };
        if let Err(fault) = history.learn(&history_key(session, &subject), tests, session.run.now()) {
            session.run.tell(TroubleEvent::from(&fault));
        }
    }
}

/// Writes the reports, shows the verdict.
fn publish(session: &Session, reports: &Reports, results: Results) -> Result<Ending, Fault> {
    session.dir.write(RunFile::Results, report::json::render(&results)?.as_bytes())?;
    session.dir.write(RunFile::Junit, report::junit::render(session.command(), &results)?.as_bytes())?;
    learn(session, &results);
    let (verdict, counts) = (results.verdict, results.counts);
    let summary = report::terminal::summary_before_failures(&results).trim_end().to_owned();
    session.run.tell(TestsEvent::Judged { verdict, counts, summary });
    if results.verdict == Verdict::NotRun {
        // The messages of our own build are details of its step; those of the runner's build are its output.
        let which = if results.built == Some(BuildOrigin::Made) { " --steps" } else { "" };
        let look = session.context.to_type(&format!("runs logs {}{which}", results.id));
        session.run.tell(TestsEvent::NotBuilt { look });
    }
    let screen = &session.context.screen;
    show_failures(session, &results);
    screen.message(&format!("Results: {}", session.dir.file(RunFile::Results).display()));
    if let Some(found) = results.artifacts.as_ref().filter(|found| found.files > 0) {
        screen.message(&format!("Artifacts: {} in {}", text::bytes(found.bytes), found.folder.display()));
    }
    // Last: a file that cannot be written must not hide the verdict.
    reports.deliver(screen, session.command(), &results)?;
    let mut code = results.verdict.exit_code();
    if let Some(fault) = results.artifacts.as_ref().and_then(CollectedArtifacts::fault) {
        session.run.tell(TestsEvent::ArtifactsLack { failure: (&fault).into() });
        // Tests that failed or were lost are the worse news.
        code = if code == error::exit::OK { fault.kind.exit_code() } else { code };
    }
    if session.run.stop.is_cancelled() {
        code = error::exit::INTERRUPTED;
    }
    let summary = report::terminal::verdict(&results);
    Ok(Ending { code, summary, detached: Vec::new() })
}
