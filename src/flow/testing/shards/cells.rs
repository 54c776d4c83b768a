//! The cells of a run: the same tests under each choice of a matrix, with machines, a queue and a verdict of their own. A run without a
//! matrix has one cell.

use futures_util::StreamExt;
use jiff::Timestamp;
use model::build::BuildStore;
use model::event::RunEvent;
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::matrix::Point;
use model::outcome::{Counts, Results, TimeSplit, Verdict};
use model::run::RunFolder;
use model::subject::TestSubject;
use serde::{Deserialize, Serialize};

use crate::run::Run;
use crate::testing::shards::crew::Crew;
use crate::testing::shards::drive::{ShardsJob, run_shards};
use crate::testing::shards::outcome::{self, ShardsEnd};
use crate::testing::shards::resume::{ShardsRun, resume_shards};
use crate::testing::shards::whole::merge_cells;
use crate::testing::verdict;

/// One cell to run.
pub struct CellJob<'a> {
    /// What was chosen for it; nothing where there is no matrix.
    pub point: Point,
    /// Its tests and machines.
    pub job: ShardsJob<'a>,
    /// Its folder: that of the run, or one of its own in there.
    pub folder: &'a dyn RunFolder,
}

/// What the folder of a cell says of it, so that a later driver knows all cells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CellNote {
    /// What was chosen for it.
    pub point: Point,
    /// Why no test of it was begun, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The end of one cell.
#[derive(Debug)]
pub struct CellEnd {
    /// What was chosen for it.
    pub point: Point,
    /// What it came to. A fault says that no test was begun.
    pub result: Result<ShardsEnd, Fault>,
}

/// Runs the cells, `at_once` of them side by side: all of them where they are to be left. One that fails stops no other. Gives
/// their ends in their order.
pub async fn run_cells(run: &Run, cells: &[CellJob<'_>], at_once: usize, builds: &dyn BuildStore) -> Vec<CellEnd> {
    let crew = &Crew::new(cells.iter().map(|cell| cell.job.machines()).sum());
    let one = async |cell: &CellJob<'_>| {
        let run = run.in_cell(&cell.point);
        let result = match (run.stop.is_cancelled(), run.detach.is_cancelled()) {
            (true, _) => Err(Fault::new(FaultKind::Interrupted, "interrupted before it was begun")),
            (false, true) => Err(Fault::new(FaultKind::Interrupted, "the run was left before it was begun")),
            (false, false) => run_shards(&run, &cell.job, cell.folder, builds, crew).await,
        };
        if let (Err(fault), true) = (&result, cells.len() > 1) {
            run.tell(RunEvent::Failed { failure: fault.into() });
        }
        CellEnd { point: cell.point.clone(), result }
    };
    futures_util::stream::iter(cells).map(one).buffered(at_once.max(1)).collect().await
}

/// A cell that an earlier driver began.
pub struct CellRun<'a> {
    /// What its folder says of it.
    pub note: CellNote,
    /// Its tests; none where none was begun.
    pub shards: Option<ShardsRun>,
    /// Its folder.
    pub folder: &'a dyn RunFolder,
}

/// Goes on with cells that an earlier driver began; `begun` is called when their tests go on by themselves.
pub async fn resume_cells(run: &Run, cells: Vec<CellRun<'_>>, begun: &(dyn Fn() + Sync)) -> Vec<CellEnd> {
    let one = async |cell: CellRun<'_>| {
        let run = run.in_cell(&cell.note.point);
        let never = || cell.note.failed.clone().unwrap_or_else(|| "its driver ended before its tests began".to_owned());
        let result = match cell.shards {
            Some(shards) => resume_shards(&run, shards, cell.folder, begun).await,
            None => Err(Fault::infrastructure(never())),
        };
        CellEnd { point: cell.note.point, result }
    };
    futures_util::future::join_all(cells.into_iter().map(one)).await
}

/// The results of a run whose cells have ended, each with its folder; the run began at `started_at`.
pub fn collect_cells(
    run: &Run,
    started_at: Timestamp,
    cells: Vec<(CellEnd, &dyn RunFolder)>,
) -> Result<Results, Fault> {
    let mut all = Vec::new();
    for (cell, folder) in cells {
        let results = match cell.result {
            Ok(ShardsEnd::Ended(ended)) => {
                let lines = folder.queue()?.unwrap_or_default();
                outcome::collect(run, started_at, *ended, &lines, folder.path())
            }
            Ok(ShardsEnd::Left(_)) => return Err(Fault::infrastructure("tests of the run still go on")),
            Err(fault) if cell.point.name().is_none() => return Err(fault),
            Err(fault) => never_begun(run, started_at, &fault),
        };
        all.push((cell.point, folder.path().to_owned(), results));
    }
    Ok(merge_cells(run, started_at, all))
}

/// The results of a cell in which no test was begun.
fn never_begun(run: &Run, started_at: Timestamp, fault: &Fault) -> Results {
    let (subject, verdict, counts) = (TestSubject::default(), Verdict::Incomplete, Counts::default());
    let total = model::base::clock::since(started_at, run.now());
    Results {
        id: run.id.clone(),
        verdict,
        counts,
        time: TimeSplit { total, ..TimeSplit::default() },
        image: String::new(),
        source: String::new(),
        built: None,
        cells: vec![verdict::cell("", &subject, Vec::new(), (verdict, counts))],
        subject,
        caveats: Vec::new(),
        gap: Some(fault.line()),
        cost: None,
        artifacts: None,
        runner: Exit::Lost(fault.line()),
        last_output: None,
        machines: Vec::new(),
        tests: Vec::new(),
    }
}
