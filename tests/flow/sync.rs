//! A folder on a machine made equal to one here, over a real SSH server.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use connection::SshConnector;
use flow::transfer::sync::{SyncRequest, SyncSummary, sync};
use model::connection::Connector;
use model::event::Teller;
use model::fault::{Fault, FaultKind};
use support::sshd::Sshd;

/// What the machine remembers, in the folder itself.
const OURS: &str = ".hg-automation-sync";

struct Pair {
    sshd: Sshd,
    from: PathBuf,
    to: PathBuf,
}

impl Pair {
    fn new() -> Self {
        let sshd = Sshd::start();
        let (from, to) = (sshd.folder("from"), sshd.dir.path().join("to"));
        Self { sshd, from, to }
    }

    fn wanted(&self) -> SyncRequest {
        let to = self.to.to_str().unwrap().to_owned();
        SyncRequest { from: self.from.clone(), paths: None, to, memory: None, max_delete: 100, dry_run: false }
    }

    async fn with(&self, wanted: &SyncRequest) -> Result<SyncSummary, Fault> {
        self.told_by(&Teller::silent(), wanted).await
    }

    async fn told_by(&self, teller: &Teller, wanted: &SyncRequest) -> Result<SyncSummary, Fault> {
        let machine = self.sshd.machine();
        let connect = async {
            let limit = Duration::from_secs(20);
            Ok(SshConnector::default().connect(&machine, &machine.user, limit, false).await?)
        };
        sync(connect, teller, wanted).await
    }

    /// Synchronises; gives what was sent, removed and kept.
    async fn sync(&self) -> (usize, usize, usize) {
        let done = self.with(&self.wanted()).await.unwrap();
        (done.sent, done.deleted, done.kept)
    }

    fn here(&self, name: &str, text: &str) {
        write(&self.from.join(name), text);
    }

    fn there(&self, name: &str, text: &str) {
        write(&self.to.join(name), text);
    }

