//! The options for files that are brought home, which every command that runs something takes.

use std::path::PathBuf;

use flow::transfer::artifacts::{Fetch, Patterns};
use model::fault::Fault;

/// The files to bring home, and the folder for them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ArtifactArgs {
    /// Fetch the files that match: a path below the work folder, in which the source is `src` and the runner's own files are
    /// `results`, or an absolute path. A pattern that matches nothing is an error
    #[arg(long = "artifact", value_name = "GLOB")]
    required: Vec<String>,
    /// Fetch the files that match, where there are any
    #[arg(long = "optional-artifact", value_name = "GLOB")]
    optional: Vec<String>,
    /// Leave the files that match where they are, although another pattern matches them; may be repeated
    #[arg(long = "exclude", value_name = "GLOB")]
    excluded: Vec<String>,
    /// Where artifacts go [default: `artifacts` in the run's folder]
    #[arg(long = "artifacts", value_name = "DIR")]
    into: Option<PathBuf>,
}

impl ArtifactArgs {
    /// Adds patterns that a file declares: of files that must be there, and of others.
    pub fn add(&mut self, [required, optional]: [Vec<String>; 2]) {
        self.required.extend(required);
        self.optional.extend(optional);
    }

    /// The patterns of files that stay where they are.
    pub fn excluded(&self) -> &[String] {
        &self.excluded
    }

    /// Checks what is to be fetched and makes the folder for it; nothing else has been made by then. `has_others`: there are other patterns to
    /// which exclusions belong.
    pub fn check(&self, has_others: bool) -> Result<Fetch, Fault> {
        let is_none = self.required.is_empty() && self.optional.is_empty();
        if let Some(pattern) = self.excluded.first().filter(|_| is_none && !has_others) {
            return Err(Fault::usage(format!("`--exclude {pattern}` leaves files out, and none are asked for"))
                .hint("Say which with `--artifact GLOB` or `--optional-artifact GLOB`."));
        }
        if self.into.is_some() && is_none {
            return Err(Fault::usage("`--artifacts` names a folder for artifacts, and none are asked for")
                .hint("Say which with `--artifact GLOB` or `--optional-artifact GLOB`."));
        }
        let wanted = Patterns::new(&self.required, &self.optional)?.without(&self.excluded)?;
        let absolute = |into: &PathBuf| {
            let refused = |reason: &str| Fault::usage(format!("`--artifacts {}`: {reason}", into.display()));
            // The name is written down with the run, for a later process that follows it to its end.
            if into.to_str().is_none() {
                return Err(refused("its name is not UTF-8"));
            }
            if !into.is_dir() && into.symlink_metadata().is_ok() {
                return Err(refused("something with its name is not a folder"));
            }
            // After the tests it would be too late: the machine goes, and the files with it.
            std::fs::create_dir_all(into).map_err(|error| refused("it cannot be made").because(error))?;
            std::path::absolute(into).map_err(|error| refused("it is not a path").because(error))
        };
        Ok(Fetch { wanted, into: self.into.as_ref().map(absolute).transpose()? })
    }
}
