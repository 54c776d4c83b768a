//! Which files come home, as every command that runs something takes it.

use std::path::PathBuf;

use flow::artifacts::{Fetch, Wanted};
use model::fault::Fault;

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
    /// What is to be fetched, checked, and the folder for it made: nothing else was yet.
    pub fn check(&self) -> Result<Fetch, Fault> {
        let wanted = Wanted::new(&self.required, &self.optional)?;
        let absolute = |into: &PathBuf| {
            let refused = |reason: &str| Fault::usage(format!("`--artifacts {}`: {reason}", into.display()));
            // It is written down with the run, for whoever follows it to its end.
            if into.to_str().is_none() {
                return Err(refused("its name is not UTF-8"));
            }
            if !into.is_dir() && into.symlink_metadata().is_ok() {
                return Err(refused("something that is no folder has its name"));
            }
            // After the tests would be too late: the machine goes, and what was to be fetched with it.
            std::fs::create_dir_all(into).map_err(|error| refused("it cannot be made").because(error))?;
            std::path::absolute(into).map_err(|error| refused("it is no path").because(error))
        };
        Ok(Fetch { wanted, into: self.into.as_ref().map(absolute).transpose()? })
    }
}
