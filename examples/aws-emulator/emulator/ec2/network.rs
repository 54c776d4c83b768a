//! Interfaces, security groups and key pairs.

use base64::Engine;
use sha2::{Digest, Sha256};

use super::super::call::Call;
use super::super::http::Response;
use super::super::proxy::Proxy;
use super::super::xml::Element;
use super::Ec2;
use super::filters::{answer_page, filter_values};

impl Ec2 {
    /// Lists interfaces without those that went with their instances.
    pub(super) async fn describe_interfaces(&self, proxy: &Proxy, call: &Call) -> Response {
        let gone = self.known().gone.clone();
        if let Some(id) = call.list("NetworkInterfaceId").into_iter().find(|id| gone.contains(id)) {
            let message = format!("The networkInterface ID '{id}' does not exist");
            return call.refuse(400, "InvalidNetworkInterfaceID.NotFound", &message);
        }
        answer_page(proxy, call, "networkInterfaceSet", |found| {
            found.retain(|interface| !gone.contains(&interface.text_at(&["networkInterfaceId"])));
        })
        .await
    }

    /// Deletes a group, unless it is in use.
    pub(super) async fn delete_group(&self, proxy: &Proxy, call: &Call) -> Response {
        let (filter, value) = match call.param("GroupId") {
            "" => ("group-name", call.param("GroupName")),
            id => ("group-id", id),
        };
        let filter = [("Filter.1.Name", filter), ("Filter.1.Value.1", value)];
        let users =
            self.describe_interfaces(proxy, &Call::ec2(&call.region, "DescribeNetworkInterfaces", &filter)).await;
        let used = Element::parse(&users.text()).is_some_and(|doc| !doc.items("networkInterfaceSet").is_empty());
        if used {
            let message = format!("resource {value} has a dependent object");
            return call.refuse(400, "DependencyViolation", &message);
        }
        proxy.forward(call).await
    }
}

/// Makes a group; names are unique within a VPC.
pub(super) async fn create_group(proxy: &Proxy, call: &Call) -> Response {
    let name = call.param("GroupName");
    let filter = [("Filter.1.Name", "group-name"), ("Filter.1.Value.1", name)];
    let same = proxy.forward(&Call::ec2(&call.region, "DescribeSecurityGroups", &filter)).await;
    let document = Element::parse(&same.text()).unwrap_or_default();
    let vpc = call.param("VpcId");
    let taken = |group: &Element| vpc.is_empty() || group.text_at(&["vpcId"]) == vpc;
    if document.items("securityGroupInfo").iter().any(taken) {
        let message = format!("The security group '{name}' already exists");
        return call.refuse(400, "InvalidGroup.Duplicate", &message);
    }
    proxy.forward(call).await
}

/// The fingerprint that AWS computes for an imported ed25519 key: base64 of the SHA-256 of the public key's blob.
pub(super) fn fingerprint(public: &str) -> Option<String> {
    let engine = base64::engine::general_purpose::STANDARD;
    let mut words = public.split_whitespace();
    let blob = (words.next()? == "ssh-ed25519").then(|| words.next()).flatten()?;
    Some(engine.encode(Sha256::digest(engine.decode(blob).ok()?)))
}

pub(super) async fn import_key_pair(proxy: &Proxy, call: &Call) -> Response {
    let engine = base64::engine::general_purpose::STANDARD;
    let material = engine.decode(call.param("PublicKeyMaterial")).unwrap_or_default();
    let reply = proxy.forward(call).await;
    let Some(mut document) = Element::parse(&reply.text()).filter(|_| reply.is_success()) else { return reply };
    if let Some(fingerprint) = fingerprint(&String::from_utf8_lossy(&material)) {
        document.put(Element::leaf("keyFingerprint", &fingerprint));
    }
    Response::new(200, "text/xml", document.document())
}

/// Lists key pairs with the fingerprints that AWS would report, also as a filter.
pub(super) async fn describe_key_pairs(proxy: &Proxy, call: &Call) -> Response {
    let wanted = filter_values(call, "fingerprint");
    let mut forwarded = call.clone();
    forwarded.params.insert("IncludePublicKey".to_owned(), "true".to_owned());
    if !wanted.is_empty() {
        forwarded.drop_params("Filter.");
    }
    let reply = proxy.forward(&forwarded).await;
    let Some(mut document) = Element::parse(&reply.text()).filter(|_| reply.is_success()) else { return reply };
    if let Some(keys) = document.child_mut("keySet") {
        for key in &mut keys.children {
            if let Some(fingerprint) = fingerprint(&key.text_at(&["publicKey"])) {
                key.put(Element::leaf("keyFingerprint", &fingerprint));
            }
            if call.param("IncludePublicKey") != "true" {
                key.remove("publicKey");
            }
        }
        keys.children.retain(|key| wanted.is_empty() || wanted.contains(&key.text_at(&["keyFingerprint"])));
    }
    Response::new(200, "text/xml", document.document())
}
