//! Copies against a real server, beyond the contract.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::connection::ConnectionError;
use model::exit::Exit;
use model::task::Command;
use support::sshd::Sshd;

use super::{LIMIT, connect, run, sh};

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_folder_in_the_way_of_a_file_is_named_and_nothing_partial_stays() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let remote = sshd.folder("remote");
    sshd.folder("remote/taken");
    let file = sshd.dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let taken = remote.join("taken").display().to_string();
    let error = connection.upload(&file, &taken, &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("a folder has that name"), "{error}");
    assert_eq!(names(&remote), ["taken"]);
    let error = connection.download(file.to_str().unwrap(), &remote.join("taken"), &|_| ()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::File { .. }), "{error}");
    assert_eq!(names(&remote), ["taken"]);
}

#[tokio::test]
async fn a_copy_that_is_given_up_leaves_nothing_on_either_side() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (remote, local) = (sshd.folder("remote"), sshd.folder("local"));
    // Larger ones leave what the next try goes on with.
    let big = sshd.dir.path().join("big");
    std::fs::File::create(&big).unwrap().set_len(16 << 20).unwrap();
    let moved = AtomicU64::new(0);
    let progress = |bytes: u64| {
        moved.fetch_add(bytes, Ordering::Relaxed);
    };
    let (up, down) = (remote.join("x").display().to_string(), local.join("x"));
    let until_moving = || async {
        while moved.load(Ordering::Relaxed) < 1 << 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        done = connection.upload(&big, &up, &progress) => panic!("{done:?}"),
        () = until_moving() => {}
    }
    moved.store(0, Ordering::Relaxed);
    tokio::select! {
        done = connection.download(big.to_str().unwrap(), &down, &progress) => panic!("{done:?}"),
        () = until_moving() => {}
    }
    assert_eq!(names(&local), [""; 0]);
    // The remote one is removed behind the requests that are still under way.
    let gone = async {
        while !names(&remote).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("the partial file stays");
    assert_eq!(run(&*connection, &Command::new("true")).await.exit, Exit::Code(0));
}

#[tokio::test]
async fn copies_and_commands_survive_new_keys_on_the_way() {
    let sshd = Sshd::with("RekeyLimit 1M");
    let connection = connect(&sshd.machine()).await;
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (there, back) = (sshd.dir.path().join("there"), sshd.dir.path().join("back"));
    let file = sshd.dir.path().join("file");
    std::fs::write(&file, &bytes).unwrap();
    let copying = async {
        connection.upload(&file, there.to_str().unwrap(), &|_| ()).await.unwrap();
        connection.download(there.to_str().unwrap(), &back, &|_| ()).await.unwrap();
    };
    let command = Command::new("cat").stdin(bytes.clone());
    let ((), out) = tokio::join!(copying, run(&*connection, &command));
    assert!(out.stdout == bytes && out.exit == Exit::Code(0));
    assert!(std::fs::read(&back).unwrap() == bytes);
}

#[tokio::test]
async fn a_server_without_sftp_says_so_and_still_runs_commands() {
    let sshd = Sshd::with("Subsystem sftp /no/such/program");
    let connection = connect(&sshd.machine()).await;
    let error = connection.read_file("/etc/hostname", 1000).await.unwrap_err();
    assert!(matches!(&error, ConnectionError::File { doing, .. } if doing.contains("file session")), "{error}");
    assert_eq!(run(&*connection, &sh("exit 4")).await.exit, Exit::Code(4));
}

#[tokio::test]
async fn files_that_announce_no_size_are_read_to_their_end_or_the_cap() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let local = sshd.dir.path().join("status");
    connection.download("/proc/self/status", &local, &|_| ()).await.unwrap();
    assert!(std::fs::read_to_string(&local).unwrap().contains("Pid:"));
    let error = connection.read_file("/dev/zero", 1000).await.unwrap_err();
    assert!(error.to_string().contains("longer than 1000 B"), "{error}");
}

/// A file of `size` bytes.
fn source(sshd: &Sshd, size: usize) -> std::path::PathBuf {
    let path = sshd.dir.path().join("source");
    std::fs::write(&path, (0..size).map(|n| (n.wrapping_mul(31) >> 3) as u8).collect::<Vec<_>>()).unwrap();
    path
}

