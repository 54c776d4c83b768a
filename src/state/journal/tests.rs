use std::path::PathBuf;

use jiff::Timestamp;
use model::base::id::ResourceId;
use model::fault::FaultKind;
use model::journal::{MachineJournal, ResourceFilter, ResourceJournal, RunJournal};
use model::machine::{Address, HostKey, Machine, Platform, ProviderKind};
use model::resource::{PlannedResource, Resource, ResourceKind, ResourceState};
use model::run::{Driver, RunRecord, RunState};
use rusqlite::params;

use super::*;

struct Story {
    _dir: tempfile::TempDir,
    path: PathBuf,
    journal: SqliteJournal,
}

fn at(second: u32) -> Timestamp {
    format!("2026-11-20T10:00:{second:02}Z").parse().unwrap()
}

fn id<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

fn record(name: &str) -> RunRecord {
    RunRecord {
        id: id(name),
        command: "run-tests-linux".into(),
        arguments: vec!["test-add.t".into(), "a b\n".into()],
        owner: "me@here".into(),
        driver: Driver { pid: 7, started: 99, boot: "b".into() },
        state: RunState::Running,
        started_at: at(0),
        ended_at: None,
        exit_code: None,
        summary: None,
    }
}

fn planned(machine: &str, kind: ResourceKind) -> PlannedResource {
    PlannedResource { machine: id(machine), kind, name: format!("{machine}-{}", kind.name()) }
}

fn machine(name: &str, run: &str) -> Machine {
    Machine {
        id: id(name),
        provider: ProviderKind::Local,
        platform: Platform::Linux,
        run: id(run),
        owner: "me@here".into(),
        image: "linux-dev-debian12".into(),
        address: Address::Handover { socket: "/s/machines/x".into() },
        user: "hg".into(),
        identity: "/s/keys/k".into(),
        host_key: HostKey::Exact { public: "ssh-ed25519 AAAA".into() },
        volume: None,
        hardware: None,
        created_at: at(0),
        expires_at: at(59),
        name: None,
        kept: false,
        idle: None,
    }
}

fn story() -> Story {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    journal.store_run(&record("r-1")).unwrap();
    Story { _dir: dir, path, journal }
}

impl Story {
    fn plan(&self, run: &str, machine: &str) -> Vec<ResourceId> {
        let resources = [ResourceKind::Rootfs, ResourceKind::Process].map(|kind| planned(machine, kind));
        self.journal.plan(&id(run), ProviderKind::Local, &resources, at(1)).unwrap()
    }

    fn open_rows(&self) -> Vec<ResourceId> {
        let filter = ResourceFilter { open: true, ..Default::default() };
        self.journal.resources(&filter).unwrap().into_iter().map(|row| row.id).collect()
    }

    fn row(&self, id: &ResourceId) -> Resource {
        let rows = self.journal.resources(&ResourceFilter::default()).unwrap();
        rows.into_iter().find(|row| row.id == *id).unwrap()
    }
}

#[test]
fn a_run_is_forgotten_with_its_closed_rows_and_not_while_one_is_needed() {
    let story = story();
    story.journal.store_run(&record("r-2")).unwrap();
    let (ids, others) = (story.plan("r-1", "hg-1"), story.plan("r-2", "hg-2"));
    let forget = || story.journal.forget_run(&id("r-1"));
    let refused = || assert_eq!(forget().unwrap_err().kind, FaultKind::Usage);
    refused();
    story.journal.mark_gone(&ids[0], at(5)).unwrap();
    story.journal.mark_kept(&ids[1], "/x").unwrap();
    refused();
    story.journal.mark_forgotten(&ids[1], "out of reach").unwrap();
    story.journal.store_machine(&machine("hg-1", "r-1")).unwrap();
    refused();
    assert!(story.journal.run(&id("r-1")).unwrap().is_some(), "all or nothing");
    story.journal.forget_machine(&id("hg-1")).unwrap();
    forget().unwrap();
    assert!(story.journal.run(&id("r-1")).unwrap().is_none());
    let left: Vec<ResourceId> =
        story.journal.resources(&ResourceFilter::default()).unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(left, others, "those of other runs stay");
    forget().unwrap();
}

