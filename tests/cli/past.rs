//! What the kept runs together say, and what becomes of old ones: `tests flaky|slow|show`, `runs list|gc`.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::journal::{ResourceFilter, ResourceJournal, RunJournal};
use model::machine::ProviderKind;
use model::resource::{PlannedResource, ResourceKind};
use model::run::{Driver, RunRecord, RunState};
use serde_json::{Value, json};
use state::dir::StateDir;
use support::tool::Place;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A place with runs of the past.
struct Past {
    place: Place,
    state: StateDir,
}

impl Past {
    fn new() -> Self {
        let place = Place::new();
        let state = StateDir::open(&place.state).unwrap();
        Self { place, state }
    }

    /// Writes a run down that began so many days ago and ended a minute later; gives its id.
    fn run(&self, days: u32, command: &str) -> RunId {
        let started_at = Timestamp::now() - DAY * days;
        let id = RunId::new(started_at);
        self.state.create_run(&id).unwrap();
        let record = RunRecord {
            id: id.clone(),
            command: command.into(),
            arguments: vec![command.into()],
            owner: "me@here".into(),
            driver: Driver { pid: 1, started: 1, boot: "another".into() },
            state: RunState::Ended,
            started_at,
            ended_at: Some(started_at + Duration::from_secs(754)),
            exit_code: Some(0),
            summary: Some("ready".into()),
        };
        self.state.journal().unwrap().store_run(&record).unwrap();
        id
    }

    /// The same with results: each test with its outcome, its seconds, and the outcomes of its other tries.
    fn tested(&self, days: u32, revision: &str, tests: &[(&str, &str, f64, &[&str])]) -> RunId {
        let id = self.run(days, "run-tests-linux");
        let test = |(name, outcome, seconds, others): &(&str, &str, f64, &[&str])| {
            let other = |outcome: &&str| json!({"machine": "hg-1", "attempt": 1, "outcome": outcome, "seconds": 1.0, "reason": "first try"});
            let others: Vec<Value> = others.iter().map(other).collect();
            json!({"name": name, "outcome": outcome, "seconds": seconds, "reason": null, "detail": null,
                   "machine": "hg-1", "attempt": 1 + others.len(), "others": others})
        };
        let tests: Vec<Value> = tests.iter().map(test).collect();
        let counts = json!({"total": tests.len(), "passed": tests.len(), "failed": 0, "skipped": 0, "lost": 0});
        let results = json!({
            "id": id, "verdict": "passed", "counts": counts, "time": {"total": 754.0, "image": 0.0, "setup": 1.0, "tests": 9.0},
            "image": "linux-dev-debian12", "source": "a source", "program": "hg", "version": "7.2", "revision": revision,
            "working_copy": false, "distro": "debian12", "python": "3.11.2", "filesystem": "default", "flags": [],
            "cost": null, "runner": {"kind": "code", "value": 0}, "tests": tests,
        });
        self.write(&id, &results.to_string());
        id
    }

    fn write(&self, id: &RunId, results: &str) {
        std::fs::write(self.folder(id).join("results.json"), results).unwrap();
    }

    fn folder(&self, id: &RunId) -> std::path::PathBuf {
        self.state.runs().join(id.as_str())
    }

    fn ids(&self) -> Vec<String> {
        let runs = self.place.json(&["runs", "list", "--json"]);
        runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
    }

    /// What `runs gc` says of each run.
    fn gc(&self, words: &[&str]) -> Vec<(String, String)> {
        let said = self.place.json(&[&["runs", "gc", "--json"], words].concat());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        said.as_array().unwrap().iter().map(|run| (text(&run["id"]), text(&run["fate"]))).collect()
    }
}

