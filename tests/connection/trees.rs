//! Folders as one stream, against a real server.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::connection::{ConnectionError, Parcel};
use model::exit::Exit;
use model::task::Command;
use support::sshd::Sshd;
use support::tool::is_root;

use super::files::names;
use super::{LIMIT, connect, run, sh};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Waits until the folder has nothing in it: what a machine removes, it removes behind our back.
async fn emptied(folder: &Path) {
    let gone = async {
        while !names(folder).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("something partial stays");
}

#[tokio::test]
async fn what_cannot_travel_is_refused_before_anything_is_made() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (local, remote) = (sshd.folder("local"), sshd.folder("remote"));
    let target = remote.join("x").display().to_string();
    std::fs::write(local.join("good"), "x").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(local.join("odd")).unwrap();
    for _ in 0..2 {
        let error = connection.upload(&local, &target, &|_| ()).await.unwrap_err();
        assert!(error.to_string().contains("neither a file"), "{error}");
        assert_eq!(names(&remote), [""; 0]);
        // The same the other way round: the folder is remote now.
        let down = remote.join("down");
        let error = connection.download(local.to_str().unwrap(), &down, &|_| ()).await.unwrap_err();
        assert!(error.to_string().contains("neither a file") && error.to_string().contains("odd"), "{error}");
        assert_eq!(names(&remote), [""; 0]);
        // The second time round, a pipe.
        if std::fs::remove_file(local.join("odd")).is_ok() {
            rustix::fs::mknodat(rustix::fs::CWD, local.join("odd"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .unwrap();
        }
    }
    drop(socket);
}

#[tokio::test]
async fn a_folder_is_merged_and_one_that_was_there_keeps_its_mode() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (local, remote) = (sshd.folder("local"), sshd.folder("remote"));
    for folder in ["new/deep", "new/open", "both"] {
        std::fs::create_dir_all(local.join(folder)).unwrap();
    }
    // In a folder that all may write, the sticky bit keeps them from removing what is another's.
    std::fs::set_permissions(local.join("new/open"), PermissionsExt::from_mode(0o3777)).unwrap();
    std::fs::write(local.join("new/deep/file"), "x").unwrap();
    std::fs::write(local.join("both/file"), "new").unwrap();
    std::os::unix::fs::symlink("new", local.join("link")).unwrap();
    std::fs::set_permissions(local.join("new/deep"), PermissionsExt::from_mode(0o555)).unwrap();
    std::fs::set_permissions(local.join("new"), PermissionsExt::from_mode(0o750)).unwrap();
    std::fs::set_permissions(&local, PermissionsExt::from_mode(0o700)).unwrap();
    let old = |folder: &Path| {
        std::fs::create_dir_all(folder.join("both")).unwrap();
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(folder.join("old"), "x").unwrap();
        // Two names of one file: only one of them is replaced.
        std::fs::write(folder.join("both/file"), "old").unwrap();
        std::fs::hard_link(folder.join("both/file"), folder.join("same")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("link")).unwrap();
    };
    let look = |folder: &Path, open: u32| {
        assert_eq!(mode(&folder.join("new/open")), open);
        assert_eq!(names(folder), ["both", "link", "new", "old", "same"]);
        assert_eq!((mode(folder), mode(&folder.join("new")), mode(&folder.join("new/deep"))), (0o755, 0o750, 0o555));
        assert_eq!(std::fs::read(folder.join("both/file")).unwrap(), b"new");
        assert_eq!(std::fs::read(folder.join("same")).unwrap(), b"old");
        assert_eq!(std::fs::read_link(folder.join("link")).unwrap(), Path::new("new"));
    };
    old(&remote);
    // A slash at the end means nothing.
    connection.upload(&local, &format!("{}/", remote.display()), &|_| ()).await.unwrap();
    look(&remote, 0o3777);
    let down = sshd.folder("down");
    old(&down);
    connection.download(&format!("{}/", local.display()), &down, &|_| ()).await.unwrap();
    look(&down, 0o1777);
    // Again, over what is the same; as with `cp` only root gets into a folder without the right to write.
    if is_root() {
        connection.upload(&local, remote.to_str().unwrap(), &|_| ()).await.unwrap();
        look(&remote, 0o3777);
    }
    // A folder does not go where a file is, nor the other way round.
    std::fs::remove_dir_all(local.join("new")).unwrap();
    std::fs::write(local.join("new"), "x").unwrap();
    let error = connection.upload(&local, remote.to_str().unwrap(), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("a folder has the name `new`"), "{error}");
    let error = connection.download(local.to_str().unwrap(), &down, &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("a folder has that name"), "{error}");
    assert!(!names(&remote).iter().chain(&names(&down)).any(|name| name.contains("partial")));
}

/// Makes what may not be replaced, and says what of each is called.
fn odd_ones(folder: &Path) -> Vec<(&'static str, &'static str)> {
    std::fs::write(folder.join("real"), "old").unwrap();
    std::os::unix::fs::symlink("real", folder.join("link")).unwrap();
    let node =
        |name: &str, kind, device| rustix::fs::mknodat(rustix::fs::CWD, folder.join(name), kind, 0o600.into(), device);
    node("pipe", rustix::fs::FileType::Fifo, 0).unwrap();
    let mut odd = vec![("link", "a link"), ("pipe", "a named pipe")];
    // Root may make one, as far as it is root of the computer.
    if node("null", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3)).is_ok() {
        odd.push(("null", "a device"));
    }
    odd
}

