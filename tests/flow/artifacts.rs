//! Files brought home by pattern, over a real SSH server.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use automation::connection::SshConnector;
use automation::flow::artifacts::{Wanted, collect};
use automation::model::artifact::Collected;
use automation::model::connection::{Connection, Connector};

use super::Events;
use crate::support::sshd::Sshd;
use crate::support::tool::is_root;

async fn connect(sshd: &Sshd) -> Box<dyn Connection> {
    let machine = sshd.machine();
    SshConnector::default().connect(&machine, &machine.user, Duration::from_secs(20), false).await.unwrap()
}

fn wanted(required: &[&str], optional: &[&str]) -> Wanted {
    let own = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
    Wanted::new(&own(required), &own(optional)).unwrap()
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn what_matches_comes_home_and_what_is_missing_is_told() {
    let sshd = Sshd::start();
    let connection = connect(&sshd).await;
    let (work, other, home) = (sshd.folder("work"), sshd.folder("other"), sshd.dir.path().join("home/artifacts"));
    for (name, text) in [("out/a.log", "a"), ("out/deep/b.log", "bb"), ("out/c.txt", "c"), ("-x.log", "dd")] {
        write(&work.join(name), text);
    }
    write(&work.join(std::ffi::OsStr::from_bytes(b"out/\xff\n.log")), "eee");
    write(&other.join("f.log"), "f");
    std::os::unix::fs::symlink("nowhere", work.join("out/link.log")).unwrap();
    let absolute = format!("{}/*.log", other.display());
    let all = wanted(&["out/**/*.log", "none/*", "*.log", &absolute], &["optional/**", "out/a*"]);
    // What is stored with a run means the same when it is read again.
    let all: Wanted = serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap();
    let events = Events::default();
    let got = collect(&events, connection.as_ref(), work.to_str().unwrap(), &all, &home).await.unwrap();
    let expected = Collected {
        folder: home.clone(),
        files: 5,
        bytes: 9,
        missing: vec!["none/*".to_owned()],
        unreadable: Vec::new(),
    };
    assert_eq!(got, expected);
    let fault = got.fault().unwrap();
    assert!(fault.line().contains("none/*") && !fault.line().contains("optional"), "{}", fault.line());
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!((text(&home.join("out/a.log")), text(&home.join("out/deep/b.log"))), ("a".into(), "bb".into()));
    assert_eq!(text(&home.join(std::ffi::OsStr::from_bytes(b"out/\xff\n.log"))), "eee");
    assert_eq!(text(&home.join(other.strip_prefix("/").unwrap()).join("f.log")), "f");
    assert_eq!(std::fs::read_link(home.join("out/link.log")).unwrap(), Path::new("nowhere"));
    assert!(!home.join("out/c.txt").exists());
    assert!(events.lines().iter().any(|line| line.contains("5 artifacts")), "{:?}", events.lines());
}

#[tokio::test]
async fn nothing_to_bring_makes_nothing() {
    let sshd = Sshd::start();
    let connection = connect(&sshd).await;
    let (work, home) = (sshd.folder("work"), sshd.dir.path().join("home"));
    for patterns in [wanted(&[], &["*.log", "/no/such/folder/*"]), Wanted::default()] {
        let got =
            collect(&Events::default(), connection.as_ref(), work.to_str().unwrap(), &patterns, &home).await.unwrap();
        assert_eq!(got, Collected { folder: home.clone(), ..Collected::default() });
        assert!(got.fault().is_none());
        assert!(!home.exists());
    }
}

#[tokio::test]
async fn one_that_cannot_be_read_does_not_cost_the_others() {
    if is_root() {
        // Root reads everything.
        return;
    }
    let sshd = Sshd::start();
    let connection = connect(&sshd).await;
    let (work, home) = (sshd.folder("work"), sshd.dir.path().join("home"));
    write(&work.join("a"), "a");
    write(&work.join("b"), "b");
    std::fs::set_permissions(work.join("b"), PermissionsExt::from_mode(0o000)).unwrap();
    let (events, all) = (Events::default(), wanted(&["*"], &[]));
    let got = collect(&events, connection.as_ref(), work.to_str().unwrap(), &all, &home).await.unwrap();
    assert_eq!((got.files, got.unreadable.len()), (1, 1));
    assert!(got.fault().unwrap().line().contains("/b"));
}
