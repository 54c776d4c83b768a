//! Drivers of split tests that are killed again and again: whatever they had come to, another goes on, and nothing is lost or left.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::mercurial::{self, READY_HG};
use support::tool::{Place, Running};

/// After how many events each driver is killed.
const EVENTS: usize = 10;

/// How many drivers may be killed before the last one is let be: each starts with some events of its own, but gets further.
const MOST_KILLED: usize = 60;

struct Chaos {
    place: Place,
    checkout: PathBuf,
    names: Vec<String>,
}

impl Chaos {
    fn over(count: usize) -> Self {
        let place = Place::whole();
        let names: Vec<String> = (0..count).map(|number| format!("test-slow-{number}.t")).collect();
        let tests: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "  $ sleep 1\n")).collect();
        let checkout = mercurial::small(place.path(), &tests);
        Self { place, checkout, names }
    }

    fn start(&self) -> Running {
        let source = ["run-tests-linux", "--source", self.checkout.to_str().unwrap(), "--shards", "2"];
        self.place.start(&[&source[..], &READY_HG].concat())
    }

    /// What the latest run has in one of its files so far.
    fn lines(&self, file: &str) -> Vec<String> {
        let runs = std::fs::read_dir(self.place.state.join("runs")).into_iter().flatten().flatten();
        let Some(latest) = runs.map(|entry| entry.path()).max() else { return Vec::new() };
        std::fs::read_to_string(latest.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Whether the run has anything that was not seen gone.
    fn has_things_left(&self, run: &str) -> bool {
        let shown = self.place.run(&["audit", "--run", run, "--json"]).json();
        !shown["remaining"].as_array().unwrap().is_empty()
    }

    /// Whether the tests were fixed, so that another driver can go on.
    fn has_begun(&self) -> bool {
        self.lines("queue.jsonl").iter().any(|line| line.contains("\"what\":\"took\""))
    }

    /// Kills a driver once the run has so many events; false where it came to its end before.
    fn kill_after(&self, events: usize, running: Running) -> bool {
        let end = Instant::now() + Duration::from_secs(120);
        while self.lines("events.jsonl").len() < events {
            if !running.lives() {
                return false;
            }
            assert!(Instant::now() < end, "{}", running.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        running.signal(Signal::KILL);
        drop(running.end());
        true
    }
}

#[test]
fn a_driver_that_is_killed_after_every_tenth_event_loses_no_test() {
    let chaos = Chaos::over(8);
    let mut early = EVENTS;
    // Before the tests are fixed there is nothing to go on with: what was made is removed, and it is begun anew.
    while chaos.kill_after(early, chaos.start()) && !chaos.has_begun() {
        let run = chaos.place.latest();
        let attached = chaos.place.run(&["runs", "attach", &run]);
        match chaos.has_things_left(&run) {
            true => attached.expect(3).tells(&["ended before they began", "audit --fix"]),
            // Whoever was killed before anything was made left nothing to clean up: the next command records the end.
            false => attached.expect(4).tells(&["has ended: its driver died"]),
        };
        chaos.place.run(&["audit", "--fix", "--run", &run]).expect(0);
        chaos.place.assert_clean();
        early += EVENTS;
    }
    let run = chaos.place.latest();
    let mut killed = 1;
    while chaos.lines("results.json").is_empty() && killed < MOST_KILLED {
        let seen = chaos.lines("events.jsonl").len();
        let next = chaos.place.start(&["runs", "attach", &run]);
        if !chaos.kill_after(seen + EVENTS, next) {
            break;
        }
        killed += 1;
    }
    let results = chaos.place.run(&["runs", "attach", &run, "--json"]).expect(0).json();
    let of = |test: &serde_json::Value| (test["name"].clone(), test["outcome"].clone());
    let found: Vec<_> = results["tests"].as_array().unwrap().iter().map(of).collect();
    let expected: Vec<_> = chaos.names.iter().map(|name| (name.as_str().into(), "passed".into())).collect();
    assert_eq!(found, expected, "{killed} drivers were killed");
    assert!(killed >= 3, "only {killed} drivers were killed");
    chaos.place.assert_certified(&run);
    chaos.place.assert_clean();
}
