//! Files that were brought home from a machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::fault::Fault;

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
    /// What matched and could not be read.
    pub unreadable: Vec<String>,
}

impl Collected {
    /// What to tell, after everything else was told, of what did not come.
    pub fn fault(&self) -> Option<Fault> {
        let parts: Vec<String> = [("nothing matches", &self.missing), ("not readable for us", &self.unreadable)]
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        (!parts.is_empty()).then(|| {
            Fault::outside("not all artifacts could be fetched")
                .because(parts.join("; "))
                .hint("The others were. `--optional-artifact GLOB` lets a pattern match nothing.")
        })
    }
}
