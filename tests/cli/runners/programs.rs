//! The programs of presets on this computer, over runners that are here and over stand-ins for those that are not.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::tool::{Place, skip};

/// A folder for a project, and what the programs have around them.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(desk.path("bin")).unwrap();
        fs::create_dir_all(desk.path("src")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A stand-in for a runner.
    fn stands_in(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A program with the environment that it has on a machine.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.args(args).current_dir(self.path("src")).env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.env("AUTOMATION_REPORT", self.path("report")).env("TMPDIR", self.folder.path());
        command.env("AUTOMATION_FILES", support::root().join("remote/runners"));
        command.env("CARGO_TARGET_DIR", self.path("target")).stdin(Stdio::null());
        command
    }

    /// A script of `remote/runners`.
    fn run(&self, script: &str, args: &[&str]) -> Output {
        let script = support::root().join("remote/runners").join(script);
        self.command("bash", &[&[script.to_str().unwrap()], args].concat()).output().unwrap()
    }

    /// The formatter of bats over what bats said.
    fn format(&self, names: &str, stream: &str) -> Vec<Value> {
        self.write("report.names", names);
        let script = support::root().join("remote/runners/bats-events.sh");
        let mut command = self.command("bash", &[script.to_str().unwrap()]);
        let mut formatter = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let here = self.path("src").display().to_string();
        formatter.stdin.take().unwrap().write_all(stream.replace("HERE", &here).as_bytes()).unwrap();
        assert!(formatter.wait().unwrap().success());
        self.events()
    }

    /// What the report says so far.
    fn events(&self) -> Vec<Value> {
        json_lines(&fs::read(self.path("report")).unwrap_or_default())
    }
}

fn json_lines(text: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(text).into_owned();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn lines(done: &Output) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stdout).lines().map(str::to_owned).collect()
}

