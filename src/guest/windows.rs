//! Windows: OpenSSH's server with `cmd.exe` as the login shell, Python, and the programs of `remote/windows`.
//! `docs/remote-machine.md` lists what must be there.
//!
//! `cmd.exe` expands, splits and mangles words, so none travels on its line: the line is always [`LINE`], which reads
//! from standard input what it is to do, and `remote/windows/boot.py` does it.

mod agent;
mod life;

use std::time::Duration;

use model::base::id::{RunId, TaskId};
use model::base::quote;
use model::connection::ConnectionError;
use model::script::ScriptFile;
use model::task::Command;
use serde_json::json;

use crate::Guest;
use crate::copies::Copies;
use crate::files::Files;
use crate::life::{Agent, Life};
use crate::shell::{Invocation, Shell};
use crate::tasks::{Request, Tasks};

/// The program that runs ours, found on the login's path.
const PYTHON: &str = "python";

/// Its words before a program of ours: no variables, folders or packages of the user's change it, and its text is UTF-8.
const OURS: [&str; 4] = ["-I", "-S", "-X", "utf8"];

/// The line for `cmd.exe`. It has nothing in it that `cmd.exe` changes: percent signs, carets, bars, angle brackets,
/// ampersands or exclamation marks. Standard input is read unbuffered, so that the command finds the rest of it. JSON of nothing
/// but texts, lists and objects is an expression of Python too; the module for JSON takes as long to be loaded as Python to start.
const LINE: &str = "python -I -S -X utf8 -c \"import sys;f=open(0,'rb',0,closefd=False);n=int(f.readline());b=b'';\
                    exec('while len(b)-n:b+=f.read(n-len(b)) or sys.exit(1)');request=eval(b);exec(request['boot'])\"";

/// The exit codes by which `cmd.exe` says that it does not find a program: its own, what a server makes of it that carries
/// eight bits, and that of a line of several commands.
const NOT_FOUND: [u32; 3] = [9009, 9009 & 0xFF, 1];

/// The most characters of a login name that Windows allows.
const LOGIN_NAME: usize = 20;

/// Holds the machine against the contract of `docs/remote-machine.md`.
const CHECK_CONTRACT: ScriptFile =
    ScriptFile::built_in("check_contract.py", include_str!("../../remote/windows/check_contract.py"));
/// Holds a machine for one run, by a lock on a file of the folder that its first argument names. The program is put into the
/// run's folder.
pub const HOLD: ScriptFile = ScriptFile::built_in("hold.py", include_str!("../../remote/windows/hold.py"));

const BASICS: &str = include_str!("../../remote/windows/basics.py");
const BLOCK_HASHES: &str = include_str!("../../remote/windows/block_hashes.py");
const BOOT: &str = include_str!("../../remote/windows/boot.py");
const LIST_FILES: &str = include_str!("../../remote/windows/list_files.py");
const OWN_FOLDER: &str = include_str!("../../remote/windows/own_folder.py");
const READ_FILE: &str = include_str!("../../remote/windows/read_file.py");
const REMOVE_RUN: &str = include_str!("../../remote/windows/remove_run.py");
const SUPERVISE: &str = include_str!("../../remote/windows/supervise.py");
const TREE: &str = include_str!("../../remote/windows/tree.py");

/// Windows.
#[derive(Debug)]
pub(super) struct Windows;

/// The command that runs the text of a program of ours; standard input is left to the caller.
fn with_input(text: &str, words: &[&str]) -> Command {
    Command::new(PYTHON).args(OURS).args(["-c", text]).args(words.iter().copied())
}

/// The same command with empty standard input.
fn without_input(text: &str, words: &[&str]) -> Command {
    with_input(text, words).stdin(Vec::new())
}

/// `path` as Windows takes it: without its last slash the top of a drive would be the drive's current folder.
fn plain(path: &str) -> String {
    match path.as_bytes() {
        [drive, b':'] if drive.is_ascii_alphabetic() => format!("{path}/"),
        _ => path.to_owned(),
    }
}

/// The line of a user, where the command is one and needs nothing else.
fn users_line(command: &Command) -> Option<&str> {
    match command.args.as_slice() {
        [first, second, line] if command.program == "cmd" && first == "/s" && second == "/c" => {
            command.env.is_empty().then_some(line)
        }
        _ => None,
    }
}

fn invalid(reason: &str) -> ConnectionError {
    ConnectionError::Invalid(reason.to_owned())
}

