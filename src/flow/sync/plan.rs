//! What is to be done so that the folder there is equal to the one here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use model::fault::Fault;

use crate::sync::local::{self, Survey};
use crate::sync::remote::{Entry, Kind, Look};

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is sent, a folder before what is in it.
    pub send: Vec<PathBuf>,
    /// Files and links that are removed.
    pub delete: Vec<PathBuf>,
    /// Folders that are removed where nothing else is in them, from the bottom.
    pub folders: Vec<PathBuf>,
    /// Modes that are set.
    pub modes: Vec<(PathBuf, u32)>,
    /// Folders that their owner must be let into first.
    pub open: Vec<PathBuf>,
    /// Entries there that stay without being here.
    pub kept: usize,
    /// Entries that are the same on both sides.
    pub unchanged: usize,
}

impl Plan {
    /// The number of entries that are removed.
    pub fn deletes(&self) -> usize {
        self.delete.len() + self.folders.len()
    }

    /// Whether there is anything to do.
    pub fn changes(&self) -> bool {
        self.deletes() + self.send.len() + self.modes.len() > 0
    }

    /// The bytes of the files that are sent.
    pub fn bytes(&self, here: &Survey) -> u64 {
        self.send.iter().filter_map(|path| here.entries.get(path)).map(|entry| entry.size).sum()
    }
}

/// Compares both sides. Something that no sync put there and that is in the way is an error, before anything is changed.
pub fn make(here: &Survey, there: &Look) -> Result<Plan, Fault> {
    let mut plan = Plan::default();
    let mut gone: HashSet<&Path> = HashSet::new();
    // From the bottom, so that a folder comes after what is in it.
    for (path, entry) in there.entries.iter().rev() {
        let ours = here.entries.get(path);
        if ours.is_some_and(|ours| !in_the_way(ours, entry, there.is_sent(path))) {
            continue;
        }
        let folder = entry.kind == Kind::Folder;
        let empty = || children(there, path).all(|below| gone.contains(below));
        if there.is_sent(path) && (!folder || empty()) {
            let list = if folder { &mut plan.folders } else { &mut plan.delete };
            list.push(path.clone());
            gone.insert(path);
        } else if ours.is_some() {
            let message = format!("`{}` on the machine is in the way", path.display().to_string().escape_debug());
            return Err(Fault::outside(message)
                .because("no sync put it there, or it was changed since")
                .hint("Nothing was changed. Remove it on the machine, or sync into another folder."));
        } else {
            plan.kept += 1;
        }
    }
    for (path, ours) in &here.entries {
        match there.entries.get(path) {
            Some(theirs) if !gone.contains(path.as_path()) && same(ours, theirs) => {
                if ours.mode != theirs.mode && !matches!(ours.kind, local::Kind::Link(_)) {
                    plan.modes.push((path.clone(), ours.mode));
                } else {
                    plan.unchanged += 1;
                }
            }
            _ => plan.send.push(path.clone()),
        }
    }
    let touched: HashSet<&Path> =
        plan.send.iter().chain(&plan.delete).chain(&plan.folders).filter_map(|path| path.parent()).collect();
    for path in touched {
        let Some(theirs) = there.entries.get(path).filter(|theirs| theirs.kind == Kind::Folder) else { continue };
        if theirs.mode & 0o300 != 0o300 && !gone.contains(path) {
            plan.open.push(path.to_owned());
            if !plan.modes.iter().any(|(set, _)| set == path) {
                plan.modes.push((path.to_owned(), here.entries.get(path).map_or(theirs.mode, |ours| ours.mode)));
            }
        }
    }
    // What is within a folder that nobody may enter is reached behind it.
    plan.open.sort();
    plan.modes.sort_by(|one, other| other.cmp(one));
    Ok(plan)
}

/// Whether what is there must go before what is here can come. A file gives way to a file or link of itself; a link gives way to a
/// link, and to a file where a sync had `sent` it.
fn in_the_way(ours: &local::Entry, theirs: &Entry, sent: bool) -> bool {
    match (&ours.kind, &theirs.kind) {
        (local::Kind::Folder, theirs) => *theirs != Kind::Folder,
        (_, Kind::Folder | Kind::Odd) => true,
        (local::Kind::File(_), Kind::Link(_)) => !sent,
        _ => false,
    }
}

fn same(ours: &local::Entry, theirs: &Entry) -> bool {
    match (&ours.kind, &theirs.kind) {
        (local::Kind::File(ours_hash), Kind::File(hash)) => ours.size == theirs.size && *hash == Some(*ours_hash),
        (local::Kind::Link(ours), Kind::Link(theirs)) => ours == theirs,
        (local::Kind::Folder, Kind::Folder) => true,
        _ => false,
    }
}

/// What stands directly in a folder on the machine.
fn children<'a>(there: &'a Look, folder: &'a Path) -> impl Iterator<Item = &'a Path> {
    let after = (std::ops::Bound::Excluded(folder.to_owned()), std::ops::Bound::Unbounded);
    let below = there.entries.range(after).map(|(path, _)| path.as_path());
    below.take_while(move |path| path.starts_with(folder)).filter(move |path| path.parent() == Some(folder))
}
