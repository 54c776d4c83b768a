//! What Git says of the files of a folder.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use model::fault::Fault;

use crate::program::git;
use crate::source::{Known, QUESTION, names, records};

/// The mode under which the index holds a repository within this one.
const REPOSITORY: &[u8] = b"160000 ";

pub(super) async fn known(top: &Path, asks_for_ignored: bool) -> Result<Known, Fault> {
    let mut known = Known::default();
    let is_folder = |path: &Path| std::fs::symlink_metadata(top.join(path)).is_ok_and(|found| found.is_dir());
    let said = git(top, &["ls-files", "-z", "--stage"], QUESTION).await?;
    for record in records(&said, top, "git")? {
        let Some(at) = record.iter().position(|byte| *byte == b'\t') else { continue };
        let path = PathBuf::from(OsStr::from_bytes(&record[at + 1..]));
        match (is_folder(&path), record.starts_with(REPOSITORY)) {
            (false, _) => known.tracked.push(path),
            (true, true) => drop(known.inner.insert(path)),
            // What lies where a file was is listed by itself.
            (true, false) => {}
        }
    }
    let others = async |flags: &[&str]| {
        let said = git(top, &[&["ls-files", "-z", "--others", "--exclude-standard"], flags].concat(), QUESTION).await?;
        // A repository within this one is listed as a folder.
        names(&said, top, "git").map(|paths| paths.into_iter().partition::<Vec<_>, _>(|path| !is_folder(path)))
    };
    let (unknown, inner) = others(&[]).await?;
    known.unknown = unknown;
    // It may not be there for a moment any more, and none of its files is known then.
    known.inner.extend(inner.into_iter().map(without_slash));
    if asks_for_ignored {
        let (ignored, inner) = others(&["--ignored"]).await?;
        known.ignored = ignored;
        known.ignored_inner = inner.into_iter().map(without_slash).collect();
    }
    let head = git(top, &["rev-parse", "--verify", "--quiet", "HEAD"], QUESTION).await?;
    let revision = Some(String::from_utf8_lossy(&head.stdout).trim().to_owned());
    known.revision = revision.filter(|revision| head.code == Some(0) && !revision.is_empty());
    known.changed = !git(top, &["status", "--porcelain", "--", "."], QUESTION).await?.stdout.is_empty();
    Ok(known)
}

/// A folder is listed with a slash behind its name.
fn without_slash(path: PathBuf) -> PathBuf {
    path.components().collect()
}

/// Whether the repository ignores the folder `below` it itself, not only each file in it.
pub(super) async fn ignores(root: &Path, below: &Path) -> Result<bool, Fault> {
    let args: [&OsStr; 4] = ["check-ignore".as_ref(), "--quiet".as_ref(), "--".as_ref(), below.as_os_str()];
    Ok(git(root, &args, QUESTION).await?.code == Some(0))
}
