//! Images and their snapshots.

use std::time::Instant;

use super::super::call::{ACCOUNT, Call};
use super::super::http::Response;
use super::super::proxy::Proxy;
use super::super::xml::Element;
use super::filters::{answer_page, filter_values};
use super::{Ec2, create_tags};

impl Ec2 {
    /// Makes an image: names are unique; snapshots get their tags; the machine's files become the image; it is pending
    /// at first.
    pub(super) async fn create_image(&self, proxy: &Proxy, call: &Call) -> Response {
        let name = call.param("Name");
        let filter = [("Owner.1", "self"), ("Filter.1.Name", "name"), ("Filter.1.Value.1", name)];
        let same = proxy.forward(&Call::ec2(&call.region, "DescribeImages", &filter)).await;
        if let Some(other) = Element::parse(&same.text()).as_ref().and_then(|doc| doc.items("imagesSet").first()) {
            let id = other.text_at(&["imageId"]);
            let message = format!("AMI name {name} is already in use by AMI {id}");
            return call.refuse(400, "InvalidAMIName.Duplicate", &message);
        }
        let mut forwarded = call.clone();
        forwarded.drop_params("TagSpecification.");
        let reply = proxy.forward(&forwarded).await;
        let Some(document) = Element::parse(&reply.text()).filter(|_| reply.is_success()) else { return reply };
        let image = document.text_at(&["imageId"]);
        create_tags(proxy, &call.region, &image, &call.tags("image")).await;
        for snapshot in snapshots_of(proxy, &call.region, &image).await {
            create_tags(proxy, &call.region, &snapshot, &call.tags("snapshot")).await;
        }
        self.known().images.insert(image.clone(), Instant::now());
        let Some(machines) = proxy.machines() else { return reply };
        match machines.commit(call.param("InstanceId"), &image, call.param("NoReboot") == "true").await {
            Ok(()) => reply,
            Err(why) => call.refuse(500, "InternalError", &why),
        }
    }

    pub(super) async fn describe_images(&self, proxy: &Proxy, call: &Call) -> Response {
        let pending = proxy.control.conditions().image_pending;
        answer_page(proxy, call, "imagesSet", |images| {
            for image in images.iter_mut() {
                let made = self.known().images.get(&image.text_at(&["imageId"])).copied();
                if made.is_some() {
                    image.put(Element::leaf("rootDeviceType", "ebs"));
                }
                if made.is_some_and(|made| made.elapsed() < pending) {
                    image.put(Element::leaf("imageState", "pending"));
                }
            }
            let wanted = filter_values(call, "state");
            images.retain(|image| wanted.is_empty() || wanted.contains(&image.text_at(&["imageState"])));
        })
        .await
    }
}

/// The snapshots behind an image.
pub(super) async fn snapshots_of(proxy: &Proxy, region: &str, image: &str) -> Vec<String> {
    let found = proxy.forward(&Call::ec2(region, "DescribeImages", &[("ImageId.1", image)])).await;
    let document = Element::parse(&found.text()).unwrap_or_default();
    let devices = document.items("imagesSet").iter().flat_map(|image| image.items("blockDeviceMapping"));
    devices.map(|device| device.text_at(&["ebs", "snapshotId"])).filter(|id| !id.is_empty()).collect()
}

/// Deregisters an image; with `DeleteAssociatedSnapshots` its snapshots go too, and the reply reports their fates.
pub(super) async fn deregister(proxy: &Proxy, call: &Call) -> Response {
    let snapshots = snapshots_of(proxy, &call.region, call.param("ImageId")).await;
    let reply = proxy.forward(call).await;
    if !reply.is_success() || call.param("DeleteAssociatedSnapshots") != "true" {
        return reply;
    }
    let mut items = Vec::new();
    for snapshot in snapshots {
        let gone = proxy.forward(&Call::ec2(&call.region, "DeleteSnapshot", &[("SnapshotId", &*snapshot)])).await;
        let code = if gone.is_success() { "success" } else { "internal-error" };
        let told = vec![Element::leaf("snapshotId", &snapshot), Element::leaf("returnCode", code)];
        items.push(Element::node("item", told));
    }
    call.xml(vec![Element::leaf("return", "true"), Element::node("deleteSnapshotResultSet", items)])
}

/// Lists snapshots, and respects the owners that the call names.
pub(super) async fn describe_snapshots(proxy: &Proxy, call: &Call) -> Response {
    let owners = call.list("Owner");
    answer_page(proxy, call, "snapshotSet", |snapshots| {
        snapshots.retain(|snapshot| {
            let owner = snapshot.text_at(&["ownerId"]);
            owners.is_empty() || owners.contains(&owner) || (owners.iter().any(|o| o == "self") && owner == ACCOUNT)
        });
    })
    .await
}
