//! `automation runs attach` and `automation runs wait`: follow a run to its end, as its first driver would have.

mod command;

use std::sync::Arc;
use std::time::Duration;

use flow::lease::LeaseEnd;
use flow::parting::Parting;
use flow::site::{Site, Sites};
use flow::testing::shards::{CellRun, ShardTask, ShardsRun, resume_cells};
use flow::testing::{self, Records, TestTask, Tested};
use model::base::id::{MachineId, RunId};
use model::base::text;
use model::event::{MachineEvent, TroubleEvent};
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::{Machine, ProviderKind};
use model::resource::Resource;
use model::run::{MACHINE_GONE, RunRecord};
use state::file::Lock;
use state::process::is_driven;
use state::runs::RunDir;

use crate::command::error::exit;
use crate::command::parting_args::PartingArgs;
use crate::command::run::RUN;
use crate::command::runs::chosen::choose_task_run;
use crate::command::runs::viewer::RunViewer;
use crate::command::session::Session;
use crate::command::signals::until_signal;
use crate::command::testing::{CellFolder, Reports, conclude, conclude_cells};
use crate::compose::Context;

/// The pause between two looks at the log of a run that another process drives.
const LOOK: Duration = Duration::from_millis(100);

/// The options of `runs attach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run's id, its beginning, or `latest`: the latest with tests or a command, one that goes on first
    #[arg(default_value = "latest")]
    run: String,
    #[command(flatten)]
    reports: Reports,
    #[command(flatten)]
    parting: PartingArgs,
}

/// Follows a run to its end; `shows_output` for the task's own output as well.
pub(crate) async fn run(context: Context, args: &Args, shows_output: bool) -> Result<i32, Fault> {
    let id = choose_task_run(&context, &args.run)?.id;
    args.reports.check()?;
    let done = follow(context, args, &id, shows_output).await;
    args.reports.told("runs attach", done)
}

async fn follow(context: Context, args: &Args, id: &RunId, shows_output: bool) -> Result<i32, Fault> {
    let dir = context.state.run(id)?;
    let mut viewer = RunViewer::new(dir.clone(), shows_output);
    let typed = |verb: &str| context.to_type(&format!("runs {verb} {id}"));
    let left = format!("The run goes on: `{}` follows it, `{}` ends it.", typed("attach"), typed("cancel"));
    match until_signal(until_undriven(&context, &dir, &mut viewer), &left).await? {
        Undriven::Ended(record) => show_ended(&context, &record, &dir, &args.reports),
        Undriven::Ours(record, driving) => {
            let parting = Arc::new(context.parting(args.parting.wait_gone));
            let drive = Drive { reports: &args.reports, shows_output, cancels: false, parting };
            drive.run(context, record, driving).await
        }
    }
}

/// A run that no other process drives.
enum Undriven {
    /// It has ended.
    Ended(RunRecord),
    /// It is this process's to drive.
    Ours(RunRecord, Lock),
}

/// Follows the log of a run for as long as another process drives it.
async fn until_undriven(context: &Context, dir: &RunDir, viewer: &mut RunViewer) -> Result<Undriven, Fault> {
    let (id, screen) = (dir.id(), &context.screen);
    let mut announced = false;
    loop {
        // Its machines may be ending still; another process sees to that.
        let record = super::record(context, id)?;
        if record.has_ended() {
            viewer.show(screen)?;
            return Ok(Undriven::Ended(record));
        }
        if let Some((record, driving)) = take_over(context, dir)?.filter(|(record, _)| !record.has_ended()) {
            viewer.show(screen)?;
            return Ok(Undriven::Ours(record, driving));
        }
        if !std::mem::replace(&mut announced, true) {
            screen.message(&format!("Run {id} is at work elsewhere; its log is followed."));
        }
        viewer.show(screen)?;
        tokio::time::sleep(LOOK).await;
    }
}

/// The run's record, and the right to drive it; none while another process drives it.
pub(crate) fn take_over(context: &Context, dir: &RunDir) -> Result<Option<(RunRecord, Lock)>, Fault> {
    let Some(driving) = dir.lock_driver()? else { return Ok(None) };
    let record = super::record(context, dir.id())?;
    // A driver may have released the lock and not have ended yet; that lasts a moment only.
    Ok((!is_driven(&record)).then_some((record, driving)))
}

