//! Deaths on the side of Windows: what ran there is lost, the run is never green, and nothing of it stays.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::leftovers;
use support::tool::{Done, Running};

use super::{READY, Standins, outcome, small};

/// From a death until the driver has judged.
const SOON: Duration = Duration::from_secs(60);

const TESTS: [(&str, &str); 2] = [("test-fine.py", ""), ("test-hangs.py", "import time\ntime.sleep(1000)\n")];

/// A run whose second test runs now, and would for long.
fn hanging(place: &Standins) -> Running {
    let checkout = small(place, &TESTS);
    let words = ["run-tests-windows", "--json", "--python-version", "3.11", "--source", checkout.to_str().unwrap()];
    let running = place.start(&[&words[..], &["test-hangs.py"], &READY].concat());
    let end = Instant::now() + support::tool::LIMIT;
    while of(place, &["test-hangs.py"]).is_empty() || !running.said().contains("unning 1 tests") {
        assert!(running.lives(), "{}", running.said());
        assert!(Instant::now() < end, "the test does not begin: {}", running.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

/// The processes of machines whose command lines have one of `words`.
fn of(place: &Standins, words: &[&str]) -> Vec<i32> {
    let inside = leftovers::inside(&place.state).into_iter();
    inside.filter(|(_, line)| words.iter().any(|word| line.contains(word))).map(|(pid, _)| pid).collect()
}

fn kill(pids: &[i32]) {
    assert!(!pids.is_empty(), "there is nothing to kill");
    for pid in pids {
        // One of them may end with another.
        let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
    }
}

/// The run has ended with its test lost, and says so.
fn assert_lost(place: &Standins, done: Done) -> Value {
    let results = done.expect(4).tells(&["1 lost", "Nothing is left behind"]).json();
    assert_eq!(outcome(&results, "test-hangs.py"), "lost", "{results}");
    assert_eq!(results["verdict"], "incomplete", "{results}");
    assert_eq!(leftovers::inside(&place.state), []);
    place.assert_certified(&place.latest());
    results
}

#[test]
fn tests_whose_processes_are_killed_are_lost() {
    let Some(place) = Standins::new() else { return };
    let runner = ["run_tests.py", "run-tests.py", "test-hangs.py"];
    let supervised = [&runner[..], &["supervise.py supervise"]].concat();
    for victims in [&runner[..], &supervised[..]] {
        let running = hanging(&place);
        kill(&of(&place, victims));
        assert_lost(&place, running.end_within(SOON));
    }
}

#[test]
fn tests_whose_machine_is_killed_are_lost() {
    let Some(place) = Standins::new() else { return };
    let running = hanging(&place);
    kill(&leftovers::first_processes(&place.state));
    let results = assert_lost(&place, running.end_within(SOON));
    assert!(results["tests"][0]["reason"].as_str().unwrap().contains("ended"), "{results}");
}
