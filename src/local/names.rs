//! The names of a machine's resources, known before they are made.

use model::base::id::MachineId;
use model::resource::{PlannedResource, ResourceKind};

use crate::folders::Folders;

/// The name of a machine's resource of `kind`; a machine has one of each at most.
pub(crate) fn of(folders: &Folders, machine: &MachineId, kind: ResourceKind) -> String {
    let folder = folders.machine(machine);
    match kind {
        ResourceKind::Rootfs => folder.path().display().to_string(),
        ResourceKind::Mount => folder.root().display().to_string(),
        ResourceKind::Process => folder.spec().display().to_string(),
        ResourceKind::LoopDevice => folder.volume().display().to_string(),
        // Of kinds that local machines have none of, there is nothing else to name.
        _ => machine.to_string(),
    }
}

/// Rows for `kinds`, in the order of making.
pub(crate) fn plan(folders: &Folders, machine: &MachineId, kinds: &[ResourceKind]) -> Vec<PlannedResource> {
    ResourceKind::ALL
        .into_iter()
        .filter(|kind| kinds.contains(kind))
        .map(|kind| PlannedResource { machine: machine.clone(), kind, name: of(folders, machine, kind) })
        .collect()
}
