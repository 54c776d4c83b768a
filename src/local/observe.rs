//! Finds the resources of local machines that exist on this computer.

use jiff::Timestamp;
use model::base::id::MachineId;
use model::resource::{ObservedResource, ResourceKind};

use crate::folders::{Folders, MachineFolder, entries};
use crate::trouble::Trouble;
use crate::{cgroup, loops, names, proc};

/// All resources of this state directory's machines that exist now. Blocks.
///
/// A place that cannot be looked at is an error, because its resources would otherwise count as gone.
pub(crate) fn observe(folders: &Folders) -> Result<Vec<ObservedResource>, Trouble> {
    let mut found = Vec::new();
    let mut add = |kind, machine: &MachineId, locator: String| {
        let (name, machine) = (names::resource_name(folders, machine, kind), machine.clone());
        let lease = lease_of(&folders.machine(&machine));
        found.push(ObservedResource { kind, machine, name, locator, expires_at: None, lease, elsewhere: false });
    };
    for entry in entries(&folders.machines())? {
        if let Some(id) = MachineId::of_folder(&entry.file_name()) {
            add(ResourceKind::Rootfs, &id, entry.path().display().to_string());
        }
    }
    for attached in loops::attached_below(&folders.machines())? {
        if let Some(id) = machine_of(folders, &attached.backing) {
            add(ResourceKind::LoopDevice, &id, attached.device.display().to_string());
        }
    }
    for (id, path) in cgroup::all(folders.state())? {
        add(ResourceKind::Cgroup, &id, path.display().to_string());
    }
    for process in proc::guards()? {
        let Some(id) = machine_of(folders, &process.spec) else { continue };
        if process.is_init {
            let namespace = proc::pid_namespace(process.id.pid).unwrap_or_else(|| process.id.to_string());
            add(ResourceKind::Namespace, &id, namespace);
            add(ResourceKind::Mount, &id, folders.machine(&id).root().display().to_string());
        } else {
            add(ResourceKind::Process, &id, process.id.to_string());
        }
    }
    Ok(found)
}

/// Until when a machine lives without a sign of its driver.
fn lease_of(folder: &MachineFolder) -> Option<Timestamp> {
    let seconds = std::fs::read_to_string(folder.lease()).ok()?.trim().parse().ok()?;
    Timestamp::from_second(seconds).ok()
}

/// The machine whose folder holds `path`.
fn machine_of(folders: &Folders, path: &std::path::Path) -> Option<MachineId> {
    let inner = path.strip_prefix(folders.machines()).ok()?;
    inner.iter().next()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_looked_at_is_not_an_empty_one() {
        let state = tempfile::tempdir().unwrap();
        let folders = Folders::new(state.path());
        assert_eq!(observe(&folders).unwrap(), []);
        std::fs::write(folders.machines(), "no folder").unwrap();
        assert!(observe(&folders).unwrap_err().message.contains("machines"));
    }
}
