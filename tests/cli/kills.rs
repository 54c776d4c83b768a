//! `kill -9` in each phase: what is left is listed exactly, ends by itself, and can be removed at once.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::tool::{Place, Running, is_root, skip};
use support::{leftovers, mercurial};

/// The grace, and room for a busy computer to remove files.
const SOON: Duration = Duration::from_secs(30);

const SLEEPER: &str = "echo the step has begun\nsleep 1000\n";

/// Kills the driver, which never gets to do anything about it.
fn kill(running: Running) {
    running.signal(Signal::KILL);
    running.end_within(SOON).expect(128 + 9);
}

/// `audit` lists exactly what is left; `--fix` removes all of it at once; the run is certified.
fn fixed_at_once(place: &Place) {
    let run = place.latest();
    let found = place.run(&["audit", "--json"]).expect(5).json();
    let found = found.as_array().unwrap();
    assert!(!found.is_empty());
    for finding in found {
        assert_eq!(finding["run"], run.as_str(), "{finding}");
        assert_eq!(finding["standing"], "orphaned", "{finding}");
    }
    let certificate = place.run(&["audit", "--run", &run, "--json"]).expect(5).json();
    assert_eq!(certificate["clean"], false);
    assert_eq!(certificate["remaining"].as_array().unwrap().len(), found.len());
    let dry = place.run(&["audit", "--fix", "--dry-run"]).expect(5);
    assert!(dry.text().contains("would be removed"), "{}", dry.text());
    assert!(!leftovers::of(&place.state).is_empty(), "a dry run removes nothing");
    place.run(&["audit", "--fix"]).expect(0);
    place.assert_certified(&run);
    place.assert_clean();
    let shown = place.json(&["runs", "show", &run, "--json"]);
    assert_eq!((&shown["state"], &shown["exit_code"]), (&"ended".into(), &4.into()), "{shown}");
}

/// Nothing is left when the grace is over, though nobody did anything; then the record is set right.
fn ends_by_itself(place: &Place) {
    let run = place.latest();
    leftovers::gone_within(&place.state, SOON);
    // The journal did not see it go: the next command looks and closes what is not there any more.
    assert_eq!(place.json(&["machine", "list", "--json"]), serde_json::json!([]));
    place.assert_certified(&run);
    place.assert_clean();
}

/// The processes of `apt-get` that bring in a tool below the state directory.
fn bringing_in(place: &Place) -> Vec<i32> {
    let state = format!("Dir::State={}", place.state.display());
    let is_at_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("apt-get") && line.contains(&state)
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_at_it).collect()
}

#[test]
fn while_a_tool_is_brought_in() {
    if std::path::Path::new("/usr/bin/mmdebstrap").exists() {
        return skip("`mmdebstrap` is installed, so that nothing is brought in");
    }
    let place = Place::new();
    let running = place.start(&["image", "build"]);
    while bringing_in(&place).is_empty() {
        assert!(running.lives(), "{}", running.said());
        std::thread::sleep(Duration::from_millis(2));
    }
    kill(running);
    let end = Instant::now() + Duration::from_secs(5);
    while !bringing_in(&place).is_empty() {
        assert!(Instant::now() < end, "it lives on without its driver");
        std::thread::sleep(Duration::from_millis(10));
    }
    place.run(&["audit", "--fix"]).expect(0);
    place.assert_certified(&place.latest());
    place.assert_clean();
}

