//! The changes that make the folder on the machine equal to the one here.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use model::fault::Fault;

use crate::transfer::sync::local::{self, LocalTree};
use crate::transfer::sync::remote::{RemoteEntry, RemoteKind, RemoteTree};

/// The changes to make on the machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SyncPlan {
    /// Entries that are sent, a folder before its content.
    pub send: Vec<PathBuf>,
    /// Files and links that are removed.
    pub delete: Vec<PathBuf>,
    /// Folders that are removed if nothing else is in them, from the bottom.
    pub folders: Vec<PathBuf>,
    /// Modes that are set.
    pub modes: Vec<(PathBuf, u32)>,
    /// Folders that must be made writable for their owner first.
    pub open: Vec<PathBuf>,
    /// What is in the way in a folder of the tool's own, and is removed with all that is in it.
    pub clear: Vec<PathBuf>,
    /// Folders on the machine in which something comes or goes; the top is the empty path.
    pub touched: Vec<PathBuf>,
    /// Entries that exist only on the machine and stay.
    pub kept: usize,
    /// Entries that are the same on both sides.
    pub unchanged: usize,
}

impl SyncPlan {
    /// The number of entries that are removed.
    pub fn delete_count(&self) -> usize {
        self.delete.len() + self.folders.len() + self.clear.len()
    }

    /// Whether there is anything to do.
    pub fn has_changes(&self) -> bool {
        self.delete_count() + self.send.len() + self.modes.len() > 0
    }

    /// The bytes of the files that are sent.
    pub fn bytes(&self, here: &LocalTree) -> u64 {
        self.send.iter().filter_map(|path| here.entries.get(path)).map(|entry| entry.size).sum()
    }
}

/// Compares both sides. An entry that is in the way and that no sync put there is an error, before anything is changed; in a folder that is the
/// tool's own, where `owned`, it gives way.
pub fn make(here: &LocalTree, there: &RemoteTree, owned: bool) -> Result<SyncPlan, Fault> {
    let mut plan = SyncPlan::default();
    let mut gone = if owned { cleared(here, there) } else { HashSet::new() };
    plan.clear = gone.iter().filter(|path| here.entries.contains_key(**path)).map(|path| path.to_path_buf()).collect();
    plan.clear.sort();
    remove(&mut plan, &mut gone, here, there)?;
    for (path, ours) in &here.entries {
        match there.entries.get(path) {
            Some(theirs) if !gone.contains(path.as_path()) && is_same(ours, theirs) => {
                if ours.mode != theirs.mode && !matches!(ours.kind, local::LocalKind::Link(_)) {
                    plan.modes.push((path.clone(), ours.mode));
                } else {
                    plan.unchanged += 1;
                }
            }
            _ => {
                // A copy makes a new folder without these bits.
                if ours.kind == local::LocalKind::Folder && ours.mode & 0o7000 != 0 {
                    plan.modes.push((path.clone(), ours.mode));
                }
                plan.send.push(path.clone());
            }
        }
    }
    open(&mut plan, &gone, here, there);
    Ok(plan)
}

/// What on the machine is in the way of something that is sent, with all that is in it.
fn cleared<'a>(here: &LocalTree, there: &'a RemoteTree) -> HashSet<&'a Path> {
    let in_the_way = there.entries.iter().filter(|(path, entry)| {
        here.entries.get(*path).is_some_and(|ours| is_in_the_way(ours, entry, there.is_sent(path)))
    });
    let mut gone: HashSet<&Path> = in_the_way.map(|(path, _)| path.as_path()).collect();
    if !gone.is_empty() {
        // A folder comes before its entries.
        for path in there.entries.keys() {
            if path.parent().is_some_and(|above| gone.contains(above)) {
                gone.insert(path);
            }
        }
    }
    gone
}

