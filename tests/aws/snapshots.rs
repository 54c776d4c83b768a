//! Images made of machines that are up.

use std::time::Instant;

use rustix::process::Signal;
use support::tool::LIMIT;

use super::cli::{World, small};

#[test]
fn the_state_of_a_machine_becomes_an_image_of_the_account() {
    let Some(world) = World::with_machines(small()) else { return };
    let up = |further: &[&str]| {
        let made = world.tool(&[&["machine", "up", "--ttl", "1h"], further].concat()).expect(0);
        made.text().trim().to_owned()
    };
    let exec = |id: &str, line: &str| world.tool(&["machine", "exec", id, "--", "sh", "-c", line]);
    let id = up(&[]);
    let changes =
        "sudo sh -c 'echo words >/opt/words; mkdir -p /home/hg/.ssh; echo key >/home/hg/.ssh/authorized_keys'";
    exec(&id, changes).expect(0);
    let work = "/var/tmp/automation-work";
    let left = format!("mkdir -p {work}/src && touch {work}/.made-by-automation && echo secret >{work}/src/.env");
    exec(&id, &left).expect(0);
    let made = world.strictly("machine", &["snapshot", &id, "built-once", "--json"]).expect(0).json();
    assert_eq!((&made["name"], &made["snapshot"]["machine"]), (&"built-once".into(), &id.as_str().into()));
    assert!(made["locator"].as_str().unwrap().starts_with("ami-"), "{made}");
    // The machine goes on, and lets in whom it let in.
    assert_eq!(
        exec(&id, "cat /home/hg/.ssh/authorized_keys; test -s /etc/ssh/hg_host_ed25519_key").expect(0).text(),
        "key\n"
    );
    exec(&id, &format!("test -e {work}/src/.env")).expect(0);
    world.tool(&["machine", "snapshot", &id, "built-once"]).expect(2).tells(&["--replace"]);
    let listed = world.tool(&["image", "list", "--json"]).expect(0).json();
    let ours: Vec<_> = listed.as_array().unwrap().iter().filter(|image| image["name"] == "built-once").collect();
    assert_eq!((ours.len(), &ours[0]["fingerprint"]), (1, &made["fingerprint"]));
    world.tool(&["image", "gc"]).expect(0);

    let other = up(&["--image", "built-once"]);
    let check = "cat /opt/words; test ! -e /home/hg/.ssh/authorized_keys; sudo ls /var/lib/hg-automation";
    assert_eq!(exec(&other, check).expect(0).text(), format!("words\n{other}\n"));
    // Where runs worked nothing is left.
    exec(&other, &format!("test ! -e {work}")).expect(0);
    let removed = world.tool(&["image", "rm", "--yes", "built-once"]);
    assert!(removed.code() != 0 && removed.stderr.contains("in use"), "{}", removed.stderr);
    world.tool(&["machine", "down", &other]).expect(0);
    world.strictly("image", &["rm", "--yes", "built-once"]).expect(0);

    // One that is cut off is not there afterwards.
    world.aws.control.clear_log();
    let running = world.start(&["machine", "snapshot", &id, "never"]);
    let end = Instant::now() + LIMIT;
    while world.aws.control.count("ec2:CreateImage") == 0 {
        assert!(Instant::now() < end && running.lives(), "{}", running.said());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal(Signal::KILL);
    running.end();
    world.strictly("audit", &["--fix"]).expect(0);
    let listed = world.tool(&["image", "list", "--json"]).expect(0).json();
    assert!(listed.as_array().unwrap().iter().all(|image| image["name"] != "never"), "{listed}");
    world.tool(&["machine", "down", &id]).expect(0);
    world.assert_clean();
    world.tool(&["image", "gc", "--all"]).expect(0);
    let left = world.tool(&["purge-ec2-resources", "--dry-run", "--json"]).expect(0).json();
    let kinds: Vec<_> = left.as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert!(!kinds.contains(&"machine_image") && !kinds.contains(&"snapshot"), "{kinds:?}");
}