/// Both ways of copying one file to `to`, of a size that travels over one channel and of one that travels over several.
async fn each_way(to: &str, look: impl AsyncFn(&Sshd, &Path, Result<(), ConnectionError>)) {
    for size in [100_000, 20 << 20] {
        for up in [true, false] {
            let sshd = Sshd::start();
            let connection = connect(&sshd.machine()).await;
            let (from, folder) = (source(&sshd, size), sshd.folder("folder"));
            std::fs::write(folder.join("real"), "old").unwrap();
            std::os::unix::fs::symlink("real", folder.join("link")).unwrap();
            std::os::unix::fs::symlink("new", folder.join("dangling")).unwrap();
            std::os::unix::fs::symlink("/dev/null", folder.join("null")).unwrap();
            std::os::unix::fs::symlink("/dev/full", folder.join("full")).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .unwrap();
            let to = format!("{}/{to}", folder.display());
            let copied = match up {
                true => connection.upload(&from, &to, &|_| ()).await,
                false => connection.download(from.to_str().unwrap(), Path::new(&to), &|_| ()).await,
            };
            let left = names(&folder);
            assert!(!left.iter().any(|name| name.contains("partial")), "{left:?}");
            look(&sshd, &folder, copied.map(|totals| assert_eq!((totals.files, totals.bytes), (1, size as u64)))).await;
        }
    }
}

#[tokio::test]
async fn a_link_is_followed_and_stays() {
    for (link, real) in [("link", "real"), ("dangling", "new")] {
        each_way(link, async |sshd, folder, copied| {
            copied.unwrap();
            assert_eq!(std::fs::read_link(folder.join(link)).unwrap(), Path::new(real));
            let found = std::fs::read(folder.join(real)).unwrap();
            assert!(found == std::fs::read(sshd.dir.path().join("source")).unwrap());
        })
        .await;
    }
}

#[tokio::test]
async fn a_device_is_written_into_and_says_what_it_cannot_take() {
    each_way("null", async |_, folder, copied| {
        copied.unwrap();
        assert_eq!(std::fs::read_link(folder.join("null")).unwrap(), Path::new("/dev/null"));
    })
    .await;
    each_way("full", async |_, _, copied| {
        let error = copied.unwrap_err().to_string();
        assert!(error.contains("full`") && error.contains("No space left"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_slash_at_the_end_makes_no_file() {
    for name in ["none/", "real/"] {
        each_way(name, async |_, folder, copied| {
            let error = copied.unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("ends in a slash"), "{error}");
            assert_eq!(std::fs::read_to_string(folder.join("real")).unwrap(), "old");
            assert_eq!(names(folder).len(), 6);
        })
        .await;
    }
}

#[tokio::test]
async fn a_pipe_gets_what_its_reader_takes() {
    use std::os::unix::fs::FileTypeExt;
    for up in [true, false] {
        let sshd = Sshd::start();
        let connection = connect(&sshd.machine()).await;
        let (from, pipe) = (source(&sshd, 3_000_000), sshd.dir.path().join("pipe"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let path = pipe.clone();
        let reading = tokio::task::spawn_blocking(move || std::fs::read(path).unwrap());
        match up {
            true => connection.upload(&from, pipe.to_str().unwrap(), &|_| ()).await.unwrap(),
            false => connection.download(from.to_str().unwrap(), &pipe, &|_| ()).await.unwrap(),
        };
        assert!(reading.await.unwrap() == std::fs::read(&from).unwrap());
        assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
        // Files of `/proc` say nothing of their size.
        let path = pipe.clone();
        let reading = tokio::task::spawn_blocking(move || std::fs::read_to_string(path).unwrap());
        connection.download("/proc/self/status", &pipe, &|_| ()).await.unwrap();
        assert!(reading.await.unwrap().contains("Pid:"));
    }
}

#[test]
fn a_pipe_that_nobody_reads_is_given_up_by_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../remote/linux/write-into.sh");
    let mut command = std::process::Command::new("sh");
    let output = command.arg(script).arg(&pipe).arg("0.2").stdin(std::process::Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "nobody reads from it\n");
}
