//! Removing a machine's folder.

use std::io;
use std::path::Path;

use crate::base::id::MachineId;

/// Removes a folder and all below it; well when it is not there.
///
/// Tries again when something is added meanwhile, as dying processes do.
pub fn tree(path: &Path) -> io::Result<()> {
    for _ in 0..20 {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            other => return other,
        }
    }
    std::fs::remove_dir_all(path)
}

/// Whether `path` may be removed: directly below `machines` (with a machine's id), `images/tmp` or `images/layers`.
pub fn is_ours(state: &Path, path: &Path) -> bool {
    let Ok(inner) = path.strip_prefix(state) else { return false };
    let parts: Vec<&str> = inner.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        ["machines", id] => id.parse::<MachineId>().is_ok(),
        ["images", "tmp" | "layers", name] => !name.starts_with('.'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_our_folders_may_be_removed() {
        let state = Path::new("/home/a/.hgautomation");
        let ours = |path: &str| is_ours(state, &state.join(path));
        assert!(ours("machines/hg-0123456789") && ours("images/tmp/x") && ours("images/layers/abc"));
        for other in ["", "machines", "machines/hg-1/upper", "machines/..", "images", "keys", "/etc", "runs/x"] {
            assert!(!ours(other), "{other}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_removed_already() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        tree(&path).unwrap();
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        std::os::unix::fs::symlink("/etc", path.join("link")).unwrap();
        tree(&path).unwrap();
        assert!(!path.exists() && Path::new("/etc").exists());
    }
}
