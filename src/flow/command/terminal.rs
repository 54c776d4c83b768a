//! A command that a person talks with: it runs over the connection itself, with a terminal, and ends with it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use async_trait::async_trait;
use model::base::text;
use model::connection::Process;
use model::exit::Exit;
use model::fault::Fault;
use model::preparation::UserCommand;
use model::run::RunFolder;
use model::task::Terminal;

use crate::command::{CommandExit, CommandOutcome, CommandRecords, CommandTask, complete, met_memory_limit, settle};
use crate::lease::Completion;
use crate::run::Run;
use crate::task::durable::Durable;
use crate::task::timed::Timed;

/// How a person on this computer talks with a command.
#[async_trait]
pub trait Conversation: Send + Sync {
    /// The terminal that the command gets.
    fn terminal(&self) -> Terminal;

    /// Joins the command with the person's terminal until it ends.
    async fn join(&self, process: Box<dyn Process>) -> Result<Exit, Fault>;
}

/// The file in a run's folder that says that its command was begun on a terminal.
const MARK: &str = "on-terminal";

/// Whether the command of a run was begun on a terminal: then it ended with its driver.
pub fn was_on_terminal(folder: &dyn RunFolder) -> bool {
    folder.path().join(MARK).exists()
}

/// Runs the command to its end. Nothing of it is kept, so it cannot be followed by another process.
pub(super) async fn run_on_terminal(
    run: &Run,
    durable: &Durable,
    command: &dyn UserCommand,
    task: &CommandTask,
    records: &CommandRecords<'_>,
    conversation: &dyn Conversation,
) -> Result<Completion<Option<CommandOutcome>>, Fault> {
    let connection = durable.direct().await?;
    let mark = records.folder.path().join(MARK);
    std::fs::write(&mark, "")
        .map_err(|error| Fault::outside(format!("cannot write `{}`", mark.display())).because(error))?;
    let began = Instant::now();
    let process = connection.start(&command.run_on_terminal(durable.folder(), conversation.terminal())).await?;
    let (process, over) = Timed::new(process, task.begun.limit);
    let exit = conversation.join(Box::new(process)).await?;
    let timed_out = over.load(Ordering::Relaxed);
    let exit =
        if timed_out { Exit::Lost(format!("waited {} for its end", text::seconds(task.begun.limit))) } else { exit };
    let memory_limit = met_memory_limit(durable, task, &exit);
    let ended = CommandExit { exit, took: began.elapsed(), timed_out, peak_memory: None, memory_limit };
    let outcome = settle(run, durable, command, task, records, ended).await;
    Ok(complete(run, task, outcome))
}
