//! Programs: what runs a script, a user's own line, and what tells that commands run at all.

use model::task::Command;

/// Asks a machine's system to run programs.
pub trait Shell: Send + Sync {
    /// Runs a script file that lies on the machine; arguments may be added.
    fn script(&self, path: &str) -> Command;

    /// Runs the text of a small script that travels with the command; arguments may be added.
    fn text(&self, script: &str) -> Command;

    /// Runs a line as the user would type it, which the login shell splits.
    fn line(&self, line: &str) -> Command;

    /// Does nothing: that it ends tells that the machine answers.
    fn nothing(&self) -> Command;

    /// Prints `words` on a line.
    fn echo(&self, words: &str) -> Command;

    /// Prints where the SSH server's configuration says that its file server is, an empty line where it says nothing; and `there` on a
    /// second line where there is such a program.
    fn file_server(&self) -> Command;
}
