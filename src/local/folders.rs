//! The places of a local machine's files below the state directory.

use std::path::{Path, PathBuf};

use model::base::id::MachineId;
use model::image::Fingerprint;

use crate::trouble::{Doing, Trouble};

/// The folders of one state directory.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    state: PathBuf,
}

impl Folders {
    /// The folders of the state directory `state`.
    ///
    /// The path is made canonical: guards are found by it, also by a driver that reaches the directory by another link.
    /// A folder that does not exist yet is canonical but for its last part.
    pub(crate) fn new(state: &Path) -> Self {
        let whole = || std::fs::canonicalize(state);
        let parent = || Some(std::fs::canonicalize(state.parent()?).ok()?.join(state.file_name()?));
        Self { state: whole().ok().or_else(parent).unwrap_or_else(|| state.to_owned()) }
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// The folder that holds a folder for each machine.
    pub(crate) fn machines(&self) -> PathBuf {
        self.state.join("machines")
    }

    /// The folder of a machine.
    pub(crate) fn machine(&self, id: &MachineId) -> MachineFolder {
        MachineFolder { path: self.machines().join(id.as_str()) }
    }

    /// The folder that holds layers, records, tools and locks.
    pub(crate) fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// The folder that holds a folder for each layer.
    pub(crate) fn layers(&self) -> PathBuf {
        self.images().join("layers")
    }

    /// The folder of a layer, which exists only when the layer is whole.
    pub(crate) fn layer(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.layers().join(&fingerprint.0)
    }

    /// The folder that holds a file for each finished image.
    pub(crate) fn records(&self) -> PathBuf {
        self.images().join("records")
    }

    /// The folder that holds programs that this host lacks and that were downloaded.
    pub(crate) fn tools(&self) -> PathBuf {
        self.images().join("tools")
    }

    /// The folder that holds the files that are locked.
    pub(crate) fn locks(&self) -> PathBuf {
        self.images().join("locks")
    }

    /// The folder that holds layers that are being added or removed.
    pub(crate) fn staging(&self) -> PathBuf {
        self.images().join("tmp")
    }
}

/// The folder of one machine.
#[derive(Debug, Clone)]
pub(crate) struct MachineFolder {
    path: PathBuf,
}

impl MachineFolder {
    /// The machine's folder at `path`: a sandbox sees its own folder by another name.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The machine's specification: written by the driver, read by the guard.
    pub(crate) fn spec(&self) -> PathBuf {
        self.path.join("spec.json")
    }

    /// The time at which the machine ends unless the driver renews it: decimal seconds since 1970.
    pub(crate) fn lease(&self) -> PathBuf {
        self.path.join("lease")
    }

    /// The facts about the machine's guard: written by the guard.
    pub(crate) fn facts(&self) -> PathBuf {
        self.path.join("guard.json")
    }

    /// The output of the guard, the first process and the SSH server.
    pub(crate) fn console(&self) -> PathBuf {
        self.path.join("console.log")
    }

    /// The socket at which the guard hands over connections.
    pub(crate) fn control(&self) -> PathBuf {
        self.path.join(CONTROL)
    }

    /// The socket at which the guard pauses the machine.
    pub(crate) fn pause(&self) -> PathBuf {
        self.path.join(PAUSE)
    }

    /// The fingerprint of the layer that the files become, where no image may be without it.
    pub(crate) fn layer(&self) -> PathBuf {
        self.path.join("layer")
    }

    /// The machine's private host key.
    pub(crate) fn host_key(&self) -> PathBuf {
        self.path.join("host_key")
    }

    /// The configuration of `apt` in the machine, including proxies with their passwords: written by the driver, for
    /// root only.
    pub(crate) fn apt_conf(&self) -> PathBuf {
        self.path.join("apt.conf")
    }

    /// The files that the machine changes: the overlay's upper folder.
    pub(crate) fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    /// The overlay's work folder.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// The mount point of the machine's root, in its own mount namespace.
    pub(crate) fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// The machine's `/tmp`.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// The file behind the machine's second volume.
    pub(crate) fn volume(&self) -> PathBuf {
        self.path.join("volume.img")
    }
}

/// The file over which the host's proxies are mounted in a machine on the host's network; every base has an empty file
/// there.
pub(crate) const APT_PROXY: &str = "/etc/apt/apt.conf.d/95automation-proxy";

/// The control socket's name in a machine's folder.
pub(crate) const CONTROL: &str = "control.sock";

/// The name, in a machine's folder, of the socket at which its guard pauses it.
pub(crate) const PAUSE: &str = "pause.sock";

/// The entries of a folder; none where it does not exist. A folder that cannot be read is an error, since its content
/// is unknown.
pub(crate) fn entries(folder: &Path) -> Result<Vec<std::fs::DirEntry>, Trouble> {
    let doing = || format!("read the folder `{}`", folder.display());
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect).doing(doing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_from_what_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(entries(folder.path()).unwrap().len(), 1);
        assert!(entries(&folder.path().join("nothing")).unwrap().is_empty());
        let trouble = entries(&folder.path().join("file")).unwrap_err();
        assert!(trouble.message.starts_with("cannot read the folder"), "{trouble}");
    }
}
