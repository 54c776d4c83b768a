//! Removing the folders of old runs, beside others who may follow or remove them at the same time.
//!
//! A folder is renamed before the run is removed from the journal, and its content goes after that. So nobody ever sees half
//! of a run, and a removal that was cut off is known by the name.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::base::id::RunId;
use model::base::removal;
use model::fault::{Fault, FaultKind};
use model::run::{RunRemoval, RunStore};

use crate::file;
use crate::runs::RunDir;

/// The ending of a folder that is being removed.
const REMOVED: &str = ".removed";

/// The size of the units in which the system counts what a file takes on its disk, bytes (`stat(2)`, `st_blocks`).
const BLOCK: u64 = 512;

/// The folder of all runs.
#[derive(Debug, Clone)]
pub struct RunFolders {
    folder: PathBuf,
}

impl RunFolders {
    /// The runs in this folder.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Whether an entry of the folder is ours: a run, or one on its way out.
    pub(super) fn is_name(name: &str) -> bool {
        RunId::of_folder(name.strip_suffix(REMOVED).unwrap_or(name)).is_some()
    }

    fn place(&self, run: &RunId) -> PathBuf {
        self.folder.join(run.as_str())
    }

    /// Where a folder lies while it is being removed.
    fn aside(&self, run: &RunId) -> PathBuf {
        self.folder.join(format!("{run}{REMOVED}"))
    }

    /// The runs whose removal was cut off, or goes on in another process.
    fn removed(&self) -> Result<Vec<RunId>, Fault> {
        let fault = |error| file::fault("read", &self.folder, error);
        let mut runs = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(runs),
            entries => entries.map_err(fault)?,
        };
        for entry in entries {
            let name = entry.map_err(fault)?.file_name();
            let run = name.to_str().and_then(|name| name.strip_suffix(REMOVED)).and_then(RunId::of_folder);
            runs.extend(run);
        }
        Ok(runs)
    }
}

impl RunStore for RunFolders {
    fn size(&self, run: &RunId) -> u64 {
        size(&self.place(run))
    }

    fn remove(&self, run: &RunId, forget: &dyn Fn() -> Result<(), Fault>) -> Result<RunRemoval, Fault> {
        let (place, aside) = (self.place(run), self.aside(run));
        let Ok(dir) = RunDir::open(&self.folder, run) else {
            // It was removed by hand, or another process is about to.
            return forget().map(|()| RunRemoval::Gone);
        };
        let lock = match dir.lock_driver() {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(RunRemoval::Busy),
            Err(_) if !place.exists() => return forget().map(|()| RunRemoval::Gone),
            Err(fault) => return Err(fault),
        };
        match std::fs::rename(&place, &aside) {
            Ok(()) => {}
            // The lock was that of a folder which another process has just removed.
            Err(error) if error.kind() == ErrorKind::NotFound => return forget().map(|()| RunRemoval::Gone),
            Err(error) => return Err(file::fault("remove", &place, error)),
        }
        if let Err(fault) = forget() {
            std::fs::rename(&aside, &place).map_err(|error| file::fault("put back", &place, error))?;
            return Err(fault);
        }
        clear(&aside)?;
        drop(lock);
        Ok(RunRemoval::Gone)
    }

    fn tidy(&self, is_known: &dyn Fn(&RunId) -> Result<bool, Fault>) -> Result<usize, Fault> {
        let mut gone = 0;
        for run in self.removed()? {
            let (place, aside) = (self.place(&run), self.aside(&run));
            let held = file::Lock::try_acquire(&RunDir::driver_lock(&aside));
            match held {
                // A removal whose lock went first has nothing else of worth, and one that is not there any more went meanwhile.
                Err(_) if !aside.exists() => {}
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    if is_known(&run)? && !place.exists() {
                        std::fs::rename(&aside, &place).map_err(|error| file::fault("put back", &place, error))?;
                    } else {
                        clear(&aside)?;
                        gone += 1;
                    }
                }
            }
        }
        Ok(gone)
    }
}

