//! Capabilities that a machine does not need, and with which it could change the host.

use rustix::thread::{CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities};

use crate::provider::local::trouble::{Doing, Trouble};

/// `SYS_ADMIN` stays: the machine's contract promises the right to mount. `AUDIT_WRITE` stays: `sudo` complains without.
const DROPPED: [CapabilitySet; 15] = [
    CapabilitySet::LINUX_IMMUTABLE,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_PACCT,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::SYS_TIME,
    CapabilitySet::MKNOD,
    CapabilitySet::AUDIT_CONTROL,
    CapabilitySet::AUDIT_READ,
    CapabilitySet::MAC_OVERRIDE,
    CapabilitySet::MAC_ADMIN,
    CapabilitySet::SYSLOG,
    CapabilitySet::WAKE_ALARM,
    CapabilitySet::BLOCK_SUSPEND,
    CapabilitySet::PERFMON.union(CapabilitySet::BPF),
];

/// Gives them up, for this process and all that it starts.
pub fn drop() -> Result<(), Trouble> {
    let dropped = DROPPED.iter().fold(CapabilitySet::empty(), |all, one| all | *one);
    for capability in dropped.iter() {
        // A kernel that does not know a capability cannot grant it either.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let mut sets = capabilities(None).doing(|| "read capabilities")?;
    sets.effective -= dropped;
    sets.permitted -= dropped;
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets).doing(|| "give up capabilities")
}
