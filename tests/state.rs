//! The state directory under what a user's computer does to it: full and read-only disks, foreign permissions, several
//! processes at once, `kill -9`.
//!
//! What must happen in a process of its own happens in [`scenario`]: the test binary starts itself with the scenario's
//! name in a variable.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::fault::Fault;
use model::journal::{ResourceFilter, ResourceJournal, RunJournal};
use model::machine::ProviderKind;
use model::resource::{PlannedResource, Resource, ResourceKind};
use model::run::{RunRecord, RunState};
use state::dir::StateDir;
use state::process;

const SCENARIO: &str = "AUTOMATION_TEST_SCENARIO";
const STATE: &str = "AUTOMATION_TEST_STATE";

/// Not a test: the part of the others that runs in a process of its own. Alone it does nothing.
#[test]
#[ignore = "started by other tests"]
fn scenario() {
    let (Ok(name), Ok(path)) = (std::env::var(SCENARIO), std::env::var(STATE)) else { return };
    let path = PathBuf::from(path);
    match name.as_str() {
        "open" => say("open", StateDir::open(&path)),
        "open-for-cleanup" => say("open", StateDir::open_for_cleanup(&path)),
        "journal" => say("journal", StateDir::open_for_cleanup(&path).and_then(|state| state.journal())),
        "fill" => fill(&path),
        "write" => write_many(&path, 50),
        "write-forever" => write_many(&path, usize::MAX),
        "identity" => identity(&path),
        "full-while-open" => full_while_open(&path),
        other => panic!("unknown scenario `{other}`"),
    }
}

/// Tells the parent what came of something, on a line that begins with a mark.
fn say<T>(what: &str, result: Result<T, Fault>) {
    match result {
        Ok(_) => println!("\n@{what}: ok"),
        Err(fault) => {
            let hint = fault.hint.clone().unwrap_or_default();
            println!("\n@{what}: {:?}: {} [{hint}]", fault.kind, fault.chain().join(": "));
        }
    }
}

fn record(id: &RunId) -> RunRecord {
    RunRecord {
        id: id.clone(),
        command: "test".into(),
        arguments: vec![],
        owner: "me@here".into(),
        driver: process::current().unwrap(),
        state: RunState::Running,
        started_at: Timestamp::now(),
        ended_at: None,
        exit_code: None,
        summary: None,
    }
}

fn planned() -> Vec<PlannedResource> {
    let machine = MachineId::random();
    let plan =
        |kind: ResourceKind| PlannedResource { machine: machine.clone(), kind, name: format!("{machine}-{kind:?}") };
    [ResourceKind::Rootfs, ResourceKind::Process, ResourceKind::Mount].map(plan).to_vec()
}

fn write_many(path: &Path, count: usize) {
    let journal = StateDir::open(path).unwrap().journal().unwrap();
    let run = RunId::new(Timestamp::now());
    journal.store_run(&record(&run)).unwrap();
    for _ in 0..count {
        let ids = journal.plan(&run, ProviderKind::Local, &planned(), Timestamp::now()).unwrap();
        let ids: Vec<&str> = ids.iter().map(ResourceId::as_str).collect();
        println!("\n@planned: {}", ids.join(" "));
    }
}

fn identity(path: &Path) {
    let make = || Ok((format!("private {}", std::process::id()), format!("public {}", std::process::id())));
    let matches = |private: &str, public: &str| Ok(private.trim().split(' ').nth(1) == public.split(' ').nth(1));
    let identity = StateDir::open(path).unwrap().identity(&make, &matches).unwrap();
    println!("\n@identity: {}", identity.public);
}

fn fill(path: &Path) {
    let mut file = std::fs::File::create(path.join("filler")).unwrap();
    for size in [4096, 1] {
        while std::io::Write::write(&mut file, &vec![b'x'; size]).is_ok() {}
    }
}

fn full_while_open(path: &Path) {
    let journal = StateDir::open(path).unwrap().journal().unwrap();
    let run = RunId::new(Timestamp::now());
    journal.store_run(&record(&run)).unwrap();
    fill(path);
    let mut result = Ok(vec![]);
    // The write-ahead log may have room left in its last page.
    for _ in 0..200 {
        result = journal.plan(&run, ProviderKind::Local, &planned(), Timestamp::now());
        if result.is_err() {
            break;
        }
    }
    say("plan", result);
    std::fs::remove_file(path.join("filler")).unwrap();
    say("plan again", journal.plan(&run, ProviderKind::Local, &planned(), Timestamp::now()));
}

/// The test binary, to be started for one scenario.
fn alone(name: &str, state: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["state::scenario", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(SCENARIO, name).env(STATE, state).stdout(Stdio::piped());
    command
}

/// What a scenario said, a line each, without the marks.
fn said(child: Child) -> Vec<String> {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    text.lines().filter_map(|line| line.strip_prefix('@')).map(str::to_owned).collect()
}

/// Runs a shell script in a mount namespace of its own, where `$DISK` is a fresh tmpfs of `size`. In the script, `s NAME`
/// runs a scenario on the state directory `$DISK/state`. None, said aloud, where the host lets nobody do that.
fn on_a_disk_of(size: &str, script: &str) -> Option<Vec<String>> {
    let mut unshare = vec!["--mount"];
    if !rustix::process::geteuid().is_root() {
        unshare.extend(["--user", "--map-root-user"]);
    }
    let disk = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={size},mode=700 tmpfs \"$DISK\"");
    let own = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(&unshare).args(["--", "sh", "-euc", script]).env("DISK", disk.path());
        command
    };
    let allowed = own(&mount).output();
    if !allowed.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this host does not permit `unshare {}` and a mount in it: {allowed:?}", unshare.join(" "));
        return None;
    }
    let test = alone("", Path::new(""));
    let words: Vec<&str> = test.get_args().map(|word| word.to_str().unwrap()).collect();
    let start = format!("s() {{ {SCENARIO}=$1 {STATE}=\"$DISK/state\" \"$0\" {}; }}", words.join(" "));
    let mut command = own(&format!("{mount}\n{start}\n{script}"));
    Some(said(command.arg(test.get_program()).stdout(Stdio::piped()).spawn().unwrap()))
}

