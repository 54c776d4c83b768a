//! Work on files of machines and layers as root of the machines' user namespace: an ordinary user's machine has files
//! of subordinate ids, which the user may neither remove nor even look at.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::base::id::MachineId;
use model::base::leash::Leash;
use model::base::removal;
use model::base::text;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::folders::{Folders, MachineFolder};
use crate::images::{copy, layers};
use crate::spec::IdMap;
use crate::{computer, ids, remove};

/// The hidden subcommand: `automation internal-files ACTION STATE PATH MAP`, where `MAP` is JSON.
pub(crate) const FILES_COMMAND: &str = "internal-files";

/// The work to do on one of our folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Remove the folder and all below it.
    Remove,
    /// Strip the layer in the folder's `fs` of the files that must not be kept, and measure it.
    Seal,
    /// The same where the layer is the state of a machine that was in use.
    SealSnapshot,
    /// Copy the files that another machine has changed into the folder of a machine.
    CopyFrom(MachineId),
}

/// The beginning of the name of [`Action::CopyFrom`]; the machine's id follows.
const COPY: &str = "copy-from=";

impl Action {
    fn name(&self) -> String {
        match self {
            Self::Remove => "remove".to_owned(),
            Self::Seal => "seal".to_owned(),
            Self::SealSnapshot => "seal-snapshot".to_owned(),
            Self::CopyFrom(machine) => format!("{COPY}{machine}"),
        }
    }

    fn named(name: &str) -> Option<Self> {
        let copied = name.strip_prefix(COPY).and_then(|id| MachineId::of_folder(id.as_ref()));
        let others = [Self::Remove, Self::Seal, Self::SealSnapshot].into_iter();
        others.chain(copied.map(Self::CopyFrom)).find(|known| known.name() == name)
    }

    /// Does the work with the rights of this process; returns the bytes on disk of a sealed layer, or those that were copied. `told` hears
    /// how many were copied meanwhile.
    fn apply(&self, state: &Path, path: &Path, told: &mut dyn FnMut(u64)) -> io::Result<u64> {
        if !remove::is_ours(state, path) {
            return Err(io::Error::other(format!("`{}` is not one of our folders", path.display())));
        }
        let seal = |strip: fn(&Path) -> io::Result<()>| {
            let root = path.join("fs");
            strip(&root)?;
            layers::measure(&root)
        };
        match self {
            Self::Remove => removal::remove_tree(path).map(|()| 0),
            Self::Seal => seal(layers::strip),
            Self::SealSnapshot => seal(layers::strip_snapshot),
            Self::CopyFrom(machine) => {
                let from = Folders::new(state).machine(machine).upper();
                copy::copy_tree(&from, &MachineFolder::at(path).upper(), told)
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
    pub(crate) fn apply(&self, action: &Action, path: &Path) -> io::Result<u64> {
        // The user's own rights are tried first: a machine that never came up has only files of the user, and the map
        // may be what it lacked.
        if *action == Action::Remove {
            match action.apply(&self.state, path, &mut |_| ()) {
                // A mount is in the way of the namespace's root too.
                Err(error) if error.kind() != io::ErrorKind::ResourceBusy => {}
                done => return done,
            }
        }
        let Ok(Some(map)) = computer::id_map() else { return action.apply(&self.state, path, &mut |_| ()) };
        let output = Command::new(&self.executable)
            .args([FILES_COMMAND, &action.name()])
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

    /// Copies the files that `machine` has changed into the folder `to` of another, in a process of its own that ends with this future. `told`
    /// hears how many bytes were copied.
    pub(crate) async fn copy(&self, machine: &MachineId, to: &Path, told: &(dyn Fn(u64) + Sync)) -> io::Result<()> {
        let map = computer::id_map().map_err(|trouble| io::Error::other(trouble.message))?;
        let mut copying = tokio::process::Command::new(&self.executable)
            .args([FILES_COMMAND, &Action::CopyFrom(machine.clone()).name()])
            .args([&self.state, to])
            .arg(serde_json::to_string(&map)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .leash(Signal::KILL)
            .spawn()?;
        let output = copying.stdout.take().ok_or_else(|| io::Error::other("the copy has no output"))?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            if let Ok(bytes) = line.parse() {
                told(bytes);
            }
        }
        let ended = copying.wait_with_output().await?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(text::trim_output(&ended.stderr))),
        }
    }
}

/// The pause between two lines that say how much was copied.
const TELLING: Duration = Duration::from_millis(200);

/// The body of the hidden subcommand: writes the result to standard output, the reason of a failure to standard error. A copy says how
/// many bytes it has copied, a line each time; without a map it works with the rights of this process.
/// Returns the exit code. Must be called before the process starts a thread.
pub(crate) fn main(action: &str, state: &Path, path: &Path, map: &str) -> i32 {
    let action = Action::named(action).ok_or_else(|| "no such action".to_owned());
    let mut last = Instant::now();
    let mut told = |bytes: u64| {
        if last.elapsed() >= TELLING {
            last = Instant::now();
            // Whoever does not read is not waited for: the end of the copy reports that.
            drop(writeln!(io::stdout(), "{bytes}"));
        }
    };
    let done = action.and_then(|action| {
        let map: Option<IdMap> = serde_json::from_str(map).map_err(|error| error.to_string())?;
        if let Some(map) = map {
            ids::enter(&map).map_err(|trouble| trouble.message)?;
        }
        action.apply(state, path, &mut told).map_err(|error| error.to_string())
    });
    let written = match &done {
        Ok(bytes) => writeln!(io::stdout(), "{bytes}"),
        Err(reason) => writeln!(io::stderr(), "{reason}"),
    };
    i32::from(done.is_err() || written.is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_known_by_its_name() {
        let copy = Action::CopyFrom("hg-0123456789".parse().unwrap());
        for action in [Action::Remove, Action::Seal, Action::SealSnapshot, copy] {
            assert_eq!(Action::named(&action.name()), Some(action));
        }
        for other in ["", "copy", "copy-from=", "copy-from=../x", "copy-from=notours"] {
            assert_eq!(Action::named(other), None, "{other}");
        }
    }
}
