//! Events about packages that are built.

use serde::{Deserialize, Serialize};

use crate::base::text;
use crate::event::words::Words;
use crate::failure::Failure;

/// Something happened to a package of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PackagesEvent {
    /// A package is here, whole.
    Built {
        /// Its cell.
        cell: String,
        /// Its name.
        name: String,
        /// Its bytes.
        bytes: u64,
        /// Whether it was signed.
        signed: bool,
    },
    /// A package was not built; the others go on.
    NotBuilt {
        /// Its cell.
        cell: String,
        /// Why.
        failure: Failure,
        /// The file with what the build said, where there is one.
        log: Option<String>,
    },
    /// The machine was lost while it built a package, which another machine builds again.
    BuiltAgain {
        /// Its cell.
        cell: String,
        /// Why.
        failure: Failure,
    },
    /// All packages have come to an end.
    Judged {
        /// The result in a line.
        summary: String,
    },
}

impl PackagesEvent {
    pub(super) fn words(&self) -> Words {
        match self {
            Self::Built { name, bytes, signed, .. } => {
                let signed = if *signed { ", signed" } else { "" };
                Words::Notice(format!("Built {name} ({}{signed})", text::bytes(*bytes)))
            }
            Self::NotBuilt { cell, failure, log } => {
                let log = log.as_ref().map(|log| format!("; all that it said is in {log}")).unwrap_or_default();
                Words::Warning(format!("{cell}: {}{log}", failure.line()))
            }
            Self::BuiltAgain { cell, failure } => {
                Words::Warning(format!("{cell}: {}; another machine builds it again", failure.line()))
            }
            Self::Judged { summary } => Words::Outcome(summary.clone()),
        }
    }
}
