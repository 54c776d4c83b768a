//! `automation run`: any command, in the files of a folder, on a machine of its own.

mod again;
mod back;
mod cells;
mod history;
mod hostile;
mod sampled;
mod sources;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use support::tool::{Done, Place, Running};

/// A folder with a project, beside the small image.
struct Project {
    place: Place,
    folder: PathBuf,
}

impl Project {
    fn new() -> Self {
        let place = Place::small();
        let folder = place.path().join("project");
        fs::create_dir(&folder).unwrap();
        Self { place, folder }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let project = Self::new();
        files.iter().for_each(|(name, text)| project.write(name, text));
        project
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `automation run` with these words, in the folder.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.place.command(&[&["run", "--image", "linux-dev"], words].concat());
        command.current_dir(&self.folder);
        command
    }

    fn start(&self, words: &[&str]) -> Running {
        Running::start(self.command(words))
    }

    fn run(&self, words: &[&str]) -> Done {
        self.start(words).end()
    }

    /// The same on a machine that is up.
    fn run_on(&self, machine: &str, words: &[&str]) -> Done {
        let mut command = self.place.command(&[&["run", "--machine", machine], words].concat());
        command.current_dir(&self.folder);
        Running::start(command).end()
    }

    /// The same with a line for the machine's shell.
    fn shell(&self, line: &str) -> Done {
        self.run(&["--shell", line])
    }
}

fn run_here(folder: &Path, words: &[&str]) {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(folder).env("HGRCPATH", "").env("HGUSER", "ann");
    for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
        command.env(format!("{name}_NAME"), "ann").env(format!("{name}_EMAIL"), "ann@example.org");
    }
    assert!(command.output().unwrap().status.success(), "{words:?}");
}

#[test]
fn the_output_and_the_exit_code_are_the_commands_own() {
    let project = Project::with(&[("say.sh", "echo out; echo err >&2; exit $1\n"), ("text", "")]);
    for code in [0, 1, 2, 5, 7, 130, 255] {
        let done = project.run(&["--", "sh", "say.sh", &code.to_string()]).expect(code);
        assert_eq!(done.text(), "out\n");
        done.tells(&["err\n", "seen gone"]);
    }
    project.run(&["--", "sh", "-c", "kill -TERM $$"]).expect(143);
    project.run(&["--", "no-such-program"]).expect(127).tells(&["there is no program 'no-such-program'"]);
    project.run(&["--", "./text"]).expect(126).tells(&["'./text' cannot be executed"]);
    project.run(&["--", "./nothing"]).expect(127);
    // No shell comes in between, unless it is asked for.
    let odd = ["a b", "$HOME", "*", "", "it's", "ü", "-x", "--", "\n"];
    let printed = project.run(&[&["--", "printf", "%s|"][..], &odd].concat()).expect(0).text();
    assert_eq!(printed, odd.map(|word| format!("{word}|")).concat());
    assert_eq!(project.shell("echo $HOME && pwd").expect(0).text(), "/home/hg\n/var/tmp/automation-work/src\n");
    let kept: Value = project.run(&["--json", "--", "sh", "say.sh", "3"]).expect(3).json();
    assert_eq!((&kept["code"], &kept["exit"]["value"], &kept["timed_out"]), (&3.into(), &3.into(), &false.into()));
    project.place.assert_clean();
}

