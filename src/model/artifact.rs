//! Files that were brought home from a machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// The result of fetching artifacts: what came, and what did not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CollectedArtifacts {
    /// The folder in which they are now.
    pub folder: PathBuf,
    /// Files that came.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The patterns that had to match and did not.
    pub missing: Vec<String>,
    /// Files that matched and could not be read, and folders that might hold matches and could not be entered.
    pub unreadable: Vec<String>,
    /// Links that matched and do not lead to a file.
    #[serde(default)]
    pub links: Vec<String>,
    /// Files that matched and have more bytes, holes included, than there is room for; each with its size.
    #[serde(default)]
    pub too_large: Vec<String>,
    /// The patterns that match a folder and no file.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Why nothing could be fetched at all; none where fetching was tried to the end.
    #[serde(default)]
    pub failed: Option<String>,
}

impl CollectedArtifacts {
    /// Adds what came from another `place`, which names what did not come from there.
    pub fn add(&mut self, other: &Self, place: &str) {
        let named = |names: &[String]| names.iter().map(|name| format!("{name} ({place})")).collect::<Vec<_>>();
        self.files += other.files;
        self.bytes += other.bytes;
        self.missing.extend(named(&other.missing));
        self.unreadable.extend(named(&other.unreadable));
        self.links.extend(named(&other.links));
        self.too_large.extend(named(&other.too_large));
        self.folders.extend(other.folders.iter().cloned());
        self.failed = self.failed.take().or_else(|| other.failed.clone());
    }

    /// The fault to report at the end of the run about files that did not come; none where all came.
    pub fn fault(&self) -> Option<Fault> {
        if let Some(why) = &self.failed {
            let fault = Fault::outside("the artifacts could not be fetched").because(why.clone());
            return Some(fault.hint("It is not known whether any file matches. Run it again when the cause is fixed."));
        }
        if [&self.missing, &self.unreadable, &self.too_large].iter().all(|names| names.is_empty()) {
            return None;
        }
        let parts = [
            ("nothing matches", &self.missing),
            ("links that do not lead to a file", &self.links),
            ("not readable by the user", &self.unreadable),
            ("larger than the room here", &self.too_large),
        ];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<String> = parts.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
        let hint = match self.folders.first() {
            Some(folder) => format!("`{folder}` is a folder: `{folder}/**` means all files in it."),
            None => {
                let others = if self.files > 0 { "The others were. " } else { "" };
                format!("{others}`--optional-artifact GLOB` lets a pattern match nothing.")
            }
        };
        Some(Fault::outside("not all artifacts could be fetched").because(parts.join("; ")).hint(hint))
    }

    /// Sorts the names and removes duplicates.
    pub fn settle(&mut self) {
        for names in [&mut self.unreadable, &mut self.links, &mut self.too_large] {
            names.sort();
            names.dedup();
        }
    }
}
