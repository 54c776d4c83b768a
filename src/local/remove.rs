//! Decides which folders of a state directory may be removed as root of a machine's user namespace.

use std::path::Path;

use model::base::id::MachineId;

/// Whether `path` may be removed: directly below `machines` (with a machine's id), `images/tmp` or `images/layers`.
pub(crate) fn is_ours(state: &Path, path: &Path) -> bool {
    let Ok(inner) = path.strip_prefix(state) else { return false };
    let parts: Vec<&str> = inner.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        ["machines", id] => MachineId::of_folder(id.as_ref()).is_some(),
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
}
