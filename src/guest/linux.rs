//! Linux: `sh`, GNU tools, and the scripts of `remote/linux`. `docs/remote-machine.md` lists what must be installed.

mod first_boot;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::base::id::{RunId, TaskId};
use model::base::quote;
use model::connection::ConnectionError;
use model::script::ScriptFile;
use model::task::Command;

use crate::Guest;
use crate::copies::Copies;
use crate::files::Files;
use crate::life::{Agent, AgentFolders, FirstBoot, Life};
use crate::shell::{Invocation, Shell};
use crate::tasks::{Request, Tasks};

/// Prepares a userland during its bootstrap; `$1` is its root folder.
pub const PREPARE_BASE: &str = include_str!("../../remote/linux/prepare-base.sh");
/// Completes a userland at the end of its bootstrap; `$1` is its root folder.
pub const COMPILE_BASE: &str = include_str!("../../remote/linux/compile-base.sh");

/// Holds the machine against the contract of `docs/remote-machine.md`; lies beside the scripts of clauses that its arguments name,
/// and beside [`HOLD`], which these may ask.
const CHECK_CONTRACT: ScriptFile =
    ScriptFile::built_in("check-contract.sh", include_str!("../../remote/linux/check-contract.sh"));
/// Holds a machine for one run, by a lock on the folder of the machine that its first argument names. The script is put into
/// the run's folder.
pub const HOLD: ScriptFile = ScriptFile::built_in("hold.sh", include_str!("../../remote/linux/hold.sh"));
/// Shows a machine that is held so that the run's driver is there.
pub const SHOW_SIGN: &str = include_str!("../../remote/linux/show-sign.sh");

/// Waits for a task and becomes the command of its other arguments.
const AFTER: &str = include_str!("../../remote/linux/after.sh");
const BLOCK_HASHES: &str = include_str!("../../remote/linux/block-hashes.sh");
const DATA_EXTENTS: &str = include_str!("../../remote/linux/data-extents.sh");
const FILE_SERVER: &str = include_str!("../../remote/linux/file-server.sh");
const LIST_FILES: &str = include_str!("../../remote/linux/list-files.sh");
const OWN_FOLDER: &str = include_str!("../../remote/linux/own-folder.sh");
const READ_FILE: &str = include_str!("../../remote/linux/read-file.sh");
const REMOVE_RUN: &str = include_str!("../../remote/linux/remove-run.sh");
const REMOVE_STALE: &str = include_str!("../../remote/linux/remove-stale.sh");
const RENEW_LEASE: &str = include_str!("../../remote/linux/renew-lease.sh");
const REPLACE_HOST_KEY: &str = include_str!("../../remote/linux/replace-host-key.sh");
const SET_ASIDE: &str = include_str!("../../remote/linux/set-aside.sh");
const SSM_COMMAND: &str = include_str!("../../remote/linux/ssm-command.sh");
/// Supervises a command for [`SSM_COMMAND`].
const SSM_SUPERVISE: &str = include_str!("../../remote/linux/ssm-supervise.pl");
const SSM_FILES: &str = include_str!("../../remote/linux/ssm-files.sh");
const SUPERVISE: &str = include_str!("../../remote/linux/supervise.sh");
const SYNC_TREE: &str = include_str!("../../remote/linux/sync-tree.sh");
const TREE: &str = include_str!("../../remote/linux/tree.sh");
const WATCH_NOTICE: &str = include_str!("../../remote/linux/watch-notice.sh");
const WRITE_INTO: &str = include_str!("../../remote/linux/write-into.sh");

/// Linux, of any distribution.
#[derive(Debug)]
pub(super) struct Linux;

/// `path` in a form that no program takes for an option.
fn plain(path: &str) -> String {
    if path.starts_with('/') || path.is_empty() { path.to_owned() } else { format!("./{path}") }
}

/// The folder of a path that [`plain`] gave, and the name in it.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => (".", path),
    }
}

/// The command that runs the text of a script with its arguments; standard input is left to the caller.
fn with_input(script: &str, words: &[&str]) -> Command {
    Command::new("sh").args(["-c", script, "sh"]).args(words.iter().copied())
}

/// The same command with empty standard input.
fn without_input(script: &str, words: &[&str]) -> Command {
    with_input(script, words).stdin(Vec::new())
}

