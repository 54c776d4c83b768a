//! Holding the journal against what is there.

use std::collections::BTreeSet;
use std::time::Duration;

use connection::host::HostProvider;
use flow::audit::{Finding, Standing, World, as_row, findings, split_gone, was_released_meanwhile};
use flow::run::saturating_add;
use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::machine::{Machine, ProviderKind};
use model::provider::Provider;
use model::resource::{Fate, ObservedResource, Resource, ResourceKind, ResourceState};
use model::run::{Driver, RunRecord, RunState};

/// How the run stands whose rows are looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Run {
    Alive,
    Killed,
    Detached,
    Ended,
}

/// What is stored of the machine: nothing, one that its run releases, one that was left on purpose until then.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stored {
    No,
    Own,
    Kept(i64),
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn machine_id() -> MachineId {
    "hg-1".parse().unwrap()
}

fn run_id() -> RunId {
    "20261120-110000-aaaaaa".parse().unwrap()
}

fn row(kind: ResourceKind) -> Resource {
    Resource {
        id: ResourceId::random(),
        run: run_id(),
        machine: machine_id(),
        provider: ProviderKind::Dummy,
        kind,
        name: format!("hg-1/{}", kind.name()),
        locator: Some("as written".into()),
        state: ResourceState::Present,
        planned_at: now(),
        gone_at: None,
        note: None,
    }
}

fn seen(kind: ResourceKind) -> ObservedResource {
    let (name, locator) = (format!("hg-1/{}", kind.name()), "as seen".into());
    ObservedResource { kind, machine: machine_id(), name, locator, expires_at: None, lease: None, elsewhere: false }
}

fn machine(expires_at: Timestamp, kept: bool) -> Machine {
    Machine { id: machine_id(), expires_at, kept, ..support::machine::of(ProviderKind::Dummy, run_id(), now()) }
}

fn record(state: RunState) -> RunRecord {
    RunRecord {
        id: run_id(),
        command: "test".into(),
        arguments: vec![],
        owner: "ann@example".into(),
        driver: Driver { pid: 1, started: 1, boot: "b".into() },
        state,
        started_at: now(),
        ended_at: None,
        exit_code: None,
        summary: None,
    }
}

fn judge(kind: ResourceKind, run: Run, stored: Stored, observed: &[ResourceKind]) -> Finding {
    let open = [row(kind)];
    let observed: Vec<ObservedResource> = observed.iter().map(|kind| seen(*kind)).collect();
    let runs = [record(match run {
        Run::Alive | Run::Killed => RunState::Running,
        Run::Detached => RunState::Detached,
        Run::Ended => RunState::Ended,
    })];
    let machines = match stored {
        Stored::No => vec![],
        Stored::Own => vec![machine(saturating_add(now(), Duration::from_secs(3600)), false)],
        Stored::Kept(seconds) => vec![machine(now() + jiff::SignedDuration::from_secs(seconds), true)],
    };
    let alive = if run == Run::Alive { BTreeSet::from([run_id()]) } else { BTreeSet::new() };
    let unseen: BTreeSet<_> =
        open.iter().filter(|row| row.kind == ResourceKind::RemoteFiles).map(|row| row.id.clone()).collect();
    let world = World {
        open: &open,
        observed: &observed,
        runs: &runs,
        machines: &machines,
        alive: &alive,
        unseen: &unseen,
        now: now(),
    };
    let found = findings(&world);
    found.into_iter().find(|finding| finding.run.is_some()).unwrap()
}

