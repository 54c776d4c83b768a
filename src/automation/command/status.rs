//! `automation status`.

use flow::audit::Finding;
use flow::site::Sites;
use flow::status::{MachineStatus, Overview, overview, standing};
use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::base::name::MachineName;
use model::base::text::{self, pluralize};
use model::build::BuildStore;
use model::fault::Fault;
use model::machine::ProviderKind;
use model::run::{RunRecord, RunState, RunStore};
use serde::Serialize;
use state::process;

use crate::command::error::exit;
use crate::compose::Context;
use crate::ui::table;

/// The options of `automation status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The most machines, or runs, that are shown to a person: the rest is a listing's.
const SHOWN: usize = 10;

/// The standing of a run that nobody drives, although it was not left.
const DRIVER_DIED: &str = "driver died";

/// How things stand.
#[derive(Debug, Serialize)]
struct Status {
    machines: Vec<MachineRow>,
    runs: Vec<RunRow>,
    disk: Disk,
    left: Vec<Finding>,
}

/// A machine.
#[derive(Debug, Serialize)]
struct MachineRow {
    id: MachineId,
    name: Option<MachineName>,
    provider: ProviderKind,
    image: String,
    run: RunId,
    status: &'static str,
    created_at: Timestamp,
    expires_at: Timestamp,
    /// After how many seconds without use it ends before that.
    idle: Option<f64>,
    /// When it ends, in words.
    #[serde(skip)]
    ends: String,
    cost: Option<f64>,
    per_hour: Option<f64>,
}

/// A run that goes on, or whose driver died.
#[derive(Debug, Serialize)]
struct RunRow {
    id: RunId,
    command: String,
    status: &'static str,
    started_at: Timestamp,
}

/// How many things of a kind there are, and what they take on the disk.
#[derive(Debug, Serialize)]
struct Share {
    count: usize,
    bytes: u64,
}

/// What the parts of the state directory take.
#[derive(Debug, Serialize)]
struct Disk {
    images: usize,
    layers: Share,
    builds: Share,
    runs: Share,
}

/// Shows how things stand.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let Overview { machines, left } = overview(&context.estate()).await?;
    let now = context.now();
    let records = context.journal.runs(usize::MAX)?;
    let stored = context.journal.machines()?;
    let is_shown = |record: &&RunRecord| record.state == RunState::Running || process::is_running(record, &stored, now);
    let open = records.iter().filter(is_shown).map(RunRow::of).collect();
    let status = Status {
        machines: machines.into_iter().map(|machine| MachineRow::of(machine, now)).collect(),
        runs: open,
        disk: disk(context, &records).await?,
        left,
    };
    match args.json {
        true => context.screen.json(&status),
        false => context.screen.data(&words(context, &status, now)),
    }
    Ok(exit::OK)
}

impl MachineRow {
    fn of(one: MachineStatus, now: Timestamp) -> Self {
        let status = match one.ending && !one.machine.kept {
            true => "releasing",
            false => standing(&one.machine, one.used, now),
        };
        let ends = one.machine.ends(now);
        let machine = one.machine;
        Self {
            id: machine.id,
            name: machine.name,
            provider: machine.provider,
            image: machine.image,
            run: machine.run,
            status,
            created_at: machine.created_at,
            expires_at: machine.expires_at,
            idle: machine.idle.map(|idle| idle.as_secs_f64()),
            ends,
            cost: one.cost,
            per_hour: one.per_hour,
        }
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.name.as_ref().map(ToString::to_string).unwrap_or_default(),
            self.status.to_owned(),
            self.ends.clone(),
            self.image.clone(),
            text::ago(self.created_at, now),
            self.provider.name().to_owned(),
            self.cost.map(|cost| format!("${cost:.2}")).unwrap_or_default(),
        ]
    }
}

impl RunRow {
    fn of(record: &RunRecord) -> Self {
        let status = match (process::is_driven(record), record.state) {
            (true, _) => "running",
            (false, RunState::Running) => DRIVER_DIED,
            (false, _) => "detached",
        };
        let (id, command) = (record.id.clone(), record.command.clone());
        Self { id, command, status, started_at: record.started_at }
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![self.id.to_string(), self.command.clone(), self.status.to_owned(), text::ago(self.started_at, now)]
    }
}

