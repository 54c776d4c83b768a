//! Links of an archive that came from a machine.
//!
//! Whoever works on a folder next follows the links in it. What leads out of the folder would lead that person into this
//! computer's own files, wherever the machine likes; so only a note of such a link is made.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Links by their paths, with their targets.
pub type Links = HashMap<PathBuf, Vec<u8>>;

/// Links behind each other that are followed, as many as Linux follows.
const MOST: usize = 40;

/// The end of a note.
const NOTE: &[u8] = b"`.\nIt leads out of the folder that was copied, so it was not made here.\n";

/// Whether the link `path` leads out of the folder that it is in, by what the archive has and what is in the folder `there` already.
pub fn leads_out(links: &Links, there: Option<&Path>, path: &Path) -> bool {
    let parts = |target: &[u8]| -> Vec<Vec<u8>> {
        target
            .split(|byte| *byte == b'/')
            .rev()
            .filter(|part| !matches!(*part, b"" | b"."))
            .map(<[u8]>::to_vec)
            .collect()
    };
    let mut at = path.parent().map(Path::to_owned).unwrap_or_default();
    let (mut next, mut todo, mut followed) = (links.get(path).cloned(), Vec::new(), 0);
    loop {
        if let Some(target) = next.take() {
            followed += 1;
            if target.first() == Some(&b'/') {
                return true;
            }
            // The system gives up there, too: it leads nowhere.
            if followed > MOST {
                return false;
            }
            todo.extend(parts(&target));
        }
        let Some(part) = todo.pop() else { return false };
        if part == b".." {
            if !at.pop() {
                return true;
            }
            continue;
        }
        let below = at.join(OsStr::from_bytes(&part));
        let found = || there.and_then(|there| std::fs::read_link(there.join(&below)).ok());
        match links.get(&below).cloned().or_else(|| found().map(|target| target.into_os_string().into_vec())) {
            Some(target) => next = Some(target),
            None => at = below,
        }
    }
}

/// Writes what a link was that is not made.
pub fn note(place: &Path, target: &[u8]) -> std::io::Result<()> {
    let text = [&b"On the machine this is a symbolic link to `"[..], target, NOTE].concat();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(place)?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_within_the_folder_leads_nowhere_else() {
        let links: Links = [
            ("up", ".."),
            ("a/up", ".."),
            ("a/top", "../x"),
            ("a/out", "../../x"),
            ("abs", "/etc"),
            ("by", "a/up/a/top"),
            ("through", "a/up/../x"),
            ("to_abs", "./abs/passwd"),
            ("loop", "loop2"),
            ("loop2", "loop"),
            ("name", "new\nline"),
            ("mine", "theirs/x"),
            ("dot", "."),
        ]
        .map(|(path, target)| (PathBuf::from(path), target.as_bytes().to_vec()))
        .into();
        let out = ["up", "a/out", "abs", "through", "to_abs"];
        for path in links.keys() {
            assert_eq!(leads_out(&links, None, path), out.iter().any(|out| path == Path::new(out)), "{path:?}");
        }
        // What is there already counts too.
        let there = tempfile::tempdir().unwrap();
        assert!(!leads_out(&links, Some(there.path()), Path::new("mine")));
        std::os::unix::fs::symlink("/etc", there.path().join("theirs")).unwrap();
        assert!(leads_out(&links, Some(there.path()), Path::new("mine")));
    }
}
