//! How things stand.

use support::tool::{Place, Running};

#[test]
fn what_only_looks_makes_no_state_directory() {
    let place = Place::new();
    let looks: [&[&str]; 8] = [
        &["audit"],
        &["audit", "--fix"],
        &["status"],
        &["machine", "list"],
        &["runs", "list"],
        &["runs", "gc", "--yes"],
        &["image", "list"],
        &["tests", "slow"],
    ];
    for look in looks {
        place.run(look).expect(0);
    }
    for named in [&["runs", "attach"][..], &["runs", "show"], &["machine", "ssh", "hg-1"]] {
        place.run(named).expect(2);
    }
    assert!(!place.state.exists());
}

#[test]
fn one_screen_says_how_things_stand() {
    let place = Place::small();
    let nothing = place.json(&["status", "--json"]);
    for part in ["machines", "runs", "left"] {
        assert_eq!(nothing[part], serde_json::json!([]), "{part}");
    }
    let said = place.run(&["status"]).expect(0).text();
    assert!(
        said.contains("0 machines\n") && said.contains("0 runs at work") && said.contains("Nothing is left"),
        "{said}"
    );

    let id = place.up(&["--name", "lobster"]);
    let mut command = place.command(&["run", "--image", "linux-dev", "--detach", "--", "sleep", "600"]);
    let files = place.path().join("files");
    std::fs::create_dir(&files).unwrap();
    command.current_dir(&files);
    let run = Running::start(command).end().expect(0).text().trim().to_owned();
    let made = place.json(&["runs", "list", "--json"])[1]["summary"].as_str().unwrap().to_owned();
    assert!(made.contains(" until 20") && !made.contains('.'), "no parts of a second: {made}");
    let status = place.json(&["status", "--json"]);
    let standing: Vec<&str> =
        status["machines"].as_array().unwrap().iter().map(|machine| machine["status"].as_str().unwrap()).collect();
    assert_eq!(standing, ["in use", "kept"], "{status}");
    assert_eq!(
        (&status["machines"][1]["id"], &status["machines"][1]["name"]),
        (&id.as_str().into(), &"lobster".into())
    );
    assert!(status["machines"][1]["cost"].is_null(), "a machine of this computer costs nothing");
    assert_eq!((&status["runs"][0]["id"], &status["runs"][0]["status"]), (&run.as_str().into(), &"detached".into()));
    assert!(status["disk"]["layers"]["bytes"].as_u64().unwrap() > 100 << 20, "{status}");
    assert_eq!(status["disk"]["runs"]["count"], 2);
    assert_eq!(status["left"], serde_json::json!([]), "what is used or kept is not left behind");
    let said = place.run(&["status"]).expect(0).text();
    for part in ["2 machines\n", "lobster", "in 1h 5", "1 run at work", &run, "On disk: "] {
        assert!(said.contains(part), "`{part}`: {said}");
    }
    assert!(said.lines().count() <= 24, "{said}");
    let mut command = place.command(&["run", "--image", "linux-dev", "--", "true"]);
    command.current_dir(&files);
    Running::start(command).end().expect(0);
    let newer = place.latest();
    let shown = place.run(&["runs", "show", "latest"]).expect(0);
    shown.tells(&[&format!("`latest` is run {run}, which goes on; the newer run {newer} does not.")]);
    place.run(&["runs", "cancel", &run]).expect(0);
    let summary = place.json(&["runs", "show", &run, "--json"])["summary"].as_str().unwrap().to_owned();
    assert!(summary.starts_with("Cancelled after "), "{summary}");
    place.run(&["machine", "down", "lobster"]).expect(0);
    place.assert_clean();
}
