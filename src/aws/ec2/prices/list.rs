//! Reading the answers of the price list and of the spot market: pure.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::SpotPrice;
use serde::Deserialize;

/// The unit of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// An hour.
    Hour,
    /// A GiB for a month.
    GibMonth,
}

impl Unit {
    fn is_called(self, name: &str) -> bool {
        match self {
            Self::Hour => name.eq_ignore_ascii_case("Hrs") || name.eq_ignore_ascii_case("Hours"),
            Self::GibMonth => name.eq_ignore_ascii_case("GB-Mo") || name.eq_ignore_ascii_case("GB-month"),
        }
    }
}

/// A product of the list, with the fields that matter here.
#[derive(Debug, Deserialize)]
struct Product {
    #[serde(default)]
    product: Description,
    terms: Terms,
}

#[derive(Debug, Default, Deserialize)]
struct Description {
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    usagetype: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Terms {
    #[serde(rename = "OnDemand", default)]
    on_demand: BTreeMap<String, Term>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    #[serde(default)]
    price_dimensions: BTreeMap<String, Dimension>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dimension {
    unit: String,
    price_per_unit: BTreeMap<String, String>,
}

/// Usage types that do not apply to a machine: an address that nobody uses, or one of a block that was rented as a
/// whole.
const OTHER_USES: [&str; 2] = ["IdleAddress", "ContiguousBlock"];

/// The prices in US dollars that a product of the list has for `unit`. Zero does not count as a price: the list has
/// such rows for products that are billed under another name. A product that cannot be read has no price.
pub(crate) fn prices(product: &str, unit: Unit) -> Vec<f64> {
    let Ok(product) = serde_json::from_str::<Product>(product) else { return Vec::new() };
    let usage = product.product.attributes.usagetype.unwrap_or_default();
    if OTHER_USES.iter().any(|other| usage.contains(other)) {
        return Vec::new();
    }
    let dimensions = product.terms.on_demand.into_values().flat_map(|term| term.price_dimensions.into_values());
    dimensions
        .filter(|dimension| unit.is_called(&dimension.unit))
        .filter_map(|dimension| dimension.price_per_unit.get("USD")?.parse().ok())
        .filter(|price: &f64| price.is_finite() && *price > 0.0)
        .collect()
}

/// The highest among the newest prices of each zone.
pub(crate) fn dearest(offers: &[SpotPrice]) -> Option<f64> {
    let mut newest: BTreeMap<&str, (i64, f64)> = BTreeMap::new();
    for offer in offers {
        let price = offer.spot_price().and_then(|price| price.parse::<f64>().ok());
        let Some(price) = price.filter(|price| price.is_finite() && *price > 0.0) else { continue };
        let at = offer.timestamp().map_or(0, aws_smithy_types::DateTime::secs);
        let known = newest.entry(offer.availability_zone().unwrap_or_default()).or_insert((at, price));
        if at > known.0 {
            *known = (at, price);
        }
    }
    newest.into_values().map(|(_, price)| price).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A product in the shape of the list, shortened.
    fn product(usage: &str, rows: &[(&str, &str)]) -> String {
        let dimensions: serde_json::Map<_, _> = rows
            .iter()
            .enumerate()
            .map(|(at, (unit, usd))| {
                let row = serde_json::json!({
                    "unit": unit, "endRange": "Inf", "beginRange": "0", "appliesTo": [], "rateCode": format!("A.B.{at}"),
                    "description": "text", "pricePerUnit": { "USD": usd },
                });
                (format!("A.B.{at}"), row)
            })
            .collect();
        serde_json::json!({
            "product": { "productFamily": "Compute Instance", "attributes": { "usagetype": usage }, "sku": "A" },
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": { "A.B": { "priceDimensions": dimensions, "sku": "A", "effectiveDate": "2026-11-01T00:00:00Z" } },
                "Reserved": { "A.C": { "priceDimensions": { "A.C.1": { "unit": "Hrs", "pricePerUnit": { "USD": "9.9" } } } } },
            },
            "version": "20261101000000",
        })
        .to_string()
    }

    #[test]
    fn only_the_unit_that_is_asked_for_counts_and_never_what_is_reserved() {
        let text =
            product("USW2-BoxUsage:c5.9xlarge", &[("Hrs", "1.5300000000"), ("GB-Mo", "0.08"), ("Quantity", "3")]);
        assert_eq!(prices(&text, Unit::Hour), [1.53]);
        assert_eq!(prices(&text, Unit::GibMonth), [0.08]);
    }

    #[test]
    fn no_price_is_made_of_zero_or_nonsense() {
        for bad in ["0.0000000000", "-1", "NaN", "inf", "free"] {
            assert_eq!(prices(&product("x", &[("Hrs", bad)]), Unit::Hour), [0.0; 0], "{bad}");
        }
        assert!(prices("{", Unit::Hour).is_empty());
        assert!(prices(r#"{"terms": {}}"#, Unit::Hour).is_empty());
    }

    #[test]
    fn an_address_that_is_in_use_is_not_an_idle_one() {
        let of = |usage: &str| prices(&product(usage, &[("Hrs", "0.005")]), Unit::Hour).len();
        assert_eq!(of("USW2-PublicIPv4:InUseAddress"), 1);
        assert_eq!(of("USW2-PublicIPv4:IdleAddress"), 0);
        assert_eq!(of("USW2-PublicIPv4:ContiguousBlock"), 0);
    }

    #[test]
    fn of_each_zone_the_newest_counts_and_of_these_the_highest() {
        let offer = |zone: &str, at: i64, price: &str| {
            let at = aws_smithy_types::DateTime::from_secs(at);
            SpotPrice::builder().availability_zone(zone).timestamp(at).spot_price(price).build()
        };
        let offers = [offer("a", 1, "0.9"), offer("a", 2, "0.5"), offer("b", 1, "0.6"), offer("c", 9, "x")];
        assert_eq!(dearest(&offers), Some(0.6));
        assert_eq!(dearest(&[]), None);
    }
}