/// A shell of root's, on a machine where `user` logs in.
fn as_root(user: &str) -> Command {
    match user {
        "root" => Command::new("sh"),
        _ => Command::new("sudo").args(["-n", "sh"]),
    }
}

/// The words that start `command`; its variables are set by `env`.
fn words(command: &Command) -> Vec<String> {
    let mut words = Vec::new();
    if !command.env.is_empty() {
        words.push("env".to_owned());
        words.extend(command.env.iter().map(|(name, value)| format!("{name}={value}")));
    }
    if !command.program.is_empty() {
        words.push(command.program.clone());
    }
    words.extend(command.args.iter().cloned());
    words
}

/// The most characters of a login name, the limit of `useradd`.
const LOGIN_NAME: usize = 32;

/// The supervisor's word for following with a standard input that the caller holds, or without.
fn follow_mode(watched: bool) -> &'static str {
    if watched { "watch" } else { "alone" }
}

impl Guest for Linux {
    fn life(&self) -> Option<&dyn Life> {
        Some(self)
    }

    fn agent(&self) -> Option<&dyn Agent> {
        Some(self)
    }
}

impl Shell for Linux {
    /// The one line that a POSIX shell splits back into the words; variables go before them by `env`.
    fn invocation(&self, command: &Command) -> Result<Invocation, ConnectionError> {
        let line = quote::join(&words(command)).map_err(|error| ConnectionError::Invalid(error.to_string()))?;
        Ok(Invocation { line, head: Vec::new() })
    }

    fn is_login_name(&self, name: &str) -> bool {
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        begins && name.len() <= LOGIN_NAME && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    }

    fn administrator(&self) -> &'static str {
        "root"
    }

    fn script_name(&self, name: &str) -> String {
        format!("{name}.sh")
    }

    fn script(&self, path: &str) -> Command {
        Command::new("bash").arg(path).stdin(Vec::new())
    }

    fn text(&self, script: &str) -> Command {
        without_input(script, &[])
    }

    fn line(&self, line: &str) -> Command {
        Command::new("bash").args(["-lc", line])
    }

    fn quoted_line(&self, line: &str) -> Command {
        Command::new("sh").args(["-c", line])
    }

    fn processors(&self) -> Command {
        Command::new("nproc").stdin(Vec::new())
    }

    fn nothing(&self) -> Command {
        Command::new("true").stdin(Vec::new())
    }

    fn echo(&self, words: &str) -> Command {
        without_input(r#"printf '%s\n' "$1""#, &[words])
    }

    fn contract_check(&self) -> [ScriptFile; 2] {
        [CHECK_CONTRACT, HOLD]
    }

    fn example(&self) -> &'static str {
        "sh -c ..."
    }

    fn login_shell_remedy(&self, user: &str, _: Option<u32>) -> String {
        format!(
            "Run `sudo usermod --shell /bin/bash {user}` there; where a forced command answers in its place, take `command=` out of the \
             key's line in `authorized_keys`, or `ForceCommand` out of the configuration of sshd."
        )
    }

    fn file_server(&self) -> Command {
        without_input(FILE_SERVER, &[])
    }

    fn file_server_remedy(&self, configured: &str, noise: Option<&str>) -> String {
        if let Some(noise) = noise {
            return format!(
                "the login shell prints `{noise}` before everything, which breaks file transfers: print it only where there is a \
                 terminal (`[ -t 1 ]`)"
            );
        }
        let mut lines = configured.lines().map(str::trim);
        match (lines.next().unwrap_or_default(), lines.next()) {
            ("", _) => "add `Subsystem sftp internal-sftp` to /etc/ssh/sshd_config and reload sshd".to_owned(),
            (path, None) => format!(
                "/etc/ssh/sshd_config has `Subsystem sftp {path}`, and there is no such program: install openssh-sftp-server, or write \
                 `internal-sftp` in its place, and reload sshd"
            ),
            (path, Some(_)) => format!(
                "/etc/ssh/sshd_config has `Subsystem sftp {path}` already, and that program exists: reload sshd if the line is newer \
                 than the server; otherwise look into its log"
            ),
        }
    }
}

impl Files for Linux {
    fn own_folder(&self, folder: &str) -> Command {
        without_input(OWN_FOLDER, &[folder])
    }

    fn remove_folder(&self, folder: &str) -> Command {
        Command::new("rm").args(["-rf", "--", folder])
    }