#[test]
fn a_resource_goes_from_planned_to_present_to_gone() {
    let story = story();
    let ids = story.plan("r-1", "hg-1");
    let row = story.row(&ids[0]);
    assert_eq!((row.state, row.planned_at, row.locator, row.gone_at), (ResourceState::Planned, at(1), None, None));
    assert_eq!((row.name.as_str(), row.kind, row.provider), ("hg-1-rootfs", ResourceKind::Rootfs, ProviderKind::Local));
    story.journal.mark_present(&ids[0], "/x").unwrap();
    story.journal.note(&ids[0], "busy").unwrap();
    let row = story.row(&ids[0]);
    assert_eq!(
        (row.state, row.locator.as_deref(), row.note.as_deref()),
        (ResourceState::Present, Some("/x"), Some("busy"))
    );
    assert_eq!(story.open_rows(), ids);
    story.journal.mark_gone(&ids[0], at(5)).unwrap();
    story.journal.mark_gone(&ids[0], at(9)).unwrap();
    story.journal.note(&ids[0], "late").unwrap();
    let row = story.row(&ids[0]);
    assert_eq!((row.state, row.gone_at, row.note.as_deref()), (ResourceState::Gone, Some(at(5)), Some("busy")));
    assert_eq!(story.open_rows(), ids[1..]);
    story.journal.mark_present(&ids[0], "/y").unwrap();
    assert_eq!(story.open_rows(), ids, "what is seen again is open again");
}

#[test]
fn a_resource_that_is_given_up_is_not_open_and_not_gone() {
    let story = story();
    let ids = story.plan("r-1", "hg-1");
    story.journal.mark_forgotten(&ids[0], "by me").unwrap();
    story.journal.mark_gone(&ids[1], at(5)).unwrap();
    let row = story.row(&ids[0]);
    assert_eq!((row.state, row.gone_at, row.note.as_deref()), (ResourceState::Forgotten, None, Some("by me")));
    assert!(story.open_rows().is_empty() && !row.is_open());
    story.journal.forget_machine(&id("hg-1")).unwrap();
    assert!(story.journal.mark_forgotten(&ids[1], "by me").is_err(), "what was seen gone stays so");
    story.journal.mark_present(&ids[0], "/x").unwrap();
    assert_eq!(story.open_rows(), ids[..1], "what is seen again is open again");
}

#[test]
fn rows_are_found_by_run_and_machine_oldest_first() {
    let story = story();
    story.journal.store_run(&record("r-2")).unwrap();
    let (a, b, c) = (story.plan("r-1", "hg-1"), story.plan("r-2", "hg-2"), story.plan("r-1", "hg-3"));
    story.journal.mark_gone(&a[0], at(2)).unwrap();
    let find = |run: Option<&str>, machine: Option<&str>, open| -> Vec<ResourceId> {
        let filter = ResourceFilter { run: run.map(id), machine: machine.map(id), open };
        story.journal.resources(&filter).unwrap().into_iter().map(|row| row.id).collect()
    };
    assert_eq!(find(None, None, false), [a.clone(), b.clone(), c.clone()].concat());
    assert_eq!(find(Some("r-1"), None, false), [a.clone(), c.clone()].concat());
    assert_eq!(find(Some("r-1"), None, true), [a[1..].to_vec(), c.clone()].concat());
    assert_eq!(find(None, Some("hg-2"), true), b);
    assert_eq!(find(Some("r-1"), Some("hg-1"), true), a[1..]);
    assert!(find(Some("r-2"), Some("hg-1"), false).is_empty());
}

#[test]
fn no_query_reads_a_table_from_end_to_end() {
    let story = story();
    let connection = story.journal.connection.lock().unwrap();
    for (run, machine, open) in
        [(true, false, false), (true, false, true), (false, true, true), (true, true, true), (false, false, true)]
    {
        let filter = ResourceFilter { run: run.then(|| id("r")), machine: machine.then(|| id("m")), open };
        let sql = format!("EXPLAIN QUERY PLAN {}", rows::resources_query(&filter));
        let values = vec!["x"; usize::from(run) + usize::from(machine)];
        let mut statement = connection.prepare(&sql).unwrap();
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        let plan = plan.join("; ");
        assert!(plan.contains("USING INDEX resources_") && !plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
    }
}

#[test]
fn a_plan_is_written_whole_or_not_at_all() {
    let story = story();
    let resources = [planned("hg-1", ResourceKind::Rootfs)];
    let error = story.journal.plan(&id("r-unknown"), ProviderKind::Local, &resources, at(1)).unwrap_err();
    assert_eq!(error.kind, FaultKind::Infrastructure);
    assert!(error.line().contains("FOREIGN KEY"), "{error:?}");
    assert!(story.open_rows().is_empty());
    assert!(
        story.journal.mark_gone(&id("nosuchrow"), at(1)).unwrap_err().message.contains("holds no resource `nosuchrow`")
    );
}

#[test]
fn machines_are_kept_until_their_resources_are_gone() {
    let story = story();
    let ids = story.plan("r-1", "hg-1");
    story.journal.store_machine(&machine("hg-1", "r-1")).unwrap();
    story.journal.store_machine(&machine("hg-2", "r-1")).unwrap();
    let mut later = machine("hg-1", "r-1");
    later.expires_at = at(58);
    story.journal.store_machine(&later).unwrap();
    assert_eq!(story.journal.machines().unwrap(), [machine("hg-2", "r-1"), later.clone()]);
    let error = story.journal.forget_machine(&later.id).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (FaultKind::LeftBehind, "machine `hg-1` still has 2 resources in the journal")
    );
    for id in &ids {
        story.journal.mark_gone(id, at(3)).unwrap();
    }
    story.journal.forget_machine(&later.id).unwrap();
    story.journal.forget_machine(&later.id).unwrap();
    assert_eq!(story.journal.machines().unwrap(), [machine("hg-2", "r-1")]);
}