#[test]
fn while_the_base_is_made() {
    for (grace, check) in [("1h", fixed_at_once as fn(&Place)), ("3s", ends_by_itself)] {
        let place = Place::new();
        let running = place.start(&["image", "build", "--grace", grace]);
        place.wait_for_step("packages come from", &running);
        // Keeper, guard and first process.
        while leftovers::processes(&place.state).len() < 3 {
            assert!(running.lives(), "{}", running.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        kill(running);
        check(&place);
    }
}

#[test]
fn while_a_bake_step_runs() {
    let place = Place::with_steps(&[("sleeper", SLEEPER)]);
    for (grace, check) in [("1h", fixed_at_once as fn(&Place)), ("3s", ends_by_itself)] {
        let running = place.start(&["image", "build", "--grace", grace]);
        place.wait_for_step("the step has begun", &running);
        kill(running);
        check(&place);
    }
}

#[test]
fn while_a_machine_boots() {
    let place = Place::small();
    for pause in [0, 3, 10, 25, 50, 100] {
        let running = place.start(&["machine", "up", "--grace", "3s", "--ttl", "3s"]);
        running.wait_for("Booting");
        std::thread::sleep(Duration::from_millis(pause));
        running.signal(Signal::KILL);
        let code = running.end_within(SOON).code();
        assert!([0, 137].contains(&code), "{code}");
        let run = place.latest();
        leftovers::ended_within(&place.state, SOON);
        let found = place.run(&["audit", "--json"]);
        assert_eq!(found.code(), if leftovers::of(&place.state).is_empty() { 0 } else { 5 }, "{found:?}");
        place.run(&["audit", "--fix"]).expect(0);
        place.assert_certified(&run);
        place.assert_clean();
    }
    let id = place.up(&[]);
    place.exec(&id, &["true"]).expect(0);
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn while_the_machine_is_released() {
    let place = Place::small();
    for pause in [0, 5, 10, 20, 40, 80] {
        let id = place.up(&["--grace", "3s"]);
        place.exec(&id, &["sh", "-c", "for i in $(seq 3000); do echo $i >~/f$i; done"]).expect(0);
        let running = place.start(&["machine", "down", &id]);
        std::thread::sleep(Duration::from_millis(pause));
        running.signal(Signal::KILL);
        running.end_within(SOON);
        // It may not have begun yet, and then the machine is wanted still.
        let guarded = leftovers::processes(&place.state).iter().filter(|(pid, _)| !is_keeper(*pid)).count();
        if guarded > 0 {
            place.run(&["machine", "down", &id]).expect(0);
        }
        leftovers::gone_within(&place.state, SOON);
        place.run(&["audit", "--json"]).expect(0);
        place.assert_certified(&place.latest_of("machine up"));
    }
    place.assert_clean();
}

fn is_keeper(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "machine-keeper")
}

#[test]
fn what_nobody_is_left_to_remove_goes_with_the_next_command() {
    let place = Place::small();
    let caps: &[&str] = if is_root() { &["--memory", "1G"] } else { &[] };
    let id = place.up(&[&["--ttl", "4s"], caps].concat());
    let all = || leftovers::processes(&place.state);
    while let Some((pid, _)) = all().first() {
        // As `kill -9 -1` does: driver, guard, keeper.
        let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
    }
    let left = leftovers::of(&place.state);
    assert!(left.iter().any(|left| left.contains("files")), "{left:?}");
    let end = Instant::now() + SOON;
    let told = loop {
        let done = place.run(&["image", "list"]).expect(0);
        if done.stderr.contains("Cleared away") {
            break done;
        }
        assert!(Instant::now() < end, "{:?}", leftovers::of(&place.state));
        std::thread::sleep(Duration::from_millis(300));
    };
    told.tells(&[&id]);
    assert_eq!(leftovers::of(&place.state), [""; 0]);
    let rows = place.json(&["audit", "--run", &place.latest_of("machine up"), "--json"]);
    assert_eq!((&rows["clean"], &rows["made"]), (&true.into(), &rows["gone"]), "the look of `audit` was not needed");
    place.assert_clean();
}

#[test]
fn what_a_kept_machine_leaves_whose_guard_was_killed_is_not_there_on_purpose() {
    let place = Place::small();
    let caps: &[&str] = if is_root() { &["--memory", "1G"] } else { &[] };
    for with_keeper in [false, true] {
        let id = place.up(&[&["--grace", "1h"], caps].concat());
        let meant = || {
            let all = leftovers::processes(&place.state).into_iter().map(|(pid, _)| pid);
            all.filter(|pid| with_keeper || !is_keeper(*pid)).collect::<Vec<_>>()
        };
        // Each at once: a guard without a keeper goes on as one.
        while let Some(pid) = meant().first() {
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
        let found = place.run(&["audit", "--json"]).expect(5).json();
        let standing = |kind: &str| {
            let found = found.as_array().unwrap().iter().find(|finding| finding["kind"] == kind);
            found.unwrap_or_else(|| panic!("no {kind}"))["standing"].clone()
        };
        assert_eq!((standing("rootfs"), standing("process")), ("orphaned".into(), "vanished".into()), "{found}");
        let shown = place.run(&["audit"]).expect(5);
        assert!(shown.text().contains("orphaned") && !shown.stderr.contains("on purpose"), "{shown:?}");
        place.run(&["audit", "--forget", &id]).expect(2);
        place.run(&["audit", "--fix"]).expect(0).tells(&["Nothing remains"]);
        place.assert_certified(&place.latest_of("machine up"));
        place.assert_clean();
    }
}

#[test]
fn at_any_moment_of_a_bake() {
    let place = Place::with_steps(&[("one", "echo one >/root/one\n"), ("two", "echo two >/root/two\n")]);
    place.own_images();
    for pause in [20, 60, 100, 150, 200, 250, 300, 400, 500, 700] {
        let running = place.start(&["image", "build", "--grace", "1h"]);
        // A bake that was killed at the very end has made every layer; the next has no step to be killed at.
        if !running.says(" ...") {
            assert_eq!(running.end_within(SOON).code(), 0);
            break;
        }
        std::thread::sleep(Duration::from_millis(pause));
        running.signal(Signal::KILL);
        drop(running.end_within(SOON));
        let found = place.run(&["audit", "--fix"]).expect(0);
        assert!(!found.stderr.contains("panicked"), "{found:?}");
        place.assert_certified(&place.latest());
        place.assert_clean();
    }
    // Whatever was cut off, the next bake goes on from there, and what it makes is whole.
    place.run(&["image", "build"]).expect(0);
    let id = place.up(&[]);
    assert_eq!(place.exec(&id, &["sudo", "cat", "/root/one", "/root/two"]).expect(0).text(), "one\ntwo\n");
    place.run(&["machine", "down", &id]).expect(0);
    let passage = std::fs::read_dir(place.state.join("images/tmp")).into_iter().flatten().count();
    assert_eq!(passage, 0, "half a layer stays in images/tmp");
    place.assert_clean();
}

#[test]
fn while_the_machine_is_prepared_and_while_tests_run() {
    let place = Place::whole();
    let checkout = mercurial::small(place.path(), &[("test-hangs.t", "  $ sleep 1000\n"), ("test-ok.t", "  $ true\n")]);
    let command = |test, grace| {
        let source = ["run-tests-linux", "--grace", grace, "--source", checkout.to_str().unwrap(), test];
        [&source[..], &mercurial::READY_HG].concat()
    };
    for (marker, grace, check) in [
        ("Preparing /hgwork", "1h", fixed_at_once as fn(&Place)),
        ("Pushing", "3s", ends_by_itself),
        ("running 1 tests", "3s", ends_by_itself),
    ] {
        let running = place.start(&command("test-hangs.t", grace));
        running.wait_for(marker);
        kill(running);
        check(&place);
    }
    let running = place.start(&command("test-hangs.t", "1h"));
    running.wait_for("running 1 tests");
    kill(running);
    // The next run is not disturbed by what lies there still.
    place.run(&command("test-ok.t", "60s")).expect(0);
    let runs = place.json(&["runs", "list", "--json"]);
    let (next, killed) = (runs[0]["id"].as_str().unwrap(), runs[1]["id"].as_str().unwrap());
    place.assert_certified(next);
    assert_eq!((&runs[1]["state"], &runs[1]["alive"]), (&"running".into(), &false.into()));
    place.run(&["audit", "--fix"]).expect(0);
    place.assert_certified(killed);
    place.assert_clean();
}