/// Shows the results of a run that has ended; gives its exit code.
fn show_ended(context: &Context, record: &RunRecord, dir: &RunDir, reports: &Reports) -> Result<i32, Fault> {
    if let Some(ended_at) = record.ended_at {
        context.screen.message(&format!("Run {} ended {}.", record.id, text::ago(ended_at, context.now())));
    }
    match super::results(context, dir.id())? {
        Some(results) => {
            context.screen.message(report::terminal::summary(&results).trim_end());
            reports.deliver(&context.screen, &record.command, &results)?;
        }
        None => {
            let summary = record.summary.as_deref().unwrap_or("it is not known how");
            context.screen.message(&format!("Run {} has ended: {summary}", record.id));
        }
    }
    Ok(record.exit_code.unwrap_or(exit::INFRASTRUCTURE))
}

/// The manner in which to drive a run that another process began.
pub(crate) struct Drive<'a> {
    /// The places to which the results go.
    pub reports: &'a Reports,
    /// Whether the task's output is shown.
    pub shows_output: bool,
    /// Whether the task is told to end.
    pub cancels: bool,
    /// How the run parts with its machines.
    pub parting: Arc<Parting>,
}

impl Drive<'_> {
    /// Drives the run to its end and gives its exit code.
    pub(crate) async fn run(&self, context: Context, record: RunRecord, driving: Lock) -> Result<i32, Fault> {
        let dir = context.state.run(&record.id)?;
        if record.command == RUN {
            if self.reports.junit.is_some() {
                return Err(Fault::usage("`--junit` is for tests, and this run has a command"));
            }
            return self.run_command(context, record, driving, &dir).await;
        }
        let cells = dir.cells()?;
        if is_split(&cells)? {
            return self.run_cells(context, record, driving, &cells).await;
        }
        let task = TestTask::read(&dir)?;
        let task = task.ok_or_else(|| never_began(&context, &record))?;
        let Some(machine) = machine_of(&context, &task.begun.task.machine)? else {
            return self.end_without_machine(context, record, driving, task).await;
        };
        require_visible(&context, &machine).await?;
        let runner = project::runner(task.runner.as_ref(), context.ssh()?)?;
        let session = self.resume(context, record, machine.provider, driving).await?;
        self.begin(&session, &machine.id);
        session.works_at(runner.place());
        let stop = session.run.stop.clone();
        let records = Records { folder: &session.dir, output: &session.test_output(), stop, watch: &|_| () };
        let ended = testing::resume(&session.run, &session.site, machine, runner.as_ref(), &task, &records).await;
        let result = conclude(&session, self.reports, Some(task), ended).await;
        let result = self.reports.told(session.command(), result);
        session.end(result).await
    }

    /// Takes the run over, on machines of `kind`.
    async fn resume(
        &self,
        context: Context,
        record: RunRecord,
        kind: ProviderKind,
        driving: Lock,
    ) -> Result<Session, Fault> {
        let session = Session::resume(context, record, kind, driving, self.shows_output).await?;
        Ok(session.parting(Arc::clone(&self.parting)))
    }

    /// Says that a machine is followed, or tells what runs there to end.
    fn begin(&self, session: &Session, machine: &MachineId) {
        match self.cancels {
            true => session.run.stop.cancel(),
            false => {
                let run = session.id().clone();
                session.run.teller.machine(machine, MachineEvent::Following { run });
            }
        }
    }

    /// Drives a run whose tests were split, or are of several cells, to its end.
    async fn run_cells(
        &self,
        context: Context,
        record: RunRecord,
        driving: Lock,
        folders: &[RunDir],
    ) -> Result<i32, Fault> {
        let mut machines = Vec::new();
        for machine in context.journal.machines()?.into_iter().filter(|machine| machine.run == record.id) {
            require_visible(&context, &machine).await?;
            let site = context.sites.site(machine.provider).await?;
            machines.push((machine, site));
        }
        let kind = machines.first().map_or(context.default_provider()?, |(machine, _)| machine.provider);
        let following: Vec<MachineId> = machines.iter().map(|(machine, _)| machine.id.clone()).collect();
        // What cannot be read must not close the record of a run whose tests go on.
        let cells = cells(&context, folders, machines)?;
        let session = self.resume(context, record, kind, driving).await?;
        if self.cancels {
            session.run.stop.cancel();
        }
        for machine in following.iter().filter(|_| !self.cancels) {
            let run = session.id().clone();
            session.run.teller.machine(machine, MachineEvent::Following { run });
        }
        let runner = cells.iter().find_map(|cell| cell.shards.as_ref()).map(|shards| &shards.runner);
        session.works_at(runner.and_then(|runner| runner.place()));
        let ends = resume_cells(&session.run, cells, &|| session.detachable()).await;
        let ends = ends.into_iter().zip(folders).map(|(end, folder)| CellFolder { end, folder: folder.clone() });
        let ended = conclude_cells(&session, self.reports, ends.collect()).await;
        let ended = self.reports.told(session.command(), ended);
        session.end(ended).await
    }

    /// Ends a run whose machine is gone: with the results of its tests, where a driver had stored them and was killed
    /// before it reported them.
    async fn end_without_machine(
        &self,
        context: Context,
        record: RunRecord,
        driving: Lock,
        task: TestTask,
    ) -> Result<i32, Fault> {
        let Some(tested) = Tested::read(&context.state.run(&record.id)?) else {
            return Err(close_lost(&context, record)?);
        };
        let kind = context.default_provider()?;
        let session = self.resume(context, record, kind, driving).await?;
        let ended = LeaseEnd { result: Ok(Some(tested)), left: Vec::new(), cost: None, detached: None };
        let result = conclude(&session, self.reports, Some(task), ended).await;
        let result = self.reports.told(session.command(), result);
        session.end(result).await
    }
}

