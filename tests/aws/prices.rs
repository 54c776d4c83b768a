//! Prices: asked once, remembered, and never in the way of a launch.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws::ec2::clients::Clients;
use aws::ec2::prices::{PriceQuery, Prices};
use jiff::Timestamp;
use model::machine::Platform;
use support::events::Events;

use crate::emulated::{Emulator, REGION, interface_only, sdk};

fn wanted(instance_type: &str, spot: bool) -> PriceQuery {
    let (region, platform) = (REGION.into(), Platform::Linux);
    PriceQuery { region, platform, instance_type: instance_type.into(), spot, volumes_gib: 20 }
}

async fn prices(aws: &Emulator, folder: &Path) -> Prices {
    Prices::new(Arc::new(Clients::new(sdk(aws).await)), folder.join("prices.json"))
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

#[tokio::test]
async fn a_price_is_asked_once_and_has_its_three_parts() {
    let folder = tempfile::tempdir().unwrap();
    let (aws, now, events) = (interface_only(folder.path()), Timestamp::now(), Arc::new(Events::default()));
    let quote =
        prices(&aws, folder.path()).await.quote(&wanted("c5.9xlarge", false), now, &events.teller()).await.unwrap();
    assert!(close(quote.compute_per_hour, 1.53), "{quote:?}");
    assert!(close(quote.volumes_per_hour, 20.0 * 0.08 / 730.0), "{quote:?}");
    assert!(close(quote.address_per_hour, 0.005), "{quote:?}");
    assert_eq!((quote.currency.as_str(), quote.basis.as_str()), ("USD", "c5.9xlarge on demand in us-west-2"));
    assert_eq!(aws.control.count("*"), 3, "{:?}", aws.control.names());

    // Another process, later the same day.
    let again = prices(&aws, folder.path()).await;
    assert_eq!(again.quote(&wanted("c5.9xlarge", false), now, &events.teller()).await, Some(quote));
    assert_eq!(aws.control.count("*"), 3, "{:?}", aws.control.names());
    let spot = again.quote(&wanted("c5.9xlarge", true), now, &events.teller()).await.unwrap();
    assert!(close(spot.compute_per_hour, 1.53 * 0.4), "{spot:?}");
    assert_eq!((aws.control.count("*"), aws.control.count("ec2:DescribeSpotPriceHistory")), (4, 1));
    let later = now + Duration::from_secs(2 * 3600);
    again.quote(&wanted("c5.9xlarge", true), later, &events.teller()).await.unwrap();
    assert_eq!(aws.control.count("ec2:DescribeSpotPriceHistory"), 2, "the market moves");
    assert_eq!(events.lines(), [""; 0]);
}

#[tokio::test]
async fn where_there_is_no_price_the_reason_is_told_and_nothing_is_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let (aws, now) = (interface_only(folder.path()), Timestamp::now());
    let events = Arc::new(Events::default());
    let prices = prices(&aws, folder.path()).await;
    assert_eq!(prices.quote(&wanted("z9.huge", false), now, &events.teller()).await, None);
    assert_eq!(prices.quote(&wanted("z9.huge", true), now, &events.teller()).await, None);
    aws.control.deny("pricing:GetProducts");
    assert_eq!(prices.quote(&wanted("c5.large", false), now, &events.teller()).await, None);
    let lines = events.lines();
    assert!(lines[0].contains("`z9.huge`") && lines[0].contains("the price list does not hold it"), "{lines:?}");
    assert!(lines[1].contains("no zone of the region offers it"), "{lines:?}");
    assert!(lines[2].contains("AccessDenied"), "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("warning The price of")), "{lines:?}");
}

#[tokio::test]
async fn a_price_list_that_is_out_of_order_holds_a_launch_up_for_seconds_only() {
    let folder = tempfile::tempdir().unwrap();
    let (aws, now, events) = (interface_only(folder.path()), Timestamp::now(), Arc::new(Events::default()));
    aws.control.set(|conditions| conditions.prices = false);
    let began = std::time::Instant::now();
    assert_eq!(prices(&aws, folder.path()).await.quote(&wanted("c5.large", false), now, &events.teller()).await, None);
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(events.count("warning"), 1);
}

#[tokio::test]
async fn the_price_of_windows_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (aws, now, events) = (interface_only(folder.path()), Timestamp::now(), Arc::new(Events::default()));
    let prices = prices(&aws, folder.path()).await;
    let ask = async |platform, spot| {
        let wanted = PriceQuery { platform, ..wanted("t3.medium", spot) };
        prices.quote(&wanted, now, &events.teller()).await.unwrap().compute_per_hour
    };
    assert!(close(ask(Platform::Linux, false).await, 0.0416) && close(ask(Platform::Windows, false).await, 0.06));
    assert!(
        close(ask(Platform::Linux, true).await, 0.0416 * 0.4) && close(ask(Platform::Windows, true).await, 0.06 * 0.4)
    );
    let asked = aws.control.count("*");
    // And remembered beside the other.
    assert!(close(ask(Platform::Windows, false).await, 0.06) && close(ask(Platform::Linux, false).await, 0.0416));
    assert_eq!(aws.control.count("*"), asked);
}