    /// Both sides, which must be equal but for `extra` on the machine.
    fn assert_equal(&self, extra: &[&str]) {
        let (here, mut there) = (listing(&self.from), listing(&self.to));
        for name in extra {
            assert!(there.remove(Path::new(name)).is_some(), "{name} is gone");
        }
        assert_eq!(here, there);
        let left: Vec<_> =
            std::fs::read_dir(self.to.join(OURS)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("stage") || name == "pending"), "{left:?}");
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Mode and content by path.
fn listing(top: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![top.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(top).unwrap().to_owned();
            if name == Path::new(OURS) {
                continue;
            }
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_symlink() {
                std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if meta.is_dir() {
                todo.push(path.clone());
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            found.insert(name, (meta.mode(), content));
        }
    }
    found
}

/// What the machine remembers of a file here that nobody changed lately: its hash counts where the file looks as it did, and no longer.
#[tokio::test]
async fn a_file_that_nobody_changed_is_not_read_here_again_and_one_that_was_changed_is() {
    let pair = Pair::new();
    pair.here("kept", "kept");
    pair.here("edited", "one");
    // All of it was changed long ago, as it seems.
    let later = || jiff::Timestamp::now() + jiff::SignedDuration::from_secs(100);
    let teller = Teller::new(std::sync::Arc::new(model::event::NoSink), std::sync::Arc::new(later));
    let again = async || pair.told_by(&teller, &pair.wanted()).await.unwrap();
    assert_eq!(again().await.sent, 2);
    let sent = pair.to.join(OURS).join("sent");
    let text = std::fs::read_to_string(&sent).unwrap();
    assert_eq!(text.split('\0').filter(|record| record.starts_with("F ")).count(), 2, "{text:?}");
    assert_eq!(again().await.unchanged, 2);
    // Same size, same times but for the one that no program can set.
    let before = std::fs::metadata(pair.from.join("edited")).unwrap().modified().unwrap();
    pair.here("edited", "two");
    std::fs::File::options().write(true).open(pair.from.join("edited")).unwrap().set_modified(before).unwrap();
    let done = again().await;
    assert_eq!((done.sent, done.unchanged), (1, 1));
    pair.assert_equal(&[]);
    // Neither side is read: what the machine remembers wrongly is taken to be so on both, until somebody reads.
    let text = std::fs::read_to_string(&sent).unwrap();
    let kept = text.split('\0').find(|record| record.ends_with(" kept")).unwrap();
    let wrong = format!("F {} {}", "0".repeat(64), &kept[67..]);
    std::fs::write(&sent, text.replace(kept, &wrong)).unwrap();
    assert_eq!(again().await.unchanged, 2);
    // Whoever looks right after the change reads all the same.
    let done = pair.with(&pair.wanted()).await.unwrap();
    assert_eq!((done.sent, done.unchanged), (1, 1));
    assert_eq!(pair.with(&pair.wanted()).await.unwrap().unchanged, 2);
    pair.assert_equal(&[]);
}

#[tokio::test]
async fn only_what_differs_is_sent_and_only_what_was_sent_is_removed() {
    let pair = Pair::new();
    pair.here("a/b/one", "one");
    pair.here("a/two", "two");
    pair.here("top\nline", "x");
    pair.here("-rf", "x");
    std::fs::write(pair.from.join(std::ffi::OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    std::fs::create_dir(pair.from.join("empty")).unwrap();
    std::os::unix::fs::symlink("=now", pair.from.join("link")).unwrap();
    set_mode(&pair.from.join("a/two"), 0o751);
    assert_eq!(pair.sync().await, (9, 0, 0));
    pair.assert_equal(&[]);
    assert_eq!(pair.sync().await, (0, 0, 0));
    // Changed in size, in content alone, in mode alone, a link to elsewhere, a new one, one that is gone with its folder.
    pair.here("a/two", "three");
    pair.here("top\nline", "y");
    set_mode(&pair.from.join("-rf"), 0o600);
    set_mode(&pair.from.join("empty"), 0o700);
    std::fs::remove_file(pair.from.join("link")).unwrap();
    std::os::unix::fs::symlink("=end", pair.from.join("link")).unwrap();
    pair.here("new/file", "new");
    std::fs::remove_dir_all(pair.from.join("a/b")).unwrap();
    pair.there("foreign/file", "theirs");
    pair.there("a/theirs", "theirs");
    assert_eq!(pair.sync().await, (5, 2, 3));
    pair.assert_equal(&["foreign", "foreign/file", "a/theirs"]);
    // What is not ours stays, and so does the folder that it is in.
    std::fs::remove_dir_all(pair.from.join("a")).unwrap();
    assert_eq!(pair.sync().await, (0, 1, 4));
    pair.assert_equal(&["foreign", "foreign/file", "a", "a/theirs"]);
    assert_eq!(pair.sync().await, (0, 0, 4));
}

#[tokio::test]
async fn what_somebody_changed_there_is_seen_whatever_its_times_say() {
    let pair = Pair::new();
    for name in ["same", "touched", "changed", "gone", "mine"] {
        pair.here(name, "12345");
    }
    pair.sync().await;
    let times = |name: &str| {
        let found = std::fs::metadata(pair.to.join(name)).unwrap();
        std::fs::FileTimes::new().set_accessed(found.accessed().unwrap()).set_modified(found.modified().unwrap())
    };
    // The same size and the same time of its content.
    let before = times("changed");
    pair.there("changed", "54321");
    std::fs::File::options().write(true).open(pair.to.join("changed")).unwrap().set_times(before).unwrap();
    std::fs::File::options()
        .write(true)
        .open(pair.to.join("touched"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    std::fs::remove_file(pair.to.join("gone")).unwrap();
    // Ours no more: it was changed there and removed here.
    pair.there("mine", "theirs");
    std::fs::remove_file(pair.from.join("mine")).unwrap();
    assert_eq!(pair.sync().await, (2, 0, 1));
    pair.assert_equal(&["mine"]);
    pair.there("same", "abcde");
    assert_eq!(pair.sync().await, (1, 0, 1));
    pair.assert_equal(&["mine"]);
}

#[tokio::test]
async fn too_many_removals_are_refused_and_nothing_is_sent() {
    let pair = Pair::new();
    for number in 0..20 {
        pair.here(&format!("folder/{number}"), "x");
    }
    pair.sync().await;
    std::fs::remove_dir_all(pair.from.join("folder")).unwrap();
    pair.here("new", "x");
    let before = listing(&pair.to);
    let few = SyncRequest { max_delete: 20, ..pair.wanted() };
    let fault = pair.with(&few).await.unwrap_err();
    assert!(fault.kind == FaultKind::Usage && fault.message.contains("21 entries"), "{fault:?}");
    assert_eq!(listing(&pair.to), before);
    // A dry run shows what the bound is for.
    let dry = pair.with(&SyncRequest { dry_run: true, ..few.clone() }).await.unwrap();
    assert_eq!((dry.to_send, dry.to_delete.len(), dry.deleted), (vec!["new".to_owned()], 21, 21));
    assert_eq!(listing(&pair.to), before);
    let done = pair.with(&SyncRequest { max_delete: 21, ..few }).await.unwrap();
    assert_eq!((done.sent, done.deleted, done.bytes), (1, 21, 1));
    pair.assert_equal(&[]);
}

#[tokio::test]
async fn a_file_gives_way_to_a_folder_only_where_a_sync_put_it() {
    let pair = Pair::new();
    pair.here("becomes folder", "x");
    pair.here("becomes file/a/b", "x");
    pair.sync().await;
    std::fs::remove_file(pair.from.join("becomes folder")).unwrap();
    std::fs::remove_dir_all(pair.from.join("becomes file")).unwrap();
    pair.here("becomes folder/x", "x");
    pair.here("becomes file", "x");
    assert_eq!(pair.sync().await, (3, 4, 0));
    pair.assert_equal(&[]);
    pair.there("foreign", "x");
    pair.here("foreign/file", "x");
    pair.here("other", "x");
    let before = listing(&pair.to);
    let fault = pair.with(&pair.wanted()).await.unwrap_err();
    assert!(fault.message.contains("`foreign`") && fault.message.contains("in the way"), "{fault:?}");
    assert_eq!(listing(&pair.to), before);
}

#[tokio::test]
async fn a_link_of_somebody_elses_is_neither_replaced_nor_written_through() {
    use std::os::unix::fs::symlink;
    let pair = Pair::new();
    pair.here("was link", "x");
    symlink("was link", pair.from.join("was file")).unwrap();
    pair.sync().await;
    // What a sync put there changes its kind.
    for (name, other) in [("was link", "was file"), ("was file", "was link")] {
        std::fs::remove_file(pair.from.join(name)).unwrap();
        match name {
            "was file" => pair.here(name, "file"),
            _ => symlink(other, pair.from.join(name)).unwrap(),
        }
    }
    assert_eq!(pair.sync().await, (2, 0, 0));
    pair.assert_equal(&[]);
    let victim = pair.sshd.dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    symlink(&victim, pair.to.join("theirs")).unwrap();
    pair.here("theirs", "ours");
    let fault = pair.with(&pair.wanted()).await.unwrap_err();
    assert!(fault.message.contains("`theirs`") && fault.message.contains("in the way"), "{fault:?}");
    assert_eq!(std::fs::read_link(pair.to.join("theirs")).unwrap(), victim);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

#[tokio::test]
async fn a_folder_that_is_there_already_is_taken_over_without_its_own_files() {
    let pair = Pair::new();
    pair.here("same", "x");
    pair.here("differs", "ours");
    pair.there("same", "x");
    pair.there("differs", "their");
    pair.there("theirs", "x");
    assert_eq!(pair.sync().await, (1, 0, 1));
    pair.assert_equal(&["theirs"]);
    assert_eq!(pair.sync().await, (0, 0, 1));
    for (text, to) in [("not a folder has its name", "to/same"), ("cannot create directory", "none/x")] {
        let to = pair.sshd.dir.path().join(to).display().to_string();
        let fault = pair.with(&SyncRequest { to, ..pair.wanted() }).await.unwrap_err();
        assert!(fault.line().contains(text), "{}", fault.line());
    }
}

#[tokio::test]
async fn closed_folders_are_opened_for_what_changes_in_them() {
    let pair = Pair::new();
    pair.here("closed/file", "x");
    pair.here("closed/gone", "x");
    set_mode(&pair.from.join("closed"), 0o555);
    pair.sync().await;
    set_mode(&pair.from.join("closed"), 0o755);
    pair.here("closed/file", "other");
    std::fs::remove_file(pair.from.join("closed/gone")).unwrap();
    set_mode(&pair.from.join("closed"), 0o555);
    assert_eq!(pair.sync().await, (1, 1, 0));
    pair.assert_equal(&[]);
}

#[tokio::test]
async fn a_new_folder_has_its_sticky_bit_at_once() {
    let pair = Pair::new();
    pair.here("open/file", "x");
    set_mode(&pair.from.join("open"), 0o3777);
    assert_eq!(pair.sync().await, (2, 0, 0));
    pair.assert_equal(&[]);
    assert_eq!(pair.with(&pair.wanted()).await.unwrap().unchanged, 2);
}

#[tokio::test]
async fn files_that_say_that_they_are_empty_go_with_what_is_in_them() {
    let mut pair = Pair::new();
    pair.from = PathBuf::from("/proc/sys/fs/inotify");
    let size: usize = listing(&pair.from).values().map(|(_, content)| content.len()).sum();
    let done = pair.with(&pair.wanted()).await.unwrap();
    assert_eq!((done.sent, done.bytes), (listing(&pair.from).len(), size as u64));
    assert!(size > 0);
    pair.assert_equal(&[]);
    assert_eq!(pair.sync().await, (0, 0, 0));
}

#[tokio::test]
async fn a_sync_that_breaks_off_changes_nothing_and_the_next_one_knows_what_came() {
    let pair = Pair::new();
    pair.here("a", "old");
    pair.sync().await;
    // As one leaves it that was killed behind its first changes.
    std::fs::write(
        pair.to.join(OURS).join("pending"),
        b"f 5af1f8ddfffd8b9f5ca1b3ad5d48d7d4f7e0c0e3bd0f8c1d3f4f0a86f0a0b6a5 b\0",
    )
    .unwrap();
    std::fs::create_dir_all(pair.to.join(OURS).join("stage.1/tree/x")).unwrap();
    set_mode(&pair.to.join(OURS).join("stage.1/tree"), 0);
    pair.there("b", "not what was to come");
    assert_eq!(pair.sync().await, (0, 0, 1));
    pair.assert_equal(&["b"]);
    // Cut off while the archive is on its way.
    std::fs::write(pair.from.join("big"), vec![1; 64 << 20]).unwrap();
    std::fs::write(pair.from.join("a"), "new").unwrap();
    let wanted = pair.wanted();
    let (done, ()) = tokio::join!(pair.with(&wanted), async {
        let stage = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("stage");
        while !std::fs::read_dir(pair.to.join(OURS)).unwrap().flatten().any(stage) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pair.sshd.kill_sessions();
    });
    assert_eq!(done.unwrap_err().kind, FaultKind::Infrastructure);
    assert_eq!(std::fs::read(pair.to.join("a")).unwrap(), b"old");
    assert!(!pair.to.join("big").exists());
    assert_eq!(pair.sync().await, (2, 0, 1));
    pair.assert_equal(&["b"]);
}

#[tokio::test]
async fn records_that_are_damaged_count_as_none_and_are_written_anew() {
    let pair = Pair::new();
    pair.here("a", "x");
    pair.here("gone", "x");
    pair.sync().await;
    let (ours, victim) = (pair.to.join(OURS), pair.sshd.folder("victim"));
    let damages: [&dyn Fn(); 5] = [
        &|| std::fs::write(ours.join("sent"), "no record").unwrap(),
        &|| std::fs::write(ours.join("seen"), "f 644\0").unwrap(),
        &|| {
            std::fs::remove_file(ours.join("sent")).unwrap();
            std::fs::create_dir_all(ours.join("sent/x")).unwrap();
        },
        &|| {
            std::fs::remove_dir_all(&ours).unwrap();
            std::os::unix::fs::symlink(&victim, &ours).unwrap();
        },
        &|| {
            std::fs::remove_dir_all(&ours).unwrap();
            std::fs::write(&ours, "").unwrap();
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        damage();
        // Nothing is removed that is not known to be ours.
        std::fs::remove_file(pair.from.join("gone")).unwrap();
        assert_eq!(pair.sync().await, (0, 0, 1), "{number}");
        pair.here("gone", "x");
        assert_eq!(pair.sync().await, (0, 0, 0), "{number}");
        std::fs::remove_file(pair.from.join("gone")).unwrap();
        assert_eq!(pair.sync().await, (0, 1, 0), "{number}: it is known again");
        pair.here("gone", "x");
        assert_eq!(pair.sync().await, (1, 0, 0), "{number}");
        pair.assert_equal(&[]);
    }
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0, "no link is followed");
}
