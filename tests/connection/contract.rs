//! One contract, run over every implementation.

use automation::connection::{Dummy, DummyConnector, Reply};
use automation::model::connection::{Connection, Connector};
use automation::model::exit::Exit;
use automation::model::task::Command;

use super::{LIMIT, Output, connect, run, sh};
use crate::support::sshd::Sshd;

fn output(stdout: impl Into<Vec<u8>>, stderr: &str, exit: Exit) -> Output {
    Output { stdout: stdout.into(), stderr: stderr.into(), exit }
}

/// Commands, and what each implementation must report of them.
fn cases() -> Vec<(Command, Output)> {
    let all: Vec<u8> = (0..=255).collect();
    let odd = "$(touch /tmp/never) `id` it's \"x\" \\ \n *";
    vec![
        (sh("printf out; printf err >&2; exit 3"), output("out", "err", Exit::Code(3))),
        (Command::new("true"), output("", "", Exit::Code(0))),
        (sh("exit 255"), output("", "", Exit::Code(255))),
        (sh("kill -KILL $$"), output("", "", Exit::Signal("KILL".into()))),
        (sh("kill -TERM $$"), output("", "", Exit::Signal("TERM".into()))),
        (sh("printf %s \"$A\"").env("A", odd).env("B", "x"), output(odd, "", Exit::Code(0))),
        (Command::new("printf").arg("%s|").args(["a b", "", odd]), output(format!("a b||{odd}|"), "", Exit::Code(0))),
        (Command::new("cat").stdin(all.clone()), output(all.clone(), "", Exit::Code(0))),
        (Command::new("cat").stdin(Vec::new()), output("", "", Exit::Code(0))),
        // Nobody takes its standard input, so it ends at once instead of waiting for ever.
        (Command::new("cat"), output("", "", Exit::Code(0))),
        (Command::new("/no/such/program"), output("", "", Exit::Code(127))),
    ]
}

pub async fn reports_commands(connection: &dyn Connection) {
    for (command, mut expected) in cases() {
        let got = run(connection, &command).await;
        if expected.exit == Exit::Code(127) {
            expected.stderr.clone_from(&got.stderr);
        }
        assert_eq!(got, expected, "{command:?}");
    }
    let nul = connection.start(&Command::new("echo").arg("a\0b")).await;
    assert!(nul.is_err_and(|error| error.to_string().contains("NUL")));
}

async fn hands_out_stdin_once(connection: &dyn Connection) {
    let mut process = connection.start(&Command::new("cat")).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    assert!(process.take_stdin().is_none());
    stdin.write(b"one ").await.unwrap();
    stdin.write(b"two").await.unwrap();
    stdin.close().await.unwrap();
    assert_eq!(super::drain(&mut *process).await.exit, Exit::Code(0));
    let mut given = connection.start(&Command::new("cat").stdin("x")).await.unwrap();
    assert!(given.take_stdin().is_none());
    super::drain(&mut *given).await;
}

