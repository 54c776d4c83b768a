//! What every connection must do, whatever it is made of.

use model::connection::Connection;
use model::exit::Exit;
use model::task::Command;

use crate::commands::{Output, drain, run, sh};

/// What a command left, in short.
pub fn output(stdout: impl Into<Vec<u8>>, stderr: &str, exit: Exit) -> Output {
    Output { stdout: stdout.into(), stderr: stderr.into(), exit }
}

/// Commands, and what each implementation must report of them.
pub fn cases() -> Vec<(Command, Output)> {
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

/// Every command of [`cases`] is reported as it must be.
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

/// Standard input belongs to one caller.
pub async fn hands_out_stdin_once(connection: &dyn Connection) {
    let mut process = connection.start(&Command::new("cat")).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    assert!(process.take_stdin().is_none());
    stdin.write(b"one ").await.unwrap();
    stdin.write(b"two").await.unwrap();
    stdin.close().await.unwrap();
    assert_eq!(drain(&mut *process).await.exit, Exit::Code(0));
    let mut given = connection.start(&Command::new("cat").stdin("x")).await.unwrap();
    assert!(given.take_stdin().is_none());
    drain(&mut *given).await;
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

/// Small files are written and read whole, below `/`-terminated `remote`, which exists.
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
pub fn listing(top: &std::path::Path) -> Vec<(String, u32, Vec<u8>)> {
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
