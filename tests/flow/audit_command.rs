//! `automation audit` over a journal that a dead driver left.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::journal::{MachineJournal, ResourceFilter, ResourceJournal, RunJournal};
use model::machine::{Machine, Platform, ProviderKind};
use model::resource::{PlannedResource, Resource, ResourceKind, ResourceState};
use model::run::{RunRecord, RunState};
use serde_json::Value;
use state::dir::StateDir;
use state::journal::SqliteJournal;
use support::sshd::Sshd;

use super::begin;

/// A state directory with one run whose driver is dead.
struct Story {
    path: PathBuf,
    journal: SqliteJournal,
    run: RunId,
    _dir: tempfile::TempDir,
}

impl Story {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let journal = StateDir::open(&path).unwrap().journal().unwrap();
        let run = begin(&journal, Timestamp::now());
        Self { path, journal, run, _dir: dir }
    }

    fn row(&self, provider: ProviderKind, machine: &MachineId, kind: ResourceKind, name: String) -> Resource {
        let planned = PlannedResource { machine: machine.clone(), kind, name };
        self.journal.plan(&self.run, provider, &[planned], Timestamp::now()).unwrap();
        self.rows().pop().unwrap()
    }

    fn rows(&self) -> Vec<Resource> {
        self.journal.resources(&ResourceFilter::default()).unwrap()
    }

    fn record(&self) -> RunRecord {
        self.journal.run(&self.run).unwrap().unwrap()
    }

    fn audit(&self, args: &[&str]) -> (i32, Value) {
        audit(&self.path, args)
    }
}

fn command(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_automation"));
    command
        .env_clear()
        .env("HOME", state)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("AUTOMATION_STATE_PATH", state)
        .args(["audit", "--json"])
        .args(args);
    command
}