/// Copies both ways below `/`-terminated `remote`, which exists; the largest file has `size` bytes.
pub async fn copies_files(connection: &dyn Connection, remote: &str, size: u32) {
    use std::os::unix::fs::PermissionsExt;
    let local = tempfile::tempdir().unwrap();
    let tree = local.path().join("tree");
    std::fs::create_dir_all(tree.join("empty")).unwrap();
    std::fs::create_dir_all(tree.join("a b/c")).unwrap();
    std::fs::set_permissions(tree.join("a b/c"), PermissionsExt::from_mode(0o500)).ok();
    std::fs::set_permissions(tree.join("empty"), PermissionsExt::from_mode(0o711)).unwrap();
    std::fs::write(tree.join("nothing"), "").unwrap();
    let big: Vec<u8> = (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(tree.join("a b/big"), &big).unwrap();
    std::fs::set_permissions(tree.join("a b/big"), PermissionsExt::from_mode(0o640)).unwrap();
    std::fs::write(tree.join("new\nline $(id) 'q' \u{e9}"), "x").unwrap();
    std::fs::set_permissions(tree.join("new\nline $(id) 'q' \u{e9}"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(tree.join("n".repeat(255)), "long").unwrap();
    std::os::unix::fs::symlink("a b/big", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("no/such/thing", tree.join("dangling")).unwrap();
    let count = std::sync::atomic::AtomicU64::new(0);
    let progress = |bytes: u64| {
        let _ = count.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    };
    let up = connection.upload(&tree, &format!("{remote}up"), &progress).await.unwrap();
    assert_eq!((up.files, up.bytes), (4, big.len() as u64 + 5));
    assert_eq!(count.swap(0, std::sync::atomic::Ordering::Relaxed), up.bytes);
    let back = local.path().join("back");
    let down = connection.download(&format!("{remote}up"), &back, &progress).await.unwrap();
    assert_eq!(down, up);
    assert_eq!(count.into_inner(), up.bytes);
    assert_eq!(listing(&tree), listing(&back));
    // A second time over what is there, and one file in place of another.
    connection.upload(&tree.join("a b/big"), &format!("{remote}one"), &|_| ()).await.unwrap();
    connection.upload(&tree.join("nothing"), &format!("{remote}one"), &|_| ()).await.unwrap();
    assert_eq!(connection.read_file(&format!("{remote}one"), 10).await.unwrap(), b"");
    let one = local.path().join("one");
    connection.download(&format!("{remote}up/a b/big"), &one, &|_| ()).await.unwrap();
    assert_eq!(std::fs::read(&one).unwrap(), big);
    assert_eq!(std::fs::metadata(&one).unwrap().permissions().mode() & 0o7777, 0o640);
    // To what a link leads to, which stays a link; and home without one that leads out.
    for (name, target) in [("one", "two"), ("out", "/etc/passwd")] {
        std::fs::create_dir_all(local.path().join("links")).unwrap();
        std::os::unix::fs::symlink(target, local.path().join("links").join(name)).unwrap();
    }
    connection.upload(&local.path().join("links"), &format!("{remote}links"), &|_| ()).await.unwrap();
    connection.upload(&one, &format!("{remote}links/one"), &|_| ()).await.unwrap();
    assert_eq!(connection.read_file(&format!("{remote}links/two"), u64::from(size)).await.unwrap(), big);
    let home = local.path().join("home");
    let down = connection.download(&format!("{remote}links"), &home, &|_| ()).await.unwrap();
    assert_eq!((down.files, down.replaced_links), (1, vec!["out".to_owned()]));
    assert_eq!(std::fs::read_link(home.join("one")).unwrap(), std::path::Path::new("two"));
    assert!(std::fs::read_to_string(home.join("out")).unwrap().contains("a symbolic link to `/etc/passwd`"));
    connection.download(&format!("{remote}up/nothing"), &home.join("one"), &|_| ()).await.unwrap();
    assert_eq!(std::fs::read_link(home.join("one")).unwrap(), std::path::Path::new("two"));
    assert_eq!(std::fs::read(home.join("two")).unwrap(), b"");
}

pub async fn writes_and_reads_small_files(connection: &dyn Connection, remote: &str) {
    let path = format!("{remote}small");
    connection.write_file(&path, b"first, and longer", 0o600).await.unwrap();
    connection.write_file(&path, b"second", 0o750).await.unwrap();
    assert_eq!(connection.read_file(&path, 6).await.unwrap(), b"second");
    let error = connection.read_file(&path, 5).await.unwrap_err().to_string();
    assert!(error.contains("small") && error.contains("longer than 5 B"), "{error}");
    for error in [
        connection.read_file(&format!("{remote}none"), 5).await.unwrap_err(),
        connection.write_file(&format!("{remote}none/x"), b"", 0o600).await.unwrap_err(),
        connection.download(&format!("{remote}none"), &std::env::temp_dir().join("never"), &|_| ()).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("none") && error.to_string().contains("no such file"), "{error}");
    }
}

/// Every path below `top` with its kind, mode and content.
fn listing(top: &std::path::Path) -> Vec<(String, u32, Vec<u8>)> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let (mut found, mut todo) = (Vec::new(), vec![top.to_owned()]);
    while let Some(path) = todo.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if meta.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            std::fs::read(&path).unwrap()
        };
        found.push((path.strip_prefix(top).unwrap().display().to_string(), meta.mode(), content));
    }
    found.sort();
    found
}