    fn is_folder(&self, path: &str) -> Command {
        Command::new("test").args(["-d", path]).stdin(Vec::new())
    }

    fn file_ends(&self, path: &str, half: usize) -> Command {
        without_input(READ_FILE, &["ends", path, &half.to_string()])
    }

    fn file_piece(&self, path: &str, from: u64, most: u64) -> Command {
        without_input(READ_FILE, &["piece", path, &(from + 1).to_string(), &most.to_string()])
    }

    fn follow_file(&self, path: &str, from: u64) -> Command {
        with_input(READ_FILE, &["follow", path, &(from + 1).to_string()])
    }

    fn list_files(&self, starts: &[String]) -> Command {
        without_input(LIST_FILES, &[]).args(starts.iter().cloned())
    }
}

impl Tasks for Linux {
    fn run_folder(&self, run: &RunId) -> String {
        format!("/tmp/hg-automation-{run}")
    }

    /// A path below `/run`, which is in memory on every machine that boots.
    fn bake_folder(&self) -> &'static str {
        "/run/hg-bake"
    }

    fn install_supervisor(&self, folder: &str) -> Command {
        with_input(OWN_FOLDER, &[folder, "supervisor"]).stdin(SUPERVISE)
    }

    fn task_input(&self, folder: &str, id: &TaskId) -> String {
        format!("{folder}/{id}.in")
    }

    fn supervise(&self, folder: &str, id: &TaskId, request: &Request<'_>) -> Command {
        let verb = |verb: &str| {
            let script = format!("{folder}/supervise.sh");
            Command::new("sh").args([&script, verb, &format!("{folder}/{id}")]).stdin(Vec::new())
        };
        let (command, watched) = match request {
            Request::Launch { command, cap, boot } => {
                (verb("launch").args([&cap.to_string(), *boot, "--"]).args(words(command)), false)
            }
            Request::Start { command, cap, boot, watched } => {
                let start = verb("start").args([&cap.to_string(), *boot, follow_mode(*watched), "--"]);
                (start.args(words(command)), *watched)
            }
            Request::Follow { from, boot, watched } => {
                let offsets = [from.stdout.to_string(), from.stderr.to_string()];
                (verb("follow").args(offsets).args([*boot, follow_mode(*watched)]), *watched)
            }
            Request::Record => (verb("record"), false),
            Request::Cancel { grace } => (verb("cancel").arg(grace.to_string()), false),
        };
        if watched { Command { stdin: None, ..command } } else { command }
    }

    fn after(&self, folder: &str, id: &TaskId, command: &Command) -> Option<Command> {
        let mut after = with_input(AFTER, &[&format!("{folder}/{id}")]).args(words(command));
        after.stdin.clone_from(&command.stdin);
        Some(after)
    }

    fn remove_run(&self, folder: &str, clean: Option<&str>) -> Command {
        without_input(REMOVE_RUN, &[folder]).args(clean)
    }
}

impl Copies for Linux {
    fn unpack(&self, path: &str, partial: &str, mode: u32) -> Command {
        with_input(TREE, &["unpack", &plain(path), partial, &format!("{mode:o}")])
    }

    fn pack(&self, path: &str) -> Command {
        without_input(TREE, &["pack", &plain(path)])
    }

    fn pick(&self, path: &str) -> Command {
        with_input(TREE, &["pick", &plain(path)])
    }

    fn pour(&self, path: &str, limit: Duration) -> Command {
        with_input(WRITE_INTO, &[&plain(path), &limit.as_secs().to_string()])
    }

    fn block_hashes(&self, path: &str, block: u64, count: u64, own: bool) -> Command {
        with_input(BLOCK_HASHES, &[path, &block.to_string(), &count.to_string(), if own { "own" } else { "any" }])
    }

    fn data_extents(&self, path: &str) -> Command {
        with_input(DATA_EXTENTS, &[path])
    }

    fn remove_stale(&self, start: &str, own: &str) -> Command {
        with_input(REMOVE_STALE, &[start, own])
    }

    fn file_identity(&self, path: &str) -> Command {
        Command::new("stat").args(["-L", "-c", "%d %i %s %.9Y %.9Z", "--", path])
    }

    fn sync_look(&self, path: &str, memory: Option<&str>) -> Command {
        without_input(SYNC_TREE, &["look", &plain(path)]).args(memory)
    }

