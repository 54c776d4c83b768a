//! Observing the resources of machines on EC2, named as the journal names them.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Instance, NetworkInterface, SpotInstanceRequest, SpotInstanceState, Tag, Volume};
use jiff::Timestamp;
use model::base::id::MachineId;
use model::fault::Fault;
use model::resource::{ObservedResource, Resource, ResourceKind};

use crate::ec2::filters;
use crate::ec2::purge::{interfaces, volumes};
use crate::ec2::tags::{self, RowName};
use crate::ec2::{instances, launch, trouble};

/// The states in which a spot request can still make an instance, or has one.
const SPOT_STATES: [SpotInstanceState; 3] =
    [SpotInstanceState::Open, SpotInstanceState::Active, SpotInstanceState::Disabled];

/// How many spot requests a page holds; the API's own limit.
const SPOT_PAGE: i32 = 1000;

/// The resources that came with an instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Pairs of the device that a volume is attached as and the volume's id.
    pub volumes: Vec<(String, String)>,
    /// The ids of its interfaces.
    pub interfaces: Vec<String>,
}

/// The parts of an instance, as far as EC2 lists them so far.
pub(crate) fn parts(instance: &Instance) -> Parts {
    let volumes = instance.block_device_mappings().iter();
    let volumes = volumes.filter_map(|m| Some((m.device_name.clone()?, m.ebs.as_ref()?.volume_id.clone()?)));
    let interfaces = instance.network_interfaces().iter().filter_map(|i| i.network_interface_id.clone());
    Parts { volumes: volumes.collect(), interfaces: interfaces.collect() }
}

/// The time at which a resource ends at the latest, by its tag.
pub(crate) fn expiry(tagged: &[Tag]) -> Option<Timestamp> {
    tags::value(tagged, tags::EXPIRES).and_then(|text| text.parse().ok())
}

/// The part of a state id that copies of a state directory share; the rest identifies the computer. Older builds wrote
/// this part alone.
fn directory_part(id: &str) -> &str {
    id.split_once('.').map_or(id, |(directory, _)| directory)
}

/// Whether another computer made a resource, with a copy of the state directory `state_id`.
fn is_of_copy(tagged: &[Tag], state_id: &str) -> bool {
    let of_copy = |id: &str| id.contains('.') && id != state_id && directory_part(id) == directory_part(state_id);
    tags::value(tagged, tags::STATE).is_some_and(of_copy)
}

/// Whether the journal of the state directory `state_id` may know of a resource. That is so if the resource is of this
/// state directory or of a copy of it, whatever its owner and its computer were called then (both change); or if it is
/// of `owner` and has expired, so that anybody who finds it may end it.
pub(crate) fn is_for_us(tagged: &[Tag], owner: &str, state_id: &str, now: Timestamp) -> bool {
    let of_directory =
        tags::value(tagged, tags::STATE).is_some_and(|id| directory_part(id) == directory_part(state_id));
    let of_owner = tags::owner(tagged) == Some(owner);
    of_directory || (of_owner && expiry(tagged).is_some_and(|expires| expires <= now))
}

/// The place that is observed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObservedPlace<'a> {
    /// The account's twelve digits.
    pub account: &'a str,
    /// The region.
    pub region: &'a str,
    /// The id of the state directory whose journal is compared with the observed resources.
    pub state_id: &'a str,
}

impl ObservedPlace<'_> {
    /// All resources of machines that `owner` with this state directory should know of.
    pub(crate) async fn observe(
        self,
        ec2: &aws_sdk_ec2::Client,
        owner: &str,
        now: Timestamp,
    ) -> Result<Vec<ObservedResource>, Fault> {
        // Filters are joined by "and", so this one uses the key alone, which both cases of `is_for_us` have.
        let ours = || filters::match_tag_key(tags::MACHINE);
        let (instances, volumes, interfaces) = futures_util::future::try_join3(
            instances::find(ec2, ours()),
            volumes::list(ec2, ours()),
            interfaces::list(ec2, ours()),
        )
        .await?;
        let for_us = |tagged: &[Tag]| is_for_us(tagged, owner, self.state_id, now);
        let instances = instances.iter().filter(|it| for_us(it.tags())).filter_map(|it| self.instance(it));
        let volumes = volumes.iter().filter(|it| for_us(it.tags())).filter_map(|it| self.volume(it));
        let interfaces = interfaces.iter().filter(|it| for_us(it.tag_set())).filter_map(|it| self.interface(it));
        Ok(instances.chain(volumes).chain(interfaces).collect())
    }

    /// The spot requests of the machines of `open` rows that can still make an instance. EC2 closes a request when its
    /// instance ends, but lists it for a while longer. Without a row of a spot request, EC2 is not asked.
    pub(crate) async fn spot_requests(
        self,
        ec2: &aws_sdk_ec2::Client,
        open: &[Resource],
    ) -> Result<Vec<ObservedResource>, Fault> {
        let rows = open.iter().filter(|row| row.kind == ResourceKind::SpotRequest);
        let machines: BTreeSet<&str> = rows.map(|row| row.machine.as_str()).collect();
        if machines.is_empty() {
            return Ok(Vec::new());
        }
        let states = filters::match_any("state", &SPOT_STATES);
        let ours = filters::match_tag_key(tags::MACHINE);
        let pages = ec2.describe_spot_instance_requests().filters(states).filters(ours).into_paginator();
        let found = pages.page_size(SPOT_PAGE).items().send().collect::<Result<Vec<_>, _>>().await;
        let found = found.map_err(|error| trouble::fault("list spot requests", error))?;
        let named = |tagged: &[Tag]| tags::value(tagged, tags::MACHINE).is_some_and(|it| machines.contains(it));
        let of = |it: &SpotInstanceRequest| {
            self.of(ResourceKind::SpotRequest, it.tags(), "-spot", it.spot_instance_request_id()?)
        };
        Ok(found.iter().filter(|it| named(it.tags())).filter_map(of).collect())
    }

    fn of(self, kind: ResourceKind, tagged: &[Tag], suffix: &str, locator: &str) -> Option<ObservedResource> {
        let machine: MachineId = tags::value(tagged, tags::MACHINE)?.parse().ok()?;
        let name = RowName::regional(self.account, self.region, format!("{machine}{suffix}")).to_string();
        let (expires_at, elsewhere) = (expiry(tagged), is_of_copy(tagged, self.state_id));
        Some(ObservedResource { kind, machine, name, locator: locator.to_owned(), expires_at, lease: None, elsewhere })
    }

    /// An instance, named as [`plan`](model::provider::Provider::plan) names its row.
    pub(crate) fn instance(self, instance: &Instance) -> Option<ObservedResource> {
        self.of(ResourceKind::Instance, instance.tags(), "", instance.instance_id()?)
    }

    /// A volume of an instance.
    pub(crate) fn volume(self, volume: &Volume) -> Option<ObservedResource> {
        // The device identifies an attached volume; a detached root volume is known by the image's snapshot that it was
        // made from.
        let is_root = match volume.attachments().first().and_then(|attached| attached.device()) {
            Some(device) => device != launch::WORK_DEVICE,
            None => volume.snapshot_id().is_some_and(|id| !id.is_empty()),
        };
        self.of(ResourceKind::Volume, volume.tags(), if is_root { "-root" } else { "-work" }, volume.volume_id()?)
    }

    /// An interface of an instance.
    pub(crate) fn interface(self, interface: &NetworkInterface) -> Option<ObservedResource> {
        let id = interface.network_interface_id()?;
        self.of(ResourceKind::NetworkInterface, interface.tag_set(), "-eth0", id)
    }
}