/// Whether the folders of a run's cells, or its own, tell of tests that were handed out.
pub(crate) fn is_split(folders: &[RunDir]) -> Result<bool, Fault> {
    for folder in folders {
        if ShardsRun::record(folder)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A machine, and where it came from.
type Placed = (Machine, Site);

/// What an earlier driver left of each cell. A machine is of the cell in whose folder it is written down; one of a cell whose queue is
/// gone is released with the first.
fn cells<'a>(context: &Context, folders: &'a [RunDir], machines: Vec<Placed>) -> Result<Vec<CellRun<'a>>, Fault> {
    let mut rest = machines;
    let mut cells = Vec::new();
    for folder in folders {
        let note = CellFolder::read_note(folder).unwrap_or_else(|fault| {
            context.teller().tell(TroubleEvent::from(&fault));
            CellFolder::note_of(folder)
        });
        let shards = match ShardsRun::record(folder)? {
            None => None,
            Some(record) => {
                let (machines, others) = rest.into_iter().partition(|(machine, _)| folder.has_target(&machine.id));
                rest = others;
                let (runner, tasks) =
                    (project::runner(Some(&record.runner), context.ssh()?)?, ShardTask::read(folder)?);
                Some(ShardsRun { record, runner, machines, tasks })
            }
        };
        cells.push(CellRun { note, shards, folder });
    }
    if let Some(first) = cells.iter_mut().find_map(|cell| cell.shards.as_mut()) {
        first.machines.extend(rest);
    }
    Ok(cells)
}

fn never_began(context: &Context, record: &RunRecord) -> Fault {
    let fix = context.to_type(&format!("audit --fix --run {}", record.id));
    let (what, it) = if record.command == RUN { ("command that goes", "it") } else { ("tests that go", "they") };
    Fault::outside(format!("run `{}` has no {what} on: its driver ended before {it} began", record.id))
        .hint(format!("`{fix}` removes what it left; then run it again."))
}

/// The stored machine of a run's task; none when it is known to be gone.
pub(crate) fn machine_of(context: &Context, id: &MachineId) -> Result<Option<Machine>, Fault> {
    Ok(context.journal.machines()?.into_iter().find(|machine| machine.id == *id))
}

/// Closes the record of a run whose machine has gone, and says so.
fn close_lost(context: &Context, record: RunRecord) -> Result<Fault, Fault> {
    let id = record.id.clone();
    context.journal.update_run(&record.into_lost_because(context.now(), MACHINE_GONE))?;
    let log = context.to_type(&format!("runs logs {id}"));
    Ok(Fault::infrastructure(format!("run `{id}` is lost: {}", MACHINE_GONE))
        .hint(format!("`{log}` prints what came before that.")))
}

/// Refuses a machine that its provider, as it is set up here, cannot see: it must not pass for gone.
pub(crate) async fn require_visible(context: &Context, machine: &Machine) -> Result<(), Fault> {
    let filter = ResourceFilter { machine: Some(machine.id.clone()), open: true, ..ResourceFilter::default() };
    let rows: Vec<Resource> = context.journal.resources(&filter)?;
    let provider = context.sites.site(machine.provider).await?.provider;
    let horizon = provider.abilities().horizon;
    if rows.iter().all(|row| horizon.is_none_or(|horizon| horizon.is_here(row))) {
        return Ok(());
    }
    let hint = match machine.provider {
        ProviderKind::Ec2 => {
            "Name the region and the credentials with which it was made (`--aws-region`, `AWS_PROFILE`)."
        }
        _ => "Give the options with which it was made.",
    };
    let kind = machine.provider.name();
    Err(Fault::outside(format!("machine {} cannot be seen from here by provider `{kind}`", machine.id)).hint(hint))
}
