//! Tests of the scripts and the driver together, with this computer in the place of the machine and its agent.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use model::exit::Exit;
use model::task::Chunk;
use support::contract::listing;

use super::*;
use crate::ssm::files::CAP;

/// The limit of every wait: longer than anything here takes, so that a test that hangs fails.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs scripts on this computer as the agent would on a machine, and fails on request.
struct LocalMachine {
    dir: tempfile::TempDir,
    requests: AtomicUsize,
    /// How many of the next answers are lost after the script ran.
    lose: AtomicUsize,
    /// How many of the next pings find no agent.
    silent: AtomicUsize,
    /// Whether every script arrives twice.
    twice: bool,
}

impl LocalMachine {
    fn new(twice: bool) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let none = AtomicUsize::default;
        Arc::new(Self { dir, requests: none(), lose: none(), silent: none(), twice })
    }

    fn session(self: &Arc<Self>) -> SsmSession {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        SsmSession::new(
            Arc::clone(self) as Arc<dyn ScriptRunner>,
            Places { platform: Platform::Linux, base: path(""), tokens: path("tokens") },
            2,
        )
    }

    async fn connect(self: &Arc<Self>) -> SsmConnection {
        open(self.session(), &me(), LIMIT, false).await.unwrap()
    }

    /// How many folders of commands still exist.
    fn left(&self) -> usize {
        let named = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("hg-automation-ssm-");
        std::fs::read_dir(self.dir.path()).unwrap().flatten().filter(named).count()
    }
}

fn taken(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

#[async_trait]
impl ScriptRunner for LocalMachine {
    fn address(&self) -> String {
        "i-here".to_owned()
    }

    async fn run(&self, script: String) -> Result<String, ConnectionError> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let file = self.dir.path().join(suffix());
        std::fs::write(&file, &script).unwrap();
        if self.twice {
            tokio::process::Command::new("sh").arg(&file).output().await.unwrap();
        }
        let ran = tokio::process::Command::new("sh").arg(&file).output().await.unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(ran.status.success() && ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
        if taken(&self.lose) {
            return Err(ConnectionError::Lost { address: self.address(), reason: "its answer was lost".to_owned() });
        }
        // The service keeps that many characters.
        Ok(String::from_utf8(ran.stdout).unwrap().chars().take(24_000).collect())
    }

    async fn ping(&self) -> Result<Ping, ConnectionError> {
        Ok(if taken(&self.silent) { Ping::Silent("it is asleep".to_owned()) } else { Ping::Online })
    }
}

/// The name of the user who runs the tests.
fn me() -> String {
    let name = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(name.stdout).unwrap().trim().to_owned()
}

fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

async fn drain(process: &mut dyn Process) -> (Vec<u8>, Vec<u8>, Exit) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(chunk) = tokio::time::timeout(LIMIT, process.next()).await.expect("the output never ends") {
        match chunk {
            Chunk::Stdout(bytes) => out.extend(bytes),
            Chunk::Stderr(bytes) => err.extend(bytes),
        }
    }
    (out, err, process.exit())
}

async fn run(connection: &SsmConnection, command: &Command) -> (Vec<u8>, Vec<u8>, Exit) {
    drain(&mut *connection.start(command).await.unwrap()).await
}

/// Waits until no folder of any command is left.
async fn settled(machine: &LocalMachine) {
    let deadline = Deadline::after(LIMIT, "every folder to be removed");
    let probe = || async { (machine.left() == 0).then_some(()) };
    deadline.poll(Duration::from_millis(20), probe).await.unwrap();
}

