//! What cannot work is refused at once, with a word on how to mend it, and nothing is made.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use support::tool::{Done, Place, Running, is_root, private, skip};

/// Runs `run-tests-linux` with `arguments`, which must be refused as usage.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], told: &[&str]) {
    let all = [&["run-tests-linux"], arguments].concat();
    let done = place.run(&all).expect(2).tells(told);
    assert_eq!(done.text(), "", "{all:?}");
    assert!(done.took < Duration::from_secs(20));
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let place = Place::new();
    refused(&place, &["--distro", "debian21"], &["`debian21`", "debian12"]);
    refused(&place, &["--filesystem", "ext5"], &["'ext5'", "ext4", "btrfs"]);
    refused(&place, &["--python-version", "3.99"], &["`3.99`", "system3", "pypy3"]);
    refused(&place, &["--provider", "lokal"], &["`lokal`", "Did you mean `local`?"]);
    refused(&place, &["--network", "hots"], &["hots", "host"]);
    refused(&place, &["--cpus", "0"], &["--cpus"]);
    refused(&place, &["--memory", "lots"], &["lots"]);
    refused(&place, &["--timeout", "soon"], &["soon"]);
    refused(&place, &["--colour"], &["--colour"]);
    place.run(&["run-test-linux"]).expect(2).tells(&["run-tests-linux"]);
    place.run(&["image", "build", "linux-dev", "--distro", "debian11"]).expect(2).tells(&["`debian11`", "debian12"]);
    place
        .run(&["bootstrap-linux-dev", "--distros", "debian12,debina13"])
        .expect(2)
        .tells(&["`debina13`", "Did you mean `debian1"]);
    place.run(&["image", "show", "nonsense"]).expect(2).tells(&["`nonsense`"]);
    place.run(&["machine", "exec", "hg-none", "--", "true"]).expect(2).tells(&["`hg-none`"]);
    place.run(&["machine", "down", "hg-none"]).expect(2).tells(&["`hg-none`"]);
    place.run(&["runs", "show", "nonsense"]).expect(2).tells(&["nonsense"]);
    place.run(&["audit", "--run", "nonsense"]).expect(2).tells(&["nonsense"]);
    let runs = place.json(&["runs", "list", "--json"]);
    assert_eq!(runs, serde_json::json!([]), "a refusal is no run");
    place.assert_clean();
}

