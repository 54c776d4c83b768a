//! Bringing files home by pattern.
//!
//! It takes two commands on the machine, however many patterns and files there are: one lists everything below the
//! patterns' literal beginnings, the other sends the matching files as one stream (a third runs where some patterns are
//! absolute and some relative). Matching is done here, so that a pattern means the same on every machine.
//!
//! Only files are fetched: a link is replaced by the file that it leads to on the machine, so that nothing that was
//! fetched leads anywhere. Matches that are not fetched are reported.

mod listing;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

pub use crate::transfer::artifacts::pattern::{Pattern, Patterns};

pub(crate) use crate::transfer::artifacts::listing::{FileListing, ListedKind, list};
use model::artifact::CollectedArtifacts;
use model::base::text;
use model::connection::Connection;
use model::event::{FilesEvent, StepEvent, Teller};
use model::fault::Fault;
use model::work::{Moved, Work};

/// The files to fetch, as they are kept with the run for the driver that follows it to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fetch {
    /// The patterns.
    pub wanted: Patterns,
    /// The folder for the files; none means the run's own.
    pub into: Option<PathBuf>,
}

impl Fetch {
    /// The folder for the files, where `run` is the folder of the run.
    pub fn folder(&self, run: &Path) -> PathBuf {
        self.into.clone().unwrap_or_else(|| run.join("artifacts"))
    }
}

/// Fetches the matching files into the folder `into`, which is made if there are any. Files of relative patterns keep
/// their paths below `root`, those of absolute patterns their whole paths.
pub async fn collect(
    teller: &Teller,
    connection: &dyn Connection,
    root: &str,
    wanted: &Patterns,
    into: &Path,
) -> Result<CollectedArtifacts, Fault> {
    let mut collected = CollectedArtifacts { folder: into.to_owned(), ..CollectedArtifacts::default() };
    if wanted.is_empty() {
        return Ok(collected);
    }
    let step = teller.begin(Work::FetchingArtifacts);
    let mut listing = list(connection, root, wanted).await?;
    listing.leave_out(&wanted.exclusions()?, root);
    let mut chosen = Selection { room: free_bytes(into), ..Selection::default() };
    for pattern in &wanted.patterns {
        chosen.add(pattern, root, &listing, &mut collected)?;
    }
    collected.settle();
    let moved = AtomicU64::new(0);
    let progress = |bytes: u64| {
        let done = moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        teller.tell(StepEvent::Moved { done, total: Some(chosen.total) });
    };
    for (base, paths) in &chosen.paths {
        let paths: Vec<PathBuf> = paths.iter().cloned().collect();
        std::fs::create_dir_all(into)
            .map_err(|error| Fault::outside(format!("cannot make `{}`", into.display())).because(error))?;
        let most = chosen.room.saturating_sub(collected.bytes);
        let totals = connection.trees()?.download_some(base, &paths, into, most, &progress).await?;
        collected.files += totals.files;
        collected.bytes += totals.bytes;
    }
    step.finish_with(Moved { files: collected.files, bytes: collected.bytes });
    report_left_out(teller, &collected);
    Ok(collected)
}

/// The files that match.
#[derive(Default)]
struct Selection {
    /// Paths, by the folder that they are relative to.
    paths: BTreeMap<String, BTreeSet<PathBuf>>,
    /// Their bytes, with holes counted.
    total: u64,
    /// The most bytes that they may have.
    room: u64,
}

impl Selection {
    /// Adds the files that match a pattern, and notes in `collected` the matches that cannot be fetched.
    fn add(
        &mut self,
        pattern: &Pattern,
        root: &str,
        listing: &FileListing,
        collected: &mut CollectedArtifacts,
    ) -> Result<(), Fault> {
        let (base, matcher) = (if pattern.is_absolute() { "/" } else { root }, pattern.matcher()?);
        let (mut any, mut folder) = (false, false);
        for (path, kind) in &listing.found {
            let Ok(below) = path.strip_prefix(base) else { continue };
            if !matcher.is_match(if pattern.is_absolute() { path.as_path() } else { below }) {
                continue;
            }
            match *kind {
                ListedKind::Folder => folder = true,
                ListedKind::Link => collected.links.push(path.display().to_string()),
                ListedKind::File { bytes, readable } => {
                    any = true;
                    match readable {
                        true => self.take(base, below, bytes, collected),
                        false => collected.unreadable.push(path.display().to_string()),
                    }
                }
            }
        }
        for path in listing.closed.iter().filter(|path| pattern.may_match_in(root, path)) {
            collected.unreadable.push(path.display().to_string());
        }
        if !any && folder {
            collected.folders.push(pattern.glob.clone());
        }
        if !any && pattern.required {
            collected.missing.push(pattern.glob.clone());
        }
        Ok(())
    }

    fn take(&mut self, base: &str, below: &Path, bytes: u64, collected: &mut CollectedArtifacts) {
        let paths = self.paths.get(base);
        if paths.is_some_and(|paths| paths.contains(below)) {
            return;
        }
        if bytes > self.room.saturating_sub(self.total) {
            let shown = Path::new(base).join(below).display().to_string();
            collected.too_large.push(format!("{shown} ({})", text::bytes(bytes)));
            return;
        }
        self.total += bytes;
        self.paths.entry(base.to_owned()).or_default().insert(below.to_owned());
    }
}

/// The free bytes of the disk on which `into` is or will be: files without holes could not have more.
pub(crate) fn free_bytes(into: &Path) -> u64 {
    let there = into.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let free = rustix::fs::statvfs(there).ok().filter(|found| found.f_blocks > 0);
    free.map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Reports the matches that were not fetched, where that is not an error.
fn report_left_out(teller: &Teller, collected: &CollectedArtifacts) {
    if !collected.links.is_empty() {
        teller.tell(FilesEvent::LinksLeft(collected.links.as_slice().into()));
    }
    for glob in collected.folders.iter().filter(|glob| !collected.missing.contains(glob)) {
        teller.tell(FilesEvent::FolderLeft { glob: glob.clone() });
    }
}
