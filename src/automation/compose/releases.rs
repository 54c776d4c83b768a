//! Where releases of the tool itself are, as options, variables and settings say.

use std::path::PathBuf;

use index::{RELEASES_LIMIT, ReleasePlace};
use model::fault::Fault;
use model::upgrade::NewestRelease;
use state::dir::StateDir;

use crate::compose::{sections, state_path};
use crate::globals::Globals;

/// The place where releases are: `given`, or else that of the settings.
///
/// Nothing is made for it, not even the state directory.
pub fn place(globals: &Globals, given: Option<&str>) -> Result<ReleasePlace, Fault> {
    if let Some(text) = given {
        let origin = if globals.was_typed("--from") { "--from" } else { "AUTOMATION_RELEASES" };
        return ReleasePlace::parse(text, origin);
    }
    let settings = StateDir::settings_of(&state_path(globals)?, &sections()?)?;
    match &settings.releases {
        Some(text) => ReleasePlace::parse(text, &settings.origin("releases").unwrap_or_default()),
        None => Err(Fault::usage("nobody said where releases of this tool are").hint(
            "Name the address or the folder with `--from`, in the variable `AUTOMATION_RELEASES`, or as `releases` in the settings.",
        )),
    }
}

/// The newest release there.
pub async fn newest(place: &ReleasePlace) -> Result<NewestRelease, Fault> {
    place.newest(RELEASES_LIMIT).await
}

/// The folder in whose `bin` this program is, where it is in such a one.
pub fn prefix() -> Option<PathBuf> {
    let program = super::executable().ok()?;
    let bin = program.parent().filter(|folder| folder.ends_with("bin"))?;
    bin.parent().map(ToOwned::to_owned)
}
