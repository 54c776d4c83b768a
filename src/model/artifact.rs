//! Files that were brought home from a machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// What came home.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Collected {
    /// Where they are now.
    pub folder: PathBuf,
    /// Files that came.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The patterns that had to match and did not.
    pub missing: Vec<String>,
    /// What matched and could not be read, and folders with what might match that could not be entered.
    pub unreadable: Vec<String>,
    /// What matched and is a link to no file.
    #[serde(default)]
    pub links: Vec<String>,
    /// Files that matched and have more bytes, holes counted, than there is room for; each with its size.
    #[serde(default)]
    pub too_large: Vec<String>,
    /// The patterns that match no file but a folder.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Why nothing could be fetched at all; none where it was tried to the end.
    #[serde(default)]
    pub failed: Option<String>,
}

impl Collected {
    /// What to tell, after everything else was told, of what did not come.
    pub fn fault(&self) -> Option<Fault> {
        if let Some(why) = &self.failed {
            let fault = Fault::outside("the artifacts could not be fetched").because(why.clone());
            return Some(
                fault.hint("Whether anything matches them is not known. Run it again when the cause is mended."),
            );
        }
        if [&self.missing, &self.unreadable, &self.too_large].iter().all(|names| names.is_empty()) {
            return None;
        }
        let parts = [
            ("nothing matches", &self.missing),
            ("links that lead to no file", &self.links),
            ("not readable for us", &self.unreadable),
            ("larger than the room here", &self.too_large),
        ];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<String> = parts.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
        let hint = match self.folders.first() {
            Some(folder) => format!("`{folder}` is a folder: `{folder}/**` is all that is in it."),
            None => "The others were. `--optional-artifact GLOB` lets a pattern match nothing.".to_owned(),
        };
        Some(Fault::outside("not all artifacts could be fetched").because(parts.join("; ")).hint(hint))
    }

    /// Lets every name stand once, in order.
    pub fn settle(&mut self) {
        for names in [&mut self.unreadable, &mut self.links, &mut self.too_large] {
            names.sort();
            names.dedup();
        }
    }
}
