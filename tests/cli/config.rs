//! `automation config`: the settings, listed and changed.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;
use support::terminal::Terminal;
use support::tool::Place;

/// The row of a setting.
fn row<'a>(rows: &'a Value, id: &str) -> &'a Value {
    rows.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no `{id}`"))
}

fn text(place: &Place) -> String {
    std::fs::read_to_string(place.state.join("config.toml")).unwrap()
}

#[test]
fn each_setting_is_listed_with_its_value_and_who_decides_it() {
    let place = Place::new();
    let path = place.run(&["config", "path"]).expect(0).text();
    assert_eq!(path.trim_end(), place.state.join("config.toml").to_str().unwrap());
    let rows = place.json(&["config", "list", "--json"]);
    assert_eq!(row(&rows, "provider")["value"], "local");
    assert_eq!(row(&rows, "provider")["from"], "default");
    assert_eq!(row(&rows, "local.keyring")["value"], Value::Null);
    assert!(row(&rows, "mercurial.source")["takes"].as_str().unwrap().contains("`upstream`"));
    assert_eq!(rows.as_array().unwrap().iter().any(|row| row["id"] == "ec2.region"), cfg!(feature = "ec2"));
    assert_eq!(place.run(&["config", "get", "grace"]).expect(0).text(), "60s\n");
    let none = place.run(&["config", "get", "local.keyring"]).expect(0);
    assert!(none.stdout.is_empty() && none.stderr.contains("has no value"), "{}", none.stderr);
    assert!(!place.state.exists(), "nothing is made by looking");

    place.settings("# mine\n[defaults]\ndistro = 'debian13'\n");
    let rows = place.json(&["config", "list", "--json"]);
    let distro = row(&rows, "defaults.distro");
    assert_eq!((&distro["value"], &distro["from"]), (&"debian13".into(), &"file".into()));
    assert!(distro["origin"].as_str().unwrap().ends_with("config.toml:3"), "{distro}");
    let mut listed = place.command(&["config", "list"]);
    let done = listed.env("AUTOMATION_PROVIDER", "host").output().unwrap();
    let lines = String::from_utf8(done.stdout).unwrap();
    let line =
        |key: &str| lines.lines().find(|line| line.starts_with(key)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line("provider")[..3], ["provider", "host", "AUTOMATION_PROVIDER"]);
    assert_eq!(line("defaults.distro")[..4], ["defaults.distro", "debian13", "line", "3"]);
    assert_eq!(line("defaults.network")[..3], ["defaults.network", "loopback", "default"]);
}

#[test]
fn changes_at_the_same_time_are_all_made() {
    let place = Place::new();
    let settings = [
        ("grace", "90s"),
        ("defaults.distro", "debian13"),
        ("defaults.network", "host"),
        ("defaults.wait-gone", "never"),
        ("runs.keep", "20"),
        ("runs.older-than", "30d"),
    ];
    for _ in 0..3 {
        let running: Vec<_> = settings.iter().map(|(key, value)| place.start(&["config", "set", key, value])).collect();
        running.into_iter().for_each(|one| drop(one.end().expect(0)));
        for (key, _) in settings {
            assert!(!place.run(&["config", "get", key]).expect(0).text().is_empty());
        }
        assert_eq!(text(&place).lines().filter(|line| line.contains('=')).count(), settings.len(), "{}", text(&place));
        let running: Vec<_> = settings.iter().map(|(key, _)| place.start(&["config", "unset", key])).collect();
        running.into_iter().for_each(|one| drop(one.end().expect(0)));
        assert_eq!(text(&place).lines().filter(|line| line.contains('=')).count(), 0, "{}", text(&place));
    }
}