/// `TEST OUTCOME REASON` of the tests that came to an end.
fn finished(events: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let ended = events.iter().filter(|event| event["event"] == "finish");
    ended
        .map(|event| format!("{} {} {}", text(&event["test"]), text(&event["outcome"]), text(&event["reason"])))
        .collect()
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

#[test]
fn nextest_reports_what_is_ignored_and_its_list_knows_which_flags_choose() {
    if !on_path("cargo-nextest") {
        return skip("there is no `cargo-nextest` on the path");
    }
    let desk = Desk::new();
    support::copy_folder(&support::root().join("tests/fixtures/runners/cargo-nextest"), &desk.path("src"));
    let script = "nextest-tests.sh";
    let chosen =
        ["-E", "test(passes) | binary(idle)", "-j", "1", "--retries=2", "--no-fail-fast", "--status-level", "fail"];
    let listed = lines(&desk.run(script, &[&["list"], &chosen[..]].concat()));
    assert_eq!(listed, ["sums::sums$tests::passes", "sums::idle$sleeps", "sums::other$passes"]);
    let only = lines(&desk.run(script, &["list", "--run-ignored", "only"]));
    assert_eq!(only, ["sums::sums$tests::skips", "sums::idle$sleeps"]);

    let events = |args: &[&str]| -> Vec<String> {
        let done = desk.run(script, &[&["run"], args].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let all = json_lines(&done.stdout);
        let count = |event: &str| all.iter().filter(|line| line["type"] == "suite" && line["event"] == event).count();
        assert_eq!(count("started"), count("ok"), "{all:?}");
        let tests = all.iter().filter(|line| line["type"] == "test");
        let mut told: Vec<String> = tests
            .map(|line| format!("{} {}", line["name"].as_str().unwrap(), line["event"].as_str().unwrap()))
            .collect();
        told.sort();
        told
    };
    assert_eq!(events(&["--", "sums::idle$sleeps"]), ["sums::idle$sleeps ignored"]);
    let one = ["sums::sums$tests::passes ok", "sums::sums$tests::passes started"];
    assert_eq!(events(&["--", "sums::sums$tests::passes"]), one, "one that is ignored is in the same binary");
    let other = ["sums::other$passes ok", "sums::other$passes started"];
    assert_eq!(
        events(&[&chosen[..], &["--"]].concat()),
        [&["sums::idle$sleeps ignored"], &other[..], &one[..]].concat()
    );
    assert_eq!(events(&[&chosen[..], &["--", "sums::other$passes"]].concat()), other);
    let all = events(&["--run-ignored=only", "--"]);
    assert!(all.contains(&"sums::idle$sleeps ok".to_owned()) && all.contains(&"sums::sums$tests::skips ok".to_owned()));
}

#[test]
fn prove_tells_a_status_from_a_signal_and_one_that_will_not_end_from_one_that_fails() {
    if !on_path("prove") {
        return skip("there is no `prove` on the path");
    }
    let desk = Desk::new();
    desk.write("src/t/dies.t", "print \"1..1\\nok 1\\n\";\ndie \"no disk\\n\";\n");
    desk.write("src/t/killed.t", "$| = 1;\nprint \"1..1\\nok 1\\n\";\nkill 'KILL', $$;\n");
    desk.write("src/t/leaves.t", "print \"1..1\\nok 1\\n\";\nexit 137;\n");
    desk.write("src/t/stubborn.t", "$SIG{TERM} = 'IGNORE';\nsleep 1 while 1;\n");
    let files = format!("-I{}", support::root().join("remote/runners").display());
    let mut command = desk.command(
        "perl",
        &[&files, "-S", "prove", "-j4", "-PProveEvents", "t/dies.t", "t/killed.t", "t/leaves.t", "t/stubborn.t"],
    );
    command.env("AUTOMATION_TEST_TIMEOUT", "2").output().unwrap();
    let mut told = finished(&desk.events());
    told.sort();
    let expected = [
        "t/dies.t failed exit status 255",
        "t/killed.t failed ended by signal 9",
        "t/leaves.t failed exit status 137",
        "t/stubborn.t timed_out timed out after 2 s",
    ];
    assert_eq!(told, expected);
}

#[test]
fn flags_of_go_that_say_what_is_built_go_to_its_list_and_those_that_choose_are_refused() {
    let desk = Desk::new();
    desk.stands_in("go", "echo \"$*\" >>\"$AUTOMATION_REPORT\"\n[ $1 = test ] && echo TestOne || echo x/a");
    let listed =
        desk.run("go-tests.sh", &["list", "-v", "-tags", "deep", "-count=1", "-mod=vendor", "-race", "-short"]);
    assert_eq!(lines(&listed), ["x/a.TestOne"]);
    let asked = fs::read_to_string(desk.path("report")).unwrap();
    assert_eq!(asked, "list -tags deep -mod=vendor -race ./...\ntest -list . -tags deep -mod=vendor -race x/a\n");
    for flag in ["-run=X", "-skip", "--bench=."] {
        let refused = desk.run("go-tests.sh", &["list", flag, "X"]);
        assert_eq!(refused.status.code(), Some(64), "{flag}");
    }
    // A list of what cannot be read is none.
    desk.stands_in("go", "exit 1");
    assert!(!desk.run("go-tests.sh", &["list"]).status.success());
}

#[test]
fn what_ctest_disabled_is_listed_by_its_name_under_the_flags_that_choose() {
    let desk = Desk::new();
    desk.stands_in(
        "ctest",
        "echo \"$*\" >&2\nprintf '  Test  #1: off (Disabled)\\n  Test #2: on (1)\\n\\nTotal Tests: 2\\n'",
    );
    let presets = Place::new().json(&["run-tests", "--presets", "--json"]);
    let ctest = presets.as_array().unwrap().iter().find(|preset| preset["name"] == "ctest").unwrap().clone();
    let line = format!("flags=(-L 'a b'); {}", ctest["list"].as_str().unwrap());
    let done = desk.command("bash", &["-c", &line]).output().unwrap();
    assert_eq!(lines(&done), ["off", "on (1)"]);
    assert_eq!(String::from_utf8_lossy(&done.stderr), "--test-dir build -N -L a b\n");
}

const GREETS: &str = "begin 1 greets world\nok 1 greets world in 16ms\nbegin 2 two\nok 2 two in 5ms\n";

#[test]
fn hooks_of_bats_that_fail_are_told_and_names_are_those_of_the_file() {
    let names = "a.bats: greets $WHO\na.bats: two\nb.bats: other\n";
    let other = "suite HERE/b.bats\nbegin 3 other\nok 3 other in 9ms\n";
    let desk = Desk::new();
    let all = desk.format(names, &format!("1..3\nsuite HERE/a.bats\n{GREETS}{other}"));
    assert_eq!(finished(&all), ["a.bats: greets $WHO passed -", "a.bats: two passed -", "b.bats: other passed -"]);
    assert_eq!(all[0]["test"], "a.bats: greets $WHO");

    let desk = Desk::new();
    let setup = "suite HERE/a.bats\nnot ok 1 setup_file failed\n# (from function `setup_file')\n# no server\n";
    let all =
        desk.format(names, &format!("1..3\n{setup}{other}# bats warning: Executed 2 instead of expected 3 tests\n"));
    let expected = [
        "a.bats: greets $WHO errored setup_file failed",
        "a.bats: two errored setup_file failed",
        "b.bats: other passed -",
    ];
    assert_eq!(finished(&all), expected);
    assert_eq!(all[0]["text"], "(from function `setup_file')\nno server\n");
    assert!(desk.path("report.whole").exists(), "each test of the plan has a result");

    let desk = Desk::new();
    let teardown = format!("1..3\nsuite HERE/a.bats\n{GREETS}not ok 3 teardown_file failed\n# no end\n{other}");
    let all = desk.format(names, &teardown);
    assert_eq!(finished(&all).len(), 3);
    let fault = all.iter().find(|event| event["event"] == "fault").unwrap();
    assert_eq!(fault["text"], "teardown_file of a.bats failed");
    // A test may be called as bats calls a hook.
    let desk = Desk::new();
    let named = "1..1\nsuite HERE/a.bats\nbegin 1 setup_file failed\nnot ok 1 setup_file failed in 3ms\n# why\n";
    assert_eq!(finished(&desk.format("a.bats: setup_file failed\n", named)), ["a.bats: setup_file failed failed why"]);
}

#[test]
fn bats_tells_a_test_as_soon_as_it_begins() {
    let desk = Desk::new();
    let script = support::root().join("remote/runners/bats-events.sh");
    let mut command = desk.command("bash", &[script.to_str().unwrap()]);
    let mut formatter = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stream = formatter.stdin.take().unwrap();
    stream.write_all(b"1..2\nsuite a.bats\nbegin 1 one\n").unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while desk.events().is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(desk.events()[0]["test"], "a.bats: one");
    drop(stream);
    assert!(formatter.wait().unwrap().success());
}

#[test]
fn a_filter_of_bats_goes_for_its_list_and_one_that_cannot_be_listed_is_refused() {
    let desk = Desk::new();
    desk.write("src/a.bats", "@test \"adds\" {\n}\n@test 'takes \"away\"' {\n}\n");
    assert_eq!(lines(&desk.run("bats-tests.sh", &["list", "--filter", "^take"])), ["a.bats: takes \"away\""]);
    assert_eq!(lines(&desk.run("bats-tests.sh", &["list", "-T"])).len(), 2);
    for flag in [&["--filter-tags", "x"][..], &["--filter-status=failed"]] {
        let refused = desk.run("bats-tests.sh", &[&["list"], flag].concat());
        assert_eq!(refused.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("is not supported"));
    }
}
