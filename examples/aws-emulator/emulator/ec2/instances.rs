//! Instances from the launch to the end, and the machines behind them.

use std::time::Instant;

use base64::Engine;

use super::super::call::{ACCOUNT, Call};
use super::super::http::Response;
use super::super::machines::{InstanceEnd, MachineParameters};
use super::super::proxy::Proxy;
use super::super::xml::Element;
use super::filters::{answer_page, filter_values, without_filter};
use super::{Ec2, LaunchRecord, Spot, create_tags};

/// The most bytes of user data before it is encoded.
pub(super) const LONGEST_USER_DATA: usize = 16_384;

/// The root devices of the base images.
pub(super) const ROOTS: [&str; 2] = ["/dev/xvda", "/dev/sda1"];

/// The size in bytes of the disk of types that have one of their own.
pub(super) const INSTANCE_STORE: u64 = 8 << 30;

impl Ec2 {
    /// Launches instances: the same client token returns the first instance again; interfaces get their tags; a spot
    /// request is kept.
    pub(super) async fn run_instances(&self, proxy: &Proxy, call: &Call) -> Response {
        let token = (call.region.clone(), call.param("ClientToken").to_owned());
        if let Some((params, reply)) = self.known().tokens.get(&token).cloned()
            && !token.1.is_empty()
        {
            if params != call.params {
                let message = "Arguments on this idempotent request are inconsistent with arguments used in previous \
                               request(s).";
                return call.refuse(400, "IdempotentParameterMismatch", message);
            }
            return Response::new(200, "text/xml", reply);
        }
        let engine = base64::engine::general_purpose::STANDARD;
        if engine.decode(call.param("UserData")).is_ok_and(|data| data.len() > LONGEST_USER_DATA) {
            return call.refuse(400, "InvalidParameterValue", "User data is limited to 16384 bytes");
        }
        let reply = proxy.forward(call).await;
        let Some(mut document) = Element::parse(&reply.text()).filter(|_| reply.is_success()) else { return reply };
        let items = document.child_mut("instancesSet").map(|set| std::mem::take(&mut set.children)).unwrap_or_default();
        let mut shown = Vec::new();
        for mut item in items {
            self.record_launch(proxy, call, &mut item).await;
            // Right after launch there is no public address.
            for name in ["ipAddress", "dnsName"] {
                item.remove(name);
            }
            shown.push(item);
        }
        if let Some(set) = document.child_mut("instancesSet") {
            set.children = shown;
        }
        let text = document.document();
        if !token.1.is_empty() {
            self.known().tokens.insert(token, (call.params.clone(), text.clone()));
        }
        Response::new(200, "text/xml", text)
    }

    pub(super) async fn record_launch(&self, proxy: &Proxy, call: &Call, item: &mut Element) {
        let id = item.text_at(&["instanceId"]);
        let interface = item.items("networkInterfaceSet").first().map(|nic| nic.text_at(&["networkInterfaceId"]));
        let interface = interface.unwrap_or_default();
        let tags = call.tags("network-interface");
        if !tags.is_empty() && !interface.is_empty() {
            create_tags(proxy, &call.region, &interface, &tags).await;
        }
        let spot = (call.param("InstanceMarketOptions.MarketType") == "spot").then(|| {
            let mut known = self.known();
            known.spots += 1;
            Spot {
                id: format!("sir-{:08x}", known.spots),
                instance_type: call.param("InstanceType").to_owned(),
                tags: call.tags("spot-instances-request"),
                cancelled: false,
            }
        });
        let launch = LaunchRecord {
            region: call.region.clone(),
            at: Instant::now(),
            unknown: proxy.control.conditions().unknown,
            ended: None,
            reason: None,
            terminates: call.param("InstanceInitiatedShutdownBehavior") == "terminate",
            interface,
            profile: profile(call),
            spot,
        };
        item.put(Element::leaf("clientToken", call.param("ClientToken")));
        complete_item(item, &launch, proxy);
        self.known().launches.insert(id.clone(), launch);
        if let Some(machines) = proxy.machines() {
            machines.start(machine_parameters(proxy, call, &id).await);
        }
    }

