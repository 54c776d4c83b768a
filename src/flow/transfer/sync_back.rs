//! Bringing files that a command changed back into the folder that they came from, unless they were changed there meanwhile.

mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use model::base::text;
use model::connection::Connection;
use model::event::{FilesEvent, NotBrought, StepEvent, Teller};
use model::fault::Fault;
use model::work::{Moved, Work};
use serde::{Deserialize, Serialize};

use crate::transfer::artifacts::{Patterns, free_bytes};
use crate::transfer::sync::local::{hash, hex};
use crate::transfer::sync::remote::{RemoteEntry, RemoteKind};
use crate::transfer::sync::{ask, entries, names, remote};
use crate::transfer::sync_back::place::Placing;

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
    /// The permissions then of these files, and of folders that match.
    #[serde(default)]
    modes: BTreeMap<String, u32>,
    /// The targets of links that were sent and match, as [`key`] writes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    links: BTreeMap<String, String>,
    /// What everything that matches looked like on the machine before the command began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    there: BTreeMap<String, String>,
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
    /// What the command removed, which stays here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Links that it made and that lead out of the folder; they are not made here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// What it made that is neither a file, a folder nor a link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub special: Vec<String>,
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
        let (mut before, mut modes, mut links) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for path in sent {
            let matches = matchers.iter().any(|matcher| matcher.is_match(path)) && !exclusions.has("", path);
            let whole = folder.join(path);
            let Some(found) = whole.symlink_metadata().ok().filter(|_| matches) else { continue };
            let unread = |error| Fault::outside(format!("cannot read `{}`", whole.display())).because(error);
            if found.is_symlink() {
                links.insert(key(path), key(&std::fs::read_link(&whole).map_err(unread)?));
                continue;
            }
            modes.insert(key(path), found.mode() & MODE);
            if found.is_file() {
                before.insert(key(path), hex(&hash(&std::fs::read(&whole).map_err(unread)?)));
            }
        }
        let closed = closed.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { folder: folder.to_owned(), wanted, before, modes, links, there: BTreeMap::new(), closed })
    }

    /// Notes what is below `root` on the machine, where the command is about to begin: what earlier ones made is not its own.
    pub(crate) async fn note_there(&mut self, connection: &dyn Connection, root: &str) -> Result<(), Fault> {
        let found = entries(connection, root).await?;
        let matching = self.matching(&found)?;
        self.there = matching.all.iter().map(|(path, entry)| (key(path), entry.identity())).collect();
        Ok(())
    }

    /// Whether something was sent to this path.
    fn was_sent(&self, path: &Path) -> bool {
        let key = key(path);
        self.before.contains_key(&key) || self.links.contains_key(&key)
    }

    /// The permissions that a file or folder has on the machine, where they were changed there.
    fn changed_mode(&self, path: &Path, there: u32) -> Option<u32> {
        self.modes.get(&key(path)).filter(|before| **before != there & MODE).map(|_| there & MODE)
    }

    /// What matches of all that is on the machine.
    fn matching<'a>(&self, found: &'a BTreeMap<PathBuf, RemoteEntry>) -> Result<Matching<'a>, Fault> {
        let (exclusions, mut matching) = (self.wanted.exclusions()?, Matching::default());
        let is_closed = |path: &Path| path.components().any(|part| self.is_closed(part));
        for pattern in &self.wanted.patterns {
            let (matcher, mut any) = (pattern.matcher()?, false);
            for (path, entry) in found {
                if matcher.is_match(path) && !is_closed(path) && !exclusions.has("", path) {
                    any |= matches!(entry.kind, RemoteKind::File(_) | RemoteKind::Link(_));
                    matching.all.insert(path, entry);
                }
            }
            if !any {
                matching.missing.push(pattern.glob.clone());
            }
        }
        Ok(matching)
    }

    /// Whether a part of a path is a name that is never brought back.
    fn is_closed(&self, part: Component<'_>) -> bool {
        self.closed.iter().any(|name| part.as_os_str() == name.as_str())
    }

    /// Whether a link at `path` to `target` stays in the folder, as far as can be said without following others, and keeps out of what is closed.
    fn stays_within(&self, path: &Path, target: &Path) -> bool {
        let depth = path.components().count().saturating_sub(1);
        let ups = target.components().take_while(|part| *part == Component::ParentDir).count();
        let mut rest = target.components().skip(ups);
        ups <= depth
            && rest.all(|part| matches!(part, Component::Normal(_) | Component::CurDir) && !self.is_closed(part))
    }
}

/// What matches of all that is on the machine.
#[derive(Default)]
struct Matching<'a> {
    all: BTreeMap<&'a PathBuf, &'a RemoteEntry>,
    /// The patterns that match neither a file nor a link.
    missing: Vec<String>,
}

/// What a command changed of that.
#[derive(Default)]
struct Changes {
    /// Files, with their permissions.
    files: BTreeMap<PathBuf, u32>,
    /// Links, with their targets.
    links: Vec<(PathBuf, PathBuf)>,
    /// Folders whose permissions it changed.
    folders: BTreeMap<PathBuf, u32>,
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

    /// Tells what a command did that is not done here, where that is no error.
    fn tell_left(&self, teller: &Teller) {
        let left = [
            (NotBrought::Removed, &self.removed),
            (NotBrought::LeadsOut, &self.links),
            (NotBrought::NoFile, &self.special),
        ];
        for (what, names) in left.into_iter().filter(|(_, names)| !names.is_empty()) {
            teller.tell(FilesEvent::NotBroughtBack { what, names: names.as_slice().into() });
        }
    }
}

