//! Bringing files that a command changed back into the folder that they came from, unless they were changed there meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use model::base::text;
use model::connection::Connection;
use model::event::{StepEvent, Teller};
use model::fault::Fault;
use model::work::{Moved, Work};
use serde::{Deserialize, Serialize};

use crate::transfer::artifacts::{ListedKind, Patterns, free_bytes, list};
use crate::transfer::sync::local::{hash, hex};
use crate::transfer::sync::{ask, names, remote};

/// The files to bring back, with what they were when they were sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncBack {
    /// The folder that they came from.
    pub folder: PathBuf,
    /// The patterns, relative to it.
    pub wanted: Patterns,
    /// The SHA-256 of each file that was sent and matches, by its path below the folder.
    before: BTreeMap<String, String>,
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
    pub fn note(folder: &Path, sent: &[PathBuf], globs: &[String], excluded: &[String]) -> Result<Self, Fault> {
        let wanted = Patterns::new(globs, &[])?.without(excluded)?;
        if let Some(pattern) = wanted.patterns.iter().find(|pattern| pattern.is_absolute()) {
            return Err(Fault::usage(format!("`{}` is not a path below the folder that is sent", pattern.glob)));
        }
        let matchers = wanted.patterns.iter().map(|pattern| pattern.matcher()).collect::<Result<Vec<_>, _>>()?;
        let exclusions = wanted.exclusions()?;
        let mut before = BTreeMap::new();
        for path in sent {
            let matches = matchers.iter().any(|matcher| matcher.is_match(path)) && !exclusions.has("", path);
            let Some(name) = path.to_str().filter(|_| matches) else { continue };
            let whole = folder.join(path);
            if whole.symlink_metadata().is_ok_and(|found| found.is_file()) {
                let bytes = std::fs::read(&whole)
                    .map_err(|error| Fault::outside(format!("cannot read `{}`", whole.display())).because(error))?;
                before.insert(name.to_owned(), hex(&hash(&bytes)));
            }
        }
        Ok(Self { folder: folder.to_owned(), wanted, before })
    }

    /// Whether the file `fetched` may take the place of what is at `path` below the folder; none where it is there already.
    fn may_write(&self, path: &str, fetched: &Path) -> Option<bool> {
        let mut here = self.folder.clone();
        let mut parts = Path::new(path).components().peekable();
        while let Some(part) = parts.next() {
            here.push(part);
            let found = here.symlink_metadata().ok();
            match (parts.peek().is_some(), found) {
                (true, Some(found)) if found.is_dir() => {}
                // Nothing stands in its way; unless it was sent, and removed here since.
                (_, None) => return Some(!self.before.contains_key(path)),
                (false, Some(found)) if found.is_file() => {
                    let now = std::fs::read(&here).ok().map(|bytes| hex(&hash(&bytes)));
                    let new = std::fs::read(fetched).ok().map(|bytes| hex(&hash(&bytes)));
                    return (now.is_none() || now != new)
                        .then(|| now.is_some() && now.as_ref() == self.before.get(path));
                }
                // A link, or something else that is no file.
                (_, Some(_)) => return Some(false),
            }
        }
        Some(false)
    }

    /// Puts a file in its place, whole or not at all.
    fn write(&self, path: &str, fetched: &Path) -> std::io::Result<()> {
        let target = self.folder.join(path);
        let parent = target.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(parent)?;
        let mode = match target.metadata() {
            Ok(found) => found.permissions(),
            Err(_) => fetched.metadata()?.permissions(),
        };
        let mut new = tempfile::Builder::new().prefix(".automation-").tempfile_in(parent)?;
        std::io::copy(&mut std::fs::File::open(fetched)?, &mut new)?;
        new.flush()?;
        new.as_file().set_permissions(std::fs::Permissions::from_mode(mode.mode() & 0o777))?;
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
            ("not readable, or too large", &self.unreadable),
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
    let known: Vec<PathBuf> =
        found.iter().filter(|path| files.before.contains_key(path.as_str())).map(PathBuf::from).collect();
    let mut same = BTreeSet::new();
    if !known.is_empty() {
        let printed = ask(connection, guest::of(connection.platform()).sync_hash(root).stdin(names(&known))).await?;
        for (path, hash) in remote::hashes(&printed) {
            let name = path.to_string_lossy().into_owned();
            if files.before.get(&name) == Some(&hex(&hash)) {
                same.insert(name);
            }
        }
    }
    let changed: Vec<PathBuf> = found.difference(&same).map(PathBuf::from).collect();
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
    let names: Vec<String> = changed.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    place(files, &names, into, &mut done)?;
    step.finish_with(moved);
    Ok(done)
}

/// The paths below `root` that match, as text: a name of other bytes was not noted either.
async fn matching(
    connection: &dyn Connection,
    root: &str,
    files: &SyncBack,
    done: &mut SyncedBack,
) -> Result<BTreeSet<String>, Fault> {
    let (listing, exclusions) = (list(connection, root, &files.wanted).await?, files.wanted.exclusions()?);
    let (mut all, mut room) = (BTreeSet::new(), free_bytes(&files.folder));
    for pattern in &files.wanted.patterns {
        let (matcher, mut any) = (pattern.matcher()?, false);
        for (path, kind) in &listing.found {
            let Ok(below) = path.strip_prefix(root) else { continue };
            let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
            if !plain || !matcher.is_match(below) || exclusions.has(root, path) {
                continue;
            }
            let ListedKind::File { bytes, readable } = *kind else { continue };
            any = true;
            match below.to_str().filter(|_| readable && bytes <= room) {
                Some(name) if all.insert(name.to_owned()) => room -= bytes,
                Some(_) => {}
                None => done.unreadable.push(format!("{} ({})", below.display(), text::bytes(bytes))),
            }
        }
        if !any {
            done.missing.push(pattern.glob.clone());
        }
    }
    Ok(all)
}

/// Puts the fetched files of these names into their places; those that cannot go there stay.
fn place(files: &SyncBack, names: &[String], into: &Path, done: &mut SyncedBack) -> Result<(), Fault> {
    for name in names {
        let fetched = into.join(name);
        match files.may_write(name, &fetched) {
            None => {}
            Some(false) => {
                done.conflicts.push(name.clone());
                continue;
            }
            Some(true) => {
                files.write(name, &fetched).map_err(|error| {
                    Fault::outside(format!("cannot write `{}`", files.folder.join(name).display())).because(error)
                })?;
                done.written.push(name.clone());
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
        let files = SyncBack::note(&folder, &paths, &["**/*.txt".to_owned()], &["no/**".to_owned()]).unwrap();
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
        place(&files, &names.map(str::to_owned), &into, &mut done).unwrap();
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
        place(&files, &["a.txt".to_owned()], &into, &mut done).unwrap();
        assert_eq!((done.fault().is_none(), into.exists(), done.written.len()), (true, false, 1));
        let missing = SyncedBack { missing: vec!["x".to_owned()], ..SyncedBack::default() };
        assert!(missing.fault().unwrap().line().contains("nothing matches: x"));
        assert!(SyncBack::note(&files.folder, &[], &["/etc/*".to_owned()], &[]).is_err());
    }
}
