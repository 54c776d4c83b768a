//! A machine that is wanted becomes a request when its run and the time are known.

use std::time::Duration;

use flow::order::Order;
use flow::run::saturating_add;
use model::machine::Network;

use super::bake::plan;
use super::{GRACE, Theatre};

#[tokio::test]
async fn an_order_asks_for_a_machine_of_its_own_each_time_and_its_life_begins_then() {
    let (theatre, plan, ttl) = (Theatre::new(), plan(), Duration::from_secs(7200));
    let order = Order { network: Network::Host, ..Order::new("none", "hg", ttl, GRACE).boot_from(&plan, 2) };
    let first = theatre.run.now();
    // Baking in between takes minutes.
    let second = saturating_add(first, Duration::from_secs(1800));
    let requests = [first, second].map(|now| order.request(&theatre.run, now));
    assert_ne!(requests[0].id, requests[1].id);
    for (request, now) in requests.iter().zip([first, second]) {
        assert_eq!((request.now, request.expires_at), (now, saturating_add(now, ttl)));
        assert_eq!((&request.run, &request.owner), (&theatre.run.id, &theatre.run.owner));
        assert_eq!((&request.image, &request.layers), (&plan.name, &plan.chain(2)));
        assert_eq!((request.user.as_str(), request.network, request.grace), ("hg", Network::Host, GRACE));
    }
}