    fn sync_list(&self, path: &str) -> Command {
        without_input(SYNC_TREE, &["list", &plain(path)])
    }

    fn sync_hash(&self, path: &str) -> Command {
        with_input(SYNC_TREE, &["hash", &plain(path)])
    }

    fn sync_apply(&self, path: &str, memory: Option<&str>) -> Command {
        with_input(SYNC_TREE, &["apply", &plain(path)]).args(memory)
    }
}

impl Life for Linux {
    fn first_boot(&self, data: &FirstBoot<'_>) -> String {
        first_boot::user_data(data)
    }

    fn renew_lease(&self, until: Timestamp) -> Command {
        with_input(RENEW_LEASE, &[&until.as_second().to_string()])
    }

    /// By `bash`, which can open a connection to the metadata service itself.
    fn watch_notice(&self, pause: Duration, misses: u32) -> Option<Command> {
        let words = [&pause.as_secs().to_string(), &misses.to_string()];
        Some(Command::new("bash").args(["-c", WATCH_NOTICE, "bash"]).args(words))
    }

    fn replace_host_key(&self, user: &str) -> Command {
        as_root(user).arg("-s").stdin(REPLACE_HOST_KEY)
    }

    fn set_aside(&self, user: &str, most: Duration) -> Option<Command> {
        let words = ["-s", "--", "aside", &most.as_secs().to_string()].map(str::to_owned);
        Some(as_root(user).args(words).stdin(SET_ASIDE))
    }

    fn put_back(&self, user: &str) -> Option<Command> {
        Some(as_root(user).args(["-s", "--", "back"]).stdin(SET_ASIDE))
    }
}

impl Agent for Linux {
    fn folders(&self) -> AgentFolders {
        AgentFolders { base: "/tmp", tokens: "/run/hg-automation-ssm" }
    }

    fn document(&self) -> &'static str {
        "AWS-RunShellScript"
    }

    fn text(&self, words: &[String]) -> String {
        // An empty word must be quoted, or the shell would drop it.
        let words: Vec<&str> = words.iter().map(|word| if word.is_empty() { "''" } else { word }).collect();
        let supervisor = STANDARD.encode(SSM_SUPERVISE);
        format!("set -- {}\nsupervisor={supervisor}\n{SSM_COMMAND}", words.join(" "))
    }

    fn write_whole(&self, path: &str, partial: &str, mode: u32) -> Command {
        let path = plain(path);
        let (folder, _) = split(&path);
        with_input(SSM_FILES, &["write", &path, folder, &format!("{folder}/{partial}"), &format!("{mode:o}")])
    }

    fn read_whole(&self, path: &str, most: u64) -> Command {
        with_input(SSM_FILES, &["read", &plain(path), &most.to_string()])
    }

    fn pack_whole(&self, path: &str, most: u64) -> Command {
        let path = plain(path);
        let (folder, name) = split(&path);
        with_input(SSM_FILES, &["pack", &path, folder, name, &most.to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_name_cannot_be_a_path_an_option_or_more_words() {
        let long = "x".repeat(LOGIN_NAME + 1);
        for bad in
            ["", "../x", ".", ".ssh", "-x", "7up", "a b", "a\nexpires 9", "a/b", "a;b", "a$b", "{{x}}", "\u{e9}", &long]
        {
            assert!(!Linux.is_login_name(bad), "{bad:?}");
        }
        for good in ["hg", "root", "_apt", "ec2-user", "j.doe", &long[1..]] {
            assert!(Linux.is_login_name(good), "{good}");
        }
    }

    #[test]
    fn paths_cannot_be_options() {
        assert_eq!(plain("-rf"), "./-rf");
        assert_eq!(split(&plain("/a")), ("/", "a"));
        assert_eq!(split(&plain("x")), (".", "x"));
        assert_eq!(split(&plain("a/b")), ("./a", "b"));
    }

    #[test]
    fn the_lease_is_an_argument_and_a_host_key_is_replaced_by_root() {
        let until = Timestamp::from_second(1_795_176_000).unwrap();
        let command = Linux.renew_lease(until);
        assert_eq!(command.args.last().map(String::as_str), Some("1795176000"));
        assert!(!command.args[1].contains("1795176000"));
        assert_eq!(Linux.replace_host_key("root").program, "sh");
        assert_eq!(Linux.invocation(&Linux.replace_host_key("hg")).unwrap().line, "sudo -n sh -s");
    }
}
