//! Filters and pages.

use super::super::call::Call;
use super::super::http::Response;
use super::super::proxy::Proxy;
use super::super::xml::Element;

/// The largest page of `DescribeInstances` and similar calls.
pub(super) const LARGEST_PAGE: usize = 1000;

/// The lists that come in pages: the action, the list's element, and the parameter for single ids.
pub(super) const PAGED: [(&str, &str, &str); 8] = [
    ("DescribeInstances", "reservationSet", "InstanceId"),
    ("DescribeVolumes", "volumeSet", "VolumeId"),
    ("DescribeSnapshots", "snapshotSet", "SnapshotId"),
    ("DescribeImages", "imagesSet", "ImageId"),
    ("DescribeSecurityGroups", "securityGroupInfo", "GroupId"),
    ("DescribeSecurityGroupRules", "securityGroupRuleSet", "SecurityGroupRuleId"),
    ("DescribeNetworkInterfaces", "networkInterfaceSet", "NetworkInterfaceId"),
    ("DescribeSpotInstanceRequests", "spotInstanceRequestSet", "SpotInstanceRequestId"),
];

/// The values of a filter; empty if it was not given.
pub(super) fn filter_values(call: &Call, name: &str) -> Vec<String> {
    (1..)
        .map(|at| format!("Filter.{at}"))
        .take_while(|filter| call.params.contains_key(&format!("{filter}.Name")))
        .filter(|filter| call.param(&format!("{filter}.Name")) == name)
        .flat_map(|filter| call.list(&format!("{filter}.Value")))
        .collect()
}

/// The call without the filters of a name; the others are renumbered.
pub(super) fn without_filter(call: &Call, name: &str) -> Call {
    let mut changed = call.clone();
    changed.drop_params("Filter.");
    let filters = (1..).map(|at| format!("Filter.{at}"));
    let filters = filters.take_while(|filter| call.params.contains_key(&format!("{filter}.Name")));
    let kept = filters.filter(|filter| call.param(&format!("{filter}.Name")) != name);
    for (at, filter) in kept.enumerate() {
        let prefix = format!("{filter}.");
        for (key, value) in &call.params {
            if let Some(rest) = key.strip_prefix(&prefix) {
                changed.params.insert(format!("Filter.{}.{rest}", at + 1), value.clone());
            }
        }
    }
    changed
}

/// Whether tags match the filters `tag:KEY` and `tag-key`, with `*` at the end of a value.
pub(super) fn tags_fit(call: &Call, tags: &[(String, String)]) -> bool {
    let like = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    };
    let filters = (1..).map(|at| format!("Filter.{at}")).map_while(|filter| {
        let name = call.params.get(&format!("{filter}.Name"))?;
        Some((name.clone(), call.list(&format!("{filter}.Value"))))
    });
    filters.into_iter().all(|(name, values)| match name.strip_prefix("tag:") {
        Some(key) => tags.iter().any(|(known, value)| known == key && values.iter().any(|v| like(v, value))),
        None if name == "tag-key" => tags.iter().any(|(known, _)| values.iter().any(|v| like(v, known))),
        None => true,
    })
}

/// Asks moto for a whole list, lets `change` edit it, and answers with the requested page.
pub(super) async fn answer_page(
    proxy: &Proxy,
    call: &Call,
    list: &str,
    change: impl FnOnce(&mut Vec<Element>),
) -> Response {
    let ids = PAGED.iter().find(|(action, _, _)| *action == call.action).map_or("", |(_, _, ids)| *ids);
    let size = call.param("MaxResults");
    if !size.is_empty() && !call.list(ids).is_empty() {
        let message = format!("The parameter {ids} cannot be used with the parameter MaxResults");
        return call.refuse(400, "InvalidParameterCombination", &message);
    }
    let size = match size {
        "" => LARGEST_PAGE,
        digits => match digits.parse::<usize>() {
            Ok(size) if (5..=LARGEST_PAGE).contains(&size) => size,
            _ => {
                let message = format!("Value ( {digits} ) for parameter maxResults is invalid. Expecting 5 to 1000.");
                return call.refuse(400, "InvalidParameterValue", &message);
            }
        },
    };
    let start = match call.param("NextToken") {
        "" => 0,
        token => match token.strip_prefix("page-").and_then(|at| at.parse::<usize>().ok()) {
            Some(at) => at,
            None => return call.refuse(400, "InvalidNextToken", "The token is not valid"),
        },
    };
    let mut forwarded = call.clone();
    forwarded.params.remove("MaxResults");
    forwarded.params.remove("NextToken");
    let reply = proxy.forward(&forwarded).await;
    let Some(mut document) = Element::parse(&reply.text()).filter(|_| reply.is_success()) else { return reply };
    document.remove("nextToken");
    let Some(set) = document.child_mut(list) else { return reply };
    change(&mut set.children);
    let total = set.children.len();
    set.children = std::mem::take(&mut set.children).into_iter().skip(start).take(size).collect();
    if start + size < total {
        document.put(Element::leaf("nextToken", &format!("page-{}", start + size)));
    }
    Response::new(200, "text/xml", document.document())
}