#[test]
fn every_standing_of_a_row() {
    use ResourceKind::{LoopDevice, Mount, Namespace, Process, RemoteFiles, Rootfs};
    use Standing::{Expired, InUse, Kept, Orphaned, Vanished};
    let up = [Rootfs, Process];
    let table: &[(ResourceKind, Run, Stored, &[ResourceKind], Standing)] = &[
        (Rootfs, Run::Alive, Stored::Own, &up, InUse),
        // Planned, and about to be made.
        (Rootfs, Run::Alive, Stored::No, &[], InUse),
        (Rootfs, Run::Killed, Stored::Own, &up, Orphaned),
        (Rootfs, Run::Killed, Stored::No, &up, Orphaned),
        // Killed before it could hand the machine over.
        (Rootfs, Run::Killed, Stored::Kept(60), &up, Orphaned),
        // Its release failed: nobody meant to keep it.
        (Rootfs, Run::Ended, Stored::Own, &up, Orphaned),
        (Rootfs, Run::Ended, Stored::No, &up, Orphaned),
        (Rootfs, Run::Ended, Stored::Kept(60), &up, Kept),
        (Rootfs, Run::Ended, Stored::Kept(0), &up, Expired),
        (Rootfs, Run::Ended, Stored::Kept(-60), &up, Expired),
        (Rootfs, Run::Ended, Stored::Kept(60), &[Process], Vanished),
        // Its tests go on by themselves.
        (Rootfs, Run::Detached, Stored::Kept(60), &up, Kept),
        (Rootfs, Run::Detached, Stored::Kept(0), &up, Expired),
        (Rootfs, Run::Detached, Stored::Kept(60), &[], Vanished),
        // It could not be told to live on.
        (Rootfs, Run::Detached, Stored::Own, &up, Orphaned),
        (LoopDevice, Run::Killed, Stored::Own, &up, Vanished),
        // What lives inside of the machine stands and falls with its process.
        (Mount, Run::Killed, Stored::Own, &up, Orphaned),
        (Mount, Run::Killed, Stored::Own, &[Rootfs], Vanished),
        (Namespace, Run::Ended, Stored::Kept(60), &up, Kept),
        (Namespace, Run::Ended, Stored::Kept(60), &[Rootfs], Vanished),
        // Kept, and dead: what is left of it is of no use, whatever its expiry.
        (Rootfs, Run::Ended, Stored::Kept(60), &[Rootfs], Orphaned),
        (LoopDevice, Run::Ended, Stored::Kept(60), &[Rootfs, LoopDevice], Orphaned),
        (Rootfs, Run::Detached, Stored::Kept(60), &[Rootfs], Orphaned),
        // Its first process lives on without the guard.
        (Namespace, Run::Ended, Stored::Kept(60), &[Rootfs, Namespace], Orphaned),
        // Files on a machine of somebody else's are not seen from here: they are believed to be there.
        (RemoteFiles, Run::Alive, Stored::Own, &[], InUse),
        (RemoteFiles, Run::Killed, Stored::Own, &[], Orphaned),
        (RemoteFiles, Run::Ended, Stored::Own, &[], Orphaned),
    ];
    for (kind, run, stored, observed, expected) in table {
        let finding = judge(*kind, *run, *stored, observed);
        assert_eq!(finding.standing, *expected, "{kind:?} {run:?} {stored:?} {observed:?}");
        assert_eq!(finding.standing.is_fixable(), !matches!(expected, InUse | Kept));
    }
}

#[test]
fn what_is_there_without_a_row_is_told_and_can_be_released_like_any_other() {
    let observed = [seen(ResourceKind::Process), seen(ResourceKind::Rootfs)];
    let open = [row(ResourceKind::Rootfs)];
    let alive = BTreeSet::from([run_id()]);
    let world = World {
        open: &open,
        observed: &observed,
        runs: &[],
        machines: &[],
        alive: &alive,
        unseen: &BTreeSet::new(),
        now: now(),
    };
    let found = findings(&world);
    let shown: Vec<_> = found.iter().map(|f| (f.kind, f.standing, f.locator.as_deref())).collect();
    assert_eq!(
        shown,
        [
            (ResourceKind::Rootfs, Standing::InUse, Some("as seen")),
            (ResourceKind::Process, Standing::Unrecorded, Some("as seen")),
        ]
    );
    assert!(found[1].standing.is_fixable() && found[1].run.is_none());
    let row = as_row(&found[1], &run_id(), ProviderKind::Dummy, now());
    assert_eq!((row.kind, row.name.as_str(), &row.machine), (found[1].kind, "hg-1/process", &found[1].machine));
}

#[test]
fn what_a_process_is_removing_is_wanted_by_nobody_and_not_left_behind() {
    let judged = |alive: bool, lease: Option<Timestamp>| {
        let alive = if alive { BTreeSet::from([run_id()]) } else { BTreeSet::new() };
        let world = World {
            open: &[row(ResourceKind::Process)],
            observed: &[ObservedResource { lease, ..seen(ResourceKind::Process) }],
            runs: &[record(RunState::Releasing)],
            machines: &[machine(saturating_add(now(), Duration::from_secs(3600)), false)],
            alive: &alive,
            unseen: &BTreeSet::new(),
            now: now(),
        };
        findings(&world).remove(0)
    };
    let ending = judged(true, None);
    assert_eq!(
        (ending.standing, ending.standing.is_unwanted(), ending.is_to_go(&[])),
        (Standing::Releasing, false, false)
    );
    let lease = saturating_add(now(), Duration::from_secs(60));
    let left = judged(false, Some(lease));
    assert_eq!((left.standing, left.standing.is_unwanted()), (Standing::Orphaned, true));
    assert_eq!(left.expires_at, Some(lease), "nobody renews its lease");
    assert!(!Standing::Vanished.is_unwanted() && Standing::Vanished.is_fixable());
}

