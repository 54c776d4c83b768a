//! `run-tests`: what a file declares, on a real machine whose tests are lines of shell.

use std::path::PathBuf;

use serde_json::Value;
use support::tool::{Done, Place};

/// A project whose three tests are called `a`, `b c` and `ü`.
struct Project {
    place: Place,
    folder: PathBuf,
}

const LIST: &str = "list = \"printf '%s\\\\n' a 'b c' 'ü'\"\n";

impl Project {
    fn new() -> Self {
        let place = Place::small();
        let folder = place.path().join("sums");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("data"), "1\n").unwrap();
        Self { place, folder }
    }

    /// Declares the tests.
    fn declare(&self, text: &str) {
        std::fs::write(self.folder.join("tests.toml"), text).unwrap();
    }

    /// The same with the usual list, a TAP report on standard output and the lines of `run`.
    fn prints(&self, run: &str) {
        self.declare(&format!("{LIST}run = '''\n{run}\n'''\nreport = {{ format = 'tap', output = true }}\n"));
    }

    fn words<'a>(&self, further: &[&'a str]) -> Vec<&'a str> {
        [&["run-tests", "--config", "tests.toml"][..], further].concat()
    }

    fn run(&self, further: &[&str]) -> Done {
        let mut command = self.place.command(&self.words(further));
        command.current_dir(&self.folder);
        support::tool::Running::start(command).end()
    }
}

fn outcomes(results: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tests = results["tests"].as_array().unwrap();
    tests
        .iter()
        .map(|test| format!("{}={} ", text(&test["name"]), text(&test["outcome"])))
        .collect::<String>()
        .trim()
        .to_owned()
}

const ALL: &str = "echo 1..3; echo ok 1 - a; echo ok 2 - b c; echo ok 3 - ü";

#[test]
fn a_report_that_lies_is_never_green() {
    let project = Project::new();
    project.prints(ALL);
    let results = project.run(&["--json"]).expect(0).json();
    assert_eq!((outcomes(&results).as_str(), &results["gap"]), ("a=passed b c=passed ü=passed", &Value::Null));
    let without = ALL.replace("echo ok 2 - b c; ", "");
    for (run, said) in [
        (format!("{ALL}; exit 1"), ""),
        (format!("{ALL}; kill -KILL $$ $BASHPID"), ""),
        (":".to_owned(), "it does not say that the runner came to its end"),
        (without.clone(), "it does not say that the runner came to its end"),
        (without.replace("1..3", "1..2").replace("ok 3", "ok 2"), ""),
        (ALL.replace("1..3", "1..4"), "it does not say that the runner came to its end"),
        (format!("{}; echo ok 4 - d", ALL.replace("1..3", "1..4")), "it names the test `d`, which was not asked for"),
        (format!("{ALL}; echo ok 4 - a").replace("1..3", "1..4"), "a second result of the test `a`"),
        (format!("{ALL}; echo 1..3"), "a second plan"),
        (format!("{ALL}; echo Bail out! no disk"), "`Bail out!` (no disk)"),
    ] {
        project.prints(&run);
        let results = project.run(&["--json"]).expect(4).json();
        assert_eq!(results["verdict"], "incomplete", "{run}");
        assert!(results["gap"].as_str().unwrap_or_default().contains(said), "{run}: {results}");
    }
    // A report in a file of the source is no report of this run.
    std::fs::write(project.folder.join("old.tap"), "1..3\nok 1 - a\nok 2 - b c\nok 3 - ü\n").unwrap();
    project.declare(&format!("{LIST}run = 'true'\nreport = {{ format = 'tap', file = 'old.tap' }}\n"));
    let results = project.run(&["--json"]).expect(4).json();
    assert_eq!(outcomes(&results), "a=lost b c=lost ü=lost");
    project.place.assert_clean();
}

