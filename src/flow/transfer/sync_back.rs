//! Bringing files that a command changed back into the folder that they came from, unless they were changed there meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use model::base::text;
use model::connection::Connection;
use model::event::{StepEvent, Teller};
use model::fault::Fault;
use model::work::{Moved, Work};
use rustix::fs::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::transfer::artifacts::{Patterns, free_bytes};
use crate::transfer::sync::local::{hash, hex};
use crate::transfer::sync::{ask, is_ours, look, names, remote};

/// The permissions that are compared and brought back.
const MODE: u32 = 0o777;

/// The files to bring back, with what they were when they were sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncBack {
    /// The folder that they came from.
    pub folder: PathBuf,
    /// The patterns, relative to it.
    pub wanted: Patterns,
    /// The SHA-256 of each file that was sent and matches, by the [`key`] of its path below the folder.
    before: BTreeMap<String, String>,
    /// Its permissions then.
    #[serde(default)]
    modes: BTreeMap<String, u32>,
    /// Names of files and folders that are never brought back, wherever they lie: programs here would do what is in them.
    closed: Vec<String>,
}

/// What became of files that were to be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncedBack {
    /// The paths that were written here.
    pub written: Vec<String>,
    /// Those that were not, because they were changed here meanwhile, or cannot be replaced.
    pub conflicts: Vec<String>,
    /// The folder with the machine's version of those.
    pub folder: PathBuf,
    /// The patterns that match nothing.
    pub missing: Vec<String>,
    /// Files that match and cannot be read, or have more bytes than there is room for.
    pub unreadable: Vec<String>,
    /// Why nothing could be brought back at all; none where that was tried to the end.
    pub failed: Option<String>,
}

impl SyncBack {
    /// Notes what the files are that are about to be sent; `sent` are paths below `folder`. Reads those that match.
    pub fn note(
        folder: &Path,
        sent: &[PathBuf],
        (globs, excluded): (&[String], &[String]),
        closed: &[&str],
    ) -> Result<Self, Fault> {
        let wanted = Patterns::new(globs, &[])?.without(excluded)?;
        if let Some(pattern) = wanted.patterns.iter().find(|pattern| pattern.is_absolute()) {
            return Err(Fault::usage(format!("`{}` is not a path below the folder that is sent", pattern.glob)));
        }
        let matchers = wanted.patterns.iter().map(|pattern| pattern.matcher()).collect::<Result<Vec<_>, _>>()?;
        let exclusions = wanted.exclusions()?;
        let (mut before, mut modes) = (BTreeMap::new(), BTreeMap::new());
        for path in sent {
            let matches = matchers.iter().any(|matcher| matcher.is_match(path)) && !exclusions.has("", path);
            let whole = folder.join(path);
            if let Some(found) = whole.symlink_metadata().ok().filter(|found| matches && found.is_file()) {
                modes.insert(key(path), found.mode() & MODE);
                let bytes = std::fs::read(&whole)
                    .map_err(|error| Fault::outside(format!("cannot read `{}`", whole.display())).because(error))?;
                before.insert(key(path), hex(&hash(&bytes)));
            }
        }
        let closed = closed.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { folder: folder.to_owned(), wanted, before, modes, closed })
    }

    /// The permissions that a file has on the machine, where they were changed there.
    fn changed_mode(&self, path: &Path, there: u32) -> Option<u32> {
        self.modes.get(&key(path)).filter(|before| **before != there & MODE).map(|_| there & MODE)
    }

    /// Gives a file the permissions that it was given on the machine; none where it has them already, and whether they could be given: not where
    /// they were changed here as well, or where there is no plain file any more.
    fn set_mode(&self, path: &Path, mode: u32) -> std::io::Result<Option<bool>> {
        let mut here = self.folder.clone();
        for part in path.parent().unwrap_or(Path::new("")) {
            here.push(part);
            if !here.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                return Ok(Some(false));
            }
        }
        let here = self.folder.join(path);
        let Some(found) = here.symlink_metadata().ok().filter(std::fs::Metadata::is_file) else {
            return Ok(Some(false));
        };
        let now = found.mode() & MODE;
        if now == mode {
            return Ok(None);
        }
        let is_as_sent = self.modes.get(&key(path)) == Some(&now);
        if is_as_sent {
            std::fs::set_permissions(&here, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(Some(is_as_sent))
    }

    /// Whether the file `fetched` may take the place of what is at `path` below the folder; none where it is there already.
    fn may_write(&self, path: &Path, fetched: &Path) -> Option<bool> {
        let mut here = self.folder.clone();
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            here.push(part);
            let found = here.symlink_metadata().ok();
            match (parts.peek().is_some(), found) {
                (true, Some(found)) if found.is_dir() => {}
                // Nothing stands in its way; unless it was sent, and removed here since.
                (_, None) => return Some(!self.before.contains_key(&key(path))),
                (false, Some(found)) if found.is_file() => {
                    let now = std::fs::read(&here).ok().map(|bytes| hex(&hash(&bytes)));
                    let new = std::fs::read(fetched).ok().map(|bytes| hex(&hash(&bytes)));
                    return (now.is_none() || now != new)
                        .then(|| now.is_some() && now.as_ref() == self.before.get(&key(path)));
                }
                // A link, or something else that is no file.
                (_, Some(_)) => return Some(false),
            }
        }
        Some(false)
    }

    /// Puts a file in its place, whole or not at all; with the permissions that it was given on the machine, if it was given any.
    fn write(&self, path: &Path, fetched: &Path, mode: Option<u32>) -> std::io::Result<()> {
        let target = self.folder.join(path);
        let parent = target.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(parent)?;
        let before = target.metadata().ok();
        let usual = before.as_ref().map_or_else(|| fetched.metadata(), |found| Ok(found.clone()))?.mode();
        let as_sent = before.as_ref().is_none_or(|found| self.modes.get(&key(path)) == Some(&(found.mode() & MODE)));
        let mode = mode.filter(|_| as_sent).unwrap_or(usual);
        let mut new = tempfile::Builder::new().prefix(".automation-").tempfile_in(parent)?;
        std::io::copy(&mut std::fs::File::open(fetched)?, &mut new)?;
        new.flush()?;
        new.as_file().set_permissions(std::fs::Permissions::from_mode(mode & MODE))?;
        if let Some(before) = before {
            // Root works in folders of others, too; anybody else can only keep what is theirs.
            let (owner, group) = (Uid::from_raw(before.uid()), Gid::from_raw(before.gid()));
            let _ = rustix::fs::fchown(new.as_file(), Some(owner), Some(group));
        }
        new.persist(&target).map(drop).map_err(|error| error.error)
    }
}

