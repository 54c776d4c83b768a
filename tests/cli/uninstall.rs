//! Removing everything.

use automation::base::id::{MachineId, RunId};
use automation::model::journal::Journal;
use automation::model::machine::ProviderKind;
use automation::model::resource::{PlannedResource, ResourceKind};
use automation::model::run::{Driver, RunRecord, RunState};
use automation::state::dir::StateDir;
use jiff::Timestamp;

use crate::support::leftovers;
use crate::support::tool::Place;

#[test]
fn everything_goes_after_somebody_said_so() {
    let place = Place::small();
    place.own_images();
    let shared = std::fs::read_link(
        std::fs::read_dir(place.state.join("images/layers")).unwrap().next().unwrap().unwrap().path(),
    );
    // A layer whose record is gone, as `rm -rf` of an ordinary user leaves it.
    std::fs::create_dir_all(place.state.join("images/layers/abc/fs/etc")).unwrap();
    place.settings("grace = \"30s\"\n");
    let id = place.up(&[]);
    let asked = place.run(&["uninstall"]).expect(2);
    asked.tells(&["nobody is there to be asked", "1 machine", "1 run", "uninstall --yes"]);
    let dry = place.run(&["uninstall", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((&dry["fate"], &dry["machines"]), (&"would be removed".into(), &serde_json::json!([id])), "{dry}");
    place.exec(&id, &["true"]).expect(0);
    let done = place.run(&["uninstall", "--yes", "--json"]).expect(0).json();
    assert_eq!((&done["fate"], &done["left"]), (&"gone".into(), &serde_json::json!([])), "{done}");
    assert!(!place.state.exists());
    assert_eq!(leftovers::of(&place.state), [""; 0]);
    assert!(shared.unwrap().join("layer.json").exists(), "what a link leads to is not ours to remove");
    place.run(&["uninstall", "--yes"]).expect(2).tells(&["is no state directory", "nothing to remove"]);
    assert!(!place.state.exists(), "it is not made either");
}

#[test]
fn files_that_are_not_ours_stay_and_so_does_what_is_no_state_directory() {
    let place = Place::new();
    place.run(&["runs", "list"]).expect(0);
    std::fs::write(place.state.join("notes"), "mine").unwrap();
    place.run(&["uninstall", "--yes"]).expect(0).tells(&["files in it that are not ours"]);
    assert_eq!(std::fs::read_dir(&place.state).unwrap().count(), 1);
    place.run(&["uninstall", "--yes"]).expect(2);
    assert_eq!(std::fs::read_to_string(place.state.join("notes")).unwrap(), "mine");
}

#[test]
fn what_is_elsewhere_is_not_lost_sight_of_and_a_living_run_is_let_be() {
    let place = Place::new();
    let journal = StateDir::open(&place.state).unwrap().journal().unwrap();
    let run = RunRecord {
        id: "20261128-100000-aaaaaa".parse::<RunId>().unwrap(),
        command: "run-tests-linux".to_owned(),
        arguments: Vec::new(),
        owner: "me@here".to_owned(),
        driver: Driver { pid: u32::MAX, started: 1, boot: "x".to_owned() },
        state: RunState::Running,
        started_at: Timestamp::now(),
        ended_at: None,
        exit_code: None,
        summary: None,
    };
    journal.store_run(&run).unwrap();
    let machine = MachineId::random();
    let planned =
        PlannedResource { machine: machine.clone(), kind: ResourceKind::RemoteFiles, name: "me@there:/x".into() };
    let row = journal.plan(&run.id, ProviderKind::Host, &[planned], Timestamp::now()).unwrap().remove(0);
    journal.present(&row, "me@there").unwrap();
    place.run(&["uninstall", "--yes"]).expect(5).tells(&["remote_files me@there:/x", "audit --fix", "audit --forget"]);
    assert!(place.state.join("journal.db").exists());
    place.run(&["audit", "--forget", machine.as_str()]).expect(0);
    let me = automation::state::process::current().unwrap();
    journal.update_run(&RunRecord { driver: me, state: RunState::Running, ..run.clone() }).unwrap();
    place.run(&["uninstall", "--yes"]).expect(2).tells(&["is at work", "runs cancel"]);
    journal.update_run(&RunRecord { state: RunState::Ended, ..run }).unwrap();
    place.run(&["uninstall", "--yes"]).expect(0);
    assert!(!place.state.exists());
}