fn audit(state: &Path, args: &[&str]) -> (i32, Value) {
    let out = command(state, args).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    (out.status.code().unwrap(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text} {said}")))
}

#[test]
fn what_ended_by_itself_is_closed_by_the_look_alone() {
    let story = Story::new();
    let id = MachineId::random();
    let folder = story.path.join("machines").join(id.as_str());
    story.row(ProviderKind::Local, &id, ResourceKind::Rootfs, folder.display().to_string());
    assert_eq!(story.audit(&[]), (0, Value::Array(vec![])));
    let row = story.rows().remove(0);
    assert!(row.state == ResourceState::Gone && row.gone_at.is_some());
    let (code, certificate) = story.audit(&["--run", story.run.as_str()]);
    assert_eq!((code, &certificate["clean"]), (0, &Value::Bool(true)));
}

#[test]
fn fix_removes_what_is_there_and_ends_the_record_of_the_dead() {
    let story = Story::new();
    let id = MachineId::random();
    let folder = story.path.join("machines").join(id.as_str());
    std::fs::create_dir_all(folder.join("upper")).unwrap();
    // One whose lease is over would be cleared away by any command.
    let lease = Timestamp::now().as_second() + 3600;
    std::fs::write(folder.join("lease"), lease.to_string()).unwrap();
    let (code, stranger) = story.audit(&[]);
    assert_eq!((code, stranger[0]["standing"].as_str()), (5, Some("unrecorded")));
    let name = stranger[0]["name"].as_str().unwrap().to_owned();
    story.row(ProviderKind::Local, &id, ResourceKind::Rootfs, name);

    let (code, found) = story.audit(&[]);
    assert_eq!((code, found[0]["standing"].as_str()), (5, Some("orphaned")));
    let (code, _) = story.audit(&["--fix", "--dry-run"]);
    assert!(code == 5 && folder.exists());
    let other = begin(&story.journal, Timestamp::now());
    assert_eq!(story.audit(&["--fix", "--run", other.as_str()]).0, 0, "the certificate of another run");
    assert!(folder.exists() && story.record().state == RunState::Running);

    assert_eq!(story.audit(&["--fix"]), (0, Value::Array(vec![])));
    assert!(!folder.exists());
    let record = story.record();
    assert_eq!((record.state, record.exit_code), (RunState::Ended, Some(4)));
}

#[test]
fn fix_logs_in_to_remove_our_files_from_a_machine_that_stays() {
    let story = Story::new();
    let sshd = Sshd::start();
    let machine = Machine { run: story.run.clone(), ..sshd.machine() };
    let folder = PathBuf::from(guest::of(Platform::Linux).run_folder(&story.run));
    std::fs::create_dir(&folder).unwrap();
    let row = story.row(ProviderKind::Host, &machine.id, ResourceKind::RemoteFiles, format!("me@here:{folder:?}"));
    story.journal.mark_present(&row.id, "me@here").unwrap();
    story.journal.store_machine(&machine).unwrap();
    let (code, found) = story.audit(&[]);
    assert_eq!((code, found[0]["standing"].as_str()), (5, Some("orphaned")), "it is not closed unseen");

    let wrong = Machine { identity: "/no/such/key".into(), ..machine.clone() };
    story.journal.store_machine(&wrong).unwrap();
    assert_eq!(story.audit(&["--fix"]).0, 5);
    let shown = story.rows()[0].explanation().unwrap();
    assert!(shown.contains("/no/such/key") && shown.contains("; log in and remove"), "{shown}");
    assert_eq!(story.record().state, RunState::Running, "its record stays open with it");

    story.journal.store_machine(&machine).unwrap();
    assert_eq!(story.audit(&["--fix"]), (0, Value::Array(vec![])));
    assert!(!folder.exists());
    assert_eq!(story.journal.machines().unwrap(), []);
}

#[test]
fn what_is_out_of_reach_for_good_is_forgotten_and_the_record_says_so() {
    let story = Story::new();
    let sshd = Sshd::start();
    let machine = Machine { run: story.run.clone(), identity: "/no/such/key".into(), ..sshd.machine() };
    let row = story.row(ProviderKind::Host, &machine.id, ResourceKind::RemoteFiles, "me@gone:/tmp/x".to_owned());
    story.journal.mark_present(&row.id, "me@gone").unwrap();
    story.journal.store_machine(&machine).unwrap();
    let local = MachineId::random();
    let folder = story.path.join("machines").join(local.as_str());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("lease"), (Timestamp::now().as_second() + 3600).to_string()).unwrap();
    story.row(ProviderKind::Local, &local, ResourceKind::Rootfs, folder.display().to_string());
    let run = story.run.as_str();

    let refused = |id: &str, part: &str| {
        let out = command(&story.path, &["--forget", id]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(2) && said.contains(part), "{said}");
    };
    refused("hg-nothing", "nothing remains");
    refused(local.as_str(), "audit --fix");
    assert_eq!(story.audit(&["--fix"]).0, 5, "it can be neither removed nor seen gone");
    assert!(!folder.exists());
    let (code, found) = story.audit(&["--forget", machine.id.as_str(), "--dry-run"]);
    assert_eq!((code, found.as_array().unwrap().len()), (5, 1));
    assert_eq!(story.audit(&["--forget", machine.id.as_str()]), (0, Value::Array(vec![])));
    assert_eq!(story.audit(&[]), (0, Value::Array(vec![])), "the matter has ended");
    assert_eq!((story.journal.machines().unwrap().len(), story.record().state), (0, RunState::Ended));
    let (code, certificate) = story.audit(&["--run", run]);
    assert_eq!((code, &certificate["clean"], &certificate["forgotten"]), (0, &false.into(), &1.into()));
    let row = &certificate["resources"][0];
    let note = row["note"].as_str().unwrap();
    assert_eq!((&row["state"], &row["gone_at"]), (&"forgotten".into(), &Value::Null));
    assert!(note.starts_with("forgotten by ") && note.contains("not seen gone; before that: "), "{note}");
}
