//! Ctrl-C and SIGTERM in each phase: the run ends with 130 and nothing is left.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::tool::{Place, Running};
use crate::support::{leftovers, mercurial};

/// Releasing on an idle computer takes a second; the rest is room for a busy one.
const LIMIT: Duration = Duration::from_secs(60);

const SLEEPER: &str = "echo the step has begun\nsleep 1000\n";

/// Waits until the first process of a machine is there.
fn wait_for_machine(place: &Place, running: &Running) {
    let end = std::time::Instant::now() + LIMIT;
    while leftovers::processes(&place.state).is_empty() {
        assert!(running.lives() && std::time::Instant::now() < end, "no machine: {}", running.said());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends the signal and expects an orderly end.
#[track_caller]
fn ends_well(place: &Place, running: Running, signal: Signal) {
    running.signal(signal);
    let done = running.end_within(LIMIT).expect(130).tells(&["Interrupted", "Nothing is left behind"]);
    assert!(!done.stderr.contains("Left behind"), "{}", done.stderr);
    let run = place.latest();
    place.assert_certified(&run);
    let shown = place.json(&["runs", "show", &run, "--json"]);
    assert_eq!((&shown["exit_code"], &shown["state"]), (&130.into(), &"ended".into()), "{shown}");
    place.assert_clean();
}

#[test]
fn while_the_base_is_made() {
    let place = Place::new();
    let running = place.start(&["image", "build"]);
    running.wait_for("Bootstrapping");
    wait_for_machine(&place, &running);
    ends_well(&place, running, Signal::INT);
}

#[test]
fn while_a_bake_step_runs() {
    let place = Place::with_steps(&[("sleeper", SLEEPER)]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let running = place.start(&["image", "build"]);
        place.wait_for_step("the step has begun", &running);
        ends_well(&place, running, signal);
    }
}

#[test]
fn while_a_machine_boots() {
    let place = Place::small();
    for pause in [0, 5, 20, 60] {
        let running = place.start(&["machine", "up"]);
        running.wait_for("Booting");
        std::thread::sleep(Duration::from_millis(pause));
        // It may have been quicker than the signal: then it ended well, and its machine is wanted.
        running.signal(Signal::INT);
        let done = running.end_within(LIMIT);
        match done.code() {
            0 => drop(place.run(&["machine", "down", done.text().trim()]).expect(0)),
            // The signal may also have come before the first thing was made, and then that is what is said.
            _ => drop(done.expect(130).tells(&["Interrupted", "othing is left behind"])),
        }
        place.assert_certified(&place.latest_of("machine up"));
        place.assert_clean();
    }
}

#[test]
fn while_the_machine_is_prepared() {
    let place = Place::whole();
    let running = place.start(&["run-tests-linux", "test-add.t"]);
    running.wait_for("Preparing /hgwork");
    ends_well(&place, running, Signal::INT);
}

#[test]
fn while_the_source_travels() {
    let place = Place::whole();
    let checkout = mercurial::small(place.path(), &[("test-ok.t", "  $ true\n")]);
    let source = ["run-tests-linux", "--source", checkout.to_str().unwrap(), "test-ok.t"];
    let running = place.start(&source);
    running.wait_for("Pushing");
    ends_well(&place, running, Signal::INT);
}

#[test]
fn while_tests_run() {
    let place = Place::whole();
    let checkout = mercurial::small(place.path(), &[("test-hangs.t", "  $ sleep 1000\n")]);
    let source = ["run-tests-linux", "--source", checkout.to_str().unwrap(), "test-hangs.t"];
    for signal in [Signal::INT, Signal::TERM] {
        let running = place.start(&[&source[..], &mercurial::READY_HG].concat());
        running.wait_for("running 1 tests");
        ends_well(&place, running, signal);
    }
}

#[test]
fn the_second_ctrl_c_leaves_at_once_and_names_the_command_that_cleans_up() {
    let place = Place::with_steps(&[("sleeper", SLEEPER)]);
    let running = place.start(&["image", "build", "--grace", "1h"]);
    place.wait_for_step("the step has begun", &running);
    running.signal(Signal::INT);
    running.wait_for("Interrupted");
    running.signal(Signal::INT);
    let done = running.end_within(LIMIT).expect(130);
    let run = place.latest();
    // The release may have been quicker than the second signal.
    if done.stderr.contains("Left at once") {
        // The command must find the same state directory when it is pasted into another shell.
        let command = format!("automation --state-path {} audit --fix --run {run}", place.state.display());
        assert!(done.stderr.contains(&command), "{}", done.stderr);
    }
    place.run(&["audit", "--fix", "--run", &run]).expect(0);
    place.assert_certified(&run);
    place.assert_clean();
}
