//! Prices: the service that moto lacks, for a few types, and spot prices.

use serde_json::{Value, json};

use super::call::Call;
use super::http::Response;
use super::xml::Element;

/// Dollars an hour on demand with Linux in us-west-2, from the public price list of 2026.
const INSTANCES: [(&str, f64); 14] = [
    ("t3.micro", 0.0104),
    ("t3.small", 0.0208),
    ("t3.medium", 0.0416),
    ("t3.large", 0.0832),
    ("t3.xlarge", 0.1664),
    ("t3.2xlarge", 0.3328),
    ("m5.large", 0.096),
    ("m5d.large", 0.113),
    ("c5.large", 0.085),
    ("c5.xlarge", 0.17),
    ("c5.4xlarge", 0.68),
    ("c5.9xlarge", 1.53),
    ("c5d.9xlarge", 1.728),
    ("c6i.8xlarge", 1.36),
];

/// Dollars an hour on demand with Windows there: its licence has a price for each processor.
const WINDOWS: [(&str, f64); 2] = [("t3.medium", 0.06), ("m6i.large", 0.188)];

/// Dollars a month for a gibibyte of gp3.
const GP3: f64 = 0.08;

/// Dollars an hour for a public address.
const ADDRESS: f64 = 0.005;

/// The spot price as a share of the price on demand.
const SPOT_SHARE: f64 = 0.4;

/// The zones that have spot prices.
const ZONES: [&str; 3] = ["a", "b", "c"];

fn price_of(instance_type: &str, system: &str) -> Option<f64> {
    let mut known = if system == "Windows" { WINDOWS.iter() } else { INSTANCES.iter() };
    known.find(|(known, _)| *known == instance_type).map(|(_, price)| *price)
}

/// Answers `GetProducts`.
pub(crate) fn answer(call: &Call, there: bool) -> Response {
    if !there {
        return call.refuse(500, "InternalErrorException", "prices are not available now");
    }
    if call.action != "GetProducts" {
        return call.refuse(400, "InvalidParameterException", &format!("{} is not emulated", call.action));
    }
    let filters = call.body["Filters"].as_array().cloned().unwrap_or_default();
    let wanted = |field: &str| {
        let filter = filters.iter().find(|filter| filter["Field"] == field);
        filter.and_then(|filter| filter["Value"].as_str()).map(str::to_owned)
    };
    let region = wanted("regionCode").unwrap_or_else(|| "us-west-2".to_owned());
    let mut products = Vec::new();
    let linux = INSTANCES.iter().map(|(kind, price)| ("Linux", *kind, *price));
    let windows = WINDOWS.iter().map(|(kind, price)| ("Windows", *kind, *price));
    for (system, kind, price) in linux.chain(windows) {
        let attributes = json!({
            "instanceType": kind, "regionCode": region, "operatingSystem": system, "tenancy": "Shared",
            "preInstalledSw": "NA", "capacitystatus": "Used", "licenseModel": "No License required",
            "usagetype": format!("USW2-BoxUsage:{kind}"), "operation": "RunInstances", "marketoption": "OnDemand",
            "servicecode": "AmazonEC2",
        });
        products.push(("AmazonEC2", "Compute Instance", attributes, "Hrs", price));
    }
    let volume = json!({
        "volumeApiName": "gp3", "regionCode": region, "usagetype": "USW2-EBS:VolumeUsage.gp3", "volumeType": "General Purpose",
        "servicecode": "AmazonEC2",
    });
    products.push(("AmazonEC2", "Storage", volume, "GB-Mo", GP3));
    let address = json!({
        "group": "VPCPublicIPv4Address", "groupDescription": "Hourly charge for In-use Public IPv4 Addresses",
        "regionCode": region, "usagetype": "USW2-PublicIPv4:InUseAddress", "servicecode": "AmazonVPC",
    });
    products.push(("AmazonVPC", "IP Address", address, "Hrs", ADDRESS));
    let fits = |family: &str, attributes: &Value| {
        filters.iter().all(|filter| {
            let (field, value) = (filter["Field"].as_str().unwrap_or_default(), &filter["Value"]);
            if field == "productFamily" { value == family } else { attributes.get(field) == Some(value) }
        })
    };
    let service = call.body["ServiceCode"].as_str().unwrap_or_default();
    let list: Vec<Value> = products
        .iter()
        // The address is in the list of AmazonVPC, and was in that of AmazonEC2 earlier.
        .filter(|(of, family, attributes, _, _)| {
            (*of == service || *family == "IP Address") && fits(family, attributes)
        })
        .map(|(of, family, attributes, unit, price)| Value::String(product(of, family, attributes, unit, *price)))
        .collect();
    call.json(&json!({"FormatVersion": "aws_v1", "PriceList": list}))
}

/// One entry of the list: JSON within a string, as AWS sends it.
fn product(service: &str, family: &str, attributes: &Value, unit: &str, price: f64) -> String {
    let sku = "EMULATEDSKU00000";
    let dimension = json!({
        "unit": unit, "beginRange": "0", "endRange": "Inf", "description": format!("${price} per {unit}"),
        "rateCode": format!("{sku}.JRTCKXETXF.6YS6EN2CT7"), "appliesTo": [], "pricePerUnit": {"USD": format!("{price:.10}")},
    });
    let term = json!({
        "sku": sku, "offerTermCode": "JRTCKXETXF", "effectiveDate": "2026-11-01T00:00:00Z", "termAttributes": {},
        "priceDimensions": {format!("{sku}.JRTCKXETXF.6YS6EN2CT7"): dimension},
    });
    json!({
        "product": {"productFamily": family, "sku": sku, "attributes": attributes}, "serviceCode": service,
        "terms": {"OnDemand": {format!("{sku}.JRTCKXETXF"): term}}, "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    })
    .to_string()
}

/// Answers `DescribeSpotPriceHistory` of EC2 with one price for each zone.
pub(crate) fn spot_history(call: &Call) -> Response {
    let zone = call.param("AvailabilityZone");
    let system = call.list("ProductDescription").pop().unwrap_or_else(|| "Linux/UNIX".to_owned());
    let mut items = Vec::new();
    for kind in call.list("InstanceType") {
        let Some(price) = price_of(&kind, &system) else { continue };
        for letter in ZONES {
            let place = format!("{}{letter}", call.region);
            if zone.is_empty() || zone == place {
                items.push(Element::node(
                    "item",
                    vec![
                        Element::leaf("instanceType", &kind),
                        Element::leaf("productDescription", &system),
                        Element::leaf("spotPrice", &format!("{:.6}", price * SPOT_SHARE)),
                        Element::leaf("timestamp", "2026-11-20T10:00:00.000Z"),
                        Element::leaf("availabilityZone", &place),
                    ],
                ));
            }
        }
    }
    call.xml(vec![Element::node("spotPriceHistorySet", items), Element::leaf("nextToken", "")])
}
