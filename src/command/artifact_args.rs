//! Which files come home, as every command that runs something takes it.

use std::path::{Path, PathBuf};

use crate::flow::artifacts::Wanted;
use crate::model::fault::Fault;

/// Which files come home, and where to.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ArtifactArgs {
    /// Fetch the files that match, from the work folder or by absolute path; something must
    #[arg(long = "artifact", value_name = "GLOB")]
    required: Vec<String>,
    /// The same, and nothing need match
    #[arg(long = "optional-artifact", value_name = "GLOB")]
    optional: Vec<String>,
    /// Where artifacts go [default: `artifacts` in the run's folder]
    #[arg(long = "artifacts", value_name = "DIR")]
    into: Option<PathBuf>,
}

impl ArtifactArgs {
    /// The patterns, checked.
    pub fn wanted(&self) -> Result<Wanted, Fault> {
        Wanted::new(&self.required, &self.optional)
    }

    /// The folder for them, where `run` is that of the run.
    pub fn folder(&self, run: &Path) -> Result<PathBuf, Fault> {
        let into = self.into.clone().unwrap_or_else(|| run.join("artifacts"));
        std::path::absolute(&into)
            .map_err(|error| Fault::usage(format!("`--artifacts {}` is no path", into.display())).because(error))
    }
}
