//! Commands on a machine that is up already, and commands that run again when files change.

use std::fs;

use rustix::process::Signal;

use super::Project;

#[test]
fn a_machine_that_is_up_is_worked_on_and_sent_only_what_changed() {
    let project = Project::with(&[("a", "1\n"), ("sub/b", "1\n"), ("sub/c", "1\n")]);
    let machine = project.place.up(&["--image", "linux-dev"]);
    let run = |words: &[&str]| {
        let mut command = project.place.command(&[&["run", "--machine", &machine], words].concat());
        command.current_dir(&project.folder);
        support::tool::Running::start(command).end()
    };
    run(&["--shell", "cat a sub/b; echo built >out"]).expect(0).tells(&["Sent 3 files", "seen gone"]);
    project.write("a", "2\n");
    fs::remove_file(project.folder.join("sub/c")).unwrap();
    let second = run(&["--shell", "cat a out; ls sub"]).expect(0).tells(&["Sent 1 file of"]);
    assert_eq!(second.text(), "2\nbuilt\nb\n", "what an earlier run made is there, what is gone here is gone");
    let third = run(&["--", "cat", "a"]).expect(0).tells(&["Sent 0 files", &format!("of {machine}, which stays")]);
    assert!(!third.stderr.contains("Releasing"), "{}", third.stderr);
    run(&["--", "sh", "-c", "exit 7"]).expect(7);
    // Each time as somebody else, to whom the folder of the last run does not belong.
    for user in ["root", "hg"] {
        let said = run(&["--user", user, "--shell", "id -un; stat -c %U a; cat a"]).expect(0).tells(&["seen gone"]);
        assert_eq!(said.text(), format!("{user}\n{user}\n2\n"));
    }
    // It is left and taken up again like any other.
    let id = run(&["--detach", "--shell", "echo on; sleep 1; exit 3"]).expect(0).text().trim().to_owned();
    project.place.run(&["machine", "down", &machine]).expect(2).tells(&["is in use by the living run", &id]);
    // What the run knows of the machine is no other machine.
    for (words, of) in [(&["machine", "list", "--json"][..], ""), (&["status", "--json"], "/machines")] {
        let listed = project.place.json(words);
        let listed = listed.pointer(of).unwrap().as_array().unwrap();
        let shown: Vec<_> = listed.iter().map(|one| (one["id"].as_str(), one["status"].as_str())).collect();
        assert_eq!(shown, [(Some(machine.as_str()), Some("in use"))], "{words:?}");
    }
    let all = project.place.run(&["machine", "exec", "--all", "--include-busy", "--", "true"]).expect(0);
    all.tells(&["on 1 machine"]);
    project.place.run(&["machine", "exec", "latest", "--", "true"]).expect(0);
    project.place.run(&["runs", "attach", &id]).expect(3).tells(&["seen gone"]);
    let machines = project.place.json(&["machine", "list", "--json"]);
    let ids: Vec<&str> = machines.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [machine.as_str()], "it stays, and is the only one");
    for (words, told) in [
        (vec!["--provider", "local", "--", "true"], "another place"),
        (vec!["--keep-failed", "1h", "--", "true"], "has no meaning"),
        (vec!["--distro", "debian12", "--", "true"], "has no meaning"),
    ] {
        run(&words).expect(125).tells(&[told]);
    }
    // Another folder's files do not mix with these.
    let other = project.place.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("own"), "").unwrap();
    let mut command = project.place.command(&["run", "--machine", &machine, "--", "ls"]);
    command.current_dir(&other);
    assert_eq!(support::tool::Running::start(command).end().expect(0).text(), "own\n");
    project.run(&["--machine", "hg-nothing", "--", "true"]).expect(125).tells(&["no machine `hg-nothing`"]);
    project.place.run(&["machine", "down", &machine]).expect(0);
    project.place.assert_clean();
}

#[test]
fn files_that_a_killed_run_left_on_a_machine_of_ours_go_with_it() {
    let project = Project::with(&[("a", "")]);
    let machine = project.place.up(&["--image", "linux-dev"]);
    let mut command = project.place.command(&["run", "--machine", &machine, "--shell", "echo up; sleep 300"]);
    command.current_dir(&project.folder);
    let running = support::tool::Running::start(command);
    running.wait_for("up\n");
    running.signal(Signal::KILL);
    drop(running.end());
    project.place.run(&["machine", "down", &machine]).expect(0);
    project.place.run(&["audit", "--fix"]).expect(0);
    project.place.assert_clean();
}

#[test]
fn a_watched_command_runs_again_on_its_machine_when_a_file_changes() {
    let project = Project::with(&[("a", "1\n"), ("sub/b", "1\n")]);
    let line = "echo \"turn $(cat a sub/* | xargs) $HOSTNAME\"; echo x >>made; echo made $(wc -l <made); test $(cat a) = 3 && exit 5; true";
    let running = project.start(&["--watch", "--secret", "TOKEN=/dev/null", "--shell", line]);
    drop(running.end().expect(125));
    let running = project.start(&["--watch", "--shell", line]);
    running.wait_for("Waiting for changes");
    project.write("a", "2\n");
    running.wait_for("made 2");
    project.write("sub/new", "9\n");
    running.wait_for("made 3");
    project.write("a", "3\n");
    running.wait_for("made 4");
    running.wait_for("Ended with exit status 5");
    running.signal(Signal::INT);
    let done = running.end().expect(5);
    let turns: Vec<String> = done.text().lines().filter(|line| line.starts_with("turn")).map(str::to_owned).collect();
    let hosts: std::collections::BTreeSet<&str> = turns.iter().map(|turn| turn.rsplit(' ').next().unwrap()).collect();
    assert_eq!((turns.len(), hosts.len()), (4, 1), "{turns:?}");
    assert!(turns[0].starts_with("turn 1 1 ") && turns[2].starts_with("turn 2 1 9 "), "{turns:?}");
    done.tells(&["Changed: a", "Changed: sub/new", "seen gone"]);
    project.run(&["--watch", "--detach", "--", "true"]).expect(125).tells(&["cannot be used with"]);
    // The last state was never run: that is no success.
    project.write("a", "1\n");
    let running = project.start(&["--watch", "--", "true"]);
    running.wait_for("Waiting for changes");
    project.write(".env", "KEY");
    running.wait_for("looks like a credential");
    running.signal(Signal::INT);
    drop(running.end().expect(125));
    project.place.assert_clean();
}