    /// Lists instances, with ids that are unknown at first, `pending`, `shutting-down`, addresses of real machines,
    /// spot requests and pages.
    pub(super) async fn describe_instances(&self, proxy: &Proxy, call: &Call) -> Response {
        let asked = call.list("InstanceId");
        if let Some(id) = self.find_unknown(&asked) {
            let message = format!("The instance ID '{id}' does not exist");
            return call.refuse(400, "InvalidInstanceID.NotFound", &message);
        }
        // moto answers this filter with status 500.
        let tokens = filter_values(call, "client-token");
        // moto ends an instance at once: only the emulator knows its state.
        let states = filter_values(call, "instance-state-name");
        let profiles = filter_values(call, "iam-instance-profile.arn");
        let asked = without_filter(&without_filter(call, "client-token"), "instance-state-name");
        let asked = without_filter(&asked, "iam-instance-profile.arn");
        answer_page(proxy, &asked, "reservationSet", |reservations| {
            for reservation in reservations.iter_mut() {
                let Some(set) = reservation.child_mut("instancesSet") else { continue };
                set.children.retain(|item| tokens.is_empty() || tokens.contains(&item.text_at(&["clientToken"])));
                set.children.retain(|item| !self.is_hidden(&item.text_at(&["instanceId"])));
                for item in &mut set.children {
                    let launch = self.known().launches.get(&item.text_at(&["instanceId"])).cloned();
                    if let Some(launch) = launch {
                        complete_item(item, &launch, proxy);
                    }
                }
                let state = |item: &Element| item.text_at(&["instanceState", "name"]);
                set.children.retain(|item| states.is_empty() || states.contains(&state(item)));
                let profile = |item: &Element| item.text_at(&["iamInstanceProfile", "arn"]);
                set.children.retain(|item| profiles.is_empty() || profiles.contains(&profile(item)));
            }
            reservations.retain(|reservation| !reservation.items("instancesSet").is_empty());
            *reservations = std::mem::take(reservations).into_iter().flat_map(single).collect();
        })
        .await
    }

    pub(super) fn find_unknown(&self, asked: &[String]) -> Option<String> {
        let mut known = self.known();
        asked.iter().find_map(|id| {
            let launch = known.launches.get_mut(id).filter(|launch| launch.unknown > 0)?;
            launch.unknown -= 1;
            Some(id.clone())
        })
    }

    /// Whether an instance is not yet found by anything but its id.
    pub(super) fn is_hidden(&self, id: &str) -> bool {
        let mut known = self.known();
        let Some(launch) = known.launches.get_mut(id).filter(|launch| launch.unknown > 0) else { return false };
        launch.unknown -= 1;
        true
    }

    /// Terminates instances with their interfaces and machines.
    pub(super) async fn terminate(&self, proxy: &Proxy, call: &Call) -> Response {
        let reply = proxy.forward(call).await;
        if reply.is_success() {
            for id in call.list("InstanceId") {
                self.record_end(proxy, &id);
            }
        }
        reply
    }

    /// Removes the interface and the machine of an instance that has ended. The interface is only remembered as gone:
    /// moto would need three calls for each, and one call ends a thousand instances.
    pub(super) fn record_end(&self, proxy: &Proxy, id: &str) {
        let mut known = self.known();
        let Some(launch) = known.launches.get_mut(id).filter(|launch| launch.ended.is_none()) else { return };
        launch.ended = Some(Instant::now());
        let interface = launch.interface.clone();
        known.gone.insert(interface);
        drop(known);
        if let Some(machines) = proxy.machines() {
            machines.end(id);
        }
    }

    /// Updates the record of an instance whose machine has switched itself off or is broken.
    pub(crate) async fn handle_self_end(&self, proxy: &Proxy, ended: &InstanceEnd) {
        let launch = {
            let mut known = self.known();
            let Some(launch) = known.launches.get_mut(&ended.id).filter(|launch| launch.ended.is_none()) else {
                return;
            };
            launch.reason = Some((ended.code.to_owned(), ended.reason.clone()));
            launch.clone()
        };
        let id = [("InstanceId.1", &*ended.id)];
        if launch.terminates || ended.code.starts_with("Server.") {
            proxy.forward(&Call::ec2(&launch.region, "TerminateInstances", &id)).await;
            self.record_end(proxy, &ended.id);
        } else {
            let call = Call::ec2(&launch.region, "StopInstances", &id);
            self.stop(proxy, &call).await;
        }
    }

    pub(super) async fn stop(&self, proxy: &Proxy, call: &Call) -> Response {
        let reply = proxy.forward(call).await;
        if let Some(machines) = proxy.machines().filter(|_| reply.is_success()) {
            for id in call.list("InstanceId") {
                if let Err(why) = machines.stop(&id).await {
                    return call.refuse(500, "InternalError", &why);
                }
            }
        }
        reply
    }
}

pub(super) fn state(code: &str, name: &str) -> Element {
    Element::node("instanceState", vec![Element::leaf("code", code), Element::leaf("name", name)])
}

/// Splits a reservation into one for each of its instances, because pages count instances.
fn single(mut reservation: Element) -> Vec<Element> {
    let instances = reservation.child_mut("instancesSet").map(|set| std::mem::take(&mut set.children));
    let one = |instance| {
        let mut reservation = reservation.clone();
        reservation.put(Element::node("instancesSet", vec![instance]));
        reservation
    };
    instances.unwrap_or_default().into_iter().map(one).collect()
}

