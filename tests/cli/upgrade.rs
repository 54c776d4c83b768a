//! Whether there is a newer version of the tool, at a real web server and in folders.

use std::path::Path;

use serde_json::json;
use support::files::FileServer;
use support::sshd::free_port;
use support::tool::Place;

/// Writes into `folder` that the newest release is `version`.
fn release(folder: &Path, version: &str) {
    let text = json!({"version": version, "released_at": "2026-12-01T00:00:00Z", "files": []}).to_string();
    std::fs::write(folder.join("latest.json"), text).unwrap();
}

#[test]
fn a_newer_version_is_told_with_the_command_that_installs_it_and_nothing_is_changed() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    let (own, server) = (env!("CARGO_PKG_VERSION"), FileServer::start(folder.path()));
    let there = folder.path().to_str().unwrap();
    for (newest, code) in [(own, 0), ("999.0.0", 1), ("0.0.1", 0), ("999.0.0-rc.1", 1)] {
        release(folder.path(), newest);
        for from in [server.url.as_str(), there, &format!("file://{there}")] {
            let told = place.run(&["upgrade", "--check", "--from", from]).expect(code).text();
            assert!(told.contains(newest) && told.contains(own), "{told}");
            assert_eq!(told.contains(" --version "), code == 1, "{told}");
            let found = place.run(&["upgrade", "--check", "--json", "--from", from]).expect(code).json();
            assert_eq!(
                (&found["version"], &found["newest"], &found["is_newer"]),
                (&json!(own), &json!(newest), &json!(code == 1))
            );
            assert_eq!(found["released_at"], "2026-12-01T00:00:00Z");
            let expected = match (code, from == server.url) {
                (0, _) => json!(null),
                (_, true) => json!(format!("curl -fsSL {from}/install.sh | sh -s -- --from {from} --version {newest}")),
                (_, false) => json!(format!("sh {there}/install.sh --from {there} --version {newest}")),
            };
            assert_eq!(found["command"], expected);
        }
    }
    assert!(!place.state.exists(), "it made a state directory");
}

#[test]
fn where_releases_are_is_said_by_the_option_or_a_variable_or_the_settings() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    release(folder.path(), "999.0.0");
    place.run(&["upgrade", "--check"]).expect(2).tells(&[
        "nobody said where",
        "--from",
        "AUTOMATION_RELEASES",
        "`releases`",
    ]);
    place.run(&["upgrade"]).expect(2).tells(&["--check"]);
    let by_variable = |value: &Path| {
        let mut command = place.command(&["upgrade", "--check"]);
        command.env("AUTOMATION_RELEASES", value);
        support::tool::Running::start(command).end()
    };
    by_variable(folder.path()).expect(1);
    by_variable(Path::new("http://example.org")).expect(2).tells(&["`AUTOMATION_RELEASES`", "`http` can be changed"]);
    by_variable(Path::new("")).expect(2).tells(&["`AUTOMATION_RELEASES`", "it is empty"]);
    place.settings(&format!("releases = \"file://{}\"\n", folder.path().display()));
    place.run(&["upgrade", "--check"]).expect(1);
    place.settings("releases = \"http://example.org/\"\n");
    place.run(&["upgrade", "--check"]).expect(2).tells(&["config.toml:1", "changed on its way"]);
    place.run(&["upgrade", "--check", "--from", folder.path().to_str().unwrap()]).expect(1);
}

#[test]
fn a_place_without_a_release_is_an_error_with_its_cause() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    let server = FileServer::start(folder.path());
    let check = |from: &str, code: i32, told: &[&str]| {
        let done = place.run(&["upgrade", "--check", "--json", "--from", from]).expect(code).tells(told);
        assert_eq!(done.text(), "");
    };
    check(&server.url, 3, &["/latest.json", "HTTP 404", "hint:"]);
    check(folder.path().to_str().unwrap(), 3, &["latest.json", "No such file", "hint:"]);
    check(&format!("http://127.0.0.1:{}", free_port()), 4, &["cannot connect to `http://127.0.0.1:"]);
    std::fs::write(folder.path().join("latest.json"), "{\"version\": \"$(reboot)\"}").unwrap();
    check(&server.url, 3, &["does not say which release is the newest", "`$(reboot)` is not a version"]);
}
