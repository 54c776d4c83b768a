//! The outcome of a run whose tests were split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use model::artifact::CollectedArtifacts;
use model::base::clock::since;
use model::base::id::MachineId;
use model::exit::Exit;
use model::fault::Fault;
use model::machine::Machine;
use model::mute;
use model::outcome::{Evidence, MachineUse, Results, Span, TestResult, TimeSplit, count, verdict};
use model::runner::Runner;

use crate::lease::until_stopped;
use crate::preparation::hold;
use crate::run::{Run, saturating_add};
use crate::task::durable::Durable;
use crate::testing::shards::entry::{Entry, Happening, Selection, entries};
use crate::testing::shards::merge;
use crate::testing::shards::queue::Queue;
use crate::testing::shards::record::ShardRecord;
use crate::testing::verdict::cell;
use crate::transfer::artifacts::{self, Fetch};

/// The end of a run whose tests were split.
#[derive(Debug)]
pub struct Ended {
    /// What all machines had alike.
    pub record: ShardRecord,
    /// The tests and what was tested.
    pub selection: Selection,
    /// Every test, by name.
    pub tests: Vec<TestResult>,
    /// How the runners ended, taken together.
    pub runner: Exit,
    /// The last output of a build that failed.
    pub said: Option<String>,
    /// What takes the trust in the results; none where nothing does.
    pub gap: Option<String>,
    /// The reasons why green means less than it seems.
    pub caveats: Vec<String>,
}

/// What a driver of a run comes to.
#[derive(Debug)]
pub enum ShardsEnd {
    /// The tests have ended.
    Ended(Box<Ended>),
    /// They go on by themselves on these machines.
    Left(Vec<Machine>),
}

/// The end of the queue, unless tests go on on the machines `left`. `why` is the reason for tests that no machine was left to run.
pub(super) fn end(record: ShardRecord, queue: &Queue, why: &str, left: Vec<Machine>) -> ShardsEnd {
    if !left.is_empty() {
        return ShardsEnd::Left(left);
    }
    let mut tests = merge::results(queue, why);
    for test in &mut tests {
        test.muted = mute::find(&record.mutes, &test.name);
    }
    let build = queue.closed().and_then(|closing| closing.build.clone());
    // A runner that failed with tests that passed later says nothing of the whole.
    let all_well = tests.iter().all(|test| test.outcome.is_known() && !test.outcome.is_failure());
    let worst = Exit::Code(if all_well { 0 } else { queue.worst_status() });
    let (runner, said) = build.map_or((worst, None), |(exit, said)| (exit, Some(said)));
    ShardsEnd::Ended(Box::new(Ended {
        record,
        selection: queue.selection().clone(),
        tests,
        runner,
        said,
        gap: queue.gap.clone(),
        caveats: queue.caveats.iter().cloned().collect(),
    }))
}

/// Fetches the files that were asked for from one machine into a folder of its own.
pub(super) async fn fetch(
    run: &Run,
    durable: &Durable,
    runner: &dyn Runner,
    fetch: &Fetch,
    kept: &Path,
) -> Option<Happening> {
    if fetch.wanted.is_empty() || run.stop.is_cancelled() {
        return None;
    }
    let machine = durable.machine().id.clone();
    let folder = fetch.folder(kept).join(machine.as_str());
    let root = hold::root(durable, runner, &runner.layout().root, durable.folder()).await;
    let collecting = artifacts::collect(&run.teller, durable, &root, &fetch.wanted, &folder);
    let collected = until_stopped(run, collecting).await.unwrap_or_else(|fault: Fault| CollectedArtifacts {
        folder,
        failed: Some(fault.line()),
        ..CollectedArtifacts::default()
    });
    Some(Happening::Fetched { machine, collected: Box::new(collected) })
}