/// Plans what is removed; what is `gone` already is left out.
fn remove<'a>(
    plan: &mut SyncPlan,
    gone: &mut HashSet<&'a Path>,
    here: &LocalTree,
    there: &'a RemoteTree,
) -> Result<(), Fault> {
    // Folders on the machine in which something stays.
    let mut held: HashSet<&Path> = HashSet::new();
    // From the bottom, so that a folder comes after its content.
    for (path, entry) in there.entries.iter().rev() {
        if gone.contains(path.as_path()) {
            continue;
        }
        let ours = here.entries.get(path);
        if ours.is_some_and(|ours| !is_in_the_way(ours, entry, there.is_sent(path))) {
            held.extend(path.parent());
            continue;
        }
        let folder = entry.kind == RemoteKind::Folder;
        // Only an entry that a sync put there may go, and a folder only together with everything in it.
        if there.is_sent(path) && (!folder || !held.contains(path.as_path())) {
            let list = if folder { &mut plan.folders } else { &mut plan.delete };
            list.push(path.clone());
            gone.insert(path);
        } else if ours.is_some() {
            let message = format!("`{}` on the machine is in the way", path.display().to_string().escape_debug());
            return Err(Fault::outside(message)
                .because("no sync put it there, or it was changed since")
                .hint("Nothing was changed. Remove it on the machine, or sync into another folder."));
        } else {
            held.extend(path.parent());
            plan.kept += 1;
        }
    }
    Ok(())
}

/// Plans which folders are opened. Entries can only come or go in a folder that its owner may write: a folder that forbids it is opened first, and
/// gets its mode back at the end.
fn open(plan: &mut SyncPlan, gone: &HashSet<&Path>, here: &LocalTree, there: &RemoteTree) {
    let moved = plan.send.iter().chain(&plan.delete).chain(&plan.folders).chain(&plan.clear);
    let touched: BTreeSet<PathBuf> = moved.filter_map(|path| path.parent()).map(Path::to_owned).collect();
    let set: HashSet<PathBuf> = plan.modes.iter().map(|(path, _)| path.clone()).collect();
    for path in touched {
        if path.as_os_str().is_empty() {
            plan.touched.push(path);
            continue;
        }
        let Some(theirs) = there.entries.get(&path).filter(|theirs| theirs.kind == RemoteKind::Folder) else {
            continue;
        };
        if gone.contains(path.as_path()) {
            continue;
        }
        if theirs.mode & 0o300 != 0o300 {
            plan.open.push(path.clone());
            if !set.contains(&path) {
                plan.modes.push((path.clone(), here.entries.get(&path).map_or(theirs.mode, |ours| ours.mode)));
            }
        }
        plan.touched.push(path);
    }
    // A folder is opened before the folders in it, and its mode is listed after theirs: they are out of reach while it
    // is closed.
    plan.open.sort();
    plan.modes.sort_by(|one, other| other.cmp(one));
}

/// Whether the entry there must be removed before the one here can take its place. A file or link simply replaces a
/// file; a link replaces a link, and a file replaces a link that a sync had `sent`.
fn is_in_the_way(ours: &local::LocalEntry, theirs: &RemoteEntry, sent: bool) -> bool {
    match (&ours.kind, &theirs.kind) {
        (local::LocalKind::Folder, theirs) => *theirs != RemoteKind::Folder,
        (_, RemoteKind::Folder | RemoteKind::Other) => true,
        (local::LocalKind::File(_), RemoteKind::Link(_)) => !sent,
        _ => false,
    }
}

fn is_same(ours: &local::LocalEntry, theirs: &RemoteEntry) -> bool {
    match (&ours.kind, &theirs.kind) {
        (local::LocalKind::File(ours_hash), RemoteKind::File(hash)) => {
            ours.size == theirs.size && *hash == Some(*ours_hash)
        }
        (local::LocalKind::Link(ours), RemoteKind::Link(theirs)) => ours == theirs,
        (local::LocalKind::Folder, RemoteKind::Folder) => true,
        _ => false,
    }
}
