//! The folder on this computer in which packages land, with the list of what lies there.
//!
//! A package gets its name only when it is whole. Several runs may fill one folder at the same time: each keeps what arrives in a
//! folder of its own until then, and the list is changed under a lock.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use model::base::id::RunId;
use model::base::removal::remove_tree;
use model::fault::Fault;
use model::release::{BuildManifest, BuiltArtifact, MANIFEST};
use rustix::fs::{FlockOperation, flock};

/// The beginning of the name of a folder in which packages arrive.
const ARRIVING: &str = ".arriving-";

/// A folder for packages, as one run fills it. What arrives is removed with this value.
#[derive(Debug)]
pub struct Dist {
    folder: PathBuf,
    arriving: PathBuf,
    /// Held while this run works, so that another run knows that the folder is not left over.
    _lock: File,
}

impl Drop for Dist {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run that uses the folder.
        drop(remove_tree(&self.arriving));
    }
}

fn failed(doing: &str, path: &Path, error: impl std::fmt::Display) -> Fault {
    Fault::outside(format!("cannot {doing} `{}`", path.display())).because(error.to_string())
}

impl Dist {
    /// The folder of the logs, below that of the packages.
    pub const LOGS: &str = "logs";

    /// Makes the folder where it is missing, and removes what killed runs had not finished there.
    pub fn open(folder: &Path, run: &RunId) -> Result<Self, Fault> {
        let folder = std::path::absolute(folder).map_err(|error| failed("use", folder, error))?;
        let logs = folder.join(Self::LOGS);
        fs::create_dir_all(&logs).map_err(|error| failed("make the folder", &logs, error))?;
        // Under this lock nobody takes a folder that is new for one that is left over.
        let _whole = lock(&folder)?;
        remove_left(&folder)?;
        // Better now than after hours.
        read(&folder.join(MANIFEST))?;
        let arriving = folder.join(format!("{ARRIVING}{run}"));
        fs::create_dir(&arriving).map_err(|error| failed("make the folder", &arriving, error))?;
        let lock = lock(&arriving)?;
        Ok(Self { folder, arriving, _lock: lock })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder for a cell's package until it is whole.
    pub fn arriving(&self, cell: &str) -> PathBuf {
        self.arriving.join(cell)
    }

    /// The log of a cell's build, as a path from the folder.
    pub fn log_of(cell: &str) -> String {
        format!("{}/{cell}.log", Self::LOGS)
    }

    /// Begins the log of a cell's build: the file, and its path.
    pub fn begin_log(&self, cell: &str) -> Result<(File, PathBuf), Fault> {
        let path = self.folder.join(Self::log_of(cell));
        let file = File::create(&path).map_err(|error| failed("write", &path, error))?;
        Ok((file, path))
    }

    /// Gives a package that has arrived its name, and lists it; the list becomes one of `version`.
    pub fn take(&self, arrived: &Path, artifact: BuiltArtifact, version: &str) -> Result<(), Fault> {
        let _lock = lock(&self.folder)?;
        let list = self.folder.join(MANIFEST);
        let mut manifest = read(&list)?.unwrap_or_else(|| BuildManifest::of(version));
        manifest.turn_to(version);
        manifest.artifacts.retain(|listed| self.folder.join(&listed.name).is_file());
        let (target, old) = (self.folder.join(&artifact.name), self.arriving.join("old"));
        manifest.add(artifact);
        let partial = self.write(&manifest).map_err(|error| failed("write", &list, error))?;
        put_both((arrived, &target), (&partial, &list), &old).map_err(|error| failed("write", &target, error))
    }

    /// Writes the list where it does not count yet; gives the file.
    fn write(&self, manifest: &BuildManifest) -> std::io::Result<PathBuf> {
        let partial = self.arriving.join(MANIFEST);
        let mut text = serde_json::to_vec_pretty(manifest)?;
        text.push(b'\n');
        let mut file = File::create(&partial)?;
        file.write_all(&text)?;
        file.sync_all()?;
        Ok(partial)
    }
}

/// Gives a package and the list that names it their names, both or neither; `old` holds meanwhile what the package replaces.
fn put_both(package: (&Path, &Path), list: (&Path, &Path), old: &Path) -> std::io::Result<()> {
    let ((arrived, target), (partial, list)) = (package, list);
    File::open(arrived)?.sync_all()?;
    let replaces = match fs::rename(target, old) {
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        moved => moved.map(|()| true)?,
    };
    let put = fs::rename(arrived, target).and_then(|()| fs::rename(partial, list));
    if put.is_err() {
        // A failure to go back has the same cause as this one, which is told.
        drop(if replaces { fs::rename(old, target) } else { fs::remove_file(target) });
    }
    put
}

/// Waits for the lock of a folder, which is held for moments only, and holds it.
fn lock(folder: &Path) -> Result<File, Fault> {
    let file = File::open(folder).map_err(|error| failed("open", folder, error))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed("lock", folder, error))?;
    Ok(file)
}

