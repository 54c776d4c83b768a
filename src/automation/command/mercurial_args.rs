//! The options of the commands that run Mercurial's own tests: which of them, and of which source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use model::build::BuildOrigin;
use model::event::TestsEvent;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::matrix::Point;
use model::outcome::{Cell, Results, TestOutcome, TestResult};
use project::mercurial;

use crate::command::matrix_args::KnownAxis;
use crate::command::runs::ended_results_of;
use crate::command::source_args::UnseenArgs;
use crate::compose::Context;
use crate::ui::Screen;

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
    /// Also send what is uncommitted: changes of tracked files, and new files that no rule ignores
    #[arg(long)]
    working_copy: bool,
    #[command(flatten)]
    unseen: UnseenArgs,
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
pub struct EarlierRun {
    results: Results,
    /// Which of its tests are run again.
    wanted: fn(TestOutcome) -> bool,
}

impl EarlierRun {
    /// The distribution of its machines.
    pub fn distro(&self) -> Option<&str> {
        self.results.subject.distro.as_deref()
    }

    /// The file system that its machines worked on.
    pub fn filesystem(&self) -> Option<Filesystem> {
        self.results.subject.filesystem.as_deref()?.parse().ok()
    }

    /// The cells of its matrix that have such tests, each with them; none where it had no matrix. An axis is left out that the command does
    /// not have, or that its option chooses now.
    pub fn cells(&self, known: &[KnownAxis<'_>]) -> Option<Vec<(Point, Vec<String>)>> {
        let is_open = |axis: &str| known.iter().any(|(name, chosen)| *name == axis && chosen.is_none());
        let mut cells: Vec<(Point, Vec<String>)> = Vec::new();
        for cell in self.results.cells.iter().filter(|_| self.results.has_matrix()) {
            let name = cell.point.name();
            let here = || self.results.tests.iter().filter(|test| test.cell == name);
            let is_lost = never_began(cell) && (self.wanted)(TestOutcome::Lost);
            let tests = match is_lost {
                // What the other cells ran was to be run here as well.
                true => names(self.results.tests.iter()),
                false => names(here().filter(|test| (self.wanted)(test.outcome))),
            };
            let point = Point(cell.point.0.iter().filter(|at| is_open(&at.axis)).cloned().collect());
            match cells.iter_mut().find(|(known, _)| *known == point) {
                _ if tests.is_empty() && !is_lost => {}
                Some((_, known)) => {
                    let before: BTreeSet<String> = known.iter().cloned().collect();
                    known.extend(tests.into_iter().filter(|test| !before.contains(test)));
                }
                None => cells.push((point, tests)),
            }
        }
        self.results.has_matrix().then_some(cells)
    }

    /// What the user should know where another revision is checked out now.
    pub fn remark(&self, revision: Option<&str>) -> Option<TestsEvent> {
        let (before, now) = (self.results.subject.revision.clone()?, revision?.to_owned());
        (before != now).then(|| TestsEvent::OtherSource { run: self.results.id.clone(), before, now })
    }
}

/// Whether no test of a cell was fixed.
fn never_began(cell: &Cell) -> bool {
    cell.counts.total == 0
}

/// Each name once.
fn names<'a>(tests: impl Iterator<Item = &'a TestResult>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    tests.filter(|test| seen.insert(&test.name)).map(|test| test.name.to_string()).collect()
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
        let results = ended_results_of(context, name, mercurial::PROGRAM)?;
        self.tests = names(results.tests.iter().filter(|test| wanted(test.outcome)));
        let lacks_cells = results.has_matrix() && wanted(TestOutcome::Lost) && results.cells.iter().any(never_began);
        if self.tests.is_empty() && !lacks_cells {
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
        Ok(Some(EarlierRun { results, wanted }))
    }

    /// The tests of each cell: those of the earlier run where it had cells and no other matrix is asked for, else the tests at each of the
    /// `points`.
    pub fn wanted(
        &self,
        points: Vec<Point>,
        earlier: Option<&EarlierRun>,
        known: &[KnownAxis<'_>],
        has_matrix: bool,
    ) -> Vec<(Point, Vec<String>)> {
        let again = earlier.filter(|_| !has_matrix).and_then(|earlier| earlier.cells(known));
        again.unwrap_or_else(|| points.into_iter().map(|point| (point, self.tests.clone())).collect())
    }

    /// The checkout to test; none where it is the image's own source. Refuses new files in it that look like credentials, and asks where
    /// there is very much of them to send.
    pub async fn checkout(&self, current: &Path, screen: &Screen) -> Result<Option<mercurial::Checkout>, Fault> {
        let checkout = mercurial::find(&self.wish(), current).await?;
        match checkout.as_ref().and_then(|checkout| checkout.new_files.as_ref()) {
            Some(new) => self.unseen.check(&new.source, new.source.size(), screen)?,
            None => self.unseen.require_unused()?,
        }
        Ok(checkout)
    }

    /// The source that the user asked for.
    fn wish(&self) -> mercurial::SourceChoice<'_> {
        mercurial::SourceChoice {
            source: self.source.as_deref(),
            of_image: self.image_source,
            revision: self.revision.as_deref(),
            working_copy: self.working_copy,
            optional: true,
        }
    }
}
