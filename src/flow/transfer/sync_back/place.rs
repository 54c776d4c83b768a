//! Putting what came from a machine into the folder that it belongs to here.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use model::fault::Fault;
use rustix::fs::{Gid, Uid};

use crate::transfer::sync::local::{hash, hex};
use crate::transfer::sync_back::{MODE, SyncBack, SyncedBack, key};

/// What lies at a path of the folder here.
enum Here {
    /// Nothing, and nothing stands in its way.
    Nothing,
    /// A file.
    File(Metadata),
    /// A folder.
    Folder(Metadata),
    /// A link with this target.
    Link(PathBuf),
    /// Something else, or something that is no folder where one would have to be.
    Other,
}

impl Here {
    /// Looks without following any link.
    fn look(top: &Path, path: &Path) -> Self {
        let (mut here, mut parts) = (top.to_owned(), path.components().peekable());
        while let Some(part) = parts.next() {
            here.push(part);
            match (here.symlink_metadata(), parts.peek().is_some()) {
                (Err(_), _) => return Self::Nothing,
                (Ok(found), true) if found.is_dir() => {}
                (Ok(_), true) => return Self::Other,
                (Ok(found), false) if found.is_file() => return Self::File(found),
                (Ok(found), false) if found.is_dir() => return Self::Folder(found),
                (Ok(found), false) if found.is_symlink() => {
                    return std::fs::read_link(&here).map_or(Self::Other, Self::Link);
                }
                (Ok(_), false) => return Self::Other,
            }
        }
        Self::Other
    }
}

/// Puts things in their places, and notes what became of them.
pub(super) struct Placing<'a> {
    files: &'a SyncBack,
    /// Where files lie that came, and where those stay that cannot go to their places.
    into: &'a Path,
    /// The permissions of the folders on the machine.
    folders: BTreeMap<PathBuf, u32>,
    /// The folders that were made here, each before those in it.
    made: Vec<PathBuf>,
    done: &'a mut SyncedBack,
}

impl<'a> Placing<'a> {
    pub(super) fn new(
        files: &'a SyncBack,
        into: &'a Path,
        folders: BTreeMap<PathBuf, u32>,
        done: &'a mut SyncedBack,
    ) -> Self {
        Self { files, into, folders, made: Vec::new(), done }
    }

    /// Puts the fetched files of these names into their places; those that cannot go there stay.
    pub(super) fn place_files(&mut self, paths: &[PathBuf], modes: &BTreeMap<PathBuf, u32>) -> Result<(), Fault> {
        for path in paths {
            let (fetched, name) = (self.into.join(path), path.display().to_string());
            if !fetched.is_file() {
                self.done.unreadable.push(name);
                continue;
            }
            let here = Here::look(&self.files.folder, path);
            match self.may_write(path, &here, &fetched) {
                None => {}
                Some(false) => {
                    self.done.conflicts.push(name);
                    continue;
                }
                Some(true) => {
                    let found = if let Here::File(found) = &here { Some(found) } else { None };
                    let written = self.write(path, (&fetched, found), modes.get(path).copied());
                    written.map_err(|error| self.unwritten(path, error))?;
                    self.done.written.push(name);
                }
            }
            self.forget(&fetched);
        }
        Ok(())
    }

    /// Makes these links, in the place of those that were sent or of nothing.
    pub(super) fn place_links(&mut self, links: &[(PathBuf, PathBuf)]) -> Result<(), Fault> {
        for (path, target) in links {
            let is_free = match Here::look(&self.files.folder, path) {
                Here::Link(now) if now == *target => continue,
                Here::Link(now) => self.files.links.get(&key(path)) == Some(&key(&now)),
                Here::Nothing => !self.files.was_sent(path),
                _ => false,
            };
            if is_free {
                self.link(path, target).map_err(|error| self.unwritten(path, error))?;
                self.done.written.push(path.display().to_string());
            } else {
                self.done.conflicts.push(format!("{} (a link to {})", path.display(), target.display()));
            }
        }
        Ok(())
    }

