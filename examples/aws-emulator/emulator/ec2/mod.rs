//! The differences between moto's EC2 and Amazon's that matter to the tool. Each function is one difference.

mod filters;
mod images;
mod instances;
mod network;
mod spot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::filters::{PAGED, answer_page};
use self::spot::Spot;
use super::call::Call;
use super::http::Response;
use super::proxy::Proxy;
use super::xml::Element;

/// The proxy's own knowledge about an instance.
#[derive(Debug, Clone)]
struct LaunchRecord {
    /// The region.
    pub region: String,
    /// When it was launched.
    at: Instant,
    /// How many more times its id will be unknown.
    unknown: usize,
    /// When it was terminated.
    ended: Option<Instant>,
    /// Code and reason of an end that nobody requested over the interface.
    reason: Option<(String, String)>,
    /// Whether it terminates when it switches itself off; otherwise it stops.
    terminates: bool,
    /// Its network interface.
    interface: String,
    /// The name of its instance profile, which moto does not report; empty if it has none.
    profile: String,
    /// Its spot request, if it has one.
    spot: Option<Spot>,
}

/// The proxy's own knowledge about EC2.
#[derive(Debug, Default)]
struct Ec2State {
    launches: BTreeMap<String, LaunchRecord>,
    /// By region and client token, the parameters of the launch and the reply.
    tokens: BTreeMap<(String, String), (BTreeMap<String, String>, String)>,
    images: BTreeMap<String, Instant>,
    /// Interfaces that have gone with their instances.
    gone: BTreeSet<String>,
    spots: usize,
}

/// EC2 as the proxy plays it.
#[derive(Debug, Default)]
pub(crate) struct Ec2(Mutex<Ec2State>);

impl Ec2 {
    fn known(&self) -> MutexGuard<'_, Ec2State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a call.
    pub(crate) async fn answer(&self, proxy: &Proxy, call: &Call) -> Response {
        match &*call.action {
            "RunInstances" => self.run_instances(proxy, call).await,
            "DescribeInstances" => self.describe_instances(proxy, call).await,
            "TerminateInstances" => self.terminate(proxy, call).await,
            "StopInstances" => self.stop(proxy, call).await,
            "CreateImage" => self.create_image(proxy, call).await,
            "DescribeImages" => self.describe_images(proxy, call).await,
            "DeregisterImage" => images::deregister(proxy, call).await,
            "DescribeSnapshots" => images::describe_snapshots(proxy, call).await,
            "ImportKeyPair" => network::import_key_pair(proxy, call).await,
            "DescribeKeyPairs" => network::describe_key_pairs(proxy, call).await,
            "CreateSecurityGroup" => network::create_group(proxy, call).await,
            "DeleteSecurityGroup" => self.delete_group(proxy, call).await,
            "DescribeNetworkInterfaces" => self.describe_interfaces(proxy, call).await,
            "StartInstances" if proxy.machines().is_some() => {
                call.refuse(400, "UnsupportedOperation", "a stopped machine cannot be started again here")
            }
            "DescribeSpotInstanceRequests" => self.describe_spots(call),
            "CancelSpotInstanceRequests" => self.cancel_spots(call),
            "GetConsoleOutput" => instances::console(proxy, call).await,
            "DescribeSpotPriceHistory" => super::pricing::spot_history(call),
            action => match PAGED.iter().find(|(paged, _, _)| *paged == action) {
                Some((_, list, _)) => answer_page(proxy, call, list, |_| ()).await,
                None => proxy.forward(call).await,
            },
        }
    }
}

fn tag_set(tags: &[(String, String)]) -> Element {
    let item = |(key, value): &(String, String)| {
        Element::node("item", vec![Element::leaf("key", key), Element::leaf("value", value)])
    };
    Element::node("tagSet", tags.iter().map(item).collect())
}

async fn create_tags(proxy: &Proxy, region: &str, resource: &str, tags: &[(String, String)]) {
    if tags.is_empty() {
        return;
    }
    let mut call = Call::ec2(region, "CreateTags", &[("ResourceId.1", resource)]);
    for (at, (key, value)) in tags.iter().enumerate() {
        call.params.insert(format!("Tag.{}.Key", at + 1), key.clone());
        call.params.insert(format!("Tag.{}.Value", at + 1), value.clone());
    }
    proxy.forward(&call).await;
}
