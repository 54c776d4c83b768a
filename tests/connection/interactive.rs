//! The byte bridge and interactive use, on pipes and a terminal of the test's own.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use connection::{InteractOptions, Streams, bridge, interact};
use model::exit::Exit;
use model::task::{Command, Terminal, WindowSize};
use rustix::termios::{LocalModes, tcgetattr, tcsetwinsize};
use support::sshd::Sshd;

use super::{LIMIT, connect, sh};

/// As a person's terminal is joined with a machine's.
const LOGIN: InteractOptions = InteractOptions { raw: true, filter: true };

/// Streams for a bridge, and the other ends of them.
fn pipes() -> (Streams, std::io::PipeWriter, std::io::PipeReader, std::io::PipeReader) {
    let ((stdin, to), (from, stdout), (errors, stderr)) =
        (std::io::pipe().unwrap(), std::io::pipe().unwrap(), std::io::pipe().unwrap());
    (Streams { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() }, to, from, errors)
}

fn read_on_a_thread(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[tokio::test]
async fn the_bridge_is_binary_clean_with_full_windows_both_ways() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (streams, mut to, from, errors) = pipes();
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || to.write_all(&sent).unwrap());
    let (stdout, stderr) = (read_on_a_thread(from), read_on_a_thread(errors));
    let command = sh("cat; printf err >&2; exit 255");
    let exit = tokio::time::timeout(LIMIT, bridge(&*connection, &command, streams)).await.unwrap();
    assert_eq!(exit, Exit::Code(255));
    writer.join().unwrap();
    assert!(stdout.join().unwrap() == bytes);
    assert_eq!(stderr.join().unwrap(), b"err");
}

#[tokio::test]
async fn input_flows_while_nobody_reads_the_output() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (streams, mut to, from, errors) = pipes();
    // Writes far more than a pipe and a window hold before it looks at its input.
    let command = sh("head -c 5000000 /dev/zero & wc -c >&2; wait");
    // Drained only after all the input is gone: neither may wait for the other.
    let local = std::thread::spawn(move || {
        to.write_all(&vec![7; 5_000_000]).unwrap();
        drop(to);
        let stderr = read_on_a_thread(errors);
        (read_on_a_thread(from).join().unwrap().len(), stderr.join().unwrap())
    });
    let exit = tokio::time::timeout(LIMIT, bridge(&*connection, &command, streams)).await.unwrap();
    assert_eq!(exit, Exit::Code(0));
    let (length, stderr) = local.join().unwrap();
    // A background job of a shell without job control reads nothing, so all the input was counted.
    assert_eq!((length, String::from_utf8(stderr).unwrap().trim()), (5_000_000, "5000000"));
}

#[tokio::test]
async fn a_command_that_ends_does_not_wait_for_input_and_a_reader_that_goes_is_a_signal() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (streams, _to, _from, _errors) = pipes();
    let exit = tokio::time::timeout(LIMIT, bridge(&*connection, &sh("exit 7"), streams)).await.unwrap();
    assert_eq!(exit, Exit::Code(7));
    let (streams, _to, from, _errors) = pipes();
    drop(from);
    let exit = tokio::time::timeout(LIMIT, bridge(&*connection, &Command::new("yes"), streams)).await.unwrap();
    assert_eq!(exit, Exit::Signal("PIPE".into()));
}

#[tokio::test]
async fn output_that_cannot_be_written_is_an_error_however_short_it_is() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    for script in ["echo short", "head -c 3000000 /dev/zero"] {
        let (mut streams, _to, _from, _errors) = pipes();
        streams.stdout = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into();
        let process = connection.start(&sh(script)).await.unwrap();
        let joined = interact(process, streams, InteractOptions { raw: false, filter: true });
        let error = tokio::time::timeout(LIMIT, joined).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
}

/// Waits until the person has seen `expected`.
async fn until(seen: &std::sync::Mutex<String>, expected: &str) {
    for _ in 0..2000 {
        if seen.lock().unwrap().contains(expected) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no `{expected}` in {}", seen.lock().unwrap());
}

/// A terminal: the side of the person, and the side of the program.
fn pseudoterminal() -> (OwnedFd, OwnedFd) {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (person, program)
}

#[tokio::test]
async fn a_login_gets_keys_window_sizes_and_leaves_the_terminal_as_it_was() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let (person, program) = pseudoterminal();
    let cooked = |fd: &OwnedFd| tcgetattr(fd).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO);
    assert!(cooked(&program));
    let clone = || program.try_clone().unwrap();
    let streams = Streams { stdin: clone(), stdout: clone(), stderr: clone() };
    let size = WindowSize { columns: 100, rows: 40 };
    let script = "stty size; echo $TERM; printf '<\\033]0;title\\007>'; trap 'stty size; exit 9' WINCH; echo ready; while :; do sleep 0.05; done";
    let command = sh(script).terminal(Terminal { kind: "vt100".into(), size });
    let process = connection.start(&command).await.unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let mut reader = std::fs::File::from(person.try_clone().unwrap());
    let heard = std::sync::Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut buffer = [0; 1000];
        while let Ok(got) = reader.read(&mut buffer) {
            heard.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..got]));
        }
    });
    let resizing = async {
        until(&seen, "ready").await;
        assert!(!cooked(&program));
        let size = rustix::termios::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&person, size).unwrap();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::WINCH).unwrap();
    };
    let (exit, ()) = tokio::time::timeout(LIMIT, async { tokio::join!(interact(process, streams, LOGIN), resizing) })
        .await
        .unwrap_or_else(|_| panic!("{}", seen.lock().unwrap()));
    assert_eq!(exit.unwrap(), Exit::Code(9));
    assert!(cooked(&program));
    for expected in ["40 100", "vt100", "33 77", "<>"] {
        until(&seen, expected).await;
    }
    // Typed keys arrive, and a future that is dropped half-way restores the terminal too.
    let process =
        connection.start(&sh("read line; echo got $line; sleep 60").terminal(command.terminal.unwrap())).await;
    let streams = Streams { stdin: clone(), stdout: clone(), stderr: clone() };
    rustix::io::write(&person, b"typed\r").unwrap();
    tokio::select! {
        exit = interact(process.unwrap(), streams, LOGIN) => panic!("{exit:?}"),
        () = async { until(&seen, "got typed").await; assert!(!cooked(&program)); } => {}
    }
    assert!(cooked(&program));
}
