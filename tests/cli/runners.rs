//! Tests of any project: each preset over a small project with every outcome, on a real machine.

mod programs;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::tool::{Done, Place, skip};

/// The step that installs what presets need, so that it is downloaded once.
const PACKAGES: &str = "#!/bin/bash
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q install --yes --no-install-recommends bats nodejs python3-pytest python3-pytest-xdist
rm -rf /var/lib/apt/lists/*
";

/// Beyond that, the compilers, which take some 1.2 GB.
const LARGE: &str = "#!/bin/bash
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q install --yes --no-install-recommends cargo cmake g++ golang-go make
rm -rf /var/lib/apt/lists/*
";

fn place() -> Place {
    Place::with_steps(&[("runners", PACKAGES)])
}

/// A copy of a project that a test may change.
fn project(place: &Place, name: &str) -> PathBuf {
    let folder = place.path().join(name);
    support::copy_folder(&support::root().join("tests/fixtures/runners").join(name), &folder);
    folder
}

fn run(place: &Place, project: &Path, further: &[&str]) -> Done {
    let config = project.join("tests.toml");
    let config = ["run-tests", "--config", config.to_str().unwrap(), "--source", project.to_str().unwrap()];
    place.run(&[&config[..], further].concat())
}

/// `name outcome` of every test.
fn outcomes(results: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tests = results["tests"].as_array().unwrap();
    tests.iter().map(|test| format!("{} {}", text(&test["name"]), text(&test["outcome"]))).collect()
}

fn test<'a>(results: &'a Value, name: &str) -> &'a Value {
    let tests = results["tests"].as_array().unwrap();
    tests.iter().find(|test| test["name"] == name).unwrap_or_else(|| panic!("no {name} in {results}"))
}

/// Changes a file of a project.
fn change(project: &Path, file: &str, from: &str, to: &str) {
    let path = project.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} in {file}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn pytest_tells_every_outcome_and_a_process_that_dies_loses_what_it_did_not_run() {
    let place = place();
    let project = project(&place, "pytest");
    let done = run(&place, &project, &["--json"]).expect(1);
    let results = done.json();
    let of = |name: &str| test(&results, &format!("test_outcomes.py::{name}"));
    let expected = [
        "test_breaks_behind failed",
        "test_crashes passed",
        "test_fails failed",
        "test_hangs timed_out",
        "test_known skipped",
        "test_last passed",
        "test_passes[[0]] passed",
        "test_passes[\\xe9] passed",
        "test_passes[a b] passed",
        "test_passes[x::y] passed",
        "test_skips skipped",
    ];
    assert_eq!(outcomes(&results), expected.map(|test| format!("test_outcomes.py::{test}")));
    assert_eq!(
        (&of("test_fails")["reason"], &of("test_skips")["reason"]),
        (&"AssertionError: sums".into(), &"no network".into())
    );
    assert!(of("test_fails")["detail"].as_str().unwrap().contains("assert (1 + 1) == 3"), "{results}");
    assert!(
        of("test_hangs")["seconds"].as_f64().unwrap() >= 3.0 && of("test_fails")["began_at"].is_string(),
        "{results}"
    );
    assert_eq!((&results["program"], &results["distro"]), (&"pytest".into(), &"debian12".into()));
    let run_id = place.latest();
    let told = place.run(&["runs", "logs", &run_id, "--steps"]).expect(0).text();
    assert!(told.contains("Sent 2 files of "), "{told}");

    // Named tests alone run, whatever is in their names, and a flag goes to the runner.
    let named =
        ["test_outcomes.py::test_passes[x::y]", "test_outcomes.py::test_passes[a b]", "test_outcomes.py::test_last"];
    let some = run(&place, &project, &[&named[..], &["--json", "--", "-vv"]].concat()).expect(0);
    assert_eq!((outcomes(&some.json()).len(), &some.json()["flags"]), (3, &serde_json::json!(["-vv"])));
    assert!(some.stderr.contains("test_last PASSED"), "{}", some.stderr);
    let group = run(&place, &project, &["./test_outcomes.py::test_passes", "--json"]).expect(0).json();
    assert_eq!(outcomes(&group).len(), 4, "all that its parameters make");
    let unknown = run(&place, &project, &["test_outcomes.py::test_lst"]).expect(2);
    unknown.tells(&["there is no test `test_outcomes.py::test_lst`", "Did you mean `test_outcomes.py::test_last`?"]);

    change(&project, "tests.toml", "test-timeout", "env = { CRASH = \"1\" }\ntest-timeout");
    let results = run(&place, &project, &["--json"]).expect(4).json();
    let lost = |name: &str| test(&results, &format!("test_outcomes.py::{name}")).clone();
    assert_eq!((&results["verdict"], &lost("test_fails")["outcome"]), (&"incomplete".into(), &"failed".into()));
    assert_eq!(lost("test_crashes")["outcome"], "lost");
    let why = lost("test_crashes")["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("while this test ran"), "{why}");
    assert_eq!(lost("test_last")["outcome"], "lost");
    place.assert_clean();
}

#[test]
fn pytest_with_workers_below_its_root_names_tests_as_its_arguments_do() {
    let place = place();
    let project = place.path().join("deep");
    std::fs::create_dir_all(project.join("below/tests")).unwrap();
    std::fs::write(project.join("pyproject.toml"), "[tool.pytest.ini_options]\n").unwrap();
    let goes_on =
        "    while True:\n        try:\n            time.sleep(60)\n        except BaseException:\n            pass\n";
    let tests = format!(
        "import time\n\ndef test_one():\n    pass\n\ndef test_two():\n    pass\n\ndef test_goes_on():\n{goes_on}"
    );
    std::fs::write(project.join("below/tests/test_a.py"), tests).unwrap();
    let declared = "preset = \"pytest\"\nworkdir = \"below\"\ntest-timeout = \"3s\"\n";
    std::fs::write(project.join("tests.toml"), format!("{declared}flags = [\"-n\", \"2\"]\n")).unwrap();
    let results = run(&place, &project, &["--json"]).expect(1).json();
    let expected = ["test_goes_on timed_out", "test_one passed", "test_two passed"];
    assert_eq!(outcomes(&results), expected.map(|test| format!("tests/test_a.py::{test}")), "{results}");
    let some = run(&place, &project, &["tests/test_a.py::test_two", "--json"]).expect(0).json();
    assert_eq!(outcomes(&some), ["tests/test_a.py::test_two passed"]);
    // Without workers it is pytest itself that such a test ends.
    std::fs::write(project.join("tests.toml"), declared).unwrap();
    let results = run(&place, &project, &["--json"]).expect(4).json();
    let of = test(&results, "tests/test_a.py::test_goes_on");
    assert_eq!(of["outcome"], "timed_out", "{results}");
    assert_eq!(of["reason"], "timed out after 3 s and went on, which ended pytest");
    place.assert_clean();
}

#[test]
fn prove_tells_every_outcome_of_a_file() {
    let place = place();
    let project = project(&place, "prove");
    let results = run(&place, &project, &["--json"]).expect(1).json();
    let expected = [
        "t/crashes.t failed",
        "t/cut.t failed",
        "t/fails.t failed",
        "t/hangs.t timed_out",
        "t/passes.t passed",
        "t/skips.t skipped",
    ];
    assert_eq!(outcomes(&results), expected);
    let of = |name: &str, key: &str| test(&results, name)[key].as_str().unwrap_or_default().to_owned();
    assert!(of("t/crashes.t", "reason").contains("ended by signal 9"), "{results}");
    assert!(of("t/cut.t", "reason").contains("Bad plan"), "{results}");
    assert!(of("t/fails.t", "detail").contains("not ok 2 - sums \"up\""), "{results}");
    assert_eq!(of("t/skips.t", "reason"), "no network");
    // The runner's own process dies half-way.
    change(&project, "t/crashes.t", "kill 'KILL', $$;", "kill 'KILL', getppid;");
    std::fs::write(project.join("tests.toml"), "preset = \"prove\"\n").unwrap();
    std::fs::remove_file(project.join("t/hangs.t")).unwrap();
    let results = run(&place, &project, &["--json"]).expect(4).json();
    assert_eq!(
        (&results["verdict"], outcomes(&results).first().unwrap().as_str()),
        (&"incomplete".into(), "t/crashes.t lost")
    );
    assert_eq!(test(&results, "t/skips.t")["outcome"], "lost", "{results}");
    place.assert_clean();
}

#[test]
fn bats_tells_every_outcome_and_names_a_test_by_its_file() {
    let place = place();
    let project = project(&place, "bats");
    let results = run(&place, &project, &["--json"]).expect(1).json();
    let expected = [
        "hooks.bats: goes on passed",
        "hooks.bats: greets $WHO passed",
        "other.bats: skips passed",
        "outcomes.bats: adds \"two\" numbers passed",
        "outcomes.bats: comes last passed",
        "outcomes.bats: crashes passed",
        "outcomes.bats: fails (in a | way) failed",
        "outcomes.bats: hangs timed_out",
        "outcomes.bats: skips skipped",
    ];
    assert_eq!(outcomes(&results), expected);
    assert!(
        test(&results, expected[6].trim_end_matches(" failed"))["detail"].as_str().unwrap().contains("some output")
    );
    let named = [
        "outcomes.bats: fails (in a | way)",
        "hooks.bats: greets $WHO",
        "other.bats: skips",
        "outcomes.bats: adds \"two\" numbers",
    ];
    let some = run(&place, &project, &[&named[..], &["--json"]].concat()).expect(1).json();
    assert_eq!(outcomes(&some).len(), 4, "{some}");
    // The process of a test dies, which bats leaves out of its results; then with that which runs the tests of the file.
    let lost = |who: &str, config: &str| {
        std::fs::write(project.join("tests.toml"), format!("{config}env = {{ CRASH = \"{who}\" }}\n")).unwrap();
        let results = run(&place, &project, &["--json"]).expect(4).json();
        assert_eq!(results["verdict"], "incomplete");
        let lost = outcomes(&results).into_iter().filter(|test| test.ends_with(" lost"));
        lost.map(|test| test.trim_end_matches(" lost").to_owned()).collect::<Vec<_>>()
    };
    let config = std::fs::read_to_string(project.join("tests.toml")).unwrap();
    assert_eq!(lost("test", &config), ["outcomes.bats: crashes"]);
    assert_eq!(lost("runner", &config), ["outcomes.bats: comes last", "outcomes.bats: crashes"]);
    // What is done once for a file fails before its tests, or behind them.
    let hook = |name: &str, code| {
        std::fs::write(project.join("tests.toml"), format!("{config}env = {{ HOOK = \"{name}\" }}\n")).unwrap();
        run(&place, &project, &["hooks.bats: goes on", "hooks.bats: greets $WHO", "--json"]).expect(code).json()
    };
    let results = hook("setup", 1);
    assert_eq!(outcomes(&results), ["hooks.bats: goes on failed", "hooks.bats: greets $WHO failed"]);
    let failed = test(&results, "hooks.bats: goes on");
    assert_eq!(failed["reason"], "setup_file failed");
    assert!(failed["detail"].as_str().unwrap().contains("no server"), "{results}");
    let results = hook("teardown", 4);
    let gap = results["gap"].as_str().unwrap();
    assert!(gap.contains("a failure of no test (teardown_file of hooks.bats failed)"), "{gap}");
    place.assert_clean();
}

#[test]
fn node_tells_every_outcome_of_a_file() {
    let place = place();
    let project = project(&place, "node");
    let results = run(&place, &project, &["--json"]).expect(1).json();
    let expected = [
        "crashes.test.cjs failed",
        "test/fails.mjs failed",
        "test/hangs.mjs timed_out",
        "test/passes.mjs passed",
        "test/skips.mjs skipped",
    ];
    assert_eq!(outcomes(&results), expected);
    let of = |name: &str, key: &str| test(&results, name)[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (of("crashes.test.cjs", "reason"), of("test/skips.mjs", "reason")),
        ("ended by SIGABRT".into(), "no network".into())
    );
    assert_eq!(of("test/fails.mjs", "reason"), "is wrong failed");
    assert!(of("test/fails.mjs", "detail").contains("2 !== 3"), "{results}");
    // The process that starts the files dies half-way.
    change(&project, "crashes.test.cjs", "process.abort()", "process.kill(process.ppid, 'SIGKILL')");
    let results = run(&place, &project, &["--json"]).expect(4).json();
    assert_eq!(
        (&results["verdict"], &test(&results, "crashes.test.cjs")["outcome"]),
        (&"incomplete".into(), &"lost".into())
    );
    place.assert_clean();
}

#[test]
#[ignore = "downloads and bakes 1.2 GB of compilers; see docs/testing.md"]
fn go_and_ctest_tell_every_outcome() {
    let place = Place::with_steps(&[("runners", PACKAGES), ("compilers", LARGE)]);
    let go = project(&place, "go");
    let results = run(&place, &go, &["--json"]).expect(4).json();
    let expected = [
        "example.org/sums.TestFails failed",
        "example.org/sums.TestHangs timed_out",
        "example.org/sums.TestLast lost",
        "example.org/sums.TestPasses passed",
        "example.org/sums.TestSkips skipped",
        "example.org/sums/other.TestPasses passed",
    ];
    assert_eq!(outcomes(&results), expected, "{results}");
    let named = ["example.org/sums.TestPasses", "example.org/sums.TestSkips"];
    let some = run(&place, &go, &[&named[..], &["--json"]].concat()).expect(0).json();
    assert_eq!(outcomes(&some), ["example.org/sums.TestPasses passed", "example.org/sums.TestSkips skipped"]);
    change(&go, "tests.toml", "test-timeout", "env = { CRASH = \"1\" }\ntest-timeout");
    let results = run(&place, &go, &["--json"]).expect(4).json();
    assert_eq!(
        (&results["verdict"], &test(&results, "example.org/sums.TestLast")["outcome"]),
        (&"incomplete".into(), &"lost".into())
    );

    let ctest = project(&place, "ctest");
    let results = run(&place, &ctest, &["--json"]).expect(1).json();
    let expected = [
        "crashes failed",
        "fails failed",
        "hangs failed",
        "needs passed",
        "off skipped",
        "passes [1] passed",
        "skips skipped",
        "starts passed",
        "sub.other passed",
    ];
    assert_eq!(outcomes(&results), expected, "{results}");
    assert_eq!(test(&results, "off")["reason"], "disabled");
    // What sets up a fixture runs with the test that needs it, and has a result where it was asked for.
    let fixture = run(&place, &ctest, &["needs", "--json"]).expect(0).json();
    assert_eq!(outcomes(&fixture), ["needs passed"]);
    let some = run(&place, &ctest, &["passes [1]", "sub.other", "--json"]).expect(0).json();
    assert_eq!(outcomes(&some), ["passes [1] passed", "sub.other passed"]);
    // The process of ctest dies half-way: it writes its report at the end alone.
    change(&ctest, "CMakeLists.txt", "kill -SEGV $$", "kill -KILL $PPID");
    let results = run(&place, &ctest, &["--json"]).expect(4).json();
    assert!(outcomes(&results).iter().all(|test| test.ends_with(" lost")), "{results}");
    place.assert_clean();
}

#[test]
#[ignore = "needs cargo-nextest, and bakes 1.2 GB of compilers; see docs/testing.md"]
fn cargo_nextest_tells_every_outcome() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).map(|folder| folder.join("cargo-nextest")).find(|path| path.is_file());
    let Some(program) = program else { return skip("there is no `cargo-nextest` on the path") };
    let place = Place::with_steps(&[("runners", PACKAGES), ("compilers", LARGE)]);
    let project = project(&place, "cargo-nextest");
    // No package of Debian brings it: it travels with the source, and is installed by the set-up.
    std::fs::copy(program, project.join("cargo-nextest")).unwrap();
    let results = run(&place, &project, &["--json"]).expect(1).json();
    let expected = [
        "sums::idle$sleeps skipped",
        "sums::other$crashes failed",
        "sums::other$hangs timed_out",
        "sums::other$passes passed",
        "sums::sums$tests::fails failed",
        "sums::sums$tests::passes passed",
        "sums::sums$tests::skips skipped",
    ];
    assert_eq!(outcomes(&results), expected, "{results}");
    assert!(test(&results, "sums::sums$tests::fails")["detail"].as_str().unwrap().contains("sums"), "{results}");
    let named = ["sums::sums$tests::passes", "sums::other$passes"];
    let some = run(&place, &project, &[&named[..], &["--json"]].concat()).expect(0).json();
    assert_eq!(outcomes(&some), ["sums::other$passes passed", "sums::sums$tests::passes passed"]);
    let ignored = ["sums::sums$tests::skips", "sums::idle$sleeps", "sums::other$passes"];
    let some = run(&place, &project, &[&ignored[..], &["--json"]].concat()).expect(0).json();
    let expected = ["sums::idle$sleeps skipped", "sums::other$passes passed", "sums::sums$tests::skips skipped"];
    assert_eq!(outcomes(&some), expected);
    // The process of nextest dies half-way: it is the one whose child the test is.
    change(&project, "tests/other.rs", "std::process::abort();", "kill_parent();");
    let kill = "\nfn kill_parent() {\n    let parent = std::os::unix::process::parent_id().to_string();\n    \
                std::process::Command::new(\"kill\").args([\"-KILL\", &parent]).status().unwrap();\n}\n";
    let file = project.join("tests/other.rs");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + kill).unwrap();
    let results = run(&place, &project, &["--json"]).expect(4).json();
    assert_eq!(
        (&results["verdict"], &test(&results, "sums::other$hangs")["outcome"]),
        (&"incomplete".into(), &"lost".into())
    );
    place.assert_clean();
}
