//! Links of an archive that came from a machine.
//!
//! The user of a downloaded folder follows the links in it. A link that leads out of the folder would lead to any file
//! of this computer that the machine chose; so a note is written in place of such a link.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Links by their paths, with their targets.
pub type Links = HashMap<PathBuf, Vec<u8>>;

/// Most links that are followed one after another, the same number as in Linux.
const MOST: usize = 40;

/// The end of a note's text.
const NOTE: &[u8] = b"`.\nIt leads out of the folder that was copied, so it was not made here.\n";

/// Whether the link `path` leads out of the top folder, judged by the links of the archive and by those already in the
/// folder `local`.
pub fn leads_out(links: &Links, local: Option<&Path>, path: &Path) -> bool {
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
            // The system gives up here, too: such a link leads nowhere.
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
        let found = || local.and_then(|local| std::fs::read_link(local.join(&below)).ok());
        match links.get(&below).cloned().or_else(|| found().map(|target| target.into_os_string().into_vec())) {
            Some(target) => next = Some(target),
            None => at = below,
        }
    }
}

/// Writes a note that says where the link led, in place of the link.
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
        // Links that are already in the folder count too.
        let local = tempfile::tempdir().unwrap();
        assert!(!leads_out(&links, Some(local.path()), Path::new("mine")));
        std::os::unix::fs::symlink("/etc", local.path().join("theirs")).unwrap();
        assert!(leads_out(&links, Some(local.path()), Path::new("mine")));
    }
}
