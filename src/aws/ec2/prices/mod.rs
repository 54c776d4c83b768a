//! Prices of machines: from the account's price list and the market of spare capacity, with a cache.
//!
//! Deliberately absent: default prices. An unknown price is not guessed; the machine is made all the same.

mod cache;
mod list;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ec2::types::InstanceType;
use aws_sdk_pricing::types::{Filter, FilterType};
use cache::Cache;
use jiff::Timestamp;
use list::Unit;
use model::base::deadline::Deadline;
use model::event::{AccountEvent, Teller};
use model::fault::Fault;
use model::machine::Platform;
use model::price::{HOURS_A_MONTH, Quote};

use crate::ec2::clients::Clients;
use crate::ec2::platform::facts;
use crate::ec2::trouble;

/// How long all look-ups of a quote may take together: a launch must not wait long for information that it can do
/// without.
const LIMIT: Duration = Duration::from_secs(10);

/// The currency of prices. The list has another one only in the regions of China, which are a separate AWS.
const CURRENCY: &str = "USD";

/// The service under whose name the price list holds public addresses.
const NETWORK: &str = "AmazonVPC";

/// A machine to be priced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceQuery {
    /// The region.
    pub region: String,
    /// The operating system: the price of Windows contains its licence.
    pub platform: Platform,
    /// The instance type, for example `c5.9xlarge`.
    pub instance_type: String,
    /// Whether it is spare capacity.
    pub spot: bool,
    /// The total size of its volumes, in GiB.
    pub volumes_gib: u64,
}

/// Looks prices up.
pub struct Prices {
    clients: Arc<Clients>,
    cache: Cache,
}