#[test]
fn tests_are_chosen_by_name_and_commands_have_what_was_declared() {
    let project = Project::new();
    let run = r#"
        [ "$LEVEL" = "high '1'" ] && [ "$AUTOMATION_TEST_TIMEOUT" = 90 ] && [ -f made ] && [ -f built ] || exit 9
        [ "${flags[*]}" = "-v --more" ] || exit 8
        { echo "<testsuite>"
          while IFS= read -r name; do echo "<testcase classname='x' name='$name' time='0.5'/>"; done <"$AUTOMATION_TESTS"
          echo "</testsuite>"; } >"$AUTOMATION_REPORT"
        echo kept >"$TMPDIR/../results/log.txt"
    "#;
    std::fs::create_dir_all(project.folder.join("deep")).unwrap();
    std::fs::write(project.folder.join("deep/data"), "1\n").unwrap();
    std::fs::write(project.folder.join("set-up.sh"), "sudo -n true && cat data && touch made\n").unwrap();
    let declaration = format!(
        "{LIST}name = 'sums'\nworkdir = 'deep'\nsetup-file = 'set-up.sh'\nbuild = 'touch built'\nrun = '''{run}'''\nflags = ['-v']\n\
         names = {{ as = 'file' }}\nreport = {{ format = 'junit' }}\ntest-timeout = '90s'\nartifacts = ['results/log.txt']\n\
         env = {{ LEVEL = \"high '1'\" }}\n"
    );
    project.declare(&declaration);
    let done = project.run(&["ü", "b c", "--json", "--", "--more"]).expect(0);
    let results = done.json();
    assert_eq!((outcomes(&results).as_str(), &results["program"]), ("b c=passed ü=passed", &"sums".into()));
    assert_eq!((&results["artifacts"]["files"], &results["built"]), (&1.into(), &"made".into()), "{results}");
    assert!(done.stderr.contains("Setting up: set-up.sh") && done.stderr.contains("Building sums"), "{}", done.stderr);
    // What fails before the tests says what it printed; nothing was tested.
    std::fs::write(project.folder.join("set-up.sh"), "echo there is no such package >&2; exit 100\n").unwrap();
    let failed = project.run(&["--junit", "junit.xml"]).expect(3);
    let report = std::fs::read_to_string(project.folder.join("junit.xml")).unwrap();
    assert!(report.contains("<error message=\"`Setting up: set-up.sh` failed with exit status 100"), "{report}");
    failed.tells(&[
        "`Setting up: set-up.sh` failed with exit status 100",
        "there is no such package",
        "Nothing is left behind",
    ]);
    project.place.assert_clean();
}

#[test]
fn what_is_wrong_in_the_file_is_refused_before_anything_is_made() {
    let project = Project::new();
    for (line, code, said) in [
        ("lisst = 'x'", 3, "tests.toml:5:1: unknown field `lisst`"),
        ("image = 'linux-dv'", 2, "there is no image definition `linux-dv`"),
        ("distro = 'debian1'", 2, "no distribution `debian1`"),
        ("parameters = { colour = 'red' }", 2, "no parameter `colour`"),
        ("workdir = '..'", 3, "tests.toml:5:11: `..` does not stay below the source"),
    ] {
        project.declare(&format!("{LIST}run = 'x'\nreport = {{ format = 'tap' }}\n\n{line}\n"));
        project.run(&[]).expect(code).tells(&[said]);
    }
    project.declare(&format!("{LIST}run = 'x'\nreport = {{ format = 'tap' }}\n"));
    project.run(&["--", "-x"]).expect(2).tells(&["takes no flags", "${flags[@]}"]);
    project.run(&["--source", "nowhere"]).expect(2).tells(&["`--source nowhere` is not a folder"]);
    project.place.run(&["run-tests"]).expect(2).tells(&["--config FILE"]);
    project
        .place
        .run(&["run-tests", "--config", "nowhere.toml"])
        .expect(2)
        .tells(&["cannot read `--config nowhere.toml`"]);
    assert_eq!(project.place.json(&["runs", "list", "--json"]), serde_json::json!([]));
}

#[test]
fn a_run_that_was_left_is_attached_and_cancelled_as_any_other() {
    let project = Project::new();
    let slow = format!("{}; sleep 2; echo ok 3 - ü", ALL.replace("; echo ok 3 - ü", ""));
    project.prints(&slow);
    let id = project.run(&["--detach"]).expect(0).text().trim().to_owned();
    let results = project.place.run(&["runs", "attach", &id, "--json"]).expect(0).json();
    assert_eq!((outcomes(&results).as_str(), &results["id"]), ("a=passed b c=passed ü=passed", &id.as_str().into()));
    project.prints(&slow.replace("sleep 2", "sleep 600"));
    let id = project.run(&["--detach"]).expect(0).text().trim().to_owned();
    project.place.run(&["runs", "cancel", &id]).expect(0);
    project.place.assert_clean();
}

