//! `--dry-run` of commands that make machines: what would be made, from what, at what price.

use std::sync::Arc;
use std::time::Duration;

use flow::order::Order;
use flow::outlook::{self, Outlook};
use flow::site::Sites;
use model::base::id::RunId;
use model::base::text;
use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::ProviderKind;
use serde::Serialize;

use crate::command::error::exit;
use crate::compose::Context;

/// Machines that would be alike.
pub struct Wanted<'a> {
    /// The cell that they are for, where there is a matrix.
    pub cell: Option<String>,
    /// Where they come from.
    pub kind: ProviderKind,
    /// How many there are.
    pub machines: usize,
    /// Their image; none where they are there already.
    pub plan: Option<&'a ImagePlan>,
    /// Each of them.
    pub order: &'a Order,
}

/// What would be made, as JSON.
#[derive(Serialize)]
struct Plan {
    machines: Vec<PlannedMachines>,
    /// What would be brought there, in words; null where nothing is.
    source: Option<String>,
}

#[derive(Serialize)]
struct PlannedMachines {
    #[serde(skip_serializing_if = "Option::is_none")]
    cell: Option<String>,
    count: usize,
    #[serde(flatten)]
    outlook: Outlook,
}

/// Says what would be made for `wanted`, and brought there.
pub async fn show(context: &Context, wanted: &[Wanted<'_>], source: Option<String>, json: bool) -> Result<i32, Fault> {
    let run = context.run(RunId::new(context.now()), Arc::<crate::ui::Screen>::clone(&context.screen));
    let mut machines = Vec::new();
    for Wanted { cell, kind, machines: count, plan, order } in wanted {
        let site = context.sites.site(*kind).await?;
        let outlook = outlook::look(&run, &site, *plan, order).await?;
        machines.push(PlannedMachines { cell: cell.clone(), count: *count, outlook });
    }
    let plan = Plan { machines, source };
    if json {
        context.screen.json(&plan);
        return Ok(exit::OK);
    }
    for planned in &plan.machines {
        context.screen.data(&format!("{}\n", words(planned)));
    }
    if let Some(source) = &plan.source {
        context.screen.data(&format!("Would bring there {source}.\n"));
    }
    Ok(exit::OK)
}

fn words(planned: &PlannedMachines) -> String {
    let PlannedMachines { cell, count, outlook } = planned;
    let cell = cell.as_ref().map(|cell| format!("{cell}: ")).unwrap_or_default();
    if outlook.layers == 0 {
        return format!("{cell}Would work on {}.", outlook.image);
    }
    let baked = match outlook.missing_layers {
        0 => "which is there".to_owned(),
        missing => format!("of which {missing} of {} layers would be baked first", outlook.layers),
    };
    let price = match (outlook.per_hour, outlook.most, &outlook.currency) {
        (Some(per_hour), Some(most), Some(currency)) => {
            format!(", for {per_hour:.4} {currency} an hour each, at most {most:.2}")
        }
        _ => String::new(),
    };
    let (machines, ttl) = (text::pluralize(*count, "machine"), Duration::from_secs_f64(outlook.ttl));
    format!(
        "{cell}Would make {machines} of provider `{}` from {}, {baked}; for at most {}{price}.",
        outlook.provider,
        outlook.image,
        text::seconds(ttl)
    )
}
