//! Programs: how one is started, scripts, a user's own command line, and a check that commands run at all.

use model::connection::ConnectionError;
use model::script::ScriptFile;
use model::task::Command;

/// What starts a command on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The line for the login shell; an empty one is the login shell itself.
    pub line: String,
    /// Bytes that go to standard input before the command's own.
    pub head: Vec<u8>,
}

/// Asks a machine's system to run programs.
pub trait Shell: Send + Sync {
    /// How `command` is started by the login shell, with all its words and variables as they are. Fails where the
    /// machine's system cannot carry one of them.
    fn invocation(&self, command: &Command) -> Result<Invocation, ConnectionError>;

    /// Whether the system's tools allow `name` as a login name. Such a name can be a part of a path and stand unquoted in
    /// a script.
    fn is_login_name(&self, name: &str) -> bool;

    /// The login name of the user who may change everything on the machine.
    fn administrator(&self) -> &'static str;

    /// The name of a script's file: `name` with the ending by which people know what it is.
    fn script_name(&self, name: &str) -> String;

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

    /// Prints how many processors programs of the user may use.
    fn processors(&self) -> Command;

    /// Prints `words` on a line.
    fn echo(&self, words: &str) -> Command;

    /// The files with which a machine holds itself against the contract of `docs/remote-machine.md`; the first of them
    /// is the script to run, with the names of further scripts of clauses as its arguments.
    fn contract_check(&self) -> [ScriptFile; 2];

    /// The beginning of the line by which [`Shell::echo`] is run, as a message shows it.
    fn example(&self) -> &'static str;

    /// The remedy for a login shell of `user` that ends with `code`, if it has one, and does not run commands.
    fn login_shell_remedy(&self, user: &str, code: Option<u32>) -> String;

    /// Prints the path of the file server in the SSH server's configuration, an empty line where the configuration has
    /// none; and `there` on a second line where that program exists.
    fn file_server(&self) -> Command;

    /// The remedy for a file server that does not start; `configured` is what [`Shell::file_server`] printed, and `noise` what the
    /// login shell prints before everything.
    fn file_server_remedy(&self, configured: &str, noise: Option<&str>) -> String;
}