#[test]
fn runs_together_say_which_tests_are_flaky_slow_and_what_became_of_one() {
    let past = Past::new();
    let place = &past.place;
    for verb in ["flaky", "slow"] {
        place.run(&["tests", verb]).expect(0).tells(&["in 0 runs since "]);
        assert_eq!(place.json(&["tests", verb, "--json"]), json!([]));
    }
    place.run(&["tests", "show", "test-a.t"]).expect(2).tells(&["no run had a test `test-a.t`"]);
    let hostile = "test-\u{1b}[2J\u{202e}\n.t";
    let first = past.tested(3, "aaaa", &[("test-a.t", "passed", 2.0, &["failed"]), ("test-b.t", "failed", 9.0, &[])]);
    let second = past.tested(2, "aaaa", &[("test-a.t", "passed", 4.0, &[]), ("test-b.t", "passed", 8.0, &[])]);
    past.tested(1, "bbbb", &[("test-b.t", "passed", 7.0, &[]), (hostile, "passed", 100.0, &["timed_out"])]);
    past.tested(40, "aaaa", &[("test-a.t", "failed", 1000.0, &[]), ("test-old.t", "failed", 1.0, &[])]);
    past.write(&past.run(1, "run-tests-linux"), "{\"id\": \"half");
    let newer = past.tested(1, "cccc", &[("test-b.t", "dreamt", 1.0, &[])]);
    past.run(1, "machine up");

    let done = place
        .run(&["tests", "flaky", "--json"])
        .expect(0)
        .tells(&["Passed over: 2 runs with results that cannot be read"]);
    let shown: Vec<String> = done
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|test| {
            let field = |name: &str| test[name].to_string();
            let names = ["id", "failed", "tries", "flaky_runs", "changed_sources", "last_run", "runs"];
            names.map(field).join(" ").replace('"', "")
        })
        .collect();
    let plain = "test-\\u001b[2J\u{202e}\\n.t";
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown.contains(&format!("test-a.t 1 3 1 0 {first} 2")), "{shown:?}");
    assert!(shown.contains(&format!("test-b.t 1 2 0 1 {first} 3")), "{shown:?}");
    assert!(shown.iter().any(|line| line.starts_with(&format!("{plain} 1 2 1 0"))), "{shown:?}");
    let text = place.run(&["tests", "flaky"]).expect(0).text();
    assert!(text.contains("test-a.t") && text.contains("33 %, 1 of 3") && text.contains("within 1 run "), "{text}");
    assert!(text.contains("between runs of 1 source") && text.contains("3d ago"), "{text}");
    assert!(text.contains(r"test-\u{1b}[2J\u{202e}\n.t") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(
        place.json(&["tests", "flaky", "--json", "--since", "90d", "--limit", "1"]).as_array().unwrap().len(),
        1
    );

    the_slow_ones(place, hostile);
    let a = place.json(&["tests", "show", "test-a.t", "--json"]);
    let runs: Vec<&str> = a.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(runs, [second.as_str(), first.as_str()], "newest first");
    assert_eq!(
        (&a[1]["flaky"], &a[1]["others"][0]["outcome"], &a[1]["machine"]),
        (&true.into(), &"failed".into(), &"hg-1".into())
    );
    let text = place.run(&["tests", "show", "test-a.t"]).expect(0).text();
    assert!(text.contains("passed, flaky") && text.contains("hg 7.2 aaaa") && text.contains("first try"), "{text}");
    place.run(&["tests", "show", "test-c.t"]).expect(2).tells(&["Did you mean `test-", "Passed over: 2 runs"]);
    place.run(&["tests", "show", "test-old.t"]).expect(2);
    place.run(&["tests", "show", "test-old.t", "--since", "60d"]).expect(0);
    assert!(past.folder(&newer).exists());
}

/// The tests of the runs above by their durations.
fn the_slow_ones(place: &Place, slowest: &str) {
    let slow = place.json(&["tests", "slow", "--json"]);
    let of = |name: &str| slow.as_array().unwrap().iter().find(|test| test["id"] == name).unwrap().clone();
    assert_eq!(slow[0]["id"], slowest);
    let b = of("test-b.t");
    let spans = ["shortest_seconds", "median_seconds", "longest_seconds"].map(|field| b[field].as_f64().unwrap());
    assert_eq!(
        (spans, &b["runs"], &b["distro"], &b["filesystem"]),
        ([7.0, 8.0, 9.0], &3.into(), &"debian12".into(), &"default".into())
    );
    assert!((b["share"].as_f64().unwrap() - 24.0 / 130.0).abs() < 1e-9, "{b}");
    let text = place.run(&["tests", "slow", "--limit", "2"]).expect(0).tells(&["… and 1 more"]).text();
    assert!(text.contains("1m 40s") && text.contains("7.0s to 9.0s") && !text.contains("test-a.t"), "{text}");
}

