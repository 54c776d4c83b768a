//! Images made of machines, and machines that end when nobody uses them.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::leftovers;
use support::tool::Place;

/// A place whose images are its own, so that what is made here is in nobody's way.
fn place() -> Place {
    let place = Place::small();
    place.own_images();
    place
}

/// What a person changes on a machine: files that come, go, hide others, have several names, belong to others, and keys.
const CHANGES: &str = r#"
set -e
mkdir -p /opt/made/inner && echo words >/opt/made/file && ln /opt/made/file /opt/made/again && ln -s file /opt/made/link
chown hg:hg /opt/made/inner && chmod 2750 /opt/made/inner && touch -d 2001-02-03T04:05:06Z /opt/made/file
rm /etc/issue && rm -r /etc/skel && mkdir /etc/skel && echo mine >/etc/skel/only
truncate -s 64M /opt/made/sparse && mkfifo /opt/made/pipe
mkdir -p /home/hg/.ssh && echo ssh-ed25519 >/home/hg/.ssh/authorized_keys && echo x >/home/hg/.ssh/config
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
echo gone >/tmp/of-this-machine && echo gone >/run/of-this-machine
"#;

/// The same on a machine of the image.
const CHECKS: &str = r#"
set -e
cd /opt/made
[ "$(cat again)" = words ] && [ again -ef file ] && [ "$(readlink link)" = file ] && [ -p pipe ]
[ "$(stat -c '%U:%G %a' inner)" = "hg:hg 2750" ] && [ "$(stat -c %Y file)" = 981173106 ]
[ "$(stat -c %s sparse)" = 67108864 ] && [ "$(stat -c %b sparse)" -lt 2048 ]
[ ! -e /etc/issue ] && [ "$(ls -A /etc/skel)" = only ]
[ ! -e /home/hg/.ssh/authorized_keys ] && [ -e /home/hg/.ssh/config ] && [ ! -e /etc/ssh/ssh_host_ed25519_key ]
[ ! -e /tmp/of-this-machine ] && [ ! -e /run/of-this-machine ]
"#;

#[test]
fn the_state_of_a_machine_becomes_an_image() {
    let place = place();
    let id = place.up(&[]);
    place.exec(&id, &["sudo", "bash", "-c", CHANGES]).expect(0);
    let made = place.run(&["machine", "snapshot", &id, "built-once", "--json"]).expect(0).json();
    assert_eq!((&made["name"], &made["snapshot"]["machine"]), (&"built-once".into(), &id.as_str().into()));
    place.exec(&id, &["test", "-e", "/tmp/of-this-machine"]).expect(0);
    let listed = place.json(&["image", "list", "--json"]);
    assert!(listed.as_array().unwrap().iter().any(|image| image["fingerprint"] == made["fingerprint"]), "{listed}");
    place.run(&["image", "list"]).expect(0).tells(&[]).text().contains("SNAPSHOT OF").then_some(()).unwrap();
    assert!(place.run(&["image", "show", "built-once"]).expect(0).text().contains(&id));
    assert_eq!(place.json(&["image", "show", "built-once", "--json"])["id"], made["fingerprint"]);

    // The image stands by itself: without the machine, and without the image below.
    place.run(&["machine", "down", &id]).expect(0);
    let base = made["snapshot"]["image"].as_str().unwrap();
    place.run(&["image", "rm", "--yes", base]).expect(0);
    place.run(&["image", "gc"]).expect(0);
    let again = place.up(&["--image", "built-once"]);
    place.exec(&again, &["sudo", "bash", "-c", CHECKS]).expect(0);
    let dry = place.run(&["machine", "up", "--image", "built-once", "--dry-run"]).expect(0);
    assert!(dry.text().contains("which is there"), "{}", dry.text());
    place.run(&["image", "rm", "--yes", "built-once"]).expect(3).tells(&["in use"]);

    // A machine of the image is a machine as any other: what changes there comes on top.
    place.exec(&again, &["sudo", "sh", "-c", "echo more >/opt/more; rm /opt/made/link"]).expect(0);
    place.run(&["machine", "snapshot", &again, "built-once"]).expect(2).tells(&["--replace"]);
    place.run(&["machine", "snapshot", &again, "built-once", "--replace"]).expect(0);
    let layers = place.json(&["image", "show", "built-once", "--json"])["layers"].as_array().unwrap().len();
    assert_eq!(layers, made["layers"].as_array().unwrap().len() + 1);
    place.run(&["machine", "down", &again]).expect(0);
    let command = "cat /opt/more; ls /opt/made/link";
    place.run(&["run", "--image", "built-once", "--shell", command]).expect(2).tells(&["No such file"]);
    place.run(&["image", "rm", "--yes", "built-once"]).expect(0);
    place.run(&["machine", "up", "--image", "built-once"]).expect(2).tells(&["no image definition `built-once`"]);
    place.assert_clean();
}

