//! What only some systems are asked yet: the life of a machine (its first boot, the renewal of its lease, the replacement of its
//! host key), and commands and files by an agent.

use std::time::Duration;

use jiff::Timestamp;
use model::base::id::MachineId;
use model::task::Command;

/// The data that a machine is given at its launch.
#[derive(Debug, Clone, Copy)]
pub struct FirstBoot<'a> {
    /// The machine's id.
    pub machine: &'a MachineId,
    /// The login name of the user who logs in, which becomes a part of a path on the machine.
    pub user: &'a str,
    /// The public key that may log in, one line in OpenSSH form, and the private host key, a file in OpenSSH form; none
    /// where nobody connects by SSH.
    pub keys: Option<(&'a str, &'a str)>,
    /// When the machine ends without a sign of its driver.
    pub lease: Timestamp,
    /// When the machine ends in any case.
    pub expires_at: Timestamp,
    /// After how long without a login or a task it ends; what watches a Windows machine does not know that.
    pub idle: Option<Duration>,
}

/// Folders for commands that an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentFolders {
    /// The folder in which a folder for each command is made.
    pub base: &'static str,
    /// The folder for tokens that say which commands were started.
    pub tokens: &'static str,
}

/// Asks a machine's system to arrange its own end and its keys, on machines that no guard watches from the outside.
pub trait Life: Send + Sync {
    /// The user data that a cloud hands to a machine, which the machine runs first at every boot: it arranges the
    /// machine's own end, then installs the keys.
    fn first_boot(&self, data: &FirstBoot<'_>) -> String;

    /// Lets the machine live until `until`; run as its login user.
    fn renew_lease(&self, until: Timestamp) -> Command;

    /// Prints the notice that the cloud takes the machine back as soon as it is given, one line, and ends with success then, or without a
    /// word when standard input ends, which the caller holds open. It looks each time after `pause`, and fails when it has looked in vain
    /// `misses` times in a row. `None` where the system's script for that is not written.
    fn watch_notice(&self, pause: Duration, misses: u32) -> Option<Command>;

    /// Takes off the disk what belongs to the machine alone, for the moment in which the disk becomes an image; run as `user`. It comes back by
    /// itself after `most`. Ends with 3 where a run is at work on the machine. `None` where the system's script for that is not written.
    fn set_aside(&self, user: &str, most: Duration) -> Option<Command>;

    /// Puts back what [`Life::set_aside`] has taken off; run as `user`.
    fn put_back(&self, user: &str) -> Option<Command>;

    /// Replaces the host key that was handed over by one that the machine makes itself, and prints the new public key;
    /// run as `user`.
    fn replace_host_key(&self, user: &str) -> Command;
}

/// Asks a machine's system for commands and small files by the agent of Systems Manager, where SSH does not reach.
pub trait Agent: Send + Sync {
    /// The folders for the files of commands that the agent runs.
    fn folders(&self) -> AgentFolders;

    /// The document of Systems Manager that runs a text on such a machine.
    fn document(&self) -> &'static str;

    /// The text that the agent is to run, with its words: each has letters, digits and plain signs, or base64, and may
    /// be empty. The head of `remote/linux/ssm-command.sh` documents its requests and answers.
    fn text(&self, words: &[String]) -> String;

    /// Stores standard input as the file `path` with `mode`, or as the target where `path` is a link, or writes it into
    /// the device `path`. The name `partial` beside it must not exist yet.
    fn write_whole(&self, path: &str, partial: &str, mode: u32) -> Command;

    /// Prints at most `most` bytes of a file.
    fn read_whole(&self, path: &str, most: u64) -> Command;

    /// Prints the file or the folder `path` as an archive of at most `most` bytes.
    fn pack_whole(&self, path: &str, most: u64) -> Command;
}
