//! The results of a run whose tests were followed.

use std::time::Duration;

use jiff::Timestamp;
use model::outcome::{Cell, Evidence, Results, TimeSplit, count, verdict};

use crate::run::Run;
use crate::testing::{TestTask, Tested};

/// The results of tests that were followed to their end: the verdict, and what it rests on. The run began at `started_at`, and its
/// machine has cost `cost`, where that is known.
pub fn results(run: &Run, started_at: Timestamp, task: TestTask, tested: Tested, cost: Option<f64>) -> Results {
    let Tested { ran, artifacts } = tested;
    let total = Duration::try_from(run.now().duration_since(started_at)).unwrap_or_default();
    let evidence = Evidence { runner: &ran.runner, gap: ran.gap.as_deref(), may_all_skip: task.allow_all_skipped };
    let (verdict, counts) = (verdict(&ran.tests, &evidence), count(&ran.tests));
    let cell = Cell {
        image: task.image.clone(),
        distro: ran.subject.distro.clone(),
        python: ran.subject.python.clone(),
        filesystem: ran.subject.filesystem.clone(),
        machines: vec![task.begun.machine],
        verdict,
        counts,
    };
    Results {
        id: run.id.clone(),
        verdict,
        counts,
        time: TimeSplit {
            total,
            image: task.baking,
            setup: (task.booting + ran.before.setup).saturating_sub(ran.before.push + ran.before.build),
            push: ran.before.push,
            build: ran.before.build,
            tests: ran.testing,
        },
        image: task.image,
        source: ran.source,
        built: ran.built,
        subject: ran.subject,
        caveats: ran.caveats,
        gap: ran.gap,
        cost,
        artifacts,
        runner: ran.runner,
        last_output: ran.said,
        cells: vec![cell],
        tests: ran.tests,
    }
}
