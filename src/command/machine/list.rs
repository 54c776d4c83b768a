//! `automation machine list`.

use serde::Serialize;

use crate::base::text;
use crate::command::context::Context;
use crate::model::fault::Fault;
use crate::model::machine::Machine;
use crate::model::resource::{Observed, ResourceKind};
use crate::ui::table;

/// List the machines that are there, newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    machine: &'a Machine,
    /// Whether its process was seen.
    live: bool,
    /// Whole seconds since it was made.
    age_seconds: i64,
}

/// Lists.
pub async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let mut machines = context.journal.machines()?;
    // The journal knows in which order they were handed over, which is another one where several are made at once.
    machines.sort_by_key(|machine| std::cmp::Reverse(machine.created_at));
    let observed = context.observe().await?;
    let now = context.now();
    let live = |machine: &Machine| {
        observed.iter().any(|Observed { kind, machine: id, .. }| *kind == ResourceKind::Process && *id == machine.id)
    };
    let shown: Vec<Shown<'_>> = machines
        .iter()
        .map(|machine| Shown {
            machine,
            live: live(machine),
            age_seconds: now.as_second() - machine.created_at.as_second(),
        })
        .collect();
    if args.json {
        context.screen.json(&shown);
        return Ok(0);
    }
    let span = |seconds: i64| text::seconds(std::time::Duration::from_secs(seconds.max(0).unsigned_abs()));
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|row| {
            vec![
                row.machine.id.to_string(),
                row.machine.provider.name().to_owned(),
                row.machine.image.clone(),
                row.machine.owner.clone(),
                if row.live { "live" } else { "ended" }.to_owned(),
                span(row.age_seconds),
                span(row.machine.expires_at.as_second() - now.as_second()),
                row.machine.run.to_string(),
            ]
        })
        .collect();
    let header = ["ID", "PROVIDER", "IMAGE", "OWNER", "STATE", "AGE", "ENDS IN", "RUN"];
    context.screen.data(&table::render(&header, &rows));
    Ok(0)
}