/// An item that has a price, and a row in the cache.
#[derive(Debug, Clone, Copy)]
enum PricedItem<'a> {
    OnDemand(Platform, &'a str),
    Spot(Platform, &'a str),
    Volume,
    Address,
}

impl PricedItem<'_> {
    fn key(self, region: &str) -> String {
        match self {
            Self::OnDemand(platform, kind) => format!("{region}/on-demand/{}{kind}", prefix(platform)),
            Self::Spot(platform, kind) => format!("{region}/spot/{}{kind}", prefix(platform)),
            Self::Volume => format!("{region}/volume/gp3"),
            Self::Address => format!("{region}/address"),
        }
    }

    /// How long a price of this kind is valid: the list changes a few times a year, the market within hours.
    fn validity(self) -> Duration {
        match self {
            Self::Spot(..) => Duration::from_secs(3600),
            _ => Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Prices {
    /// Prices that are remembered in the file `cache`.
    pub fn new(clients: Arc<Clients>, cache: PathBuf) -> Self {
        // An emulator's prices must never pass for those of AWS.
        let source = clients.sdk().endpoint_url().unwrap_or("aws").to_owned();
        Self { clients, cache: Cache::new(cache, source) }
    }

    /// The price of `wanted`; `None`, with the reason as a warning, if it is not known.
    pub async fn quote(&self, wanted: &PriceQuery, now: Timestamp, teller: &Teller) -> Option<Quote> {
        match self.ask(wanted, now).await {
            Ok(quote) => Some(quote),
            Err(fault) => {
                let instance_type = wanted.instance_type.clone();
                teller.tell(AccountEvent::PriceUnknown { instance_type, failure: (&fault).into() });
                None
            }
        }
    }

    /// The price of `wanted`, or the reason why it is not known.
    ///
    /// # Errors
    ///
    /// The fault of the first look-up that failed; if the answer holds no price, a fault that says so.
    pub async fn ask(&self, wanted: &PriceQuery, now: Timestamp) -> Result<Quote, Fault> {
        let PriceQuery { region, platform, instance_type, spot, volumes_gib } = wanted;
        let compute = match spot {
            true => PricedItem::Spot(*platform, instance_type),
            false => PricedItem::OnDemand(*platform, instance_type),
        };
        let deadline = Deadline::after(LIMIT, "the price list");
        let (compute, volume, address) = deadline
            .bound(async {
                futures_util::future::try_join3(
                    self.price(region, compute, now),
                    self.price(region, PricedItem::Volume, now),
                    self.price(region, PricedItem::Address, now),
                )
                .await
            })
            .await??;
        let kind = if *spot { "spot" } else { "on demand" };
        Ok(Quote {
            currency: CURRENCY.to_owned(),
            compute_per_hour: compute,
            volumes_per_hour: volume * *volumes_gib as f64 / HOURS_A_MONTH,
            address_per_hour: address,
            basis: format!("{instance_type} {kind} in {region}"),
        })
    }

    /// The price of one unit of `item`: from the cache, else from AWS.
    async fn price(&self, region: &str, item: PricedItem<'_>, now: Timestamp) -> Result<f64, Fault> {
        let key = item.key(region);
        if let Some(price) = self.cache.read(&key, item.validity(), now) {
            return Ok(price);
        }
        let price = match item {
            PricedItem::OnDemand(platform, kind) => {
                self.listed_price("AmazonEC2", &on_demand(region, platform, kind), Unit::Hour, kind).await?
            }
            PricedItem::Spot(platform, kind) => self.market_price(region, platform, kind, now).await?,
            PricedItem::Volume => {
                let filters = [("regionCode", region), ("productFamily", "Storage"), ("volumeApiName", "gp3")];
                self.listed_price("AmazonEC2", &filters, Unit::GibMonth, "a gp3 volume").await?
            }
            PricedItem::Address => {
                let filters = [("regionCode", region), ("group", "VPCPublicIPv4Address")];
                self.listed_price(NETWORK, &filters, Unit::Hour, "a public address").await?
            }
        };
        self.cache.write(&key, price, now);
        Ok(price)
    }

    /// The highest price in `unit` among the products of `service` that match `filters`.
    async fn listed_price(
        &self,
        service: &str,
        filters: &[(&str, &str)],
        unit: Unit,
        what: &str,
    ) -> Result<f64, Fault> {
        let doing = format!("look up the price of `{what}`");
        let filters = filters
            .iter()
            .map(|(field, value)| Filter::builder().r#type(FilterType::TermMatch).field(*field).value(*value).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Fault::infrastructure(format!("cannot {doing}")).because(error))?;
        let pages = self.clients.pricing().get_products().service_code(service).set_filters(Some(filters));
        let mut pages = pages.into_paginator().items().send();
        let mut highest: Option<f64> = None;
        while let Some(product) = pages.next().await {
            let product = product.map_err(|error| trouble::fault(&doing, error))?;
            for price in list::prices(&product, unit) {
                highest = Some(highest.map_or(price, |known| known.max(price)));
            }
        }
        highest.ok_or_else(|| Fault::outside(format!("cannot {doing}")).because("the price list does not hold it"))
    }

    /// The price of `instance_type` as spare capacity: the latest price of the dearest zone, because the zone is not
    /// known yet.
    async fn market_price(
        &self,
        region: &str,
        platform: Platform,
        instance_type: &str,
        now: Timestamp,
    ) -> Result<f64, Fault> {
        let doing = format!("look up the spot price of `{instance_type}`");
        // The history from now on holds exactly the price that is valid now, once for each zone.
        let pages = self.clients.ec2(region).describe_spot_price_history();
        let mut pages = pages
            .instance_types(InstanceType::from(instance_type))
            .product_descriptions(facts(platform).sold_as)
            .start_time(aws_smithy_types::DateTime::from_secs(now.as_second()))
            .into_paginator()
            .items()
            .send();
        let mut offers = Vec::new();
        while let Some(offer) = pages.next().await {
            offers.push(offer.map_err(|error| trouble::fault(&doing, error))?);
        }
        list::dearest(&offers)
            .ok_or_else(|| Fault::outside(format!("cannot {doing}")).because("no zone of the region offers it"))
    }
}

/// What stands before a type in the cache, which knew only Linux at first.
fn prefix(platform: Platform) -> String {
    if platform == Platform::default() { String::new() } else { format!("{}/", platform.name()) }
}

/// The filters that leave one product of the list: a plain system, with its licence where it needs one, on shared hardware, not
/// reserved.
fn on_demand<'a>(region: &'a str, platform: Platform, instance_type: &'a str) -> [(&'static str, &'a str); 7] {
    [
        ("regionCode", region),
        ("instanceType", instance_type),
        ("operatingSystem", facts(platform).listed_as),
        ("licenseModel", "No License required"),
        ("tenancy", "Shared"),
        ("preInstalledSw", "NA"),
        ("capacitystatus", "Used"),
    ]
}
