//! What Mercurial's tests ask of a machine beyond the clauses for whatever is run there; `docs/remote-machine.md` has both.

use model::machine::Platform;
use model::script::ScriptFile;

/// The script with these clauses; the check of the contract sources it.
pub const CLAUSES: ScriptFile =
    ScriptFile::built_in("check-mercurial.sh", include_str!("../../../remote/mercurial/check-mercurial.sh"));

/// The scripts with the clauses of what is run on a machine of `platform`; none where nothing of Mercurial's is run yet.
pub fn clauses_on(platform: Platform) -> Vec<ScriptFile> {
    match platform {
        Platform::Linux => vec![CLAUSES],
        Platform::Windows => Vec::new(),
    }
}
