//! Layers on disk: `layers/<fingerprint>/` holds `fs/` and `layer.json`, and exists only when it is whole.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use model::base::id::MachineId;
use model::base::removal;
use model::image::{Fingerprint, LayerRecord};

use crate::folders::{Folders, entries};
use crate::proc;
use crate::spec::{Spec, SpecKind, read_json};
use crate::trouble::{Doing, Trouble};

/// The record's name in a layer's folder.
pub(crate) const RECORD: &str = "layer.json";

/// The ending of the name of a layer that was moved out of its place for removal.
pub(crate) const REMOVED: &str = ".removed";

/// The start of the name of a probe's folder in `images/tmp`; the number of its process follows.
pub(crate) const PROBE: &str = "probe-";

/// Refuses a fingerprint that cannot be a folder's name.
pub(crate) fn check(fingerprint: &Fingerprint) -> Result<(), Trouble> {
    let text = &fingerprint.0;
    let plain = (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { Ok(()) } else { Err(Trouble::new(format!("`{text}` is not a fingerprint"))) }
}

/// Whether a folder of this name among the layers is ours; all other files there are somebody else's.
pub(crate) fn is_layer_name(name: &str) -> bool {
    check(&Fingerprint(name.to_owned())).is_ok()
}

/// Whether a folder of this name in `images/tmp` is ours: a layer to be removed, the layer of a machine, or a probe's
/// folder.
pub(crate) fn is_staging_name(name: &str) -> bool {
    name.strip_suffix(REMOVED).is_some_and(is_layer_name)
        || name.strip_prefix(PROBE).is_some_and(|pid| pid.parse::<u32>().is_ok())
        || MachineId::of_folder(name.as_ref()).is_some()
}

/// Whether the layer exists.
pub(crate) fn is_present(folders: &Folders, fingerprint: &Fingerprint) -> bool {
    check(fingerprint).is_ok() && folders.layer(fingerprint).join(RECORD).exists()
}

/// All layers, oldest first.
pub(crate) fn all(folders: &Folders) -> Result<Vec<LayerRecord>, Trouble> {
    let mut records = Vec::new();
    for entry in entries(&folders.layers())? {
        let path = entry.path().join(RECORD);
        if path.exists() {
            records.push(read_json::<LayerRecord>(&path)?);
        }
    }
    records.sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
    Ok(records)
}

/// The living machine that boots from a layer, if there is one.
pub(crate) fn user_of(folders: &Folders, fingerprint: &Fingerprint) -> Result<Option<String>, Trouble> {
    let guards = proc::guards()?;
    Ok(guards.iter().filter(|found| found.spec.starts_with(folders.machines())).find_map(|found| {
        let spec: Spec = read_json(&found.spec).ok()?;
        match &spec.kind {
            SpecKind::Machine(machine) if machine.layers.contains(fingerprint) => Some(spec.id.to_string()),
            _ => None,
        }
    }))
}

/// Removes from a layer the files that belong to the computer or the boot that made it.
///
/// `/dev`, `/run` and `/tmp` are mounts on a machine; files beneath them come only from a bootstrap. Host keys are made
/// for each machine; those that a package's installation made would be the same on all of them.
pub(crate) fn strip(root: &Path) -> std::io::Result<()> {
    for folder in ["dev", "run", "tmp"] {
        let folder = root.join(folder);
        if std::fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
            for entry in std::fs::read_dir(&folder)? {
                remove_entry(&entry?)?;
            }
        }
    }
    let keys = root.join("etc/ssh");
    // A link would lead to the files of this computer.
    let keys = if is_reached(root, &keys) { entries_of(&keys)? } else { Vec::new() };
    for entry in keys {
        let name = entry.file_name();
        // The whiteout of a key, which is a device, must stay, because it hides the key of a lower layer.
        if name.to_string_lossy().starts_with("ssh_host_") && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The folders in which our scripts keep what belongs to one machine, and where folders of runs are.
const OF_MACHINE: [&str; 2] = ["etc/ssh/hg-authorized-keys", "var/lib/hg-automation"];

/// The beginning of the names of folders of runs, and where they are: for the files of a Linux machine in memory or in a mount, but for a
/// stand-in on its drive.
const RUN_FOLDER: &str = "hg-automation-";
const DRIVE: &str = "srv/windows/drive_c";

/// The file by which the scripts of runners mark a folder that they made to work in, and the folders in which they make such.
const WORK_MARKER: &str = ".made-by-automation";
const WORK_PLACES: [&str; 3] = ["", "var/tmp", DRIVE];

/// Removes from the state of a machine what must not be on those that boot from it: all that [`strip`] removes, the keys that somebody
/// let in, the folders of runs, and those in which they worked, with the sources that were sent and what was left there.
pub(crate) fn strip_snapshot(root: &Path) -> std::io::Result<()> {
    strip(root)?;
    let homes = entries_of(&root.join("home"))?.into_iter().map(|entry| entry.path());
    for home in homes.chain([root.join("root"), root.join(DRIVE).join("users/hg")]) {
        // A link to a home elsewhere is not followed: it would lead to the files of this computer.
        let ssh = home.join(".ssh");
        if [&home, &ssh].into_iter().all(|folder| is_folder(folder)) {
            for entry in entries_of(&ssh)? {
                let is_key = entry.file_name().to_string_lossy().starts_with("authorized_keys");
                if is_key && entry.file_type()?.is_file() {
                    std::fs::remove_file(entry.path())?;
                }
            }
        }
    }
    for folder in OF_MACHINE.map(|folder| root.join(folder)) {
        if is_reached(root, &folder) && is_folder(&folder) {
            removal::remove_tree(&folder)?;
        }
    }
    for entry in entries_below(root, DRIVE)? {
        if entry.file_name().to_string_lossy().starts_with(RUN_FOLDER) {
            remove_entry(&entry)?;
        }
    }
    for place in WORK_PLACES {
        for entry in entries_below(root, place)? {
            let marked = std::fs::symlink_metadata(entry.path().join(WORK_MARKER)).is_ok_and(|found| found.is_file());
            if marked && entry.file_type()?.is_dir() {
                removal::remove_tree(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// The entries of a folder below `root`; none where there is no such folder, or only by a link.
fn entries_below(root: &Path, folder: &str) -> std::io::Result<Vec<std::fs::DirEntry>> {
    let folder = root.join(folder);
    if is_reached(root, &folder.join(WORK_MARKER)) { entries_of(&folder) } else { Ok(Vec::new()) }
}

/// Whether the folders on the way from `root` to `path` are folders and no links.
fn is_reached(root: &Path, path: &Path) -> bool {
    path.ancestors().skip(1).take_while(|folder| *folder != root).all(is_folder)
}

fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// The entries of a folder; none where there is no such folder.
fn entries_of(folder: &Path) -> std::io::Result<Vec<std::fs::DirEntry>> {
    if is_folder(folder) { std::fs::read_dir(folder)?.collect() } else { Ok(Vec::new()) }
}

fn remove_entry(entry: &std::fs::DirEntry) -> std::io::Result<()> {
    if entry.file_type()?.is_dir() { removal::remove_tree(&entry.path()) } else { std::fs::remove_file(entry.path()) }
}

/// The bytes that a tree takes on disk. A file with several names counts once.
pub(crate) fn measure(root: &Path) -> std::io::Result<u64> {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let found = entry.metadata()?;
            if found.nlink() < 2 || found.is_dir() || seen.insert(found.ino()) {
                bytes += found.blocks() * 512;
            }
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

/// Flushes the file system of `path` to its disk, because the overlay of a machine does not wait for that.
pub(crate) fn sync(path: &Path) -> Result<(), Trouble> {
    let doing = || format!("write `{}` to disk", path.display());
    let folder = std::fs::File::open(path).doing(doing)?;
    rustix::fs::syncfs(&folder).doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_no_path() {
        assert!(check(&Fingerprint("0123456789abcdef".into())).is_ok());
        for bad in ["", "../../etc", "abc", "0123456z", "0123456/"] {
            assert!(check(&Fingerprint(bad.into())).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_others_are_not_ours() {
        assert!(is_layer_name("0123456789abcdef") && !is_layer_name("notours") && !is_layer_name(".hidden"));
        for name in ["0123456789abcdef.removed", "hg-0123456789", "probe-77"] {
            assert!(is_staging_name(name), "{name}");
        }
        for name in ["notours", "notours.removed", "0123456789abcdef", "probe-x", ".removed"] {
            assert!(!is_staging_name(name), "{name}");
        }
    }

    #[test]
    fn a_layer_is_stripped_and_measured() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for inner in ["dev/pts", "run/x", "etc/ssh", "tmp"] {
            std::fs::create_dir_all(root.join(inner)).unwrap();
        }
        std::fs::write(root.join("etc/ssh/ssh_host_rsa_key"), "secret").unwrap();
        std::fs::write(root.join("etc/ssh/sshd_config"), vec![0; 10000]).unwrap();
        std::fs::hard_link(root.join("etc/ssh/sshd_config"), root.join("etc/ssh/again")).unwrap();
        strip(root).unwrap();
        assert!(!root.join("etc/ssh/ssh_host_rsa_key").exists() && !root.join("run/x").exists());
        assert!(root.join("etc/ssh/sshd_config").exists() && root.join("dev").exists());
        let bytes = measure(root).unwrap();
        assert!((10000..80000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn the_state_of_a_machine_holds_no_folder_in_which_runs_worked() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for inner in ["work/src", "var/tmp/automation-work/src", "var/tmp/mine", "opt/work"] {
            std::fs::create_dir_all(root.join(inner)).unwrap();
        }
        for marked in ["work", "var/tmp/automation-work", "opt/work"] {
            std::fs::write(root.join(marked).join(WORK_MARKER), "/tmp/hg-automation-x\n").unwrap();
        }
        std::fs::write(root.join("var/tmp/automation-work/src/.env"), "SECRET=x").unwrap();
        strip_snapshot(root).unwrap();
        assert!(!root.join("work").exists() && !root.join("var/tmp/automation-work").exists());
        assert!(root.join("var/tmp/mine").exists() && root.join("opt/work").exists(), "no runner works there");
    }

    #[test]
    fn the_state_of_a_machine_holds_no_keys_and_nothing_outside_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("fs"), folder.path().join("outside"));
        let inner =
            ["etc/ssh/hg-authorized-keys", "root/.ssh", "home/hg/.ssh", "home", "srv/windows/drive_c/hg-automation-x"];
        for inner in inner {
            std::fs::create_dir_all(root.join(inner)).unwrap();
        }
        std::fs::create_dir_all(outside.join(".ssh")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("home/link")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("var")).unwrap();
        let keys = ["etc/ssh/ssh_host_ed25519_key", "etc/ssh/hg-authorized-keys/hg", "root/.ssh/authorized_keys"];
        for file in keys.into_iter().chain(["home/hg/.ssh/authorized_keys2", "home/hg/.ssh/config"]) {
            std::fs::write(root.join(file), "x").unwrap();
        }
        std::fs::write(outside.join(".ssh/authorized_keys"), "x").unwrap();
        std::fs::create_dir_all(outside.join("lib/hg-automation")).unwrap();
        for work in [root.join("work"), outside.join("tmp/work")] {
            std::fs::create_dir_all(work.join("src")).unwrap();
            std::fs::write(work.join(WORK_MARKER), "").unwrap();
        }
        std::os::unix::fs::symlink(outside.join("tmp/work"), root.join("linked")).unwrap();
        strip_snapshot(&root).unwrap();
        for gone in keys.into_iter().chain(["home/hg/.ssh/authorized_keys2", "srv/windows/drive_c/hg-automation-x"]) {
            assert!(!root.join(gone).exists(), "{gone}");
        }
        assert!(root.join("home/hg/.ssh/config").exists());
        assert!(!root.join("work").exists() && root.join("linked").exists() && outside.join("tmp/work/src").exists());
        assert!(outside.join(".ssh/authorized_keys").exists() && outside.join("lib/hg-automation").exists());
    }
}
