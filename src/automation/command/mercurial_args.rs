//! The options of the commands that run Mercurial's own tests: which of them, and of which source.

use std::path::PathBuf;

use model::build::BuildOrigin;
use model::event::TestsEvent;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::outcome::{Results, TestOutcome};
use project::mercurial;

use crate::command::runs::ended_results;
use crate::compose::Context;

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
    /// Run the tests that failed or timed out in an earlier run, as it ran them: an id, its beginning, or `latest`. Its distribution, file
    /// system, flags and kind of source (the image's own, with or without uncommitted changes) are used again unless others are given;
    /// what is checked out now is tested
    #[arg(long, value_name = "RUN", conflicts_with_all = ["tests", "lost_of"])]
    failed_of: Option<String>,
    /// The same for the tests that were lost, or not run
    #[arg(long, value_name = "RUN", conflicts_with = "tests")]
    lost_of: Option<String>,
}

/// An earlier run some of whose tests are run again.
pub struct EarlierRun(Results);

impl EarlierRun {
    /// The distribution of its machines.
    pub fn distro(&self) -> Option<&str> {
        self.0.subject.distro.as_deref()
    }

    /// The file system that its machines worked on.
    pub fn filesystem(&self) -> Option<Filesystem> {
        self.0.subject.filesystem.as_deref()?.parse().ok()
    }

    /// What the user should know where another revision is checked out now.
    pub fn remark(&self, revision: Option<&str>) -> Option<TestsEvent> {
        let (before, now) = (self.0.subject.revision.clone()?, revision?.to_owned());
        (before != now).then(|| TestsEvent::OtherSource { run: self.0.id.clone(), before, now })
    }
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

    /// Takes the tests of an earlier run, where the user named one, and what nobody gave anew of how it ran them.
    pub fn take_earlier(&mut self, context: &Context) -> Result<Option<EarlierRun>, Fault> {
        let (name, what, wanted): (_, _, fn(TestOutcome) -> bool) = match (&self.failed_of, &self.lost_of) {
            (Some(name), _) => (name, "failed or timed out", TestOutcome::is_failure),
            (None, Some(name)) => (name, "was lost", |outcome| !outcome.is_known()),
            (None, None) => return Ok(None),
        };
        let results = ended_results(context, name)?;
        let tests = results.tests.iter().filter(|test| wanted(test.outcome));
        self.tests = tests.map(|test| test.name.to_string()).collect();
        if self.tests.is_empty() {
            let show = context.to_type(&format!("runs show {}", results.id));
            return Err(Fault::usage(format!("no test of run `{}` {what}", results.id))
                .hint(format!("`{show}` tells what its tests came to.")));
        }
        if self.flags.is_empty() {
            self.flags.clone_from(&results.subject.flags);
        }
        let chosen = self.source.is_some() || self.revision.is_some() || self.working_copy || self.image_source;
        if !chosen {
            self.working_copy = results.subject.working_copy;
            self.image_source = results.built == Some(BuildOrigin::Image);
        }
        Ok(Some(EarlierRun(results)))
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
