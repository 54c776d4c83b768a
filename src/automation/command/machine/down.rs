//! `automation machine down`.

use flow::down::{self, Ended};
use model::fault::Fault;
use model::machine::Machine;

use crate::command::error::exit;
use crate::compose::Context;

/// End machines and remove all that belongs to them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machines' ids, their beginnings, or `latest`
    #[arg(required = true, value_name = "ID")]
    machines: Vec<String>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Also end a machine that a living run is using
    #[arg(long)]
    force: bool,
}

/// Ends them.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let machines = args.machines.iter().map(|text| super::find(context, text)).collect::<Result<Vec<_>, _>>()?;
    let estate = context.estate();
    if !args.force
        && let Some(Machine { id, run, .. }) = down::used(&estate, &machines)?
    {
        let cancel = context.to_type(&format!("runs cancel {run}"));
        return Err(Fault::usage(format!("machine {id} is in use by the living run {run}")).hint(format!(
            "`{cancel}` ends its work and keeps what is known of it by then; `--force` ends the machine all the same."
        )));
    }
    if args.dry_run {
        for machine in &machines {
            for row in down::rows(&estate, machine)? {
                context.screen.data(&format!("would remove {} {}\n", row.kind.name(), row.name));
            }
        }
        return Ok(exit::OK);
    }
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
    down::down(&estate, &machines, &|| context.state.is_full(), &mut report).await?;
    for row in &left {
        let why = row.explanation().unwrap_or_else(|| "unknown".to_owned());
        context.screen.message(&format!("left behind: {} {}: {why}", row.kind.name(), row.name));
    }
    if let Some(fault) = failed {
        return Err(fault);
    }
    Ok(if left.is_empty() { exit::OK } else { exit::LEFT_BEHIND })
}