/// What `boot.py` is told of `command`: texts, and lists of them.
fn request(command: &Command) -> serde_json::Value {
    let ours =
        command.program == PYTHON && command.args.iter().zip(OURS).filter(|(word, our)| word == our).count() == 4;
    let (key, value, args) = match &command.args[if ours { OURS.len() } else { 0 }..] {
        [flag, text, args @ ..] if ours && flag == "-c" => ("text", text, args),
        [file, args @ ..] if ours && !file.starts_with('-') => ("file", file, args),
        _ => ("program", &command.program, command.args.as_slice()),
    };
    json!({ "boot": BOOT, "env": command.env, "args": args, key: value })
}

impl Guest for Windows {
    fn life(&self) -> Option<&dyn Life> {
        Some(self)
    }

    fn agent(&self) -> Option<&dyn Agent> {
        Some(self)
    }
}

impl Shell for Windows {
    fn invocation(&self, command: &Command) -> Result<Invocation, ConnectionError> {
        let words = std::iter::once(&command.program).chain(&command.args);
        let mut all = words.chain(command.env.iter().flat_map(|(name, value)| [name, value]));
        if all.any(|word| word.contains('\0')) {
            return Err(invalid("a command's words and variables cannot hold a NUL byte"));
        }
        if command.program.is_empty() {
            return match command.args.is_empty() && command.env.is_empty() {
                true => Ok(Invocation { line: String::new(), head: Vec::new() }),
                false => Err(invalid("a command without a program has no arguments or variables")),
            };
        }
        if let Some(line) = users_line(command) {
            return match line.contains(['\r', '\n']) {
                false => Ok(Invocation { line: line.to_owned(), head: Vec::new() }),
                true => Err(invalid("the login shell of Windows takes one line; give each command by itself")),
            };
        }
        if command.terminal.is_some() {
            return Err(invalid("a terminal on Windows has the login shell, or a line for it"));
        }
        let request = request(command).to_string();
        Ok(Invocation { line: LINE.to_owned(), head: format!("{}\n{request}", request.len()).into_bytes() })
    }

    fn is_login_name(&self, name: &str) -> bool {
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        begins && name.len() <= LOGIN_NAME && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    }

    fn administrator(&self) -> &'static str {
        "Administrator"
    }

    fn script_name(&self, name: &str) -> String {
        format!("{name}.py")
    }

    fn script(&self, path: &str) -> Command {
        Command::new(PYTHON).args(OURS).arg(path).stdin(Vec::new())
    }

    fn text(&self, script: &str) -> Command {
        without_input(script, &[])
    }

    fn line(&self, line: &str) -> Command {
        Command::new("cmd").args(["/s", "/c", line])
    }

    /// The program quoted as this computer's shell reads it, so the words are known, and need no shell there.
    fn quoted_line(&self, line: &str) -> Command {
        let mut words = quote::split(line).unwrap_or_else(|| vec![line.to_owned()]).into_iter();
        Command::new(words.next().unwrap_or_default()).args(words)
    }

    fn processors(&self) -> Command {
        Shell::text(self, "import os; print(os.cpu_count())")
    }

    fn nothing(&self) -> Command {
        without_input(BASICS, &["nothing"])
    }

    fn echo(&self, words: &str) -> Command {
        without_input(BASICS, &["echo", words])
    }

    fn contract_check(&self) -> [ScriptFile; 2] {
        [CHECK_CONTRACT, HOLD]
    }

    fn example(&self) -> &'static str {
        "python -I -S -X utf8 -c ..."
    }

    fn login_shell_remedy(&self, user: &str, code: Option<u32>) -> String {
        let python = "install Python 3.9 or newer for all users, with its folder in the `PATH` of the system, and start sshd again";
        match code {
            Some(code) if NOT_FOUND.contains(&code) => {
                format!("There is no `python` on the path of user `{user}`: {python}.")
            }
            _ => format!(
                "Let cmd.exe be the login shell: remove `DefaultShell` below `HKLM\\SOFTWARE\\OpenSSH`, and `ForceCommand` from the \
                 configuration of sshd. Where no `python` is on the path of user `{user}`, {python}."
            ),
        }
    }

    fn file_server(&self) -> Command {
        without_input(BASICS, &["file-server"])
    }

    fn file_server_remedy(&self, configured: &str, noise: Option<&str>) -> String {
        if let Some(noise) = noise {
            return format!(
                "the login shell prints `{noise}` before everything, which breaks file transfers: look at `AutoRun` below \
                 `HKCU\\SOFTWARE\\Microsoft\\Command Processor`, and below `HKLM`"
            );
        }
        let mut lines = configured.lines().map(str::trim);
        match (lines.next().unwrap_or_default(), lines.next()) {
            ("", _) => "add `Subsystem sftp sftp-server.exe` to `%ProgramData%\\ssh\\sshd_config` and start sshd again"
                .to_owned(),
            (path, None) => format!(
                "`%ProgramData%\\ssh\\sshd_config` has `Subsystem sftp {path}`, and there is no such program: write \
                 `sftp-server.exe` in its place, and start sshd again"
            ),
            (path, Some(_)) => format!(
                "`%ProgramData%\\ssh\\sshd_config` has `Subsystem sftp {path}` already, and that program exists: start sshd again if \
                 the line is newer than the server; otherwise look into its log"
            ),
        }
    }
}

