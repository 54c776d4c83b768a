//! The same tests in several cells: one run, a verdict for each cell, and the worst of them for the run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::mercurial::{self, READY_HG};
use support::tool::{Place, Running};

/// A checkout whose tests are run in the cells of a matrix.
struct Cells {
    place: Place,
    checkout: PathBuf,
}

/// Both file systems that need no volume.
const BOTH: [&str; 2] = ["--matrix", "filesystem=default,tmpfs"];

/// Passes on a disk, and fails in memory.
const ON_DISK: &str = "  $ test \"$(stat -f -c %T .)\" != tmpfs\n";

impl Cells {
    fn over(tests: &[(&str, &str)]) -> Self {
        let place = Place::whole();
        let checkout = mercurial::small(place.path(), tests);
        Self { place, checkout }
    }

    fn words<'a>(&'a self, further: &[&'a str]) -> Vec<&'a str> {
        let source = ["run-tests-linux", "--source", self.checkout.to_str().unwrap()];
        [&source[..], further, &READY_HG].concat()
    }

    /// Waits until a test has ended in so many cells.
    fn wait_for_cells(&self, count: usize, running: &Running) {
        let end = Instant::now() + Duration::from_secs(120);
        let has_ended =
            |queue: PathBuf| std::fs::read_to_string(queue).is_ok_and(|lines| lines.contains("\"what\":\"took\""));
        loop {
            let runs = std::fs::read_dir(self.place.state.join("runs")).into_iter().flatten().flatten();
            let cells =
                runs.flat_map(|run| std::fs::read_dir(run.path().join("cells")).into_iter().flatten().flatten());
            if cells.filter(|cell| has_ended(cell.path().join("queue.jsonl"))).count() >= count {
                return;
            }
            assert!(running.lives() && Instant::now() < end, "{}", running.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Name, verdict and number of tests of each cell.
fn cells(results: &Value) -> Vec<(String, String, u64)> {
    let name = |cell: &Value| {
        let values = cell["point"].as_array().unwrap().iter().map(|at| at["value"].as_str().unwrap().to_owned());
        values.collect::<Vec<_>>().join("/")
    };
    let cell = |cell: &Value| {
        (name(cell), cell["verdict"].as_str().unwrap().to_owned(), cell["counts"]["total"].as_u64().unwrap())
    };
    results["cells"].as_array().unwrap().iter().map(cell).collect()
}

fn expected(of: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    of.iter().map(|(name, verdict, tests)| ((*name).to_owned(), (*verdict).to_owned(), *tests)).collect()
}

#[test]
fn each_cell_has_a_verdict_and_the_worst_is_that_of_the_run() {
    let run = Cells::over(&[("test-ok.t", "  $ true\n"), ("test-disk.t", ON_DISK)]);
    let junit = run.place.path().join("junit.xml");
    let further = [&BOTH[..], &["--json", "--junit", junit.to_str().unwrap()]].concat();
    let done = run.place.run(&run.words(&further)).expect(1).tells(&[
        "FAILED  1 of 4 tests",
        "2 cells",
        "test-disk.t [tmpfs]",
        "Nothing is left behind",
    ]);
    let results = done.json();
    assert_eq!(cells(&results), expected(&[("default", "passed", 2), ("tmpfs", "failed", 2)]));
    let tests: Vec<(&str, &str, &str)> = results["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|test| (test["cell"].as_str().unwrap(), test["name"].as_str().unwrap(), test["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        tests,
        [
            ("default", "test-disk.t", "passed"),
            ("default", "test-ok.t", "passed"),
            ("tmpfs", "test-disk.t", "failed"),
            ("tmpfs", "test-ok.t", "passed")
        ]
    );
    assert_eq!(
        (&results["filesystem"], &results["distro"]),
        (&Value::Null, &"debian12".into()),
        "what varies is nobody's"
    );
    let failed = results["tests"].as_array().unwrap().iter().find(|test| test["outcome"] == "failed").unwrap();
    let file = run.place.state.join("runs").join(run.place.latest()).join(failed["output_file"].as_str().unwrap());
    assert!(file.is_file(), "{file:?}");
    let text = std::fs::read_to_string(junit).unwrap();
    assert_eq!(text.matches("<testsuite ").count(), 2, "{text}");
    assert!(text.contains(r#"name="run-tests-linux [tmpfs]""#), "{text}");
    run.place.assert_certified(&run.place.latest());
    let shown = run.place.run(&["runs", "show", "latest"]).expect(0).text();
    let row = |name: &str| shown.lines().find(|line| line.trim_start().starts_with(name)).map(str::to_owned);
    assert!(row("default").unwrap().contains("passed") && row("tmpfs").unwrap().contains("failed"), "{shown}");
    let of_one = run.place.run(&["runs", "show", "latest", "test-disk.t"]).expect(0).text();
    assert!(of_one.contains("test-disk.t [default]") && of_one.contains("test-disk.t [tmpfs]"), "{of_one}");

    // What failed runs again where it failed, and nowhere else.
    let again = run.place.run(&run.words(&["--failed-of", "latest", "--json"])).expect(1).json();
    assert_eq!((&again["filesystem"], again["tests"].as_array().unwrap().len()), (&"tmpfs".into(), 1), "{again}");
    run.place.assert_clean();
}

#[test]
fn cells_that_were_left_or_whose_driver_died_are_taken_home() {
    let slow: Vec<String> = (0..4).map(|number| format!("test-slow-{number}.t")).collect();
    let tests: Vec<(&str, &str)> = slow.iter().map(|name| (name.as_str(), "  $ sleep 1\n")).collect();
    let run = Cells::over(&tests);
    let both = expected(&[("default", "passed", 4), ("tmpfs", "passed", 4)]);
    let left = run.place.run(&run.words(&[&BOTH[..], &["--detach"]].concat())).expect(0);
    let id = left.text().trim().to_owned();
    let done = run.place.run(&["runs", "attach", &id, "--json"]).expect(0).tells(&["PASSED  8 of 8 tests"]);
    assert_eq!(cells(&done.json()), both);
    run.place.assert_certified(&id);

    let running = run.place.start(&run.words(&[&BOTH[..], &["--shards", "1"]].concat()));
    run.wait_for_cells(2, &running);
    let id = run.place.latest();
    running.signal(Signal::KILL);
    drop(running);
    let done = run.place.run(&["runs", "attach", &id, "--json"]).expect(0).tells(&["PASSED  8 of 8 tests"]);
    assert_eq!(cells(&done.json()), both);
    run.place.assert_certified(&id);
    run.place.assert_clean();
}

#[test]
fn a_cell_that_had_not_begun_when_its_driver_died_is_incomplete_and_run_again_with_what_was_lost() {
    let run = Cells::over(&[("test-a.t", "  $ sleep 2\n"), ("test-b.t", "  $ sleep 2\n")]);
    // With as many machines as there are processors the cells are at work one after another.
    let processors = std::thread::available_parallelism().unwrap().to_string();
    let running = run.place.start(&run.words(&[&BOTH[..], &["--shards", &processors]].concat()));
    run.wait_for_cells(1, &running);
    let id = run.place.latest();
    running.signal(Signal::KILL);
    drop(running);
    let done = run.place.run(&["runs", "attach", &id, "--json"]).expect(4);
    let results = done.tells(&["INCOMPLETE", "its driver ended before its tests began"]).json();
    assert_eq!(cells(&results), expected(&[("default", "passed", 2), ("tmpfs", "incomplete", 0)]));
    let again = run.place.run(&run.words(&["--lost-of", &id, "--json"])).expect(0).json();
    assert_eq!(cells(&again), expected(&[("tmpfs", "passed", 2)]));
    run.place.assert_certified(&run.place.latest());
    run.place.assert_clean();
}

#[test]
fn a_cell_that_cannot_be_is_refused_by_name_before_anything_is_made() {
    let run = Cells::over(&[("test-ok.t", "  $ true\n")]);
    let refused = |further: &[&str], told: &[&str]| drop(run.place.run(&run.words(further)).expect(2).tells(told));
    refused(&["--matrix", "filesytem=tmpfs"], &["not an axis", "Did you mean `filesystem`?"]);
    refused(&["--matrix", "filesystem=tmpfs", "filesystem=default"], &["stands twice"]);
    refused(&["--matrix", "filesystem=tmpfs,tmpfs"], &["stands twice"]);
    refused(&["--matrix", "filesystem="], &["blank"]);
    refused(&["--matrix", "filesystem=tmpfs", "test-ok.t"], &["names of tests come before `--matrix`"]);
    refused(&["--matrix", "filesystem=fat"], &["cell fat", "`fat`"]);
    refused(&["--matrix", "distro=debian12,debian99"], &["cell debian99", "no distribution"]);
    refused(
        &["--filesystem", "tmpfs", "--matrix", "filesystem=default"],
        &["choose the same", "Leave `--filesystem` out"],
    );
    let host = ["--provider", "host", "--host", "me@127.0.0.1", "--matrix", "distro=debian12"];
    refused(&host, &["the distribution that it has"]);
    assert!(run.place.json(&["runs", "list", "--json"]).as_array().unwrap().is_empty());
    run.place.assert_clean();
}