#[test]
fn runs_come_back_newest_first_as_they_were_stored() {
    let story = story();
    let mut second = record("r-2");
    second.driver.started = 1 << 40;
    story.journal.store_run(&second).unwrap();
    second.state = RunState::Ended;
    second.ended_at = Some("2026-11-20T10:00:07.000000001Z".parse().unwrap());
    second.exit_code = Some(-1);
    second.summary = Some("3 passed".into());
    story.journal.update_run(&second).unwrap();
    assert_eq!(story.journal.runs(usize::MAX).unwrap(), [second.clone(), record("r-1")]);
    assert_eq!(story.journal.runs(1).unwrap(), [second.clone()]);
    assert_eq!(story.journal.run(&second.id).unwrap(), Some(second.clone()));
    assert_eq!(story.journal.run(&id("r-3")).unwrap(), None);
    assert_eq!(story.journal.run_ids().unwrap(), [second.id, id("r-1")]);
    assert!(story.journal.update_run(&record("r-3")).is_err());
    assert!(story.journal.store_run(&record("r-1")).is_err(), "an id is used once");
}

#[test]
fn it_is_durable_private_and_checks_its_references() {
    use std::os::unix::fs::PermissionsExt;
    let story = story();
    story.plan("r-1", "hg-1");
    let connection = story.journal.connection.lock().unwrap();
    let pragma = |name: &str| -> String {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| format!("{value:?}"))
            .unwrap()
    };
    assert_eq!(pragma("journal_mode"), r#"Text("wal")"#);
    assert_eq!((pragma("synchronous").as_str(), pragma("foreign_keys").as_str()), ("Integer(2)", "Integer(1)"));
    for entry in std::fs::read_dir(story.path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn the_rows_of_the_first_schema_are_kept_and_can_be_kept_on_purpose() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(schema::FIRST).unwrap();
    old.execute_batch(
        "INSERT INTO runs (id, command, arguments, owner, driver_pid, driver_started, driver_boot, state, started_at)
         VALUES ('r-1', 'x', '[]', 'me', 1, 1, 'b', 'running', '2026-11-20T10:00:00.000000000Z');
         INSERT INTO resources (id, run, machine, provider, kind, name, state, planned_at)
         VALUES ('row1', 'r-1', 'hg-1', 'local', 'rootfs', 'n', 'planned', '2026-11-20T10:00:00.000000000Z');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let journal = SqliteJournal::open(&path).unwrap();
    let filter = ResourceFilter { open: true, ..Default::default() };
    assert_eq!(journal.resources(&filter).unwrap().len(), 1);
    journal.mark_kept(&id("row1"), "ami-1").unwrap();
    assert_eq!(journal.resources(&filter).unwrap().len(), 0, "what is kept on purpose is not open");
    let rows = journal.resources(&ResourceFilter::default()).unwrap();
    assert_eq!((rows[0].state, rows[0].locator.as_deref()), (ResourceState::Kept, Some("ami-1")));
    journal.mark_gone(&id("row1"), at(3)).unwrap();
    assert_eq!(journal.resources(&ResourceFilter::default()).unwrap()[0].state, ResourceState::Gone);
}

#[test]
fn the_rows_of_the_second_schema_are_kept_and_their_runs_can_be_detached() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(&[schema::FIRST, schema::KEPT].concat()).unwrap();
    old.execute_batch(
        "INSERT INTO runs (seq, id, command, arguments, owner, driver_pid, driver_started, driver_boot, state, started_at)
         VALUES (7, 'r-1', 'x', '[\"a\"]', 'me', 1, 2, 'b', 'running', '2026-11-20T10:00:00.000000000Z');
         INSERT INTO resources (id, run, machine, provider, kind, name, state, planned_at)
         VALUES ('row1', 'r-1', 'hg-1', 'local', 'rootfs', 'n', 'planned', '2026-11-20T10:00:00.000000000Z');
         PRAGMA user_version = 2;",
    )
    .unwrap();
    let data = serde_json::to_string(&machine("hg-1", "r-1")).unwrap();
    old.execute("INSERT INTO machines (id, run, data) VALUES ('hg-1', 'r-1', ?1)", params![data]).unwrap();
    drop(old);
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(journal.machines().unwrap(), [machine("hg-1", "r-1")]);
    assert_eq!(journal.resources(&ResourceFilter { run: Some(id("r-1")), ..Default::default() }).unwrap().len(), 1);
    let run = journal.run(&id("r-1")).unwrap().unwrap();
    assert_eq!((run.arguments.as_slice(), run.driver.started, run.started_at), (["a".to_owned()].as_slice(), 2, at(0)));
    for state in [RunState::Detached, RunState::Releasing] {
        journal.update_run(&RunRecord { state, ..run.clone() }).unwrap();
        assert_eq!(journal.run(&id("r-1")).unwrap().unwrap().state, state);
    }
    // References to runs are checked again.
    journal.plan(&id("r-1"), ProviderKind::Local, &[planned("hg-2", ResourceKind::Process)], at(1)).unwrap();
    journal.plan(&id("r-2"), ProviderKind::Local, &[planned("hg-3", ResourceKind::Process)], at(1)).unwrap_err();
    journal.store_run(&record("r-3")).unwrap();
    assert_eq!(journal.run_ids().unwrap(), [id::<RunId>("r-3"), id("r-1")], "newest first, as before");
    drop(journal);
    SqliteJournal::open(&path).unwrap().check().unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let story = story();
    story.journal.connection.lock().unwrap().pragma_update(None, "user_version", 99).unwrap();
    drop(story.journal);
    let before = std::fs::read(&story.path).unwrap();
    let error = SqliteJournal::open(&story.path).unwrap_err();
    assert!(error.message.ends_with("has schema 99, and this build knows schemas up to 5"), "{error}");
    assert_eq!(std::fs::read(&story.path).unwrap(), before);
}

#[test]
fn a_damaged_database_is_named_and_left_alone() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("no database", |bytes| *bytes = b"this is not a database, and long enough to have a header of one".repeat(20)),
        ("a header overwritten", |bytes| bytes[..16].fill(0)),
        ("cut off", |bytes| bytes.truncate(5000)),
        ("pages overwritten", |bytes| bytes[4096..].fill(0xa5)),
    ];
    for (what, damage) in damages {
        let story = story();
        story.plan("r-1", "hg-1");
        drop(story.journal);
        let mut bytes = std::fs::read(&story.path).unwrap();
        damage(&mut bytes);
        std::fs::write(&story.path, &bytes).unwrap();
        let opened = SqliteJournal::open(&story.path);
        let error = opened.and_then(|journal| journal.resources(&ResourceFilter::default()).map(drop)).unwrap_err();
        assert_eq!(error.kind, FaultKind::Outside, "{what}: {error:?}");
        assert!(error.message.contains("journal.db` is damaged: "), "{what}: {error:?}");
        assert!(error.hint.unwrap().contains("automation audit"), "{what}");
        assert_eq!(std::fs::read(&story.path).unwrap(), bytes, "{what}: left as it was");
    }
}

