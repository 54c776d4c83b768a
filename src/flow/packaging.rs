//! Building packages: a matrix of cells, each built on one of several machines, and brought home.
//!
//! Machines take cells from one queue. A cell that fails is told, and the others go on. A machine that is lost gives its cell
//! back once and is replaced once; a cell that loses a second machine is lost.

mod cell;
mod dist;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::base::id::MachineId;
use model::build::BuildStore;
use model::event::{PackagesEvent, RunEvent};
use model::fault::{Fault, FaultKind};
use model::image::ImagePlan;
use model::machine::Machine;
use model::packaging::{CellOutcome, CellResult, PackageCell, Packager, PackagingResults, Signer};
use model::provider::MachineRequest;
use model::run::RunFolder;
use model::script::ScriptFile;

use crate::contract;
use crate::image::bake::{BakeOptions, request_with_image};
use crate::lease::{Completion, until_stopped, with_machine};
use crate::order::Order;
use crate::packaging::cell::CellBuild;
use crate::preparation::{cleaning, folder, hold, prepare};
use crate::run::Run;
use crate::site::Site;
use crate::task::durable::Durable;

pub use dist::Dist;

/// How many times a machine that is lost is replaced.
const SPARE: u32 = 1;

/// Packages to build on machines of their own.
pub struct PackagingJob<'a> {
    /// The packages.
    pub packager: &'a dyn Packager,
    /// The image to bake first if it is missing; none on a machine that somebody else made.
    pub plan: Option<&'a ImagePlan>,
    /// How to bake it.
    pub baking: &'a BakeOptions,
    /// Each of the machines.
    pub order: &'a Order,
    /// Scripts with the clauses that the packager adds to the machine contract.
    pub clauses: &'a [ScriptFile],
    /// How many machines build side by side, at most; at least one.
    pub machines: usize,
    /// How long one package may take; none leaves that to the packager.
    pub limit: Option<Duration>,
    /// Signs what is built.
    pub signer: Option<&'a dyn Signer>,
}

/// Where things of a run are kept on this computer.
pub struct PackagingRecords<'a> {
    /// The run's folder.
    pub folder: &'a dyn RunFolder,
    /// The folder for the packages.
    pub dist: &'a Dist,
    /// The builds that are kept.
    pub builds: &'a dyn BuildStore,
}

/// Bakes the image where it is missing, makes the machines, builds every cell and releases the machines. Every cell is in the
/// results, whatever happened; a fault says that nothing was begun.
pub async fn build_packages(
    run: &Run,
    site: &Site,
    job: &PackagingJob<'_>,
    records: &PackagingRecords<'_>,
) -> Result<PackagingResults, Fault> {
    let first = request_with_image(run, site, job.plan, job.baking, job.order).await?;
    let cells = job.packager.cells();
    let queue = Queue::of(&cells);
    let machines = job.machines.clamp(1, cells.len().max(1));
    let requests: Vec<MachineRequest> =
        std::iter::once(first).chain((1..machines).map(|_| job.order.request(run, run.now()))).collect();
    let work = Work { run, site, job, records, queue: &queue };
    let ends = futures_util::future::join_all(requests.into_iter().map(|request| work.on_machines(request))).await;
    let faults: Vec<Fault> = ends.into_iter().filter_map(Result::err).collect();
    let begun = queue.is_begun();
    let results = queue.results(&cells, faults.first());
    let mut faults = faults.into_iter();
    if let Some(fault) = faults.next() {
        if !begun {
            return Err(fault);
        }
        for fault in std::iter::once(fault).chain(faults).filter(|fault| fault.kind != FaultKind::Interrupted) {
            run.tell(RunEvent::Failed { failure: (&fault).into() });
        }
    }
    let results = PackagingResults {
        id: run.id.clone(),
        version: job.packager.version().or_else(|| results.iter().find_map(|result| result.version.clone())),
        dist: records.dist.folder().to_owned(),
        cells: results,
    };
    run.tell(PackagesEvent::Judged { summary: results.summary() });
    Ok(results)
}

/// The work of all machines.
#[derive(Clone, Copy)]
struct Work<'a> {
    run: &'a Run,
    site: &'a Site,
    job: &'a PackagingJob<'a>,
    records: &'a PackagingRecords<'a>,
    queue: &'a Queue,
}