impl SyncedBack {
    /// The fault to report about files that were not brought back; none where all were.
    pub fn fault(&self) -> Option<Fault> {
        if let Some(why) = &self.failed {
            return Some(Fault::outside("changed files could not be brought back").because(why.clone()));
        }
        let parts = [
            ("changed here meanwhile, or no plain file here", &self.conflicts),
            ("nothing matches", &self.missing),
            ("not readable on the machine, or no room for it here", &self.unreadable),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        if parts.is_empty() {
            return None;
        }
        let fault = Fault::outside("not all changed files were brought back").because(parts.join("; "));
        Some(match self.conflicts.is_empty() {
            true => fault,
            false => fault.hint(format!("The machine's version is in `{}`.", self.folder.display())),
        })
    }
}

/// Brings the matching files that are new or changed below `root` on the machine into their folder here. What cannot go there stays in
/// `into`.
pub async fn sync_back(
    teller: &Teller,
    connection: &dyn Connection,
    root: &str,
    files: &SyncBack,
    into: &Path,
) -> Result<SyncedBack, Fault> {
    let step = teller.begin(Work::SyncingBack);
    let mut done = SyncedBack { folder: into.to_owned(), ..SyncedBack::default() };
    let found = matching(connection, root, files, &mut done).await?;
    let known: Vec<PathBuf> = found.keys().filter(|path| files.before.contains_key(&key(path))).cloned().collect();
    let mut same: BTreeSet<PathBuf> = BTreeSet::new();
    if !known.is_empty() {
        let printed = ask(connection, guest::of(connection.platform()).sync_hash(root).stdin(names(&known))).await?;
        let mut hashed: BTreeSet<&Path> = BTreeSet::new();
        for (path, hash) in remote::hashes(&printed) {
            hashed.insert(path);
            if files.before.get(&key(path)) == Some(&hex(&hash)) {
                same.insert(path.to_owned());
            }
        }
        // Not even the machine's user reads these, as when they were sent.
        same.extend(known.iter().filter(|path| !hashed.contains(path.as_path())).cloned());
    }
    let changed: Vec<PathBuf> = found.keys().filter(|path| !same.contains(*path)).cloned().collect();
    let mut moved = Moved { files: 0, bytes: 0 };
    if !changed.is_empty() {
        let failed = |error| Fault::outside(format!("cannot make `{}`", into.display())).because(error);
        std::fs::create_dir_all(into).map_err(failed)?;
        let sum = AtomicU64::new(0);
        let progress = |bytes: u64| {
            let done = sum.fetch_add(bytes, Ordering::Relaxed) + bytes;
            teller.tell(StepEvent::Moved { done, total: None });
        };
        let totals = connection.trees()?.download_some(root, &changed, into, free_bytes(into), &progress).await?;
        moved = Moved { files: totals.files, bytes: totals.bytes };
    }
    let modes =
        found.into_iter().filter_map(|(path, mode)| Some((path.clone(), files.changed_mode(&path, mode)?))).collect();
    place(files, (&changed, &modes), into, &mut done)?;
    place_modes(files, modes.iter().filter(|(path, _)| same.contains(*path)), &mut done)?;
    step.finish_with(moved);
    Ok(done)
}

/// What a path is called in what is kept of it: text, whatever its bytes are.
fn key(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

/// The paths of files below `root` that match, with their permissions. No link is followed: it could lead anywhere.
async fn matching(
    connection: &dyn Connection,
    root: &str,
    files: &SyncBack,
    done: &mut SyncedBack,
) -> Result<BTreeMap<PathBuf, u32>, Fault> {
    let (there, exclusions) = (look(connection, root).await?, files.wanted.exclusions()?);
    let (mut all, mut room) = (BTreeMap::new(), free_bytes(&files.folder));
    let is_closed = |path: &Path| {
        is_ours(path)
            || path.parent().is_some_and(is_ours)
            || path.components().any(|part| files.closed.iter().any(|name| part.as_os_str() == name.as_str()))
    };
    for pattern in &files.wanted.patterns {
        let (matcher, mut any) = (pattern.matcher()?, false);
        for (path, entry) in &there.entries {
            let is_file = matches!(entry.kind, remote::RemoteKind::File(_));
            if !is_file || is_closed(path) || !matcher.is_match(path) || exclusions.has("", path) {
                continue;
            }
            any = true;
            match entry.size <= room {
                true if all.insert(path.clone(), entry.mode).is_none() => room -= entry.size,
                true => {}
                false => done.unreadable.push(format!("{} ({})", path.display(), text::bytes(entry.size))),
            }
        }
        if !any {
            done.missing.push(pattern.glob.clone());
        }
    }
    Ok(all)
}

/// Puts the fetched files of these names into their places; those that cannot go there stay.
fn place(
    files: &SyncBack,
    (paths, modes): (&[PathBuf], &BTreeMap<PathBuf, u32>),
    into: &Path,
    done: &mut SyncedBack,
) -> Result<(), Fault> {
    for path in paths {
        let (fetched, name) = (into.join(path), path.display().to_string());
        if !fetched.is_file() {
            done.unreadable.push(name);
            continue;
        }
        match files.may_write(path, &fetched) {
            None => {}
            Some(false) => {
                done.conflicts.push(name);
                continue;
            }
            Some(true) => {
                files.write(path, &fetched, modes.get(path).copied()).map_err(|error| {
                    Fault::outside(format!("cannot write `{}`", files.folder.join(path).display())).because(error)
                })?;
                done.written.push(name);
            }
        }
        // Only what was not taken over is worth keeping, and the folders that it lies in.
        drop(std::fs::remove_file(&fetched));
        for folder in fetched.ancestors().skip(1).take_while(|folder| folder.starts_with(into)) {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Gives files whose content is the same on both sides the permissions that they were given on the machine.
fn place_modes<'a>(
    files: &SyncBack,
    modes: impl Iterator<Item = (&'a PathBuf, &'a u32)>,
    done: &mut SyncedBack,
) -> Result<(), Fault> {
    for (path, mode) in modes {
        let set = files.set_mode(path, *mode).map_err(|error| {
            let here = files.folder.join(path);
            Fault::outside(format!("cannot set the permissions of `{}`", here.display())).because(error)
        })?;
        match set {
            None => {}
            Some(true) => done.written.push(path.display().to_string()),
            Some(false) => {
                done.conflicts.push(format!("{} (its permissions, {mode:o} on the machine)", path.display()))
            }
        }
    }
    Ok(())
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
        let paths: Vec<PathBuf> = files.iter().map(|(path, _)| PathBuf::from(path)).collect();
        let files =
            SyncBack::note(&folder, &paths, (&["**/*.txt".to_owned()], &["no/**".to_owned()]), &[".git"]).unwrap();
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
        std::os::unix::fs::symlink("/nothing", here.join("link.txt")).unwrap();
        std::os::unix::fs::symlink("sub", here.join("way")).unwrap();
        let names = ["a.txt", "sub/b.txt", "gone.txt", "same.txt", "folder.txt", "link.txt", "way/e.txt", "new/f.txt"];
        for name in names {
            std::fs::create_dir_all(into.join(name).parent().unwrap()).unwrap();
            std::fs::write(into.join(name), "2").unwrap();
        }
        std::fs::set_permissions(here.join("a.txt"), std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::set_permissions(into.join("new/f.txt"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut done = SyncedBack { folder: into.clone(), ..SyncedBack::default() };
        let modes = [("a.txt".into(), 0o755)].into();
        place(&files, (&names.map(PathBuf::from), &modes), &into, &mut done).unwrap();
        assert_eq!(done.written, ["a.txt", "new/f.txt"]);
        assert_eq!(done.conflicts, ["sub/b.txt", "gone.txt", "folder.txt", "link.txt", "way/e.txt"]);
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&here.join("a.txt")), read(&here.join("sub/b.txt"))), ("2".to_owned(), "mine".to_owned()));
        assert_eq!((read(&into.join("sub/b.txt")), into.join("a.txt").exists()), ("2".to_owned(), false));
        let mode = |path: &str| here.join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a.txt"), mode("new/f.txt"), here.join("gone.txt").exists()), (0o640, 0o755, false));
        let told = done.fault().unwrap().line();
        assert!(told.contains("sub/b.txt") && told.contains("meanwhile"), "{told}");
    }

    #[test]
    fn where_all_was_taken_over_nothing_is_kept_and_nothing_is_told() {
        let (_place, files, into) = noted(&[("a.txt", "1")]);
        std::fs::write(into.join("a.txt"), "2").unwrap();
        let mut done = SyncedBack { folder: into.clone(), ..SyncedBack::default() };
        place(&files, (&[PathBuf::from("a.txt")], &BTreeMap::new()), &into, &mut done).unwrap();
        assert_eq!((done.fault().is_none(), into.exists(), done.written.len()), (true, false, 1));
        let missing = SyncedBack { missing: vec!["x".to_owned()], ..SyncedBack::default() };
        assert!(missing.fault().unwrap().line().contains("nothing matches: x"));
        assert!(SyncBack::note(&files.folder, &[], (&["/etc/*".to_owned()], &[]), &[]).is_err());
    }

    #[test]
    fn permissions_alone_come_back_unless_they_were_changed_here_too() {
        let (_place, files, _) = noted(&[("a.txt", "1"), ("b.txt", "1"), ("gone.txt", "1"), ("same.txt", "1")]);
        let here = |path: &str| files.folder.join(path);
        let mode = |path: &str| here(path).metadata().unwrap().permissions().mode() & MODE;
        let before = mode("a.txt");
        assert_eq!((files.changed_mode(Path::new("a.txt"), 0o100_000 | before), before & 0o111), (None, 0));
        assert_eq!(files.changed_mode(Path::new("a.txt"), 0o100_755), Some(0o755));
        assert_eq!(files.changed_mode(Path::new("new.txt"), 0o755), None, "a new file comes whole");
        std::fs::set_permissions(here("b.txt"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::set_permissions(here("same.txt"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::remove_file(here("gone.txt")).unwrap();
        let modes: BTreeMap<PathBuf, u32> =
            ["a.txt", "b.txt", "gone.txt", "same.txt"].map(|path| (path.into(), 0o755)).into();
        let mut done = SyncedBack::default();
        place_modes(&files, modes.iter(), &mut done).unwrap();
        assert_eq!((mode("a.txt"), mode("b.txt"), done.written), (0o755, 0o600, vec!["a.txt".to_owned()]));
        let told = done.conflicts.join(" ");
        assert!(told.contains("b.txt (its permissions, 755 on the machine)") && told.contains("gone.txt"), "{told}");
    }
}