#[test]
fn a_check_finds_damage_that_no_query_meets() {
    let story = story();
    story.journal.check().unwrap();
    drop(story.journal);
    let mut bytes = std::fs::read(&story.path).unwrap();
    let end = bytes.len();
    // The last page holds an index that no plain reading of rows touches.
    bytes[end - 4096..].fill(0xa5);
    std::fs::write(&story.path, &bytes).unwrap();
    let journal = SqliteJournal::open(&story.path).unwrap();
    assert!(journal.check().unwrap_err().message.contains("is damaged"));
}

/// Not a check but a measurement: `cargo test -p state --lib plan_costs -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn plan_costs() {
    // Beside the sources, not in a temporary folder that may be in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let start = Instant::now();
    let journal = SqliteJournal::open(&dir.path().join("journal.db")).unwrap();
    let opened = start.elapsed();
    journal.store_run(&record("r-1")).unwrap();
    let resources = ResourceKind::ALL.map(|kind| planned("hg-1", kind));
    let mut times: Vec<Duration> = (0..500)
        .map(|_| {
            let start = Instant::now();
            journal.plan(&id("r-1"), ProviderKind::Local, &resources, at(1)).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("open {opened:?}; plan of 7 rows: median {:?}, p99 {:?}, worst {:?}", times[250], times[495], times[499]);
}