impl Work<'_> {
    /// Builds cells on a machine until none waits, and on another in its place where it is lost meanwhile.
    async fn on_machines(self, mut request: MachineRequest) -> Result<(), Fault> {
        let mut spare = SPARE;
        while self.queue.waits() {
            match self.on_machine(&request).await? {
                None => break,
                Some(fault) if spare == 0 => return Err(fault),
                Some(fault) => self.run.tell(RunEvent::Failed { failure: (&fault).into() }),
            }
            spare -= 1;
            request = self.job.order.request(self.run, self.run.now());
        }
        Ok(())
    }

    /// Makes one machine and builds cells on it until none waits; gives the fault with which it was lost over one of them.
    async fn on_machine(self, request: &MachineRequest) -> Result<Option<Fault>, Fault> {
        let packager = self.job.packager;
        let folder = folder(self.run, request.platform);
        let clean = cleaning(packager, request.platform, &folder);
        let ended = with_machine(self.run, self.site, request, &folder, Some(&clean), async |machine, durable| {
            let target = self.records.folder.write_target(machine)?;
            contract::require_where_it_stays(self.run, durable, self.job.clauses).await?;
            let lost = hold::with_presence(durable, packager, self.build_all(machine, durable, target)).await?;
            Ok(Completion::Release(lost))
        })
        .await;
        ended.result
    }

    async fn build_all(self, machine: &Machine, durable: &Durable, target: PathBuf) -> Result<Option<Fault>, Fault> {
        let run = &self.run.on(&machine.id);
        let (packager, builds) = (self.job.packager, self.records.builds);
        let preparing = async { prepare(run, machine, durable, packager, &target, builds).await.map(drop) };
        match until_stopped(run, preparing).await {
            Err(fault) if fault.kind == FaultKind::Infrastructure => return Ok(Some(fault)),
            prepared => prepared?,
        }
        let is_taken = AtomicBool::new(false);
        while let Some(cell) = self.queue.next() {
            let (dist, is_taken) = (self.records.dist, &is_taken);
            let build = CellBuild { run, durable, job: self.job, dist, cell: &cell, is_taken };
            match build.build().await {
                Ok(result) => self.queue.end(result),
                Err(fault) => {
                    let name = cell.name.clone();
                    if self.queue.give_back(cell, &machine.id, &fault) {
                        run.tell(PackagesEvent::BuiltAgain { cell: name, failure: (&fault).into() });
                    }
                    return if fault.kind == FaultKind::Infrastructure { Ok(Some(fault)) } else { Err(fault) };
                }
            }
        }
        Ok(None)
    }
}

/// The cells that wait, and what came of the others.
struct Queue(Mutex<Cells>);

#[derive(Default)]
struct Cells {
    waiting: VecDeque<PackageCell>,
    /// Those that a lost machine gave back once.
    again: Vec<String>,
    ended: BTreeMap<String, CellResult>,
}

impl Queue {
    fn of(cells: &[PackageCell]) -> Self {
        Self(Mutex::new(Cells { waiting: cells.iter().cloned().collect(), ..Cells::default() }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any cell came to an end, or lost a machine.
    fn is_begun(&self) -> bool {
        let cells = self.lock();
        !(cells.ended.is_empty() && cells.again.is_empty())
    }

    fn waits(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    fn next(&self) -> Option<PackageCell> {
        self.lock().waiting.pop_front()
    }

    fn end(&self, result: CellResult) {
        self.lock().ended.insert(result.cell.clone(), result);
    }

    /// Takes back the cell of a machine that can do no more, and gives whether it waits again. The second time it is lost, for it
    /// may be what ends machines.
    fn give_back(&self, cell: PackageCell, machine: &MachineId, fault: &Fault) -> bool {
        let mut cells = self.lock();
        if fault.kind == FaultKind::Infrastructure && !cells.again.contains(&cell.name) {
            cells.again.push(cell.name.clone());
            cells.waiting.push_front(cell);
            return true;
        }
        let outcome = match fault.kind {
            FaultKind::Interrupted => CellOutcome::NotBuilt,
            _ => CellOutcome::Lost,
        };
        let result = not_built(&cell, outcome, fault.line(), Some(machine.clone()));
        cells.ended.insert(cell.name, result);
        false
    }

    /// The results in the matrix's order; cells that still wait end with the first fault.
    fn results(&self, cells: &[PackageCell], fault: Option<&Fault>) -> Vec<CellResult> {
        let mut held = self.lock();
        let reason = fault.map_or_else(|| "no machine came to it".to_owned(), Fault::line);
        let result = |cell: &PackageCell| {
            let again = held.again.contains(&cell.name);
            let outcome = if again { CellOutcome::Lost } else { CellOutcome::NotBuilt };
            let left = || not_built(cell, outcome, reason.clone(), None);
            held.ended.remove(&cell.name).unwrap_or_else(left)
        };
        cells.iter().map(result).collect()
    }
}

fn not_built(cell: &PackageCell, outcome: CellOutcome, reason: String, machine: Option<MachineId>) -> CellResult {
    CellResult {
        cell: cell.name.clone(),
        outcome,
        artifact: None,
        version: None,
        reason: Some(reason),
        log: None,
        machine,
        seconds: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