#[tokio::test]
async fn commands_are_reported_as_over_any_connection() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let all: Vec<u8> = (0..=255).collect();
    let odd = "$(touch /tmp/never) `id` it's \"x\" {{ssm:x}} \\ \n * \u{e9}\n";
    let code = |out: &[u8], err: &[u8], code| (out.to_vec(), err.to_vec(), Exit::Code(code));
    let signal = |name: &str| (Vec::new(), Vec::new(), Exit::Signal(name.to_owned()));
    let cases = [
        (sh("printf out; printf err >&2; exit 3"), code(b"out", b"err", 3)),
        (Command::new("true"), code(b"", b"", 0)),
        (sh("exit 255"), code(b"", b"", 255)),
        (sh("exit 137"), code(b"", b"", 137)),
        (sh("kill -KILL $$"), signal("KILL")),
        (sh("kill -TERM $$"), signal("TERM")),
        (sh("printf %s \"$A\"").env("A", odd), code(odd.as_bytes(), b"", 0)),
        (Command::new("printf").arg("%s|").args(["a b", "", odd]), code(format!("a b||{odd}|").as_bytes(), b"", 0)),
        (Command::new("cat").stdin(all.clone()), code(&all, b"", 0)),
        (Command::new("cat").stdin(Vec::new()), code(b"", b"", 0)),
        (Command::new("cat"), code(b"", b"", 0)),
        (Command::new("").stdin("echo x"), code(b"x\n", b"", 0)),
        (sh("echo a; echo b >/dev/stdout; echo c >/dev/stderr"), code(b"a\nb\n", b"c\n", 0)),
        (sh("printf %s \"$SSH_CONNECTION$LC_ALL\"; umask"), code(b"0022\n", b"", 0)),
    ];
    for (command, expected) in cases {
        assert_eq!(run(&connection, &command).await, expected, "{command:?}");
    }
    assert_eq!(run(&connection, &Command::new("/no/such/program")).await.2, Exit::Code(127));
    let home = run(&connection, &sh("[ \"$(pwd)\" = \"$HOME\" ] && [ \"$USER\" = \"$(id -un)\" ]")).await;
    assert_eq!(home.2, Exit::Code(0));
    connection.close().await;
    assert_eq!(machine.left(), 0);
    assert!(connection.start(&Command::new("true")).await.is_err());
}

#[tokio::test]
async fn a_short_command_is_one_request() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let before = machine.requests.load(Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(run(&connection, &sh("echo x; echo y >&2")).await.2, Exit::Code(0));
    }
    assert_eq!(machine.requests.load(Ordering::SeqCst) - before, 3);
    assert_eq!(machine.left(), 1, "the folders of those before went with the next request");
    drop(connection);
    settled(&machine).await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_word_on_ssh() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let size = model::task::WindowSize { columns: 80, rows: 24 };
    let terminal = Command::new("sh").terminal(model::task::Terminal { kind: "xterm".into(), size });
    for command in [terminal, Command::new(""), Command::new("cat").stdin(vec![0; 17 << 20])] {
        let error = connection.start(&command).await.map(drop).unwrap_err();
        assert!(matches!(&error, ConnectionError::Invalid(text) if text.contains("SSH")), "{error}");
    }
    let nul = connection.start(&Command::new("echo").arg("a\0b")).await.map(drop).unwrap_err();
    assert!(nul.to_string().contains("NUL"), "{nul}");
    let mut process = connection.start(&sh("sleep 60")).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    assert!(process.take_stdin().is_none());
    let error = stdin.write(b"x").await.unwrap_err();
    assert!(matches!(&error, ConnectionError::Invalid(text) if text.contains("SSH")), "{error}");
    let (_, _, exit) = drain(&mut *process).await;
    assert!(matches!(&exit, Exit::Lost(reason) if reason.contains("SSH")), "{exit:?}");
    // Input that the caller holds open has ended on the machine all the same, so that a command cannot wait for its end.
    let mut reader = connection.start(&Command::new("cat")).await.unwrap();
    let held = reader.take_stdin().unwrap();
    assert_eq!(drain(&mut *reader).await.2, Exit::Code(0));
    assert!(!connection.holds_stdin() && connection.trees().is_err_and(|error| error.to_string().contains("SSH")));
    drop(held);
    let mut given = connection.start(&Command::new("cat").stdin("x")).await.unwrap();
    assert!(given.take_stdin().is_none());
    drop(given);
    connection.close().await;
    assert_eq!(machine.left(), 0);
}

