//! The main job: Mercurial's test suite on a real machine.

use std::time::Duration;

use serde_json::Value;
use support::memory::Peak;
use support::mercurial::{self, READY_HG, hg};
use support::tool::{Done, Place, Running, is_root, skip};

use super::alone;

/// The arguments of a run over a checkout of our own.
fn over<'a>(checkout: &'a std::path::Path, further: &[&'a str]) -> Vec<&'a str> {
    [&["run-tests-linux", "--source", checkout.to_str().unwrap()], further, &READY_HG].concat()
}

/// The most memory that the tool itself held up to its end.
fn peak_of(running: &Running) -> Peak {
    let mut peak = Peak::default();
    while running.lives() {
        peak.look(running.pid().as_raw_nonzero().get().unsigned_abs());
        std::thread::sleep(Duration::from_millis(5));
    }
    peak
}

fn outcomes(results: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tests = results["tests"].as_array().unwrap();
    tests.iter().map(|test| (text(&test["name"]), text(&test["outcome"]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned())).collect()
}

/// The names of the tests that the README runs first, word for word.
fn first_job() -> Vec<&'static str> {
    let mut readme = include_str!("../../README.md").lines();
    let line = readme.find(|line| line.starts_with("automation run-tests-linux test-"));
    line.unwrap().split_whitespace().skip(2).collect()
}

#[test]
fn the_first_job_of_the_readme_really_runs() {
    let place = Place::whole();
    let _alone = alone();
    let names = first_job();
    let done = place.run(&[&["run-tests-linux"][..], &names].concat()).expect(0);
    let done = done.tells(&["PASSED  2 of 2 tests · hg 6.", " · debian12 · python 3.11 · "]);
    let done = done.tells(&["setup share", "Nothing is left behind", "--local"]);
    assert!(done.stderr.contains("# Ran 2 tests, 0 skipped, 0 failed."), "{}", done.stderr);
    let run = place.latest();
    place.assert_certified(&run);
    let shown = place.json(&["runs", "show", &run, "--json"]);
    let results = std::fs::read(place.state.join("runs").join(&run).join("results.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    assert_eq!(shown["results"], results);
    assert_eq!(outcomes(&results), pairs(&names.iter().map(|name| (*name, "passed")).collect::<Vec<_>>()));
    assert_eq!(results["revision"].as_str().unwrap().len(), 40, "{results}");
    assert_eq!((&results["program"], &results["distro"]), (&"hg".into(), &"debian12".into()), "{results}");
    assert!(
        results["python"].as_str().unwrap().starts_with("3.11.") && results["filesystem"] == "default",
        "{results}"
    );
    let nothing = serde_json::json!([]);
    assert_eq!((&results["flags"], &results["caveats"], &results["gap"]), (&nothing, &nothing, &Value::Null));
    assert_eq!(results["working_copy"], false);
    assert!(shown["summary"].as_str().unwrap().starts_with("PASSED  2 of 2 tests · hg "), "{shown}");
    for test in results["tests"].as_array().unwrap() {
        assert!(test["seconds"].as_f64().unwrap() > 0.05, "{test}");
    }
    let time = |part: &str| results["time"][part].as_f64().unwrap();
    assert!(time("tests") > 1.0 && time("setup") > 0.0, "{results}");
    assert!((time("image") + time("setup") + time("tests")) < time("total"), "{results}");
    let log = place.run(&["runs", "logs", &run]).expect(0).text();
    assert!(log.contains(&done.text()) && log.contains("# Ran 2 tests, 0 skipped, 0 failed."), "{log}");
    assert_eq!(log.as_bytes(), std::fs::read(place.state.join("runs").join(&run).join("output.log")).unwrap());
    place.assert_clean();
}

#[test]
fn results_tell_every_outcome_and_the_exit_code_follows() {
    let place = Place::whole();
    let checkout = mercurial::small(
        place.path(),
        &[
            ("test-broken.t", "  $ echo one\n  two\n"),
            ("test-ok.t", "  $ echo one\n  one\n"),
            ("test-skipped.t", "#require no-such-feature-at-all\n  $ true\n"),
            ("test-skips.t", "  $ exit 80\n"),
        ],
    );
    let junit = place.path().join("junit.xml");
    let all = ["test-broken.t", "test-ok.t", "test-skips.t", "--json", "--junit", junit.to_str().unwrap()];
    let done = place.run(&over(&checkout, &all)).expect(1).tells(&["FAILED", "test-broken.t"]);
    let results = done.json();
    let expected = [("test-broken.t", "failed"), ("test-ok.t", "passed"), ("test-skips.t", "skipped")];
    assert_eq!(outcomes(&results), pairs(&expected));
    assert_eq!((&results["verdict"], &results["runner"]["value"]), (&"failed".into(), &1.into()), "{results}");
    assert_eq!(
        results["counts"],
        serde_json::json!({"total": 3, "passed": 1, "failed": 1, "timed_out": 0, "skipped": 1, "lost": 0, "not_run": 0, "flaky": 0, "muted": 0})
    );
    let broken = &results["tests"][0];
    assert!(broken["output"].as_str().unwrap().contains("$ echo one\n  one\n"), "{broken}");
    let detail = broken["detail"].as_str().unwrap();
    assert!(detail.ends_with("-  two\n+  one\n"), "{detail}");
    assert!(done.stderr.contains("-  two") && done.stderr.contains("+  one"), "{}", done.stderr);
    let run = place.latest();
    assert_eq!(results["id"], run.as_str());
    let text = std::fs::read_to_string(&junit).unwrap();
    assert_eq!(text, std::fs::read_to_string(place.state.join("runs").join(&run).join("junit.xml")).unwrap());
    let read = quick_junit::Report::deserialize_from_str(&text).unwrap();
    assert_eq!((read.tests, read.failures, read.errors), (3, 1, 0), "{text}");
    assert!(text.contains("<failure message=\"output changed\">--- "), "{text}");
    a_failure_is_looked_at(&place, &run, &checkout);
    place.assert_certified(&run);

    place.run(&over(&checkout, &["test-ok.t"])).expect(0);
    let runs = place.latest();
    let unknown = place.run(&over(&checkout, &["test-broke.t"])).expect(2);
    let unknown = unknown.tells(&["`test-broke.t`", "Did you mean `test-broken.t`?"]);
    assert!(unknown.took < Duration::from_secs(20) && place.latest() == runs, "known before anything is made");
    let skipped = place.run(&over(&checkout, &["test-skips.t"])).expect(4);
    skipped.tells(&["INCOMPLETE  1 test, 1 skipped", "every test was skipped", "`--allow-all-skipped`"]);
    let allowed = place.run(&over(&checkout, &["test-skips.t", "--allow-all-skipped"])).expect(0);
    allowed.tells(&["PASSED  0 of 1 test, 1 skipped", "Nothing is left behind"]);
    place.assert_clean();
}

#[test]
fn tests_that_failed_are_run_again_with_what_they_ran_with() {
    let place = Place::whole();
    let tests = [("test-broken.t", "  $ echo one\n  two\n"), ("test-ok.t", "  $ echo one\n  one\n")];
    let checkout = mercurial::small(place.path(), &tests);
    place.run(&over(&checkout, &["--filesystem", "tmpfs", "test-broken.t", "test-ok.t"])).expect(1);
    let run = place.latest();
    let source = ["run-tests-linux", "--source", checkout.to_str().unwrap(), "--json"];
    let again = |further: &[&str]| place.run(&[&source[..], further].concat());
    again(&["--lost-of", &run]).expect(2).tells(&["no test of run", "was lost"]);
    again(&["--failed-of", &run, "test-ok.t"]).expect(2).tells(&["cannot be used with"]);
    assert_eq!(place.latest(), run, "nothing was made for those");
    let results = again(&["--failed-of", "latest"]).expect(1).json();
    assert_eq!(outcomes(&results), pairs(&[("test-broken.t", "failed")]));
    assert_eq!((&results["filesystem"], &results["flags"][0]), (&"tmpfs".into(), &READY_HG[1].into()), "{results}");
    std::fs::write(checkout.join("tests/test-broken.t"), "  $ echo one\n  one\n").unwrap();
    hg(&checkout, &["commit", "--quiet", "--message", "mended"]);
    again(&["--failed-of", &run]).expect(0).tells(&["is checked out now", "PASSED  1 of 1 test"]);
    again(&["--failed-of", "latest"]).expect(2).tells(&["failed or timed out"]);
    place.assert_clean();
}

#[test]
fn green_tells_what_it_means() {
    let place = Place::whole();
    let tests = [("test-broken.t", "  $ echo one\n  two\n"), ("test-ok.t", "  $ echo one\n  one\n")];
    let checkout = mercurial::small(place.path(), &tests);
    // Not that of the source, which was named by its path as a shell completes it.
    let mut command = place.command(&over(&checkout, &["--json", "tests/test-ok.t"]));
    command.current_dir(&checkout);
    let done = Running::start(command).end().expect(0).tells(&["PASSED  1 of 1 test · not the source's own program"]);
    let caveats = serde_json::json!(["not the source's own program but /hgdev/venv-bootstrap/bin/hg (--with-hg)"]);
    let results = done.json();
    assert_eq!((&results["caveats"], &results["flags"]), (&caveats, &serde_json::json!([READY_HG[1]])), "{results}");
    // With a flag that compares nothing a broken test passes, and the verdict says so; with one that asks whether to accept what
    // changed nobody answers.
    let done = place.run(&[&over(&checkout, &["test-broken.t"])[..], &["--debug"]].concat()).expect(0);
    done.tells(&["PASSED  1 of 1 test · output not compared (--debug) · ", " · flags --with-hg=/"]);
    place
        .run(&[&over(&checkout, &["test-broken.t"])[..], &["--interactive"]].concat())
        .expect(1)
        .tells(&["FAILED  1 of 1"]);
    // What is left out by a flag is counted.
    let left_out = [&over(&checkout, &["test-ok.t", "test-broken.t"])[..], &["-k", "one"]].concat();
    place.run(&left_out).expect(1).tells(&["FAILED  1 of 2 tests"]);
    let left_out = [&over(&checkout, &["test-ok.t", "test-broken.t"])[..], &["-k", "test-ok"]].concat();
    place.run(&left_out).expect(0).tells(&["PASSED  1 of 2 tests, 1 skipped · "]);
    place.assert_clean();
}

#[test]
fn a_report_that_a_test_floods_is_told_and_takes_no_memory() {
    let place = Place::whole();
    let events = "/hgwork/results/events.jsonl";
    let flood = format!(
        "  $ yes '{{\"event\": \"start\", \"test\": \"x\"}}' | head -c 50000000 >>{events}\n  $ seq -f '{{\"event\": \"start\", \"test\": \
         \"%.0f\"}}' 100000 >>{events}\n  $ head -c 200000000 /dev/zero >>{events}\n  $ echo >>{events}\n"
    );
    let checkout = mercurial::small(place.path(), &[("test-floods.t", &flood), ("test-ok.t", "  $ true\n")]);
    let running = place.start(&over(&checkout, &["--json", "test-floods.t", "test-ok.t"]));
    let peak = peak_of(&running);
    let done =
        running.end().expect(4).tells(&["INCOMPLETE", "its report is not whole: it holds more than 20000 tests"]);
    assert_eq!(done.json()["verdict"], "incomplete");
    // 22 MiB were measured of its own. What is resident beside are pages of the program's file, 37 MiB of an unoptimised one.
    assert!(peak.own > 1 << 20 && peak.own < 40 << 20, "{peak:?}");
    place.assert_clean();
}

#[test]
fn a_test_that_hangs_is_lost_when_its_time_is_over() {
    let place = Place::whole();
    let tests = [("test-a-ok.t", "  $ true\n"), ("test-hangs.t", "  $ sleep 1000\n")];
    let checkout = mercurial::small(place.path(), &tests);
    let arguments = ["--timeout", "15s", "--json", "test-a-ok.t", "test-hangs.t"];
    let done = place.run(&over(&checkout, &arguments)).expect(4).tells(&["INCOMPLETE", "test-hangs.t"]);
    let results = done.json();
    assert_eq!(results["verdict"], "incomplete");
    assert_eq!(outcomes(&results), pairs(&[("test-a-ok.t", "passed"), ("test-hangs.t", "lost")]));
    assert_eq!(results["runner"]["kind"], "lost", "{results}");
    assert!(done.took < Duration::from_secs(90));
    place.assert_clean();
}

#[test]
fn a_test_that_runs_out_of_the_runners_patience_is_told_as_timed_out() {
    let place = Place::whole();
    let tests = [("test-a-ok.t", "  $ true\n"), ("test-hangs.t", "  $ sleep 1000\n")];
    let checkout = mercurial::small(place.path(), &tests);
    let arguments = [&over(&checkout, &["--json", "test-a-ok.t", "test-hangs.t"])[..], &["--timeout", "3"]].concat();
    let done = place.run(&arguments).expect(1);
    let done = done.tells(&["FAILED  1 of 2 tests (1 timed out)", "test-hangs.t  timed out"]);
    let results = done.json();
    assert_eq!(outcomes(&results), pairs(&[("test-a-ok.t", "passed"), ("test-hangs.t", "timed_out")]));
    assert_eq!((&results["counts"]["failed"], &results["counts"]["timed_out"]), (&1.into(), &1.into()), "{results}");
    let cell = &results["cells"][0];
    assert_eq!((&cell["verdict"], &cell["counts"]), (&"failed".into(), &results["counts"]), "{results}");
    for test in results["tests"].as_array().unwrap() {
        assert_eq!((&test["machine"], &test["attempt"]), (&cell["machines"][0], &1.into()), "{results}");
    }
    place.assert_clean();
}

#[test]
fn a_machine_that_dies_under_its_tests_makes_them_lost() {
    let place = Place::whole();
    let tests = [("test-a-ok.t", "  $ true\n"), ("test-hangs.t", "  $ sleep 1000\n")];
    let checkout = mercurial::small(place.path(), &tests);
    let all = over(&checkout, &["--json", "test-a-ok.t", "test-hangs.t"]);
    let running = place.start(&[&all[..], &["-j2"]].concat());
    running.wait_for("running 2 tests");
    let machine = std::fs::read_dir(place.state.join("machines")).unwrap().flatten().next().unwrap().path();
    let facts: Value = serde_json::from_slice(&std::fs::read(machine.join("guard.json")).unwrap()).unwrap();
    let init = i32::try_from(facts["init"]["pid"].as_i64().unwrap()).unwrap();
    running.wait_for("processes \n.");
    // The report is followed beside the output; nothing can be seen here of how far that is.
    std::thread::sleep(Duration::from_secs(1));
    rustix::process::kill_process(rustix::process::Pid::from_raw(init).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    let done = running.end_within(Duration::from_secs(120)).expect(4).tells(&["INCOMPLETE", "Nothing is left behind"]);
    let results = done.json();
    assert_eq!(outcomes(&results), pairs(&[("test-a-ok.t", "passed"), ("test-hangs.t", "lost")]), "{results}");
    assert_eq!(results["runner"]["kind"], "lost");
    place.assert_certified(results["id"].as_str().unwrap());
    place.assert_clean();
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let place = Place::whole();
    let checkout = mercurial::small(place.path(), &[("test-ok.t", "  $ sleep 2\n")]);
    let runs = [(); 2].map(|()| place.start(&over(&checkout, &["--json", "test-ok.t"])));
    let ids: Vec<String> =
        runs.into_iter().map(|run| run.end().expect(0).json()["id"].as_str().unwrap().to_owned()).collect();
    assert_ne!(ids[0], ids[1]);
    ids.iter().for_each(|id| drop(place.assert_certified(id)));
    place.assert_clean();
}

#[test]
fn related_history_and_uncommitted_changes_travel() {
    let place = Place::whole();
    let checkout = mercurial::related(place.path());
    let test = |name: &str| checkout.join("tests").join(name);
    std::fs::write(test("test-new.t"), "  $ cat \"$TESTDIR/data.txt\"\n  committed\n").unwrap();
    std::fs::write(test("data.txt"), "committed\n").unwrap();
    hg(&checkout, &["commit", "-q", "-A", "-m", "new"]);
    let done = place.run(&over(&checkout, &["--json", "test-new.t"])).expect(0);
    let node = hg(&checkout, &["log", "-r", ".", "-T", "{node}"]);
    let source = done.json()["source"].as_str().unwrap().to_owned();
    assert!(source.contains(&node), "{source}");
    assert_eq!(done.json()["revision"], node.as_str());

    // Modified, added, removed and renamed; blanks are a change, whatever the user's `hg diff` leaves out.
    std::fs::write(checkout.join(".hg/hgrc"), "[diff]\nignorews = True\nignoreblanklines = True\nnoprefix = True\n")
        .unwrap();
    std::fs::write(test("data.txt"), "commit ted\n").unwrap();
    let told = ["FAILED  1 of 1 test", " + changes"];
    place.run(&over(&checkout, &["--working-copy", "test-new.t"])).expect(1).tells(&told);
    std::fs::write(test("data.txt"), "changed\n").unwrap();
    std::fs::write(
        test("test-added.t"),
        "  $ cat \"$TESTDIR/data.txt\"\n  changed\n  $ ls \"$TESTDIR\" | grep -c -e '^test-add.t$' -e '^test-new.t$'\n  0\n  \
         [1]\n  $ test -x \"$TESTDIR/run-tests.py\"\n",
    )
    .unwrap();
    std::fs::write(
        test("test-unknown.t"),
        "  $ cat \"$TESTDIR/unknown.data\"\n  unknown\n  $ ls \"$TESTDIR\" | grep -c '\\.ignored$'\n  0\n  [1]\n",
    )
    .unwrap();
    std::fs::write(test("unknown.data"), "unknown\n").unwrap();
    std::fs::write(test("left.ignored"), "").unwrap();
    std::fs::write(checkout.join(".hg/rules"), "syntax: glob\n*.ignored\n").unwrap();
    let settings = std::fs::read_to_string(checkout.join(".hg/hgrc")).unwrap();
    std::fs::write(checkout.join(".hg/hgrc"), settings + "[ui]\nignore.test = .hg/rules\n").unwrap();
    hg(&checkout, &["add", "-q", "tests/test-added.t"]);
    hg(&checkout, &["remove", "-q", "tests/test-add.t"]);
    hg(&checkout, &["rename", "-q", "tests/test-new.t", "tests/test-renamed.t"]);
    let without = place.run(&over(&checkout, &["--json", "test-new.t"])).expect(0);
    let without = without.tells(&["changes of 5 files are not sent; `--working-copy` sends them"]).json();
    assert_eq!(without["counts"]["passed"], 1, "without the flag the committed state is tested");
    let with = place.run(&over(&checkout, &["--working-copy", "--json", "test-added.t"])).expect(0).json();
    assert!(with["source"].as_str().unwrap().contains("uncommitted changes"), "{with}");
    assert_eq!((&with["working_copy"], &without["working_copy"]), (&true.into(), &false.into()));
    place.run(&over(&checkout, &["--working-copy", "test-unknown.t"])).expect(0);
    std::fs::write(test(".env"), "").unwrap();
    place
        .run(&over(&checkout, &["--working-copy", "test-unknown.t"]))
        .expect(2)
        .tells(&["looks like a credential", "tests/.env"]);
    place.run(&over(&checkout, &["--working-copy", "--allow-file", "tests/.env", "test-unknown.t"])).expect(0);
    std::fs::remove_file(test(".env")).unwrap();
    let changed = place.run(&over(&checkout, &["--working-copy", "test-renamed.t"])).expect(1);
    changed.tells(&["FAILED  1 of 1 test", &format!("{} + changes · debian12", &node[..12])]);
    place.run(&over(&checkout, &["--working-copy", "test-new.t"])).expect(2).tells(&["`test-new.t`"]);

    // An older revision, by name; a secret one.
    let older = place.run(&over(&checkout, &["--revision", ".^", "test-new.t"])).expect(2);
    older.tells(&["`test-new.t`"]);
    hg(&checkout, &["commit", "-q", "-m", "secret", "--secret"]);
    place.run(&over(&checkout, &["test-added.t"])).expect(2).tells(&["secret", "hg phase --draft"]);
    place.run(&over(&checkout, &["--revision", "nope", "test-added.t"])).expect(2).tells(&["`nope`"]);
    place.assert_clean();
}

#[test]
fn a_changed_tree_is_built_once_and_tested() {
    let place = Place::whole();
    let _alone = alone();
    let checkout = mercurial::related(place.path());
    let file = checkout.join("mercurial/commands.py");
    let text = std::fs::read_to_string(&file).unwrap();
    // Every file that is added is told of in a way that the real test does not expect.
    let broken = text.replacen("def add(ui, repo, *pats, **opts):", "def add(ui, repo, *pats, **opts):\n    ui.warn(b'broken\\n')\n    return add_(ui, repo, *pats, **opts)\n\n\ndef add_(ui, repo, *pats, **opts):", 1);
    assert_ne!(text, broken);
    std::fs::write(&file, broken).unwrap();
    let arguments =
        ["run-tests-linux", "--source", checkout.to_str().unwrap(), "--working-copy", "--json", "test-add.t"];
    let tested = |built: &str, done: &Done| {
        let results = done.json();
        assert_eq!((outcomes(&results), &results["built"]), (pairs(&[("test-add.t", "failed")]), &built.into()));
        assert!(results["tests"][0]["detail"].as_str().unwrap().contains("+  broken"), "{results}");
        let time = |part: &str| results["time"][part].as_f64().unwrap();
        assert!(time("push") > 0.0 && time("build") > 0.0, "{results}");
        // The machine's record of the tests is in whole seconds.
        let parts: f64 = ["image", "setup", "push", "build", "tests"].map(time).iter().sum();
        assert!(parts < time("total") + 1.0, "{results}");
    };
    let first = place.run(&arguments).expect(1).tells(&["Building ", ", build "]);
    tested("made", &first);
    assert!(place.steps().contains("| Mercurial Distributed SCM"), "what the build says is in the log of steps");
    // The changeset's own build fits, because no file that a build reads is changed.
    tested(
        "kept",
        &place.run(&arguments).expect(1).tells(&["that was kept is used again", "no file that a build reads"]),
    );

    // One that is read, and cannot be compiled.
    let file = checkout.join("mercurial/cext/base85.c");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("#error deliberately broken\n{text}")).unwrap();
    let done =
        place.run(&arguments).expect(3).tells(&["Building ", "NOT RUN", "deliberately broken", "runs logs", "--steps"]);
    let results = done.json();
    assert_eq!((&results["verdict"], outcomes(&results)), (&"not_run".into(), pairs(&[("test-add.t", "not_run")])));
    assert!(results["said"].as_str().unwrap().contains("error"), "{results}");
    place.assert_certified(results["id"].as_str().unwrap());

    let kept = place.json(&["image", "gc", "--all", "--dry-run", "--json"]);
    let builds = kept.as_array().unwrap().iter().filter(|row| row["kind"] == "build").count();
    assert_eq!(builds, 1, "what failed is not kept: {kept}");
    place.assert_clean();
}

#[test]
fn a_runner_that_says_more_than_names_is_asked_for_them_all_the_same() {
    let place = Place::whole();
    let readme = include_str!("../../README.md");
    assert!(readme.contains("`automation run-tests-linux test-add.t -- --verbose`"));
    // What the README says, with a shorter test.
    for flag in ["--verbose", "--restart"] {
        let done = place.run(&["run-tests-linux", "--json", "test-empty-dir.t", "--", flag]).expect(0).json();
        assert_eq!(outcomes(&done), pairs(&[("test-empty-dir.t", "passed")]), "{flag}");
    }
    place.assert_clean();
}

#[test]
fn a_build_that_the_runner_makes_is_no_part_of_its_tests() {
    let place = Place::whole();
    let _alone = alone();
    let arguments = ["run-tests-linux", "--json", "test-empty-dir.t", "--", "--pure"];
    let done = place.run(&arguments).expect(0).tells(&["builds and installs Mercurial first", ", build ", "--pure"]);
    let results = done.json();
    assert_eq!(results["built"], "runner", "{results}");
    let time = |part: &str| results["time"][part].as_f64().unwrap();
    let test = results["tests"][0]["seconds"].as_f64().unwrap();
    // What its tests took beside is the runner's own start and end.
    assert!(time("build") > 1.0 && time("tests") < test + time("build"), "{results}");
    place.assert_clean();
}

#[test]
fn a_source_that_cannot_be_built_is_not_run_and_says_why() {
    let place = Place::whole();
    let checkout = mercurial::small(place.path(), &[("test-a.t", "  $ true\n")]);
    let arguments = ["run-tests-linux", "--source", checkout.to_str().unwrap(), "--json", "test-a.t"];
    // There is a runner, and nothing that it could build.
    let done =
        place.run(&arguments).expect(3).tells(&["NOT RUN  1 test · hg ", "The last lines of the build:", "hint:"]);
    let results = done.json();
    assert_eq!((&results["verdict"], &results["counts"]["not_run"]), (&"not_run".into(), &1.into()), "{results}");
    assert_eq!(outcomes(&results), pairs(&[("test-a.t", "not_run")]));
    assert!(results["said"].as_str().unwrap().contains("setup.py"), "{results}");
    assert!(results["time"]["build"].as_f64().unwrap() > 0.0 && results["time"]["tests"] == 0.0, "{results}");
    let run = place.latest();
    assert_eq!(place.json(&["runs", "show", &run, "--json"])["exit_code"], 3);
    place.run(&["runs", "attach", &run]).expect(3).tells(&["NOT RUN"]);
    place.assert_certified(&run);
    place.assert_clean();
}

#[test]
fn what_a_distribution_lacks_for_the_build_is_known_before_anything_boots() {
    let place = Place::new();
    let checkout = place.path().join("checkout");
    std::fs::create_dir_all(checkout.join("tests")).unwrap();
    std::fs::write(checkout.join("tests/run-tests.py"), "").unwrap();
    let needs = |text: &str| std::fs::write(checkout.join("pyproject.toml"), text).unwrap();
    needs("[build-system]\nrequires = [\"setuptools>=77\", \"setuptools-scm>=8.1.0\"]\n");
    hg(&checkout, &["init"]);
    hg(&checkout, &["commit", "--quiet", "--addremove", "--message", "new"]);
    let on = |further: &[&str]| {
        place.run(&[&["run-tests-linux", "--source", checkout.to_str().unwrap()][..], further].concat()).expect(2)
    };
    for distro in ["debian12", "ubuntu22.04"] {
        let done = on(&["--distro", distro]);
        done.tells(&[
            distro,
            "setuptools >=77 (it has",
            "setuptools-scm >=8.1.0 (it has none)",
            "`debian13` and `ubuntu24.04` can",
        ]);
    }
    // As it is sent: uncommitted changes count with `--working-copy` alone.
    needs("[build-system]\nrequires = [\"setuptools>=1000\"]\n");
    on(&["--distro", "debian12"]).tells(&["setuptools >=77"]);
    let none = on(&["--working-copy"]);
    none.tells(&[
        "no distribution has what the build",
        "debian13 lacks setuptools >=1000 (it has 78.1.1)",
        "--revision REV",
    ]);
    on(&["--working-copy", "--distro", "debian13"]).tells(&["No distribution can"]);
    // A Python is sought where the build is possible, and not elsewhere.
    needs("[build-system]\nrequires = [\"setuptools>=77\"]\n");
    on(&["--working-copy", "--python-version", "3.99"]).tells(&["`debian13` has no python-version `3.99`"]);
    let images = place.run(&["image", "list"]).expect(0).text();
    assert!(!images.contains("linux-dev"), "nothing was made: {images}");
    place.assert_clean();
}

#[test]
fn the_work_folder_is_on_the_file_system_that_was_asked_for() {
    if !is_root() {
        return skip("only root can make file systems on a volume");
    }
    let place = Place::whole();
    let test = "  $ stat -f -c %T \"$TESTTMP\"\n  KIND\n";
    let kinds = [("tmpfs", "tmpfs"), ("ext4", "ext2/ext3"), ("xfs", "xfs"), ("btrfs", "btrfs")];
    let texts: Vec<(String, String)> =
        kinds.iter().map(|(name, kind)| (format!("test-{name}.t"), test.replace("KIND", kind))).collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let checkout = mercurial::small(place.path(), &texts);
    let known = std::fs::read_to_string("/proc/filesystems").unwrap();
    for ((name, _), (test, _)) in kinds.iter().zip(&texts) {
        if !known.split_whitespace().any(|known| known == *name) {
            skip(&format!("this kernel may not know {name}"));
            continue;
        }
        place.run(&over(&checkout, &["--filesystem", name, test])).expect(0);
        place.assert_certified(&place.latest());
    }
    if !known.contains("jfs") {
        let done = place.run(&over(&checkout, &["--filesystem", "jfs", "test-tmpfs.t"])).expect(3);
        done.tells(&["jfs", "kernel", "hint:", "Nothing was made"]);
        // That is known before an image is baked for it.
        let fresh = Place::new();
        fresh.run(&over(&checkout, &["--filesystem", "jfs", "test-tmpfs.t"])).expect(3).tells(&["jfs", "kernel"]);
        assert_eq!(fresh.json(&["image", "list", "--json"]).as_array().unwrap().len(), 0);
    }
    place.assert_clean();
}

#[test]
fn artifacts_come_home_of_tests_that_fail_and_of_those_that_were_left() {
    let place = Place::whole();
    let leaves =
        "  $ mkdir -p /hgwork/out/deep\n  $ echo whole > /hgwork/out/deep/a.txt\n  $ echo x > \"/hgwork/out/b c\"\n";
    let checkout =
        mercurial::small(place.path(), &[("test-leaves.t", leaves), ("test-fails.t", "  $ echo one\n  two\n")]);
    let patterns = ["--artifact", "out/**", "--optional-artifact", "none/*"];
    // A pattern that had to match and did not is told, and the tests' own failure stays the exit code.
    let done = place.run(&over(&checkout, &[&patterns[..], &["--artifact", "lost/*", "--json"]].concat())).expect(1);
    let results = done.json();
    let found = &results["artifacts"];
    assert_eq!((&found["files"], &found["bytes"]), (&2.into(), &8.into()), "{results}");
    assert_eq!(found["missing"], serde_json::json!(["lost/*"]));
    let done = done.tells(&["not all artifacts could be fetched", "lost/*"]);
    assert!(!done.stderr.contains("none/*"), "{}", done.stderr);
    let home = place.state.join("runs").join(place.latest()).join("artifacts");
    assert_eq!(std::fs::read_to_string(home.join("out/deep/a.txt")).unwrap(), "whole\n");
    assert_eq!(std::fs::read_to_string(home.join("out/b c")).unwrap(), "x\n");
    // Whoever attaches fetches what was asked for at the start.
    let into = place.path().join("elsewhere");
    let asked = [&["--detach", "--artifacts", into.to_str().unwrap(), "test-leaves.t"], &patterns[..]].concat();
    place.run(&over(&checkout, &asked)).expect(0);
    place.run(&["runs", "attach"]).expect(0).tells(&["Artifacts: ", "elsewhere"]);
    assert_eq!(std::fs::read_to_string(into.join("out/deep/a.txt")).unwrap(), "whole\n");
    // Alone it decides.
    place.run(&over(&checkout, &["--artifact", "lost/*", "test-leaves.t"])).expect(3).tells(&["PASSED", "lost/*"]);
    place.run(&over(&checkout, &["--artifact", "../x"])).expect(2);
    place.assert_clean();
}

#[test]
fn a_muted_failure_is_shown_and_does_not_count_whoever_judges() {
    let place = Place::whole();
    let broken = "  $ echo one\n  two\n";
    let tests = [("test-ok.t", "  $ true\n"), ("test-broken.t", broken), ("test-worse.t", broken)];
    let checkout = mercurial::small(place.path(), &tests);
    let file = place.path().join("mutes.toml");
    let entry = |test: &str, expires: &str| {
        format!("[[mute]]\ntest = \"{test}\"\nexpires = {expires}\nreason = \"issue 6789\"\n")
    };
    std::fs::write(&file, entry("test-b*", "2999-12-31") + &entry("test-worse.t", "2020-01-01")).unwrap();
    let muted = ["--mute", file.to_str().unwrap()];
    let done = place.run(&over(&checkout, &[&muted[..], &["--json", "test-ok.t", "test-broken.t"]].concat())).expect(0);
    let results = done.json();
    assert_eq!(
        (&results["verdict"], &results["counts"]["failed"], &results["counts"]["muted"]),
        (&"passed".into(), &1.into(), &1.into())
    );
    assert_eq!(
        (&results["cells"][0]["verdict"], &results["tests"][0]["outcome"]),
        (&"passed".into(), &"failed".into())
    );
    assert_eq!(results["tests"][0]["muted"], serde_json::json!({"reason": "issue 6789", "expires": "2999-12-31"}));
    assert!(results["tests"][1].get("muted").is_none(), "{results}");
    let done = done.tells(&[
        "PASSED  1 of 2 tests, 1 muted failure",
        "Failed and muted:",
        "muted until 2999-12-31: issue 6789",
    ]);
    done.tells(&["`test-worse.t` is not muted any more: its entry expired on 2020-01-01"]);
    let run = place.latest();
    let junit = std::fs::read_to_string(place.state.join("runs").join(&run).join("junit.xml")).unwrap();
    assert!(junit.contains("failures=\"0\"") && junit.contains("type=\"muted\""), "{junit}");
    let shown = place.run(&["runs", "show", &run, "--failed"]).expect(0).text();
    assert!(shown.contains("test-broken.t") && shown.contains("muted until 2999-12-31"), "{shown}");
    place
        .run(&over(&checkout, &[&muted[..], &["test-worse.t", "test-broken.t"]].concat()))
        .expect(1)
        .tells(&["FAILED  1 of 2 tests, 1 muted failure"]);
    // Whoever attaches judges by the same list, whatever became of the file.
    place.run(&over(&checkout, &[&muted[..], &["--detach", "test-ok.t", "test-broken.t"]].concat())).expect(0);
    std::fs::remove_file(&file).unwrap();
    place.run(&["runs", "attach"]).expect(0).tells(&["PASSED  1 of 2 tests, 1 muted failure"]);
    place.assert_clean();
}

/// What a person does after a failure, on the run of `test-broken.t`: see it, and accept it.
fn a_failure_is_looked_at(place: &Place, run: &str, checkout: &std::path::Path) {
    let failed = place.run(&["runs", "show", run, "--failed"]).expect(0).text();
    assert!(failed.contains("test-broken.t  failed") && !failed.contains("test-ok.t"), "{failed}");
    for words in [&["--failed", "--diff"][..], &["test-broken.t"]] {
        let shown = place.run(&[&["runs", "show", run][..], words].concat()).expect(0).text();
        assert!(shown.contains("-  two\n+  one\n") && shown.contains("Whole output: "), "{shown}");
    }
    place.run(&["runs", "show", run, "test-nothing.t"]).expect(2).tells(&["had no test `test-nothing.t`"]);
    let file = checkout.join("tests/test-broken.t");
    let accept = |words: &[&str]| {
        place.run(&[&["runs", "accept", "--from", run, "--source", checkout.to_str().unwrap()][..], words].concat())
    };
    accept(&["test-ok.t"]).expect(2).tells(&["was not compared, or was as expected: it passed"]);
    let planned = accept(&["--dry-run"]).expect(0).tells(&["Would write", "tests/test-broken.t"]).text();
    assert!(planned.contains("-  two\n+  one\n"), "{planned}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "  $ echo one\n  two\n");
    accept(&["test-broken.t"]).expect(0).tells(&["Wrote", "tests/test-broken.t"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "  $ echo one\n  one\n");
    accept(&[]).expect(2).tells(&["is not what it was when `test-broken.t` ran", "Nothing was written"]);
}
