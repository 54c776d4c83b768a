//! Ctrl-C and SIGTERM in each phase: the run ends with 130 and nothing is left.

use std::time::Duration;

use rustix::process::Signal;
use support::tool::{Place, Running, clear};
use support::{leftovers, mercurial};

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
fn a_signal_that_comes_twice_at_once_is_one() {
    let place = Place::with_steps(&[("sleeper", SLEEPER)]);
    let running = place.start(&["image", "build"]);
    place.wait_for_step("the step has begun", &running);
    // As GNU `timeout` does, which tells the process and its group.
    running.signal(Signal::TERM);
    running.wait_for("Interrupted");
    running.signal(Signal::TERM);
    ends_well(&place, running, Signal::TERM);
}

#[test]
fn a_signal_that_was_ignored_when_it_began_stays_ignored() {
    let place = Place::with_steps(&[("sleeper", SLEEPER)]);
    let inner = place.command(&["image", "build"]);
    let mut command = std::process::Command::new("sh");
    clear(&mut command, &place.home);
    // As `nohup` does with the first.
    command.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    let running = Running::start(command);
    place.wait_for_step("the step has begun", &running);
    running.signal(Signal::HUP);
    running.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(500));
    assert!(running.lives() && !running.said().contains("Interrupted"), "{}", running.said());
    ends_well(&place, running, Signal::TERM);
}

#[test]
fn the_second_ctrl_c_of_a_person_leaves_at_once() {
    let place = Place::with_steps(&[("sleeper", SLEEPER)]);
    // A person needs a fifth of a second for it; what is typed together is held for one.
    let keys = [("Trying sleeper", "\u{3}"), ("Once more leaves at once", ""), ("", "\u{3}")];
    let running = super::attach::typing_slowly(&place, &["image", "build", "--grace", "1h"], &keys, 0.2);
    let done = running.end_within(LIMIT).expect(130);
    let run = place.latest();
    if !done.text().contains("Left at once") {
        assert!(done.text().contains("Nothing is left behind"), "{}", done.text());
    }
    place.run(&["audit", "--fix", "--run", &run]).expect(0);
    place.assert_clean();
}

#[test]
fn the_second_ctrl_c_leaves_at_once_and_names_the_command_that_cleans_up() {
    let place = Place::with_steps(&[("sleeper", SLEEPER)]);
    let running = place.start(&["image", "build", "--grace", "1h"]);
    place.wait_for_step("the step has begun", &running);
    running.signal(Signal::INT);
    running.wait_for("Interrupted");
    // Without a terminal nobody can have typed it twice within a second.
    std::thread::sleep(Duration::from_millis(1100));
    if running.lives() {
        running.signal(Signal::INT);
    }
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