#[tokio::test]
async fn output_comes_while_the_command_runs() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let started = Instant::now();
    let mut process = connection.start(&sh("echo begun; sleep 3; echo ended")).await.unwrap();
    assert_eq!(process.next().await, Some(Chunk::Stdout(b"begun\n".to_vec())));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(matches!(process.exit(), Exit::Lost(_)), "it has not ended");
    assert_eq!(drain(&mut *process).await, (b"ended\n".to_vec(), Vec::new(), Exit::Code(0)));
}

#[tokio::test]
async fn much_input_and_output_travel_whole() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let command = sh("tee /dev/stderr").stdin(bytes.clone());
    let (out, err, exit) = run(&connection, &command).await;
    assert!(out == bytes && err == bytes && exit == Exit::Code(0), "{} {} {exit:?}", out.len(), err.len());
}

#[tokio::test]
async fn a_request_that_arrives_twice_starts_its_command_once() {
    let machine = LocalMachine::new(true);
    let connection = machine.connect().await;
    let count = machine.dir.path().join("count").display().to_string();
    let bytes = vec![7; 60_000];
    let command = sh("echo started >>\"$1\"; cat").arg("sh").arg(&count).stdin(bytes.clone());
    let (out, _, exit) = run(&connection, &command).await;
    assert!(out == bytes && exit == Exit::Code(0), "{} {exit:?}", out.len());
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "started\n");
}

#[tokio::test]
async fn lost_answers_lose_nothing_and_a_silent_agent_is_lost() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let mut process = connection.start(&sh("sleep 0.5; head -c 50000 /dev/zero")).await.unwrap();
    machine.lose.store(2, Ordering::SeqCst);
    let (out, _, exit) = drain(&mut *process).await;
    assert_eq!((out.len(), exit), (50_000, Exit::Code(0)));
    let mut process = connection.start(&sh("echo begun; sleep 60")).await.unwrap();
    assert!(process.next().await.is_some());
    machine.lose.store(9, Ordering::SeqCst);
    machine.silent.store(1, Ordering::SeqCst);
    assert_eq!(drain(&mut *process).await.2, Exit::Lost("it is asleep".to_owned()));
    machine.lose.store(0, Ordering::SeqCst);
    // The answer to the start itself can be lost, too.
    machine.lose.store(1, Ordering::SeqCst);
    assert_eq!(run(&connection, &sh("echo once")).await, (b"once\n".to_vec(), Vec::new(), Exit::Code(0)));
    connection.close().await;
    assert_eq!(machine.left(), 0);
}

#[tokio::test]
async fn a_dropped_or_closed_command_is_ended() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let pid = machine.dir.path().join("pid");
    let command = || sh("echo $$ >\"$1\"; echo begun; sleep 60").arg("sh").arg(pid.display().to_string());
    for close in [false, true] {
        let mut process = connection.start(&command()).await.unwrap();
        assert!(process.next().await.is_some());
        let number: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let number = rustix::process::Pid::from_raw(number).unwrap();
        assert!(rustix::process::test_kill_process(number).is_ok());
        if close {
            connection.close().await;
            assert!(matches!(drain(&mut *process).await.2, Exit::Lost(_)));
        } else {
            drop(process);
        }
        let gone = || async {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", number.as_raw_nonzero()));
            state.map_or(Some(()), |state| state.contains(") Z ").then_some(()))
        };
        Deadline::after(LIMIT, "the command to end").poll(Duration::from_millis(20), gone).await.unwrap();
        settled(&machine).await;
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let command = Command::new("cat").stdin(vec![0; 200_000]);
    let cut_off = tokio::time::timeout(Duration::from_millis(20), connection.start(&command)).await;
    assert!(cut_off.is_err(), "it was quicker than the test");
    connection.close().await;
    settled(&machine).await;
}

#[tokio::test]
async fn a_command_whose_keeper_was_killed_is_lost() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let mut process = connection.start(&sh("kill -KILL $PPID; sleep 60")).await.unwrap();
    let (_, _, exit) = drain(&mut *process).await;
    assert!(matches!(&exit, Exit::Lost(reason) if reason.contains("killed")), "{exit:?}");
    connection.close().await;
    assert_eq!(machine.left(), 0);
}

