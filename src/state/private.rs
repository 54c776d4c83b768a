//! Folders that are fit to keep secrets in.

use std::fs::{DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use model::fault::Fault;

use crate::file;

/// Makes a folder of mode 0700 unless it exists, and refuses one that is not fit to keep secrets in.
///
/// Permissions are only ever set on a folder that this call made.
pub(super) fn make_private(path: &Path, what: &str) -> Result<(), Fault> {
    let found = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o700)))
                .and_then(|()| std::fs::metadata(path))
                .map_err(|error| file::fault(&format!("make the {what}"), path, error))?
        }
        found => found.map_err(|error| file::fault(&format!("open the {what}"), path, error))?,
    };
    let name = path.display();
    if !found.is_dir() {
        return Err(Fault::outside(format!("{what} `{name}` is not a directory"))
            .hint("Move the file away, or name another directory with `--state-path`."));
    }
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me {
        return Err(Fault::outside(format!("{what} `{name}` belongs to user {}, not to you (user {me})", found.uid()))
            .hint(
                "Name a directory of your own with `--state-path`; under `sudo` the home may still be another user's.",
            ));
    }
    let mode = found.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(Fault::outside(format!("{what} `{name}` can be written by others (mode {mode:04o})"))
            .hint(format!("Run `chmod 700 {}`.", model::base::quote::word(&name.to_string()).unwrap_or_default())));
    }
    Ok(())
}
