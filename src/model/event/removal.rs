//! Events about the emptying of an account.

use serde::{Deserialize, Serialize};

use crate::base::text;
use crate::event::words::Words;
use crate::failure::Failure;
use crate::resource::ResourceKind;

/// Something happened to things that are to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RemovalEvent {
    /// Things of a kind could not be listed.
    Unseen {
        /// The kind.
        resource: ResourceKind,
        /// Why not.
        failure: Failure,
    },
    /// Things of other people were found, and stay.
    OthersLeft {
        /// How many.
        things: usize,
        /// Their owners.
        owners: Vec<String>,
    },
    /// The removal begins.
    Began {
        /// The things and their place, in words.
        what: String,
    },
    /// The removal of the things of one kind begins.
    KindBegan {
        /// The kind.
        resource: ResourceKind,
        /// How many.
        count: usize,
        /// The place, in words.
        place: String,
    },
    /// Some things still exist.
    Waiting {
        /// Their kind.
        resource: ResourceKind,
        /// How many.
        count: usize,
    },
}

impl RemovalEvent {
    pub(super) fn words(&self) -> Words {
        match self {
            Self::Unseen { resource, failure } => {
                Words::Warning(format!("{} cannot be looked at: {}", resource.plural(), failure.line()))
            }
            Self::OthersLeft { things, owners } => Words::Notice(format!(
                "Left alone: {} of {}; `--all-owners` includes them.",
                text::pluralize(*things, "thing"),
                text::people(owners)
            )),
            Self::Began { what } => Words::Notice(format!("Removing {what}.")),
            Self::KindBegan { resource, count, place } => {
                Words::Notice(format!("Removing {} in {place}.", resource.pluralize(*count)))
            }
            Self::Waiting { resource, count } => {
                Words::Detail(format!("waiting for {} to go away", resource.pluralize(*count)))
            }
        }
    }
}
