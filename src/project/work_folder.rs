//! The folder on a machine in which tests that are declared and commands of users work; `remote/runners/work-folder.sh` makes it.

use std::time::Duration;

use guest::linux;
use model::machine::Platform;
use model::script::ScriptFile;

use crate::turn::{PATIENCE, Turn};

/// The folder, on every machine.
pub(crate) const WORK: &str = "/var/tmp/automation-work";

/// The folder in there for the source.
pub(crate) const SOURCE: &str = "/var/tmp/automation-work/src";

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
