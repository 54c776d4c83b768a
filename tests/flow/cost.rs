//! What machines cost: told before and after, and refused beyond what was said.

use std::time::Duration;

use flow::lease::LeaseEnd;
use flow::run::saturating_add;
use model::fault::FaultKind;
use model::price::{Budget, Quote};
use model::provider::MachineRequest;

use super::{Theatre, with_machine};

/// One dollar an hour, all parts together.
fn dollar() -> Quote {
    Quote {
        currency: "USD".into(),
        compute_per_hour: 0.9,
        volumes_per_hour: 0.06,
        address_per_hour: 0.04,
        basis: "tried".into(),
    }
}

/// How many notices hold `text`.
fn said(theatre: &Theatre, text: &str) -> usize {
    theatre.events.lines().iter().filter(|line| line.starts_with("notice") && line.contains(text)).count()
}

fn within(most: f64) -> Option<Budget> {
    Some(Budget { most, unknown_ok: false })
}

#[tokio::test(start_paused = true)]
async fn the_price_is_told_before_and_the_cost_after() {
    let theatre = Theatre::new();
    theatre.dummy.charge(dollar());
    let request = theatre.request();
    let request = MachineRequest { expires_at: saturating_add(request.now, Duration::from_secs(7200)), ..request };
    let ended = with_machine(&theatre.run, &theatre.site, &request, None, async |_, _| {
        assert_eq!(said(&theatre, "at most 2.0000 USD until its expiry in 2h 00m"), 1);
        tokio::time::sleep(Duration::from_secs(1800)).await;
        Ok(())
    })
    .await;
    let cost = ended.cost.unwrap();
    assert!((0.5..0.51).contains(&cost), "{cost}");
    assert_eq!(said(&theatre, "cost 0.50"), 1);
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_could_cost_more_than_was_said_is_not_made() {
    let theatre = Theatre::new();
    theatre.dummy.charge(dollar());
    let request = theatre.request();
    let expires_at = saturating_add(request.now, Duration::from_secs(7200));
    let request = MachineRequest { expires_at, max_cost: within(1.99), ..request };
    let ended: LeaseEnd<()> = with_machine(&theatre.run, &theatre.site, &request, None, async |_, _| Ok(())).await;
    let fault = ended.result.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Outside);
    assert!(fault.message.contains("could cost 2.0000 USD"), "{}", fault.message);
    assert!(theatre.dummy.story().is_empty() && theatre.rows().is_empty(), "nothing was planned");
    let request = MachineRequest { id: model::base::id::MachineId::random(), max_cost: within(2.0), ..request };
    let ended = with_machine(&theatre.run, &theatre.site, &request, None, async |_, _| Ok(7)).await;
    assert_eq!(ended.result.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn what_costs_nothing_says_nothing() {
    let theatre = Theatre::new();
    let request = MachineRequest { max_cost: within(0.01), ..theatre.request() };
    let ended = with_machine(&theatre.run, &theatre.site, &request, None, async |_, _| Ok(7)).await;
    assert_eq!((ended.result.unwrap(), ended.cost), (7, None));
    assert_eq!(said(&theatre, "cost"), 0);
}
