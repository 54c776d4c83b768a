//! A machine for as long as a piece of work takes.

use std::sync::Arc;
use std::time::Duration;

use connection::dummy::provider::ProviderCall;
use flow::lease::{self as leases, Completion, Lease, LeaseEnd};
use flow::release::{ReleaseScope, release};
use flow::run::saturating_add;
use model::base::id::ResourceId;
use model::connection::{Connection, ConnectionError, Connector};
use model::fault::{Fault, FaultKind, Leftovers};
use model::journal::{MachineJournal, ResourceFilter, ResourceJournal};
use model::machine::{Machine, Platform, ProviderKind};
use model::provider::{MachineRequest, Provider};
use model::resource::{PlannedResource, Resource, ResourceKind, ResourceState};

use super::{GRACE, Theatre, begin, with_machine};

/// Work that does nothing and gives 7.
async fn seven(theatre: &Theatre) -> LeaseEnd<u32> {
    with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |_, _| Ok(7)).await
}

#[tokio::test(start_paused = true)]
async fn rows_are_written_before_anything_is_made_and_closed_in_reverse() {
    let mut theatre = Theatre::new();
    let journal = theatre.journal.clone();
    theatre.watch(move |request| {
        let filter = ResourceFilter { machine: Some(request.id.clone()), open: true, ..ResourceFilter::default() };
        let rows = journal.resources(&filter).unwrap();
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|row| row.state == ResourceState::Planned && row.run == request.run));
    });
    let ended = with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |machine, _| {
        assert!(theatre.rows().iter().all(|row| row.state == ResourceState::Present && row.locator.is_some()));
        assert_eq!(theatre.journal.machines().unwrap(), std::slice::from_ref(machine));
        Ok(theatre.dummy.story().len())
    })
    .await;
    assert_eq!(ended.result.unwrap(), 1, "only `create` happened so far");
    assert_eq!(ended.left, []);
    assert_eq!(theatre.released(), ["process", "mount", "namespace", "rootfs"]);
    assert!(theatre.rows().iter().all(|row| row.gone_at.is_some()));
    assert_eq!((theatre.events.count("done Booting"), theatre.events.count("done Releasing")), (1, 1));
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn the_order_of_release_does_not_hang_on_ids_of_one_millisecond() {
    for _ in 0..20 {
        let theatre = Theatre::new();
        let request = model::provider::MachineRequest { volume: Some(1), ..theatre.request() };
        with_machine(&theatre.run, &theatre.site, &request, None, async |_, _| Ok(())).await.result.unwrap();
        assert_eq!(theatre.released(), ["process", "mount", "namespace", "loop_device", "rootfs"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_fails_half_way_is_released_whole() {
    let theatre = Theatre::new();
    theatre.dummy.fail(ProviderCall::CreateAfter(ResourceKind::Process), "no power");
    let ended = seven(&theatre).await;
    let fault = ended.result.unwrap_err();
    assert_eq!((fault.message.as_str(), &fault.left), ("no power", &Leftovers::Nothing));
    assert_eq!(theatre.released().len(), 4, "also what was planned and perhaps never made");
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_half_way_says_what_is_left() {
    let theatre = Theatre::new();
    theatre.dummy.fail(ProviderCall::CreateAfter(ResourceKind::Process), "no power");
    theatre.dummy.refuse_release(ResourceKind::Rootfs, "busy");
    let ended = seven(&theatre).await;
    let fault = ended.result.unwrap_err();
    let Leftovers::Named(names) = &fault.left else { panic!("{:?}", fault.left) };
    assert!(matches!(names.as_slice(), [name] if name.starts_with("rootfs hg-")), "{names:?}");
    assert_eq!(ended.left.len(), 1);
    assert_eq!(ended.left[0].note.as_deref(), Some("busy"));
    assert_eq!(theatre.open(), [ResourceKind::Rootfs]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_go_is_told_beside_what_the_work_came_to() {
    let theatre = Theatre::new();
    theatre.dummy.refuse_release(ResourceKind::Mount, "held by a shell");
    let ended = seven(&theatre).await;
    assert_eq!(ended.result.unwrap(), 7);
    assert_eq!(ended.left.iter().map(|row| row.kind).collect::<Vec<_>>(), [ResourceKind::Mount]);
    assert_eq!(theatre.released().len(), 4, "the others went all the same");
    assert_eq!(theatre.rows().iter().find_map(|row| row.note.clone()).as_deref(), Some("held by a shell"));
    let machines = theatre.journal.machines().unwrap();
    assert!(matches!(machines.as_slice(), [machine] if !machine.kept), "nobody meant to keep it");
}

#[tokio::test(start_paused = true)]
async fn work_that_fails_and_a_release_that_fails_are_both_told() {
    let theatre = Theatre::new();
    theatre.dummy.fail(ProviderCall::Release(ResourceKind::Rootfs), "the disk is on fire");
    let ended: LeaseEnd<()> = with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |_, _| {
        Err(Fault::outside("no luck"))
    })
    .await;
    assert_eq!(ended.result.unwrap_err().message, "no luck");
    assert_eq!(ended.left[0].note.as_deref(), Some("the disk is on fire"));
    assert_eq!(theatre.events.count("done Releasing"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_keeps_nothing_from_being_removed() {
    let theatre = Theatre::new();
    let lease = Lease::acquire(&theatre.run, &theatre.site, &theatre.request()).await.unwrap();
    let mut rows = theatre.rows();
    // The journal knows no such row, so closing it fails.
    rows[1].id = ResourceId::random();
    lease.give_up().await;
    let fault = release(theatre.site.provider.as_ref(), theatre.journal.as_ref(), rows, ReleaseScope::All, &|| {
        theatre.run.now()
    })
    .await
    .unwrap_err();
    assert!(fault.message.contains("holds no resource"), "{fault}");
    assert_eq!(theatre.open(), [ResourceKind::Process]);
    assert_eq!(theatre.released().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_releases_wherever_it_comes() {
    type Arrange = fn(&mut Theatre);
    let stories: [(&str, Arrange); 3] =
        [("create", Theatre::stop_in_create), ("connect", Theatre::stop_in_connect), ("work", |_| ())];
    for (phase, arrange) in stories {
        let mut theatre = Theatre::new();
        arrange(&mut theatre);
        let stop = theatre.run.stop.clone();
        let ended: LeaseEnd<()> = with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |_, _| {
            assert_eq!(phase, "work");
            stop.cancel();
            std::future::pending().await
        })
        .await;
        let fault = ended.result.unwrap_err();
        assert_eq!((fault.kind, &fault.left), (FaultKind::Interrupted, &Leftovers::Nothing), "{phase}");
        assert_eq!(fault.hint, None, "{phase}: who interrupts asks for no console");
        assert_eq!((ended.left.len(), theatre.released().len()), (0, 4), "{phase}");
        theatre.assert_clean().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_after_an_interruption() {
    let theatre = Theatre::new();
    theatre.run.stop.cancel();
    assert_eq!(seven(&theatre).await.result.unwrap_err().kind, FaultKind::Interrupted);
    assert!(!theatre.dummy.story().iter().any(|line| line.starts_with("create")));
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_for_as_long_as_the_work_takes() {
    let theatre = Theatre::new();
    let began = theatre.run.now();
    let ended = with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |machine, _| {
        assert_eq!(theatre.dummy.lease(&machine.id), Some(saturating_add(began, GRACE)));
        tokio::time::sleep(10 * GRACE + Duration::from_millis(1)).await;
        assert_eq!(theatre.dummy.lease(&machine.id), Some(saturating_add(began, 11 * GRACE)));
        Ok(theatre.dummy.story().iter().filter(|line| line.starts_with("renew")).count())
    })
    .await;
    assert_eq!(ended.result.unwrap(), 40, "four times a grace");
    let story = theatre.dummy.story();
    tokio::time::sleep(2 * GRACE).await;
    assert_eq!(theatre.dummy.story(), story, "a machine that was released is renewed no more");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_told_once_and_tried_again() {
    let theatre = Theatre::new();
    for _ in 0..2 {
        theatre.dummy.fail(ProviderCall::Renew, "read-only file system");
    }
    let began = theatre.run.now();
    let ended = with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |machine, _| {
        tokio::time::sleep(GRACE + Duration::from_millis(1)).await;
        Ok(theatre.dummy.lease(&machine.id))
    })
    .await;
    // Two tries fail, each followed by another at a quarter of the pause, so that the last one before the end is at 7/8 of it.
    assert_eq!(ended.result.unwrap(), Some(saturating_add(began, GRACE + GRACE * 7 / 8)));
    let warnings: Vec<String> = theatre.events.lines().into_iter().filter(|l| l.starts_with("warning")).collect();
    assert!(matches!(warnings.as_slice(), [one] if one.ends_with("read-only file system")), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_answer_shows_its_last_words() {
    let theatre = Theatre::new();
    let error = ConnectionError::AuthenticationRefused {
        address: "dummy".into(),
        user: "hg".into(),
        identity: "/s/key".into(),
    };
    theatre.remote.fail(connection::dummy::Call::Connect, error);
    let fault = seven(&theatre).await.result.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Outside);
    let hint = fault.hint.unwrap();
    assert!(hint.starts_with("Name the right user and key"), "the hint of the connection stays: {hint}");
    assert!(hint.contains("The machine's own last words:\ndummy console of hg-"), "{hint}");
    theatre.assert_clean().await;
}

/// A connector to machines that never answer, for which it is told how long to try.
struct Tried(std::sync::Mutex<Vec<Duration>>);

#[async_trait::async_trait]
impl Connector for Tried {
    async fn connect(
        &self,
        _: &Machine,
        _: &str,
        limit: Duration,
        _: bool,
    ) -> Result<Box<dyn Connection>, ConnectionError> {
        self.0.lock().unwrap().push(limit);
        Err(ConnectionError::Lost { address: "dummy".into(), reason: "nobody there".into() })
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_not_waited_for_longer_than_it_lives() {
    let boot = Theatre::new().dummy.boot_limit(Platform::Linux);
    assert!(boot > Duration::from_secs(50), "{boot:?}");
    for (ttl, tried) in [(3600, boot), (60, Duration::from_secs(45)), (20, Duration::from_secs(30))] {
        let mut theatre = Theatre::new();
        let connector = Arc::new(Tried(std::sync::Mutex::default()));
        theatre.site.connector = connector.clone();
        let request = theatre.request();
        let request = MachineRequest { expires_at: saturating_add(request.now, Duration::from_secs(ttl)), ..request };
        let ended = with_machine(&theatre.run, &theatre.site, &request, None, async |_, _| Ok(())).await;
        let fault = ended.result.unwrap_err();
        assert!(fault.hint.is_some_and(|hint| hint.contains("last words")), "its console is still there");
        assert_eq!(connector.0.lock().unwrap().as_slice(), [tried], "{ttl}");
        theatre.assert_clean().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_left_lives_until_its_expiry_and_is_marked() {
    let theatre = Theatre::new();
    let request = theatre.request();
    let lease = Lease::acquire(&theatre.run, &theatre.site, &request).await.unwrap();
    let machine = lease.leave().await.unwrap();
    assert!(machine.kept);
    assert_eq!(theatre.journal.machines().unwrap(), std::slice::from_ref(&machine));
    tokio::time::sleep(2 * GRACE).await;
    assert_eq!(theatre.dummy.lease(&machine.id), Some(request.expires_at), "no heartbeat takes it back");
    assert_eq!(theatre.open().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_be_left_is_released() {
    let theatre = Theatre::new();
    let lease = Lease::acquire(&theatre.run, &theatre.site, &theatre.request()).await.unwrap();
    theatre.dummy.fail(ProviderCall::Renew, "read-only file system");
    let fault = lease.leave().await.unwrap_err();
    assert_eq!((fault.message.as_str(), fault.left), ("read-only file system", Leftovers::Nothing));
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn two_runs_release_only_what_is_theirs() {
    let theatre = Theatre::new();
    let mut other = theatre.run.clone();
    other.id = begin(theatre.journal.as_ref(), theatre.run.now());
    let request = model::provider::MachineRequest { run: other.id.clone(), ..theatre.request() };
    let kept = Lease::acquire(&other, &theatre.site, &request).await.unwrap();
    assert_eq!(seven(&theatre).await.result.unwrap(), 7);
    assert_eq!(theatre.open().len(), 4);
    assert_eq!(kept.release().await.unwrap(), Some(Vec::new()));
    theatre.assert_clean().await;
}

/// Work that leaves its task running.
async fn left(theatre: &Theatre) -> LeaseEnd<u32> {
    let folder = flow::preparation::folder(&theatre.run, Platform::Linux);
    leases::with_machine(&theatre.run, &theatre.site, &theatre.request(), &folder, None, async |_, _| {
        Ok(Completion::Detach(7))
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_machine_on_which_a_task_goes_on_lives_until_its_expiry() {
    let theatre = Theatre::new();
    let ended = left(&theatre).await;
    let machine = ended.detached.unwrap();
    assert_eq!((ended.result.unwrap(), ended.left.len(), machine.kept), (7, 0, true));
    assert_eq!(theatre.journal.machines().unwrap(), std::slice::from_ref(&machine));
    tokio::time::sleep(2 * GRACE).await;
    assert_eq!(theatre.dummy.lease(&machine.id), Some(machine.expires_at), "no heartbeat takes it back");
    assert_eq!((theatre.open().len(), theatre.released().len()), (4, 0));
    // Whoever comes later leaves it once more, or releases it; there is nothing to renew.
    let renewed = || theatre.dummy.story().iter().filter(|line| line.starts_with("renew")).count();
    let before = renewed();
    let again = leases::attach(&theatre.run, &theatre.site, machine.clone(), "/f", None, async |_, _| {
        tokio::time::sleep(2 * GRACE).await;
        Ok(Completion::Detach(()))
    })
    .await;
    assert_eq!((again.detached.as_ref(), renewed()), (Some(&machine), before));
    let last =
        leases::attach(&theatre.run, &theatre.site, machine, "/f", None, async |_, _| Ok(Completion::Release(8))).await;
    assert_eq!((last.result.unwrap(), last.left.len()), (8, 0));
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_driver_died_is_renewed_at_once_by_the_next() {
    let theatre = Theatre::new();
    let lease = Lease::acquire(&theatre.run, &theatre.site, &theatre.request()).await.unwrap();
    let machine = lease.machine.clone();
    // The driver was killed when half of the grace was over.
    drop(lease);
    tokio::time::sleep(GRACE / 2).await;
    let now = theatre.run.now();
    let ended = leases::attach(&theatre.run, &theatre.site, machine, "/f", None, async |machine, _| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Completion::Release(theatre.dummy.lease(&machine.id)))
    })
    .await;
    assert_eq!(ended.result.unwrap(), Some(saturating_add(now, GRACE)));
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_be_told_to_live_on_keeps_its_task_for_as_long_as_its_lease_lasts() {
    let theatre = Theatre::new();
    theatre.dummy.fail(ProviderCall::Renew, "no route to host");
    let ended = left(&theatre).await;
    let machine = ended.detached.unwrap();
    assert!(!machine.kept, "its end is near, and nobody may think otherwise");
    assert_eq!((theatre.open().len(), theatre.released().len()), (4, 0), "the task is not ended for that");
    let warnings: Vec<String> = theatre.events.lines().into_iter().filter(|l| l.starts_with("warning")).collect();
    let told = |line: &str| line.contains("may end in") && line.ends_with("no route to host");
    assert!(matches!(warnings.as_slice(), [one] if told(one)), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_confirmed_by_the_name_that_it_was_planned_under() {
    let theatre = Theatre::new();
    let machine = theatre.request().id;
    let planned = ["root", "work"].map(|part| PlannedResource {
        machine: machine.clone(),
        kind: ResourceKind::Volume,
        name: format!("{machine}-{part}"),
    });
    let confirm = leases::write_down(&theatre.run, ProviderKind::Dummy, &planned).unwrap();
    confirm(ResourceKind::Volume, &planned[1].name, "vol-2").unwrap();
    confirm(ResourceKind::Volume, &planned[0].name, "vol-1").unwrap();
    let located = |row: &Resource| (row.name.clone(), row.locator.clone().unwrap());
    let rows: Vec<_> = theatre.rows().iter().map(located).collect();
    assert_eq!(rows, [(format!("{machine}-root"), "vol-1".into()), (format!("{machine}-work"), "vol-2".into())]);
    let fault = confirm(ResourceKind::Volume, "another", "vol-3").unwrap_err();
    assert_eq!(fault.message, "a volume `another` was made that was never planned");
}