#[tokio::test]
async fn connecting_waits_with_patience_and_tells_the_last_reason() {
    let machine = LocalMachine::new(false);
    machine.silent.store(2, Ordering::SeqCst);
    let error = open(machine.session(), &me(), LIMIT, false).await.map(drop).unwrap_err();
    assert!(matches!(&error, ConnectionError::Refused { source: Some(why), .. } if why.to_string() == "it is asleep"));
    assert!(open(machine.session(), &me(), LIMIT, true).await.is_ok());
    machine.silent.store(99, Ordering::SeqCst);
    let error = open(machine.session(), &me(), Duration::from_millis(400), true).await.map(drop).unwrap_err();
    let ConnectionError::Refused { source: Some(why), .. } = &error else { panic!("{error}") };
    assert!(why.to_string().contains("kept trying") && why.to_string().contains("asleep"), "{why}");
    machine.silent.store(0, Ordering::SeqCst);
    let error = open(machine.session(), "no-such-user", LIMIT, false).await.map(drop).unwrap_err();
    assert!(matches!(error, ConnectionError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("no-such-user"), "{error}");
    let error = open(machine.session(), "a; b", LIMIT, false).await.map(drop).unwrap_err();
    assert!(matches!(error, ConnectionError::Invalid(_)), "{error}");
}

#[tokio::test]
async fn small_files_are_written_and_read() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let remote = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("{}/{name}", remote.path().display());
    connection.write_file(&at("small"), b"first, and longer", 0o600).await.unwrap();
    connection.write_file(&at("small"), b"second", 0o750).await.unwrap();
    assert_eq!(connection.read_file(&at("small"), 6).await.unwrap(), b"second");
    assert_eq!(connection.read_file(&at("small"), u64::MAX).await.unwrap(), b"second");
    assert_eq!(std::fs::metadata(at("small")).unwrap().permissions().mode() & 0o7777, 0o750);
    let error = connection.read_file(&at("small"), 5).await.unwrap_err().to_string();
    assert!(error.contains("small") && error.contains("longer than 5 B"), "{error}");
    let never = std::env::temp_dir().join("never");
    for error in [
        connection.read_file(&at("none"), 5).await.unwrap_err(),
        connection.write_file(&at("none/x"), b"", 0o600).await.unwrap_err(),
        connection.download(&at("none"), &never, &|_| ()).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("none") && error.to_string().contains("no such file"), "{error}");
    }
    let error = connection.write_file(&at("large"), &vec![0; CAP as usize + 1], 0o600).await.unwrap_err();
    assert!(error.to_string().contains("use SSH"), "{error}");
    let error = connection.write_file(remote.path().to_str().unwrap(), b"x", 0o600).await.unwrap_err();
    assert!(error.to_string().contains("a folder has that name"), "{error}");
    assert_eq!(std::fs::read_dir(remote.path()).unwrap().count(), 1, "partial files are left");
}

#[tokio::test]
async fn parts_of_trees_do_not_travel_and_it_says_so() {
    let connection = LocalMachine::new(false).connect().await;
    let why = connection.trees().err().unwrap().to_string();
    assert!(why.contains("whole files and folders only"), "{why}");
}

