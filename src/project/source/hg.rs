//! What `hg` says of the files of a folder.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use model::fault::Fault;

use crate::program::hg;
use crate::source::{Known, QUESTION, control_of, is_own, records};

/// Has paths relative to the folder in which it is asked.
const RELATIVE: [&str; 4] = ["--config", "ui.relative-paths=yes", "--config", "commands.status.relative=yes"];

pub(super) async fn known(top: &Path, asks_for_ignored: bool) -> Result<Known, Fault> {
    let mut known = Known::default();
    let states = if asks_for_ignored { "-mardcui0" } else { "-mardcu0" };
    // The pattern makes the paths relative to the folder.
    let said = hg(top, &[&["status", states], &RELATIVE[..], &["."]].concat(), QUESTION).await?;
    for record in records(&said, top, "hg")? {
        let Some((state, name)) = record.split_at_checked(2) else { continue };
        let path = PathBuf::from(OsStr::from_bytes(name));
        known.changed |= !matches!(state[0], b'C' | b'I');
        match state[0] {
            b'M' | b'A' | b'C' => known.tracked.push(path),
            b'?' => known.unknown.push(path),
            b'I' => known.ignored.push(path),
            // Removed, or gone.
            _ => {}
        }
    }
    // It does not look into a repository within its own, and does not list it either.
    for folder in repositories_in(top) {
        match ignores(top, &folder).await? {
            false => drop(known.inner.insert(folder)),
            true if asks_for_ignored => drop(known.ignored_inner.insert(folder)),
            true => {}
        }
    }
    let log = hg(top, &["log", "--rev=.", "--template={node}"], QUESTION).await?;
    let revision = Some(String::from_utf8_lossy(&log.stdout).trim().to_owned());
    // The null revision has nothing in it.
    known.revision = revision.filter(|node| log.code == Some(0) && node.bytes().any(|byte| byte != b'0'));
    Ok(known)
}

/// The topmost repositories below a folder.
fn repositories_in(top: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(folder) = todo.pop() {
        // A folder that cannot be read has nothing to send.
        for entry in std::fs::read_dir(top.join(&folder)).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            if is_own(&path) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match control_of(&top.join(&path)) {
                Some(_) => drop(found.insert(path)),
                None => todo.push(path),
            }
        }
    }
    found
}

/// Whether a folder below `top` is ignored itself, or lies in one that is.
pub(super) async fn ignores(top: &Path, below: &Path) -> Result<bool, Fault> {
    let mut pattern = OsString::from("relpath:");
    pattern.push(below);
    let mut args: Vec<OsString> = ["debugignore"].into_iter().chain(RELATIVE).map(OsString::from).collect();
    args.push(pattern);
    let said = hg(top, &args, QUESTION).await?;
    let about = said.stdout.strip_prefix(below.as_os_str().as_bytes()).unwrap_or_default();
    Ok(said.code == Some(0) && about.starts_with(b" is ignored"))
}
