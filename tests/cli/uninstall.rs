//! Removing everything.

use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::journal::{MachineJournal, ResourceJournal, RunJournal};
use model::machine::{Machine, ProviderKind};
use model::resource::{PlannedResource, ResourceKind};
use model::run::{Driver, RunRecord, RunState};
use state::dir::StateDir;
use support::leftovers;
use support::mounts;
use support::tool::Place;

#[test]
fn everything_goes_after_somebody_said_so() {
    let place = Place::small();
    place.own_images();
    let shared = std::fs::read_link(
        std::fs::read_dir(place.state.join("images/layers")).unwrap().next().unwrap().unwrap().path(),
    );
    // A layer whose record is gone, as `rm -rf` of an ordinary user leaves it.
    std::fs::create_dir_all(place.state.join("images/layers/0123456789abcdef/fs/etc")).unwrap();
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
    place.run(&["uninstall", "--yes"]).expect(2).tells(&["is not a state directory", "nothing to remove"]);
    assert!(!place.state.exists(), "it is not made either");
}

#[test]
fn completions_that_were_installed_go_unless_somebody_changed_them() {
    let place = Place::new();
    // Without a state directory that is named: completions are the user's, and belong to the usual one.
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(support::tool::binary());
        support::tool::clear(&mut command, &place.home);
        command.current_dir(&place.home).args(words);
        support::tool::Running::start(command).end()
    };
    run(&["config", "set", "grace", "60"]).expect(0);
    for shell in ["bash", "fish"] {
        run(&["completions", "--install", shell]).expect(0);
    }
    let bash = place.home.join(".local/share/bash-completion/completions/automation");
    let fish = place.home.join(".config/fish/completions/automation.fish");
    let text = std::fs::read_to_string(&fish).unwrap();
    std::fs::write(&fish, format!("{text}# mine\n")).unwrap();
    place.run(&["config", "set", "grace", "60"]).expect(0);
    place.run(&["uninstall", "--yes"]).expect(0);
    assert!(bash.exists(), "they belong to no directory that is named");
    let named = run(&["uninstall", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(named["completions"], serde_json::json!([bash]), "{named}");
    run(&["uninstall", "--yes"]).expect(0).tells(&["Removing builds", "Removed the completions `"]);
    assert!(!bash.exists() && fish.exists() && !place.home.join(".hgautomation").exists());
}

#[test]
fn files_that_are_not_ours_stay_and_so_does_what_is_no_state_directory() {
    let place = Place::new();
    place.run(&["config", "set", "grace", "60"]).expect(0);
    std::fs::write(place.state.join("notes"), "mine").unwrap();
    let theirs = ["images/layers/notours", "images/notours", "machines/notours", "runs/notours", "keys/notours"];
    for name in theirs {
        std::fs::create_dir_all(place.state.join(name)).unwrap();
        std::fs::write(place.state.join(name).join("file"), "mine").unwrap();
    }
    place.run(&["image", "gc"]).expect(0);
    place.run(&["audit", "--fix"]).expect(0);
    let dry = place.run(&["uninstall", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((&dry["layers"], &dry["machines"]), (&0.into(), &serde_json::json!([])), "{dry}");
    let done = place.run(&["uninstall", "--yes"]).expect(0).tells(&["files in it that are not ours"]);
    for name in theirs {
        assert!(place.state.join(name).join("file").exists(), "{name}");
        assert!(done.stderr.contains(&format!("{name}` stays: it is not ours")), "{}", done.stderr);
    }
    let mut left: Vec<_> = std::fs::read_dir(&place.state).unwrap().flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["images", "keys", "machines", "notes", "runs"]);
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
    journal.mark_present(&row, "me@there").unwrap();
    place.run(&["uninstall", "--yes"]).expect(5).tells(&["remote_files me@there:/x", "audit --fix", "audit --forget"]);
    assert!(place.state.join("journal.db").exists());
    place.run(&["audit", "--forget", machine.as_str()]).expect(0);
    let me = state::process::current().unwrap();
    journal.update_run(&RunRecord { driver: me, state: RunState::Running, ..run.clone() }).unwrap();
    place.run(&["uninstall", "--yes"]).expect(2).tells(&["is at work", "runs cancel"]);
    let detached = RunRecord { state: RunState::Detached, ..run.clone() };
    journal.update_run(&detached).unwrap();
    let now = Timestamp::now();
    let lives = Machine {
        expires_at: now + std::time::Duration::from_secs(3600),
        name: None,
        kept: true,
        ..support::machine::of(ProviderKind::Host, run.id.clone(), now)
    };
    journal.store_machine(&lives).unwrap();
    for words in [&["uninstall", "--yes"][..], &["uninstall", "--dry-run"]] {
        place.run(words).expect(2).tells(&["was detached, and its machine lives", "runs cancel", "runs wait"]);
    }
    assert!(place.state.join("runs").exists());
    journal.forget_machine(&lives.id).unwrap();
    place.run(&["uninstall", "--dry-run"]).expect(0);
    journal.update_run(&RunRecord { state: RunState::Ended, ..run }).unwrap();
    place.run(&["uninstall", "--yes"]).expect(0);
    assert!(!place.state.exists());
}

#[test]
fn what_is_mounted_in_it_is_left_as_it_is() {
    let place = Place::new();
    // A bind mount of the same file system, which has the same device number.
    let script = r#"
        a runs list >/dev/null
        mkdir -p prec/deep "$S/runs/x" "$S/machines/hg-0000000001/data" "$S/images/layers/0123456789abcdef/fs/x"
        echo precious >prec/deep/f
        where=$S/$1
        mkdir -p "$where"
        mount --bind prec "$where"
        touch -d '1 hour ago' "$S/machines/hg-0000000001"
        for command in "audit --fix" "image gc" "uninstall --yes"; do
            code=0; a $command >>said 2>&1 || code=$?
            echo "$command: $code" >>codes
            cat said; test "$(cat prec/deep/f)" = precious
        done
        test $code = 5
        grep -F "$where\` is a mount point" said
        grep -F "umount $where" said
        grep -F "uninstall --yes" said
        # What is in the way keeps nothing else, but for what makes it a state directory.
        test ! -e "$S/keys" && test -e "$S/layout"
        case $1 in machines*) test ! -e "$S/images" ;; *) test ! -e "$S/machines" ;; esac
        umount "$where"
        a uninstall --yes
        test "$(cat prec/deep/f)" = precious
    "#;
    // Below the folders that a removal keeps open.
    let deep = format!("machines/hg-0000000001/{}data", "d/".repeat(80));
    for within in [
        "runs/x",
        "runs",
        deep.as_str(),
        "machines/hg-0000000001/data",
        "machines/hg-0000000001",
        "images/layers/0123456789abcdef/fs/x",
        "images",
        "images/layers",
    ] {
        let Some(done) = mounts::script(&place, &format!("set -- {within}\n{script}")) else { return };
        done.expect(0);
        let codes = std::fs::read_to_string(place.path().join("codes")).unwrap();
        assert_eq!(codes.contains("audit --fix: 5"), within.starts_with("machines/"), "{within}: {codes}");
        assert_eq!(codes.contains("image gc: 5"), within.ends_with("fs/x"), "{within}: {codes}");
        std::fs::remove_file(place.path().join("codes")).unwrap();
        drop(std::fs::remove_dir_all(&place.state));
        std::fs::remove_file(place.path().join("said")).unwrap();
    }
}

#[test]
fn a_state_directory_by_a_link_goes_with_the_link_and_a_mount_point_stays() {
    let place = Place::new();
    let real = place.path().join("elsewhere");
    support::tool::private(&real);
    std::os::unix::fs::symlink(&real, &place.state).unwrap();
    place.run(&["runs", "list"]).expect(0);
    place.run(&["uninstall", "--yes"]).expect(0).tells(&["was a link to", "both are gone"]);
    assert!(!real.exists() && !place.state.is_symlink());
    place.run(&["config", "set", "grace", "60"]).expect(0);
    place.run(&["uninstall", "--yes"]).expect(0);
    let script = r#"
        mkdir -m 700 "$S"; mount -t tmpfs -o mode=0700 none "$S"
        a runs list
        a uninstall --yes 2>said; cat said
        grep -F "stays: it is a mount point" said
        test -z "$(ls -A "$S")"
    "#;
    mounts::script(&place, script).map(|done| done.expect(0));
}
