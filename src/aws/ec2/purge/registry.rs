//! Every kind of resource that we make in EC2 and IAM, a line a kind, in the order of removal.

use model::resource::ResourceKind;

use super::identities::{Profiles, Roles};
use super::images::MachineImages;
use super::instances::Instances;
use super::interfaces::Interfaces;
use super::key_pairs::KeyPairs;
use super::kind::PurgeKind;
use super::security_groups::SecurityGroups;
use super::snapshots::Snapshots;
use super::spot_requests::SpotRequests;
use super::volumes::Volumes;
use crate::ec2::instances::BATCH;

/// How many resources of the other kinds are removed between two checks whether the user wants to stop.
const OTHERS_A_BATCH: usize = 160;

/// The part of an account that holds the resources of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KindScope {
    /// In a region. EC2 itself refuses to delete resources in use.
    Region,
    /// In IAM, for all regions. IAM lets a role and a profile be deleted while machines use them.
    Account,
}

/// The line of one kind.
pub(super) struct RegistryLine {
    /// The kind.
    pub kind: ResourceKind,
    /// The part of an account that holds its resources.
    pub scope: KindScope,
    /// How many of them are removed at once at most.
    pub batch: usize,
    /// The search for them, and their removal.
    pub how: &'static dyn PurgeKind,
}

const fn regional(kind: ResourceKind, batch: usize, how: &'static dyn PurgeKind) -> RegistryLine {
    RegistryLine { kind, scope: KindScope::Region, batch, how }
}

const fn global(kind: ResourceKind, batch: usize, how: &'static dyn PurgeKind) -> RegistryLine {
    RegistryLine { kind, scope: KindScope::Account, batch, how }
}

/// The lines, in the order of [`ResourceKind::REMOVAL`].
pub(super) static LINES: [RegistryLine; 10] = [
    regional(ResourceKind::SpotRequest, OTHERS_A_BATCH, &SpotRequests),
    regional(ResourceKind::Instance, BATCH, &Instances),
    regional(ResourceKind::Volume, OTHERS_A_BATCH, &Volumes),
    regional(ResourceKind::NetworkInterface, OTHERS_A_BATCH, &Interfaces),
    regional(ResourceKind::MachineImage, OTHERS_A_BATCH, &MachineImages),
    regional(ResourceKind::KeyPair, OTHERS_A_BATCH, &KeyPairs),
    global(ResourceKind::InstanceProfile, OTHERS_A_BATCH, &Profiles),
    regional(ResourceKind::Snapshot, OTHERS_A_BATCH, &Snapshots),
    regional(ResourceKind::SecurityGroup, OTHERS_A_BATCH, &SecurityGroups),
    global(ResourceKind::Role, OTHERS_A_BATCH, &Roles),
];

/// The line of a kind; none for a kind that only other providers have.
pub(super) fn line(kind: ResourceKind) -> Option<&'static RegistryLine> {
    LINES.iter().find(|line| line.kind == kind)
}

#[cfg(test)]
mod tests {
    use model::machine::ProviderKind;

    use super::*;

    #[test]
    fn every_kind_that_ec2_has_is_registered_in_the_order_of_removal() {
        let of_ec2 = ResourceKind::in_order_of_removal().filter(|kind| kind.provider() == ProviderKind::Ec2);
        let registered = LINES.iter().map(|line| line.kind);
        assert_eq!(registered.collect::<Vec<_>>(), of_ec2.collect::<Vec<_>>());
    }
}