/// The name of the instance profile that a launch asks for.
fn profile(call: &Call) -> String {
    let arn = call.param("IamInstanceProfile.Arn");
    match arn.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None => call.param("IamInstanceProfile.Name").to_owned(),
    }
}

/// The parameters for the machine of an instance.
pub(super) async fn machine_parameters(proxy: &Proxy, call: &Call, id: &str) -> MachineParameters {
    let engine = base64::engine::general_purpose::STANDARD;
    let key = match call.param("KeyName") {
        "" => String::new(),
        name => {
            let asked = [("KeyName.1", name), ("IncludePublicKey", "true")];
            let found = proxy.forward(&Call::ec2(&call.region, "DescribeKeyPairs", &asked)).await;
            let document = Element::parse(&found.text()).unwrap_or_default();
            document.items("keySet").first().map(|key| key.text_at(&["publicKey"])).unwrap_or_default()
        }
    };
    MachineParameters {
        id: id.to_owned(),
        image: call.param("ImageId").to_owned(),
        user_data: engine.decode(call.param("UserData")).unwrap_or_default(),
        public_key: key.trim().to_owned(),
        volume: second_volume(call),
        managed: call.params.keys().any(|name| name.starts_with("IamInstanceProfile.")),
    }
}

/// The size in bytes of a second disk: a requested volume, or the type's own disk.
pub(super) fn second_volume(call: &Call) -> Option<u64> {
    let devices = (1..).map(|at| format!("BlockDeviceMapping.{at}"));
    let devices = devices.take_while(|device| call.params.contains_key(&format!("{device}.DeviceName")));
    let asked = devices.filter(|device| !ROOTS.contains(&call.param(&format!("{device}.DeviceName"))));
    let sizes = asked.filter_map(|device| call.param(&format!("{device}.Ebs.VolumeSize")).parse::<u64>().ok());
    let family = call.param("InstanceType").split('.').next().unwrap_or_default();
    let own = family.ends_with('d').then_some(INSTANCE_STORE);
    sizes.map(|gibibytes| gibibytes << 30).next().or(own)
}

/// Changes moto's description of an instance to that of AWS.
pub(super) fn complete_item(item: &mut Element, launch: &LaunchRecord, proxy: &Proxy) {
    let id = item.text_at(&["instanceId"]);
    let conditions = proxy.control.conditions();
    let now = item.text_at(&["instanceState", "name"]);
    if let Some(ended) = launch.ended {
        let gone = ended.elapsed() >= conditions.terminating && !proxy.has_machine(&id);
        item.put(if gone { state("48", "terminated") } else { state("32", "shutting-down") });
        for name in ["ipAddress", "dnsName", "privateIpAddress"] {
            item.remove(name);
        }
        if gone {
            item.put(Element::node("networkInterfaceSet", Vec::new()));
        }
    } else if now == "pending" || now == "running" {
        let pending = launch.at.elapsed() < conditions.pending || !proxy.machine_started(&id);
        item.put(if pending { state("0", "pending") } else { state("16", "running") });
        if let Some(address) = proxy.machine_address(&id) {
            item.put(Element::leaf("ipAddress", &address));
            item.put(Element::leaf("dnsName", &address));
        }
    }
    if let Some((code, reason)) = &launch.reason {
        item.put(Element::node("stateReason", vec![Element::leaf("code", code), Element::leaf("message", reason)]));
    }
    if !launch.profile.is_empty() {
        let arn = format!("arn:aws:iam::{ACCOUNT}:instance-profile/{}", launch.profile);
        item.put(Element::node("iamInstanceProfile", vec![Element::leaf("arn", &arn)]));
    }
    if let Some(spot) = &launch.spot {
        item.put(Element::leaf("spotInstanceRequestId", &spot.id));
        item.put(Element::leaf("instanceLifecycle", "spot"));
    }
    if let Some(nics) = item.child_mut("networkInterfaceSet") {
        for attachment in nics.children.iter_mut().filter_map(|nic| nic.child_mut("attachment")) {
            attachment.put(Element::leaf("deleteOnTermination", "true"));
        }
    }
}

/// Answers with the console of the real machine, if there is one.
pub(super) async fn console(proxy: &Proxy, call: &Call) -> Response {
    let text = proxy.machines().and_then(|machines| machines.console(call.param("InstanceId")));
    let Some(text) = text else { return proxy.forward(call).await };
    let output = base64::engine::general_purpose::STANDARD.encode(text);
    call.xml(vec![
        Element::leaf("instanceId", call.param("InstanceId")),
        Element::leaf("timestamp", "2026-01-01T00:00:00.000Z"),
        Element::leaf("output", &output),
    ])
}