#[test]
fn the_list_of_runs_says_what_was_tested_and_what_came_of_it() {
    let past = Past::new();
    let tested =
        past.tested(3, "0123456789abcdef", &[("test-a.t", "passed", 2.0, &[]), ("test-b.t", "passed", 2.0, &[])]);
    let other = past.run(1, "image build");
    let damaged = past.run(0, "run-tests-linux");
    past.write(&damaged, "{");
    let journal = past.state.journal().unwrap();
    let failed = journal.run(&past.run(2, "image build")).unwrap().unwrap();
    journal.update_run(&RunRecord { summary: Some("a long reason ".repeat(100)), ..failed }).unwrap();
    let text = past.place.run(&["runs", "list"]).expect(0).text();
    let line = |id: &RunId| {
        text.lines()
            .find(|line| line.starts_with(id.as_str()))
            .unwrap()
            .split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line(&tested), "3d ago passed 2 passed hg 7.2 0123456789ab debian12 12m 34s");
    assert_eq!(line(&other), "1d ago exit 0 image build: ready 12m 34s");
    assert!(line(&damaged).ends_with("exit 0 run-tests-linux: ready 12m 34s"), "{text}");
    assert!(text.lines().all(|line| line.len() < 200), "a long reason does not move the other columns: {text}");
    let runs = past.place.json(&["runs", "list", "--json"]);
    let run = runs.as_array().unwrap().iter().find(|run| run["id"] == tested.as_str()).unwrap();
    assert_eq!(
        (&run["seconds"], &run["tested"]["verdict"], &run["tested"]["counts"]["passed"]),
        (&754.0.into(), &"passed".into(), &2.into())
    );
    assert_eq!((&run["tested"]["distro"], run["tested"].get("tests")), (&"debian12".into(), None));
    assert_eq!(runs[0]["tested"], Value::Null);
}

#[test]
fn where_nothing_was_ever_done_nothing_is_collected_or_made() {
    let place = Place::new();
    place.run(&["runs", "gc"]).expect(0).tells(&["Nothing to collect."]);
    assert_eq!(place.json(&["runs", "gc", "--json"]), serde_json::json!([]));
    assert!(!place.state.exists());
}

#[test]
fn old_runs_go_and_what_is_needed_stays() {
    let past = Past::new();
    let journal = past.state.journal().unwrap();
    let (oldest, old) = (past.run(100, "machine up"), past.run(95, "image build"));
    let (left, driven) = (past.run(94, "machine up"), past.run(93, "run-tests-linux"));
    let latest = past.tested(92, "aaaa", &[("test-a.t", "passed", 1.0, &[])]);
    let young = past.run(2, "machine up");
    let resource = |run: &RunId| {
        // Rows of machines here that are not there any more are closed by every command.
        let planned = PlannedResource { machine: MachineId::random(), kind: ResourceKind::Volume, name: "x".into() };
        journal.plan(run, ProviderKind::Ec2, &[planned], Timestamp::now()).unwrap().remove(0)
    };
    resource(&left);
    journal.mark_gone(&resource(&old), Timestamp::now()).unwrap();
    let mut record = journal.run(&driven).unwrap().unwrap();
    (record.state, record.driver) = (RunState::Running, state::process::current().unwrap());
    journal.update_run(&record).unwrap();

    past.place.run(&["runs", "gc", "--older-than", "90d"]).expect(2).tells(&["there is no terminal", "--yes"]);
    past.place.run(&["runs", "gc"]).expect(0).tells(&["Nothing to collect."]);
    let planned = past.gc(&["--older-than", "90d", "--dry-run"]);
    let expected: Vec<(String, String)> = [
        (&latest, "stays: it is the latest with tests"),
        (&driven, "stays: it goes on"),
        (&left, "stays: 1 resource of it may be left"),
        (&old, "would be removed"),
        (&oldest, "would be removed"),
    ]
    .map(|(id, fate)| (id.to_string(), fate.to_owned()))
    .to_vec();
    assert_eq!(planned, expected);
    assert_eq!((past.ids().len(), past.gc(&["--dry-run"])), (6, vec![]), "fifty stay where nothing is said");
    // Somebody follows one of them meanwhile.
    let following = past.state.run(&oldest).unwrap().lock_driver().unwrap().unwrap();
    let done = past.gc(&["--older-than", "90d", "--keep", "1", "--yes"]);
    assert_eq!(
        (done[3].1.as_str(), done[4].1.as_str()),
        ("removed", "stays: another process follows it, or removes it")
    );
    assert!(!past.folder(&old).exists() && past.folder(&oldest).exists() && !past.ids().contains(&old.to_string()));
    let rows = journal.resources(&ResourceFilter { run: Some(old.clone()), ..ResourceFilter::default() }).unwrap();
    assert!(rows.is_empty(), "{rows:?}");
    past.place.run(&["runs", "show", old.as_str()]).expect(2);
    drop(following);
    assert_eq!(past.gc(&["--older-than", "90d", "--yes"])[3], (oldest.to_string(), "removed".to_owned()));
    assert_eq!(past.ids(), [&young, &latest, &driven, &left].map(ToString::to_string));
    past.place.run(&["runs", "gc", "--older-than", "99d", "--yes"]).expect(0).tells(&["Nothing to collect."]);
    assert_eq!(past.place.json(&["runs", "show", latest.as_str(), "--json"])["results"]["verdict"], "passed");
}