/// What the parts of the state directory take, as far as they are measured already or are small.
async fn disk(context: &Context, records: &[RunRecord]) -> Result<Disk, Fault> {
    let images = context.sites.images(ProviderKind::Local);
    let store = images.store().await?;
    let layers = store.layers().await?;
    let builds = context.state.builds().list()?;
    let folders = context.state.run_folders();
    Ok(Disk {
        images: store.list().await?.len(),
        layers: Share { count: layers.len(), bytes: layers.iter().map(|layer| layer.bytes).sum() },
        builds: Share { count: builds.len(), bytes: builds.iter().map(|build| build.bytes).sum() },
        runs: Share { count: records.len(), bytes: records.iter().map(|record| folders.size(&record.id)).sum() },
    })
}

/// All of it on one screen.
fn words(context: &Context, status: &Status, now: Timestamp) -> String {
    let mut all = format!("{}\n", machines_line(status));
    if !status.machines.is_empty() {
        let rows: Vec<Vec<String>> = status.machines.iter().take(SHOWN).map(|machine| machine.cells(now)).collect();
        // On a narrow terminal the last are left out.
        let header = ["ID", "NAME", "STATUS", "REMOVED", "IMAGE", "AGE", "PROVIDER", "COST"];
        all.push_str(&table::render(&header, 0, &rows));
        all.push_str(&more(status.machines.len(), &context.to_type("machine list")));
    }
    all.push_str(&format!("\n{}\n", runs_line(context, status)));
    if !status.runs.is_empty() {
        let rows: Vec<Vec<String>> = status.runs.iter().take(SHOWN).map(|run| run.cells(now)).collect();
        all.push_str(&table::render(&["ID", "COMMAND", "STATUS", "AGE"], 0, &rows));
        all.push_str(&more(status.runs.len(), &context.to_type("runs list")));
    }
    all.push_str(&format!("\n{}\n", disk_line(&status.disk)));
    all.push_str(&match status.left.len() {
        0 => "Nothing is left behind.\n".to_owned(),
        count => format!("Left behind: {} (`{}`)\n", pluralize(count, "thing"), context.to_type("audit")),
    });
    all
}

fn runs_line(context: &Context, status: &Status) -> String {
    let died: Vec<&RunRow> = status.runs.iter().filter(|run| run.status == DRIVER_DIED).collect();
    let at_work = pluralize(status.runs.len() - died.len(), "run");
    match died.first() {
        None => format!("{at_work} at work"),
        Some(first) => {
            let show = context.to_type(&format!("runs show {}", first.id));
            format!("{at_work} at work, {} whose driver died (`{show}` says what to do)", died.len())
        }
    }
}

fn machines_line(status: &Status) -> String {
    let sum = |money: fn(&MachineRow) -> Option<f64>| status.machines.iter().filter_map(money).reduce(|a, b| a + b);
    let (cost, hour) = (sum(|machine| machine.cost), sum(|machine| machine.per_hour));
    let cost = cost.map(|cost| format!(", ${cost:.2} so far")).unwrap_or_default();
    let hour = hour.map(|hour| format!(", ${hour:.2} an hour now")).unwrap_or_default();
    format!("{}{cost}{hour}", pluralize(status.machines.len(), "machine"))
}

fn disk_line(disk: &Disk) -> String {
    let share = |share: &Share, noun: &str| format!("{} ({})", pluralize(share.count, noun), text::bytes(share.bytes));
    let (layers, builds) = (share(&disk.layers, "layer"), share(&disk.builds, "build"));
    format!("On disk: {} of {layers}, {builds}, {}", pluralize(disk.images, "image"), share(&disk.runs, "run"))
}

/// Where the rest of a list is, if there is more than is shown.
fn more(count: usize, listing: &str) -> String {
    match count.checked_sub(SHOWN) {
        None | Some(0) => String::new(),
        Some(more) => format!("and {more} more (`{listing}`)\n"),
    }
}