#[test]
fn what_runs_left_on_a_machine_is_on_none_of_its_image() {
    let place = place();
    let id = place.up(&[]);
    let source = place.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join(".env"), "PASSWORD=of-mine").unwrap();
    let run = |machine: &str, line: &str| {
        let words = ["run", "--machine", machine, "--source", source.to_str().unwrap(), "--allow-file", ".env"];
        place.run(&[&words[..], &["--shell", line]].concat()).expect(0);
    };
    run(&id, "cat .env >left");
    let work = "/var/tmp/automation-work";
    let there = ["test", "-e", &format!("{work}/src/left")];
    place.exec(&id, &there).expect(0);
    place.run(&["machine", "snapshot", &id, "after-a-run"]).expect(0);
    // The machine itself loses nothing.
    place.exec(&id, &there).expect(0);
    place.run(&["machine", "down", &id]).expect(0);
    let copy = place.up(&["--image", "after-a-run"]);
    let search = "! ls -d /var/tmp/automation-work && ! grep -rsl PASSWORD=of-mine /var /home /tmp /opt /srv /root";
    place.exec(&copy, &["sudo", "sh", "-c", search]).expect(0);
    run(&copy, "test -e .env && ! test -e left");
    place.run(&["machine", "down", &copy]).expect(0);
    place.assert_clean();
}

#[test]
fn a_machine_stands_still_while_its_files_are_copied() {
    let place = place();
    let id = place.up(&[]);
    // Two files that are always one line apart at most, far from each other, with much between them.
    let writer = "mkdir -p /var/a /var/z; for n in $(seq 40); do head -c 1M /dev/urandom >/var/m$n; done; \
                  setsid sh -c 'while :; do echo >>/var/a/one; echo >>/var/z/two; done' </dev/null >/dev/null 2>&1 &";
    place.exec(&id, &["sudo", "sh", "-c", writer]).expect(0);
    place.exec(&id, &["sudo", "sh", "-c", "until [ -s /var/z/two ]; do sleep 0.1; done"]).expect(0);
    place.run(&["machine", "snapshot", &id, "at-work"]).expect(0);
    let count = || place.exec(&id, &["sh", "-c", "wc -l </var/a/one"]).expect(0).text();
    let before = count();
    let deadline = Instant::now() + Duration::from_secs(30);
    while count() == before {
        assert!(Instant::now() < deadline, "the machine does not go on");
    }
    place.run(&["machine", "down", &id]).expect(0);
    let check = "a=$(wc -l </var/a/one); z=$(wc -l </var/z/two); [ $((a - z)) = 0 ] || [ $((a - z)) = 1 ]";
    let copy = place.up(&["--image", "at-work"]);
    place.exec(&copy, &["sudo", "sh", "-c", check]).expect(0);
    place.run(&["machine", "down", &copy]).expect(0);
    place.assert_clean();
}

