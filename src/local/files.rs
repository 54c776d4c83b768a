//! Work on files of machines and layers as root of the machines' user namespace: an ordinary user's machine has files
//! of subordinate ids, which the user may neither remove nor even look at.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::base::leash::Leash;
use model::base::removal;
use model::base::text;
use rustix::process::Signal;

use crate::images::layers;
use crate::spec::IdMap;
use crate::{computer, ids, remove};

/// The hidden subcommand: `automation internal-files remove|seal STATE PATH MAP`, where `MAP` is JSON.
pub(crate) const FILES_COMMAND: &str = "internal-files";

/// The work to do on one of our folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Remove the folder and all below it.
    Remove,
    /// Strip the layer in the folder's `fs` of the files that must not be kept, and measure it.
    Seal,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Seal => "seal",
        }
    }

    /// Does the work with the rights of this process; returns the bytes on disk of a sealed layer.
    fn apply(self, state: &Path, path: &Path) -> io::Result<u64> {
        if !remove::is_ours(state, path) {
            return Err(io::Error::other(format!("`{}` is not one of our folders", path.display())));
        }
        match self {
            Self::Remove => removal::remove_tree(path).map(|()| 0),
            Self::Seal => {
                let root = path.join("fs");
                layers::strip(&root)?;
                layers::measure(&root)
            }
        }
    }
}

/// Works on files of one state directory, for the driver.
#[derive(Debug, Clone)]
pub(crate) struct FileWorker {
    /// The state directory.
    pub state: PathBuf,
    /// Our own executable.
    pub executable: PathBuf,
}

impl FileWorker {
    /// Does `action` on `path`; returns the bytes on disk of a sealed layer. Blocks.
    pub(crate) fn apply(&self, action: Action, path: &Path) -> io::Result<u64> {
        // The user's own rights are tried first: a machine that never came up has only files of the user, and the map
        // may be what it lacked.
        if action == Action::Remove {
            match action.apply(&self.state, path) {
                // A mount is in the way of the namespace's root too.
                Err(error) if error.kind() != io::ErrorKind::ResourceBusy => {}
                done => return done,
            }
        }
        let Ok(Some(map)) = computer::id_map() else { return action.apply(&self.state, path) };
        let output = Command::new(&self.executable)
            .args([FILES_COMMAND, action.name()])
            .args([&self.state, path])
            .arg(serde_json::to_string(&map)?)
            .stdin(Stdio::null())
            .leash(Signal::KILL)
            .output()?;
        if output.status.success() {
            return text::trim_output(&output.stdout).parse().map_err(io::Error::other);
        }
        Err(io::Error::other(text::trim_output(&output.stderr)))
    }
}

/// The body of the hidden subcommand: writes the result to standard output, the reason of a failure to standard error.
/// Returns the exit code. Must be called before the process starts a thread.
pub(crate) fn main(action: &str, state: &Path, path: &Path, map: &str) -> i32 {
    let action = [Action::Remove, Action::Seal].into_iter().find(|known| known.name() == action);
    let done = action.ok_or_else(|| "no such action".to_owned()).and_then(|action| {
        let map: IdMap = serde_json::from_str(map).map_err(|error| error.to_string())?;
        ids::enter(&map).map_err(|trouble| trouble.message)?;
        action.apply(state, path).map_err(|error| error.to_string())
    });
    let written = match &done {
        Ok(bytes) => writeln!(io::stdout(), "{bytes}"),
        Err(reason) => writeln!(io::stderr(), "{reason}"),
    };
    i32::from(done.is_err() || written.is_err())
}