fn rows(state: &Path) -> Vec<Resource> {
    let journal = StateDir::open(state).unwrap().journal().unwrap();
    journal.check().unwrap();
    journal.resources(&ResourceFilter::default()).unwrap()
}

#[test]
fn a_read_only_disk_is_refused_with_the_remedy() {
    let script = "s open; s journal; mount -o remount,bind,ro \"$DISK\"; s open; s journal; umount \"$DISK\"
                  mount -t tmpfs -o ro tmpfs \"$DISK\"; s open";
    let Some(lines) = on_a_disk_of("4m", script) else { return };
    let remedy = "Read-only file system (os error 30) [The file system is read-only. Name a directory on a writable one with `--state-path`.]";
    assert_eq!(lines[..2], ["open: ok", "journal: ok"]);
    assert!(lines[2].starts_with("open: Outside: cannot write in the state directory `"), "{lines:#?}");
    assert!(lines[3].starts_with("journal: Outside: cannot open the lock `"), "{lines:#?}");
    assert!(lines[4].starts_with("open: Outside: cannot make the state directory `"), "{lines:#?}");
    assert!(lines[2..].iter().all(|line| line.ends_with(remedy)), "{lines:#?}");
    assert_eq!(lines.len(), 5);
}

#[test]
fn a_full_disk_is_refused_except_for_making_room() {
    let Some(lines) = on_a_disk_of("1m", "s open; s fill; s open; s open-for-cleanup; s journal") else { return };
    assert_eq!(lines[0], "open: ok");
    assert!(lines[1].starts_with("open: Outside: cannot write in the state directory `"), "{lines:#?}");
    assert!(lines[1].contains("No space left on device (os error 28) [Free space on this disk"), "{lines:#?}");
    assert_eq!(lines[2], "open: ok");
    assert!(lines[3].starts_with("journal: Outside: cannot "), "{lines:#?}");
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_disk_that_fills_up_fails_one_write_and_spoils_nothing() {
    let Some(lines) = on_a_disk_of("1m", "s full-while-open; s journal") else { return };
    assert!(lines[0].starts_with("plan: Outside: cannot write resources into the journal `"), "{lines:#?}");
    assert_eq!(lines[1..], ["plan again: ok", "journal: ok"]);
}

#[test]
fn a_directory_without_the_right_to_write_is_refused() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    for path in [home.path().to_owned(), home.path().join("state")] {
        let mut command = alone("open", &path);
        if rustix::process::geteuid().is_root() {
            // Root may write everywhere, by a capability that can be given up.
            let inner = command;
            command = Command::new("setpriv");
            command.args(["--bounding-set", "-dac_override,-dac_read_search", "--"]);
            command.arg(inner.get_program()).args(inner.get_args());
            command.env(SCENARIO, "open").env(STATE, &path).stdout(Stdio::piped());
        }
        let lines = said(command.spawn().unwrap());
        assert!(lines[0].contains("Permission denied (os error 13) [Name a directory of your own"), "{lines:#?}");
    }
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn the_directory_of_another_user_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(home.path(), Some(12345), None).unwrap();
        home.path()
    } else {
        Path::new("/usr")
    };
    let error = StateDir::open(path).unwrap_err();
    assert!(error.message.contains("belongs to user "), "{error}");
    assert!(!path.join("layout").exists());
}

#[test]
fn processes_that_start_at_once_share_one_journal() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let children: Vec<Child> = (0..4).map(|_| alone("write", &state).spawn().unwrap()).collect();
    let mut told = BTreeSet::new();
    for child in children {
        let lines = said(child);
        assert_eq!(lines.len(), 50);
        told.extend(lines.iter().flat_map(|line| ids(line)));
    }
    let stored: BTreeSet<ResourceId> = rows(&state).into_iter().map(|row| row.id).collect();
    assert_eq!((stored.len(), stored == told), (4 * 50 * 3, true));
}

#[test]
fn processes_that_start_at_once_agree_on_one_key_pair() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let children: Vec<Child> = (0..4).map(|_| alone("identity", &state).spawn().unwrap()).collect();
    let told: BTreeSet<String> = children.into_iter().flat_map(said).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_killed_process_leaves_every_row_that_it_was_promised() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let mut told = BTreeSet::new();
    for promises in [1, 3, 17, 40] {
        let mut child = alone("write-forever", &state).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut take = |line: String| line.strip_prefix('@').map(|line| told.extend(ids(line))).is_some();
        let mut seen = 0;
        while seen < promises {
            seen += usize::from(take(lines.next().unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was promised between the last look and the kill counts as well; a line cut short does not.
        lines.filter(|line| line.len() == "@planned: ".len() + 3 * 26 + 2).for_each(|line| assert!(take(line)));
        let rows = rows(&state);
        let stored: BTreeSet<ResourceId> = rows.iter().map(|row| row.id.clone()).collect();
        assert!(told.is_subset(&stored), "missing: {:?}", told.difference(&stored));
        assert_eq!(rows.len() % 3, 0, "a plan is there whole or not at all");
    }
}

fn ids(line: &str) -> Vec<ResourceId> {
    let line = line.strip_prefix("planned: ").unwrap();
    line.split(' ').map(|id| id.parse().unwrap()).collect()
}
