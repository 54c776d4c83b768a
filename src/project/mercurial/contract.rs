//! What Mercurial's tests ask of a machine beyond the clauses for whatever is run there; `docs/remote-machine.md` has both.

use model::machine::Platform;
use model::script::ScriptFile;

/// The script with these clauses; the check of the contract sources it.
pub const CLAUSES: ScriptFile =
    ScriptFile::built_in("check-mercurial.sh", include_str!("../../../remote/mercurial/check-mercurial.sh"));

/// The same for machines that have Windows; the check of the contract runs it.
const WINDOWS_CLAUSES: ScriptFile =
    ScriptFile::built_in("check_mercurial.py", include_str!("../../../remote/mercurial/windows/check_mercurial.py"));

/// The script with the clauses of what is run on a machine of `platform`.
pub const fn clauses_on(platform: Platform) -> ScriptFile {
    match platform {
        Platform::Linux => CLAUSES,
        Platform::Windows => WINDOWS_CLAUSES,
    }
}
