//! Events: the reports of flows about their work, as data: something happened, at a time, to something. One sink in
//! `ui` draws it, another keeps it in the run's folder, and both take their words from [`Event::words`].
//!
//! Kinds are grouped by family, a file each. A family is an enum whose variants carry data (ids, counts, spans, a
//! [`Failure`]) and no sentence; `words` of the family makes the sentences. A new kind is a variant and its line in
//! `words`; a new family also needs a line in [`EventKind`]. In JSON an event is one flat object (`docs/json.md`): a reader
//! skips a line whose family, kind or subject it does not know, as [`read`] does, and fields that it does not know.
//!
//! [`Failure`]: crate::failure::Failure

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::id::{MachineId, RunId};

mod account;
mod files;
mod image;
mod machine;
mod packages;
mod removal;
mod run;
mod step;
mod teller;
mod testing;
mod trouble;
mod words;

pub use account::AccountEvent;
pub use files::{FilesEvent, Names, NotBrought};
pub use image::{Awaited, ImageEvent};
pub use machine::{LetInTrouble, MachineEvent};
pub use packages::PackagesEvent;
pub use removal::RemovalEvent;
pub use run::{Remainder, RunEvent};
pub use step::StepEvent;
pub use teller::{Step, Teller};
pub use testing::TestsEvent;
pub use trouble::TroubleEvent;
pub use words::Words;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened, by the clock of the run.
    pub at: Timestamp,
    /// The thing it happened to; none where a command works outside of any run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The cell of the run's matrix in which it happened, by its name; none outside of any. Events of packages have a `cell` of another
    /// kind beside it.
    #[serde(default, rename = "in_cell", skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// The kind of the event, with its data.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// The event in words, and how they are to be shown.
    pub fn words(&self) -> Words {
        let subject = self.subject.as_ref().map_or("", Subject::name);
        match &self.kind {
            EventKind::Step(event) => event.words(),
            EventKind::Machine(event) => event.words(subject),
            EventKind::Image(event) => event.words(),
            EventKind::Account(event) => event.words(),
            EventKind::Tests(event) => event.words(),
            EventKind::Packages(event) => event.words(),
            EventKind::Files(event) => event.words(),
            EventKind::Removal(event) => event.words(),
            EventKind::Run(event) => event.words(),
            EventKind::Trouble(event) => event.words(),
        }
    }
}

/// The thing that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The run as a whole.
    Run(RunId),
    /// One machine.
    Machine(MachineId),
    /// One image, by its name.
    Image(String),
    /// One test, by its name.
    Test(String),
}

impl Subject {
    /// Its id or name.
    pub fn name(&self) -> &str {
        match self {
            Self::Run(id) => id.as_str(),
            Self::Machine(id) => id.as_str(),
            Self::Image(name) | Self::Test(name) => name,
        }
    }
}

/// The kinds of events, by family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "snake_case")]
pub enum EventKind {
    /// A piece of work began, goes on or ended.
    Step(StepEvent),
    /// Something happened to one machine, which is the event's subject.
    Machine(MachineEvent),
    /// Something happened to an image, its layers or their ingredients.
    Image(ImageEvent),
    /// Something was found in an account.
    Account(AccountEvent),
    /// Something happened to the tests, their source or its build.
    Tests(TestsEvent),
    /// Something happened to packages that are built.
    Packages(PackagesEvent),
    /// Something happened to files that are copied.
    Files(FilesEvent),
    /// Something happened to things that are removed from an account.
    Removal(RemovalEvent),
    /// Something happened to the run as a whole.
    Run(RunEvent),
    /// Something went wrong, and is reported as it is.
    Trouble(TroubleEvent),
}

macro_rules! family {
    ($($variant:ident($event:ident)),+) => {
        $(impl From<$event> for EventKind {
            fn from(event: $event) -> Self {
                Self::$variant(event)
            }
        })+
    };
}

// A machine's event is not among these, because it needs its machine: `Teller::machine`.
family!(
    Step(StepEvent),
    Image(ImageEvent),
    Account(AccountEvent),
    Tests(TestsEvent),
    Packages(PackagesEvent),
    Files(FilesEvent),
    Removal(RemovalEvent),
    Run(RunEvent),
    Trouble(TroubleEvent)
);

/// Takes events. Must not block for long and must not fail: a run must never be lost because an event could not be
/// shown.
pub trait Sink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// A sink that ignores all events.
pub struct NoSink;

impl Sink for NoSink {
    fn event(&self, _: Event) {}
}

/// The events of a file that holds one per line, in order. Lines of kinds that this build does not know are left out,
/// and so are torn lines: the last one, where its writer was killed, and one that was cut off because the disk was
/// full.
pub fn read(lines: &[u8]) -> impl Iterator<Item = Event> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests;
