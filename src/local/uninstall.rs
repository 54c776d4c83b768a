//! Removes everything that the local provider has in a state directory, as the owners of the files: most files of an
//! ordinary user's machines and images belong to subordinate ids, and the user may not even look at them.
//!
//! A link is removed as a link, because somebody put its target elsewhere. Mounts stay as they are, and so do files
//! that are not the tool's.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::base::removal::{self, EntryOwner, IsOurs};
use model::machine::ProviderKind;
use model::resource::{Fate, Resource, ResourceKind, ResourceState};

use crate::files::{Action, FileWorker};
use crate::folders::{Folders, entries};
use crate::images::layers;
use crate::release::Releaser;
use crate::trouble::Trouble;
use crate::{cgroup, names, proc};

/// The machines and layers that can be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The machines, including dead ones.
    pub machines: Vec<MachineId>,
    /// The folders of layers, including those that are being added or removed.
    pub layers: Vec<PathBuf>,
}

/// Removes the local provider's files from one state directory.
pub struct Uninstaller {
    folders: Folders,
    releaser: Releaser,
}

impl Uninstaller {
    /// An uninstaller for the state directory `state`; `executable` is our own program.
    pub fn new(state: &Path, executable: PathBuf) -> Self {
        let folders = Folders::new(state);
        let files = FileWorker { state: folders.state().to_owned(), executable };
        Self { releaser: Releaser { folders: folders.clone(), files }, folders }
    }

    /// Finds machines by their folders, processes and control groups, and layers by their folders, because none of them
    /// needs to be recorded.
    pub fn inventory(&self) -> Result<Inventory, Trouble> {
        let machines = self.folders.machines();
        let named = |entry: std::fs::DirEntry| MachineId::of_folder(&entry.file_name());
        let mut found: Vec<MachineId> = entries(&machines)?.into_iter().filter_map(named).collect();
        let guarded = proc::all()?.into_iter().filter_map(|process| {
            process.spec.strip_prefix(&machines).ok()?.iter().next()?.to_str()?.parse::<MachineId>().ok()
        });
        found.extend(guarded);
        found.extend(cgroup::all(self.folders.state())?.into_iter().map(|(id, _)| id));
        found.sort();
        found.dedup();
        Ok(Inventory { machines: found, layers: self.layers()? })
    }

    /// The folders of layers that are ours by their names. Folders above them that are links or mount points are
    /// skipped.
    fn layers(&self) -> Result<Vec<PathBuf>, Trouble> {
        let elsewhere = |folder: &Path| folder.is_symlink() || removal::is_mount_point(folder).unwrap_or(false);
        let mut found = Vec::new();
        if elsewhere(&self.folders.images()) {
            return Ok(found);
        }
        for (folder, is_ours) in self.holders() {
            if !elsewhere(&folder) {
                let ours = |entry: &std::fs::DirEntry| entry.file_name().to_str().is_some_and(is_ours);
                found.extend(entries(&folder)?.into_iter().filter(ours).map(|entry| entry.path()));
            }
        }
        Ok(found)
    }

    fn holders(&self) -> [(PathBuf, IsOurs); 2] {
        [(self.folders.layers(), layers::is_layer_name), (self.folders.staging(), layers::is_staging_name)]
    }

    /// Removes the folders of machines and images, from which [`Uninstaller::end`] and [`Uninstaller::remove_layer`]
    /// have removed the files of other ids. Adds the files that stay because they are not ours to `others`; gives the
    /// reasons why a folder stays, but for machines and layers that were reported when they could not be removed.
    /// Blocks.
    pub fn remove_folders(&self, others: &mut Vec<PathBuf>) -> Vec<String> {
        let folders = &self.folders;
        let images = folders.images();
        let mut left = Vec::new();
        let mut remove = |folder: &Path, whose: &dyn Fn(&str) -> EntryOwner| {
            left.extend(removal::remove_ours(folder, whose, others));
        };
        let seen = |seen: bool| if seen { EntryOwner::Seen } else { EntryOwner::Others };
        remove(&folders.machines(), &|name| seen(MachineId::of_folder(name.as_ref()).is_some()));
        // A link is removed as a link, and a mount point is reported as an error.
        if images.is_symlink() || removal::is_mount_point(&images).unwrap_or(true) {
            remove(&images, &|_| EntryOwner::Others);
            return left;
        }
        let ours = |ours: bool| if ours { EntryOwner::Ours } else { EntryOwner::Others };
        for (folder, is_ours) in self.holders() {
            remove(&folder, &|name| seen(is_ours(name)));
        }
        remove(&folders.records(), &|name| ours(is_record(name)));
        remove(&folders.locks(), &|name| ours(layers::is_layer_name(name) || name == "tools"));
        remove(&folders.tools(), &|name| ours(is_tool(name)));
        remove(&images, &|name| seen(["layers", "tmp", "records", "locks", "tools"].contains(&name)));
        left
    }

    /// Ends a machine and removes all of it; returns the reasons where something stays. Blocks.
    pub fn end(&self, machine: &MachineId, run: &RunId, now: Timestamp) -> Vec<String> {
        let release = |kind| {
            let row = Resource {
                id: ResourceId::random(),
                run: run.clone(),
                machine: machine.clone(),
                provider: ProviderKind::Local,
                kind,
                name: names::resource_name(&self.folders, machine, kind),
                locator: None,
                state: ResourceState::Present,
                planned_at: now,
                gone_at: None,
                note: None,
            };
            match self.releaser.release(&row) {
                Ok(Fate::Remains(reason)) => Some(reason),
                Ok(_) => None,
                Err(fault) => Some(fault.line()),
            }
        };
        // A resource that lives in the machine's processes alone ends with them.
        let apart = |kind: &ResourceKind| !matches!(kind, ResourceKind::Namespace | ResourceKind::Mount);
        let kinds = ResourceKind::in_order_of_removal().filter(|kind| kind.provider() == ProviderKind::Local);
        kinds.filter(apart).filter_map(release).collect()
    }

    /// Removes the folder of a layer. Blocks.
    pub fn remove_layer(&self, path: &Path) -> std::io::Result<()> {
        if path.is_symlink() || !path.is_dir() {
            return removal::remove_tree(path);
        }
        self.releaser.files.apply(&Action::Remove, path).map(drop)
    }
}

/// Whether a file among the records of images is ours; a file that was being written has a further ending.
fn is_record(name: &str) -> bool {
    name.split_once(".json")
        .is_some_and(|(name, rest)| layers::is_layer_name(name) && (rest.is_empty() || rest.ends_with(".new")))
}

/// Whether a folder among the downloaded programs is ours: that of a package, or that of `apt`.
fn is_tool(name: &str) -> bool {
    let package = name.strip_suffix(".new").unwrap_or(name);
    matches!(package, "apt" | "mmdebstrap")
        || package.starts_with("ubuntu-archive-")
        || package.ends_with("-archive-keyring")
}