impl Files for Windows {
    fn own_folder(&self, folder: &str) -> Command {
        without_input(OWN_FOLDER, &[folder])
    }

    fn remove_folder(&self, folder: &str) -> Command {
        without_input(BASICS, &["remove-folder", folder])
    }

    fn is_folder(&self, path: &str) -> Command {
        without_input(BASICS, &["is-folder", &plain(path)])
    }

    fn file_ends(&self, path: &str, half: usize) -> Command {
        without_input(READ_FILE, &["ends", path, &half.to_string()])
    }

    fn file_piece(&self, path: &str, from: u64, most: u64) -> Command {
        without_input(READ_FILE, &["piece", path, &from.to_string(), &most.to_string()])
    }

    fn follow_file(&self, path: &str, from: u64) -> Command {
        with_input(READ_FILE, &["follow", path, &from.to_string()])
    }

    fn list_files(&self, starts: &[String]) -> Command {
        without_input(LIST_FILES, &[]).args(starts.iter().map(|start| plain(start)))
    }
}

impl Tasks for Windows {
    /// At the top of the drive, because a path has 260 characters at most, and apart from the user's own files. Whoever may
    /// log in may make a folder there; [`Files::own_folder`] gives nobody else rights to it.
    fn run_folder(&self, run: &RunId) -> String {
        format!("C:/hg-automation-{run}")
    }

    fn bake_folder(&self) -> &'static str {
        "C:/hg-bake"
    }

    fn install_supervisor(&self, folder: &str) -> Command {
        with_input(OWN_FOLDER, &[folder, "supervisor"]).stdin(SUPERVISE)
    }

    fn task_input(&self, folder: &str, id: &TaskId) -> String {
        format!("{folder}/{id}.in")
    }

    fn supervise(&self, folder: &str, id: &TaskId, request: &Request<'_>) -> Command {
        let words = |command: &Command| {
            let words: Vec<&String> = std::iter::once(&command.program).chain(&command.args).collect();
            json!({ "words": words, "env": command.env }).to_string()
        };
        let hold = |watched: bool| if watched { "watch" } else { "alone" };
        let verb = |verb: &str| self.script(&format!("{folder}/supervise.py")).args([verb, &format!("{folder}/{id}")]);
        let (command, watched) = match request {
            Request::Launch { command, cap, boot } => {
                (verb("launch").args([&cap.to_string(), *boot]).arg(words(command)), false)
            }
            Request::Start { command, cap, boot, watched } => {
                (verb("start").args([&cap.to_string(), *boot, hold(*watched)]).arg(words(command)), *watched)
            }
            Request::Follow { from, boot, watched } => {
                let offsets = [from.stdout.to_string(), from.stderr.to_string()];
                (verb("follow").args(offsets).args([*boot, hold(*watched)]), *watched)
            }
            Request::Record => (verb("record"), false),
            Request::Cancel { grace } => (verb("cancel").arg(grace.to_string()), false),
        };
        if watched { Command { stdin: None, ..command } } else { command }
    }

    /// To ask starts a shell and Python, which takes a good part of a second.
    fn record_file(&self, folder: &str, id: &TaskId) -> Option<String> {
        Some(format!("{folder}/{id}/record"))
    }

    fn remove_run(&self, folder: &str, clean: Option<&str>) -> Command {
        without_input(REMOVE_RUN, &[folder]).args(clean)
    }
}

impl Copies for Windows {
    fn unpack(&self, path: &str, partial: &str, mode: u32) -> Command {
        with_input(TREE, &["unpack", &plain(path), partial, &format!("{mode:o}")])
    }

    fn pack(&self, path: &str) -> Command {
        without_input(TREE, &["pack", &plain(path)])
    }

    fn pick(&self, path: &str) -> Command {
        with_input(TREE, &["pick", &plain(path)])
    }

    /// Ends with a reason: Windows has no such files.
    fn pour(&self, path: &str, _: Duration) -> Command {
        with_input(TREE, &["pour", path])
    }

    fn block_hashes(&self, path: &str, block: u64, count: u64, own: bool) -> Command {
        let owner = if own { "own" } else { "any" };
        without_input(BLOCK_HASHES, &[path, &block.to_string(), &count.to_string(), owner])
    }

    /// Ends with a reason, and so the zeros of holes travel.
    fn data_extents(&self, path: &str) -> Command {
        without_input(TREE, &["extents", path])
    }

    fn remove_stale(&self, start: &str, own: &str) -> Command {
        without_input(BASICS, &["remove-stale", start, own])
    }