#[test]
fn two_collections_at_once_and_one_that_was_cut_off_leave_nothing_half() {
    let past = Past::new();
    let runs: Vec<RunId> = (100..130).rev().map(|days| past.run(days, "machine up")).collect();
    // As a kill leaves them: out of the way, before and after the journal forgot the run.
    let aside = |id: &RunId| past.state.runs().join(format!("{id}.removed"));
    std::fs::rename(past.folder(&runs[29]), aside(&runs[29])).unwrap();
    let stray = RunId::new(Timestamp::now() - DAY * 200);
    std::fs::create_dir_all(aside(&stray).join("failed")).unwrap();
    let words = ["runs", "gc", "--keep", "2", "--yes"];
    let (one, other) = (past.place.start(&words), past.place.start(&words));
    one.end().expect(0);
    other.end().expect(0);
    assert_eq!(past.ids().len(), 2);
    let mut left: Vec<String> = std::fs::read_dir(past.state.runs())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut kept = past.ids();
    kept.sort();
    assert_eq!(left, kept);
    assert!(kept.contains(&runs[29].to_string()), "the journal has it still, so it has its folder again");
}

#[test]
fn old_runs_go_by_themselves_where_the_settings_say_so() {
    let past = Past::new();
    let runs: Vec<RunId> = (1..5).rev().map(|n| past.run(n, "machine up")).collect();
    let fails = ["image", "build", "nothing-of-that-name"];
    past.place.run(&fails).expect(2);
    assert_eq!(past.ids().len(), 4, "that is off by itself");
    past.place.settings("[runs]\nkeep = 2\n");
    past.place.run(&["runs", "list"]).expect(0);
    assert_eq!(past.ids().len(), 4, "looking makes no run");
    past.place.run(&fails).expect(2).tells(&["Removed 2 old runs"]);
    assert_eq!(past.ids(), [&runs[3], &runs[2]].map(ToString::to_string));
    past.place.settings("[runs]\nolder-than = \"1h\"\n");
    past.place.run(&fails).expect(2).tells(&["Removed 2 old runs"]);
    past.place.settings("[runs]\nkeep = 0\n");
    past.place.run(&["runs", "list"]).expect(3).tells(&["config.toml:2: `runs.keep` takes a whole number from 1"]);
}

#[test]
fn a_list_of_mutes_is_checked_before_anything_is_made() {
    let past = Past::new();
    let file = past.place.path().join("mutes.toml");
    let run = |file: &Path| {
        past.place.run(&["run-tests-linux", "--image-source", "--mute", file.to_str().unwrap(), "test-a.t"]).expect(2)
    };
    run(&file).tells(&["cannot read the list of mutes"]);
    std::fs::write(&file, "[[mute]]\ntest = \"test-a.t\"\nexpires = 2026-12-31\n").unwrap();
    run(&file).tells(&["mutes.toml:1: missing field `reason`", "hint:"]);
    assert_eq!(past.ids(), [""; 0]);
}