/// The same without what is named `name` at the top.
pub fn listing_without(top: &std::path::Path, name: &str) -> Vec<(String, u32, Vec<u8>)> {
    let kept = std::fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.filter(|path| !path.ends_with(name)).collect::<Vec<_>>();
    let mut found: Vec<_> = kept
        .iter()
        .flat_map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            listing(path).into_iter().map(move |(below, mode, content)| (format!("{name}/{below}"), mode, content))
        })
        .collect();
    found.sort();
    found
}

async fn keeps_the_contract(connection: &dyn Connection, remote: &str) {
    reports_commands(connection).await;
    hands_out_stdin_once(connection).await;
    writes_and_reads_small_files(connection, remote).await;
    copies_files(connection, remote, 5_000_000).await;
}

#[tokio::test]
async fn ssh_keeps_the_contract() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let remote = format!("{}/", sshd.folder("remote").display());
    keeps_the_contract(&*connection, &remote).await;
    let left: Vec<_> =
        listing(&sshd.folder("remote")).into_iter().filter(|(path, ..)| path.contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
    connection.close().await;
    assert!(connection.start(&Command::new("true")).await.is_err());
}

#[tokio::test]
async fn the_dummy_keeps_the_contract() {
    let dummy = Dummy::new();
    for (command, expected) in cases() {
        let reply = Reply::exit(expected.exit).stdout(expected.stdout).stderr(expected.stderr);
        dummy.on(command.to_shell().unwrap(), reply);
    }
    let sshd = Sshd::prepare("");
    let connection = DummyConnector::new(dummy.clone()).connect(&sshd.machine(), "hg", LIMIT, false).await.unwrap();
    keeps_the_contract(&*connection, "/tmp/").await;
    assert!(dummy.inputs().contains(&("cat".to_owned(), b"one two".to_vec())));
    assert!(connection.start(&Command::new("unheard-of")).await.is_err());
}

#[tokio::test]
async fn many_commands_run_side_by_side() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let one = |n: usize| {
        let connection = &connection;
        async move {
            let out = run(&**connection, &sh(&format!("echo {n}; sleep 0.1; echo {n} >&2; exit {n}"))).await;
            assert_eq!(out, output(format!("{n}\n"), &format!("{n}\n"), Exit::Code(n as u32)));
        }
    };
    // More than one transport carries by OpenSSH's default.
    futures_util::future::join_all((0..25).map(one)).await;
}

#[tokio::test]
async fn a_server_that_allows_one_session_a_connection_gets_more_connections() {
    let sshd = Sshd::with("MaxSessions 1");
    let connection = connect(&sshd.machine()).await;
    let one = || async { run(&*connection, &sh("sleep 0.1; echo x")).await.exit };
    let exits = futures_util::future::join_all((0..3).map(|_| one())).await;
    assert!(exits.iter().all(Exit::success), "{exits:?}");
}

#[tokio::test]
async fn a_slow_reader_gets_every_byte() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let mut process = connection.start(&sh("head -c 20000000 /dev/zero | tr '\\0' x; printf end >&2")).await.unwrap();
    let (mut total, mut chunks) = (0, 0);
    while let Some(chunk) = process.next().await {
        chunks += 1;
        if chunks % 50 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if let automation::model::task::Chunk::Stdout(bytes) = chunk {
            assert!(bytes.iter().all(|byte| *byte == b'x'));
            total += bytes.len();
        }
    }
    assert_eq!((total, process.exit()), (20_000_000, Exit::Code(0)));
}

#[tokio::test]
async fn input_and_output_flow_at_once() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let bytes: Vec<u8> = (0..12_000_000_u32).map(|n| (n >> 8) as u8).collect();
    let out = run(&*connection, &Command::new("cat").stdin(bytes.clone())).await;
    assert!(out.stdout == bytes && out.exit == Exit::Code(0));
    // A command that ends without reading its input does not hold anybody up.
    let out = run(&*connection, &Command::new("true").stdin(bytes)).await;
    assert_eq!(out.exit, Exit::Code(0));
}
