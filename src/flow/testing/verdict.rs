//! The results of a run whose tests were followed.

use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::MachineId;
use model::machine::ProviderKind;
use model::matrix::Point;
use model::mute;
use model::outcome::{Cell, Counts, Evidence, MachineUse, Results, Span, TimeSplit, Verdict, count, verdict};
use model::subject::TestSubject;

use crate::run::{Run, saturating_add};
use crate::testing::{RunResult, TestTask, Tested};

/// The results of tests that were followed to their end: the verdict, and what it rests on. The run began at `started_at`, and its
/// machine came from `provider` and has cost `cost`, where that is known.
pub fn results(
    run: &Run,
    started_at: Timestamp,
    provider: ProviderKind,
    task: TestTask,
    tested: Tested,
    cost: Option<f64>,
) -> Results {
    let Tested { mut ran, artifacts } = tested;
    for test in &mut ran.tests {
        test.muted = mute::find(&task.mutes, &test.name);
    }
    let total = clock::since(started_at, run.now());
    let evidence = Evidence { runner: &ran.runner, gap: ran.gap.as_deref(), may_all_skip: task.allow_all_skipped };
    let (verdict, counts) = (verdict(&ran.tests, &evidence), count(&ran.tests));
    let machine = machine_use(provider, &task, &ran, cost);
    let cell = cell(&task.image, &ran.subject, vec![task.begun.task.machine], (verdict, counts));
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
        machines: vec![machine],
        tests: ran.tests,
    }
}

/// A run that is the only cell of its matrix.
pub(super) fn cell(
    image: &str,
    subject: &TestSubject,
    machines: Vec<MachineId>,
    (verdict, counts): (Verdict, Counts),
) -> Cell {
    Cell {
        point: Point::default(),
        why: None,
        image: image.to_owned(),
        distro: subject.distro.clone(),
        python: subject.python.clone(),
        filesystem: subject.filesystem.clone(),
        machines,
        verdict,
        counts,
    }
}

/// How the machine spent its time. The parts before the tests follow each other without a gap.
fn machine_use(provider: ProviderKind, task: &TestTask, ran: &RunResult, cost: Option<f64>) -> MachineUse {
    let began_at = task.begun.task.began_at;
    let before = |span: Duration| began_at.saturating_sub(span).unwrap_or(began_at);
    let setup = task.begun.before.setup;
    MachineUse {
        machine: task.begun.task.machine.clone(),
        provider,
        asked_at: before(setup + task.booting),
        up_at: Some(before(setup)),
        ready_at: Some(began_at),
        push: ran.before.push,
        build: ran.before.build,
        at_work: vec![Span { from: began_at, until: saturating_add(began_at, ran.testing) }],
        ended_at: None,
        cost,
        lost: None,
    }
}
