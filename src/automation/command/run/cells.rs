//! A command on several machines: under each choice of a matrix, or the same on each.

use flow::command::cells::{CommandCell, run_commands};
use flow::command::{CommandJob, CommandRecords};
use flow::task::begun::OnceBegun;
use flow::testing::shards::CellNote;
use flow::transfer::artifacts::Fetch;
use model::fault::Fault;
use model::machine::{Machine, ProviderKind};
use model::preparation::UserCommand;
use state::runs::RunDir;

use crate::command::announcer::{Announcer, accept_detach};
use crate::command::command_end::cells::{CellOutput, EndedCell, conclude_cells};
use crate::command::image::baking_for;
use crate::command::run::Args;
use crate::command::run::resolve::{Resolved, ResolvedCell};
use crate::command::session::{Ending, Session};
use crate::command::testing::CellFolder;

/// The most machines side by side where they are not of this computer.
const AT_ONCE: usize = 16;

/// How many cells are at work side by side.
fn at_once(kind: ProviderKind, is_left: bool, cells: usize) -> usize {
    match kind {
        // Nobody is there later to begin those that wait.
        _ if is_left => cells,
        ProviderKind::Host => 1,
        ProviderKind::Ec2 => AT_ONCE,
        ProviderKind::Local | ProviderKind::Dummy => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// Where things of one cell are kept.
struct CellPlace {
    folder: RunDir,
    output: CellOutput,
    fetch: Fetch,
}

/// Makes the folder of each cell, and writes down there what is chosen for it: a later driver has to know of those, too, that did not begin.
fn make_places(session: &Session, resolved: &Resolved, cells: &[ResolvedCell]) -> Result<Vec<CellPlace>, Fault> {
    let width = cells.iter().map(|cell| cell.point.to_string().chars().count()).max().unwrap_or_default();
    let make = |(at, cell): (usize, &ResolvedCell)| {
        let name = cell.point.folder(at + 1);
        let folder = session.dir.make_cell(&name)?;
        CellFolder::write_note(&folder, &CellNote { point: cell.point.clone(), failed: None })?;
        let output = CellOutput::open(session, &folder, &cell.point.to_string(), width)?;
        let into = resolved.fetch.into.as_ref().map(|into| into.join(&name));
        Ok(CellPlace { folder, output, fetch: Fetch { into, ..resolved.fetch.clone() } })
    };
    cells.iter().enumerate().map(make).collect()
}

/// Runs the command in all cells, in this process to its end, or until they are left on their machines.
pub(super) async fn drive(
    session: &Session,
    args: &Args,
    resolved: &Resolved,
    cells: &[ResolvedCell],
) -> Result<Ending, Fault> {
    let places = make_places(session, resolved, cells)?;
    let announcer = Announcer::new(session, args.json);
    let announce = |machine: &Machine| announcer.announce(machine);
    let begun = || session.detachable();
    let once_begun = if args.detach { OnceBegun::Leave(&announce) } else { OnceBegun::Follow(&begun) };
    let builds = session.context.state.builds();
    let baking: Vec<_> = cells.iter().map(|cell| baking_for(&cell.order, args.keep_failed)).collect();
    let jobs: Vec<CommandCell<'_>> = cells
        .iter()
        .zip(&places)
        .zip(&baking)
        .map(|((cell, place), baking)| CommandCell {
            point: cell.point.clone(),
            job: CommandJob {
                command: &cell.command,
                plan: cell.plan.as_ref(),
                baking,
                order: &cell.order,
                limit: resolved.limit,
                fetch: &place.fetch,
                keep_failed: args.keep_failed,
                sync_back: None,
                conversation: None,
                watch: None,
                once_begun,
            },
            records: CommandRecords { folder: &place.folder, output: &place.output, builds: &builds },
        })
        .collect();
    let at_once = at_once(resolved.kind, args.detach, cells.len());
    let ends = run_commands(&session.run, &session.site, &jobs, at_once).await;
    drop(jobs);
    announcer.settle();
    let line = cells.first().map(|cell| cell.command.line()).unwrap_or_default();
    let ended = ends.into_iter().zip(places);
    let ended = ended.map(|(end, place)| EndedCell { end, folder: place.folder, output: place.output }).collect();
    Ok(accept_detach(args.detach, conclude_cells(session, &line, ended, args.json)?))
}