/// Removes a folder with all that is in it.
fn clear(folder: &Path) -> Result<(), Fault> {
    removal::remove_tree(folder).map_err(|error| {
        Fault::new(FaultKind::LeftBehind, format!("cannot remove `{}`", folder.display()))
            .because(error)
            .hint("`automation runs gc` goes on with it.")
    })
}

/// What a folder takes on its disk, as far as it can be read; links are not followed.
fn size(folder: &Path) -> u64 {
    let (mut bytes, mut folders) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            bytes += found.blocks() * BLOCK;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::runs::RunFile;

    struct Story {
        folder: tempfile::TempDir,
        runs: RunFolders,
    }

    impl Story {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let runs = RunFolders::at(folder.path().to_owned());
            Self { folder, runs }
        }

        fn run(&self) -> RunDir {
            let id = RunId::new(jiff::Timestamp::now());
            let run = RunDir::create(self.folder.path(), &id).unwrap();
            run.write(RunFile::Results, &[b'x'; 10_000]).unwrap();
            run
        }

        fn names(&self) -> usize {
            std::fs::read_dir(self.folder.path()).unwrap().count()
        }
    }

    #[test]
    fn a_run_goes_from_the_journal_while_its_folder_is_out_of_the_way() {
        let story = Story::new();
        let run = story.run();
        assert!(story.runs.size(run.id()) >= 10_000);
        let asked = Cell::new(false);
        let forget = || {
            assert!(!run.path().exists() && story.names() == 1, "nobody sees half of it");
            asked.set(true);
            Ok(())
        };
        assert_eq!(story.runs.remove(run.id(), &forget).unwrap(), RunRemoval::Gone);
        assert!(asked.get() && story.names() == 0);
        assert_eq!(story.runs.remove(run.id(), &|| Ok(())).unwrap(), RunRemoval::Gone, "it was removed by hand");
        assert_eq!(story.runs.size(run.id()), 0);
    }

    #[test]
    fn a_run_that_somebody_drives_or_the_journal_needs_stays_whole() {
        let story = Story::new();
        let run = story.run();
        let driving = run.lock_driver().unwrap().unwrap();
        let never = || panic!("it is driven");
        assert_eq!(story.runs.remove(run.id(), &never).unwrap(), RunRemoval::Busy);
        drop(driving);
        let fault = story.runs.remove(run.id(), &|| Err(Fault::usage("no"))).unwrap_err();
        assert_eq!((fault.message.as_str(), story.names()), ("no", 1));
        assert!(run.read(RunFile::Results).unwrap().is_some() && run.lock_driver().unwrap().is_some());
    }

    #[test]
    fn a_removal_that_was_cut_off_is_finished_or_undone() {
        let story = Story::new();
        let (known, unknown, going) = (story.run(), story.run(), story.run());
        for run in [&known, &unknown, &going] {
            std::fs::rename(run.path(), story.runs.aside(run.id())).unwrap();
        }
        let held = file::Lock::try_acquire(&RunDir::driver_lock(&story.runs.aside(going.id()))).unwrap().unwrap();
        std::fs::create_dir(story.folder.path().join("notes.removed")).unwrap();
        assert_eq!(story.runs.tidy(&|id| Ok(id == known.id())).unwrap(), 1);
        assert!(known.path().exists() && story.names() == 3, "that of another process and what is not ours stay");
        drop(held);
        assert_eq!(story.runs.tidy(&|_| Ok(false)).unwrap(), 1);
        assert!(RunFolders::is_name(known.id().as_str()) && !RunFolders::is_name("notes.removed"));
        assert!(RunFolders::is_name(&format!("{}.removed", known.id())));
    }

    #[test]
    fn two_who_remove_at_once_both_find_it_gone() {
        let story = Story::new();
        for _ in 0..20 {
            let run = story.run();
            let go = || story.runs.remove(run.id(), &|| Ok(())).unwrap();
            let ends = std::thread::scope(|scope| [scope.spawn(go), scope.spawn(go)].map(|it| it.join().unwrap()));
            assert!(ends.contains(&RunRemoval::Gone), "{ends:?}");
            assert_eq!(story.names(), 0);
        }
    }
}
