//! The options of the commands that run Mercurial's own tests: which of them, and of which source.

use std::path::PathBuf;

use model::fault::Fault;
use project::mercurial;

/// The options of every command that runs Mercurial's tests.
#[derive(Debug, clap::Args)]
pub struct MercurialArgs {
    /// Tests to run, by the names of their files [default: all]
    #[arg(value_name = "TEST")]
    pub tests: Vec<String>,
    /// Flags for run-tests.py, as they are
    #[arg(last = true, value_name = "FLAG", allow_hyphen_values = true)]
    pub flags: Vec<String>,
    /// The revision to test [default: the one checked out]
    #[arg(short, long, value_name = "REV")]
    revision: Option<String>,
    /// The checkout to test [default: the one around the current folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Test the source that comes with the image, wherever this is run
    #[arg(long, conflicts_with_all = ["source", "revision", "working_copy"])]
    pub image_source: bool,
    /// Also send uncommitted changes of tracked files
    #[arg(long)]
    working_copy: bool,
}

impl MercurialArgs {
    /// Refuses flags with which the runner runs no test.
    pub fn refuse_unfit(&self) -> Result<(), Fault> {
        match mercurial::asking(&self.flags) {
            Some(flag) => Err(Fault::usage(format!("with `{flag}` the test runner runs no test"))
                .hint("`tests/run-tests.py --help` in a checkout lists the runner's flags.")),
            None => Ok(()),
        }
    }

    /// The source that the user asked for.
    pub fn wish(&self) -> mercurial::SourceChoice<'_> {
        mercurial::SourceChoice {
            source: self.source.as_deref(),
            of_image: self.image_source,
            revision: self.revision.as_deref(),
            working_copy: self.working_copy,
            optional: true,
        }
    }
}
