//! Files that come back into the folder, the user that a command runs as, and a command that a person talks with.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};

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

#[test]
fn nothing_comes_back_that_a_program_here_would_obey_and_no_link_is_followed() {
    let project = Project::with(&[("a", "1\n")]);
    symlink("a", project.folder.join("link")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
    fs::write(project.folder.join(odd), "1\n").unwrap();
    // What nobody touched is no error, whatever it is.
    project.run(&["--sync-back", "**", "--", "true"]).expect(0);
    let line = "mkdir -p sub/.git .hg; echo x >.hg/hgrc; echo x >sub/.git/config; ln -s /etc dir; ln -s /etc/passwd word; \
                echo 2 >a; echo 2 >\"$(printf 'odd\\377')\"; mkfifo pipe";
    project.run(&["--sync-back", "**", "--shell", line]).expect(0).tells(&[
        "Brought back 2 changed files: a, odd",
        "Not brought back, links that lead out of the folder, or into what version control keeps: dir, word",
        "Not brought back, neither files, folders nor links: pipe",
    ]);
    let mut names: Vec<_> = fs::read_dir(&project.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [std::ffi::OsStr::new("a"), "link".as_ref(), odd]);
    assert_eq!(fs::read_to_string(project.folder.join(odd)).unwrap(), "2\n");
    assert!(fs::read_link(project.folder.join("link")).is_ok());
    let into = project.folder.to_str().unwrap();
    project.run(&["--artifacts", into, "--artifact", "a", "--", "true"]).expect(125).tells(&["would replace"]);
    project.run(&["--shell", " "]).expect(125).tells(&["would run nothing"]);
    project.place.assert_clean();
}

#[test]
fn what_is_newer_here_is_newer_there() {
    let project = Project::new();
    for number in 0..300 {
        project.write(&format!("f{number:03}"), "x");
        let age = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000 - number);
        fs::File::options()
            .write(true)
            .open(project.folder.join(format!("f{number:03}")))
            .unwrap()
            .set_modified(age)
            .unwrap();
    }
    // Files that arrive at the same tick of the clock have one time.
    let line = "before=; for file in $(printf '%s\\n' f* | sort -r); do [ -z \"$before\" ] || [ ! \"$before\" -nt $file ] || exit 9; before=$file; done";
    project.shell(line).expect(0);
    let machine = project.place.up(&["--image", "linux-dev"]);
    project.run(&["--machine", &machine, "--shell", line]).expect(0);
    project.place.run(&["machine", "down", &machine]).expect(0);
    project.place.assert_clean();
}

#[test]
fn what_this_command_did_comes_back_with_its_modes_and_the_rest_is_named() {
    let project = Project::with(&[("a.txt", "1\n"), ("gone.txt", "1\n"), ("dir/x.txt", "1\n")]);
    let machine = project.place.up(&["--image", "linux-dev"]);
    project
        .run_on(&machine, &["--shell", "echo x >earlier.txt; ln -s a.txt before; mkfifo old; sudo mkdir -m 700 closed"])
        .expect(0);
    let line = "echo new >made.txt; mkdir -m 700 private; echo x >private/f; ln -s made.txt inner; ln -s ../../out outer; \
                rm gone.txt; mkfifo pipe; chmod 750 dir; cat earlier.txt";
    let done = project.run_on(&machine, &["--sync-back", "**", "--shell", line]).expect(0);
    done.tells(&[
        "Brought back 4 changed files: made.txt, private/f, inner, dir",
        "Not brought back, removed by the command, and still here: gone.txt",
        "Not brought back, links that lead out of the folder, or into what version control keeps: outer",
        "Not brought back, neither files, folders nor links: pipe",
    ]);
    let mut names: Vec<_> = fs::read_dir(&project.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.txt", "dir", "gone.txt", "inner", "made.txt", "private"]);
    let mode = |name: &str| fs::metadata(project.folder.join(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("private"), mode("dir")), (0o700, 0o750));
    assert_eq!(fs::read_link(project.folder.join("inner")).unwrap(), std::path::Path::new("made.txt"));
    project.place.run(&["machine", "down", &machine]).expect(0);
    project.place.assert_clean();
}