#[test]
fn what_cannot_be_an_image_is_refused_before_anything_is_made() {
    let place = place();
    let id = place.up(&[]);
    for name in
        ["Built", "a b", "-x", "hg-0123456789", "cafe", "linux-dev", "linux-dev-debian12", "linux-dev-debian12-x"]
    {
        place.run(&["machine", "snapshot", &id, "--", name]).expect(2);
    }
    // Of what means something by itself, or without the definitions of this place.
    for (name, why) in [
        ("latest", "the newest one"),
        ("debian12", "the name of a distribution"),
        ("server2022", "the name of a distribution"),
        ("plain", "the definition `plain`"),
        ("bare", "the definition `bare`"),
        ("windows-dev", "the definition `windows-dev`"),
        ("plain-debian13", "the definition `plain`"),
    ] {
        place.run(&["machine", "snapshot", &id, name]).expect(2).tells(&[&format!("`{name}` is"), why]);
    }
    place.run(&["machine", "snapshot", "nobody", "x-1"]).expect(2);
    place.run(&["machine", "snapshot", &id, "mine"]).expect(0);
    place.run(&["machine", "snapshot", &id, "mine"]).expect(2).tells(&["--replace"]);
    for options in [&["--distro", "debian12"][..], &["--parameter", "python-version=system3"]] {
        let refused = place.run(&[&["machine", "up", "--image", "mine"], options].concat()).expect(2);
        assert!(refused.stderr.contains("the state of a machine"), "{}", refused.stderr);
    }
    let runs = place.json(&["runs", "list", "--json"]).as_array().unwrap().len();
    assert_eq!(runs, 2, "`machine up` and the one `machine snapshot` that was not refused");
    place.run(&["image", "gc", "--all"]).expect(0);
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn a_driver_that_is_killed_leaves_neither_an_image_nor_a_machine_that_stands_still() {
    let place = place();
    let id = place.up(&[]);
    place.exec(&id, &["sudo", "sh", "-c", "head -c 300M /dev/urandom >/var/big"]).expect(0);
    for signal in [Signal::KILL, Signal::INT] {
        let folders = || std::fs::read_dir(place.state.join("machines")).unwrap().count();
        let before = folders();
        let running = place.start(&["machine", "snapshot", &id, "never"]);
        let deadline = Instant::now() + Duration::from_secs(60);
        while folders() == before {
            assert!(Instant::now() < deadline && running.lives(), "{}", running.said());
            std::thread::sleep(Duration::from_millis(1));
        }
        running.signal(signal);
        drop(running.end());
        place.run(&["audit", "--fix"]).expect(0);
        place.exec(&id, &["true"]).expect(0);
        let listed = place.json(&["image", "list", "--json"]);
        assert!(listed.as_array().unwrap().iter().all(|image| image["name"] != "never"), "{listed}");
        assert_eq!(folders(), before);
        let found = place.json(&["audit", "--json"]);
        assert!(found.as_array().unwrap().iter().all(|finding| finding["standing"] == "kept"), "{found}");
    }
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn a_machine_ends_when_nobody_uses_it_and_not_while_somebody_does() {
    let place = Place::small();
    place.run(&["machine", "up", "--idle", "1s"]).expect(2);
    place.run(&["machine", "up", "--idle", "2h", "--ttl", "1h"]).expect(2).tells(&["never idle"]);
    let up = place.run(&["machine", "up", "--idle", "10s"]).expect(0).tells(&["when idle for 10"]);
    let id = up.text().trim().to_owned();
    let listed = place.run(&["machine", "list"]).expect(0).text();
    assert!(listed.contains("or when idle for 10") && listed.contains("kept"), "{listed}");
    for words in [&["status"][..], &["audit"], &["-v", "audit"]] {
        let said = place.run(words).expect(0).text();
        assert!(said.contains("or when idle for 10"), "{words:?}: {said}");
    }
    // A login and a task are use, for longer than the machine may be idle.
    place.exec(&id, &["sleep", "15"]).expect(0);
    place.run(&["run", "--machine", &id, "--", "sleep", "15"]).expect(0);
    // So are many short ones, which are over before anybody looks for them.
    for _ in 0..7 {
        place.exec(&id, &["true"]).expect(0);
        std::thread::sleep(Duration::from_secs(2));
    }
    // What a run left there came to would go with the machine.
    place.run(&["run", "--machine", &id, "--detach", "--", "true"]).expect(125).tells(&["ends when idle", "--detach"]);
    leftovers::gone_within(&place.state, Duration::from_secs(60));
    place.run(&["machine", "exec", &id, "--", "true"]).expect(2);
    place.assert_clean();
}