#[tokio::test]
async fn what_may_not_be_replaced_keeps_a_whole_folder_away() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    for number in 0..2 {
        let to = sshd.folder(&format!("to{number}"));
        for (name, what) in odd_ones(&to) {
            let local = sshd.folder(&format!("local-{number}-{name}"));
            std::fs::write(local.join(name), "new").unwrap();
            std::fs::write(local.join("fine"), "new").unwrap();
            let before = support::contract::listing_without(&to, "pipe");
            let copied = match number {
                0 => connection.upload(&local, to.to_str().unwrap(), &|_| ()).await,
                _ => connection.download(local.to_str().unwrap(), &to, &|_| ()).await,
            };
            let error = copied.unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(name), "{error}");
            assert_eq!(support::contract::listing_without(&to, "pipe"), before);
        }
    }
}

#[tokio::test]
async fn odd_names_links_and_holes_survive_the_way_there_and_back() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let local = sshd.folder("local");
    let odd: Vec<PathBuf> = [&b"-rf"[..], b" a b ", b"new\nline", b"bad\xff", b"'\"$(id)`id`\\"]
        .iter()
        .map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name)))
        .collect();
    for name in &odd {
        std::fs::create_dir(local.join(name)).unwrap();
        std::fs::write(local.join(name).join(name), name.as_os_str().as_bytes()).unwrap();
        std::os::unix::fs::symlink(name, local.join(name).join("link")).unwrap();
    }
    let hole = local.join("hole");
    std::fs::File::create(&hole).unwrap().set_len(5 << 30).unwrap();
    std::fs::File::options().write(true).open(&hole).unwrap().write_all_at(b"in it", 3 << 30).unwrap();
    let long = local.join("x/".repeat(150)).join("n".repeat(255));
    std::fs::create_dir_all(long.parent().unwrap()).unwrap();
    std::fs::write(&long, "long").unwrap();
    let remote = sshd.dir.path().join("-remote dir\n");
    let moved = AtomicU64::new(0);
    let progress = |bytes: u64| {
        moved.fetch_add(bytes, Ordering::Relaxed);
    };
    let up = connection.upload(&local, remote.to_str().unwrap(), &progress).await.unwrap();
    assert_eq!((up.files, moved.swap(0, Ordering::Relaxed)), (7, up.bytes));
    let back = sshd.dir.path().join("back");
    assert_eq!(connection.download(remote.to_str().unwrap(), &back, &progress).await.unwrap(), up);
    assert_eq!(moved.into_inner(), up.bytes);
    for place in [&remote, &back] {
        assert_eq!(
            support::contract::listing_without(place, "hole"),
            support::contract::listing_without(&local, "hole")
        );
        let found = std::fs::metadata(place.join("hole")).unwrap();
        assert!(found.len() == 5 << 30 && found.blocks() < 1000, "{found:?}");
        let mut bytes = [0; 5];
        std::fs::File::open(place.join("hole")).unwrap().read_exact_at(&mut bytes, 3 << 30).unwrap();
        assert_eq!(&bytes, b"in it");
    }
}

