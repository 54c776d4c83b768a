//! What happens to files that travel.

use serde::{Deserialize, Serialize};

use crate::model::event::words::Words;

/// Names of a kind that a sentence shows; the event has all of them.
const SHOWN: usize = 3;

/// Something happened to files that travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FilesEvent {
    /// Links that were asked for and lead to no file.
    LinksLeft {
        /// Their paths on the machine.
        links: Vec<String>,
    },
    /// What was asked for is a folder, of which nothing was.
    FolderLeft {
        /// The pattern.
        glob: String,
    },
    /// Links that lead out of the folder that was copied became notes of what they were.
    LinksReplaced {
        /// Their paths below the folder.
        links: Vec<String>,
    },
}

impl FilesEvent {
    pub(super) fn words(&self) -> Words {
        match self {
            Self::LinksLeft { links } => {
                let named = few(links, |path| path.escape_debug().to_string());
                Words::Notice(format!("Links that lead to no file were left: {named}"))
            }
            Self::FolderLeft { glob } => {
                Words::Notice(format!("`{glob}` is a folder, and nothing of it was fetched: `{glob}/**` is all in it"))
            }
            Self::LinksReplaced { links } => {
                let named = few(links, |path| format!("`{}`", path.escape_debug()));
                Words::Warning(format!("links that lead out of the folder became notes of what they were: {named}"))
            }
        }
    }
}

/// The first names, and how many more there are.
fn few(names: &[String], shown: impl Fn(&String) -> String) -> String {
    let mut words: Vec<String> = names.iter().take(SHOWN).map(shown).collect();
    if names.len() > SHOWN {
        words.push(format!("{} more", names.len() - SHOWN));
    }
    words.join(", ")
}
