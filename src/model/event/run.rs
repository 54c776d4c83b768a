//! Events about a run as a whole: how it ends, and what is left of it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::id::MachineId;
use crate::base::{clock, text};
use crate::event::words::Words;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fault::FaultKind;
use crate::resource::{Resource, ResourceKind};

/// Something happened to the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run, or other work beside it, ended with an error.
    Failed {
        /// The error.
        failure: Failure,
    },
    /// The run's command has come to an end, or was ended.
    CommandEnded {
        /// The command, as a line for a shell.
        line: String,
        /// How it ended.
        exit: Exit,
        /// How long it ran.
        #[serde(with = "clock::seconds")]
        took: Duration,
        /// Whether it was ended because its time was over.
        timed_out: bool,
        /// Whether the run was to end before it did, so that its own end is not known.
        #[serde(default)]
        cancelled: bool,
        /// Whether it failed where the limit of its machine's memory was reached.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        memory_limit: bool,
    },
    /// The run's command has come to an end in each of its cells.
    CellsEnded {
        /// The command, as a line for a shell.
        line: String,
        /// How many cells there are.
        cells: usize,
        /// In how many of them it succeeded.
        succeeded: usize,
        /// The exit code of the worst.
        code: i32,
    },
    /// The run's task goes on without a driver.
    Detached {
        /// The machine on which it goes on.
        machine: MachineId,
        /// When the machine ends at the latest; none where it only has its lease.
        until: Option<Timestamp>,
        /// The command that follows it.
        attach: String,
        /// The command that ends it.
        cancel: String,
    },
    /// Resources are left besides those of the machine on which the task goes on.
    LeftBeside {
        /// The resources.
        left: Vec<Remainder>,
    },
    /// A machine of the run was kept on purpose.
    MachineKept {
        /// The machine.
        machine: MachineId,
        /// The command that enters it; empty in events of older builds.
        #[serde(default)]
        enter: String,
        /// When it ends by itself.
        until: Timestamp,
        /// The command that ends it.
        down: String,
    },
    /// The run made no resources.
    NothingMade,
    /// All resources that the run made were seen gone, or are meant to stay.
    Clean {
        /// How many resources it made.
        made: usize,
        /// How many of them stay for later runs.
        kept: usize,
        /// The command that checks again.
        look: String,
    },
    /// The run has come to its end, and machines of it are told to end; another process sees that they do.
    Releasing {
        /// The machines.
        machines: Vec<MachineId>,
        /// The command that waits until nothing of them is left, and says so.
        look: String,
    },
    /// Some resources that the run made still exist.
    LeftBehind {
        /// How many resources it made.
        made: usize,
        /// The resources that are left.
        left: Vec<Remainder>,
        /// The command that removes them.
        fix: String,
    },
}

/// A resource that is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remainder {
    /// Its kind.
    pub resource: ResourceKind,
    /// Its name.
    pub name: String,
    /// Why it still exists; none where its release was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl From<&Resource> for Remainder {
    fn from(row: &Resource) -> Self {
        Self { resource: row.kind, name: row.name.clone(), why: row.explanation() }
    }
}

impl Remainder {
    /// A line of a list.
    pub fn line(&self) -> String {
        let why = self.why.as_deref().unwrap_or("not released yet");
        format!("  {} {}: {why}", self.resource.name(), self.name)
    }
}

fn lines(left: &[Remainder]) -> String {
    left.iter().map(Remainder::line).collect::<Vec<_>>().join("\n")
}

/// How many bytes of a command's line are shown.
const LINE_SHOWN: usize = 100;

/// How a command ended, for people.
fn ended_words(exit: &Exit, timed_out: bool, cancelled: bool) -> String {
    match exit {
        Exit::Code(0) => "Succeeded".to_owned(),
        Exit::Code(_) | Exit::Signal(_) => format!("Ended with {exit}"),
        Exit::Lost(_) if cancelled => "Cancelled".to_owned(),
        Exit::Lost(_) if timed_out => "Ended because its time was over".to_owned(),
        Exit::Lost(why) => format!("Not run, or lost ({why})"),
    }
}

impl RunEvent {
    /// What it says at the end of a run.
    pub fn text(&self) -> String {
        match self.words() {
            Words::Outcome(text) => text,
            _ => String::new(),
        }
    }

    pub(super) fn words(&self) -> Words {
        Words::Outcome(match self {
            Self::Failed { failure } => failure.text(),
            Self::CommandEnded { line, exit, took, timed_out, cancelled, memory_limit } => {
                let line = text::cut(line, LINE_SHOWN);
                let why =
                    if *memory_limit { ", where the memory limit of its machine (`--memory`) was reached" } else { "" };
                format!("{} after {}{why}: {line}", ended_words(exit, *timed_out, *cancelled), text::seconds(*took))
            }
            Self::CellsEnded { line, cells, succeeded, code } => {
                let line = text::cut(line, LINE_SHOWN);
                let (failed, cells) = (cells.saturating_sub(*succeeded), text::pluralize(*cells as u64, "cell"));
                let how = match succeeded {
                    _ if *code == FaultKind::Interrupted.exit_code() => {
                        format!("Cancelled when {succeeded} of {cells} had succeeded")
                    }
                    0 => format!("Failed in {failed} of {cells}"),
                    _ => format!("Succeeded in {succeeded} of {cells}"),
                };
                format!("{how}, exit code {code}: {line}")
            }
            Self::Detached { machine, until, attach, cancel } => {
                let until = match until {
                    Some(at) => format!("until {at:.0} at the latest"),
                    None => "until its lease is over".to_owned(),
                };
                format!(
                    "Detached: the run continues on {machine}, {until}.\n`{attach}` follows it, `{cancel}` ends it."
                )
            }
            Self::LeftBeside { left } => format!("Left behind beside it:\n{}", lines(left)),
            Self::MachineKept { machine, enter, until, down } => {
                let enter = if enter.is_empty() { String::new() } else { format!("`{enter}` enters it, ") };
                format!("Kept {machine} until {until:.0}; {enter}`{down}` ends it.")
            }
            Self::NothingMade => "Nothing was made, nothing is left behind.".to_owned(),
            Self::Clean { made, kept, look } => {
                let stay = if *kept > 0 { format!("{kept} kept for later runs, ") } else { String::new() };
                let gone = made.saturating_sub(*kept);
                format!("Nothing is left behind: {made} resources made, {stay}{gone} seen gone (`{look}`).")
            }
            Self::Releasing { machines, look } => {
                let names: Vec<&str> = machines.iter().map(MachineId::as_str).collect();
                let are = if machines.len() == 1 { "is" } else { "are" };
                format!("{} {are} ending; `{look}` confirms it.", names.join(", "))
            }
            Self::LeftBehind { made, left, fix } => {
                format!("Left behind, {} of {made}:\n{}\nRemove them with `{fix}`.", left.len(), lines(left))
            }
        })
    }
}