    /// Gives files whose content is the same on both sides, and folders, the permissions that they were given on the machine.
    pub(super) fn place_modes<'b>(&mut self, modes: impl Iterator<Item = (&'b PathBuf, &'b u32)>) -> Result<(), Fault> {
        for (path, mode) in modes {
            let now = match Here::look(&self.files.folder, path) {
                Here::File(found) | Here::Folder(found) => Some(found.mode() & MODE),
                _ => None,
            };
            if now == Some(*mode) {
                continue;
            }
            if now.is_some() && self.files.modes.get(&key(path)) == now.as_ref() {
                let here = self.files.folder.join(path);
                set_mode(&here, *mode)?;
                self.done.written.push(path.display().to_string());
            } else {
                self.done.conflicts.push(format!("{} (its permissions, {mode:o} on the machine)", path.display()));
            }
        }
        Ok(())
    }

    /// Gives the folders that were made here the permissions of those on the machine: nothing comes into them any more.
    pub(super) fn finish(self) -> Result<(), Fault> {
        for path in self.made.iter().rev() {
            if let Some(mode) = self.folders.get(path) {
                set_mode(&self.files.folder.join(path), *mode)?;
            }
        }
        Ok(())
    }

    fn unwritten(&self, path: &Path, error: std::io::Error) -> Fault {
        Fault::outside(format!("cannot write `{}`", self.files.folder.join(path).display())).because(error)
    }

    /// Whether the file `fetched` may take the place of what is `here`; none where it is there already.
    fn may_write(&self, path: &Path, here: &Here, fetched: &Path) -> Option<bool> {
        match here {
            // Unless it was sent, and removed here since.
            Here::Nothing => Some(!self.files.was_sent(path)),
            Here::File(_) => {
                let read = |path: &Path| std::fs::read(path).ok().map(|bytes| hex(&hash(&bytes)));
                let (now, new) = (read(&self.files.folder.join(path)), read(fetched));
                (now.is_none() || now != new)
                    .then(|| now.is_some() && now.as_ref() == self.files.before.get(&key(path)))
            }
            _ => Some(false),
        }
    }

    /// Puts a file in its place, whole or not at all; with the permissions that it was given on the machine, if it was given any. `found` is the
    /// file that is there.
    fn write(
        &mut self,
        path: &Path,
        (fetched, found): (&Path, Option<&Metadata>),
        mode: Option<u32>,
    ) -> std::io::Result<()> {
        let parent = self.make_parent(path)?;
        let usual = found.map_or_else(|| fetched.metadata().map(|found| found.mode()), |found| Ok(found.mode()))?;
        let as_sent = found.is_none_or(|found| self.files.modes.get(&key(path)) == Some(&(found.mode() & MODE)));
        let mode = mode.filter(|_| as_sent).unwrap_or(usual);
        let mut new = tempfile::Builder::new().prefix(".automation-").tempfile_in(parent)?;
        std::io::copy(&mut std::fs::File::open(fetched)?, &mut new)?;
        new.flush()?;
        new.as_file().set_permissions(std::fs::Permissions::from_mode(mode & MODE))?;
        if let Some(found) = found {
            // Root works in folders of others, too; anybody else can only keep what is theirs.
            let (owner, group) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
            let _ = rustix::fs::fchown(new.as_file(), Some(owner), Some(group));
        }
        new.persist(self.files.folder.join(path)).map(drop).map_err(|error| error.error)
    }

    /// Makes a link, at once in the place of one that is there.
    fn link(&mut self, path: &Path, target: &Path) -> std::io::Result<()> {
        let parent = self.make_parent(path)?;
        let new = tempfile::Builder::new().prefix(".automation-").make_in(parent, |new| symlink(target, new))?;
        new.persist(self.files.folder.join(path)).map(drop).map_err(|error| error.error)
    }

    /// Makes the folder that a path lies in, where it is missing; gives it.
    fn make_parent(&mut self, path: &Path) -> std::io::Result<PathBuf> {
        let (mut here, mut below) = (self.files.folder.clone(), PathBuf::new());
        for part in path.parent().unwrap_or(Path::new("")) {
            here.push(part);
            below.push(part);
            match std::fs::create_dir(&here) {
                Ok(()) => self.made.push(below.clone()),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(here)
    }

    /// Removes a file that was taken over: only the others are worth keeping, and the folders that they lie in.
    fn forget(&self, fetched: &Path) {
        drop(std::fs::remove_file(fetched));
        for folder in fetched.ancestors().skip(1).take_while(|folder| folder.starts_with(self.into)) {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Fault> {
    let set = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    set.map_err(|error| Fault::outside(format!("cannot set the permissions of `{}`", path.display())).because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files, what was noted of it, and the place for what the machine has.
    fn noted(files: &[(&str, &str)]) -> (tempfile::TempDir, SyncBack, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (folder, into) = (place.path().join("here"), place.path().join("there"));
        for top in [&folder, &into] {
            std::fs::create_dir(top).unwrap();
        }
        for (path, text) in files {
            std::fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            std::fs::write(folder.join(path), text).unwrap();
        }
        symlink("a.txt", folder.join("sent-link.txt")).unwrap();
        let mut paths: Vec<PathBuf> = files.iter().map(|(path, _)| PathBuf::from(path)).collect();
        paths.push("sent-link.txt".into());
        let globs = ["**/*.txt".to_owned(), "sub".to_owned()];
        paths.push("sub".into());
        let files = SyncBack::note(&folder, &paths, (&globs, &["no/**".to_owned()]), &[".git"]).unwrap();
        (place, files, into)
    }

    #[test]
    fn what_changed_here_meanwhile_stays_as_it_is() {
        let sent =
            [("a.txt", "1"), ("sub/b.txt", "1"), ("gone.txt", "1"), ("same.txt", "1"), ("no/c.txt", "1"), ("d.c", "")];
        let (_place, files, into) = noted(&sent);
        assert_eq!(files.before.keys().collect::<Vec<_>>(), ["a.txt", "gone.txt", "same.txt", "sub/b.txt"]);
        let here = files.folder.clone();
        std::fs::write(here.join("sub/b.txt"), "mine").unwrap();
        std::fs::remove_file(here.join("gone.txt")).unwrap();
        std::fs::write(here.join("same.txt"), "2").unwrap();
        std::fs::create_dir(here.join("folder.txt")).unwrap();
        symlink("/nothing", here.join("link.txt")).unwrap();
        symlink("sub", here.join("way")).unwrap();
        let names =
            ["a.txt", "sub/b.txt", "gone.txt", "same.txt", "folder.txt", "link.txt", "way/e.txt", "new/x/f.txt"];
        for name in names {
            std::fs::create_dir_all(into.join(name).parent().unwrap()).unwrap();
            std::fs::write(into.join(name), "2").unwrap();
        }
        set_mode(&here.join("a.txt"), 0o640).unwrap();
        set_mode(&into.join("new/x/f.txt"), 0o755).unwrap();
        let mut done = SyncedBack { folder: into.clone(), ..SyncedBack::default() };
        let folders = [("new".into(), 0o500), ("new/x".into(), 0o700), ("sub".into(), 0o700)].into();
        let mut placing = Placing::new(&files, &into, folders, &mut done);
        placing.place_files(&names.map(PathBuf::from), &[("a.txt".into(), 0o755)].into()).unwrap();
        placing.finish().unwrap();
        assert_eq!(done.written, ["a.txt", "new/x/f.txt"]);
        assert_eq!(done.conflicts, ["sub/b.txt", "gone.txt", "folder.txt", "link.txt", "way/e.txt"]);
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&here.join("a.txt")), read(&here.join("sub/b.txt"))), ("2".to_owned(), "mine".to_owned()));
        assert_eq!((read(&into.join("sub/b.txt")), into.join("a.txt").exists()), ("2".to_owned(), false));
        let mode = |path: &str| here.join(path).metadata().unwrap().mode() & MODE;
        assert_eq!((mode("a.txt"), mode("new/x/f.txt"), here.join("gone.txt").exists()), (0o640, 0o755, false));
        assert_eq!((mode("new"), mode("new/x")), (0o500, 0o700), "new folders are as there");
        assert_ne!(mode("sub"), 0o700, "one that was here stays as it is");
        let told = done.fault().unwrap().line();
        assert!(told.contains("sub/b.txt") && told.contains("meanwhile"), "{told}");
    }

    #[test]
    fn where_all_was_taken_over_nothing_is_kept_and_nothing_is_told() {
        let (_place, files, into) = noted(&[("a.txt", "1")]);
        std::fs::write(into.join("a.txt"), "2").unwrap();
        let mut done = SyncedBack { folder: into.clone(), ..SyncedBack::default() };
        let mut placing = Placing::new(&files, &into, BTreeMap::new(), &mut done);
        placing.place_files(&[PathBuf::from("a.txt")], &BTreeMap::new()).unwrap();
        assert_eq!((done.fault().is_none(), into.exists(), done.written.len()), (true, false, 1));
        let missing = SyncedBack { missing: vec!["x".to_owned()], ..SyncedBack::default() };
        assert!(missing.fault().unwrap().line().contains("nothing matches: x"));
        assert!(SyncBack::note(&files.folder, &[], (&["/etc/*".to_owned()], &[]), &[]).is_err());
    }

    #[test]
    fn permissions_alone_come_back_unless_they_were_changed_here_too() {
        let (_place, files, into) =
            noted(&[("a.txt", "1"), ("b.txt", "1"), ("gone.txt", "1"), ("same.txt", "1"), ("sub/c.txt", "1")]);
        let here = |path: &str| files.folder.join(path);
        let mode = |path: &str| here(path).metadata().unwrap().mode() & MODE;
        let before = mode("a.txt");
        assert_eq!((files.changed_mode(Path::new("a.txt"), 0o100_000 | before), before & 0o111), (None, 0));
        assert_eq!(files.changed_mode(Path::new("a.txt"), 0o100_755), Some(0o755));
        assert_eq!(files.changed_mode(Path::new("new.txt"), 0o755), None, "a new file comes whole");
        set_mode(&here("b.txt"), 0o600).unwrap();
        set_mode(&here("same.txt"), 0o711).unwrap();
        std::fs::remove_file(here("gone.txt")).unwrap();
        let modes: BTreeMap<PathBuf, u32> =
            ["a.txt", "b.txt", "gone.txt", "same.txt", "sub"].map(|path| (path.into(), 0o711)).into();
        let mut done = SyncedBack::default();
        Placing::new(&files, &into, BTreeMap::new(), &mut done).place_modes(modes.iter()).unwrap();
        assert_eq!((mode("a.txt"), mode("b.txt"), mode("sub")), (0o711, 0o600, 0o711));
        assert_eq!(done.written, ["a.txt", "sub"]);
        let told = done.conflicts.join(" ");
        assert!(told.contains("b.txt (its permissions, 711 on the machine)") && told.contains("gone.txt"), "{told}");
    }

    #[test]
    fn links_take_the_place_of_nothing_or_of_those_that_were_sent() {
        let (_place, files, into) = noted(&[("a.txt", "1")]);
        let here = |path: &str| files.folder.join(path);
        symlink("mine", here("mine.txt")).unwrap();
        symlink("new", here("same.txt")).unwrap();
        let names = ["sent-link.txt", "new/x.txt", "mine.txt", "same.txt", "a.txt"];
        let links = names.map(|name| (PathBuf::from(name), PathBuf::from("new")));
        let mut done = SyncedBack::default();
        Placing::new(&files, &into, BTreeMap::new(), &mut done).place_links(&links).unwrap();
        assert_eq!(done.written, ["sent-link.txt", "new/x.txt"]);
        assert_eq!(done.conflicts, ["mine.txt (a link to new)", "a.txt (a link to new)"]);
        assert_eq!(std::fs::read_link(here("sent-link.txt")).unwrap(), Path::new("new"));
        // Those that were sent are told apart from those that were changed here since.
        std::fs::remove_file(here("sent-link.txt")).unwrap();
        let mut done = SyncedBack::default();
        Placing::new(&files, &into, BTreeMap::new(), &mut done).place_links(&links[..1]).unwrap();
        assert_eq!((done.written.len(), done.conflicts.len()), (0, 1));
    }
}
