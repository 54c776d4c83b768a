//! Copies against a real server, beyond the contract.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use automation::model::connection::ConnectionError;
use automation::model::outcome::Exit;
use automation::model::task::Command;

use super::{LIMIT, connect, run, sh};
use crate::support::sshd::Sshd;

pub fn names(folder: &Path) -> Vec<String> {
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
