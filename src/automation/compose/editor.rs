//! The user's editor.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use model::fault::Fault;

/// The variables that name it, in order of precedence.
const VARIABLES: [&str; 2] = ["VISUAL", "EDITOR"];

/// The line for a shell that is the user's editor: it may hold options.
#[derive(Debug, Clone)]
pub struct Editor {
    line: OsString,
}

impl Editor {
    /// The editor that the environment names.
    pub fn chosen() -> Result<Self, Fault> {
        let line = VARIABLES.iter().find_map(|name| std::env::var_os(name).filter(|line| !line.is_empty()));
        line.map(|line| Self { line }).ok_or_else(|| {
            Fault::usage("no editor is named in `VISUAL` or `EDITOR`")
                .hint("Name one, as in `EDITOR=nano automation config edit`; `automation config set` needs none.")
        })
    }

    /// Opens a file in it, on the terminal of this process, and waits until it is left.
    pub fn open(&self, path: &Path) -> Result<(), Fault> {
        let called = self.line.to_string_lossy();
        // The line is the user's own, for the user's own shell, as for every program that opens an editor.
        let ended = Command::new("sh").args(["-c", "eval \"$0 \\\"\\$1\\\"\""]).arg(&self.line).arg(path).status();
        let ended =
            ended.map_err(|error| Fault::outside(format!("cannot start the editor `{called}`")).because(error))?;
        if ended.success() {
            return Ok(());
        }
        Err(Fault::outside(format!("the editor `{called}` ended with {ended}"))
            .hint("Nothing was changed. `VISUAL`, else `EDITOR`, names the editor."))
    }
}