#[tokio::test]
async fn a_tree_that_is_given_up_or_cut_off_leaves_nothing_on_either_side() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (local, remote, down) = (sshd.folder("local"), sshd.folder("remote"), sshd.folder("down"));
    for name in 0..60 {
        std::fs::write(local.join(name.to_string()), vec![7; 2 << 20]).unwrap();
    }
    let moved = AtomicU64::new(0);
    let progress = |bytes: u64| {
        moved.fetch_add(bytes, Ordering::Relaxed);
    };
    let until_moving = || async {
        while moved.load(Ordering::Relaxed) < 1 << 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        moved.store(0, Ordering::Relaxed);
    };
    // One after another: to a new folder and into one that is there.
    for name in ["x", "."] {
        let (there, here) = (remote.join(name).display().to_string(), down.join(name));
        tokio::select! {
            done = connection.upload(&local, &there, &progress) => panic!("{done:?}"),
            () = until_moving() => {}
        }
        emptied(&remote).await;
        tokio::select! {
            done = connection.download(local.to_str().unwrap(), &here, &progress) => panic!("{done:?}"),
            () = until_moving() => {}
        }
        emptied(&down).await;
    }
    assert_eq!(run(&*connection, &Command::new("true")).await.exit, Exit::Code(0));
    // The server's end dies in the middle.
    let target = remote.join("x").display().to_string();
    let (sent, ()) = tokio::join!(connection.upload(&local, &target, &progress), async {
        until_moving().await;
        sshd.kill_sessions();
    });
    assert!(matches!(sent, Err(ConnectionError::Lost { .. })), "{sent:?}");
    let connection = connect(&sshd.machine()).await;
    let (got, ()) = tokio::join!(connection.download(local.to_str().unwrap(), &down, &progress), async {
        until_moving().await;
        sshd.kill_sessions();
    });
    assert!(matches!(got, Err(ConnectionError::Lost { .. })), "{got:?}");
    emptied(&down).await;
    // What was killed with its server could remove nothing; it has no final name.
    assert!(!remote.join("x").exists());
}

#[tokio::test]
async fn a_tree_that_cannot_be_read_or_written_says_which_and_why() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (local, remote) = (sshd.folder("local"), sshd.folder("remote"));
    std::fs::write(local.join("file"), "x").unwrap();
    let fails = async |target: &str, text: &str| {
        let error = connection.upload(&local, target, &|_| ()).await.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert_eq!(names(&remote), [""; 0]);
    };
    fails(&format!("{}/none/x", remote.display()), "no such file or folder").await;
    fails(&format!("{}/file", local.display()), "not a folder has its name").await;
    fails("/proc/x", "`/proc/x`").await;
    let error = connection.download(local.to_str().unwrap(), &remote.join("a/b"), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("on this computer"), "{error}");
    let error = connection.download("/dev/null", &remote.join("a"), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("neither a file nor a folder"), "{error}");
    // A file that grows while the machine reads it.
    let slow = sshd.folder("slow");
    std::fs::write(slow.join("grows"), vec![0; 40 << 20]).unwrap();
    let began = AtomicU64::new(0);
    let grow = |_| {
        if began.fetch_add(1, Ordering::Relaxed) < 1000 {
            use std::io::Write;
            std::fs::File::options().append(true).open(slow.join("grows")).unwrap().write_all(b"more").unwrap();
        }
    };
    let error = connection.download(slow.to_str().unwrap(), &remote.join("a"), &grow).await.unwrap_err();
    assert!(error.to_string().contains("changed as we read it"), "{error}");
    assert_eq!(names(&remote), [""; 0]);
}

/// What says that it is empty and is not: files of `/proc`, in a folder of which none changes by itself.
#[tokio::test]
async fn files_that_say_that_they_are_empty_come_with_what_is_in_them() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (from, dir) = (Path::new("/proc/sys/fs/inotify"), sshd.folder("to"));
    let contents = |folder: &Path| -> Vec<_> {
        names(folder).iter().map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect()
    };
    let size: usize = contents(from).iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(size > 0);
    for (there, here) in [(dir.join("new"), dir.join("down")), (sshd.folder("old"), sshd.folder("back"))] {
        let up = connection.upload(from, there.to_str().unwrap(), &|_| ()).await.unwrap();
        let down = connection.download(from.to_str().unwrap(), &here, &|_| ()).await.unwrap();
        assert_eq!(
            (up.files, up.bytes, up == down),
            (contents(from).len() as u64, size as u64, true),
            "{up:?} {down:?}"
        );
        assert_eq!((contents(&there), contents(&here)), (contents(from), contents(from)));
    }
    // Beside others, one of which has a name of several lines, and behind a link.
    let mixed = sshd.folder("mixed");
    std::os::unix::fs::symlink("/proc/version", mixed.join("new\nversion")).unwrap();
    std::fs::write(mixed.join("file"), "x").unwrap();
    std::fs::write(mixed.join("empty"), "").unwrap();
    // Every file of `/sys` says that it has a page.
    let online = std::fs::read("/sys/devices/system/cpu/online").unwrap();
    std::os::unix::fs::symlink("/sys/devices/system/cpu/online", mixed.join("online")).unwrap();
    let (paths, home) = (["new\nversion", "file", "empty", "online"].map(PathBuf::from), dir.join("home"));
    let got = connection.trees().unwrap().download_some(mixed.to_str().unwrap(), &paths, &home, 1 << 20, &|_| ()).await;
    let version = std::fs::read("/proc/version").unwrap();
    assert_eq!((got.unwrap().bytes, contents(&home)), ((version.len() + online.len()) as u64 + 1, contents(&mixed)));
}