    fn file_identity(&self, path: &str) -> Command {
        without_input(BASICS, &["identity", path])
    }

    fn sync_look(&self, path: &str, _: Option<&str>) -> Command {
        without_input(TREE, &["look", &plain(path)])
    }

    fn sync_list(&self, path: &str) -> Command {
        without_input(TREE, &["look", &plain(path)])
    }

    fn sync_hash(&self, path: &str) -> Command {
        with_input(TREE, &["hash", &plain(path)])
    }

    fn sync_apply(&self, path: &str, _: Option<&str>) -> Command {
        with_input(TREE, &["apply", &plain(path)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::task::{Terminal, WindowSize};

    fn asked(command: &Command) -> serde_json::Value {
        let Invocation { line, head } = Windows.invocation(command).unwrap();
        assert_eq!(line, LINE);
        let head = String::from_utf8(head).unwrap();
        let (length, body) = head.split_once('\n').unwrap();
        assert_eq!(length.parse(), Ok(body.len()));
        let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body.as_object_mut().unwrap().remove("boot"), Some(BOOT.into()));
        body
    }

    #[test]
    fn the_line_has_nothing_that_the_shells_change() {
        // Those of cmd.exe; and of a POSIX shell within double quotes, by which tests run it.
        assert!(!LINE.contains(['%', '^', '&', '|', '<', '>', '!', '\r', '\n', '$', '`', '\\']));
        assert_eq!(LINE.matches('"').count(), 2);
        assert!(LINE.len() < 1000 && LINE.is_ascii());
        assert_eq!(LINE.split(' ').take(5).collect::<Vec<_>>(), [PYTHON, OURS[0], OURS[1], OURS[2], OURS[3]]);
    }

    #[test]
    fn programs_of_ours_are_told_from_those_of_the_machine() {
        let env = vec![("A".to_owned(), "%B%".to_owned())];
        let command = Command { env, ..Command::new("prog").args(["a b", "%PATH%"]) };
        assert_eq!(asked(&command), json!({ "program": "prog", "args": ["a b", "%PATH%"], "env": [["A", "%B%"]] }));
        assert_eq!(asked(&Windows.script("C:/x.py").arg("y")), json!({ "file": "C:/x.py", "args": ["y"], "env": [] }));
        assert_eq!(asked(&Windows.echo("x")), json!({ "text": BASICS, "args": ["echo", "x"], "env": [] }));
        // A user's own Python has a user's packages.
        let own = Command::new(PYTHON).args(["-c", "import x"]);
        assert_eq!(asked(&own), json!({ "program": PYTHON, "args": ["-c", "import x"], "env": [] }));
        let quoted = Windows.quoted_line("'C:/a b/hg.exe' -R 'it'\\''s' serve --stdio");
        assert_eq!((quoted.program.as_str(), quoted.args.len(), quoted.stdin), ("C:/a b/hg.exe", 4, None));
        assert_eq!(quoted.args[1], "it's");
    }

    #[test]
    fn a_users_line_goes_to_the_login_shell_and_a_terminal_has_nothing_else() {
        let line = |command: &Command| Windows.invocation(command).map(|invocation| (invocation.line, invocation.head));
        assert_eq!(line(&Command::new("")).unwrap(), (String::new(), Vec::new()));
        assert_eq!(line(&Windows.line("dir & echo x")).unwrap(), ("dir & echo x".to_owned(), Vec::new()));
        assert!(line(&Windows.line("a\nb")).is_err() && line(&Command::new("x").arg("a\0")).is_err());
        let terminal = || Terminal { kind: "xterm".to_owned(), size: WindowSize { columns: 80, rows: 24 } };
        assert!(line(&Windows.line("dir").terminal(terminal())).is_ok());
        assert!(line(&Command::new("").terminal(terminal())).is_ok());
        assert!(line(&Command::new("prog").terminal(terminal())).is_err());
    }

    #[test]
    fn the_top_of_a_drive_is_no_current_folder() {
        assert_eq!(
            (plain("C:"), plain("C:/x"), plain("x"), plain("1:")),
            ("C:/".into(), "C:/x".into(), "x".into(), "1:".into())
        );
    }

    #[test]
    fn a_login_without_python_is_told_how_to_get_one() {
        assert!(Windows.login_shell_remedy("hg", Some(NOT_FOUND[0])).contains("no `python` on the path of user `hg`"));
        assert!(Windows.login_shell_remedy("hg", Some(0)).contains("DefaultShell"));
        assert!(Windows.life().is_some() && Windows.agent().is_some());
        assert!(
            Windows.is_login_name("Administrator") && !Windows.is_login_name("a b") && !Windows.is_login_name("x\\y")
        );
    }
}
