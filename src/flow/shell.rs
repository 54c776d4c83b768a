//! How somebody else's machine handles a command: judged by its output, not guessed.

use model::connection::Connection;
use model::event::MachineEvent;
use model::exit::Exit;
use model::fault::Fault;
use model::machine::Machine;
use model::output::{OutputLimits, run_command};

use crate::run::Run;

/// The text that the command prints; nothing else would print it.
const PROBE_TEXT: &str = "hg-automation: commands run here";

/// The longest piece of a machine's output that a message quotes, in characters.
const EXCERPT_CHARS: usize = 200;

/// Runs a command that prints a known text. Gives what the login shell prints before it, if anything. A machine that
/// does not print the text does not run commands, and the fault quotes what it printed instead.
pub async fn look(connection: &dyn Connection, user: &str) -> Result<Option<String>, Fault> {
    let done = run_command(connection, &guest::of(connection.platform()).echo(PROBE_TEXT), OutputLimits::SMALL).await?;
    let stdout = done.stdout_text();
    if let Some(at) = stdout.lines().position(|line| line.trim_end_matches('\r') == PROBE_TEXT) {
        let before: Vec<&str> = stdout.lines().take(at).filter(|line| !line.trim().is_empty()).collect();
        return Ok(before.first().map(|line| excerpt(line)));
    }
    let last = |text: &str| text.lines().rfind(|line| !line.trim().is_empty()).map(excerpt);
    let answer = match last(&done.stderr_text()).or_else(|| last(&stdout)) {
        Some(line) => format!("said `{line}`"),
        None => "said nothing".to_owned(),
    };
    let how = match &done.exit {
        Exit::Lost(reason) => reason.clone(),
        exit => format!("it ended with {exit}"),
    };
    Err(Fault::outside(format!("the login shell of user `{user}` does not run commands"))
        .because(format!("asked to run `sh -c ...`, {how} and {answer}"))
        .hint(remedy(user)))
}

/// Gives back a connection to somebody else's machine if that machine runs commands.
pub async fn check_shell(
    run: &Run,
    connection: Box<dyn Connection>,
    machine: &Machine,
) -> Result<Box<dyn Connection>, Fault> {
    if let Some(noise) = look(connection.as_ref(), &machine.user).await? {
        run.teller.machine(&machine.id, MachineEvent::ShellPrints { user: machine.user.clone(), noise });
    }
    Ok(connection)
}

/// The remedy for a login shell that runs no commands.
pub fn remedy(user: &str) -> String {
    format!(
        "Run `sudo usermod --shell /bin/bash {user}` there; where a forced command answers in its place, take `command=` out of the \
         key's line in `authorized_keys`, or `ForceCommand` out of the configuration of sshd."
    )
}

fn excerpt(line: &str) -> String {
    line.trim().chars().take(EXCERPT_CHARS).collect()
}

/// The remedy for a file server that does not start, judged by the machine's own configuration; `noise` is what
/// [`look`] gave.
pub async fn file_server_remedy(connection: &dyn Connection, noise: Option<&str>) -> String {
    if let Some(noise) = noise {
        return format!(
            "the login shell prints `{noise}` before everything, which breaks file transfers: print it only where there is a \
             terminal (`[ -t 1 ]`)"
        );
    }
    let configured =
        match run_command(connection, &guest::of(connection.platform()).file_server(), OutputLimits::SMALL).await {
            Ok(done) => done.stdout_text(),
            Err(_) => String::new(),
        };
    let mut lines = configured.lines().map(str::trim);
    match (lines.next().unwrap_or_default(), lines.next()) {
        ("", _) => "add `Subsystem sftp internal-sftp` to /etc/ssh/sshd_config and reload sshd".to_owned(),
        (path, None) => format!(
            "/etc/ssh/sshd_config has `Subsystem sftp {path}`, and there is no such program: install openssh-sftp-server, or write \
             `internal-sftp` in its place, and reload sshd"
        ),
        (path, Some(_)) => format!(
            "/etc/ssh/sshd_config has `Subsystem sftp {path}` already, and that program exists: reload sshd if the line is newer than \
             the server; otherwise look into its log"
        ),
    }
}
