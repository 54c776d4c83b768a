//! Tests that several machines take from one queue: one run, one verdict, whatever becomes of a machine or of the driver.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::mercurial::{self, READY_HG};
use support::tool::{Done, Place, Running};

/// A checkout, and runs of its tests.
struct Split {
    place: Place,
    checkout: PathBuf,
}

impl Split {
    fn over(tests: &[(&str, &str)]) -> Self {
        let place = Place::whole();
        let checkout = mercurial::small(place.path(), tests);
        Self { place, checkout }
    }

    /// Over tests that take a second each.
    fn slow(count: usize) -> (Self, Vec<String>) {
        let names: Vec<String> = (0..count).map(|number| format!("test-slow-{number}.t")).collect();
        let tests: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "  $ sleep 1\n")).collect();
        (Self::over(&tests), names)
    }

    fn words<'a>(&'a self, further: &[&'a str], tests: &'a [String]) -> Vec<&'a str> {
        let source = ["run-tests-linux", "--source", self.checkout.to_str().unwrap()];
        let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
        [&source[..], further, &tests, &READY_HG].concat()
    }

    fn run(&self, further: &[&str]) -> Done {
        self.place.run(&self.words(further, &[]))
    }

    fn folder(&self, run: &str) -> PathBuf {
        self.place.state.join("runs").join(run)
    }

    fn results(&self, run: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.folder(run).join("results.json")).unwrap()).unwrap()
    }

    /// What happened to the queue of the latest run; nothing while there is none.
    fn entries(&self) -> Vec<Value> {
        let runs = std::fs::read_dir(self.place.state.join("runs")).into_iter().flatten().flatten();
        let Some(latest) = runs.map(|entry| entry.path()).max() else { return Vec::new() };
        let lines = std::fs::read_to_string(latest.join("queue.jsonl")).unwrap_or_default();
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until so many entries tell this.
    fn wait_for(&self, what: &str, count: usize, running: &Running) {
        let end = Instant::now() + Duration::from_secs(120);
        while self.entries().iter().filter(|entry| entry["what"] == what).count() < count {
            assert!(running.lives() && Instant::now() < end, "{what}: {}", running.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All of these passed, each once, on these many machines.
    fn assert_passed(&self, run: &str, names: &[String], machines: usize) -> Value {
        let results = self.results(run);
        let passed =
            |test: &Value| (test["name"].as_str().unwrap().to_owned(), test["outcome"].as_str().unwrap().to_owned());
        let found: Vec<_> = results["tests"].as_array().unwrap().iter().map(passed).collect();
        let mut expected: Vec<_> = names.iter().map(|name| (name.clone(), "passed".to_owned())).collect();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(results["machines"].as_array().unwrap().len(), machines, "{results}");
        self.place.assert_certified(run);
        self.place.assert_clean();
        results
    }
}

fn outcomes(results: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    results["tests"].as_array().unwrap().iter().map(|test| (text(&test["name"]), text(&test["outcome"]))).collect()
}

/// Ends a machine as the death of its computer would.
pub(super) fn end_machine(state: &Path, machine: &str) {
    let facts = std::fs::read(state.join("machines").join(machine).join("guard.json")).unwrap();
    let facts: Value = serde_json::from_slice(&facts).unwrap();
    let init = i32::try_from(facts["init"]["pid"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(init).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_split_run_is_one_run_and_comes_to_what_one_machine_comes_to() {
    let mut tests: Vec<(String, &str)> = (0..9).map(|number| (format!("test-ok-{number}.t"), "  $ true\n")).collect();
    tests.push(("test-broken.t".to_owned(), "  $ echo one\n  two\n"));
    tests.push(("test-skips.t".to_owned(), "  $ exit 80\n"));
    let tests: Vec<(&str, &str)> = tests.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let split = Split::over(&tests);
    let one = split.run(&["--shards", "1", "--json"]).expect(1).json();
    let done = split.run(&["--shards", "3", "--json"]).expect(1);
    let done =
        done.tells(&["11 tests for all machines, about", "FAILED  1 of 11 tests", "-  two", "Nothing is left behind"]);
    let three = done.json();
    assert_eq!(outcomes(&three), outcomes(&one));
    assert_eq!((three["tests"].as_array().unwrap().len(), &three["counts"]["passed"]), (11, &9.into()));
    let machines = three["machines"].as_array().unwrap();
    assert_eq!((machines.len(), one["machines"].as_array().unwrap().len()), (3, 1), "{three}");
    let ids: BTreeSet<&str> = machines.iter().map(|used| used["machine"].as_str().unwrap()).collect();
    for used in machines {
        assert!(used["up_at"].is_string() && used["ended_at"].is_string() && used["provider"] == "local", "{used}");
    }
    for test in three["tests"].as_array().unwrap() {
        assert!(ids.contains(test["machine"].as_str().unwrap()) && test["attempt"] == 1, "{test}");
        assert!(test["began_at"].is_string(), "{test}");
    }
    let run = split.place.latest();
    let log = split.place.run(&["runs", "logs", &run]).expect(0).text();
    assert!(log.contains("test-broken.t") && log.contains("# Ran "), "{log}");
    assert!(split.folder(&run).join("failed/test-broken.t.err").is_file());
    split.place.assert_certified(&run);
    split.place.assert_clean();
}

#[test]
fn a_machine_that_is_killed_in_the_middle_changes_nothing_in_the_verdict() {
    let (split, names) = Split::slow(12);
    let running = split.place.start(&split.words(&["--shards", "3"], &names));
    split.wait_for("took", 3, &running);
    let took = split.entries().into_iter().find(|entry| entry["what"] == "took").unwrap();
    end_machine(&split.place.state, took["machine"].as_str().unwrap());
    running.end_within(Duration::from_secs(180)).expect(0).tells(&[
        "PASSED  12 of 12 tests",
        "was lost",
        "Nothing is left behind",
    ]);
    let results = split.results(&split.place.latest());
    let machines = results["machines"].as_array().unwrap();
    let lost: Vec<&Value> = machines.iter().filter(|used| used["lost"].is_string()).collect();
    assert_eq!((lost.len(), &lost[0]["machine"]), (1, &took["machine"]), "{results}");
    split.assert_passed(&split.place.latest(), &names, 4);
}

#[test]
fn a_failed_test_is_tried_again_and_what_passes_then_is_flaky() {
    let flaky = "  $ test -e /hgwork/tried || { touch /hgwork/tried; false; }\n";
    let split = Split::over(&[("test-broken.t", "  $ false\n"), ("test-flaky.t", flaky), ("test-ok.t", "  $ true\n")]);
    let done = split.run(&["--retry-failed", "2", "--json"]).expect(1).tells(&["FAILED  1 of 3 tests", "1 flaky"]);
    let results = done.json();
    let expected = [("test-broken.t", "failed"), ("test-flaky.t", "passed"), ("test-ok.t", "passed")];
    assert_eq!(outcomes(&results), expected.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())));
    assert_eq!((&results["counts"]["flaky"], &results["tests"][0]["attempt"]), (&1.into(), &3.into()), "{results}");
    assert_eq!(results["tests"][1]["others"][0]["outcome"], "failed", "{results}");
    let passed = split.run(&["--retry-failed", "1", "test-flaky.t"]).expect(0);
    passed.tells(&["PASSED  1 of 1 test", "1 flaky", "Flaky:", "test-flaky.t"]);
    split.place.assert_clean();
}

#[test]
fn a_machine_on_which_a_test_failed_is_kept_for_a_look() {
    let split = Split::over(&[("test-broken.t", "  $ false\n"), ("test-ok.t", "  $ true\n")]);
    let machines = || split.place.json(&["machine", "list", "--json"]).as_array().unwrap().clone();
    for shards in [&[][..], &["--shards", "2"]] {
        let keeping = [shards, &["--keep-failed", "5m"]].concat();
        split.run(&[&keeping[..], &["test-ok.t"]].concat()).expect(0);
        assert!(machines().is_empty(), "a green run keeps none");
        split.run(&keeping).expect(1).tells(&["FAILED  1 of 2 tests", "Kept hg-", "machine ssh ", "machine down "]);
        let [kept] = machines().try_into().unwrap();
        let (id, folder) = (kept["id"].as_str().unwrap(), "/hgwork/src/tests/test-broken.t");
        split.place.exec(id, &["test", "-f", folder]).expect(0);
        split.place.run(&["machine", "down", id]).expect(0);
        split.place.assert_clean();
    }
}

#[test]
fn where_one_failed_no_further_test_is_begun_and_the_others_end() {
    let mut tests: Vec<(String, &str)> =
        (0..20).map(|number| (format!("test-slow-{number}.t"), "  $ sleep 2\n")).collect();
    tests.push(("test-a-broken.t".to_owned(), "  $ false\n"));
    let tests: Vec<(&str, &str)> = tests.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let split = Split::over(&tests);
    let done = split.run(&[
        "--shards",
        "2",
        "--fail-fast",
        "--json",
        "test-a-broken.t",
        "test-slow-1.t",
        "test-slow-2.t",
        "test-slow-3.t",
        "test-slow-4.t",
        "test-slow-5.t",
        "test-slow-6.t",
        "test-slow-7.t",
        "test-slow-8.t",
    ]);
    let results = done.expect(1).tells(&["FAILED  1 of 9 tests"]).json();
    let skipped: Vec<&Value> =
        results["tests"].as_array().unwrap().iter().filter(|test| test["outcome"] == "skipped").collect();
    assert!(skipped.len() >= 2, "{results}");
    let says = |test: &&Value| test["reason"].as_str().is_some_and(|reason| reason.ends_with(": 1 test failed before"));
    assert!(skipped.iter().all(says), "{results}");
    split.place.assert_clean();
}

#[test]
fn a_driver_that_is_killed_loses_nothing_and_another_goes_on() {
    let (split, names) = Split::slow(10);
    let running = split.place.start(&split.words(&["--shards", "2"], &names));
    split.wait_for("joined", 2, &running);
    split.wait_for("ended", 1, &running);
    let run = split.place.latest();
    running.signal(Signal::KILL);
    drop(running);
    let done = split.place.run(&["runs", "attach", &run]).expect(0);
    done.tells(&["PASSED  10 of 10 tests", "Nothing is left behind"]);
    let results = split.assert_passed(&run, &names, 2);
    let again = results["tests"].as_array().unwrap().iter().filter(|test| test["others"].is_array()).count();
    assert_eq!(again, 0, "no test ran twice: {results}");
}

#[test]
fn tests_that_were_left_go_on_without_a_driver_and_are_taken_home() {
    let (split, names) = Split::slow(6);
    let left = split.place.run(&split.words(&["--shards", "2", "--detach"], &names)).expect(0);
    let run = left.text().trim().to_owned();
    assert_eq!(run, split.place.latest());
    let took: Vec<Value> = split.entries().into_iter().filter(|entry| entry["what"] == "took").collect();
    let shares: Vec<usize> = took.iter().map(|entry| entry["tests"].as_array().unwrap().len()).collect();
    assert_eq!(shares, [3, 3], "{took:?}");
    split.place.run(&["runs", "attach", &run]).expect(0).tells(&["PASSED  6 of 6 tests"]);
    split.assert_passed(&run, &names, 2);
}

#[test]
fn what_failed_without_a_driver_is_tried_again_by_the_one_that_attaches() {
    let flaky = "  $ test -e /hgwork/tried || { touch /hgwork/tried; false; }\n";
    let split = Split::over(&[("test-flaky.t", flaky), ("test-ok.t", "  $ true\n")]);
    let left = split.run(&["--shards", "1", "--retry-failed", "1", "--detach"]).expect(0);
    let run = left.text().trim().to_owned();
    split.place.run(&["runs", "attach", &run]).expect(0).tells(&["PASSED  2 of 2 tests, 1 flaky"]);
    split.place.assert_certified(&run);
    split.place.assert_clean();
}

#[test]
fn a_closed_terminal_leaves_each_machine_its_share_of_what_waits() {
    let (split, names) = Split::slow(10);
    let running = split.place.start(&split.words(&["--shards", "2"], &names));
    split.wait_for("joined", 2, &running);
    split.wait_for("ended", 1, &running);
    running.signal(Signal::HUP);
    running.end().expect(6).tells(&["runs attach"]);
    let run = split.place.latest();
    let handed: usize = split
        .entries()
        .iter()
        .filter(|entry| entry["what"] == "took")
        .map(|entry| entry["tests"].as_array().unwrap().len())
        .sum();
    assert_eq!(handed, 10, "nobody is there to hand out the rest");
    split.place.run(&["runs", "attach", &run]).expect(0).tells(&["PASSED  10 of 10 tests"]);
    split.assert_passed(&run, &names, 2);
}

#[test]
fn a_split_run_is_cancelled_with_all_its_machines() {
    let (split, names) = Split::slow(40);
    let running = split.place.start(&split.words(&["--shards", "2"], &names));
    split.wait_for("joined", 2, &running);
    running.signal(Signal::TERM);
    running.end().expect(130).tells(&["Nothing is left behind"]);
    let results = split.results(&split.place.latest());
    assert_eq!((results["tests"].as_array().unwrap().len(), &results["verdict"]), (40, &"incomplete".into()));
    let machines = results["machines"].as_array().unwrap();
    assert!(
        machines.len() == 2 && machines.iter().all(|used| used["lost"].is_null()),
        "told to end is not lost: {results}"
    );
    let left = split.place.run(&split.words(&["--shards", "2", "--detach"], &names)).expect(0);
    let run = left.text().trim().to_owned();
    split.place.run(&["runs", "cancel", &run]).expect(0);
    split.place.assert_certified(&run);
    split.place.assert_clean();
}

#[test]
fn what_cannot_be_split_is_refused_before_anything_is_made() {
    let split = Split::over(&[("test-ok.t", "  $ true\n")]);
    let refused = |further: &[&str], told: &str| drop(split.run(further).expect(2).tells(&[told]));
    refused(&["--shards", "0"], "--shards");
    refused(&["--order", "shortest"], "random:SEED");
    refused(&["--fail-fast", "--max-failures", "2"], "cannot be used with");
    refused(&["--provider", "host", "--host", "me@127.0.0.1", "--shards", "2"], "`--host` names 1 machine");
    refused(&["--shards", "local:1,moon:2"], "`moon` is not a provider");
    refused(&["--shards", "local:1,local:2"], "stands twice");
    assert!(split.place.json(&["runs", "list", "--json"]).as_array().unwrap().is_empty());
    split
        .place
        .run(&split.words(&["--shards", "8"], &["test-ok.t".to_owned()]))
        .expect(0)
        .tells(&["PASSED  1 of 1 test"]);
    split.place.assert_clean();
}

#[test]
fn a_source_that_the_runner_cannot_build_is_told_as_that_and_no_test_is_lost() {
    let split = Split::over(&[("test-a.t", "  $ true\n"), ("test-b.t", "  $ true\n"), ("test-c.t", "  $ true\n")]);
    let source = ["run-tests-linux", "--source", split.checkout.to_str().unwrap(), "--shards", "2", "--json"];
    let done = split.place.run(&source).expect(3).tells(&["NOT RUN  3 tests", "The last lines of the build"]);
    let results = done.json();
    assert_eq!((&results["counts"]["not_run"], &results["counts"]["lost"]), (&3.into(), &0.into()), "{results}");
    split.place.assert_clean();
}

/// Takes all the room of its machine's volume, for good.
const FILLS: &str = "  $ for size in 4G 2G 1G 512M 256M 128M 64M 32M 16M 8M 4M 2M 1M 256K 64K 16K 4K 4K 4K 4K; do \\
  >   fallocate -l $size /hgwork/fill-$size-$$ 2>/dev/null; cat /dev/zero >>/hgwork/fill-rest 2>/dev/null; done; true
";

#[test]
fn a_disk_that_is_full_on_one_machine_makes_no_lost_test_green() {
    let (mut tests, names): (Vec<(&str, &str)>, Vec<String>) =
        (vec![("test-fills.t", FILLS)], (0..8).map(|number| format!("test-slow-{number}.t")).collect());
    tests.extend(names.iter().map(|name| (name.as_str(), "  $ sleep 1\n  $ echo said > written\n")));
    let split = Split::over(&tests);
    let done = split.run(&["--shards", "2", "--filesystem", "ext4", "--json"]);
    // The tests that could not write failed, or were lost with the report that could not be written: both say why.
    assert!([1, 4].contains(&done.code()), "{}", done.stderr);
    let results = done.tells(&["Nothing is left behind"]).json();
    let of = |test: &Value| test["outcome"].as_str().unwrap().to_owned();
    let tests = results["tests"].as_array().unwrap();
    let bad: Vec<&Value> = tests.iter().filter(|test| of(test) != "passed").collect();
    assert_eq!((tests.len(), bad.is_empty()), (9, false), "{results}");
    let told =
        |test: &&Value| test["reason"].as_str().is_some_and(|why| why.contains("No space left") || of(test) == "lost");
    assert!(bad.iter().all(told), "{bad:?}");
    split.place.assert_clean();
}
