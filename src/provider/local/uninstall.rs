//! Removing everything that the local provider has in a state directory, as the owners of the files: of an ordinary user's
//! machines and images most belong to subordinate ids, which the user may not even look at.
//!
//! What is a link is removed as a link: what it leads to was put elsewhere by somebody.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::base::id::{MachineId, ResourceId, RunId};
use crate::model::machine::ProviderKind;
use crate::model::resource::{Fate, Resource, ResourceKind, ResourceState};
use crate::provider::local::files::{Action, Files};
use crate::provider::local::folders::{Folders, entries};
use crate::provider::local::release::Releaser;
use crate::provider::local::trouble::Trouble;
use crate::provider::local::{cgroup, names, proc};

/// What is there to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Machines, dead ones included.
    pub machines: Vec<MachineId>,
    /// Folders of layers, also of those that are on their way in or out.
    pub layers: Vec<PathBuf>,
}

/// Removes what is in one state directory.
pub struct Uninstaller {
    folders: Folders,
    releaser: Releaser,
}

impl Uninstaller {
    /// One for the state directory `state`; `executable` is our own program.
    pub fn new(state: &Path, executable: PathBuf) -> Self {
        let folders = Folders::new(state);
        let files = Files { state: folders.state().to_owned(), executable };
        Self { releaser: Releaser { folders: folders.clone(), files }, folders }
    }

    /// Looks at what is there: machines by their folders, processes and control groups, layers by their folders, for no
    /// record need know of them.
    pub fn inventory(&self) -> Result<Inventory, Trouble> {
        let machines = self.folders.machines();
        let named = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        let mut found: Vec<MachineId> = entries(&machines)?.into_iter().filter_map(named).collect();
        let guarded = proc::all()?.into_iter().filter_map(|process| {
            process.spec.strip_prefix(&machines).ok()?.iter().next()?.to_str()?.parse::<MachineId>().ok()
        });
        found.extend(guarded);
        found.extend(cgroup::all(self.folders.state())?.into_iter().map(|(id, _)| id));
        found.sort();
        found.dedup();
        let mut layers = Vec::new();
        if !self.folders.images().is_symlink() {
            for folder in [self.folders.layers(), self.folders.passage()] {
                layers.extend(entries(&folder)?.into_iter().map(|entry| entry.path()));
            }
        }
        Ok(Inventory { machines: found, layers })
    }

    /// Ends a machine and removes all of it; gives the reasons why something stays. Blocks.
    pub fn end(&self, machine: &MachineId, run: &RunId, now: Timestamp) -> Vec<String> {
        use ResourceKind::{Cgroup, LoopDevice, Process, Rootfs};
        let release = |kind| {
            let row = Resource {
                id: ResourceId::random(),
                run: run.clone(),
                machine: machine.clone(),
                provider: ProviderKind::Local,
                kind,
                name: names::of(&self.folders, machine, kind),
                locator: None,
                state: ResourceState::Present,
                planned_at: now,
                gone_at: None,
                note: None,
            };
            match self.releaser.release(&row) {
                Ok(Fate::Stays(reason)) => Some(reason),
                Ok(_) => None,
                Err(fault) => Some(fault.line()),
            }
        };
        [Process, Cgroup, LoopDevice, Rootfs].into_iter().filter_map(release).collect()
    }

    /// Removes the folder of a layer. Blocks.
    pub fn remove_layer(&self, path: &Path) -> std::io::Result<()> {
        if path.is_symlink() || !path.is_dir() {
            return std::fs::remove_file(path);
        }
        self.releaser.files.apply(Action::Remove, path).map(drop)
    }
}