#[tokio::test]
async fn trees_travel_both_ways() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let (local, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = local.path().join("tree");
    std::fs::create_dir_all(tree.join("a b/c")).unwrap();
    std::fs::create_dir_all(tree.join("empty")).unwrap();
    let odd = "new\nline $(id) 'q' \u{e9}";
    let big: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let files: [(&str, &[u8], u32); 4] =
        [("nothing", b"", 0o644), ("a b/big", &big, 0o640), (odd, b"x", 0o755), (&"n".repeat(255), b"long", 0o600)];
    for (name, bytes, mode) in files {
        std::fs::write(tree.join(name), bytes).unwrap();
        std::fs::set_permissions(tree.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink("a b/big", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("no/such/thing", tree.join("dangling")).unwrap();
    for (folder, mode) in [("a b/c", 0o500), ("empty", 0o711), ("", 0o750)] {
        std::fs::set_permissions(tree.join(folder), PermissionsExt::from_mode(mode)).unwrap();
    }
    let count = std::sync::atomic::AtomicU64::new(0);
    let progress = |bytes: u64| {
        let _ = count.fetch_add(bytes, Ordering::SeqCst);
    };
    let remote = far.path().join("up").display().to_string();
    let up = connection.upload(&tree, &remote, &progress).await.unwrap();
    assert_eq!((up.files, up.bytes), (4, big.len() as u64 + 5));
    assert_eq!(count.swap(0, Ordering::SeqCst), up.bytes);
    assert_eq!(listing(&tree), listing(Path::new(&remote)));
    let back = local.path().join("back");
    assert_eq!(connection.download(&remote, &back, &progress).await.unwrap(), up);
    assert_eq!(count.into_inner(), up.bytes);
    assert_eq!(listing(&tree), listing(&back));
    // A second upload into the same folder replaces files; other files and the modes of folders stay.
    std::fs::write(far.path().join("up/other"), "stays").unwrap();
    std::fs::set_permissions(far.path().join("up/empty"), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(tree.join("nothing"), "something").unwrap();
    connection.upload(&tree, &remote, &|_| ()).await.unwrap();
    assert_eq!(std::fs::read(far.path().join("up/nothing")).unwrap(), b"something");
    assert_eq!(std::fs::read(far.path().join("up/other")).unwrap(), b"stays");
    let mode = std::fs::metadata(far.path().join("up/empty")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(std::fs::read_dir(&remote).unwrap().count(), std::fs::read_dir(&tree).unwrap().count() + 1);
    // Single files.
    let one = local.path().join("one");
    connection.download(&format!("{remote}/a b/big"), &one, &|_| ()).await.unwrap();
    assert_eq!(std::fs::read(&one).unwrap(), big);
    assert_eq!(std::fs::metadata(&one).unwrap().permissions().mode() & 0o7777, 0o640);
    connection.upload(&one, &format!("{remote}/other"), &|_| ()).await.unwrap();
    assert_eq!(std::fs::read(far.path().join("up/other")).unwrap(), big);
    let error = connection.upload(&tree, &format!("{remote}/other"), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("not a folder has its name"), "{error}");
    // The target of a copy is followed if it is a link, and written into if it is a device, on both sides.
    for folder in [far.path(), local.path()] {
        std::os::unix::fs::symlink("real", folder.join("link")).unwrap();
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, folder.join("pipe"), pipe, 0o600.into(), 0).unwrap();
    }
    let remote = |name: &str| far.path().join(name).display().to_string();
    connection.upload(&one, &remote("link"), &|_| ()).await.unwrap();
    connection.upload(&one, "/dev/null", &|_| ()).await.unwrap();
    connection.download(&remote("real"), &local.path().join("link"), &|_| ()).await.unwrap();
    connection.download(&remote("real"), Path::new("/dev/null"), &|_| ()).await.unwrap();
    for folder in [far.path(), local.path()] {
        assert_eq!(std::fs::read_link(folder.join("link")).unwrap(), Path::new("real"));
        assert_eq!(std::fs::read(folder.join("real")).unwrap(), big);
    }
    let error = connection.upload(&one, &remote("pipe"), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("a named pipe; use SSH"), "{error}");
    let error = connection.download(&remote("real"), &local.path().join("pipe"), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("nobody reads"), "{error}");
    let error = connection.upload(&one, &remote("none/"), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("ends in a slash"), "{error}");
}

#[tokio::test]
async fn a_file_that_says_that_it_is_empty_and_is_not_is_refused() {
    let machine = LocalMachine::new(false);
    let connection = machine.connect().await;
    let local = tempfile::tempdir().unwrap();
    // Alone and in a folder.
    for path in ["/proc/version", "/proc/sys/fs/inotify"] {
        let error = connection.download(path, &local.path().join("copy"), &|_| ()).await.unwrap_err();
        assert!(error.to_string().contains("says that it is empty and has content; use SSH"), "{error}");
    }
}
