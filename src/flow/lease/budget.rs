//! The cost of a machine, reported and checked against its limit before the machine is made.

use std::time::Duration;

use model::base::clock;
use model::base::text;
use model::event::{MachineEvent, Teller};
use model::fault::Fault;
use model::price::{Quote, amount};
use model::provider::MachineRequest;

use crate::lease::until_stopped;
use crate::run::Run;
use crate::site::Site;

/// Refuses early what would otherwise be refused only after minutes of baking: hardware that does not exist, a file system
/// that no volume can have, and a price beyond the limit.
pub async fn foresee(run: &Run, site: &Site, request: &MachineRequest) -> Result<(), Fault> {
    until_stopped(run, site.vet(&request.hardware)).await?;
    if let (Some(range), true) = (site.provider.abilities().volumes, request.volume.is_some()) {
        range.vet(request.filesystem)?;
    }
    if request.max_cost.is_none() {
        return Ok(());
    }
    let quote = until_stopped(run, async { Ok(site.quote(request, &Teller::silent()).await) }).await?;
    check_budget(site, request, quote.as_ref())
}

fn life(request: &MachineRequest) -> Duration {
    clock::since(request.now, request.expires_at)
}

/// The cost of the machine until its expiry, for people.
fn describe_cost(request: &MachineRequest, quote: &Quote) -> String {
    let life = life(request);
    let span = text::seconds(life);
    format!("{} until its expiry in {span}", quote.cost_text(life))
}

/// Refuses a machine that could cost more than its limit, and one with a limit whose price is not known.
fn check_budget(site: &Site, request: &MachineRequest, quote: Option<&Quote>) -> Result<(), Fault> {
    let Some(budget) = request.max_cost else { return Ok(()) };
    let most = amount(budget.most);
    match quote {
        Some(quote) if quote.cost(life(request)) > budget.most => {
            let text = describe_cost(request, quote);
            Err(Fault::outside(format!("{} could cost {text}, more than the {most} allowed", request.id))
                .because(quote.text())
                .hint("Nothing was launched. Choose a smaller type or a shorter life (`--ttl`), or allow more (`--max-cost`)."))
        }
        None if site.provider.kind().costs() && !budget.unknown_ok => Err(Fault::outside(format!(
            "no price can be had, so {} cannot be held to the {most} allowed",
            request.id
        ))
        .hint(
            "Nothing was launched. `--unknown-cost-ok` makes it anyway; without `--max-cost` no price is asked for.",
        )),
        _ => Ok(()),
    }
}

/// Reports the price of a machine that is about to be made, and refuses one beyond its budget.
pub(super) fn afford(run: &Run, site: &Site, request: &MachineRequest, quote: Option<&Quote>) -> Result<(), Fault> {
    check_budget(site, request, quote)?;
    match quote {
        Some(quote) => {
            let (quote, life) = (quote.clone(), life(request));
            run.teller.machine(&request.id, MachineEvent::CostForeseen { quote, life });
        }
        None if request.max_cost.is_some() && site.provider.kind().costs() => {
            run.teller.machine(&request.id, MachineEvent::CostUnknown);
        }
        None => {}
    }
    Ok(())
}
