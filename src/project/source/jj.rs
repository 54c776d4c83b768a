//! What `jj` says of the files of a folder, where Git does not lie beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use model::fault::Fault;

use crate::program::jj;
use crate::source::{Known, QUESTION, everything, names};

/// Has each file's path, from the repository's root and as it is, with a NUL behind it.
const NAMES: &str = "path ++ \"\\0\"";

/// Says which revision it is, and whether it differs from the one before it.
const REVISION: &str = "commit_id ++ if(empty, \"\", \" changed\")";

pub(super) async fn known(top: &Path, root: &Path, asks_for_ignored: bool) -> Result<Known, Fault> {
    let below = top.strip_prefix(root).unwrap_or(Path::new(""));
    let list = async |revision: &str| {
        let said = jj(top, &["file", "list", "--revision", revision, "--template", NAMES, "."], QUESTION).await?;
        let paths = names(&said, top, "jj")?;
        Ok::<_, Fault>(paths.iter().filter_map(|path| path.strip_prefix(below).ok()).map(PathBuf::from).collect())
    };
    // It takes every new file for known that it does not ignore; what an earlier revision has, somebody meant to keep.
    let all: BTreeSet<PathBuf> = list("@").await?;
    let earlier: BTreeSet<PathBuf> = list("@-").await.unwrap_or_default();
    let ignored = if asks_for_ignored { without(&everything(top)?, &all) } else { Vec::new() };
    let mut known = Known { ignored, ..Known::default() };
    (known.tracked, known.unknown) = all.into_iter().partition(|path| earlier.contains(path));
    let said = jj(top, &["log", "--no-graph", "--revisions", "@", "--template", REVISION], QUESTION).await?;
    let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let (revision, rest) = text.split_once(' ').unwrap_or((&text, ""));
    known.changed = !rest.is_empty();
    known.revision = Some(revision.to_owned()).filter(|revision| said.code == Some(0) && !revision.is_empty());
    Ok(known)
}

/// The files of these that are not among the others.
fn without(paths: &[PathBuf], others: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let folders: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    let is_file = |path: &&PathBuf| !folders.contains(path.as_path()) && !others.contains(*path);
    paths.iter().filter(is_file).cloned().collect()
}