#[tokio::test]
async fn some_files_of_a_folder_come_in_one_stream_or_none_of_them() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (there, here) = (sshd.folder("there"), sshd.dir.path().join("here"));
    let paths: Vec<PathBuf> = [&b"a/-b/c d"[..], b"a/\xff\n", b"top", b"link"]
        .iter()
        .map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name)))
        .collect();
    std::fs::create_dir_all(there.join("a/-b")).unwrap();
    for path in &paths[..3] {
        std::fs::write(there.join(path), path.as_os_str().as_bytes()).unwrap();
    }
    std::fs::write(there.join("a/other"), "x").unwrap();
    // A link comes as its file, and so does what is behind one.
    let outside = sshd.folder("outside");
    std::fs::write(outside.join("file"), "outside").unwrap();
    std::os::unix::fs::symlink(outside.join("file"), there.join("link")).unwrap();
    std::os::unix::fs::symlink(&outside, there.join("linked")).unwrap();
    let paths = [paths, vec![PathBuf::from("linked/file")]].concat();
    let remote = there.to_str().unwrap();
    let trees = connection.trees().unwrap();
    let some = async |paths: &[PathBuf], to: &Path, most| trees.download_some(remote, paths, to, most, &|_| ()).await;
    let got = some(&paths, &here, u64::MAX).await.unwrap();
    assert_eq!(
        (got.files, names(&here), names(&here.join("a")).len()),
        (5, vec!["a".into(), "link".into(), "linked".into(), "top".into()], 2)
    );
    for path in &paths[..3] {
        assert_eq!(std::fs::read(here.join(path)).unwrap(), path.as_os_str().as_bytes());
    }
    for path in ["link", "linked/file"] {
        assert!(std::fs::symlink_metadata(here.join(path)).unwrap().is_file());
        assert_eq!(std::fs::read(here.join(path)).unwrap(), b"outside");
    }
    assert_eq!(some(&[], &here.join("none"), 0).await.unwrap().files, 0);
    let missing = [paths[2].clone(), PathBuf::from("missing")];
    let error = some(&missing, &here.join("x"), u64::MAX).await.unwrap_err();
    assert!(error.to_string().contains("missing") && !here.join("x").exists(), "{error}");
    // Nothing but holes is as large as it says.
    std::fs::File::create(there.join("hole")).unwrap().set_len(1 << 40).unwrap();
    let error = some(&[PathBuf::from("hole")], &here.join("x"), 1 << 30).await.unwrap_err();
    assert!(error.to_string().contains("holes counted") && !here.join("x").exists(), "{error}");
}

#[tokio::test]
async fn a_parcel_reaches_the_command_that_unpacks_it() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let local = sshd.folder("local");
    std::fs::create_dir(local.join("a")).unwrap();
    std::fs::write(local.join("a/b"), "text").unwrap();
    let paths = [PathBuf::from("a"), PathBuf::from("a/b")];
    let parcel = |notes| Parcel { top: &local, paths: &paths, notes };
    let to = sshd.folder("to");
    let unpack = sh(&format!("cd {} && tar -xf - && [ -e whole ]", to.display()));
    let note = vec![("note".to_owned(), b"words".to_vec())];
    let trees = connection.trees().unwrap();
    let totals = trees.send_parcel(&unpack, parcel(note), &|_| ()).await.unwrap();
    assert_eq!((totals.files, totals.bytes), (1, 4));
    assert_eq!(std::fs::read(to.join("note")).unwrap(), b"words");
    assert_eq!(std::fs::read(to.join("tree/a/b")).unwrap(), b"text");
    let refusing = sh("echo 'not today' >&2; exit 3");
    let error = trees.send_parcel(&refusing, parcel(Vec::new()), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("not today"), "{error}");
    std::fs::remove_file(local.join("a/b")).unwrap();
    let error = trees.send_parcel(&unpack, parcel(Vec::new()), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("a/b"), "{error}");
}
