//! The instance types and volume sizes of a request: pure.

use model::provider::MachineRequest;

use crate::ec2::platform::facts;

/// Bytes of one GiB.
pub(crate) const GIB: u64 = 1 << 30;

/// Whether the machine is to bake an image.
pub(crate) fn bakes(request: &MachineRequest) -> bool {
    // The state of a machine is one layer, and begins with no image of a distribution.
    request.layers.len() <= 1 && !request.snapshot
}

/// The requested types, the preferred one first.
pub(crate) fn types(request: &MachineRequest) -> Vec<String> {
    match request.hardware.instance_types.as_slice() {
        [] if bakes(request) => vec![facts(request.platform).bake_type.to_owned()],
        [] => vec![facts(request.platform).test_type.to_owned()],
        named => named.to_vec(),
    }
}

/// Bytes in whole GiB, rounded up, which is the unit of EBS.
pub(crate) fn gib(bytes: u64) -> i32 {
    i32::try_from(bytes.div_ceil(GIB)).unwrap_or(i32::MAX).max(1)
}

/// The minimal size of the machine's root volume, in GiB.
pub(crate) fn root_gib(request: &MachineRequest) -> i32 {
    let facts = facts(request.platform);
    if bakes(request) { facts.bake_root_gib } else { facts.test_root_gib }
}

/// The total size of the machine's volumes, in GiB.
pub(crate) fn volumes_gib(request: &MachineRequest) -> u64 {
    u64::try_from(root_gib(request) + request.volume.map_or(0, gib)).unwrap_or_default()
}
