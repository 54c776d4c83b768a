//! Waiting until files of a source change.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use model::fault::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::sync::Notify;

use crate::source::Source;

/// How long nothing more may happen before a change counts as over: an editor writes a file in several steps, and a version control system
/// writes many.
const QUIET: Duration = Duration::from_millis(150);

/// The pause between two looks where the system does not tell of all changes: the number of folders that it watches for a user is limited.
const LOOK: Duration = Duration::from_secs(2);

/// What tells one version of a file from another: inode, size, mode, when its content was changed as programs tell it, and when anything of it was,
/// which none can set.
type Version = [i64; 7];

/// What counts as a change of a folder's files; that one is only read does not.
const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR);

/// Waits for changes of the files of a source.
pub struct Watcher {
    /// The system's own notes of changes, and who is told that there are new ones.
    notes: Arc<(OwnedFd, Notify)>,
    /// Whether the system tells of changes in all of the folders.
    is_whole: bool,
    seen: BTreeMap<PathBuf, Version>,
}

fn versions(source: &Source) -> BTreeMap<PathBuf, Version> {
    let version = |path: &PathBuf| {
        let found = std::fs::symlink_metadata(source.top.join(path)).ok()?;
        let of_file = [
            found.ino().cast_signed(),
            found.size().cast_signed(),
            i64::from(found.mode()),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        ];
        // The times of a folder change with files in it that are not sent.
        let version = if found.is_dir() { [0, 0, i64::from(found.mode()), 0, 0, 0, 0] } else { of_file };
        Some((path.clone(), version))
    };
    source.paths.iter().filter_map(version).collect()
}

/// Reads notes and forgets them, because what changed is looked for; tells that there were some. Ends when nobody waits any more.
fn read_notes(notes: &Weak<(OwnedFd, Notify)>) {
    let mut buffer = [0; 4096];
    let pause = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
    while let Some(notes) = notes.upgrade() {
        let (descriptor, told) = &*notes;
        let some = poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&pause));
        while some.is_ok_and(|some| some > 0)
            && rustix::io::read(descriptor, &mut buffer[..]).is_ok_and(|read| read > 0)
        {
            told.notify_one();
        }
    }
}

impl Watcher {
    /// Begins to watch; what is there now counts as seen.
    pub fn new(source: &Source) -> Result<Self, Fault> {
        let refused = || Fault::outside(format!("cannot watch `{}`", source.top.display()));
        let notes =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|error| refused().because(error))?;
        let notes = Arc::new((notes, Notify::new()));
        let reader = Arc::downgrade(&notes);
        let thread = std::thread::Builder::new().name("watcher".to_owned());
        thread.spawn(move || read_notes(&reader)).map_err(|error| refused().because(error))?;
        let mut watcher = Self { notes, is_whole: true, seen: versions(source) };
        watcher.watch(source);
        Ok(watcher)
    }

    /// Watches the folders of the source, each for itself: what is ignored may have very many. One that is watched already stays so.
    fn watch(&mut self, source: &Source) {
        let is_folder = |path: &PathBuf| source.top.join(path).symlink_metadata().is_ok_and(|found| found.is_dir());
        let folders: BTreeSet<&Path> =
            source.paths.iter().filter(|path| is_folder(path)).map(PathBuf::as_path).collect();
        let all = folders.into_iter().chain([Path::new("")]);
        let added = all.map(|folder| inotify::add_watch(&self.notes.0, source.top.join(folder), CHANGES).is_ok());
        self.is_whole = added.filter(|added| !added).count() == 0;
    }

    /// Waits until something may have changed, and then until nothing more happens.
    pub async fn wait(&self) {
        match self.is_whole {
            true => self.notes.1.notified().await,
            false => drop(tokio::time::timeout(LOOK, self.notes.1.notified()).await),
        }
        while tokio::time::timeout(QUIET, self.notes.1.notified()).await.is_ok() {}
    }

    /// The paths that are others than when this was asked last: new, changed or gone.
    pub fn changed(&mut self, source: &Source) -> Vec<PathBuf> {
        let now = versions(source);
        let gone = self.seen.keys().filter(|path| !now.contains_key(*path));
        let new = now.iter().filter(|(path, version)| self.seen.get(*path) != Some(version)).map(|(path, _)| path);
        let changed = gone.chain(new).cloned().collect();
        self.seen = now;
        self.watch(source);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(watcher: &mut Watcher, top: &Path) -> Vec<PathBuf> {
        loop {
            tokio::time::timeout(Duration::from_secs(20), watcher.wait()).await.unwrap();
            let changed = watcher.changed(&Source::find(top).await.unwrap());
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    #[tokio::test]
    async fn changes_are_told_also_in_folders_that_came_later() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().canonicalize().unwrap();
        std::fs::create_dir(top.join("sub")).unwrap();
        std::fs::write(top.join("sub/a"), "1").unwrap();
        let mut watcher = Watcher::new(&Source::find(&top).await.unwrap()).unwrap();
        std::fs::write(top.join("sub/a"), "2").unwrap();
        assert_eq!(next(&mut watcher, &top).await, [PathBuf::from("sub/a")]);
        std::fs::create_dir(top.join("new")).unwrap();
        assert_eq!(next(&mut watcher, &top).await, [PathBuf::from("new")]);
        std::fs::write(top.join("new/b"), "1").unwrap();
        assert_eq!(next(&mut watcher, &top).await, [PathBuf::from("new/b")]);
        std::fs::remove_dir_all(top.join("sub")).unwrap();
        assert_eq!(next(&mut watcher, &top).await, ["sub", "sub/a"].map(PathBuf::from));
        // The same size, and the time that it had before.
        let before = top.join("new/b").metadata().unwrap().modified().unwrap();
        std::fs::write(top.join("new/b"), "2").unwrap();
        std::fs::File::options().write(true).open(top.join("new/b")).unwrap().set_modified(before).unwrap();
        assert_eq!(next(&mut watcher, &top).await, [PathBuf::from("new/b")]);
        std::fs::read(top.join("new/b")).unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(600), watcher.wait()).await;
        assert!(quiet.is_err(), "reading is no change");
    }
}
