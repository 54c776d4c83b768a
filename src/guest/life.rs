//! The life of a machine: what its first boot does, how its end is pushed out, how it is given a key of its own.

use jiff::Timestamp;
use model::base::id::MachineId;
use model::task::Command;

/// What a machine is told at its launch.
#[derive(Debug, Clone, Copy)]
pub struct FirstBoot<'a> {
    /// Its id.
    pub machine: &'a MachineId,
    /// Who logs in: a login name, which becomes a part of a path on the machine.
    pub user: &'a str,
    /// The public key that logs in, one line in OpenSSH form, and the private host key, a file in OpenSSH form; none where
    /// nobody comes by SSH.
    pub keys: Option<(&'a str, &'a str)>,
    /// When the machine ends without a sign of its driver.
    pub lease: Timestamp,
    /// When it ends in any case.
    pub expires_at: Timestamp,
}

/// Folders for commands that an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentFolders {
    /// Where a folder for each command is made.
    pub base: &'static str,
    /// Where it is noted that a command was started.
    pub tokens: &'static str,
}

/// Asks a machine's system to look after its own end and its keys, on machines that no guard of ours watches from outside.
pub trait Life: Send + Sync {
    /// The text that a cloud hands to a machine and that the machine runs first at every boot: it arms its end by itself, then takes the keys.
    fn first_boot(&self, told: &FirstBoot<'_>) -> String;

    /// Lets the machine live until then; run as its login user.
    fn renew_lease(&self, until: Timestamp) -> Command;

    /// Replaces the host key that was handed over by one that the machine makes itself, and prints the new public key; run as `user`.
    fn replace_host_key(&self, user: &str) -> Command;

    /// Where what the agent of Systems Manager runs keeps its files.
    fn agent_folders(&self) -> AgentFolders;

    /// The text that the agent is to run, with its words: letters, digits and plain signs, or base64, of which one may be empty. What
    /// it is asked and answers is told in the head of `remote/linux/ssm-command.sh`.
    fn agent_text(&self, words: &[String]) -> String;
}
