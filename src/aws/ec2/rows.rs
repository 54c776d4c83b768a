//! The journal's rows for one machine, and the names under which they are planned and confirmed.

use model::fault::Fault;
use model::provider::{Confirm, MachineRequest};
use model::resource::{PlannedResource, ResourceKind};

use crate::ec2::tags::RowName;

/// A resource that a launch makes: its kind, and the suffix that its name adds to the machine's.
#[derive(Debug, Clone, Copy)]
pub(super) struct MachinePart(ResourceKind, &'static str);

pub(super) const SPOT_REQUEST: MachinePart = MachinePart(ResourceKind::SpotRequest, "-spot");
pub(super) const ROOT_VOLUME: MachinePart = MachinePart(ResourceKind::Volume, "-root");
pub(super) const WORK_VOLUME: MachinePart = MachinePart(ResourceKind::Volume, "-work");
pub(super) const INTERFACE: MachinePart = MachinePart(ResourceKind::NetworkInterface, "-eth0");
pub(super) const INSTANCE: MachinePart = MachinePart(ResourceKind::Instance, "");

/// A request with the account and region in which its machine is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct MachineRows<'a> {
    pub(super) account: &'a str,
    pub(super) region: &'a str,
    pub(super) request: &'a MachineRequest,
}

impl MachineRows<'_> {
    /// Every part of the machine, in the order in which they are made.
    pub(super) fn all(self) -> Vec<PlannedResource> {
        let spot = self.request.hardware.spot.then_some(SPOT_REQUEST);
        let work = self.request.volume.map(|_| WORK_VOLUME);
        let parts = [spot, Some(ROOT_VOLUME), work, Some(INTERFACE), Some(INSTANCE)];
        let row = |MachinePart(kind, suffix)| PlannedResource {
            machine: self.request.id.clone(),
            kind,
            name: self.name(suffix),
        };
        parts.into_iter().flatten().map(row).collect()
    }

    fn name(self, suffix: &str) -> String {
        RowName::regional(self.account, self.region, format!("{}{suffix}", self.request.id)).to_string()
    }

    /// Tells the journal that a part exists.
    pub(super) fn confirm(
        self,
        MachinePart(kind, suffix): MachinePart,
        locator: &str,
        confirm: Confirm<'_>,
    ) -> Result<(), Fault> {
        confirm(kind, &self.name(suffix), locator)
    }
}
