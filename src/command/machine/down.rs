//! `automation machine down`.

use crate::command::context::Context;
use crate::command::error::exit;
use crate::flow::release::{Part, release};
use crate::model::fault::Fault;
use crate::model::journal::ResourceFilter;

/// End machines and remove all that belongs to them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machines' ids
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
pub async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let machines = args.machines.iter().map(|text| super::find(context, text)).collect::<Result<Vec<_>, _>>()?;
    for machine in machines.iter().filter(|_| !args.force) {
        let run = context.journal.run(&machine.run)?;
        if run.is_some_and(|run| crate::state::process::is_driven(&run)) {
            return Err(Fault::usage(format!("machine {} is in use by the living run {}", machine.id, machine.run))
                .hint("`--force` ends it all the same."));
        }
    }
    let mut left = Vec::new();
    for machine in &machines {
        let filter = ResourceFilter { machine: Some(machine.id.clone()), open: true, ..ResourceFilter::default() };
        let rows = context.journal.resources(&filter)?;
        if args.dry_run {
            for row in rows {
                context.screen.data(&format!("would remove {} {}\n", row.kind.name(), row.name));
            }
            continue;
        }
        let provider = context.provider(machine.provider).await?;
        let stays = release(provider.as_ref(), context.journal.as_ref(), rows, Part::All, &|| context.now()).await?;
        if stays.is_empty() {
            context.journal.forget_machine(&machine.id)?;
            context.screen.message(&format!("Ended {}, nothing is left of it.", machine.id));
        }
        left.extend(stays);
    }
    for row in &left {
        let why = row.note.as_deref().unwrap_or("unknown");
        context.screen.message(&format!("left behind: {} {}: {why}", row.kind.name(), row.name));
    }
    Ok(if left.is_empty() { exit::OK } else { exit::LEFT_BEHIND })
}
