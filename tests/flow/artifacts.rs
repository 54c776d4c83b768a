//! Files brought home by pattern, over a real SSH server.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connection::SshConnector;
use flow::transfer::artifacts::{Patterns, collect};
use model::artifact::CollectedArtifacts;
use model::connection::{Connection, Connector};
use model::event::Teller;
use support::events::Events;
use support::sshd::Sshd;
use support::tool::is_root;

async fn connect(sshd: &Sshd) -> Box<dyn Connection> {
    let machine = sshd.machine();
    SshConnector::default().connect(&machine, &machine.user, Duration::from_secs(20), false).await.unwrap()
}

fn wanted(required: &[&str], optional: &[&str]) -> Patterns {
    let own = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
    Patterns::new(&own(required), &own(optional)).unwrap()
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
    let all: Patterns = serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap();
    let events = Arc::new(Events::default());
    let got = collect(&events.teller(), connection.as_ref(), work.to_str().unwrap(), &all, &home).await.unwrap();
    let expected = CollectedArtifacts {
        folder: home.clone(),
        files: 5,
        bytes: 9,
        missing: vec!["none/*".to_owned()],
        links: vec![work.join("out/link.log").display().to_string()],
        ..CollectedArtifacts::default()
    };
    assert_eq!(got, expected);
    let fault = got.fault().unwrap();
    assert!(fault.line().contains("none/*") && !fault.line().contains("optional"), "{}", fault.line());
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!((text(&home.join("out/a.log")), text(&home.join("out/deep/b.log"))), ("a".into(), "bb".into()));
    assert_eq!(text(&home.join(std::ffi::OsStr::from_bytes(b"out/\xff\n.log"))), "eee");
    assert_eq!(text(&home.join(other.strip_prefix("/").unwrap()).join("f.log")), "f");
    assert!(std::fs::symlink_metadata(home.join("out/link.log")).is_err());
    assert!(!home.join("out/c.txt").exists());
    for text in ["5 artifacts", "do not lead to a file"] {
        assert!(events.lines().iter().any(|line| line.contains(text)), "{:?}", events.lines());
    }
}

#[tokio::test]
async fn links_come_as_the_files_that_they_lead_to_and_what_does_not_come_is_told() {
    let sshd = Sshd::start();
    let connection = connect(&sshd).await;
    let (work, other) = (sshd.folder("work"), sshd.folder("other"));
    write(&work.join("art/run-1.log"), "the log");
    write(&work.join("art/sub/x"), "x");
    write(&other.join("far.log"), "far");
    for (target, name) in [
        (Path::new("run-1.log"), "latest.log"),
        (&other.join("far.log"), "abs.log"),
        (&other, "linked"),
        (Path::new("nowhere"), "none.log"),
        (Path::new("/dev/zero"), "zero.log"),
    ] {
        std::os::unix::fs::symlink(target, work.join("art").join(name)).unwrap();
    }
    let fetch = async |required: &[&str], optional: &[&str], home: &Path| {
        let (events, all) = (Arc::new(Events::default()), wanted(required, optional));
        let got = collect(&events.teller(), connection.as_ref(), work.to_str().unwrap(), &all, home).await.unwrap();
        (got, events.lines())
    };
    let home = sshd.dir.path().join("home");
    let named = ["art/latest.log", "art/abs.log", "art/linked/*.log", "art/linked/far.log"];
    let (got, _) = fetch(&named, &[], &home).await;
    assert_eq!((got.files, got.bytes, got.fault().is_none()), (3, 13, true), "{got:?}");
    for (name, text) in [("latest.log", "the log"), ("abs.log", "far"), ("linked/far.log", "far")] {
        let path = home.join("art").join(name);
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }
    // Links that do not lead to a file, alone and among others.
    let (got, _) = fetch(&["art/none.log"], &[], &home).await;
    assert_eq!((got.files, got.missing.len(), got.links.len()), (0, 1, 1));
    assert!(got.fault().unwrap().line().contains("do not lead to a file"));
    let (got, lines) = fetch(&["art/**"], &[], &home).await;
    assert_eq!((got.files, got.links.len(), got.fault().is_none()), (4, 3, true), "{got:?}");
    assert!(lines.iter().any(|line| line.contains("zero.log")), "{lines:?}");
    // A folder is no file, and it is said what to write.
    let (got, _) = fetch(&["art"], &[], &home).await;
    assert!(got.fault().unwrap().hint.unwrap().contains("`art/**`"));
    let (got, lines) = fetch(&[], &["art/sub"], &home).await;
    assert!(got.fault().is_none() && lines.iter().any(|line| line.contains("`art/sub/**`")), "{lines:?}");
    // More than can be here is not even begun, and costs the others nothing.
    std::fs::File::create(work.join("art/hole")).unwrap().set_len(8 << 40).unwrap();
    std::os::unix::fs::symlink("hole", work.join("art/to-hole")).unwrap();
    let (got, _) = fetch(&["art/**"], &[], &home).await;
    assert_eq!((got.files, got.too_large.len()), (4, 2), "{got:?}");
    assert!(got.fault().unwrap().line().contains("8.0 TiB"), "{}", got.fault().unwrap().line());
}