/// Brings the matching files and links that are new or changed below `root` on the machine into their folder here. What cannot go there stays in
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
    let found = entries(connection, root).await?;
    let changes = changes(files, &found, &mut done)?;
    let known: Vec<PathBuf> =
        changes.files.keys().filter(|path| files.before.contains_key(&key(path))).cloned().collect();
    let same = unchanged(connection, root, files, &known).await?;
    let changed: Vec<PathBuf> = changes.files.keys().filter(|path| !same.contains(*path)).cloned().collect();
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
    let mode = |(path, mode): (&PathBuf, &u32)| Some((path.clone(), files.changed_mode(path, *mode)?));
    let modes: BTreeMap<PathBuf, u32> = changes.files.iter().filter_map(mode).collect();
    let folders = found.iter().filter(|(_, entry)| entry.kind == RemoteKind::Folder);
    let folders = folders.map(|(path, entry)| (path.clone(), entry.mode & MODE)).collect();
    let mut placing = Placing::new(files, into, folders, &mut done);
    placing.place_files(&changed, &modes)?;
    placing.place_links(&changes.links)?;
    placing.place_modes(modes.iter().filter(|(path, _)| same.contains(*path)))?;
    placing.place_modes(changes.folders.iter())?;
    placing.finish()?;
    step.finish_with(moved);
    done.tell_left(teller);
    Ok(done)
}

/// Those of these files that have the content with which they were sent.
async fn unchanged(
    connection: &dyn Connection,
    root: &str,
    files: &SyncBack,
    known: &[PathBuf],
) -> Result<BTreeSet<PathBuf>, Fault> {
    let mut same: BTreeSet<PathBuf> = BTreeSet::new();
    if known.is_empty() {
        return Ok(same);
    }
    let printed = ask(connection, guest::of(connection.platform()).sync_hash(root).stdin(names(known))).await?;
    let mut hashed: BTreeSet<&Path> = BTreeSet::new();
    for (path, hash) in remote::hashes(&printed) {
        hashed.insert(path);
        if files.before.get(&key(path)) == Some(&hex(&hash)) {
            same.insert(path.to_owned());
        }
    }
    // Not even the machine's user reads these, as when they were sent.
    same.extend(known.iter().filter(|path| !hashed.contains(path.as_path())).cloned());
    Ok(same)
}

/// What a path is called in what is kept of it: text, whatever its bytes are.
fn key(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

/// A path that [`key`] wrote, as a message has it.
fn shown(key: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), key.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, if byte == b'\\' { rest.next() } else { None }) {
            (_, Some(b'x')) => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                u8::from_str_radix(digits, 16).unwrap_or(b'?')
            }
            (_, Some(b't')) => b'\t',
            (_, Some(b'r')) => b'\r',
            (_, Some(b'n')) => b'\n',
            (_, Some(other)) => other,
            (byte, None) => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What matches below the root and is not as it was before the command. No link is followed: it could lead anywhere.
fn changes(files: &SyncBack, found: &BTreeMap<PathBuf, RemoteEntry>, done: &mut SyncedBack) -> Result<Changes, Fault> {
    let (matching, mut changes, mut room) = (files.matching(found)?, Changes::default(), free_bytes(&files.folder));
    for (path, entry) in &matching.all {
        if files.there.get(&key(path)) == Some(&entry.identity()) {
            continue;
        }
        match &entry.kind {
            RemoteKind::File(_) if entry.size <= room => {
                room -= entry.size;
                changes.files.insert((*path).clone(), entry.mode);
            }
            RemoteKind::File(_) => done.unreadable.push(format!("{} ({})", path.display(), text::bytes(entry.size))),
            RemoteKind::Link(target) => {
                let target = PathBuf::from(std::ffi::OsStr::from_bytes(target));
                match files.links.get(&key(path)) {
                    Some(before) if *before == key(&target) => {}
                    _ if files.stays_within(path, &target) => changes.links.push(((*path).clone(), target)),
                    _ => done.links.push(path.display().to_string()),
                }
            }
            RemoteKind::Folder => {
                changes.folders.extend(files.changed_mode(path, entry.mode).map(|mode| ((*path).clone(), mode)));
            }
            RemoteKind::Other => done.special.push(path.display().to_string()),
        }
    }
    let there: BTreeSet<String> = found.keys().map(|path| key(path)).collect();
    let sent = files.before.keys().chain(files.links.keys());
    done.removed = sent.filter(|path| !there.contains(*path)).map(|path| shown(path)).collect();
    done.missing = matching.missing;
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_as_it_is_called() {
        for path in ["a b", "ü\n\t\\x41'\"", "", "x\\"] {
            assert_eq!(shown(&key(Path::new(path))), path);
        }
        assert_eq!(shown(&key(Path::new(std::ffi::OsStr::from_bytes(b"a\xff")))), "a\u{fffd}");
    }

    #[test]
    fn only_links_that_stay_within_the_folder_are_made_here() {
        let place = tempfile::tempdir().unwrap();
        let files = SyncBack::note(place.path(), &[], (&["**".to_owned()], &[]), &[".git"]).unwrap();
        let stays = |path: &str, target: &str| files.stays_within(Path::new(path), Path::new(target));
        for (path, target) in [("a", "b"), ("a", "./b/c"), ("x/a", "../b"), ("x/y/a", "../../b"), ("x/a", "..")] {
            assert!(stays(path, target), "{path} {target}");
        }
        for (path, target) in [
            ("a", "/etc"),
            ("a", "../b"),
            ("x/a", "../../b"),
            ("x/a", "b/../../../c"),
            ("a", ".git/hooks"),
            ("a", "x/../b"),
        ] {
            assert!(!stays(path, target), "{path} {target}");
        }
    }
}
