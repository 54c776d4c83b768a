//! Machines by hand.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::leftovers;
use support::memory::Peak;
use support::mercurial;
use support::tool::{Place, Running, binary, clear, is_root, skip};

use super::alone;

#[test]
fn a_commands_output_and_status_come_through_apart() {
    let place = Place::small();
    let id = place.up(&[]);
    let done = place.exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 7"]).expect(7);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("out\n", "err\n"));
    for status in [0, 1, 254, 255] {
        place.exec(&id, &["sh", "-c", &format!("exit {status}")]).expect(status);
    }
    for (signal, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        place.exec(&id, &["bash", "-c", &format!("kill -{signal} $$")]).expect(128 + number);
    }
    place.exec(&id, &["no-such-command"]).expect(127);
    // No shell comes in between.
    let words = ["a b", "$HOME", "'\"\\", "*", "", "-n", "ä\nö"];
    let all: Vec<&str> = ["printf", "<%s>"].into_iter().chain(words).collect();
    let expected: String = words.iter().map(|word| format!("<{word}>")).collect();
    assert_eq!(place.exec(&id, &all).expect(0).text(), expected);
    assert_eq!(place.exec(&id, &["id", "-un"]).expect(0).text(), "hg\n");
    assert_eq!(place.exec(&id, &["sudo", "-n", "id", "-u"]).expect(0).text(), "0\n");

    let mut command = place.command(&["machine", "exec", &id, "--", "sh", "-c", "sha1sum; exit 3"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&[b'x'; 300_000]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{}  -\n", sha1(&[b'x'; 300_000])));
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

fn sha1(bytes: &[u8]) -> String {
    use sha1::Digest;
    data_encoding::HEXLOWER.encode(&sha1::Sha1::digest(bytes))
}

#[test]
fn several_machines_share_nothing() {
    let place = Place::small();
    let ids = [(); 3].map(|()| place.start(&["machine", "up"]));
    let ids = ids.map(|running| running.end().expect(0).text().trim().to_owned());
    let listed = place.json(&["machine", "list", "--json"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 3);
    for (newer, older) in listed.iter().zip(&listed[1..]) {
        let made =
            |machine: &serde_json::Value| machine["created_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(made(newer) >= made(older), "newest first");
    }
    for machine in listed {
        assert!(ids.contains(&machine["id"].as_str().unwrap().to_owned()));
        assert_eq!((&machine["live"], &machine["provider"]), (&true.into(), &"local".into()));
        assert!(machine["age_seconds"].as_i64().unwrap() >= 0 && machine["expires_at"].is_string(), "{machine}");
    }
    for id in &ids {
        assert_eq!(place.exec(id, &["hostname"]).expect(0).text().trim(), id);
        place
            .exec(id, &["sh", "-c", "test ! -e /tmp/mine && test ! -e /var/tmp/mine && touch /tmp/mine /var/tmp/mine"])
            .expect(0);
        place
            .exec(id, &["python3", "-c", "import socket; s = socket.socket(); s.bind(('127.0.0.1', 8765)); s.listen()"])
            .expect(0);
        let processes = place.exec(id, &["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).expect(0).text();
        assert!(processes.trim().parse::<u32>().unwrap() < 12, "{processes}");
    }
    // By the beginning of an id; one that is in use no more leaves the others alone.
    place.run(&["machine", "down", &ids[0][..8]]).expect(0);
    place.exec(&ids[0], &["true"]).expect(2);
    place.exec(&ids[1], &["true"]).expect(0);
    let dry = place.run(&["machine", "down", "--dry-run", &ids[1]]).expect(0);
    assert!(dry.text().contains("would remove process"), "{}", dry.text());
    let kept = place.run(&["audit", "--json"]).expect(0).json();
    assert!(!kept.as_array().unwrap().is_empty(), "what is kept is shown");
    for finding in kept.as_array().unwrap() {
        assert!(finding["standing"] == "kept" && finding["expires_at"].is_string(), "{finding}");
    }
    // A row is a machine, or each of its parts; both say when it ends by itself.
    let rows = place.run(&["audit"]).expect(0).tells(&["on purpose"]).text();
    assert_eq!(rows.lines().count(), 3, "{rows}");
    assert!(rows.lines().skip(1).all(|row| row.contains("kept") && row.contains("in 1h 5")), "{rows}");
    let parts = place.run(&["--verbose", "audit"]).expect(0).text();
    assert_eq!(parts.lines().count(), 1 + kept.as_array().unwrap().len(), "{parts}");
    let list = place.run(&["machine", "list"]).expect(0).text();
    assert!(list.lines().skip(1).all(|row| row.contains(" ago ") && row.contains("in 1h 5")), "{list}");
    place.run(&["audit", "--fix"]).expect(0);
    place.run(&["machine", "down", &ids[1], &ids[2]]).expect(0);
    place.assert_clean();
    for run in place.json(&["runs", "list", "--json"]).as_array().unwrap() {
        place.assert_certified(run["id"].as_str().unwrap());
    }
}

/// Fails unless two folders hold the same.
fn same(one: &Path, other: &Path) {
    let script = r#"for d; do (cd "$d" && find . -printf '%P %y %l %m\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha1sum) >"$d.list"; done
                    diff "$1.list" "$2.list""#;
    let output = Command::new("sh").args(["-c", script, "sh"]).args([one, other]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn folders_travel_both_ways() {
    let place = Place::small();
    let tree = place.path().join("tree");
    std::fs::create_dir_all(tree.join("a folder/deep")).unwrap();
    std::fs::create_dir(tree.join("empty")).unwrap();
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(tree.join("a folder/noise"), &noise).unwrap();
    std::fs::write(tree.join("a folder/deep/ä'\"$"), "x").unwrap();
    std::fs::write(tree.join("program"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(tree.join("program"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("program", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", tree.join("dangling")).unwrap();
    // The machine's user may not write there, unlike root.
    let mode = |path: &str, mode| std::fs::set_permissions(tree.join(path), PermissionsExt::from_mode(mode)).unwrap();
    std::fs::create_dir_all(tree.join("closed/deep")).unwrap();
    std::fs::write(tree.join("closed/deep/file"), "x").unwrap();
    mode("closed/deep", 0o555);
    mode("closed", 0o500);
    std::fs::create_dir(tree.join("open")).unwrap();
    mode("open", 0o1777);
    for number in 0..200 {
        std::fs::write(tree.join("a folder/deep").join(number.to_string()), number.to_string()).unwrap();
    }
    let id = place.up(&[]);
    let (there, back) = (format!("{id}:/tmp/there"), place.path().join("back"));
    let copied = place.json(&["machine", "cp", "--json", tree.to_str().unwrap(), &there]);
    assert!(copied["files"].as_u64().unwrap() >= 203 && copied["bytes"].as_u64().unwrap() > 3_000_000, "{copied}");
    place.exec(&id, &["test", "-x", "/tmp/there/program"]).expect(0);
    place.run(&["machine", "cp", &there, back.to_str().unwrap()]).expect(0).tells(&["Copied"]);
    same(&tree, &back);
    // Into a folder that is there, under the name it has; one file to a new name; the home folder.
    place.run(&["machine", "cp", tree.to_str().unwrap(), &there]).expect(0);
    place.exec(&id, &["test", "-x", "/tmp/there/tree/program"]).expect(0);
    for folder in ["/tmp/there/open", "/tmp/there/tree/open"] {
        assert_eq!(place.exec(&id, &["stat", "-c", "%a", folder]).expect(0).text(), "1777\n");
    }
    let file = tree.join("program");
    place.run(&["machine", "cp", file.to_str().unwrap(), &format!("{id}:renamed")]).expect(0);
    place.exec(&id, &["test", "-x", "/home/hg/renamed"]).expect(0);
    let missing = place.run(&["machine", "cp", "/no/such/file", &there]).expect(2);
    missing.tells(&["`/no/such/file`"]);
    let missing = place.run(&["machine", "cp", &format!("{id}:/no/such"), back.to_str().unwrap()]);
    assert!([2, 3].contains(&missing.code()) && missing.stderr.contains("/no/such"), "{missing:?}");
    let denied = place.run(&["machine", "cp", file.to_str().unwrap(), &format!("{id}:/root/x")]);
    assert!(denied.code() != 0 && denied.stderr.contains("/root/x"), "{denied:?}");
    place.run(&["machine", "cp", "a", "b"]).expect(2);
    mode("closed", 0o755);
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn a_folder_whose_copy_is_interrupted_leaves_nothing_here() {
    let place = Place::small();
    let id = place.up(&[]);
    place.exec(&id, &["sh", "-c", "mkdir /tmp/tree && head -c 300M /dev/urandom >/tmp/tree/file"]).expect(0);
    let back = place.path().join("back");
    let start = || place.start(&["machine", "cp", &format!("{id}:/tmp/tree"), back.to_str().unwrap()]);
    let left = || {
        let names = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("hg-partial")).collect::<Vec<_>>()
    };
    let begun = |before: &[std::ffi::OsString]| {
        let end = Instant::now() + Duration::from_secs(60);
        while left().is_empty() || left() == before {
            assert!(Instant::now() < end, "the copy does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let killed = start();
    begun(&[]);
    killed.signal(rustix::process::Signal::KILL);
    killed.end_within(Duration::from_secs(60));
    let before = left();
    assert_eq!(before.len(), 1);
    // What the killed one left is removed by the next.
    let interrupted = start();
    begun(&before);
    interrupted.signal(rustix::process::Signal::INT);
    interrupted.end_within(Duration::from_secs(60)).expect(130).tells(&["interrupted", "hint:"]);
    assert!(left().is_empty() && !back.exists(), "{:?}", left());
    // Removing many files takes longer than a moment, and is waited for.
    place.exec(&id, &["sh", "-c", "mkdir /tmp/many && cd /tmp/many && seq 100000 | xargs touch"]).expect(0);
    let interrupted = place.start(&["machine", "cp", &format!("{id}:/tmp/many"), back.to_str().unwrap()]);
    begun(&[]);
    let end = Instant::now() + Duration::from_secs(60);
    while std::fs::read_dir(place.path().join(&left()[0])).unwrap().count() < 20_000 {
        assert!(Instant::now() < end, "the copy does not go on");
    }
    interrupted.signal(rustix::process::Signal::INT);
    interrupted.end_within(Duration::from_secs(120)).expect(130);
    assert!(left().is_empty() && !back.exists(), "{:?}", left());
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

/// Runs its arguments on a terminal of 40 rows and 132 columns, types what it reads line by line, resizes in between.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios, threading, time
def size(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
master, slave = pty.openpty()
size(40, 132)
pid = os.fork()
if pid == 0:
    os.close(master)
    os.login_tty(slave) if hasattr(os, "login_tty") else (os.setsid(), fcntl.ioctl(slave, termios.TIOCSCTTY, 0), [os.dup2(slave, n) for n in (0, 1, 2)])
    os.execv(sys.argv[1], sys.argv[1:])
os.close(slave)
seen = b""
def until(marker):
    global seen
    end = time.time() + 60
    while marker not in seen:
        assert time.time() < end, seen
        seen += os.read(master, 65536)
    seen = seen[seen.index(marker) + len(marker):]
def say(line):
    os.write(master, line.encode() + b"\n")
until(b"$ ")
say("echo size $(stty size) kind $TERM")
until(b"size 40 132 kind xterm-256color")
size(24, 80)
say("sleep 0.5; echo now $(stty size)")
until(b"now 24 80")
# Ctrl-C ends the remote command and not us.
say("echo begun; sleep 1000")
until(b"begun\r\n")
time.sleep(0.2)
os.write(master, b"\x03")
say("echo status $?")
until(b"status 130")
say("exit 42")
try:
    while os.read(master, 65536): pass
except OSError: pass
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

#[test]
fn a_login_is_a_real_terminal() {
    let place = Place::small();
    let id = place.up(&[]);
    let inner = place.command(&["machine", "ssh", &id]);
    let mut command = Command::new("/usr/bin/python3");
    clear(&mut command, &place.home);
    command.env("TERM", "xterm-256color").args(["-c", TERMINAL]).arg(inner.get_program()).args(inner.get_args());
    Running::start(command).end().expect(42);
    // Without a terminal here, and with a command.
    let done = place.run(&["machine", "ssh", &id, "echo", "$HOME;", "exit", "9"]).expect(9);
    assert_eq!(done.text(), "/home/hg\n");
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn a_machine_ends_at_its_expiry() {
    let place = Place::small();
    let id = place.up(&["--ttl", "4s"]);
    leftovers::gone_within(&place.state, Duration::from_secs(30));
    let late = place.exec(&id, &["true"]);
    assert!([2, 4].contains(&late.code()) && !late.stderr.contains("panicked"), "{late:?}");
    place.run(&["audit", "--fix"]).expect(0);
    assert_eq!(place.json(&["machine", "list", "--json"]), serde_json::json!([]));
    place.assert_clean();
}

#[test]
fn folders_1500_deep_go_with_their_machine_and_few_descriptors() {
    let place = Place::small();
    let id = place.up(&[]);
    place.exec(&id, &["bash", "-c", "mkdir -p $(printf 'd/%.0s' {1..1500})"]).expect(0);
    let inner = place.command(&["machine", "down", &id]);
    let mut command = Command::new("sh");
    clear(&mut command, &place.home);
    command.args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    Running::start(command).end().expect(0);
    place.assert_clean();
}

#[test]
fn a_machine_sees_loopback_only_unless_asked() {
    let place = Place::small();
    let devices = "cut -d : -f 1 /proc/net/dev | tail -n +3 | tr -d ' ' | sort | tr '\\n' ' '";
    let alone = place.up(&[]);
    assert_eq!(place.exec(&alone, &["sh", "-c", devices]).expect(0).text(), "lo ");
    let route = place.exec(&alone, &["ip", "route", "show", "table", "all"]).expect(0).text();
    assert!(!route.contains("default"), "{route}");
    // A port of this computer is not one of the machine's.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let knock = format!("exec 3<>/dev/tcp/127.0.0.1/{}", listener.local_addr().unwrap().port());
    place.exec(&alone, &["bash", "-c", &knock]).expect(1);
    let host = place.up(&["--network", "host"]);
    let seen = place.exec(&host, &["sh", "-c", devices]).expect(0).text();
    let here = Command::new("sh").args(["-c", devices]).output().unwrap();
    assert_eq!(seen, String::from_utf8_lossy(&here.stdout));
    place.exec(&host, &["bash", "-c", &knock]).expect(0);
    place.run(&["machine", "down", &alone, &host]).expect(0);
    place.assert_clean();
}

#[test]
fn caps_have_effect() {
    if !is_root() {
        return skip("only root has control groups for certain");
    }
    let place = Place::small();
    let id = place.up(&["--cpus", "0.25", "--memory", "96M"]);
    let eats = "x = bytearray(300 << 20); print(len(x))";
    let done = place.exec(&id, &["python3", "-c", eats]);
    assert!(done.code() != 0 && done.text().is_empty(), "{done:?}");
    let burns = "import time\nt = time.time()\nwhile time.time() < t + 3: pass\nprint(time.process_time())";
    let spent: f64 = place.exec(&id, &["python3", "-c", burns]).expect(0).text().trim().parse().unwrap();
    assert!(spent < 1.5, "{spent} s of processor time in 3 s with a quarter of a processor");
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn a_volume_on_which_nothing_fits_is_refused() {
    let place = Place::new();
    for size in ["1", "15M", "17T"] {
        place.run(&["machine", "up", "--volume", size]).expect(2).tells(&["16.0 MiB", "16.0 TiB"]);
    }
}

#[test]
fn a_second_volume_is_a_file_system_of_its_own() {
    if !is_root() {
        return skip("only root can make loop devices");
    }
    let place = Place::small();
    let up = place.json(&["machine", "up", "--volume", "64M", "--json"]);
    let id = up["id"].as_str().unwrap().to_owned();
    assert_eq!(up["volume"], "/run/hg-volume", "{up}");
    let kind = place.exec(&id, &["findmnt", "-n", "-o", "FSTYPE", "/run/hg-volume"]).expect(0).text();
    assert_eq!(kind.trim(), "ext4");
    let size = place.exec(&id, &["stat", "-f", "-c", "%b %S", "/run/hg-volume"]).expect(0).text();
    let size: u64 = size.split_whitespace().map(|word| word.parse::<u64>().unwrap()).product();
    assert!((32 << 20..=64 << 20).contains(&size), "{size}");
    place.exec(&id, &["sudo", "touch", "/run/hg-volume/made"]).expect(0);
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

/// The most memory that a process held until it ended, and how that was.
fn peak_of(child: &mut std::process::Child) -> (Peak, std::process::ExitStatus) {
    let (mut peak, end) = (Peak::default(), Instant::now() + Duration::from_secs(300));
    loop {
        peak.look(child.id());
        if let Some(status) = child.try_wait().unwrap() {
            return (peak, status);
        }
        if Instant::now() > end {
            drop(child.kill());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn much_and_binary_output_comes_through_whole_in_little_memory() {
    let place = Place::small();
    let _alone = alone();
    let id = place.up(&[]);
    let (file, size) = (place.path().join("output"), 200 << 20);
    // Every byte value, in an order that does not repeat with the size of any buffer.
    let noise = format!(
        "import sys\nb = bytes((i * 7 + i // 251) % 256 for i in range(1 << 20))\nfor _ in range({}): sys.stdout.buffer.write(b)",
        size >> 20
    );
    let mut command = place.command(&["machine", "exec", &id, "--", "python3", "-c", &noise]);
    command.stdin(Stdio::null()).stdout(File::create(&file).unwrap()).stderr(Stdio::inherit());
    let (peak, status) = peak_of(&mut command.spawn().unwrap());
    assert!(status.success() && peak.resident > 0);
    assert!(peak.resident < 100 << 20, "{peak:?}");
    let written = std::fs::read(&file).unwrap();
    let piece: Vec<u8> = (0..1_u32 << 20).map(|i| ((i * 7 + i / 251) % 256) as u8).collect();
    assert_eq!(written.len(), size);
    assert!(written.chunks(1 << 20).all(|chunk| chunk == piece));
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn a_run_with_much_output_logs_all_of_it_in_little_memory() {
    let place = Place::whole();
    let _alone = alone();
    let loud =
        "import sys\nb = bytes(i % 256 for i in range(1 << 20))\nfor _ in range(200): sys.stdout.buffer.write(b)\n";
    let test = "  $ \"$PYTHON\" \"$TESTDIR/loud.py\"\n";
    let checkout = mercurial::small(place.path(), &[("loud.py", loud), ("test-loud.t", test)]);
    let mut command = Command::new(binary());
    clear(&mut command, &place.home);
    let arguments = ["run-tests-linux", "--source", checkout.to_str().unwrap(), "test-loud.t"];
    command.current_dir(&place.home).arg("--state-path").arg(&place.state).args(arguments);
    command.args(mercurial::READY_HG).arg("--debug");
    let file = place.path().join("output");
    command.stdin(Stdio::null()).stdout(File::create(&file).unwrap()).stderr(Stdio::inherit());
    let (peak, status) = peak_of(&mut command.spawn().unwrap());
    assert!(status.success(), "{status}");
    assert!(peak.resident < 100 << 20, "{peak:?}");
    let (shown, run) = (std::fs::metadata(&file).unwrap().len(), place.latest());
    let log = std::fs::read(place.state.join("runs").join(&run).join("output.log")).unwrap();
    assert!(shown >= 200 << 20 && log.len() as u64 >= shown, "{shown} {}", log.len());
    let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 0xfe).count();
    assert_eq!((count(&log), count(&std::fs::read(&file).unwrap())), (200 << 12, 200 << 12));
    place.assert_certified(&run);
    place.assert_clean();
}

#[test]
fn a_copy_replaces_nothing_but_files_and_goes_where_it_is_told() {
    let place = Place::small();
    let id = place.up(&[]);
    let home = |name: &str| place.home.join(name);
    let at = |path: &str| format!("{id}:{path}");
    let cp = |from: &str, to: &str| place.run(&["machine", "cp", from, to]);
    let shell = |script: &str| place.exec(&id, &["sh", "-c", script]).expect(0).text();
    std::fs::write(home("new"), "new").unwrap();
    shell(
        "echo old >/tmp/real; ln -s real /tmp/link; mkfifo /tmp/pipe; cat /tmp/pipe </dev/null >/tmp/got 2>/dev/null &",
    );
    // Links and pipes over there, then here.
    cp("new", &at("/tmp/link")).expect(0);
    assert_eq!(shell("readlink /tmp/link; cat /tmp/real"), "real\nnew");
    cp("new", &at("/tmp/pipe")).expect(0);
    assert_eq!(shell("until [ -s /tmp/got ]; do sleep 0.05; done; stat -c %F /tmp/pipe; cat /tmp/got"), "fifo\nnew");
    cp("new", &at("/dev/null")).expect(0);
    std::fs::write(home("real"), "old").unwrap();
    std::os::unix::fs::symlink("real", home("link")).unwrap();
    cp(&at("/tmp/real"), "link").expect(0);
    assert_eq!(std::fs::read_to_string(home("real")).unwrap(), "new");
    assert!(std::fs::symlink_metadata(home("link")).unwrap().is_symlink());
    assert_eq!(cp(&at("/tmp/real"), "/dev/stdout").expect(0).text(), "new");
    // A folder that is not there.
    cp("new", &at("/tmp/none/")).expect(3).tells(&["no folder `/tmp/none/`", "hint:", "mkdir -p"]);
    cp(&at("/tmp/real"), "none/").expect(3).tells(&["none/", "no such folder", "hint:"]);
    assert!(!home("none").exists() && shell("ls /tmp").lines().all(|name| name != "none"));
    // Links of a folder that lead out of it.
    shell("mkdir /tmp/results; cd /tmp/results; echo x >fine; ln -s /etc/passwd report; ln -s fine near");
    let copied = place.run(&["machine", "cp", "--json", &at("/tmp/results"), "."]).expect(0);
    assert_eq!(copied.json()["replaced_links"], serde_json::json!(["report"]));
    copied.tells(&["`report`", "lead out of the folder"]);
    assert_eq!(std::fs::read_link(home("results/near")).unwrap(), Path::new("fine"));
    assert!(std::fs::read_to_string(home("results/report")).unwrap().contains("`/etc/passwd`"));
    // Names with a colon, and the home over there.
    std::fs::write(home("10:00.log"), "colon").unwrap();
    std::fs::create_dir(home("run:1")).unwrap();
    cp("10:00.log", &at("~/a:b")).expect(0);
    assert_eq!(shell("cat /home/hg/a:b"), "colon");
    cp(&at("a:b"), "run:1/").expect(0);
    assert_eq!(std::fs::read_to_string(home("run:1/a:b")).unwrap(), "colon");
    place.run(&["machine", "sync", "run:1", &at("~/synced")]).expect(0);
    assert_eq!(shell("cat /home/hg/synced/a:b"), "colon");
    cp("20:00.log", &at("/tmp")).expect(2).tells(&["no machine `20`", "`./20:00.log`"]);
    std::fs::write(home(&at("x").replace(&id, &id[..8])), "which").unwrap();
    cp(&at("x").replace(&id, &id[..8]), "y").expect(2).tells(&["may be a path on", "./", "whole id"]);
    cp("new", &at("~root/x")).expect(2).tells(&["another user", "hint:"]);
    cp("new", &at("~hg/own")).expect(0);
    assert_eq!(shell("cat /home/hg/own"), "new");
    cp("new/", &at("")).expect(2).tells(&["`new` is a file, not a folder", "hint:"]);
    cp("none/", &at("")).expect(2).tells(&["there is no `none/`"]);
    cp("new", &at("")).expect(0);
    assert_eq!(shell("cat /home/hg/new"), "new");
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn trees_are_copied_and_synchronised_by_any_name() {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let place = Place::small();
    let id = place.up(&[]);
    let tree = place.path().join(std::ffi::OsStr::from_bytes(b"tree\xff"));
    std::fs::create_dir_all(tree.join("a b")).unwrap();
    std::fs::write(tree.join("a b/file"), "12345").unwrap();
    let odd = place.path().join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    std::fs::write(&odd, "odd").unwrap();
    let at = |path: &str| std::ffi::OsString::from(format!("{id}:{path}"));
    let word = std::ffi::OsString::from;
    let cp = |from: std::ffi::OsString, to: std::ffi::OsString| {
        place.run(&[word("machine"), word("cp"), from, to, word("--json")])
    };
    let copied = cp(tree.clone().into(), at("/tmp")).expect(0).json();
    assert_eq!((&copied["files"], &copied["bytes"]), (&1.into(), &5.into()));
    assert_eq!(cp(odd.into(), at("/tmp")).expect(0).json()["bytes"], 3);
    // Without a folder before it, and as a link, which would not be followed.
    let bare = std::ffi::OsStr::from_bytes(b"bare\xff");
    std::fs::write(place.home.join(bare), "bare").unwrap();
    assert_eq!(cp(bare.into(), at("/tmp")).expect(0).json()["bytes"], 4);
    assert_eq!(place.exec(&id, &["sh", "-c", "cat /tmp/bare*"]).expect(0).text(), "bare");
    let link = std::ffi::OsStr::from_bytes(b"link\xff");
    std::os::unix::fs::symlink(bare, place.home.join(link)).unwrap();
    cp(link.into(), at("/tmp")).expect(2).tells(&["a link whose name is not UTF-8", "hint:"]);
    assert_eq!(cp(link.into(), at("/tmp/followed")).expect(0).json()["bytes"], 4);
    place.run(&[word("machine"), word("exec"), link.into()]).expect(2).tells(&["is not UTF-8", "hint:"]);
    assert_eq!(place.exec(&id, &["sh", "-c", "cat /tmp/tree*/*/file /tmp/odd*"]).expect(0).text(), "12345odd");
    let back = place.path().join("back");
    cp(at("/tmp"), back.clone().into()).expect(0);
    assert_eq!(std::fs::read(back.join(tree.file_name().unwrap()).join("a b/file")).unwrap(), b"12345");
    cp(std::ffi::OsString::from_vec([id.as_bytes(), b":/tmp/odd\xff"].concat()), back.into())
        .expect(2)
        .tells(&["UTF-8"]);

    let sync = |further: &[&str]| {
        let words = [&["machine", "sync", "--json"], further].concat();
        let words = words.into_iter().map(std::ffi::OsString::from).chain([tree.clone().into(), at("/tmp/synced")]);
        place.run(&words.collect::<Vec<_>>())
    };
    let numbers =
        |done: &serde_json::Value| ["sent", "deleted", "kept", "unchanged"].map(|name| done[name].as_u64().unwrap());
    assert_eq!(numbers(&sync(&[]).expect(0).json()), [2, 0, 0, 0]);
    std::fs::write(tree.join("new"), "new").unwrap();
    std::fs::remove_dir_all(tree.join("a b")).unwrap();
    place.exec(&id, &["touch", "/tmp/synced/theirs"]).expect(0);
    sync(&["--max-delete", "1"]).expect(2).tells(&["remove 2 entries", "nothing was sent", "hint:"]);
    let dry = sync(&["--dry-run", "--max-delete", "1"]).expect(0).json();
    assert_eq!((numbers(&dry), &dry["to_send"][0], &dry["to_delete"][1]), ([1, 2, 1, 0], &"new".into(), &"a b".into()));
    assert_eq!(numbers(&sync(&[]).expect(0).json()), [1, 2, 1, 0]);
    assert_eq!(place.exec(&id, &["ls", "/tmp/synced"]).expect(0).text(), "new\ntheirs\n");
    place.run(&["machine", "sync", &format!("{id}:/tmp"), "/tmp"]).expect(2).tells(&["FROM must be a folder here"]);
    place
        .run(&["machine", "sync", "/no/such/folder", &format!("{id}:/tmp/x")])
        .expect(2)
        .tells(&["there is no folder"]);
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}
