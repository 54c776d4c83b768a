//! Spot requests.

use super::super::call::Call;
use super::super::http::Response;
use super::super::xml::Element;
use super::filters::{filter_values, tags_fit};
use super::{Ec2, LaunchRecord, tag_set};

/// A spot request; moto keeps none for instances that are launched with `RunInstances`.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) id: String,
    pub(super) instance_type: String,
    pub(super) tags: Vec<(String, String)>,
    pub(super) cancelled: bool,
}

impl Ec2 {
    pub(super) fn describe_spots(&self, call: &Call) -> Response {
        let asked = call.list("SpotInstanceRequestId");
        let launches = self.known().launches.clone();
        let mut items = Vec::new();
        for (instance, launch) in launches.iter().filter(|(_, launch)| launch.region == call.region) {
            let Some(spot) = &launch.spot else { continue };
            if (asked.is_empty() || asked.contains(&spot.id)) && tags_fit(call, &spot.tags) {
                items.push(spot_item(instance, launch, spot));
            }
        }
        if items.len() < asked.len() {
            let message = format!("The spot instance request ID '{}' does not exist", asked.join(", "));
            return call.refuse(400, "InvalidSpotInstanceRequestID.NotFound", &message);
        }
        let wanted = filter_values(call, "state");
        items.retain(|item| wanted.is_empty() || wanted.contains(&item.text_at(&["state"])));
        let instances = filter_values(call, "instance-id");
        items.retain(|item| instances.is_empty() || instances.contains(&item.text_at(&["instanceId"])));
        call.xml(vec![Element::node("spotInstanceRequestSet", items)])
    }

    pub(super) fn cancel_spots(&self, call: &Call) -> Response {
        let asked = call.list("SpotInstanceRequestId");
        let mut items = Vec::new();
        for launch in self.known().launches.values_mut() {
            if let Some(spot) = launch.spot.as_mut().filter(|spot| asked.contains(&spot.id)) {
                spot.cancelled = true;
                let id = Element::leaf("spotInstanceRequestId", &spot.id);
                items.push(Element::node("item", vec![id, Element::leaf("state", "cancelled")]));
            }
        }
        if items.len() < asked.len() {
            let message = format!("The spot instance request ID '{}' does not exist", asked.join(", "));
            return call.refuse(400, "InvalidSpotInstanceRequestID.NotFound", &message);
        }
        call.xml(vec![Element::node("spotInstanceRequestSet", items)])
    }
}

pub(super) fn spot_item(instance: &str, launch: &LaunchRecord, spot: &Spot) -> Element {
    let state = match (spot.cancelled, launch.ended) {
        (true, _) => "cancelled",
        (false, Some(_)) => "closed",
        (false, None) => "active",
    };
    let leaf = Element::leaf;
    Element::node(
        "item",
        vec![
            leaf("spotInstanceRequestId", &spot.id),
            leaf("instanceId", instance),
            leaf("state", state),
            leaf("type", "one-time"),
            Element::node("launchSpecification", vec![leaf("instanceType", &spot.instance_type)]),
            tag_set(&spot.tags),
        ],
    )
}
