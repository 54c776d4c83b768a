//! What a shell is offered while somebody types.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::base::id::RunId;
use model::journal::RunJournal;
use model::run::{Driver, RunRecord, RunState};
use state::dir::StateDir;
use support::terminal::Terminal;
use support::tool::{Place, binary, clear, skip};

/// A run of the past; gives its id.
fn store_run(place: &Place, minutes: u32, summary: &str) -> RunId {
    let started_at = Timestamp::now() - Duration::from_secs(60) * minutes;
    let record = RunRecord {
        id: RunId::new(started_at),
        command: "run-tests-linux".into(),
        arguments: Vec::new(),
        owner: "me@here".into(),
        driver: Driver { pid: 1, started: 1, boot: "another".into() },
        state: RunState::Ended,
        started_at,
        ended_at: Some(started_at),
        exit_code: Some(0),
        summary: Some(summary.into()),
    };
    StateDir::open(&place.state).unwrap().journal().unwrap().store_run(&record).unwrap();
    record.id
}

/// A program in surroundings where `automation` is the one under test, with the state directory of the place.
fn program(place: &Place, name: &str) -> Command {
    let mut command = Command::new(name);
    clear(&mut command, &place.home);
    let folders = [Path::new(binary()).parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")];
    command.env("PATH", std::env::join_paths(folders).unwrap()).env("AUTOMATION_STATE_PATH", &place.state);
    command.current_dir(&place.home).env("TERM", "xterm");
    command
}

/// The values that a shell is offered for the last of `words`, each with what is said of it behind a tab.
fn described(place: &Place, words: &[&str]) -> Vec<String> {
    let mut asking = program(place, binary());
    asking.env("AUTOMATION_COMPLETE", "fish").args(["--", "automation"]).args(words);
    let done = asking.output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{words:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The same without what is said of them.
fn offered(place: &Place, words: &[&str]) -> Vec<String> {
    described(place, words).iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn values_are_offered_that_are_there() {
    let place = Place::new();
    let (older, newer) = (store_run(&place, 90, "1 failed"), store_run(&place, 2, "ready"));
    let runs = described(&place, &["runs", "show", ""]);
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert_eq!(runs[0], "latest\trun-tests-linux, 2m ago: ready");
    assert!(runs[1].starts_with(newer.as_str()) && runs[2].starts_with(older.as_str()), "{runs:?}");
    assert!(runs[2].ends_with("\trun-tests-linux, 1h ago: 1 failed"), "{runs:?}");
    assert_eq!(offered(&place, &["run-tests-linux", "--failed-of", "la"]), ["latest"]);
    assert_eq!(offered(&place, &["run-tests-linux", "--failed-of=la"]), ["--failed-of=latest"]);
    let down = offered(&place, &["machine", "down", ""]);
    assert!(
        down.contains(&"--dry-run".to_owned()),
        "where there is no machine the options are what there is: {down:?}"
    );
    assert!(down.iter().all(|word| word.starts_with('-')), "{down:?}");
    let distros = offered(&place, &["run-tests-linux", "--distro", "debian"]);
    assert_eq!(distros, ["debian12", "debian13"]);
    let several = offered(&place, &["bootstrap-linux-dev", "--distros", "debian12,ubuntu22"]);
    assert_eq!(several, ["debian12,ubuntu22.04"]);
    assert!(offered(&place, &["--provider", ""]).starts_with(&["local".to_owned()]));
    assert!(offered(&place, &["machine", "up", "--image", ""]).contains(&"linux-dev".to_owned()));
    assert!(offered(&place, &["image", "show", "linux-dev-u"]).contains(&"linux-dev-ubuntu24.04".to_owned()));
    assert_eq!(offered(&place, &["config", "get", "runs."]), ["runs.keep", "runs.older-than"]);
    assert_eq!(offered(&place, &["config", "set", "defaults.network", ""]), ["loopback", "host"]);
    assert!(offered(&place, &["help", "opt"]).contains(&"options".to_owned()));
    assert!(described(&place, &["help", "run-tests-l"])[0].contains("\tRun Mercurial's test suite"));
    // Another state directory has other runs.
    let other = place.path().join("other");
    let elsewhere = offered(&place, &["--state-path", other.to_str().unwrap(), "runs", "show", ""]);
    assert!(elsewhere.iter().all(|word| word.starts_with('-')), "{elsewhere:?}");
    assert!(!other.exists());
}

#[test]
fn commands_and_options_are_offered_and_what_is_hidden_is_not() {
    let place = Place::new();
    let commands = offered(&place, &[""]);
    assert!(commands.contains(&"run-tests-linux".to_owned()) && commands.contains(&"help".to_owned()), "{commands:?}");
    assert_eq!(commands.contains(&"purge-ec2-resources".to_owned()), cfg!(feature = "ec2"));
    assert!(commands.iter().all(|command| !command.contains("internal") && !command.starts_with('-')), "{commands:?}");
    assert!(offered(&place, &["internal"]).is_empty() && offered(&place, &["ma"]) == ["machine"]);
    assert_eq!(offered(&place, &["run", "--im"]), ["--image", "--images"]);
    assert_eq!(offered(&place, &["runs", "list", "--state"]), ["--state-path"]);
    assert!(!place.state.exists(), "nothing is made for it");
}

#[test]
fn commands_and_tests_of_the_folder_are_offered() {
    let place = Place::new();
    let file = "[command.check]\nrun = 'make check'\ndescription = 'All checks'\n[command.clean]\nrun = 'make clean'\n";
    std::fs::write(place.home.join("automation.toml"), file).unwrap();
    assert_eq!(described(&place, &["run", "c"]), ["check\tAll checks", "clean"]);
    std::fs::write(place.home.join("automation.toml"), "[command").unwrap();
    assert!(offered(&place, &["run", "c"]).is_empty(), "a broken file is no reason for a message");
    let tests = place.home.join("tests");
    std::fs::create_dir_all(place.home.join(".hg")).unwrap();
    std::fs::create_dir(&tests).unwrap();
    for name in ["run-tests.py", "test-add.t", "test-ancestor.py", "test-add.t.err"] {
        std::fs::write(tests.join(name), "").unwrap();
    }
    assert_eq!(offered(&place, &["run-tests-linux", "test-a"]), ["test-add.t", "test-ancestor.py"]);
    assert_eq!(offered(&place, &["run-tests-linux", "test-add.t", "test-an"]), ["test-ancestor.py"]);
}

#[test]
fn nothing_that_is_wrong_makes_a_message_or_a_wait() {
    let place = Place::new();
    store_run(&place, 2, "ready");
    place.settings("provider = [\n");
    assert_eq!(offered(&place, &["runs", "show", ""]).len(), 2, "settings have no part in it");
    std::fs::write(place.state.join("journal.db"), "damaged").unwrap();
    drop(std::fs::remove_file(place.state.join("journal.db-wal")));
    for words in [&["runs", "show", ""][..], &["--nosuch", "x", ""], &["machine", "cp", ""], &["run", "--", "x", ""]] {
        let begun = Instant::now();
        described(&place, words);
        assert!(begun.elapsed() < Duration::from_secs(2), "{words:?}");
    }
    let mut unknown = program(&place, binary());
    let done = unknown.env("AUTOMATION_COMPLETE", "nosuchshell").args(["--", "automation", ""]).output().unwrap();
    assert!(!done.status.success() && done.stdout.is_empty() && done.stderr.is_empty(), "{done:?}");
}

#[test]
fn a_person_at_a_real_bash_gets_what_the_installed_file_loads() {
    let place = Place::new();
    let run = store_run(&place, 2, "ready");
    let done = place.run(&["completions", "--install", "bash"]).expect(0);
    let file = place.home.join(".local/share/bash-completion/completions/automation");
    assert!(done.stderr.contains(file.to_str().unwrap()) && done.stderr.contains("bash-completion"), "{}", done.stderr);
    let mut bash = program(&place, "bash");
    bash.args(["--norc", "--noprofile", "-i"]).env("PS1", "ready> ").env("INPUTRC", "/dev/null").env("FILE", &file);
    let terminal = Terminal::start(bash, 40, 120);
    terminal.wait_for("ready>");
    terminal.type_text("source \"$FILE\"; echo loa\"\"ded\n");
    terminal.wait_for("loaded");
    let begun = run.as_str().get(..9).unwrap();
    terminal.type_text(&format!("automation runs sh\t{begun}\t"));
    terminal.wait_for(&format!("automation runs show {run}"));
    terminal.type_text("\x15exit\n");
    terminal.end();
}

#[test]
fn a_real_zsh_and_a_real_fish_load_what_is_installed() {
    let place = Place::new();
    let run = store_run(&place, 2, "ready");
    place.run(&["completions", "--install", "fish"]).expect(0).tells(&["fish/completions/automation.fish"]);
    place.run(&["completions", "--install", "zsh"]).expect(0).tells(&["_automation", "fpath", "compinit"]);
    if !Path::new("/usr/bin/fish").exists() || !Path::new("/usr/bin/zsh").exists() {
        return skip("zsh or fish is not installed");
    }
    let done = program(&place, "fish").args(["-c", "complete -C 'automation runs show '"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains(run.as_str()) && said.contains("ready"), "{done:?}");
    let mut zsh = program(&place, "zsh");
    zsh.args(["-f", "-i"]).env("PS1", "ready> ").env("FOLDER", place.home.join(".local/share/zsh/site-functions"));
    let terminal = Terminal::start(zsh, 40, 120);
    terminal.wait_for("ready>");
    terminal.type_text("fpath=($FOLDER $fpath); autoload -U compinit; compinit -u -D; echo loa''ded\n");
    terminal.wait_for("loaded");
    let begun = run.as_str().get(..9).unwrap();
    terminal.type_text(&format!("automation runs show {begun}\t"));
    terminal.wait_for(&format!("automation runs show {run}"));
    terminal.type_text("\x15exit\n");
    terminal.end();
}

#[test]
fn an_installation_says_where_it_goes_and_touches_nothing_of_others() {
    let place = Place::new();
    let data = place.path().join("data");
    let install = |shell: &str, words: &[&str]| {
        let mut command = place.command(&[&["completions", "--install"], words].concat());
        command.env("XDG_DATA_HOME", &data).env("SHELL", shell);
        command.output().unwrap()
    };
    let said = |done: &std::process::Output| String::from_utf8_lossy(&done.stderr).into_owned();
    let file = data.join("bash-completion/completions/automation");
    let dry = install("/bin/bash", &["--dry-run"]);
    assert!(dry.status.success() && said(&dry).contains(file.to_str().unwrap()), "{dry:?}");
    assert!(!data.exists(), "it was only said");
    let done = install("/bin/bash", &[]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(std::fs::read(&file).unwrap(), dry.stdout, "what was said is what was written");
    assert!(install("/bin/bash", &[]).status.success(), "again");
    std::fs::write(&file, "mine\n").unwrap();
    let refused = install("/bin/bash", &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("did not write it"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine\n");
    for (shell, words, told) in
        [("/bin/tcsh", &[][..], "`SHELL` is `tcsh`"), ("/bin/bash", &["elvish"], "can be printed, not installed")]
    {
        let refused = install(shell, words);
        assert!(refused.status.code() == Some(2) && said(&refused).contains(told), "{refused:?}");
    }
    place.run(&["completions"]).expect(2);
    place.run(&["completions", "bash", "--dry-run"]).expect(2);
    assert!(!place.state.exists());
}