#[test]
fn a_change_is_checked_and_leaves_the_rest_of_the_file_alone() {
    let place = Place::new();
    for (words, told) in [
        (&["config", "set", "provder", "local"][..], &["no setting `provder`", "`provider`"][..]),
        (&["config", "set", "provider", "locla"], &["takes", "Did you mean `local`?"]),
        (&["config", "set", "grace", "soon"], &["a span of time"]),
        (&["config", "get", "nosuch.key"], &["`automation --state-path", "config list`"]),
        (&["config", "unset", "keep"], &["`runs.keep`"]),
    ] {
        place.run(words).expect(2).tells(told);
    }
    place
        .run(&["config", "set", "defaults.distro", "debian1"])
        .expect(2)
        .tells(&["no distribution `debian1`", "Did you mean"]);
    place.run(&["config", "set", "local.keyring", "/none"]).expect(2).tells(&["names no file: `/none`"]);
    assert!(!place.state.exists(), "what is refused makes nothing");
    place.run(&["config", "unset", "grace"]).expect(0).tells(&["is not in the file"]);

    place.run(&["config", "set", "defaults.distro", "debian13"]).expect(0).tells(&["`debian13`"]);
    assert_eq!(text(&place), "[defaults]\ndistro = \"debian13\"\n");
    let mine = "# mine\ngrace = '2m'  # long\n\n[defaults] # usual\ndistro = 'debian12'\n";
    place.settings(mine);
    let file = place.state.join("config.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    place.run(&["config", "set", "grace", "90"]).expect(0);
    assert_eq!(text(&place), mine.replace("'2m'", "90"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    place.run(&["config", "unset", "grace"]).expect(0).tells(&["the default `60s`"]);
    assert_eq!(text(&place), mine.replace("grace = '2m'  # long\n", ""));
    let mut overridden = place.command(&["config", "set", "provider", "local"]);
    let done = overridden.env("AUTOMATION_PROVIDER", "host").output().unwrap();
    assert!(String::from_utf8_lossy(&done.stderr).contains("`AUTOMATION_PROVIDER` takes its place"), "{done:?}");

    // An error elsewhere is told, and the file is left as it is; the key that is wrong can be taken out.
    let broken = "provder = 'local'\n";
    place.settings(broken);
    place.run(&["config", "set", "grace", "90"]).expect(3).tells(&["config.toml:", "`provder`"]);
    place.run(&["config", "list"]).expect(3).tells(&["config.toml:1:", "`provder`"]);
    assert_eq!(text(&place), broken);
    place.run(&["config", "unset", "provder"]).expect(0);
    assert_eq!(text(&place), "");
}

#[cfg(not(feature = "ec2"))]
#[test]
fn a_provider_that_was_not_built_in_is_no_setting() {
    let place = Place::new();
    place.run(&["config", "set", "provider", "ec2"]).expect(3).tells(&["built without"]);
    assert!(!place.state.exists());
}

/// A program that does this to the file that it is to edit.
fn editor(place: &Place, script: &str) -> PathBuf {
    let path = place.path().join("my editor");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The line that calls it, as a variable has it.
fn called(place: &Place, script: &str) -> String {
    format!("'{}' --wait", editor(place, script).display())
}

#[test]
fn what_is_edited_becomes_the_settings_only_when_it_is_right() {
    let place = Place::new();
    place.run(&["config", "edit"]).expect(2).tells(&["`VISUAL` or `EDITOR`"]);
    let edit = |script: &str| {
        let mut command = place.command(&["config", "edit"]);
        let done = command.env("EDITOR", "false").env("VISUAL", called(&place, script)).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, said) = edit("test \"$1\" = --wait || exit 9");
    assert!(code == Some(0) && said.contains("Nothing was changed"), "{said}");
    assert!(!place.state.exists(), "it was left as it was");
    // Whoever has no file begins with one that explains every key.
    let (code, said) = edit("grep -q '^#grace = ' \"$2\" || exit 9\nsed -i 's/^#grace = .*/grace = \"2m\"/' \"$2\"");
    assert!(code == Some(0) && said.contains("was changed"), "{said}");
    assert_eq!(place.run(&["config", "get", "grace"]).expect(0).text(), "2m\n");
    let before = text(&place);
    let (code, said) = edit("echo 'grace = 3' >>\"$2\"");
    assert!(code == Some(3) && said.contains("config.toml:") && said.contains("nothing was changed"), "{said}");
    let (code, said) = edit("echo 'grace = 3' >\"$2\"; exit 7");
    assert!(code == Some(3) && said.contains("7") && said.contains("Nothing was changed"), "{said}");
    let (code, said) =
        edit(&format!("echo '# new' >>'{}'; echo 'grace = 3' >\"$2\"", place.state.join("config.toml").display()));
    assert!(code == Some(3) && said.contains("changed meanwhile"), "{said}");
    assert_eq!(text(&place), format!("{before}# new\n"));
}

#[test]
fn a_person_whose_edit_is_wrong_may_go_back_to_the_editor() {
    let place = Place::new();
    place.settings("grace = 90\n");
    // The second time it mends what it did.
    let script = "if grep -q soon \"$2\"; then echo 'grace = 5' >\"$2\"; else echo 'grace = \"soon\"' >\"$2\"; fi";
    let start = || {
        let mut command = place.command(&["config", "edit"]);
        command.env("EDITOR", called(&place, script)).env("TERM", "xterm");
        Terminal::start(command, 30, 100)
    };
    let terminal = start();
    terminal.wait_for("Go back to the editor? [y/N]");
    terminal.type_text("n\n");
    let (code, lines) = terminal.end();
    assert!(code == Some(3) && lines.iter().any(|line| line.contains("Nothing was changed")), "{code:?} {lines:?}");
    assert_eq!(text(&place), "grace = 90\n");
    let terminal = start();
    let lines = terminal.wait_for("Go back to the editor? [y/N]");
    assert!(lines.iter().any(|line| line.contains("`grace` takes")), "{lines:?}");
    terminal.type_text("y\n");
    assert_eq!(terminal.end().0, Some(0));
    assert_eq!(text(&place), "grace = 5\n");
}
