//! Several distributions at once, wherever one can be named.

use serde_json::{Value, json};
use support::tool::Place;

/// A definition with two distributions that have the same userland, so that one is baked and the other copies nothing.
const BOTH: &str = "debian12,debian13";

/// The images of machines that are planned, with the cell of each.
fn planned(place: &Place, words: &[&str]) -> Vec<(Value, String)> {
    let plan = place.json(&[words, &["--dry-run", "--json"]].concat());
    let machine = |machine: &Value| (machine["cell"].clone(), machine["image"].as_str().unwrap().to_owned());
    plan["machines"].as_array().unwrap().iter().map(machine).collect()
}

/// A folder with a project whose tests are declared.
fn project(place: &Place) -> String {
    let folder = place.path().join("project");
    std::fs::create_dir(&folder).unwrap();
    let text = "[tests.one]\nlist = 'echo a'\nrun = 'true'\nreport = { format = 'tap' }\n";
    std::fs::write(folder.join("automation.toml"), text).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn each_is_a_cell_of_what_tests_or_runs_and_a_machine_of_what_makes_some() {
    let place = Place::new();
    let folder = project(&place);
    let cells =
        |of: &str| vec![(json!("debian12"), format!("{of}-debian12")), (json!("debian13"), format!("{of}-debian13"))];
    let starts = |found: Vec<(Value, String)>, wanted: Vec<(Value, String)>| {
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(found.0 == wanted.0 && found.1.starts_with(&wanted.1), "{found:?} is not {wanted:?}");
        }
    };
    let run = ["run", "--source", &folder, "--distro", BOTH, "--shell", "true"];
    starts(planned(&place, &run), cells("plain"));
    let tests = ["run-tests", "--source", &folder, "--distro", "debian12", "--distro", "debian13"];
    starts(planned(&place, &tests), cells("linux-dev"));
    starts(planned(&place, &["run-tests-linux", "--distro", BOTH, "--image-source"]), cells("linux-dev"));
    let with = ["run-tests-linux", "--distro", BOTH, "--image-source", "--matrix", "filesystem=default,tmpfs"];
    let four: Vec<Value> = planned(&place, &with).into_iter().map(|(cell, _)| cell).collect();
    assert_eq!(json!(four), json!(["debian12/default", "debian12/tmpfs", "debian13/default", "debian13/tmpfs"]));
    let up = planned(&place, &["machine", "up", "--image", "bare", "--distro", BOTH]);
    starts(up, cells("bare").into_iter().map(|(_, image)| (Value::Null, image)).collect());
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let place = Place::new();
    let folder = project(&place);
    let run = ["run", "--source", &folder, "--shell", "true", "--distro"];
    for (words, why) in [
        (&["debian12,debian12"][..], "`debian12` stands twice"),
        (&["debian12,"], "one of the names in `--distro` is empty"),
        (&["auto,debian12"], "`auto` chooses one distribution"),
        (&["debian12,debian99"], "cell debian99: "),
        (&[BOTH, "--matrix", "distro=debian12,debian13"], "`--distro` and the axis `distro`"),
        (&[BOTH, "--watch"], "`--watch` takes one machine"),
        (&[BOTH, "--sync-back", "*"], "`--sync-back` takes one machine"),
        (&[BOTH, "--machines", "200"], "more than 256 machines"),
    ] {
        place.run(&[&run[..], words].concat()).expect(125).tells(&[why]);
    }
    let host = ["--host", "me@there", "run-tests", "--source", &folder, "--distro", BOTH];
    place.run(&host).expect(2).tells(&["`--distro` has no meaning"]);
    for (words, why) in [
        (&["machine", "up", "--distro", BOTH, "--name", "one"][..], "`--name` names one machine"),
        (&["machine", "up", "--distro", "debian12,debian99"], "no distribution `debian99`"),
        (&["run-tests-linux", "--distro", "debian12,auto"], "cannot stand beside others"),
        (&["image", "build", "--distro", "debian12,debian12"], "stands twice"),
        (&["image", "build", "--distro", "debian12,debian99"], "no distribution `debian99`"),
    ] {
        place.run(words).expect(2).tells(&[why]);
    }
    assert_eq!(place.json(&["runs", "list", "--json"]), json!([]));
}
