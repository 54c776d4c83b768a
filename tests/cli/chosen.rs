//! Machines that are meant without their ids.

use std::process::Command;

use support::terminal::Terminal;
use support::tool::{Place, Running};

#[test]
fn one_machine_alone_need_not_be_named() {
    let place = Place::small();
    for words in [&["ssh"][..], &["ssh", "--", "true"], &["exec", "--", "true"], &["down"], &["cp", ":/x", "y"]] {
        let all = [&["machine"], words].concat();
        place.run(&all).expect(2).tells(&["no machine is named, and none is kept here", "machine up"]);
    }
    let id = place.up(&[]);
    assert_eq!(place.run(&["machine", "exec", "--", "hostname"]).expect(0).text().trim(), id);
    assert_eq!(place.run(&["machine", "ssh", "--", "echo", "$HOME"]).expect(0).text(), "/home/hg\n");
    assert_eq!(place.run(&["machine", "ssh", &id, "--", "echo", "$HOME"]).expect(0).text(), "/home/hg\n");
    // A word before `--`, or without one, is a machine still.
    place.run(&["machine", "exec", "true"]).expect(2).tells(&["no command"]);
    place.run(&["machine", "exec", "true", "--", "true"]).expect(2).tells(&["no machine `true`"]);

    let here = place.path().join("sent");
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("file"), "x").unwrap();
    let inside = |words: &[&str]| {
        let mut command: Command = place.command(words);
        command.current_dir(place.path()).output().unwrap()
    };
    assert!(inside(&["machine", "sync", "sent", ":folder"]).status.success());
    assert!(inside(&["machine", "cp", ":folder/file", "back"]).status.success());
    assert_eq!(std::fs::read_to_string(place.path().join("back")).unwrap(), "x");
    std::fs::write(place.path().join(":folder"), "").unwrap();
    let refused = inside(&["machine", "cp", ":folder", "back"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`./:folder`"));

    // What ends a machine that was not named asks first, and only a person can answer.
    place.run(&["machine", "down"]).expect(2).tells(&["nobody is there", &id, "--yes"]);
    assert!(place.run(&["machine", "down", "--dry-run"]).expect(0).text().contains("would remove process"));
    let asked = Terminal::start(place.command(&["machine", "down"]), 24, 120);
    asked.wait_for("[y/N]");
    asked.type_text("n\n");
    asked.wait_for("Nothing was removed.");
    assert_eq!(asked.end().0, Some(0));
    place.exec(&id, &["true"]).expect(0);

    let other = place.up(&[]);
    for words in [&["ssh"][..], &["exec", "--", "true"], &["down", "--yes"], &["cp", ":/etc/hostname", "y"]] {
        let all = [&["machine"], words].concat();
        place.run(&all).expect(2).tells(&["several are there", &id, &other]);
    }
    place.run(&["machine", "down", &id]).expect(0);
    place.run(&["machine", "down", "--yes"]).expect(0).tells(&[&format!("Ended {other}")]);
    place.assert_clean();
}

#[test]
fn all_machines_end_at_once_but_those_of_living_runs() {
    let place = Place::small();
    place.run(&["machine", "down", "--all", "--yes"]).expect(0).tells(&["no machine to end"]);
    for bad in [&["--all", "hg-1"][..], &["--all", "--force"]] {
        place.run(&[&["machine", "down"], bad].concat()).expect(2).tells(&["cannot be used with"]);
    }
    let ids = [place.up(&[]), place.up(&[])];
    let files = place.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let mut command = place.command(&["run", "--image", "linux-dev", "--detach", "--", "sleep", "600"]);
    command.current_dir(&files);
    let run = Running::start(command).end().expect(0).text().trim().to_owned();
    let listed = place.json(&["machine", "list", "--json"]);
    let of_run = listed.as_array().unwrap().iter().find(|machine| machine["run"] == run.as_str());
    let busy = of_run.unwrap()["id"].as_str().unwrap();
    place.run(&["machine", "down", "--all"]).expect(2).tells(&["nobody is there", &ids[0], &ids[1], "--yes"]);
    let dry = place.run(&["machine", "down", "--all", "--dry-run"]).expect(0).tells(&[busy, "stays: the living run"]);
    assert!(ids.iter().all(|id| dry.text().contains(id)) && !dry.text().contains(busy), "{}", dry.text());
    place.exec(&ids[0], &["true"]).expect(0);
    // The machine of the run is not one that is there alone either.
    place.run(&["machine", "down", &ids[0]]).expect(0);
    assert_eq!(place.run(&["machine", "exec", "--", "hostname"]).expect(0).text().trim(), ids[1]);
    let done = place.run(&["machine", "down", "--all", "--yes"]).expect(0);
    done.tells(&[&format!("Ended {}", ids[1]), busy, "stays"]);
    place.run(&["runs", "cancel", &run]).expect(0);
    place.assert_clean();
}

#[test]
fn a_machine_has_a_name_that_commands_take() {
    let place = Place::small();
    let made = place.run(&["machine", "up", "--name", "lobster"]).expect(0).tells(&["machine ssh lobster` enters"]);
    let id = made.text().trim().to_owned();
    let runs = place.json(&["runs", "list", "--json"]);
    let refused = place.run(&["machine", "up", "--name", "lobster"]).expect(2);
    refused.tells(&["`lobster` is the name of machine", &id, "hint:"]);
    assert_eq!(place.json(&["runs", "list", "--json"]), runs, "refused before a run began");
    let made = place.run(&["machine", "up", "--json"]).expect(0).json();
    let other = made["name"].as_str().unwrap();
    assert!(other.split('-').count() == 2 && other != "lobster", "{made}");

    let listed = place.json(&["machine", "list", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[1]["name"]), (&other.into(), &"lobster".into()));
    assert!(place.run(&["machine", "list"]).expect(0).text().contains("lobster"));
    assert_eq!(place.exec("lobster", &["hostname"]).expect(0).text().trim(), id);
    assert_eq!(place.run(&["machine", "ssh", "lobster", "hostname"]).expect(0).text().trim(), id);
    let file = place.path().join("file");
    place.run(&["machine", "cp", "lobster:/etc/hostname", file.to_str().unwrap()]).expect(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), id);
    place.run(&["machine", "exec", "lobter", "--", "true"]).expect(2).tells(&["Did you mean `lobster`?"]);
    place.run(&["machine", "exec", "--", "true"]).expect(2).tells(&["(lobster)", other]);
    place.run(&["machine", "down", "lobster"]).expect(0).tells(&[&id]);
    // The name is free again.
    place.up(&["--name", "lobster"]);
    place.run(&["machine", "down", "lobster", other]).expect(0);
    place.assert_clean();
}