#[test]
fn what_fails_here_is_never_taken_for_the_commands_end() {
    let project = Project::with(&[("a", "")]);
    let refused: &[(&[&str], &str)] = &[
        (&["--no-such-option", "--", "true"], "unexpected argument"),
        (&[], "there is no command to run"),
        (&["check"], "there is no `automation.toml` for"),
        (&["--include-ignored", "[", "--", "true"], "is not a pattern for files"),
        (&["--workdir", "../up", "--", "true"], "not a path below the source"),
        (&["make", "check"], "Type `automation"),
        (&["--workdir", "nothing", "--", "true"], "is none of those that are sent"),
        (&["--allow-file", "a", "--", "true"], "allows nothing"),
        (&["--workdir", "a", "--", "true"], "is none of those that are sent"),
        (&["--setup", "./missing.sh", "--", "true"], "there is no script `./missing.sh`"),
        (&["--source", "a", "--", "true"], "is not a folder"),
        (&["--distro", "debian1", "--", "true"], "debian1"),
        (&["--env", "1A=b", "--", "true"], "is not the name of a variable"),
        (&["--env", "AUTOMATION_IS_NOT_SET", "--", "true"], "is not set here"),
        (&["--setup", " ", "--", "true"], "has nothing to do"),
        (&["--setup", "", "--", "true"], "Leave it out where nothing is to be set up"),
        (&["--timeout", "3h", "--ttl", "2h", "--", "true"], "longer than the machine lives"),
        (&["--artifact", "../x", "--", "true"], "`../x`"),
        (&["--wait", "1m", "--", "true"], "`--wait`"),
    ];
    for (words, told) in refused {
        project.run(words).expect(125).tells(&[told]);
    }
    assert_eq!(project.place.json(&["runs", "list", "--json"]), serde_json::json!([]), "nothing was begun");
    let own = project.run(&["--json", "--", "sh", "-c", "exit 125"]).expect(125).json();
    assert_eq!(own["exit"], serde_json::json!({"kind": "code", "value": 125}));
    // What only the machine finds is no end of the command either.
    symlink("/nothing", project.folder.join("link")).unwrap();
    let lost = project.run(&["--json", "--workdir", "link", "--", "true"]).expect(125);
    assert_eq!(lost.json()["exit"], serde_json::json!({"kind": "lost", "value": "the source has no folder 'link'"}));
    project.run(&["--artifact", "nothing/*", "--", "true"]).expect(125).tells(&["nothing matches: nothing/*"]);
    project.run(&["--setup", "exit 3", "--", "true"]).expect(125).tells(&["`setup` failed with exit status 3"]);
    project.run(&["--timeout", "1s", "--", "sleep", "60"]).expect(124).tells(&["its time was over"]);
    project.place.assert_clean();
}

