//! The end of a run with a user's command, whichever process drove it.

pub mod cells;

use flow::command::{CommandEnd, CommandOutcome, CommandTask};
use model::base::id::RunId;
use model::base::{escapes, text};
use model::event::RunEvent;
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::run::RunFolder;
use serde::Serialize;
use state::runs::{RunDir, RunFile};

use crate::command::error::{code_of_signal, exit};
use crate::command::session::{Ending, Session};
use crate::ui::Screen;

/// How many bytes of a command's line a summary shows.
const LINE_SHOWN: usize = 60;

/// How many bytes of the names of files one line shows.
const NAMES_SHOWN: usize = 200;

/// What is kept and printed of a command that was followed to its end.
#[derive(Serialize)]
struct CommandResults<'a> {
    id: &'a RunId,
    /// The command, as a line for a shell.
    command: &'a str,
    /// Our exit code.
    code: i32,
    image: &'a str,
    machine: &'a model::base::id::MachineId,
    setup: f64,
    cost: Option<f64>,
    #[serde(flatten)]
    outcome: &'a CommandOutcome,
}

/// The ending of a run whose command was followed, or left.
pub fn conclude(session: &Session, line: &str, (ended, task): CommandEnd, json: bool) -> Result<Ending, Fault> {
    let cost = ended.cost;
    let outcome = ended.result?;
    let task = task.ok_or_else(|| Fault::infrastructure("the command was followed before it was begun"))?;
    match (outcome, ended.detached) {
        (Some(outcome), _) => publish(session, line, &task, &outcome, cost, json),
        (None, Some(machine)) => Ok(left(line, machine)),
        (None, None) => Err(Fault::new(FaultKind::Interrupted, "interrupted")),
    }
}

fn left(line: &str, machine: Machine) -> Ending {
    let summary = format!("`{}` on {} until {:.0}", text::cut(line, LINE_SHOWN), machine.id, machine.expires_at);
    Ending { code: exit::DETACHED, summary, detached: vec![machine] }
}

/// Our exit code for the end of a command.
fn code_of(outcome: &CommandOutcome, is_stopped: bool) -> i32 {
    match &outcome.exit {
        Exit::Lost(_) if is_stopped => exit::INTERRUPTED,
        Exit::Lost(_) if outcome.timed_out => exit::COMMAND_TIMED_OUT,
        Exit::Lost(_) => exit::COMMAND_NOT_RUN,
        Exit::Code(code) => i32::try_from(*code).unwrap_or(exit::COMMAND_NOT_RUN),
        Exit::Signal(name) => code_of_signal(name),
    }
}

/// Our exit code where there is no command's: so that a failure of ours is never taken for the command's.
pub fn code_of_fault(fault: &Fault) -> i32 {
    if fault.kind == FaultKind::Interrupted { exit::INTERRUPTED } else { exit::COMMAND_NOT_RUN }
}

/// What is told of the end of the command that has this line; `cancelled` says whether the run was to end before.
pub fn event_of(outcome: &CommandOutcome, line: &str, cancelled: bool) -> RunEvent {
    RunEvent::CommandEnded {
        line: line.to_owned(),
        exit: outcome.exit.clone(),
        took: outcome.took,
        timed_out: outcome.timed_out,
        cancelled,
        memory_limit: outcome.memory_limit,
    }
}

/// Keeps what the command came to, and tells it.
fn publish(
    session: &Session,
    line: &str,
    task: &CommandTask,
    outcome: &CommandOutcome,
    cost: Option<f64>,
    json: bool,
) -> Result<Ending, Fault> {
    let lacking = outcome.lack();
    let is_stopped = session.run.stop.is_cancelled();
    let own = code_of(outcome, is_stopped);
    // A command that failed is the worse news.
    let code = if own == exit::OK && lacking.is_some() { exit::COMMAND_NOT_RUN } else { own };
    let results = CommandResults {
        id: session.id(),
        command: line,
        code,
        image: &task.image,
        machine: &task.begun.machine,
        setup: task.before.setup.as_secs_f64(),
        cost,
        outcome,
    };
    let json_text = serde_json::to_string_pretty(&results)
        .map_err(|error| Fault::infrastructure("cannot write JSON").because(error))?;
    session.dir.write(RunFile::Command, json_text.as_bytes())?;
    let ended = event_of(outcome, line, is_stopped);
    let summary = ended.text();
    session.run.tell(ended);
    let screen = &session.context.screen;
    if let Some(found) = outcome.artifacts.as_ref().filter(|found| found.files > 0) {
        screen.message(&format!("Artifacts: {} in {}", text::bytes(found.bytes), found.folder.display()));
    }
    if let Some(synced) = outcome.synced_back.as_ref().filter(|synced| !synced.written.is_empty()) {
        let files = text::pluralize(synced.written.len() as u64, "changed file");
        let names = text::cut(&synced.written.join(", "), NAMES_SHOWN);
        screen.message(&format!("Brought back {files}: {}", escapes::one_line(&names)));
    }
    if outcome.exit != Exit::Code(0) {
        advise(screen, &session.dir);
    }
    if let Some(fault) = lacking {
        session.run.tell(RunEvent::Failed { failure: (&fault).into() });
    }
    if json {
        drop(screen.json_text(&json_text));
    }
    Ok(Ending { code, summary, detached: Vec::new() })
}

/// How much of the end of a command's output is searched for what may be the matter, bytes.
const SEARCHED: u64 = 64 << 10;

/// Says what to do about a failure whose cause can be told by what was printed last.
fn advise(screen: &Screen, folder: &RunDir) {
    let said = folder.last_output(SEARCHED).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let advice = guest::trust::advice(&said).or_else(|| guest::reach::advice(&said).map(str::to_owned));
    if let Some(advice) = advice {
        screen.message(&format!("hint: {advice}"));
    }
}

/// Ends the run. Whatever goes wrong here has an exit code that no usual command has, so that it is never taken for the command's.
pub async fn close(session: Session, ended: Result<Ending, Fault>) -> Result<i32, Fault> {
    let ending = ended.unwrap_or_else(|fault| {
        session.run.tell(RunEvent::Failed { failure: (&fault).into() });
        Ending { code: code_of_fault(&fault), summary: fault.line(), detached: Vec::new() }
    });
    let own = ending.code;
    let code = session.end(Ok(ending)).await?;
    Ok(if code == own { own } else { exit::COMMAND_NOT_RUN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_code_is_the_commands_own_unless_it_has_none() {
        let code = |exit: Exit, timed_out: bool, stopped: bool| {
            let took = Duration::ZERO;
            code_of(
                &CommandOutcome {
                    exit,
                    timed_out,
                    took,
                    peak_memory: None,
                    memory_limit: false,
                    artifacts: None,
                    synced_back: None,
                },
                stopped,
            )
        };
        let lost = || Exit::Lost("why".to_owned());
        for own in [0, 1, 2, 5, 125, 255] {
            assert_eq!(code(Exit::Code(own), false, false), own as i32);
        }
        assert_eq!(code(Exit::Signal("KILL".to_owned()), false, false), 137);
        assert_eq!((code(lost(), true, false), code(lost(), false, false), code(lost(), false, true)), (124, 125, 130));
        // What ended by itself at the last moment has a code of its own.
        assert_eq!(code(Exit::Code(3), false, true), 3);
    }
}
