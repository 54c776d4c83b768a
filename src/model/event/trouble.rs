//! Events about trouble that does not end the run.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::words::Words;
use crate::failure::Failure;
use crate::fault::Fault;

/// Something went wrong and was not the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TroubleEvent {
    /// Some work failed.
    Failed {
        /// The error, in the words of that work.
        failure: Failure,
    },
    /// A file of the run's log cannot be written.
    LogNotWhole {
        /// The file.
        path: PathBuf,
        /// Why, in the system's words.
        why: String,
    },
}

impl From<&Fault> for TroubleEvent {
    fn from(fault: &Fault) -> Self {
        Self::Failed { failure: fault.into() }
    }
}

impl TroubleEvent {
    pub(super) fn words(&self) -> Words {
        Words::Warning(match self {
            Self::Failed { failure } => failure.line(),
            Self::LogNotWhole { path, why } => {
                format!("`{}` cannot be written and will not be whole: {why}", path.display())
            }
        })
    }
}
