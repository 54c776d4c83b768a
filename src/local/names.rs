//! The names of a machine's resources, known before they are made.

use model::base::id::MachineId;
use model::resource::{PlannedResource, ResourceKind};

use crate::folders::Folders;

/// The name of a machine's resource of `kind`. A machine has at most one of each kind.
pub(crate) fn resource_name(folders: &Folders, machine: &MachineId, kind: ResourceKind) -> String {
    let folder = folders.machine(machine);
    match kind {
        ResourceKind::Rootfs => folder.path().display().to_string(),
        ResourceKind::Mount => folder.root().display().to_string(),
        ResourceKind::Process => folder.spec().display().to_string(),
        ResourceKind::LoopDevice => folder.volume().display().to_string(),
        // The other kinds have nothing better, or do not occur on local machines.
        _ => machine.to_string(),
    }
}

/// The rows for `kinds`, in the order in which the resources are made.
pub(crate) fn plan(folders: &Folders, machine: &MachineId, kinds: &[ResourceKind]) -> Vec<PlannedResource> {
    ResourceKind::ALL
        .into_iter()
        .filter(|kind| kinds.contains(kind))
        .map(|kind| PlannedResource { machine: machine.clone(), kind, name: resource_name(folders, machine, kind) })
        .collect()
}