#[test]
fn what_version_control_does_not_ignore_is_there_as_it_is_here() {
    let list = "find . -mindepth 1 -printf '%P %M %l\\n' | LC_ALL=C sort";
    for program in ["git", "hg"] {
        let project = Project::with(&[("kept", "x"), ("gone", "x"), ("sub/b", "x"), ("out.log", "x"), ("new/c", "x")]);
        let (folder, ignore) = (&project.folder, if program == "git" { ".gitignore" } else { ".hgignore" });
        project.write(ignore, if program == "git" { "*.log\n" } else { "\\.log$\n" });
        fs::set_permissions(folder.join("sub/b"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("kept", folder.join("link")).unwrap();
        run_here(folder, &[program, "init"]);
        run_here(folder, &[program, "add", "kept", "gone", "sub/b"]);
        run_here(folder, &[program, "commit", "-m", "one"]);
        fs::remove_file(folder.join("gone")).unwrap();
        let names = [ignore, "kept", "link", "new", "new/c", "sub", "sub/b"];
        let planned = project.run(&["--plan"]).expect(0);
        assert_eq!(planned.text().lines().collect::<Vec<_>>(), names, "{program}");
        planned.tells(&["5 files", "with uncommitted changes"]);
        let there = project.shell(list).expect(0).text();
        let found: Vec<&str> = there.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(found, names, "{program}");
        assert!(there.contains("sub/b -rwxr-xr-x") && there.contains("link lrwxrwxrwx kept"), "{there}");
    }
}

#[test]
fn a_folder_without_version_control_travels_whole_with_any_names() {
    use std::os::unix::ffi::OsStrExt;
    let project = Project::new();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\n 'x'");
    assert_eq!(project.shell("find . -mindepth 1").expect(0).text(), "", "an empty folder");
    fs::write(project.folder.join(odd), "there").unwrap();
    fs::create_dir(project.folder.join("empty")).unwrap();
    symlink("/nowhere", project.folder.join("out")).unwrap();
    let found = project.shell("find . -mindepth 1 -print0 | LC_ALL=C sort -z; cat *x*").expect(0);
    let planned = project.run(&["--plan"]).expect(0).text();
    assert_eq!(planned.lines().count(), 3, "a name is one line: {planned}");
    assert!(planned.contains("\\n 'x'\n"), "{planned}");
    assert_eq!(found.stdout, [&b"./empty\0./out\0./"[..], odd.as_bytes(), b"\0there"].concat());
    let closed = project.folder.join("closed");
    fs::write(&closed, "").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if !support::tool::is_root() {
        project.run(&["--", "true"]).expect(125).tells(&["closed"]);
    }
    project.place.assert_clean();
}

#[test]
fn variables_reach_the_command_and_nothing_else() {
    let project = Project::new();
    let mut command = project.command(&[
        "--env",
        "HERE",
        "--env",
        "A=1",
        "--env",
        "A=two\nlines =x",
        "--env",
        "EMPTY=",
        "--env",
        "PATH=/usr/bin:/bin:/x",
        "--shell",
        "printf '%s|' \"$HERE\" \"$A\" \"${EMPTY-unset}\" \"$PATH\" \"${NOT-unset}\"",
    ]);
    command.env("HERE", "här").env("NOT", "x");
    let done = Running::start(command).end().expect(0);
    assert_eq!(done.text(), "här|two\nlines =x||/usr/bin:/bin:/x|unset|");
}

#[test]
fn a_command_that_is_left_is_followed_by_whoever_attaches() {
    let project = Project::new();
    let line =
        "for i in $(seq 40); do echo line $i; echo odd $i >&2; sleep 0.1; done; echo once >>began; cat began; exit 9";
    let id = project.run(&["--detach", "--shell", line]).expect(0).text().trim().to_owned();
    assert_eq!(project.place.json(&["runs", "list", "--json"])[0]["state"], "detached");
    // A driver that is killed while it follows leaves the command to the next.
    let attached = project.place.start(&["runs", "attach", &id]);
    attached.wait_for("line 5");
    attached.signal(Signal::KILL);
    drop(attached.end());
    let shown = project.place.run(&["runs", "attach", &id]).expect(9);
    let all: String = (1..=40).map(|i| format!("line {i}\n")).collect();
    let log = project.place.run(&["runs", "logs", &id]).expect(0);
    let of = |stream: &str| {
        log.text().lines().filter(|said| said.starts_with(stream)).map(|said| format!("{said}\n")).collect::<String>()
    };
    assert_eq!((of("line"), of("once")), (all.clone(), "once\n".to_owned()), "each byte once");
    assert_eq!(of("odd"), all.replace("line", "odd"));
    assert!(shown.text().ends_with("line 40\nonce\n"), "{}", shown.text());
    project.place.assert_certified(&id);
    // What has ended is told again, with the same code.
    project.place.run(&["runs", "wait", &id]).expect(9).tells(&["Ended with exit status 9"]);
    assert_eq!(project.place.latest_of("run"), id);
    project.place.assert_clean();
}

#[test]
fn the_driver_killed_at_any_moment_loses_nothing_once_the_command_began() {
    let project = Project::new();
    for marker in ["Booting", "Preparing", "Sending", "line 1\n", "line 8\n"] {
        let line = "for i in $(seq 12); do echo line $i; sleep 0.1; done; exit 3";
        project.write("a", "");
        let running = project.start(&["--shell", line]);
        running.wait_for(marker);
        running.signal(Signal::KILL);
        drop(running.end());
        let id = project.place.latest();
        let began = project.place.state.join("runs").join(&id).join("tasks").is_dir();
        let attached = project.place.run(&["runs", "attach", &id]);
        if began {
            let all: String = (1..=12).map(|i| format!("line {i}\n")).collect();
            assert_eq!(attached.expect(3).text(), all, "{marker}");
            assert_eq!(project.place.run(&["runs", "logs", &id]).text(), all, "{marker}");
        } else {
            attached.expect(3).tells(&["has no command that goes on"]);
            project.place.run(&["audit", "--fix"]).expect(0);
        }
        project.place.assert_clean();
    }
}

#[test]
fn a_command_is_cancelled_from_elsewhere_and_by_an_interrupt() {
    let project = Project::new();
    let id = project.run(&["--detach", "--", "sleep", "300"]).expect(0).text().trim().to_owned();
    project.place.run(&["runs", "cancel", "--dry-run", &id]).expect(0);
    project.place.run(&["runs", "cancel", &id]).expect(0).tells(&["was cancelled"]);
    project.place.assert_certified(&id);
    let running = project.start(&["--shell", "trap 'echo told; exit 4' TERM; echo up; sleep 300 & wait"]);
    running.wait_for("up\n");
    running.signal(Signal::TERM);
    let done = running.end().expect(130);
    assert!(done.text().contains("told"), "its last words are kept: {}", done.text());
    project.place.assert_clean();
}

#[test]
fn files_come_home_and_a_failed_command_keeps_its_machine_where_that_was_asked() {
    let project = Project::with(&[("src/a", "1")]);
    let home = project.place.path().join("home-files");
    let line = "mkdir -p out/sub; echo x >out/sub/f; echo y >out/g; exit 6";
    let words =
        ["--artifact", "out/**", "--artifacts", home.to_str().unwrap(), "--keep-failed", "10m", "--shell", line];
    let done = project.run(&words).expect(6).tells(&["Kept hg-", "enters it"]);
    assert_eq!(fs::read_to_string(home.join("out/sub/f")).unwrap(), "x\n");
    assert_eq!(fs::read_to_string(home.join("out/g")).unwrap(), "y\n");
    let machines = project.place.json(&["machine", "list", "--json"]);
    let id = machines[0]["id"].as_str().unwrap();
    let name = machines[0]["name"].as_str().unwrap();
    assert!(done.stderr.contains(&format!("machine ssh {name}")), "{}", done.stderr);
    let there = project.place.exec("latest", &["cat", "/var/tmp/automation-work/src/out/g"]).expect(0).text();
    assert_eq!(there, "y\n");
    // The line that is told brings to where the command worked.
    let enter = done.stderr.split("; `").nth(1).unwrap().split("` enters it").next().unwrap();
    let words = model::base::quote::split(enter).unwrap();
    let mut command = project.place.command(&words[words.iter().position(|word| word == "machine").unwrap()..]);
    let input = project.place.path().join("typed");
    fs::write(&input, "pwd; cat out/g; echo $TMPDIR\n").unwrap();
    command.stdin(fs::File::open(&input).unwrap());
    let shown = command.output().unwrap();
    let work = "/var/tmp/automation-work";
    assert_eq!(String::from_utf8_lossy(&shown.stdout), format!("{work}/src\ny\n{work}/tmp\n"), "{enter} {shown:?}");
    project.place.run(&["machine", "down", id]).expect(0);
    project.run(&["--keep-failed", "10m", "--", "true"]).expect(0).tells(&["seen gone"]);
    project.place.assert_clean();
}

#[test]
fn what_a_command_leaves_running_ends_with_it() {
    let project = Project::new();
    let line = "exec >/dev/null 2>&1; sleep 300 & exit 0";
    let done = project.shell(line).expect(0);
    assert!(done.took.as_secs() < 60, "{:?}", done.took);
    let asks = project.shell("read x; echo \"<$x>\"").expect(0);
    assert_eq!(asks.text(), "<>\n", "standard input is empty");
    project.place.assert_clean();
}

#[test]
fn a_setup_is_a_layer_that_is_made_once() {
    let project = Project::with(&[("setup.sh", "#!/bin/sh\nset -e\necho made >/etc/made\nid -un >>/etc/made\n")]);
    project.place.own_images();
    let words = ["--setup", "setup.sh", "--", "cat", "/etc/made"];
    let first = project.run(&words).expect(0).tells(&["Setting up: setup.sh"]);
    assert_eq!(first.text(), "made\nroot\n");
    let second = project.run(&words).expect(0);
    assert!(!second.stderr.contains("Setting up"), "{}", second.stderr);
    project.write("setup.sh", "echo other >/etc/made\nfalse\necho never >>/etc/made\n");
    project.run(&words).expect(125).tells(&["bake step `setup` failed"]);
    project.write("setup.sh", "echo other >/etc/made\n");
    assert_eq!(project.run(&words).expect(0).text(), "other\n");
    project.place.assert_clean();
}

#[test]
fn the_machine_on_which_a_setup_failed_is_kept_where_that_was_asked() {
    let project = Project::new();
    let words = ["--keep-failed", "10m", "--setup", "echo half >/etc/made; exit 3", "--", "true"];
    let done = project.run(&words).expect(125).tells(&["`setup` failed with exit status 3", "kept until"]);
    let machines = project.place.json(&["machine", "list", "--json"]);
    let [machine] = machines.as_array().unwrap().as_slice() else { panic!("{machines}") };
    let (id, name) = (machine["id"].as_str().unwrap(), machine["name"].as_str().unwrap());
    done.tells(&[&format!("machine ssh {name}"), &format!("machine down {name}")]);
    assert_eq!(project.place.exec(id, &["cat", "/etc/made"]).expect(0).text(), "half\n");
    project.place.run(&["machine", "down", id]).expect(0);
    project.run(&["--setup", "exit 3", "--", "true"]).expect(125).tells(&["seen gone"]);
    project.place.assert_clean();
}

#[test]
fn what_looks_like_a_credential_stays_here_unless_it_is_named() {
    let project = Project::with(&[(".env", "TOKEN=x"), ("a/id_rsa", "x"), ("b", "x")]);
    let refused = project.run(&["--", "true"]).expect(125);
    refused.tells(&["files that look like credentials would be sent: .env, a/id_rsa", "--allow-file"]);
    let allowed = project.run(&["--allow-file", ".env", "--allow-file", "./a/id_rsa", "--", "cat", ".env"]).expect(0);
    assert_eq!(allowed.text(), "TOKEN=x");
    // What the version control system knows, others have as well.
    run_here(&project.folder, &["git", "init"]);
    run_here(&project.folder, &["git", "add", "-f", "."]);
    project.run(&["--", "test", "-e", "a/id_rsa"]).expect(0);
    project.run(&["--include-ignored", "*.o", "--", "true"]).expect(125).tells(&["no ignored file of", "`*.o`"]);
    fs::write(project.folder.join(".gitignore"), "*.o\nout\n").unwrap();
    for name in ["x.o", "out/y", "out/z"] {
        project.write(name, "");
    }
    let sent = project.run(&["--include-ignored", "out/y", "--shell", "ls -A; ls out"]).expect(0).text();
    assert_eq!(sent, ".env\n.gitignore\na\nb\nout\ny\n");
}

#[test]
fn a_projects_own_file_names_commands_and_their_machines() {
    let project = Project::with(&[("sub/a", "here\n"), ("setup.sh", "echo ready >/etc/ready\n")]);
    project.place.own_images();
    project.write(
        "automation.toml",
        "image = 'linux-dev'\nenv = { A = '1', B = '2' }\n\n[command.show]\ndescription = 'Shows'\n\
         run = 'echo $A$B $# $1; cat a; exit 3'\nenv = { B = '3' }\nworkdir = 'sub'\n\n\
         [command.ready]\nrun = ['cat', '/etc/ready']\nsetup = 'setup.sh'\nartifacts = ['sub/*']\n",
    );
    run_here(&project.folder, &["git", "init"]);
    let within = |words: &[&str], folder: &str| {
        let mut command = project.place.command(&[&["run"], words].concat());
        command.current_dir(project.folder.join(folder));
        Running::start(command).end()
    };
    // From anywhere in the project, with all of its files.
    for folder in ["", "sub"] {
        let done = within(&["show", "--", "x y", "z"], folder).expect(3);
        assert_eq!(done.text(), "13 2 x y\nhere\n", "{folder}");
    }
    assert_eq!(within(&["--env", "B=9", "--workdir", "", "show"], "").expect(3).text(), "19 0\n");
    assert_eq!(within(&["ready"], "sub").expect(0).tells(&["Setting up: setup.sh", "Artifacts:"]).text(), "ready\n");
    // A command that has no name there runs in the folder, with what holds for all.
    assert_eq!(within(&["--shell", "echo $A; ls"], "sub").expect(0).text(), "1\na\n");
    within(&["shwo"], "").expect(125).tells(&["has no command `shwo`", "Did you mean `show`?"]);
    within(&[], "").expect(125).tells(&["run show` (Shows)"]);
    project.write("automation.toml", "imago = 'x'\n");
    within(&["--", "true"], "").expect(125).tells(&["unknown field `imago`", "line 1, column 1"]);
    project.place.assert_clean();
}

#[test]
fn a_secret_reaches_the_command_and_nobody_else() {
    let project = Project::new();
    let secret = "hunter22-\u{e9}-key\nsecond-line";
    fs::write(project.place.path().join("token"), "from-a-file\n").unwrap();
    let file = format!("FILE={}", project.place.path().join("token").display());
    let line = r#"printf '%s' "$KEY" | sha256sum; echo "<$KEY> $FILE"; echo "err $FILE" >&2
        printf hunt; sleep 0.3; printf er22-; ls -A /dev/shm
        cat /proc/[0-9]*/cmdline | tr '\0' '\n' | grep -cF -f <(printf '%s' "$FILE"); sleep 1; exit 4"#;
    let mut command = project.command(&["--secret", "KEY", "--secret", &file, "--shell", line]);
    command.env("KEY", secret);
    let running = Running::start(command);
    running.wait_for("err ");
    let id = project.place.latest();
    // While it runs and after it, in nothing that is kept here, and in no command line of this computer.
    let found = |what: &str| {
        let grep = Command::new("grep").args(["-ral", what]).arg(&project.place.state).output().unwrap();
        String::from_utf8(grep.stdout).unwrap()
    };
    for part in ["hunter22-\u{e9}", "second-line", "from-a-file"] {
        assert_eq!(found(part), "", "{part}");
    }
    let done = running.end().expect(4);
    let sum = Command::new("sh").args(["-c", "printf '%s' \"$K\" | sha256sum"]).env("K", secret).output().unwrap();
    let said = done.text();
    assert!(said.starts_with(&String::from_utf8(sum.stdout).unwrap()), "{said}");
    assert!(said.contains("<***> ***\nhunter22-0\n"), "what is no whole secret stays: {said}");
    assert!(done.stderr.contains("err ***") && !done.stderr.contains("from-a-file"), "{}", done.stderr);
    let log = project.place.run(&["runs", "logs", &id]).expect(0).text();
    assert!(log.contains("<***> ***") && !log.contains("second-line"), "{log}");
    assert_eq!(found("second-line"), "");
    for words in [
        ["--secret", "KEY", "--env", "KEY=x"],
        ["--secret", "NOT_SET_HERE", "--env", "A=x"],
        ["--secret", "A=/nothing", "--env", "B=x"],
    ] {
        project.run(&[&words[..], &["--", "true"]].concat()).expect(125);
    }
    project.place.assert_clean();
}

#[test]
fn standard_input_travels_where_it_is_asked_for() {
    use std::io::Write;
    let project = Project::new();
    let input: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let mut command = project.command(&["--stdin", "--", "sha256sum"]);
    let mut child = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let there = child.wait_with_output().unwrap();
    let file = project.place.path().join("input");
    fs::write(&file, &input).unwrap();
    let here = Command::new("sha256sum").stdin(fs::File::open(&file).unwrap()).output().unwrap();
    assert_eq!(there.stdout, here.stdout);
    // The end of the input is the command's to see, and an empty one is one.
    assert_eq!(project.run(&["--stdin", "--", "wc", "-c"]).expect(0).text(), "0\n");
}

#[test]
fn without_a_word_it_says_what_it_is_and_makes_nothing() {
    let place = Place::new();
    let first = place.run::<&str>(&[]).expect(0);
    assert!(first.text().contains("automation run -- make check") && first.text().ends_with("computer yet.\n"));
    assert!(!place.state.exists());
    let project = Project::new();
    project.run(&["--", "true"]).expect(0);
    let later = project.place.run::<&str>(&[]).expect(0).text();
    assert!(later.contains("0 machines (") && later.contains("1 run ("), "{later}");
}

#[test]
fn the_plain_image_builds_without_a_word_about_images() {
    let place = Place::whole();
    let folder = place.path().join("project");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("main.c"), "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n").unwrap();
    fs::write(folder.join("Makefile"), "check: main\n\t@./main\n").unwrap();
    let mut command = place.command(&["run", "--", "make", "-s", "check"]);
    command.current_dir(&folder);
    assert_eq!(Running::start(command).end().expect(0).text(), "hello\n");
    let mut command = place.command(&["run", "--", "sudo", "-n", "id", "-un"]);
    command.current_dir(&folder);
    assert_eq!(Running::start(command).end().expect(0).text(), "root\n");
    place.assert_clean();
}

#[test]
fn a_command_that_needs_more_memory_than_its_machine_has_is_told_so() {
    if !support::tool::is_root() {
        return support::tool::skip("only root has control groups for certain");
    }
    let project = Project::new();
    let eats = ["python3", "-c", "x = bytearray(300 << 20); print(len(x))"];
    let done = project.run(&[&["--json", "--memory", "96M", "--"][..], &eats].concat()).expect(137);
    let done = done.tells(&["the memory limit of its machine (`--memory`) was reached"]);
    assert_eq!(done.json()["memory_limit"], true);
    let well = project.run(&["--json", "--memory", "96M", "--", "sh", "-c", "exit 3"]).expect(3);
    assert!(well.json().get("memory_limit").is_none() && !well.stderr.contains("memory limit"), "{}", well.stderr);
    project.place.assert_clean();
}
