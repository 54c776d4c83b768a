//! SQLite's errors in words that say what to do.

use std::path::Path;

use model::fault::Fault;
use rusqlite::ErrorCode;

/// Whether another process is in the way, so that trying again helps.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The fault of a failed access to the journal `path`; `doing` ends in its preposition, for example `write a run into`.
pub(super) fn fault(path: &Path, doing: &str, error: rusqlite::Error) -> Fault {
    let name = path.display();
    let message = format!("cannot {doing} the journal `{name}`");
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => return damaged(path, &error.to_string()),
        Some(ErrorCode::DiskFull) => {
            "Free space on this disk: `automation machine down` ends a machine with its files, `automation image gc` removes unused images."
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "Make the file and its folder writable for you, or name another directory with `--state-path`."
        }
        Some(ErrorCode::SystemIoFailure) => "The disk may be full or failing; see the kernel's log with `dmesg`.",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Another `automation` is stopped or stuck while it writes; end it and try again."
        }
        // The remaining causes are a row that breaks a rule of the schema, or one that this build cannot read.
        _ => return Fault::infrastructure(message).because(error),
    };
    Fault::outside(message).because(error).hint(hint)
}

/// The fault of a damaged journal, which is left as it is.
pub(super) fn damaged(path: &Path, how: &str) -> Fault {
    let name = model::base::quote::word(&path.to_string_lossy()).unwrap_or_else(|_| path.display().to_string());
    Fault::outside(format!("the journal `{}` is damaged: {how}", path.display())).hint(format!(
        "Nothing was changed. Move it aside with `for f in {name}*; do mv \"$f\" \"$f.damaged\"; done`; `automation audit` then finds what is there by looking."
    ))
}