/// The list that lies there. One that cannot be read is not written over: it may be of something else.
fn read(list: &Path) -> Result<Option<BuildManifest>, Fault> {
    match fs::read(list) {
        Ok(bytes) => BuildManifest::read(&bytes).map(Some).map_err(|why| {
            failed("read the list", list, why).hint("Move it away, or name another folder with `--dist DIR`.")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read the list", list, error)),
    }
}

/// Removes the folders of runs that were killed: nobody holds their locks.
fn remove_left(folder: &Path) -> Result<(), Fault> {
    let entries = fs::read_dir(folder).map_err(|error| failed("list", folder, error))?;
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let of_run = name.strip_prefix(ARRIVING).is_some_and(|run| RunId::of_folder(run).is_some());
        if !of_run || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_tree(&entry.path()).map_err(|error| failed("remove", &entry.path(), error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::sum::Sha256Sum;

    fn artifact(name: &str, size: u64) -> BuiltArtifact {
        let sha256 = Sha256Sum::of_bytes(&[7; 32]).unwrap();
        BuiltArtifact {
            name: name.to_owned(),
            size,
            sha256,
            cell: Some("c".to_owned()),
            log: None,
            version: None,
            rehearsal: false,
        }
    }

    fn run(second: u8) -> RunId {
        RunId::new(format!("2026-11-20T10:53:{second:02}Z").parse().unwrap())
    }

    fn arrive(dist: &Dist, name: &str) -> PathBuf {
        let folder = dist.arriving("c");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), "bytes").unwrap();
        folder.join(name)
    }

    fn listed(folder: &Path) -> Vec<String> {
        let manifest = read(&folder.join(MANIFEST)).unwrap().unwrap();
        manifest.artifacts.into_iter().map(|artifact| artifact.name).collect()
    }

    #[test]
    fn what_lies_there_is_listed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Dist::open(folder.path(), &run(1)).unwrap(), Dist::open(folder.path(), &run(2)).unwrap());
        one.take(&arrive(&one, "b"), artifact("b", 5), "1").unwrap();
        other.take(&arrive(&other, "a"), artifact("a", 5), "1").unwrap();
        assert_eq!(listed(folder.path()), ["a", "b"]);
        fs::remove_file(folder.path().join("a")).unwrap();
        one.take(&arrive(&one, "c"), artifact("c", 5), "1").unwrap();
        assert_eq!(listed(folder.path()), ["b", "c"]);
        // What is of another version stays what it was: its sum, and that it is a rehearsal.
        one.take(&arrive(&one, "d"), BuiltArtifact { rehearsal: true, ..artifact("d", 5) }, "2").unwrap();
        let of = |version: &str| {
            let manifest = read(&folder.path().join(MANIFEST)).unwrap().unwrap();
            manifest.of_version(version).map(|artifact| artifact.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!((of("1"), of("2")), (vec!["b".to_owned(), "c".to_owned()], vec!["d".to_owned()]));
        one.take(&arrive(&one, "e"), artifact("e", 5), "1").unwrap();
        assert_eq!((of("1").len(), of("2").len(), listed(folder.path()).len()), (3, 1, 4));
        let manifest = read(&folder.path().join(MANIFEST)).unwrap().unwrap();
        assert!(manifest.artifacts.iter().any(|artifact| artifact.name == "d" && artifact.rehearsal), "{manifest:?}");

        // Nobody else's file is written over.
        fs::write(folder.path().join(MANIFEST), "{}").unwrap();
        let fault = one.take(&arrive(&one, "e"), artifact("e", 5), "2").unwrap_err();
        assert!(fault.message.contains("cannot read the list"), "{fault:?}");
        drop((one, other));
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["b", "c", "d", "e", "logs", "manifest.json"]);
    }

    #[test]
    fn what_cannot_be_listed_does_not_take_the_place_of_what_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("list")).unwrap();
        for (before, after) in [(Some("as it was"), Some("as it was")), (None, None)] {
            fs::write(at("new"), "new").unwrap();
            fs::write(at("list.new"), "list").unwrap();
            let _ = before.map(|text| fs::write(at("package"), text).unwrap());
            put_both((&at("new"), &at("package")), (&at("list.new"), &at("list")), &at("old")).unwrap_err();
            assert_eq!(fs::read_to_string(at("package")).ok().as_deref(), after);
            drop(fs::remove_file(at("package")));
        }
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_another_fills_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(format!("{ARRIVING}{}", run(1)));
        fs::create_dir(&left).unwrap();
        let living = Dist::open(folder.path(), &run(2)).unwrap();
        arrive(&living, "a");
        assert!(!left.exists());
        let mine = folder.path().join(".arriving-mine");
        fs::write(&mine, "of the user").unwrap();
        let _second = Dist::open(folder.path(), &run(3)).unwrap();
        assert!(living.arriving("c").join("a").is_file() && mine.is_file());
        fs::write(folder.path().join(MANIFEST), "{}").unwrap();
        assert!(Dist::open(folder.path(), &run(4)).is_err(), "a list of something else is better known before");
    }
}
