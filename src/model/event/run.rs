//! Events about a run as a whole: how it ends, and what is left of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::id::MachineId;
use crate::event::words::Words;
use crate::failure::Failure;
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

impl RunEvent {
    pub(super) fn words(&self) -> Words {
        Words::Outcome(match self {
            Self::Failed { failure } => failure.text(),
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
            Self::LeftBehind { made, left, fix } => {
                format!("Left behind, {} of {made}:\n{}\nRemove them with `{fix}`.", left.len(), lines(left))
            }
        })
    }
}
