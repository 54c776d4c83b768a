//! The folder on a machine in which tests that are declared and commands of users work; `remote/runners/work-folder.sh` makes it.

use std::time::Duration;

use data_encoding::HEXLOWER;
use guest::linux;
use model::event::FilesEvent;
use model::machine::Platform;
use model::output::Output;
use model::script::ScriptFile;
use sha2::{Digest, Sha256};

use crate::source::Source;
use crate::turn::{PATIENCE, Turn};

/// The folder, on every machine.
pub(crate) const WORK: &str = "/var/tmp/automation-work";

/// The folder in there for the source.
pub(crate) const SOURCE: &str = "/var/tmp/automation-work/src";

/// Where a machine remembers what was sent to the folder at a path below [`SOURCE`], which is empty for that itself.
pub(crate) fn memory(at: &str) -> String {
    match at {
        "" => format!("{WORK}/.sent/source"),
        // A path may be longer than a name, and has slashes.
        at => format!("{WORK}/.sent/{}", HEXLOWER.encode(&Sha256::digest(at)[..8])),
    }
}

/// What tells the script that makes the folder which files it is for.
pub(crate) fn project(source: &Source) -> [String; 2] {
    [source.identity(), source.top.display().to_string()]
}

/// What is told where the folder had the files of another folder here, which went.
pub(crate) fn replaced(preparing: &Output) -> Option<FilesEvent> {
    let said = String::from_utf8_lossy(&preparing.stdout);
    let folder = said.strip_prefix("replaces ")?.trim_end_matches('\n').to_owned();
    Some(FilesEvent::FolderReplaced { folder })
}

/// The folder by whose lock a run holds a machine of somebody else's: where it makes its own.
const HELD: &str = "/var/tmp";

/// What scripts that work in there have in common.
pub(crate) const SCRIPT: ScriptFile =
    ScriptFile::built_in("work-folder.sh", include_str!("../../remote/runners/work-folder.sh"));

/// The script that removes what a run made outside of its folder.
pub(crate) const CLEANUP: ScriptFile =
    ScriptFile::built_in("cleanup.sh", include_str!("../../remote/runners/cleanup.sh"));

/// The limit of making the folder, which may remove that of an earlier run.
pub(crate) const PREPARE_LIMIT: Duration = Duration::from_secs(600);

/// How long removing it may take.
const TIDYING: Duration = Duration::from_secs(120);

/// How a run takes its turn in that folder; `stays` where the folder is for later runs as well.
pub(crate) fn turn(stays: bool) -> Turn {
    Turn {
        guest: guest::of(Platform::Linux),
        held: HELD,
        hold: linux::HOLD,
        sign: linux::SHOW_SIGN,
        cleanup: (!stays).then_some("cleanup.sh"),
        patience: PATIENCE,
        tidying: TIDYING,
    }
}