#[test]
fn presets_are_listed() {
    let place = Place::new();
    let listed = place.json(&["run-tests", "--presets", "--json"]);
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|preset| preset["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bats", "cargo-nextest", "ctest", "go", "node", "prove", "pytest"]);
    let text = place.run(&["run-tests", "--presets"]).expect(0).text();
    let document = std::fs::read_to_string(support::root().join("docs/runners.md")).unwrap();
    for preset in listed.as_array().unwrap() {
        let (name, described) = (preset["name"].as_str().unwrap(), preset["description"].as_str().unwrap());
        assert!(text.contains(described) && document.contains(&format!("| `{name}` |")), "{preset}");
        assert!(!preset["list"].as_str().unwrap().is_empty() && preset["packages"].is_array(), "{preset}");
    }
}

#[test]
fn a_projects_own_file_declares_tests_and_those_that_failed_run_again_by_one_command() {
    let project = Project::new();
    let run = |words: &[&str]| {
        let mut command = project.place.command(&[&["run-tests"], words].concat());
        command.current_dir(&project.folder);
        support::tool::Running::start(command).end()
    };
    run(&[]).expect(2).tells(&["nothing says which tests there are", "--config FILE"]);
    let lines = "[ $# -gt 0 ] || set -- a 'b c' ü; n=0; for name; do n=$((n + 1)); not=; [ \"$name\" != 'b c' ] || not='not '; echo \"${not}ok $n - $name\"; done; echo 1..$n";
    let tests = format!("{LIST}run = '''\n{lines}\n'''\nreport = {{ format = 'tap', output = true }}\n");
    let own = project.folder.join("automation.toml");
    std::fs::write(&own, format!("image = 'linux-dev'\n[tests.all]\n{tests}")).unwrap();
    let results = run(&["--json"]).expect(1).tells(&["run-tests --failed-of"]).json();
    assert_eq!(outcomes(&results), "a=passed b c=failed ü=passed");
    let again = run(&["--json", "--failed-of", "latest"]).expect(1).json();
    assert_eq!(outcomes(&again), "b c=failed");
    run(&["--lost-of", "latest"]).expect(2).tells(&["no test of run"]);
    std::fs::write(&own, format!("[tests.all]\n{tests}[tests.none]\n{tests}")).unwrap();
    run(&[]).expect(2).tells(&["several tables of tests: `all`, `none`", "--suite NAME"]);
    run(&["--suite", "al"]).expect(2).tells(&["Did you mean `all`?"]);
    std::fs::write(&own, "[tests.all]\nlist = 'x'\nlisst = 'y'\n").unwrap();
    run(&[]).expect(3).tells(&["automation.toml:3:1", "unknown field `lisst`"]);
    project.place.assert_clean();
}

#[test]
fn a_first_file_is_written_once_and_works() {
    let project = Project::new();
    let init = |words: &[&str]| {
        let mut command = project.place.command(&[&["init"], words].concat());
        command.current_dir(&project.folder);
        support::tool::Running::start(command).end()
    };
    std::fs::write(project.folder.join("Makefile"), "check:\n\ttest -f data\n").unwrap();
    let shown = init(&["--dry-run"]).expect(0).text();
    assert!(!project.folder.join("automation.toml").exists());
    init(&[]).expect(0).tells(&["a project with a Makefile", "automation run check"]);
    assert_eq!(std::fs::read_to_string(project.folder.join("automation.toml")).unwrap(), shown);
    init(&[]).expect(2).tells(&["is there already"]);
    let mut command = project.place.command(&["run", "check", "--plan"]);
    command.current_dir(&project.folder);
    let planned = support::tool::Running::start(command).end().expect(0).text();
    assert_eq!(planned, "Makefile\nautomation.toml\ndata\n");
}
