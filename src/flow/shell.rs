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
    let guest = guest::of(connection.platform());
    let done = run_command(connection, &guest.echo(PROBE_TEXT), OutputLimits::SMALL).await?;
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
    let code = if let Exit::Code(code) = done.exit { Some(code) } else { None };
    Err(Fault::outside(format!("the login shell of user `{user}` does not run commands"))
        .because(format!("asked to run `{}`, {how} and {answer}", guest.example()))
        .hint(guest.login_shell_remedy(user, code)))
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

fn excerpt(line: &str) -> String {
    line.trim().chars().take(EXCERPT_CHARS).collect()
}

/// The remedy for a file server that does not start, judged by the machine's own configuration; `noise` is what
/// [`look`] gave.
pub async fn file_server_remedy(connection: &dyn Connection, noise: Option<&str>) -> String {
    let guest = guest::of(connection.platform());
    let configured = match noise {
        Some(_) => String::new(),
        None => match run_command(connection, &guest.file_server(), OutputLimits::SMALL).await {
            Ok(done) => done.stdout_text(),
            Err(_) => String::new(),
        },
    };
    guest.file_server_remedy(&configured, noise)
}
