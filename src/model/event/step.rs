//! Pieces of work: what a person waits for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::id::MachineId;
use crate::base::text;
use crate::event::words::Words;
use crate::work::{Moved, Work};

/// How many machines a line names.
const NAMED: usize = 3;

/// A piece of work began, goes on or ended. Those of one subject do not overlap, but that one may stand within another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepEvent {
    /// It began.
    Began {
        /// What.
        work: Work,
    },
    /// The step that began last took so long the last time; told where that is known.
    Expected {
        /// Then.
        #[serde(with = "clock::seconds")]
        took: Duration,
    },
    /// A line of the step's own output.
    Said {
        /// The line, without its end.
        line: String,
    },
    /// It goes on on these machines.
    Waiting {
        /// The machines.
        machines: Vec<MachineId>,
    },
    /// Bytes moved so far. Told often, and never kept.
    Moved {
        /// Moved so far.
        done: u64,
        /// All of them, when known.
        total: Option<u64>,
    },
    /// It ended well.
    Ended {
        /// What.
        work: Work,
        /// How long it took.
        #[serde(with = "clock::seconds")]
        took: Duration,
        /// What was moved, where that is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moved: Option<Moved>,
    },
    /// It failed or was given up. Why is told by other events and by the end of the run.
    Stopped {
        /// What.
        work: Work,
        /// How long it went on.
        #[serde(with = "clock::seconds")]
        took: Duration,
    },
}

impl StepEvent {
    pub(super) fn words(&self) -> Words {
        match self {
            Self::Began { work } => Words::Begin(work.words()),
            Self::Expected { took } => Words::Expect(*took),
            Self::Said { line } => Words::Detail(line.clone()),
            Self::Waiting { machines } => {
                let names: Vec<&str> = machines.iter().take(NAMED).map(MachineId::as_str).collect();
                let more = machines.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                Words::Detail(format!("waiting for {}{more}", names.join(", ")))
            }
            Self::Moved { done, total } => {
                let of = total.map(|total| format!(" of {}", text::bytes(total))).unwrap_or_default();
                Words::Progress(format!("{}{of}", text::bytes(*done)))
            }
            Self::Ended { work, took, moved } => {
                work.done(*moved).map_or(Words::Stop, |text| Words::End { text, took: *took })
            }
            Self::Stopped { .. } => Words::Stop,
        }
    }
}
