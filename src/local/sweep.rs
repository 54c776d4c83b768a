//! Clears away machines whose driver, guard and keeper were all killed, as `kill -9 -1` does: our next command finds
//! them by their folders. Where there are none, that only reads the lease of each machine.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::base::id::MachineId;

use crate::files::{Action, FileWorker};
use crate::folders::{Folders, MachineFolder, entries};
use crate::trouble::Trouble;
use crate::{observe, proc, release};

/// A machine without a living process, of which only leftovers exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadMachine {
    /// The machine's id.
    pub machine: MachineId,
    /// The end of its lease; for a machine that was never launched, the time when its folder was made.
    pub since: Timestamp,
    /// Whether the machine was launched. If it was not, a living driver may be about to do that.
    pub launched: bool,
}

/// Clears away the leftovers of machines of one state directory.
pub struct Sweeper {
    folders: Folders,
    files: FileWorker,
}

impl Sweeper {
    /// A sweeper for the state directory `state`; `executable` is our own program.
    pub fn new(state: &Path, executable: PathBuf) -> Self {
        let folders = Folders::new(state);
        let files = FileWorker { state: folders.state().to_owned(), executable };
        Self { folders, files }
    }

    /// The machines whose lease is over and of which no process lives, and those that were never launched. Blocks.
    pub fn dead(&self, now: Timestamp) -> Result<Vec<DeadMachine>, Trouble> {
        let mut dead: Vec<DeadMachine> = entries(&self.folders.machines())?
            .into_iter()
            .filter_map(|entry| find_overdue(&self.folders.machine(&MachineId::of_folder(&entry.file_name())?), now))
            .collect();
        if dead.is_empty() {
            return Ok(dead);
        }
        // A living process of a machine sees to the machine's end itself.
        let living: Vec<PathBuf> = proc::all()?.into_iter().map(|found| found.spec).collect();
        dead.retain(|found| !living.contains(&self.folders.machine(&found.machine).spec()));
        Ok(dead)
    }

    /// The machines among `machines` of which nothing exists: no folder, no process, no control group, no loop device.
    /// Blocks.
    pub fn vanished(&self, machines: Vec<MachineId>) -> Result<Vec<MachineId>, Trouble> {
        let gone = |machine: &MachineId| !self.folders.machine(machine).path().exists();
        let mut vanished: Vec<MachineId> = machines.into_iter().filter(gone).collect();
        if !vanished.is_empty() {
            let observed = observe::observe(&self.folders)?;
            vanished.retain(|machine| !observed.iter().any(|seen| seen.machine == *machine));
        }
        Ok(vanished)
    }

    /// Removes everything of a dead machine; returns the reason where something stays. Blocks.
    pub fn clear(&self, machine: &MachineId) -> Option<String> {
        release::clear(&self.folders, machine, &|path| self.files.apply(&Action::Remove, path))
    }
}

/// The machine of `folder`, where its lease is over; where it has no lease, its folder must be older than `now`.
fn find_overdue(folder: &MachineFolder, now: Timestamp) -> Option<DeadMachine> {
    let machine = MachineId::of_folder(folder.path().file_name()?)?;
    let lease = std::fs::read_to_string(folder.lease()).ok().and_then(|text| text.trim().parse::<i64>().ok());
    let (since, launched) = match lease {
        Some(lease) => (lease, true),
        None => (std::fs::metadata(folder.path()).ok()?.mtime(), false),
    };
    let since = Timestamp::from_second(since).ok()?;
    (since < now).then_some(DeadMachine { machine, since, launched })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_dead_when_its_lease_is_over_and_nobody_guards_it() {
        let state = tempfile::tempdir().unwrap();
        let sweeper = Sweeper::new(state.path(), "/nothing".into());
        let now = Timestamp::now();
        assert_eq!(sweeper.dead(now).unwrap(), []);
        let make = |id: &str, lease: Option<i64>| {
            let folder = sweeper.folders.machine(&id.parse().unwrap());
            std::fs::create_dir_all(folder.upper().join("home")).unwrap();
            if let Some(lease) = lease {
                std::fs::write(folder.lease(), lease.to_string()).unwrap();
            }
            folder
        };
        make("hg-living", Some(now.as_second() + 60));
        let (over, made) = (make("hg-over", Some(now.as_second() - 60)), make("hg-made", None));
        std::fs::create_dir(sweeper.folders.machines().join("notours")).unwrap();
        let later = now + std::time::Duration::from_secs(2);
        let mut dead = sweeper.dead(later).unwrap();
        dead.sort_by_key(|found| found.machine.to_string());
        let found: Vec<(&str, bool)> = dead.iter().map(|found| (found.machine.as_str(), found.launched)).collect();
        assert_eq!(found, [("hg-made", false), ("hg-over", true)]);
        let held = crate::hold::lock_shared(over.path());
        assert!(sweeper.clear(&dead[1].machine).unwrap().contains("being worked on"));
        drop(held);
        for found in &dead {
            assert_eq!(sweeper.clear(&found.machine), None);
        }
        assert!(!over.path().exists() && !made.path().exists());
        assert_eq!(sweeper.clear(&dead[0].machine), None, "it is cleared away already");
        let all: Vec<MachineId> = ["hg-living", "hg-over", "hg-made"].map(|id| id.parse().unwrap()).into();
        assert_eq!(sweeper.vanished(all.clone()).unwrap(), all[1..]);
    }
}