#[test]
fn rows_of_a_machine_that_is_gone_altogether_are_closed_and_no_others() {
    let whole = [judge(ResourceKind::Rootfs, Run::Killed, Stored::Own, &[])];
    let (gone, remaining) = split_gone(whole.to_vec(), &[]);
    assert_eq!((gone.len(), remaining.len()), (1, 0));
    // Its folder is there: something may still be making it, or ending it.
    let (gone, remaining) = split_gone(whole.to_vec(), &[seen(ResourceKind::Rootfs)]);
    assert_eq!((gone.len(), remaining.len()), (0, 1));
    for unseen in [
        judge(ResourceKind::RemoteFiles, Run::Killed, Stored::Own, &[]),
        judge(ResourceKind::Rootfs, Run::Alive, Stored::No, &[]),
    ] {
        assert_eq!(split_gone(vec![unseen.clone()], &[]), (vec![], vec![unseen]));
    }
}

#[test]
fn what_a_living_run_released_during_the_look_is_no_stranger() {
    let observed = [seen(ResourceKind::Process)];
    let world = World {
        open: &[],
        observed: &observed,
        runs: &[],
        machines: &[],
        alive: &BTreeSet::new(),
        unseen: &BTreeSet::new(),
        now: now(),
    };
    let stranger = findings(&world).remove(0);
    let closed = |at: i64| Resource {
        state: ResourceState::Gone,
        gone_at: Some(now() + jiff::SignedDuration::from_secs(at)),
        ..row(ResourceKind::Process)
    };
    assert!(was_released_meanwhile(&stranger, &[closed(1)], now()));
    assert!(!was_released_meanwhile(&stranger, &[closed(-1)], now()), "closed before, and there all the same");
    assert!(!was_released_meanwhile(&stranger, &[Resource { kind: ResourceKind::Rootfs, ..closed(1) }], now()));
    assert!(!was_released_meanwhile(&stranger, &[], now()));
}

#[tokio::test]
async fn a_row_of_a_host_that_was_never_confirmed_needs_no_login_to_close() {
    let provider = HostProvider::new(Vec::new());
    let planned = Resource { state: ResourceState::Planned, ..row(ResourceKind::RemoteFiles) };
    assert_eq!(provider.release(&planned).await.unwrap(), Fate::Gone);
    assert!(matches!(provider.release(&row(ResourceKind::RemoteFiles)).await.unwrap(), Fate::Remains(_)));
}

#[test]
fn an_unexpired_machine_that_is_not_in_the_journal_is_left_unless_it_is_named() {
    let hour = jiff::SignedDuration::from_hours(1);
    let judged = |open: &[Resource], expires_at, elsewhere| {
        let observed = [ObservedResource { expires_at, elsewhere, ..seen(ResourceKind::Instance) }];
        let world = World {
            open,
            observed: &observed,
            runs: &[record(RunState::Running)],
            machines: &[],
            alive: &BTreeSet::new(),
            unseen: &BTreeSet::new(),
            now: now(),
        };
        findings(&world).remove(0)
    };
    let left = judged(&[], Some(now() + hour), false);
    assert_eq!((left.standing, left.is_to_go(&[])), (Standing::Elsewhere, false));
    for word in ["hg-1", "as seen", left.id.as_str()] {
        assert!(left.is_to_go(&[word.to_owned()]), "{word}");
    }
    assert!(!left.is_to_go(&["hg-2".to_owned()]));
    assert_eq!(judged(&[], Some(now()), false).standing, Standing::Unrecorded);
    assert_eq!(judged(&[], None, false).standing, Standing::Unrecorded);
    // A row that came here with a copy of the journal names a driver that lives elsewhere.
    let copied = [row(ResourceKind::Instance)];
    assert_eq!(judged(&copied, Some(now() + hour), true).standing, Standing::Elsewhere);
    assert_eq!(judged(&copied, Some(now() + hour), false).standing, Standing::Orphaned);
    assert_eq!(judged(&copied, Some(now()), true).standing, Standing::Orphaned);
}
