//! A run that is left to its machines: how it is announced, and what it comes to.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::fault::Fault;
use model::machine::Machine;
use serde::Serialize;

use crate::command::error;
use crate::command::session::{Ending, Session};
use crate::ui;

/// The JSON of `--detach --json`.
#[derive(Serialize)]
struct Detached<'a> {
    id: &'a RunId,
    machine: &'a MachineId,
    expires_at: Timestamp,
}

/// Announces a run that is left to its machines: prints its id, or JSON, while its task can still be cancelled where that fails.
pub struct Announcer<'a> {
    session: &'a Session,
    is_json: bool,
    /// Whether it was announced: of several machines the first does that.
    told: Mutex<Option<bool>>,
}

impl<'a> Announcer<'a> {
    /// Nothing is announced yet.
    pub fn new(session: &'a Session, is_json: bool) -> Self {
        Self { session, is_json, told: Mutex::default() }
    }

    /// Announces it, with one of its machines, unless that was done for another. Fails where it was not announced.
    pub fn announce(&self, machine: &Machine) -> Result<(), Fault> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match *told {
            Some(true) => return Ok(()),
            Some(false) => return Err(Fault::outside("the run's id could not be printed")),
            None => {}
        }
        let (screen, id) = (&self.session.context.screen, self.session.id());
        let printed = match self.is_json {
            true => screen.try_json(&Detached { id, machine: &machine.id, expires_at: machine.expires_at }),
            false => screen.try_data(&format!("{id}\n")),
        };
        *told = Some(printed.is_ok());
        printed.map_err(|error| {
            ui::unwritten_fault(error)
                .hint("Nobody would know the run's id, so its task was cancelled and its machine released.")
        })
    }

    /// Forgets a write that failed: the fault reports it, with what became of the tests.
    pub fn settle(self) {
        if self.told.into_inner().unwrap_or_else(PoisonError::into_inner) == Some(false) {
            drop(ui::take_write_fault());
        }
    }
}

/// The ending of a run that was asked to detach, or not: to leave before its task ends is a success then.
pub fn accept_detach(is_asked: bool, ending: Ending) -> Ending {
    if !is_asked || ending.detached.is_empty() {
        return ending;
    }
    // A machine whose lease could not be extended ends too early: that is not a success.
    let kept = ending.detached.iter().all(|machine| machine.kept);
    let code = if kept { error::exit::OK } else { error::exit::INFRASTRUCTURE };
    Ending { code, ..ending }
}
