//! Whose files travel: of a checkout of jj, by `machine sync`, and which project's file counts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use support::terminal::Terminal;
use support::tool::Running;

use super::{Project, run_here};

/// A program in the place of `jj`: it says which files there are but for those that end with `.log`, and that `a` was there before.
const JJ: &str = r#"#!/bin/sh
case "$*" in
    *'file list --revision @- '*) printf 'a\0' ;;
    *'file list --revision @ '*) find . -path ./.jj -prune -o -type f ! -name '*.log' -printf '%P\0' ;;
    *'log --no-graph'*) printf '0123456789abcdef changed' ;;
    *) echo "jj: $*" >&2; exit 1 ;;
esac
"#;

/// `automation run` in the folder, with only these programs beside those that it always needs.
fn with_path(project: &Project, path: &Path, words: &[&str]) -> support::tool::Done {
    let mut command: Command = project.command(words);
    command.env("PATH", format!("{}:/usr/bin:/bin", path.display()));
    Running::start(command).end()
}

#[test]
fn a_checkout_of_jj_without_git_beside_it_is_asked_of_jj() {
    let project = Project::with(&[("a", "x"), ("new", "x"), ("x.log", ""), (".jj/repo/x", "")]);
    let programs = project.place.path().join("programs");
    fs::create_dir(&programs).unwrap();
    if Command::new("jj").arg("--version").output().is_err() {
        with_path(&project, &programs, &["--plan"]).expect(125).tells(&["cannot run `jj`", "jj git colocation enable"]);
    }
    fs::write(programs.join("jj"), JJ).unwrap();
    fs::set_permissions(programs.join("jj"), fs::Permissions::from_mode(0o755)).unwrap();
    let planned = with_path(&project, &programs, &["--plan"]).expect(0);
    assert_eq!(planned.text(), "a\nnew\n");
    planned.tells(&["revision 0123456789abcdef", "with uncommitted changes"]);
    let ignored = with_path(&project, &programs, &["--plan", "--include-ignored", "*.log"]).expect(0);
    assert_eq!(ignored.text(), "a\nnew\nx.log\n");
    project.write(".env", "KEY");
    with_path(&project, &programs, &["--", "true"]).expect(125).tells(&["looks like a credential", ".env"]);
    with_path(&project, &programs, &["--plan", "--history"]).expect(125).tells(&["jj's own, without Git beside it"]);
}

#[test]
fn a_sync_leaves_behind_what_is_ignored_where_that_is_asked() {
    let project = Project::with(&[("a", "x"), ("sub/b", "x"), ("x.log", "x"), (".gitignore", "*.log\n")]);
    run_here(&project.folder, &["git", "init", "--quiet"]);
    let machine = project.place.up(&["--image", "linux-dev"]);
    let (from, to) = (project.folder.to_str().unwrap(), format!("{machine}:/tmp/there"));
    let sync = |words: &[&str]| project.place.run(&[&["machine", "sync", from, &to][..], words].concat());
    let list = || {
        project.place.exec(
            &machine,
            &["find", "/tmp/there", "-path", "*/.hg-automation-sync", "-prune", "-o", "-type", "f", "-printf", "%P\n"],
        )
    };
    let listed = || {
        let text = list().expect(0).text();
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    sync(&["--ignore-files"]).expect(0);
    assert_eq!(listed(), [".gitignore", "a", "sub/b"]);
    sync(&["--ignore-files", "--include-ignored", "*.log"]).expect(0);
    assert_eq!(listed(), [".gitignore", "a", "sub/b", "x.log"]);
    sync(&["--ignore-files"]).expect(0).tells(&["removed 1"]);
    project.write("id_rsa", "x");
    sync(&["--ignore-files"]).expect(2).tells(&["looks like a credential", "id_rsa"]);
    sync(&["--ignore-files", "--allow-file", "id_rsa"]).expect(0);
    sync(&["--allow-file", "id_rsa"]).expect(2).tells(&["--ignore-files"]);
    project.place.run(&["machine", "down", &machine]).expect(0);
    project.place.assert_clean();
}

#[test]
fn the_file_of_a_plain_folder_is_found_from_below_and_its_faults_have_their_place() {
    let project =
        Project::with(&[("automation.toml", "[command.a]\nrun = 'pwd; ls'\nworkdir = 'none'\n"), ("sub/deep/x", "")]);
    let from = |words: &[&str]| {
        let mut command = project.command(words);
        command.current_dir(project.folder.join("sub/deep"));
        Running::start(command).end()
    };
    from(&["a"]).expect(125).tells(&["line 3, column 11", "`none` is none of those that are sent"]);
    project.write("automation.toml", "env = { '1A' = 'x' }\n");
    from(&["--", "true"]).expect(125).tells(&["line 1, column 9"]);
    project.write("automation.toml", "setup = './none.sh'\n");
    from(&["--", "true"]).expect(125).tells(&["line 1, column 9", "there is no script"]);
    project.write("automation.toml", "[command.a]\nrun = 'ls'\n");
    assert_eq!(from(&["a"]).expect(0).text(), "automation.toml\nsub\n");
    project.place.assert_clean();
}

#[test]
fn permissions_alone_come_home() {
    let project = Project::with(&[("run.sh", "x"), ("other", "x")]);
    let done = project.run(&["--sync-back", "*", "--shell", "chmod +x run.sh"]).expect(0);
    done.tells(&["Brought back 1 changed file: run.sh"]);
    let mode = |name: &str| fs::metadata(project.folder.join(name)).unwrap().permissions().mode() & 0o111;
    assert_eq!((mode("run.sh"), mode("other")), (0o111, 0));
    project.place.assert_clean();
}

#[test]
fn a_command_whose_terminal_was_killed_is_not_said_to_have_never_begun() {
    let project = Project::with(&[("a", "")]);
    let terminal = Terminal::start(project.command(&["-t", "--", "bash", "-c", "echo it is up; sleep 300"]), 24, 100);
    terminal.wait_for("it is up");
    terminal.signal(Signal::KILL);
    drop(terminal);
    let run = project.place.latest();
    for verb in ["attach", "wait"] {
        project
            .place
            .run(&["runs", verb, &run])
            .expect(3)
            .tells(&["ran on a terminal, and ended with", "audit --fix --run"]);
    }
    project.place.run(&["audit", "--fix", "--run", &run]).expect(0);
    project.place.assert_clean();
}