/// A wrong input, its exit code, and what must be told of it beside what to do next.
type Wrong<'a> = (&'a [&'a str], i32, &'a [&'a str]);

/// Of every command: what is empty, huge, zero, negative, unknown, of another kind, missing, no file, no folder, in conflict. `FILE` and
/// `FOLDER` are there, `FOREIGN` is nobody's.
const WRONG: &[Wrong<'static>] = &[
    // Before anything is written down.
    (&["runs", "show", "latest"], 2, &["no run", "hint:"]),
    (&["frobnicate"], 2, &["'frobnicate'"]),
    (&["machine"], 2, &["Usage"]),
    (&["machine", "up", "--volume", "1"], 2, &["--volume", "16.0 MiB"]),
    (&["machine", "up", "--volume", "0"], 2, &["--volume", "is nothing"]),
    (&["machine", "up", "--volume", "99999999999T"], 2, &["--volume", "more than any disk"]),
    (&["machine", "up", "--volume", "10X"], 2, &["--volume", "512M"]),
    (&["machine", "up", "--ttl", "0"], 2, &["--ttl", "longer than zero"]),
    (&["machine", "up", "--ttl", "-5m"], 2, &["hint:", "below zero"]),
    (&["machine", "up", "--ttl", "999999h"], 2, &["--ttl", "720h"]),
    (&["machine", "up", "--ttl", ""], 2, &["--ttl", "`1d`"]),
    (&["machine", "up", "--ttl", "5 apples"], 2, &["--ttl", "`5 apples`"]),
    (&["machine", "up", "--name", "Lobster"], 2, &["--name", "`Lobster`", "begins with a letter"]),
    (&["machine", "up", "--name", ""], 2, &["--name", "begins with a letter"]),
    (&["machine", "up", "--name", "latest"], 2, &["--name", "`latest`"]),
    (&["machine", "up", "--name", "hg-0123456789"], 2, &["--name", "another machine's id"]),
    (&["machine", "up", "--cpus", "0"], 2, &["--cpus", "0.05"]),
    (&["machine", "up", "--cpus", "nan"], 2, &["--cpus", "`nan`"]),
    (&["machine", "up", "--cpus", "-1"], 2, &["hint:", "below zero"]),
    (&["machine", "up", "--memory", "1"], 2, &["--memory", "64.0 MiB"]),
    (&["machine", "up", "--memory", "lots"], 2, &["--memory", "`lots`"]),
    (&["machine", "up", "--distro", ""], 2, &["``", "debian12", "hint:"]),
    (&["machine", "up", "--distro", "debian99"], 2, &["`debian99`", "hint:", "`debian12`"]),
    (&["machine", "up", "--python-version", "2.7"], 2, &["`2.7`", "system3", "hint:"]),
    (
        &["machine", "up", "--python-version", "pypy4"],
        2,
        &["`debian12` has no python-version `pypy4`", "system3 (3.11), pypy3"],
    ),
    (&["machine", "up", "--distro", "ubuntu22.04", "--python-version", "pypy3"], 2, &["hint:", "`--distro debian12`"]),
    (&["machine", "up", "--parameter", "source"], 2, &["--parameter", "name, `=` and the value"]),
    (&["machine", "up", "--parameter", "sauce=upstream"], 2, &["`sauce`", "source-url", "hint:", "`source`"]),
    (&["machine", "up", "--parameter", "source=sauce"], 2, &["`sauce`", "distribution, upstream", "hint:"]),
    (&["image", "build", "--parameter", "source-url=here"], 2, &["`here`", "a URL such as", "hint:"]),
    (&["image", "build", "--python-version", "pypy3", "--parameter", "python-version=3.11"], 2, &["given twice"]),
    (&["machine", "up", "--network", "none"], 2, &["'none'", "loopback"]),
    (&["machine", "up", "extra"], 2, &["'extra'"]),
    (&["--provider", "host", "machine", "up"], 2, &["`host`", "hint:"]),
    (&["--provider", "", "machine", "list"], 2, &["--provider", "hint:"]),
    (&["--provider", "lokal", "machine", "list"], 2, &["`lokal`", "hint:", "`local`"]),
    (&["--grace", "0", "machine", "up"], 2, &["--grace", "longer than zero"]),
    (&["--grace", "99h", "machine", "up"], 2, &["--grace", "24h"]),
    (&["--host", "x", "runs", "list"], 2, &["`x`", "USER@HOST", "hint:"]),
    (&["--host", "", "run-tests-linux"], 2, &["USER@HOST", "hint:"]),
    (&["--host", "hg@", "run-tests-linux"], 2, &["`hg@`", "hint:"]),
    (&["--host", "hg@h:0", "run-tests-linux"], 2, &["`hg@h:0`", "hint:"]),
    (&["--host", "hg@h", "--identity", "FOREIGN", "run-tests-linux"], 2, &["FOREIGN", "not there", "hint:"]),
    (&["--host", "hg@h", "--identity", "FOLDER", "run-tests-linux"], 2, &["FOLDER", "a folder", "hint:"]),
    (
        &["--host", "hg@127.0.0.1:1", "--identity", "FILE", "run-tests-linux"],
        2,
        &["FILE", "not a private key", "hint:"],
    ),
    (&["--host", "hg@h", "run-tests-linux"], 2, &["no private key", "no agent", "hint:"]),
    (&["--host", "hg@h", "--identity", "FILE", "run-tests-linux", "--distro", "debian12"], 2, &["`--distro`", "hint:"]),
    (&["--host", "hg@h", "run-tests-linux", "--parameter", "flavour=full"], 2, &["`--parameter`", "hint:"]),
    (
        &["--host", "hg@h", "run-tests-linux", "--python-version", "2.7"],
        2,
        &["`2.7`", "a version such as `3.12`", "hint:"],
    ),
    (&["--host", "hg@h", "--provider", "local", "run-tests-linux"], 2, &["`--host`", "hint:"]),
    (&["--images", "FOREIGN", "image", "list"], 2, &["FOREIGN", "hint:"]),
    (&["--images", "FILE", "image", "list"], 2, &["FILE", "hint:"]),
    (&["--images", "FOLDER", "image", "build"], 2, &["FOLDER", "image.toml", "hint:"]),
    (&["image", "show", ""], 2, &["no image ``", "hint:"]),
    (&["image", "show", "nope"], 2, &["`nope`", "hint:"]),
    (&["image", "show", "plain"], 2, &["no image `plain-debian12`", "hint:"]),
    (&["image", "build", "nope"], 2, &["`nope`", "linux-dev", "hint:"]),
    (&["image", "build", "--distro", "debian11"], 2, &["`debian11`", "hint:"]),
    (&["image", "rm"], 2, &["NAME"]),
    (&["image", "rm", "--dry-run", "nope"], 2, &["no image `nope`", "hint:"]),
    (&["image", "rm", "nope"], 2, &["no terminal", "hint:", "--yes"]),
    (&["image", "gc", "extra"], 2, &["'extra'"]),
    (&["runs", "show", ""], 2, &["no run ``", "hint:"]),
    (&["runs", "show", "hg-abcdefghij"], 2, &["`hg-abcdefghij`", "hint:", "name of a machine"]),
    (&["runs", "logs", "nope"], 2, &["`nope`", "hint:"]),
    (&["runs", "wait", "nope"], 2, &["`nope`", "hint:"]),
    (&["runs", "attach", "nope"], 2, &["`nope`", "hint:"]),
    (&["runs", "cancel", "nope"], 2, &["`nope`", "hint:"]),
    (&["runs", "list", "--limit", "99999999999999999999"], 2, &["--limit"]),
    (&["runs", "list", "--limit", "-1"], 2, &["hint:", "below zero"]),
    (&["audit", "--run", ""], 2, &["no run ``", "hint:"]),
    (&["machine", "exec"], 2, &["COMMAND"]),
    (&["machine", "exec", "hg-none"], 2, &["no command", "hint:"]),
    (&["machine", "exec", "hg-none", "--", "true"], 2, &["`hg-none`", "hint:"]),
    (&["machine", "exec", "hg-none", "--timeout", "2s", "--", "true"], 2, &["`--timeout`", "hint: Options come first"]),
    (&["machine", "exec", "hg-none", "--json"], 2, &["`--json`", "[OPTIONS] hg-none -- COMMAND"]),
    (&["machine", "exec", "--timeout", "2s", "hg-none", "--", "true"], 2, &["`hg-none`", "hint:"]),
    (&["machine", "exec", "20261128-103701-abcdef", "--", "true"], 2, &["hint:", "id of a run"]),
    (&["machine", "exec", "--all", "--", "true"], 2, &["no machine", "hint:"]),
    (&["machine", "exec", "--all", "--parallel", "0", "--", "true"], 2, &["--parallel", "500"]),
    (&["machine", "exec", "--all", "--timeout", "0", "--", "true"], 2, &["--timeout", "longer than zero"]),
    (&["machine", "tunnel"], 2, &["PORT"]),
    (&["machine", "tunnel", "hg-none", "80"], 2, &["`hg-none`", "hint:"]),
    (&["machine", "tunnel", "hg-none", "0"], 2, &["`0` names no ports", "0:80"]),
    (&["machine", "tunnel", "65536:80"], 2, &["`65536:80`", "hint:"]),
    (&["machine", "tunnel", "80", "--bind", "nowhere"], 2, &["--bind"]),
    (&["machine", "ssh", ""], 2, &["no machine ``", "hint:"]),
    (&["machine", "down", "hg-none"], 2, &["`hg-none`", "hint:"]),
    (&["machine", "cp", "hg-none:/a", "FOLDER"], 2, &["`hg-none`", "hint:"]),
    (&["machine", "check", "nohost"], 2, &["`nohost`", "hint:"]),
    (&["run-tests-linux", "--timeout", "0"], 2, &["--timeout", "longer than zero"]),
    (&["run-tests-linux", "--timeout", "20h"], 2, &["--timeout", "hint:", "--ttl"]),
    (&["run-tests-linux", "--filesystem", "zfs"], 2, &["'zfs'", "xfs"]),
    (&["run-tests-linux", "--junit", "FOREIGN/x.xml"], 2, &["--junit", "No such file", "hint:"]),
    (&["run-tests-linux", "--junit", "FOLDER"], 2, &["--junit", "it is a folder", "hint:"]),
    (&["run-tests-linux", "--detach", "--junit", "x.xml"], 2, &["--detach", "--junit"]),
    (&["run-tests-linux", "--wait", "5m"], 2, &["--wait", "--host", "hint:"]),
    (&["bootstrap-linux-dev", "--distros", "debian12,nope"], 2, &["`nope`", "hint:"]),
    (&["bootstrap-windows-dev"], 2, &["`windows-dev` is an image of Amazon EC2", "image build windows-standin"]),
    (&["upgrade"], 2, &["--check"]),
    (&["upgrade", "--check"], 2, &["nobody said where releases", "hint:"]),
    (&["upgrade", "--check", "--from", ""], 2, &["`--from`", "it is empty", "hint:"]),
    (&["upgrade", "--check", "--from", "http://h/"], 2, &["`--from`", "changed on its way", "hint:"]),
    (&["upgrade", "--check", "--from", "FOREIGN"], 3, &["latest.json", "hint:"]),
    (&["completions", "nosuchshell"], 2, &["'nosuchshell'", "bash"]),
];

#[test]
fn a_wrong_input_is_told_with_what_is_wrong_and_what_to_do_next() {
    let place = Place::new();
    let (file, folder) = (place.path().join("FILE"), place.path().join("FOLDER"));
    std::fs::write(&file, "x\n").unwrap();
    std::fs::create_dir(&folder).unwrap();
    let mut faults = Vec::new();
    for (arguments, code, told) in WRONG {
        let at = |word: &&str| match word.split('/').next() {
            Some("FILE" | "FOLDER" | "FOREIGN") => place.path().join(word).display().to_string(),
            _ => (*word).to_owned(),
        };
        let done = place.run(&arguments.iter().map(at).collect::<Vec<_>>());
        let next = ["hint:", "--help'"].iter().any(|next| done.stderr.contains(next)) || done.stderr.contains("Usage");
        let whole = told.iter().all(|word| done.stderr.contains(word)) && next && done.stderr.contains("error: ");
        let usage = arguments == &["machine"];
        if done.code() != *code || (!whole && !usage) || done.stderr.contains("panicked") || !done.stdout.is_empty() {
            faults.push(format!("{arguments:?} ended with {} and said:\n{}{}", done.code(), done.text(), done.stderr));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    place.assert_clean();
}

#[test]
fn a_wrong_setting_is_told_with_its_line_and_what_to_do_next() {
    let place = Place::new();
    for (text, told) in [
        ("provider = 3", &[":1:", "`provider`", "number 3"][..]),
        ("provider = \"x\"", &[":1:", "`provider`", "`x`"]),
        ("grace = \"0s\"", &[":1:", "`grace`", "`0s`"]),
        ("grace = -1", &[":1:", "`grace`", "`-1`"]),
        ("[defaults]\npython-version = \"2\"", &[":2:", "`2`"]),
        ("[defaults]\nfilesystem = \"zfs\"", &[":2:", "`zfs`"]),
        ("[local]\ndebian-mirror = \"nope\"", &[":2:", "`nope`", "a URL"]),
        ("[local]\nkeyring = \"keys\"", &[":2:", "`keys`", "absolute path"]),
        ("[nope]", &[":1:", "`[nope]`"]),
        ("x", &[":1:"]),
    ] {
        place.settings(&format!("{text}\n"));
        place.run(&["machine", "up"]).expect(3).tells(&[&["config.toml", "hint:"], told].concat());
    }
    std::fs::remove_file(place.state.join("config.toml")).unwrap();
    place.assert_clean();
}

#[test]
fn names_that_are_not_utf8_are_paths_or_refused() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let odd = OsStr::from_bytes(b"odd\xff").to_owned();
    let run = |words: &[&str], last: &OsString| {
        let words: Vec<OsString> = words.iter().map(OsString::from).chain([last.clone()]).collect();
        place.run(&words)
    };
    for words in [
        &["machine", "exec"][..],
        &["machine", "exec", "hg-none", "--"],
        &["machine", "list", "--provider"],
        &["run-tests-linux"],
        &["run-tests-linux", "--artifact"],
        &["runs", "show"],
        &["audit", "--run"],
    ] {
        run(words, &odd).expect(2).tells(&["`odd\u{fffd}` is not UTF-8", "hint:"]);
    }
    run(&["run-tests-linux", "--artifact", "x", "--artifacts"], &odd).expect(2).tells(&["--artifacts", "not UTF-8"]);
    // By these everything that was made is found again.
    run(&["machine", "list", "--state-path"], &odd).expect(2).tells(&["not UTF-8", "hint:"]);
    // These are looked for.
    run(&["run-tests-linux", "--source"], &odd).expect(2).tells(&["is not a folder"]);
    std::fs::create_dir(place.home.join("definitions")).unwrap();
    let definition = place.home.join("definitions").join(&odd);
    std::fs::create_dir(&definition).unwrap();
    std::fs::write(definition.join("image.toml"), "").unwrap();
    place.run(&["image", "build", "none", "--images", "definitions"]).expect(2).tells(&["not UTF-8"]);
}

#[test]
fn an_artifacts_folder_that_is_none_is_refused_before_anything_is_made() {
    let place = Place::new();
    std::fs::write(place.home.join("file"), "precious").unwrap();
    std::os::unix::fs::symlink("nowhere", place.home.join("link")).unwrap();
    for name in ["file", "link"] {
        refused(&place, &["--artifacts", name, "--artifact", "x"], &["is not a folder"]);
    }
    // What cannot be made is known before the tests, not when the machine has gone.
    refused(&place, &["--artifacts", "file/below", "--artifact", "x"], &["--artifacts file/below", "cannot be made"]);
    assert_eq!(std::fs::read_to_string(place.home.join("file")).unwrap(), "precious");
}

#[test]
fn a_variable_that_means_nothing_is_refused_by_its_name() {
    let place = Place::new();
    let with = |variable: &str, value: &str, arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env(variable, value);
        Running::start(command).end()
    };
    for (variable, value) in [
        ("AUTOMATION_PROVIDER", "xx"),
        ("AUTOMATION_PROVIDER", ""),
        ("LOGNAME", "a\nb"),
        #[cfg(feature = "ec2")]
        ("AUTOMATION_ADDRESS_URL", "checkip"),
        #[cfg(feature = "ec2")]
        ("AUTOMATION_AWS_REGION", "atlantis"),
    ] {
        for arguments in [&["machine", "list"][..], &["audit"], &["runs", "list", "--json"], &["doctor"]] {
            with(variable, value, arguments).expect(2).tells(&[variable, "hint:"]);
        }
    }
    with("AUTOMATION_PROVIDER", "xx", &["--provider", "local", "runs", "list"]).expect(0);
    let mut command = Command::new(support::tool::binary());
    support::tool::clear(&mut command, &place.home);
    command.args(["runs", "list"]).env("AUTOMATION_STATE_PATH", "");
    Running::start(command).end().expect(2).tells(&["AUTOMATION_STATE_PATH", "hint:"]);
    place.assert_clean();
}

#[test]
fn settings_that_are_not_known_are_refused_with_the_nearest_key() {
    let place = Place::new();
    place.settings("grace = \"10s\"\n[defaults]\ndistor = \"debian12\"\n");
    place.run(&["runs", "list"]).expect(3).tells(&["config.toml:3:", "`defaults.distor`", "`defaults.distro`"]);
    place.settings("[defalts]\n");
    place.run(&["runs", "list"]).expect(3).tells(&["`[defalts]`", "`[defaults]`"]);
    place.settings("[defaults]\nnetwork = \"hsot\"\n");
    place.run(&["runs", "list"]).expect(3).tells(&["`hsot`", "`host`"]);
    place.settings("[mercurial]\nsauce = \"upstream\"\n");
    place.run(&["runs", "list"]).expect(3).tells(&["`mercurial.sauce`", "`mercurial.source`"]);
    place.settings("grace = \n");
    place.run(&["runs", "list"]).expect(3).tells(&["config.toml"]);
    place.settings("[defaults]\ndistro = \"debian99\"\n");
    for command in [&["run-tests-linux"][..], &["machine", "up"]] {
        place.run(command).expect(3).tells(&["config.toml:2: ", "`debian99`", "hint:"]);
    }
    place.settings("[mercurial]\nsource = \"upstraem\"\n");
    place.run(&["runs", "list"]).expect(3).tells(&[
        "`distribution` or `upstream`",
        "`upstraem`",
        "Did you mean `upstream`?",
    ]);
    place.settings("[defaults]\npython-version = \"3.99\"\n");
    place.run(&["machine", "up"]).expect(2).tells(&["config.toml:2: ", "`3.99`", "hint:"]);
}

#[test]
fn sources_that_are_no_checkout_of_mercurial_are_refused() {
    let place = Place::new();
    let at = |name: &str| place.path().join(name).display().to_string();
    let mut git = Command::new("git");
    support::tool::clear(&mut git, &place.home);
    assert!(git.args(["init", "--quiet", &at("git")]).status().unwrap().success());
    refused(&place, &["--source", &at("git")], &["Git checkout", "hg clone"]);
    std::fs::create_dir(at("empty")).unwrap();
    // The repository of this project lies above the test's folder.
    let elsewhere = tempfile::tempdir().unwrap();
    refused(&place, &["--source", elsewhere.path().to_str().unwrap()], &["not in a Mercurial checkout"]);
    refused(&place, &["--source", &at("missing")], &["is not a folder"]);
    refused(&place, &["--working-copy"], &["need a Mercurial checkout"]);
    refused(&place, &["--revision", "tip"], &["need a Mercurial checkout"]);
    std::fs::create_dir(at("other")).unwrap();
    support::mercurial::hg(&place.path().join("other"), &["init"]);
    refused(&place, &["--source", &at("other")], &["not a checkout of Mercurial", "tests/run-tests.py"]);
    std::fs::create_dir(at("other") + "/tests").unwrap();
    std::fs::write(at("other") + "/tests/run-tests.py", "").unwrap();
    refused(&place, &["--source", &at("other"), "--revision", "nope"], &["`nope`"]);
    place.assert_clean();
}

#[test]
fn a_source_of_mercurial_that_cannot_be_sent_is_never_replaced_by_the_images_own() {
    let place = Place::new();
    let release = |name: &str| {
        let root = place.path().join(name);
        std::fs::create_dir_all(root.join("mercurial/utils")).unwrap();
        std::fs::create_dir_all(root.join("tests")).unwrap();
        for file in ["hg", "mercurial/__init__.py", "tests/run-tests.py", "tests/test-add.t"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        root
    };
    let root = release("hg-7.2.4");
    let told = ["without a repository", "hg init && hg commit --addremove", "--image-source"];
    let inside = |folder: &std::path::Path| {
        let mut command = place.command(&["run-tests-linux", "test-add.t"]);
        command.current_dir(folder);
        Running::start(command).end()
    };
    for folder in [root.clone(), root.join("tests"), root.join("mercurial/utils")] {
        inside(&folder).expect(2).tells(&told);
        refused(&place, &["--source", folder.to_str().unwrap(), "test-add.t"], &told);
    }
    // One that lies in somebody's repository of other things is not that repository.
    let home = place.path().join("dotfiles");
    std::fs::create_dir(&home).unwrap();
    support::mercurial::hg(&home, &["init"]);
    inside(&release("dotfiles/hg-7.2.4")).expect(2).tells(&told);
    // Nor does a repository of other things inside it hide it.
    let nested = root.join("mercurial/nested");
    std::fs::create_dir_all(nested.join(".git")).unwrap();
    inside(&nested).expect(2).tells(&told);
    std::fs::remove_dir_all(&nested).unwrap();
    // The first way out, half gone.
    support::mercurial::hg(&root, &["init"]);
    inside(&root.join("tests")).expect(2).tells(&["nothing is checked out", "hg commit --addremove"]);
    support::mercurial::hg(&root, &["commit", "-A", "-m", "some", "mercurial"]);
    inside(&root).expect(2).tells(&["has no tests/run-tests.py", "hg add"]);
    // And whole: the tests that it holds are known.
    support::mercurial::hg(&root, &["commit", "-A", "-m", "release"]);
    let unknown = [
        ("test-ad.t", "Did you mean `test-add.t`?"),
        ("add", "Did you mean `test-add.t`?"),
        ("tests/", "without a name"),
    ];
    for (name, hint) in unknown {
        refused(&place, &["--source", root.to_str().unwrap(), name], &[&format!("no test `{name}`"), hint]);
    }
}

/// Runs the command in `folder`.
fn run_in(place: &Place, folder: &std::path::Path, words: &[&str]) -> Done {
    let mut command = place.command(words);
    command.current_dir(folder);
    Running::start(command).end()
}

#[test]
fn a_test_that_is_a_file_here_is_never_replaced_by_the_images_own() {
    let place = Place::new();
    // A part of a source is one that cannot be sent, too; and a test that is named is the file that lies here.
    let part = place.path().join("part");
    std::fs::create_dir_all(part.join("tests")).unwrap();
    std::fs::write(part.join("tests/run-tests.py"), "").unwrap();
    run_in(&place, &part.join("tests"), &["run-tests-linux", "test-add.t"]).expect(2).tells(&["without a repository"]);
    let extension = tempfile::tempdir().unwrap();
    std::fs::create_dir(extension.path().join("tests")).unwrap();
    std::fs::write(extension.path().join("tests/test-add.t"), "  $ false\n").unwrap();
    run_in(&place, &extension.path().join("tests"), &["run-tests-linux", "test-add.t"])
        .expect(2)
        .tells(&["`test-add.t` is a file here", "--image-source"]);
    for (words, parts) in [
        (&["run-tests-linux", "tests/test-add.t"][..], ["`tests/test-add.t` is a file here", "--source DIR"]),
        (&["run-tests-linux", "--image-source", ""], ["the name of a test is empty", "all tests run"]),
        (&["run-tests-linux", "--image-source", "/x/test-add.t"], ["no test `/x/test-add.t`", "without a name"]),
        (&["run-tests-linux", "--image-source", "--", "-h"], ["with `-h`", "runs no test"]),
        (&["run-tests-linux", "--image-source", "--artifacts", "x"], ["--artifacts", "--artifact"]),
    ] {
        run_in(&place, extension.path(), words).expect(2).tells(&parts);
    }
}

#[test]
fn what_a_repository_does_not_send_is_told_as_what_it_is() {
    let place = Place::new();
    let root = place.path().join("checkout");
    std::fs::create_dir_all(root.join("tests")).unwrap();
    for file in ["tests/run-tests.py", "tests/test-add.t"] {
        std::fs::write(root.join(file), "").unwrap();
    }
    support::mercurial::hg(&root, &["init"]);
    support::mercurial::hg(&root, &["commit", "-A", "-m", "release"]);
    // A file that nobody has told `hg` of is not sent.
    std::fs::write(root.join("tests/test-fresh.t"), "").unwrap();
    let fresh = ["--source", root.to_str().unwrap(), "test-fresh.t"];
    refused(&place, &fresh, &["`test-fresh.t` is not in the source under test", "hg add", "--working-copy"]);
    // A clone without a working copy holds what a named revision needs.
    support::mercurial::hg(place.path(), &["clone", "--noupdate", root.to_str().unwrap(), "bare"]);
    let bare = place.path().join("bare");
    run_in(&place, &bare, &["run-tests-linux", "test-add.t"])
        .expect(2)
        .tells(&["nothing is checked out", "--revision REV"]);
    refused(&place, &["--source", bare.to_str().unwrap(), "-r", "tip", "test-ad.t"], &["Did you mean `test-add.t`?"]);
    refused(&place, &["--source", bare.to_str().unwrap(), "-r", "null"], &["`null` names no changeset"]);
    refused(&place, &["--source", bare.to_str().unwrap(), "-r", "nosuch"], &["has no revision `nosuch`"]);
    let broken = place.path().join("hgrc");
    std::fs::write(&broken, "[ui\n").unwrap();
    let mut command = place.command(&["run-tests-linux", "test-add.t"]);
    command.current_dir(&root).env("HGRCPATH", &broken);
    Running::start(command).end().expect(2).tells(&["`hg` cannot read"]);
    refused(&place, &["--image-source", "--source", root.to_str().unwrap()], &["--image-source", "--source"]);
    refused(
        &place,
        &["--source", root.to_str().unwrap(), "--revision", "wdir()"],
        &["the working copy", "--working-copy"],
    );
    place.assert_clean();
}

#[test]
fn definitions_that_are_wrong_are_refused() {
    let mut place = Place::with_steps(&[("one", "true\n")]);
    let file = place.path().join("definitions/linux-dev/image.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("colour = 'red'\n{text}")).unwrap();
    place.run(&["image", "build"]).expect(3).tells(&["image.toml", "colour"]);
    place.define(&[("one", "true\n"), ("one", "false\n")]);
    place.run(&["image", "build"]).expect(3).tells(&["two steps"]);
    let nothing = tempfile::tempdir().unwrap();
    let bare = Place::new();
    let folder = nothing.path().to_str().unwrap();
    bare.run(&["--images", folder, "image", "build"]).expect(2).tells(&[folder]);
    place.assert_clean();
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named_and_left_alone() {
    let place = Place::new();
    std::fs::write(&place.state, "mine").unwrap();
    let told = place.state.display().to_string();
    place.run(&["runs", "list"]).expect(3).tells(&[&told]);
    assert_eq!(std::fs::read_to_string(&place.state).unwrap(), "mine");
    std::fs::remove_file(&place.state).unwrap();

    private(&place.state);
    std::fs::set_permissions(&place.state, std::fs::Permissions::from_mode(0o777)).unwrap();
    place.run(&["runs", "list"]).expect(3).tells(&[&told]);
    std::fs::set_permissions(&place.state, std::fs::Permissions::from_mode(0o700)).unwrap();

    std::fs::write(place.state.join("layout"), "7\n").unwrap();
    place.run(&["runs", "list"]).expect(3).tells(&["7", "newer"]);
    std::fs::write(place.state.join("layout"), "1\n").unwrap();

    let damaged = [0x55_u8; 8192];
    std::fs::write(place.state.join("journal.db"), damaged).unwrap();
    for command in [&["runs", "list"][..], &["audit"], &["audit", "--fix"], &["run-tests-linux", "test-add.t"]] {
        place.run(command).expect(3).tells(&["journal.db"]);
        assert_eq!(std::fs::read(place.state.join("journal.db")).unwrap(), damaged);
    }
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        drop(std::fs::remove_file(place.state.join(name)));
    }
    place.run(&["audit"]).expect(0);

    let key = place.state.join("keys/keypair-automation");
    private(&place.state.join("keys"));
    std::fs::write(&key, "half").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    place.run(&["audit"]).expect(3).tells(&["keypair-automation"]);
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "half");
}

/// Runs the tool on a disk that `mount` makes at the state directory, in a mount namespace that ends with it.
fn on_a_disk(place: &Place, mount: &str, arguments: &[&str]) -> support::tool::Done {
    let inner = place.command(arguments);
    let mut command = Command::new("unshare");
    support::tool::clear(&mut command, &place.home);
    let script = format!("state=$1; shift; {mount} && exec \"$@\"");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(&place.state);
    command.arg(inner.get_program()).args(inner.get_args());
    Running::start(command).end()
}

#[test]
fn a_read_only_and_a_full_disk_are_named() {
    if !is_root() {
        return skip("only root can mount a disk");
    }
    let place = Place::new();
    private(&place.state);
    let told = place.state.display().to_string();
    let full = "mount -t tmpfs -o size=512k,mode=0700 none \"$state\" && { cat /dev/zero >\"$state/filler\" 2>/dev/null; true; }";
    for command in [&["runs", "list"][..], &["run-tests-linux", "test-add.t"], &["machine", "up"]] {
        on_a_disk(&place, "mount -t tmpfs -o ro,mode=0700 none \"$state\"", command)
            .expect(3)
            .tells(&[&told, "ead-only"]);
        on_a_disk(&place, full, command).expect(3).tells(&[&told, "No space"]);
    }
    place.assert_clean();
}

#[test]
fn a_disk_that_fills_up_while_a_step_runs_is_no_reason_to_leave_anything() {
    if !is_root() {
        return skip("only root can mount a disk");
    }
    let fills = "cat /dev/zero >/root/filler || exit 7\n";
    let place = Place::with_steps(&[("fills", fills)]);
    std::fs::remove_file(place.state.join("images")).unwrap();
    let images = support::images::cache().join("images");
    // More than the bake asks for beforehand. The certificate must be read where the journal is: on the disk.
    let mount = format!(
        "mount -t tmpfs -o size=256m,mode=0700 none \"$state\" && ln -s '{}' \"$state/images\"",
        images.display()
    );
    let done = on_a_disk(&place, &mount, &["image", "build"]).expect(3);
    done.tells(&["bake step `fills` failed with exit status 7", "No space left", "Nothing is left behind"]);
    place.assert_clean();
}

#[test]
fn a_mirror_that_cannot_be_reached_is_named() {
    let place = Place::new();
    place.settings("[local]\ndebian-mirror = \"http://127.0.0.1:9/debian\"\n");
    let done = place.run(&["run-tests-linux", "test-add.t"]).expect(3);
    done.tells(&["`http://127.0.0.1:9/debian`", "hint:", "local.debian-mirror", "Nothing is left behind"]);
    let run = place.latest();
    assert!(place.assert_certified(&run)["made"].as_u64().unwrap() >= 3);
    place.assert_clean();
}

#[test]
fn help_and_completions_show_no_internal_command() {
    let place = Place::new();
    for arguments in [&["--help"][..], &["help"], &["machine", "--help"], &["run-tests-linux", "--help"]] {
        let text = place.run(arguments).expect(0).text();
        assert!(text.contains("Usage:") && !text.contains("internal"), "{text}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = place.run(&["completions", shell]).expect(0).text();
        assert!(text.contains("AUTOMATION_COMPLETE") && !text.contains("internal-"), "{shell}");
    }
    assert!(!place.state.exists(), "help makes no state directory");
    place.run(&["--version"]).expect(0);
}

#[test]
fn a_machine_of_somebody_elses_is_refused_where_it_would_not_be_used() {
    let place = Place::new();
    for words in [&["machine", "list"][..], &["machine", "exec", "--all", "--", "true"], &["image", "list"], &["audit"]]
    {
        for (named, told) in
            [(&["--host", "hg@nosuch.invalid"][..], "`--host`"), (&["--provider", "host"], "`--provider host`")]
        {
            place.run(&[named, words].concat()).expect(2).tells(&[told, "has no meaning for this command"]);
        }
    }
}

#[test]
fn help_says_what_a_command_does_and_how_it_ends() {
    let place = Place::new();
    for (command, sentence) in [
        (&["run-tests-linux"][..], "6 detached by the user, 130 interrupted"),
        (&["audit"], "Exit code 0 when nothing remains that should not be there, 5 otherwise"),
        (&["doctor"], "Exit code 0 when the main job can run here, 3 otherwise"),
        (&["uninstall"], "Refused while a run is at work"),
        (&["machine", "check"], "Exit code 0 when every clause holds, 3 otherwise"),
        (&["machine", "cp"], "Like `cp -r`"),
        (&["runs", "attach"], "it is taken over should that driver die"),
    ] {
        let help = place.run(&[command, &["--help"]].concat()).expect(0).text();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(sentence), "{command:?}: {help}");
    }
}

#[test]
fn doctor_finds_this_computer_fit() {
    let place = Place::new();
    let checks = place.json(&["doctor", "--json"]);
    let checks = checks.as_array().unwrap();
    assert!(checks.len() > 3);
    for check in checks {
        assert!(check["id"].is_string() && check["found"].is_string(), "{check}");
        assert!(check["ok"] == true || check["remedy"].is_string(), "{check}");
    }
    place.run(&["doctor"]).expect(0);
    assert!(!place.state.exists(), "a look makes nothing");
    place.assert_clean();
}
