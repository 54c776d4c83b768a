//! `automation machine down`.

use flow::release::{Part, release};
use flow::site::{Sites, observe};
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::Machine;
use model::provider::Provider;
use model::resource::Resource;

use crate::command::error::exit;
use crate::compose::Context;

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
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let machines = args.machines.iter().map(|text| super::find(context, text)).collect::<Result<Vec<_>, _>>()?;
    for machine in machines.iter().filter(|_| !args.force) {
        let run = context.journal.run(&machine.run)?;
        if run.is_some_and(|run| state::process::is_driven(&run)) {
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
        let provider = context.sites.site(machine.provider).await?.provider;
        let (journal, all) = (context.journal.as_ref(), rows.clone());
        let stays = match release(provider.as_ref(), journal, rows, Part::All, &|| context.now()).await {
            Err(_) if context.state.is_full() && is_gone(provider.as_ref(), machine, &all).await? => {
                let (id, audit) = (&machine.id, context.to_type("audit"));
                context.screen.message(&format!(
                    "Ended {id}, nothing is left of it. The disk has no room to write that down; `{audit}` does it when there is some."
                ));
                continue;
            }
            stays => stays?,
        };
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

/// Whether the provider shows that nothing of the machine exists any more.
async fn is_gone(provider: &dyn Provider, machine: &Machine, rows: &[Resource]) -> Result<bool, Fault> {
    let observed = observe(provider, rows).await?;
    Ok(observed.iter().all(|seen| seen.machine != machine.id))
}
