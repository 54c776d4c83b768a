//! The kept runs with tests, read one after another.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::base::id::RunId;
use model::base::text;
use model::fault::Fault;
use model::outcome::Results;
use model::outline::Outline;
use model::run::RunRecord;
use state::runs::{RunDir, RunFile};

use crate::compose::Context;

/// The longest results that are read, bytes. Those of 1,000 tests with all that may be kept of 100 failures have 15 MiB; a longer
/// file is something else, and would fill the memory.
const CAP: u64 = 256 << 20;

/// The runs that began since a point in time and may have results.
pub(super) struct KeptRuns<'a> {
    context: &'a Context,
    since: Timestamp,
    /// Their records, newest first.
    pub(super) records: Vec<RunRecord>,
    /// Those whose results cannot be read.
    unreadable: BTreeSet<RunId>,
    /// Those whose results were read.
    read: BTreeSet<RunId>,
}

impl<'a> KeptRuns<'a> {
    /// The runs of this `span` up to now.
    pub(super) fn of(context: &'a Context, span: Duration) -> Result<Self, Fault> {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        let since = context.now().checked_sub(span).unwrap_or(Timestamp::MIN);
        let mut records = context.journal.runs(usize::MAX)?;
        records.retain(|record| record.started_at >= since);
        Ok(Self { context, since, records, unreadable: BTreeSet::new(), read: BTreeSet::new() })
    }

    /// The results of a run; none where it has none, or none that this build can read.
    pub(super) fn results(&mut self, record: &RunRecord) -> Option<Results> {
        self.parsed(record, report::json::parse)
    }

    /// The same without the tests.
    pub(super) fn outline(&mut self, record: &RunRecord) -> Option<Outline> {
        self.parsed(record, report::json::parse_outline)
    }

    fn parsed<T>(&mut self, record: &RunRecord, parse: fn(&[u8], &std::path::Path) -> Result<T, Fault>) -> Option<T> {
        let dir = self.context.state.run(&record.id).ok()?;
        let parsed =
            read(&dir).and_then(|bytes| bytes.map(|bytes| parse(&bytes, &dir.file(RunFile::Results))).transpose());
        match parsed {
            Ok(parsed) => {
                self.read.extend(parsed.is_some().then(|| record.id.clone()));
                parsed
            }
            Err(_) => {
                self.unreadable.insert(record.id.clone());
                None
            }
        }
    }

    /// Says how many runs were passed over, once.
    pub(super) fn tell_unreadable(&self) {
        if !self.unreadable.is_empty() {
            self.context.screen.message(&format!(
                "Passed over: {} with results that cannot be read (damaged, or of a newer build).",
                text::pluralize(self.unreadable.len(), "run")
            ));
        }
    }

    /// `12 runs since 2026-10-31T10:00:00Z`, those whose results were read.
    pub(super) fn words(&self) -> String {
        let read = self.read.difference(&self.unreadable).count();
        format!("{} since {:.0}", text::pluralize(read, "run"), self.since)
    }
}

/// The bytes of a run's results; none where they were not written.
fn read(dir: &RunDir) -> Result<Option<Vec<u8>>, Fault> {
    let path = dir.file(RunFile::Results);
    if std::fs::metadata(&path).is_ok_and(|found| found.len() > CAP) {
        return Err(Fault::outside(format!("`{}` has more than {}", path.display(), text::bytes(CAP))));
    }
    dir.read(RunFile::Results)
}
