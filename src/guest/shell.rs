//! Programs: scripts, a user's own command line, and a check that commands run at all.

use model::script::ScriptFile;
use model::task::Command;

/// Asks a machine's system to run programs.
pub trait Shell: Send + Sync {
    /// Runs a script file on the machine; arguments may be added.
    fn script(&self, path: &str) -> Command;

    /// Runs the text of a small script that travels with the command; arguments may be added.
    fn text(&self, script: &str) -> Command;

    /// Runs a line as the user would type it, in a login shell.
    fn line(&self, line: &str) -> Command;

    /// Runs a line that a program made, its words quoted and joined by a space as `ssh` joins them, in a shell that reads nobody's
    /// profile. Standard input is left to the caller.
    fn quoted_line(&self, line: &str) -> Command;

    /// Does nothing: its success shows that the machine answers.
    fn nothing(&self) -> Command;

    /// Prints `words` on a line.
    fn echo(&self, words: &str) -> Command;

    /// The files with which a machine holds itself against the contract of `docs/remote-machine.md`; the first of them
    /// is the script to run, with the names of further scripts of clauses as its arguments.
    fn contract_check(&self) -> [ScriptFile; 2];

    /// Prints the path of the file server in the SSH server's configuration, an empty line where the configuration has
    /// none; and `there` on a second line where that program exists.
    fn file_server(&self) -> Command;
}