/// The results of the run, which began at `started_at`; `lines` is what its folder holds of its queue.
pub(super) fn collect(run: &Run, started_at: Timestamp, ended: Ended, lines: &[u8], kept: &Path) -> Results {
    let told: Vec<Entry> = entries(lines).collect();
    let machines = machines(&told);
    let evidence =
        Evidence { runner: &ended.runner, gap: ended.gap.as_deref(), may_all_skip: ended.record.allow_all_skipped };
    let (verdict, counts) = (verdict(&ended.tests, &evidence), count(&ended.tests));
    let Selection { source, subject, built, .. } = ended.selection;
    let of = machines.iter().map(|used| used.machine.clone()).collect();
    let cell = cell(&ended.record.image, &subject, of, (verdict, counts));
    Results {
        id: run.id.clone(),
        verdict,
        counts,
        time: time(run.now(), started_at, ended.record.baking, &machines),
        image: ended.record.image,
        source,
        built: Some(built),
        subject,
        caveats: ended.caveats,
        gap: ended.gap,
        cost: machines.iter().filter_map(|used| used.cost).reduce(|all, cost| all + cost),
        artifacts: fetched(&told, ended.record.fetch.folder(kept)),
        runner: ended.runner,
        last_output: ended.said,
        cells: vec![cell],
        machines,
        tests: ended.tests,
    }
}

/// How the time was spent: until the first test began on the machine that was the first to be ready, and from then on.
pub(super) fn time(now: Timestamp, started_at: Timestamp, baking: Duration, machines: &[MachineUse]) -> TimeSplit {
    let spans = || machines.iter().flat_map(|used| &used.at_work);
    let first = machines.iter().filter(|used| used.ready_at.is_some()).min_by_key(|used| used.ready_at);
    let (began, ended) = (spans().map(|span| span.from).min(), spans().map(|span| span.until).max());
    let before = first.and_then(|used| Some(since(used.asked_at, used.ready_at?))).unwrap_or_default();
    let (push, build) = first.map(|used| (used.push, used.build)).unwrap_or_default();
    TimeSplit {
        total: since(started_at, now),
        image: baking,
        setup: before.saturating_sub(push + build),
        push,
        build,
        tests: began.zip(ended).map(|(began, ended)| since(began, ended)).unwrap_or_default(),
    }
}

/// How each machine spent its time.
fn machines(told: &[Entry]) -> Vec<MachineUse> {
    let mut uses: Vec<MachineUse> = Vec::new();
    let mut begun: BTreeMap<(MachineId, u32), Timestamp> = BTreeMap::new();
    for Entry { at, what } in told {
        match what {
            Happening::Joined(joined) => uses.push(MachineUse {
                machine: joined.machine.clone(),
                provider: joined.provider,
                asked_at: joined.asked_at,
                up_at: Some(joined.up_at),
                ready_at: Some(*at),
                push: joined.push,
                build: joined.build,
                at_work: Vec::new(),
                ended_at: None,
                cost: None,
                lost: None,
            }),
            Happening::Took { machine, part, .. } => drop(begun.insert((machine.clone(), *part), *at)),
            Happening::Ended { machine, part, end } => {
                if let (Some(used), Some(from)) = (of(&mut uses, machine), begun.get(&(machine.clone(), *part))) {
                    // A part that nobody followed ended when its runner did, not when that was seen.
                    let until = saturating_add(*from, end.took).min(*at);
                    used.at_work.push(Span { from: *from, until });
                }
            }
            Happening::Lost { machine, why } => {
                if let Some(used) = of(&mut uses, machine) {
                    used.lost.get_or_insert_with(|| why.clone());
                }
            }
            Happening::Left { machine, cost } => {
                if let Some(used) = of(&mut uses, machine) {
                    (used.ended_at, used.cost) = (Some(*at), *cost);
                }
            }
            Happening::Opened(_)
            | Happening::Selected(_)
            | Happening::Returned { .. }
            | Happening::Closed(_)
            | Happening::Fetched { .. } => {}
        }
    }
    uses.sort_by_key(|used| used.asked_at);
    uses
}

/// The entry of a machine.
fn of<'a>(uses: &'a mut [MachineUse], machine: &MachineId) -> Option<&'a mut MachineUse> {
    uses.iter_mut().find(|used| used.machine == *machine)
}

/// What was brought home from all machines; none where nothing was asked for.
fn fetched(told: &[Entry], folder: PathBuf) -> Option<CollectedArtifacts> {
    let mut all: Option<CollectedArtifacts> = None;
    for entry in told {
        let Happening::Fetched { machine, collected } = &entry.what else { continue };
        let all =
            all.get_or_insert_with(|| CollectedArtifacts { folder: folder.clone(), ..CollectedArtifacts::default() });
        all.add(collected, machine.as_str());
    }
    all
}