#[tokio::test]
async fn files_that_say_that_they_are_empty_come_with_what_is_in_them() {
    let sshd = Sshd::start();
    let connection = connect(&sshd).await;
    let (work, home) = (sshd.folder("work"), sshd.dir.path().join("home"));
    write(&work.join("out/x"), "x");
    write(&work.join("out/empty"), "");
    std::os::unix::fs::symlink("/proc/version", work.join("out/link")).unwrap();
    let all = wanted(&["out/*", "/proc/version"], &["/proc/sys/fs/inotify/*"]);
    let got = collect(&Teller::silent(), connection.as_ref(), work.to_str().unwrap(), &all, &home).await.unwrap();
    let (mut files, mut bytes) = (4, 1);
    for (name, real) in [("out/link", "/proc/version"), ("proc/version", "/proc/version"), ("out/empty", "/dev/null")] {
        let real = std::fs::read(real).unwrap();
        bytes += real.len() as u64;
        assert_eq!(std::fs::read(home.join(name)).unwrap(), real);
    }
    for entry in std::fs::read_dir("/proc/sys/fs/inotify").unwrap() {
        let real = entry.unwrap().path();
        (files, bytes) = (files + 1, bytes + std::fs::read(&real).unwrap().len() as u64);
        assert_eq!(std::fs::read(home.join(real.strip_prefix("/").unwrap())).unwrap(), std::fs::read(&real).unwrap());
    }
    assert_eq!((got.files, got.bytes, got.fault().is_none()), (files, bytes, true), "{got:?}");
}

#[tokio::test]
async fn nothing_to_bring_makes_nothing() {
    let sshd = Sshd::start();
    let connection = connect(&sshd).await;
    let (work, home) = (sshd.folder("work"), sshd.dir.path().join("home"));
    for patterns in [wanted(&[], &["*.log", "/no/such/folder/*"]), Patterns::default()] {
        let got =
            collect(&Teller::silent(), connection.as_ref(), work.to_str().unwrap(), &patterns, &home).await.unwrap();
        assert_eq!(got, CollectedArtifacts { folder: home.clone(), ..CollectedArtifacts::default() });
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
    write(&work.join("closed/c"), "c");
    for path in ["b", "closed"] {
        std::fs::set_permissions(work.join(path), PermissionsExt::from_mode(0o000)).unwrap();
    }
    let (events, all) = (Arc::new(Events::default()), wanted(&["*"], &[]));
    let got = collect(&events.teller(), connection.as_ref(), work.to_str().unwrap(), &all, &home).await.unwrap();
    assert_eq!((got.files, got.unreadable.len()), (1, 1));
    assert!(got.fault().unwrap().line().contains("/b"));
    // What might match is in a folder that cannot be entered.
    let got = collect(&events.teller(), connection.as_ref(), work.to_str().unwrap(), &wanted(&["**/a"], &[]), &home)
        .await
        .unwrap();
    assert_eq!((got.files, got.unreadable), (1, vec![work.join("closed").display().to_string()]));
    std::fs::set_permissions(work.join("closed"), PermissionsExt::from_mode(0o755)).unwrap();
}
