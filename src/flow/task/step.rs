//! One step of work on a machine.

use model::connection::Connection;
use model::event::StepEvent;
use model::exit::Exit;
use model::fault::Fault;
use model::output::{Output, OutputLimits, run_command};
use model::task::StepCommand;

use crate::run::Run;

/// Does a step, and reports it.
pub(crate) async fn do_step(run: &Run, connection: &dyn Connection, step: &StepCommand) -> Result<Output, Fault> {
    let showing = run.teller.begin(step.work.clone());
    let done = run_command(connection, &step.command, OutputLimits { bytes: 1 << 20, time: step.limit }).await?;
    for line in done.stderr_text().lines() {
        run.tell(StepEvent::Said { line: line.to_owned() });
    }
    if done.exit.is_success() {
        showing.finish();
    }
    Ok(done)
}

/// The fault of a step that failed, in the step's own words.
pub(crate) fn failed(step: &StepCommand, done: &Output) -> Fault {
    let (message, said) = (format!("{} failed with {}", step.work.words(), done.exit), done.stderr_text());
    let fault = match done.exit {
        Exit::Lost(_) => Fault::infrastructure(message),
        _ => Fault::outside(message),
    };
    if said.is_empty() { fault } else { fault.because(said) }
}
