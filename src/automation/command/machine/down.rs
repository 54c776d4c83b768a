//! `automation machine down`.

use flow::down::{self, Ended};
use jiff::Timestamp;
use model::base::text;
use model::fault::Fault;
use model::machine::Machine;

use crate::command::error::exit;
use crate::command::machine::chosen::{choose, find};
use crate::compose::Context;
use crate::ui::confirm;

/// End machines and remove all that belongs to them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machines' ids, their beginnings, their names, or `latest`. Where one machine is there alone it need not be named, and you are asked
    #[arg(value_name = "ID")]
    machines: Vec<String>,
    /// End all machines of this state directory but those that living runs are using; you are asked
    #[arg(long, conflicts_with_all = ["machines", "force"])]
    all: bool,
    /// Do not ask about machines that are not named
    #[arg(long)]
    yes: bool,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Also end a machine that a living run is using
    #[arg(long)]
    force: bool,
}

/// The machines that are meant.
fn meant(context: &Context, args: &Args) -> Result<Vec<Machine>, Fault> {
    match args.machines.as_slice() {
        _ if args.all => all(context),
        [] => Ok(vec![choose(context, None)?]),
        named => named.iter().map(|text| find(context, text)).collect(),
    }
}

/// All machines that no living run is using; says which are left for that.
fn all(context: &Context) -> Result<Vec<Machine>, Fault> {
    let machines = Machine::each_once(context.journal.machines()?);
    let users = down::users(&context.estate(), &machines)?;
    let mut free = Vec::new();
    for (machine, user) in machines.into_iter().zip(users) {
        match user {
            Some(run) => {
                context.screen.message(&format!("Machine {} stays: the living run {run} is using it.", machine.id));
            }
            None => free.push(machine),
        }
    }
    Ok(free)
}

/// Whether the machines may be ended: those that were named may.
fn may_end(context: &Context, args: &Args, machines: &[Machine]) -> Result<bool, Fault> {
    if args.yes || !args.machines.is_empty() {
        return Ok(true);
    }
    let what = describe(machines, context.now());
    if !confirm::can_ask() {
        return Err(Fault::usage(format!("nobody is there to be asked whether to end {what}"))
            .hint("`--dry-run` lists what would be removed; `--yes` removes it without asking."));
    }
    let may = confirm::confirm(&format!("End {what}?"));
    if !may {
        context.screen.message("Nothing was removed.");
    }
    Ok(may)
}

/// The machines in words.
fn describe(machines: &[Machine], now: Timestamp) -> String {
    let one = |machine: &Machine| {
        let name = machine.name.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
        format!("{} ({name}{}, made {})", machine.id, machine.image, text::ago(machine.created_at, now))
    };
    let all: Vec<String> = machines.iter().map(one).collect();
    let noun = if machines.len() == 1 { "machine" } else { "machines" };
    format!("{noun} {}", all.join(", "))
}

/// Refuses machines that a living run is using.
fn refuse_used(context: &Context, machines: &[Machine]) -> Result<(), Fault> {
    let Some((Machine { id, .. }, run)) = down::used(&context.estate(), machines)? else { return Ok(()) };
    let cancel = context.to_type(&format!("runs cancel {run}"));
    Err(Fault::usage(format!("machine {id} is in use by the living run {run}")).hint(format!(
        "`{cancel}` ends its work and keeps what is known of it by then; `--force` ends the machine all the same."
    )))
}

/// Ends them.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let machines = meant(context, args)?;
    if machines.is_empty() {
        context.screen.message("There is no machine to end.");
        return Ok(exit::OK);
    }
    if !args.force {
        refuse_used(context, &machines)?;
    }
    if args.dry_run {
        for machine in &machines {
            for row in down::rows(&context.estate(), machine)? {
                context.screen.data(&format!("would remove {} {}\n", row.kind.name(), row.name));
            }
        }
        return Ok(exit::OK);
    }
    match may_end(context, args, &machines)? {
        true => end(context, &machines).await,
        false => Ok(exit::OK),
    }
}

/// Ends the machines, one after the other, and says what became of each.
async fn end(context: &Context, machines: &[Machine]) -> Result<i32, Fault> {
    let (mut left, mut failed) = (Vec::new(), None);
    let mut report = |Machine { id, .. }: &Machine, ended: Ended| match ended {
        Ended::Gone => context.screen.message(&format!("Ended {id}, nothing is left of it.")),
        Ended::Unwritten => {
            let audit = context.to_type("audit");
            context.screen.message(&format!(
                "Ended {id}, nothing is left of it. The disk has no room to write that down; `{audit}` does it when there is some."
            ));
        }
        Ended::Stays(remaining) => left.extend(remaining),
        Ended::Failed(fault) if failed.is_none() => failed = Some(fault),
        Ended::Failed(fault) => context.screen.message(&format!("{id}: {}", fault.line())),
    };
    down::down(&context.estate(), machines, &|| context.state.is_full(), &mut report).await?;
    for row in &left {
        let why = row.explanation().unwrap_or_else(|| "unknown".to_owned());
        context.screen.message(&format!("left behind: {} {}: {why}", row.kind.name(), row.name));
    }
    if let Some(fault) = failed {
        return Err(fault);
    }
    Ok(if left.is_empty() { exit::OK } else { exit::LEFT_BEHIND })
}
