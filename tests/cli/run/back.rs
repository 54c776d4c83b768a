//! Files that come back into the folder, the user that a command runs as, and a command that a person talks with.

use std::fs;

use support::terminal::Terminal;

use super::Project;

#[test]
fn changed_files_come_back_unless_they_were_changed_here_meanwhile() {
    let project =
        Project::with(&[("a.snap", "old\n"), ("b.snap", "old\n"), ("same.snap", "same\n"), ("c.txt", "old\n")]);
    let line = "echo new >a.snap; mkdir -p sub; echo new >sub/d.snap; echo new >c.txt; touch same.snap; exit 4";
    let done = project.run(&["--sync-back", "**/*.snap", "--shell", line]).expect(4);
    done.tells(&["Brought back 2 changed files: a.snap, sub/d.snap"]);
    let read = |name: &str| fs::read_to_string(project.folder.join(name)).unwrap();
    assert_eq!([read("a.snap"), read("sub/d.snap"), read("c.txt")], ["new\n", "new\n", "old\n"]);
    // What is written here while the command runs is kept, and so is the machine's version.
    let running = project.start(&[
        "--sync-back",
        "*.snap",
        "--exclude",
        "same*",
        "--shell",
        "echo up; sleep 3; echo theirs >b.snap",
    ]);
    running.wait_for("up\n");
    project.write("b.snap", "mine\n");
    let done = running.end().expect(125);
    assert_eq!(read("b.snap"), "mine\n");
    let kept = project.place.state.join("runs").join(project.place.latest()).join("changed");
    assert_eq!(fs::read_to_string(kept.join("b.snap")).unwrap(), "theirs\n");
    done.tells(&["changed here meanwhile", "b.snap", kept.to_str().unwrap()]);
    for (words, told) in [
        (["--sync-back", "/etc/*", "--", "true"], "not a path below the folder"),
        (["--exclude", "x", "--", "true"], "none are asked for"),
    ] {
        project.run(&words).expect(125).tells(&[told]);
    }
    project.run(&["--sync-back", "nothing", "--", "true"]).expect(125).tells(&["nothing matches: nothing"]);
    project.place.assert_clean();
}

#[test]
fn files_that_are_left_out_stay_on_the_machine() {
    let project = Project::new();
    let line = "mkdir -p out; touch out/a.log out/b.log out/c.tmp";
    let into = project.place.path().join("home");
    let words = ["--artifact", "out/*", "--exclude", "**/*.tmp", "--exclude", "out/b*", "--artifacts"];
    project.run(&[&words[..], &[into.to_str().unwrap(), "--shell", line]].concat()).expect(0);
    let found: Vec<String> = fs::read_dir(into.join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, ["a.log"]);
}

#[test]
fn the_command_runs_as_the_user_that_was_named() {
    let project = Project::with(&[("a", "")]);
    let line = "id -un; echo $HOME; pwd; touch made; stat -c %U a made";
    let said = |user: &str| project.run(&["--user", user, "--shell", line]).expect(0).text();
    assert_eq!(said("root"), "root\n/root\n/var/tmp/automation-work/src\nroot\nroot\n");
    assert_eq!(said("hg"), "hg\n/home/hg\n/var/tmp/automation-work/src\nhg\nhg\n");
    project.run(&["--user", "ann", "--", "true"]).expect(125).tells(&["possible values"]);
    project.place.assert_clean();
}

#[test]
fn a_person_talks_with_a_command_on_a_terminal() {
    let project =
        Project::with(&[("ask.sh", "test -t 0 && test -t 1; read -p 'Name? ' name; echo \"Hello $name.\"; exit 5\n")]);
    let terminal = Terminal::start(project.command(&["-t", "--artifact", "ask.sh", "--", "bash", "ask.sh"]), 24, 100);
    terminal.wait_for("Name?");
    terminal.type_text("Ann\n");
    terminal.wait_for("Hello Ann.");
    let (code, lines) = terminal.end();
    assert_eq!(code, Some(5), "{lines:?}");
    let run = project.place.latest();
    let artifact = project.place.state.join("runs").join(&run).join("artifacts/ask.sh");
    assert!(artifact.is_file(), "{lines:?}");
    project.place.assert_certified(&run);
    project.run(&["-t", "--", "true"]).expect(125).tells(&["standard input or output is none"]);
    project.run(&["-t", "--detach", "--", "true"]).expect(125).tells(&["cannot be used with"]);
    project.place.assert_clean();
}
