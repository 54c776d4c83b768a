//! The course of tests that several machines take from a queue, and of tests of several cells.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::site::{Site, Sites};
use flow::task::begun::OnceBegun;
use flow::testing::TestTerms;
use flow::testing::shards::{CellJob, CellNote, Group, Policy, ShardsJob, Split, run_cells};
use model::base::id::TestName;
use model::event::TroubleEvent;
use model::fault::Fault;
use model::machine::{Machine, ProviderKind};
use model::subject::TestSubject;
use state::runs::RunDir;

use crate::command::announcer::{Announcer, accept_detach};
use crate::command::image::baking_for;
use crate::command::session::{Ending, Session};
use crate::command::test_args::{ResolvedCell, ResolvedGroup, TestArgs};
use crate::command::testing::{CellFolder, conclude_cells, history_key};

/// How long split tests may take altogether where no limit is given: the whole of Mercurial's suite takes 8 hours on 2 processors.
const TESTS_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// The most cells side by side where their machines are not of this computer.
const CELLS_AT_ONCE: usize = 16;

/// Runs the tests of all cells, in this process to their end, or until they are left on their machines.
pub(super) async fn drive_cells(
    session: &Session,
    args: &TestArgs,
    cells: &[ResolvedCell],
    terms: TestTerms<'_>,
    policy: &Policy,
) -> Result<Ending, Fault> {
    let folders = make_folders(&session.dir, cells)?;
    let sites = open_sites(session, cells).await?;
    let announcer = Announcer::new(session, args.asks_for_json());
    let announce = |machine: &Machine| announcer.announce(machine);
    let begun = || session.detachable();
    let once_begun = if args.detach { OnceBegun::Leave(&announce) } else { OnceBegun::Follow(&begun) };
    let foreseen = |subject: &TestSubject| foreseen(session, subject);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    // Nobody is there later to begin those that wait.
    let at_once = if args.detach { cells.len() } else { at_once(cells, processors) };
    // Those that are at work at the same time share this computer.
    let share = u32::try_from(processors / at_once.min(cells.len()).max(1)).unwrap_or(u32::MAX).max(1);
    let split = Split { policy, foreseen: &foreseen, processors: share };
    let groups: Vec<Vec<Group<'_>>> = cells.iter().map(|cell| groups(cell, &sites, args.keep_failed)).collect();
    let jobs = cells.iter().zip(&groups).zip(&folders).map(|((cell, groups), folder)| {
        let (runner, limit) = (cell.runner.as_ref(), args.timeout.unwrap_or(TESTS_LIMIT));
        let job = ShardsJob { runner, groups, split, terms, limit, once_begun };
        CellJob { point: cell.point.clone(), job, folder }
    });
    let jobs: Vec<CellJob<'_>> = jobs.collect();
    let ends = run_cells(&session.run, &jobs, at_once, &session.context.state.builds()).await;
    drop(jobs);
    announcer.settle();
    let ends = ends.into_iter().zip(folders).map(|(end, folder)| CellFolder { end, folder }).collect();
    Ok(accept_detach(args.detach, conclude_cells(session, &args.reports, ends).await?))
}

/// The folder of each cell, where all that is chosen for it is written down: a later driver has to know of those, too, that did
/// not begin. That of the run where there is no matrix.
fn make_folders(run: &RunDir, cells: &[ResolvedCell]) -> Result<Vec<RunDir>, Fault> {
    let make = |(at, cell): (usize, &ResolvedCell)| match cell.point.name() {
        None => Ok(run.clone()),
        Some(_) => {
            let folder = run.make_cell(&cell.point.folder(at + 1))?;
            CellFolder::write_note(&folder, &CellNote { point: cell.point.clone(), failed: None })?;
            Ok(folder)
        }
    };
    cells.iter().enumerate().map(make).collect()
}

/// The sites that the cells need, each once.
async fn open_sites(session: &Session, cells: &[ResolvedCell]) -> Result<Vec<(ProviderKind, Site)>, Fault> {
    let mut sites: Vec<(ProviderKind, Site)> = Vec::new();
    for group in cells.iter().flat_map(|cell| &cell.groups) {
        if !sites.iter().any(|(kind, _)| *kind == group.kind) {
            sites.push((group.kind, session.context.sites.site(group.kind).await?));
        }
    }
    Ok(sites)
}

/// The groups of a cell, as flows know them.
fn groups<'a>(
    cell: &'a ResolvedCell,
    sites: &'a [(ProviderKind, Site)],
    keep_failed: Option<Duration>,
) -> Vec<Group<'a>> {
    let group = |group: &'a ResolvedGroup| {
        let site = sites.iter().find(|(kind, _)| *kind == group.kind).map(|(_, site)| site)?;
        let (plan, order, machines) = (group.plan.as_ref(), &group.order, group.machines);
        Some(Group { site, plan, baking: baking_for(order, keep_failed), order, machines })
    };
    cell.groups.iter().filter_map(group).collect()
}

/// How many cells are at work side by side: on this computer as many as there are processors for their machines, one after another on
/// machines that somebody else made.
fn at_once(cells: &[ResolvedCell], processors: usize) -> usize {
    let of = |kind| {
        move |cell: &ResolvedCell| -> usize {
            cell.groups.iter().filter(|group| group.kind == kind).map(|group| group.machines).sum()
        }
    };
    let (local, hosts) =
        (cells.iter().map(of(ProviderKind::Local)).max(), cells.iter().map(of(ProviderKind::Host)).max());
    match (local.unwrap_or_default(), hosts.unwrap_or_default()) {
        (_, 1..) => 1,
        (0, 0) => CELLS_AT_ONCE,
        (local, 0) => (processors / local).max(1),
    }
}

/// What tests took in earlier runs, seconds; nothing where that cannot be read, which is told.
fn foreseen(session: &Session, subject: &TestSubject) -> BTreeMap<TestName, f64> {
    let known = session.context.state.history().read(&history_key(session, subject)).unwrap_or_else(|fault| {
        session.run.tell(TroubleEvent::from(&fault));
        BTreeMap::new()
    });
    known.into_iter().map(|(test, took)| (test, took.as_secs_f64())).collect()
}
