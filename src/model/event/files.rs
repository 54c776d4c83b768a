//! Events about files that are copied.

use serde::{Deserialize, Serialize};

use crate::base::text;
use crate::event::words::Words;

/// Most names that a sentence shows.
const SHOWN: usize = 3;

/// Most names that an event holds: there may be any number, and an event is one line.
const HELD: usize = 100;

/// Something happened to files that are copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FilesEvent {
    /// Links that were asked for do not lead to a file, and were not fetched.
    LinksLeft(Names),
    /// A pattern matched a folder but nothing in it.
    FolderLeft {
        /// The pattern.
        glob: String,
    },
    /// Links that lead out of the folder that was copied became notes of what they were.
    LinksReplaced(Names),
    /// What a machine remembered of what was sent into a folder could not be read: all of it was compared by content.
    MemoryDamaged {
        /// The folder on the machine.
        folder: String,
    },
    /// A command had put something else in the place of what was sent, and it is there again.
    PutRight(Names),
    /// What a command did to files that were to be brought back, and that is not done here.
    NotBroughtBack {
        /// What it is.
        what: NotBrought,
        /// What it was done to.
        names: Names,
    },
    /// The work folder of a machine had the files of another folder, and what was made there.
    FolderReplaced {
        /// That folder; empty where its name is not known.
        folder: String,
    },
    /// A file of a release was published, or was found to have been.
    Published {
        /// Its name.
        name: String,
        /// Where.
        place: String,
    },
    /// Parts of files that were left by a publication which was killed were removed.
    PartsRemoved {
        /// How many.
        count: usize,
        /// Where.
        place: String,
    },
}

/// What a command may do to files that is not done where they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotBrought {
    /// It removed them.
    Removed,
    /// It made links that lead out of the folder.
    LeadsOut,
    /// It made what is neither a file, a folder nor a link.
    NoFile,
}

/// Paths of which there may be any number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// How many there are.
    pub count: usize,
    /// The first of them, on the machine, or below what was copied.
    pub first: Vec<String>,
}

impl From<&[String]> for Names {
    fn from(names: &[String]) -> Self {
        Self { count: names.len(), first: names.iter().take(HELD).cloned().collect() }
    }
}

impl FilesEvent {
    pub(super) fn words(&self) -> Words {
        match self {
            Self::LinksLeft(links) => {
                let named = links.few(|path| path.escape_debug().to_string());
                Words::Notice(format!("Links that do not lead to a file were left: {named}"))
            }
            Self::FolderLeft { glob } => Words::Notice(format!(
                "`{glob}` is a folder, and nothing of it was fetched: `{glob}/**` means all files in it"
            )),
            Self::MemoryDamaged { folder } => Words::Notice(format!(
                "What the machine remembered of `{}` was damaged: all of it was compared by content",
                folder.escape_debug()
            )),
            Self::PutRight(names) => {
                let named = names.few(|path| format!("`{}`", path.escape_debug()));
                Words::Notice(format!("Put right on the machine, where a command had put something else: {named}"))
            }
            Self::NotBroughtBack { what, names } => {
                let what = match what {
                    NotBrought::Removed => "removed by the command, and still here",
                    NotBrought::LeadsOut => "links that lead out of the folder, or into what version control keeps",
                    NotBrought::NoFile => "neither files, folders nor links",
                };
                Words::Notice(format!(
                    "Not brought back, {what}: {}",
                    names.few(|path| path.escape_debug().to_string())
                ))
            }
            Self::FolderReplaced { folder } => {
                let whose = match folder.as_str() {
                    "" => "another folder".to_owned(),
                    folder => format!("`{}`", folder.escape_debug()),
                };
                Words::Notice(format!("Replaced on the machine: the files of {whose}, and what was made there"))
            }
            Self::Published { name, place } => Words::Notice(format!("Published {name} at {place}")),
            Self::PartsRemoved { count, place } => {
                let parts = text::pluralize(*count as u64, "part");
                Words::Notice(format!("Removed {parts} of files that were left half-way at {place}"))
            }
            Self::LinksReplaced(links) => {
                let named = links.few(|path| format!("`{}`", path.escape_debug()));
                Words::Warning(format!("links that lead out of the folder became notes of what they were: {named}"))
            }
        }
    }
}

impl Names {
    /// The first few names, and how many more there are.
    fn few(&self, shown: impl Fn(&String) -> String) -> String {
        let mut words: Vec<String> = self.first.iter().take(SHOWN).map(shown).collect();
        if self.count > SHOWN {
            words.push(format!("{} more", self.count - SHOWN));
        }
        words.join(", ")
    }
}
