//! The capabilities of a machine's processes.

use rustix::thread::{CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities};

use crate::trouble::{Doing, Trouble};

/// The capabilities that root of a machine's own user namespace keeps: rights over the machine's own files and
/// processes. `SYS_ADMIN` is among them because the machine's contract promises the right to mount, `AUDIT_WRITE`
/// because `sudo` complains without it. None is over the network: such a right would expose the kernel's filters and
/// schedulers to tests.
const KEPT: [CapabilitySet; 18] = [
    CapabilitySet::AUDIT_WRITE,
    CapabilitySet::CHOWN,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::DAC_READ_SEARCH,
    CapabilitySet::FOWNER,
    CapabilitySet::FSETID,
    CapabilitySet::IPC_OWNER,
    CapabilitySet::KILL,
    CapabilitySet::LEASE,
    CapabilitySet::NET_BIND_SERVICE,
    CapabilitySet::SETFCAP,
    CapabilitySet::SETGID,
    CapabilitySet::SETPCAP,
    CapabilitySet::SETUID,
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_CHROOT,
    CapabilitySet::SYS_NICE,
    CapabilitySet::SYS_PTRACE,
];

/// The capabilities that root of a privileged machine, which is root of the computer, gives up: those that concern only
/// the computer.
const GIVEN_UP: [CapabilitySet; 15] = [
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

/// Keeps only the capabilities of a confined machine, for this process and all that it starts.
pub(crate) fn drop_for_confined() -> Result<(), Trouble> {
    drop_all(CapabilitySet::all() - union(&KEPT))
}

/// Gives up the capabilities that a privileged machine does not have, for this process and all that it starts.
pub(crate) fn drop_for_privileged() -> Result<(), Trouble> {
    drop_all(union(&GIVEN_UP))
}

fn union(sets: &[CapabilitySet]) -> CapabilitySet {
    sets.iter().fold(CapabilitySet::empty(), |all, one| all | *one)
}

fn drop_all(dropped: CapabilitySet) -> Result<(), Trouble> {
    // Every bit is dropped, because a later kernel has capabilities that have no name here.
    for bit in (0..u64::BITS).filter(|bit| dropped.bits() & (1 << bit) != 0) {
        // A kernel that does not know a capability cannot grant it either.
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit));
    }
    let mut sets = capabilities(None).doing(|| "read capabilities")?;
    sets.effective -= dropped;
    sets.permitted -= dropped;
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets).doing(|| "give up capabilities")
}
