//! Events about steps: pieces of work that a person waits for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::id::MachineId;
use crate::base::text;
use crate::event::words::Words;
use crate::work::{Moved, Work};

/// Most machines that a line names.
const NAMED: usize = 3;

/// A piece of work began, goes on or ended. The steps of one subject do not overlap, except that one may be nested in
/// another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepEvent {
    /// The step began.
    Began {
        /// Its work.
        work: Work,
    },
    /// The step that began last is expected to take as long as the last time; sent where that time is known.
    Expected {
        /// How long it took then.
        #[serde(with = "clock::seconds")]
        took: Duration,
    },
    /// A line of the step's own output.
    Said {
        /// The line, without its end.
        line: String,
    },
    /// The step waits for the machines on which it is not done yet.
    Waiting {
        /// The machines that it waits for.
        machines: Vec<MachineId>,
    },
    /// The step has moved bytes. Sent often, and never kept.
    Moved {
        /// Bytes moved so far.
        done: u64,
        /// All bytes that are to be moved, when known.
        total: Option<u64>,
    },
    /// The step succeeded.
    Ended {
        /// Its work.
        work: Work,
        /// How long it took.
        #[serde(with = "clock::seconds")]
        took: Duration,
        /// How much was moved, where that is counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moved: Option<Moved>,
    },
    /// The step failed or was given up. The reason is in other events and in the end of the run.
    Stopped {
        /// Its work.
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
