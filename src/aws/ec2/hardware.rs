//! The instance types and volume sizes of a request: pure.

use model::provider::MachineRequest;

/// The type that tests run on if none is named, with 36 processors: the same as in the predecessor of this tool.
pub(crate) const TEST_TYPE: &str = "c5.9xlarge";

/// The type that images are baked on if none is named: the same as in the predecessor of this tool.
pub(crate) const BAKE_TYPE: &str = "t3.2xlarge";

/// The size of the root volume of a machine for tests, in GiB.
const TEST_ROOT_GIB: i32 = 12;

/// The same for a machine that bakes an image; machines that boot from the image have at least this size.
const BAKE_ROOT_GIB: i32 = 10;

/// Bytes of one GiB.
pub(crate) const GIB: u64 = 1 << 30;

/// Whether the machine is to bake an image.
pub(crate) fn bakes(request: &MachineRequest) -> bool {
    request.layers.len() <= 1
}

/// The requested types, the preferred one first.
pub(crate) fn types(request: &MachineRequest) -> Vec<String> {
    match request.hardware.instance_types.as_slice() {
        [] if bakes(request) => vec![BAKE_TYPE.to_owned()],
        [] => vec![TEST_TYPE.to_owned()],
        named => named.to_vec(),
    }
}

/// Bytes in whole GiB, rounded up, which is the unit of EBS.
pub(crate) fn gib(bytes: u64) -> i32 {
    i32::try_from(bytes.div_ceil(GIB)).unwrap_or(i32::MAX).max(1)
}

/// The minimal size of the machine's root volume, in GiB.
pub(crate) fn root_gib(request: &MachineRequest) -> i32 {
    if bakes(request) { BAKE_ROOT_GIB } else { TEST_ROOT_GIB }
}

/// The total size of the machine's volumes, in GiB.
pub(crate) fn volumes_gib(request: &MachineRequest) -> u64 {
    u64::try_from(root_gib(request) + request.volume.map_or(0, gib)).unwrap_or_default()
}
