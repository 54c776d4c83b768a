//! Tasks that outlive their connections, against a real OpenSSH server and connections that fail in every way.

use std::path::{Path, PathBuf};
use std::process::{Command as Local, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connection::{SshConnector, SshSettings};
use flow::task::durable::{Durable, Task};
use model::base::id::TaskId;
use model::connection::{Connection, Process};
use model::exit::Exit;
use model::machine::{Address, Machine};
use model::output::{OutputLimits, run_command};
use model::task::{Chunk, Command, Offsets, TaskRecord};
use support::proxy::Proxy;
use support::sshd::Sshd;

use super::Theatre;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../remote/linux/supervise.sh");

/// A server, the way to it, and what the flows work with.
struct Scene {
    theatre: Theatre,
    sshd: Sshd,
    proxy: Proxy,
    folder: PathBuf,
}

impl Scene {
    async fn new() -> Self {
        let sshd = Sshd::start();
        let mut theatre = Theatre::new();
        // A peer that says nothing is given up after 0.8 s.
        let settings = SshSettings { keepalive: Duration::from_millis(200), keepalive_misses: 3 };
        theatre.site.connector = Arc::new(SshConnector::new(settings));
        let proxy = Proxy::to(sshd.port).await;
        let folder = sshd.dir.path().join("tasks");
        Self { theatre, sshd, proxy, folder }
    }

    fn machine(&self) -> Machine {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: self.proxy.port };
        Machine { address, ..self.sshd.machine() }
    }

    fn durable(&self) -> Durable {
        Durable::new(&self.theatre.run, &self.theatre.site, &self.machine(), None, self.folder.to_str().unwrap())
    }

    fn losses(&self) -> usize {
        self.theatre.events.count("warning the connection to")
    }
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script]).stdin(Vec::new())
}

/// What a task left.
struct Left {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit: Exit,
    record: Option<TaskRecord>,
}

/// Reads to the end; `seen` is told of all bytes so far.
async fn drain(task: &mut Task, mut seen: impl FnMut(usize)) -> Left {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(chunk) = tokio::time::timeout(LIMIT, task.next()).await.expect("the task never ends") {
        match chunk {
            Chunk::Stdout(bytes) => stdout.extend(bytes),
            Chunk::Stderr(bytes) => stderr.extend(bytes),
        }
        seen(stdout.len() + stderr.len());
    }
    Left { stdout, stderr, exit: task.exit(), record: task.record().cloned() }
}

/// The command lines of processes that hold `mark`.
fn alive(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(mark) {
            found.push(line);
        }
    }
    found
}

/// Waits until no process holds `mark`.
async fn assert_nothing_lives(mark: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while !alive(mark).is_empty() {
        assert!(Instant::now() < end, "still there: {:?}", alive(mark));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same, where there is no runtime: what was killed may take a moment to be gone.
fn nothing_lives_soon(mark: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while !alive(mark).is_empty() {
        assert!(Instant::now() < end, "still there: {:?}", alive(mark));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Numbered lines, 50 MB of them.
fn lines(count: usize) -> Vec<u8> {
    (1..=count).flat_map(|n| format!("{n:09} the quick brown fox jumps over a lazy dog\n").into_bytes()).collect()
}

fn lines_script(count: usize) -> Command {
    sh(&format!("seq -f '%09.0f the quick brown fox jumps over a lazy dog' 1 {count}; seq 1 1000 >&2; exit 7"))
}

#[tokio::test]
async fn fifty_megabytes_over_ten_killed_sessions_are_byte_for_byte() {
    let scene = Scene::new().await;
    let durable = scene.durable();
    let whole = lines(940_000);
    let mut task = durable.run_task(&TaskId::random(), &lines_script(940_000)).await.unwrap();
    let (mut kills, step) = (0, whole.len() / 11);
    let left = drain(&mut task, |seen| {
        if kills < 10 && seen > (kills + 1) * step {
            kills += 1;
            scene.sshd.kill_sessions();
        }
    })
    .await;
    assert_eq!((kills, left.exit), (10, Exit::Code(7)));
    assert!(left.stdout == whole, "{} bytes in place of {}", left.stdout.len(), whole.len());
    assert_eq!(left.stderr, (1..=1000).map(|n| format!("{n}\n")).collect::<String>().into_bytes());
    assert!(scene.losses() >= 10, "{:?}", scene.theatre.events.lines());
    assert_eq!(scene.losses(), scene.theatre.events.count("notice connected to"));
    assert_nothing_lives(scene.folder.to_str().unwrap()).await;
}

#[tokio::test]
async fn connections_that_are_reset_after_a_while_carry_everything_once() {
    let scene = Scene::new().await;
    let durable = scene.durable();
    let whole = lines(100_000);
    scene.proxy.reset_after(700_000);
    let mut task = durable.run_task(&TaskId::random(), &lines_script(100_000)).await.unwrap();
    let left = drain(&mut task, |_| ()).await;
    assert_eq!(left.exit, Exit::Code(7));
    assert!(left.stdout == whole, "{} bytes in place of {}", left.stdout.len(), whole.len());
    assert!(scene.proxy.accepted() >= 7, "{}", scene.proxy.accepted());
}

#[tokio::test]
async fn a_line_that_drops_or_hangs_is_left_for_another() {
    let scene = Scene::new().await;
    let durable = scene.durable();
    let id = TaskId::random();
    let script = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done";
    let mut task = durable.run_task(&id, &sh(script)).await.unwrap();
    let left = drain(&mut task, |seen| match seen {
        4 => scene.proxy.stall_all(),
        10 => scene.proxy.drop_all(),
        _ => {}
    })
    .await;
    assert_eq!((left.stdout.as_slice(), left.exit), (&b"1\n2\n3\n4\n5\n6\n7\n8\n"[..], Exit::Code(0)));
    assert_eq!(scene.losses(), 2);
    assert!(task.record().is_some_and(|record| record.output == task.offsets() && !record.capped && !record.cancelled));
}

#[tokio::test]
async fn a_start_that_is_repeated_starts_once() {
    let scene = Scene::new().await;
    let (first, second) = (scene.durable(), scene.durable());
    let counter = scene.sshd.dir.path().join("counter");
    let id = TaskId::random();
    let command = sh(&format!("echo x >>{}; sleep 0.3; echo done", counter.display()));
    let starts = (0..8).map(|n| {
        let (durable, id, command) = (if n % 2 == 0 { &first } else { &second }, &id, &command);
        async move { drain(&mut durable.run_task(id, command).await.unwrap(), |_| ()).await }
    });
    for left in futures_util::future::join_all(starts).await {
        assert_eq!((left.stdout.as_slice(), left.exit), (&b"done\n"[..], Exit::Code(0)));
    }
    assert_eq!(std::fs::read_to_string(counter).unwrap(), "x\n");
}

#[tokio::test]
async fn another_host_key_is_refused_and_nothing_is_sent_to_it() {
    let scene = Scene::new().await;
    let other = Sshd::start();
    let mut task = scene.durable().run_task(&TaskId::random(), &sh("echo one; sleep 5")).await.unwrap();
    let left = drain(&mut task, |_| {
        scene.proxy.retarget(other.port);
        scene.proxy.drop_all();
    })
    .await;
    let Exit::Lost(why) = left.exit else { panic!("{:?}", left.exit) };
    assert!(why.contains("host key mismatch"), "{why}");
    let end = Instant::now() + LIMIT;
    while !other.sessions().is_empty() {
        assert!(Instant::now() < end, "it was let in");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_task_leaves_behind_dies_with_it() {
    let scene = Scene::new().await;
    let mark = scene.sshd.dir.path().join("left").display().to_string();
    let run = format!("exec sh -c 'while :; do sleep 1; done' {mark}");
    let script = format!(
        "({run}) & setsid sh -c \"trap '' TERM; {run}\" & (setsid sh -c \"{run}\" >&- 2>&- &) ; env -i sh -c \"{run}\" & \
         exec >&- 2>&-; sleep 0.3; exit 5"
    );
    let script =
        script.replace("exec sh -c 'while :; do sleep 1; done'", "exec sh -c \\\"while :; do sleep 1; done\\\"");
    let script =
        script.replace("(exec sh -c \\\"while :; do sleep 1; done\\\"", "(exec sh -c \"while :; do sleep 1; done\"");
    let mut task = scene.durable().run_task(&TaskId::random(), &sh(&script)).await.unwrap();
    let left = drain(&mut task, |_| ()).await;
    assert_eq!(left.exit, Exit::Code(5), "{}", String::from_utf8_lossy(&left.stderr));
    assert_eq!(alive(&mark), Vec::<String>::new());
    assert_nothing_lives(scene.folder.to_str().unwrap()).await;
}

#[tokio::test]
async fn a_task_that_ignores_sigterm_is_cancelled_all_the_same() {
    let scene = Scene::new().await;
    let durable = scene.durable();
    let id = TaskId::random();
    let mark = scene.sshd.dir.path().join("deaf").display().to_string();
    let script = format!("trap '' TERM; echo deaf; sh -c \"trap '' TERM; while :; do sleep 1; done\" {mark}; true");
    let mut task = durable.run_task(&id, &sh(&script)).await.unwrap();
    assert_eq!(task.next().await, Some(Chunk::Stdout(b"deaf\n".to_vec())));
    durable.cancel_task(&id).await.unwrap();
    let task_alive = alive(&mark).into_iter().filter(|line| !line.contains("supervise.sh"));
    assert_eq!(task_alive.collect::<Vec<_>>(), Vec::<String>::new());
    let left = drain(&mut task, |_| ()).await;
    assert_eq!(left.exit, Exit::Signal("KILL".to_owned()));
    assert!(left.record.unwrap().cancelled);
    durable.cancel_task(&id).await.unwrap();
    // One that was not started when it was cancelled never starts.
    let never = TaskId::random();
    durable.cancel_task(&never).await.unwrap();
    let left = drain(&mut durable.run_task(&never, &sh("echo started")).await.unwrap(), |_| ()).await;
    assert_eq!((left.stdout.as_slice(), left.exit), (&b""[..], Exit::Lost("it was never started".to_owned())));
}

#[tokio::test]
async fn a_task_is_left_and_taken_up_by_somebody_else_and_ends_with_a_dropped_process() {
    let scene = Scene::new().await;
    let id = TaskId::random();
    let mut task = scene.durable().run_task(&id, &sh("echo one; sleep 1; echo two")).await.unwrap();
    assert_eq!(task.next().await, Some(Chunk::Stdout(b"one\n".to_vec())));
    let from = task.offsets();
    drop(task);
    let other = scene.durable();
    let left = drain(&mut other.follow_task(&id, from), |_| ()).await;
    assert_eq!((left.stdout.as_slice(), left.exit), (&b"two\n"[..], Exit::Code(0)));
    // As a connection, it ends what nobody waits for any more.
    let mark = scene.sshd.dir.path().join("dropped").display().to_string();
    let mut process =
        other.start(&sh(&format!("echo up; sh -c 'while :; do sleep 1; done' {mark}; true"))).await.unwrap();
    assert_eq!(process.next().await, Some(Chunk::Stdout(b"up\n".to_vec())));
    assert!(!alive(&mark).is_empty());
    drop(process);
    assert_nothing_lives(&mark).await;
}

#[tokio::test]
async fn commands_and_files_go_on_over_the_next_connection() {
    let scene = Scene::new().await;
    let durable = scene.durable();
    durable.prepare().await.unwrap();
    let path = format!("{}/file", durable.folder());
    for round in 0..3 {
        scene.proxy.drop_all();
        durable.write_file(&path, format!("round {round}").as_bytes(), 0o600).await.unwrap();
        scene.proxy.drop_all();
        assert_eq!(durable.read_file(&path, 100).await.unwrap(), format!("round {round}").as_bytes());
        scene.proxy.drop_all();
        let command =
            Command::new("sh").args(["-c", "cat; printf %s \"$A\" >&2; exit 4"]).env("A", "it's").stdin("given");
        let done = run_command(&durable, &command, OutputLimits::SMALL).await.unwrap();
        assert_eq!(
            (done.stdout.as_slice(), done.stderr.as_slice(), done.exit),
            (&b"given"[..], &b"it's"[..], Exit::Code(4))
        );
    }
    assert!(durable.read_file("/no/such/file", 10).await.is_err());
}

#[tokio::test]
async fn another_boot_and_a_killed_supervisor_lose_the_task_and_say_so() {
    let scene = Scene::new().await;
    let durable = scene.durable();
    let id = TaskId::random();
    let task = durable.run_task(&id, &sh("echo one; sleep 100")).await;
    let mut task = task.unwrap();
    assert!(task.next().await.is_some());
    let place = scene.folder.join(id.as_str());
    let boot = std::fs::read(place.join("boot")).unwrap();
    std::fs::write(place.join("boot"), "3aec4f14-0000-0000-0000-000000000000-22\n").unwrap();
    let other = scene.durable();
    let left = drain(&mut other.follow_task(&id, Offsets::default()), |_| ()).await;
    assert_eq!(left.exit, Exit::Lost("the machine was booted again, which ended the task".to_owned()));
    std::fs::write(place.join("boot"), boot).unwrap();
    let pid: u32 = std::fs::read_to_string(place.join("pid")).unwrap().trim().parse().unwrap();
    assert!(Local::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    let left = drain(&mut task, |_| ()).await;
    assert_eq!(left.exit, Exit::Lost("its supervisor on the machine was killed".to_owned()));
    assert_nothing_lives(scene.folder.to_str().unwrap()).await;
}

#[tokio::test]
async fn a_machine_that_is_gone_loses_the_task_after_its_lease() {
    let mut scene = Scene::new().await;
    scene.theatre.site.grace = Duration::from_secs(2);
    let mut task = scene.durable().run_task(&TaskId::random(), &sh("echo one; sleep 5")).await.unwrap();
    assert!(task.next().await.is_some());
    // Nothing listens there any more.
    scene.proxy.retarget(1);
    scene.proxy.drop_all();
    let left = drain(&mut task, |_| ()).await;
    assert!(matches!(&left.exit, Exit::Lost(why) if why.contains("kept trying for")), "{:?}", left.exit);
    assert_eq!(scene.losses(), 1);
}

/// Runs the script itself.
fn supervise(shell: &str, arguments: &[&str]) -> Output {
    Local::new(shell).arg(SCRIPT).args(arguments).stdin(std::process::Stdio::null()).output().unwrap()
}

/// A task in `folder`, to its end.
fn run(shell: &str, place: &Path, cap: &str, script: &str) -> (Output, TaskRecord) {
    let place = place.to_str().unwrap();
    let output = supervise(shell, &["start", place, cap, "-", "alone", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let record = supervise(shell, &["record", place]);
    (output, serde_json::from_slice(&record.stdout).unwrap())
}

fn sent(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"hg-automation: output follows\n").unwrap()
}

#[test]
fn the_record_says_how_it_ended_and_what_it_took() {
    for shell in ["dash", "bash"] {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            ("exit 0", Exit::Code(0)),
            ("exit 3", Exit::Code(3)),
            ("exit 128", Exit::Code(128)),
            ("kill -TERM $$", Exit::Signal("TERM".into())),
            ("kill -KILL $$", Exit::Signal("KILL".into())),
            ("kill -INT $$", Exit::Signal("INT".into())),
            ("sleep 0.2; kill -PIPE $$", Exit::Signal("PIPE".into())),
        ];
        for (at, (script, exit)) in cases.into_iter().enumerate() {
            let (_, record) = run(shell, &dir.path().join(at.to_string()), "1048576", script);
            assert_eq!(record.exit, exit, "{shell}: {script}");
        }
        // bash cannot tell this from a signal.
        if shell == "dash" {
            let (_, record) = run(shell, &dir.path().join("137"), "1048576", "exit 137");
            assert_eq!(record.exit, Exit::Code(137));
        }
        let before = jiff::Timestamp::now();
        let hungry = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); sleep 1; echo ${#x}";
        let (output, record) = run(shell, &dir.path().join("hungry"), "1048576", hungry);
        assert_eq!(sent(&output.stdout), b"30000000\n");
        assert_eq!(record.output, Offsets { stdout: 9, stderr: 0 });
        assert!(!record.capped && !record.cancelled);
        let memory = record.peak_memory.unwrap();
        assert!((30_000_000..500_000_000).contains(&memory), "{memory}");
        let took = record.ended_at.duration_since(record.started_at).as_secs_f64();
        assert!((1.0..30.0).contains(&took) && record.started_at.duration_since(before).as_secs_f64().abs() < 30.0);
        nothing_lives_soon(dir.path().to_str().unwrap());
    }
}

#[test]
fn a_task_that_stops_its_supervisor_is_followed_to_its_end_all_the_same() {
    let place = tempfile::tempdir().unwrap();
    for shell in ["dash", "bash"] {
        let (followed, record) = run(shell, &place.path().join(shell), "1048576", "kill -STOP $PPID; echo on; exit 3");
        assert_eq!((sent(&followed.stdout), record.exit), (&b"on\n"[..], Exit::Code(3)), "{shell}");
    }
    // One that is stopped can be ended.
    let folder = place.path().join("cancelled");
    let folder = folder.to_str().unwrap();
    let task = ["sh", "-c", "kill -STOP $PPID; sleep 300"];
    supervise("sh", &[&["launch", folder, "1048576", "-", "--"], &task[..]].concat());
    assert_eq!(supervise("sh", &["cancel", folder, "2"]).status.code(), Some(0));
}

#[test]
fn output_beyond_the_cap_is_left_out_with_a_mark_and_the_task_goes_on() {
    for shell in ["dash", "bash"] {
        let dir = tempfile::tempdir().unwrap();
        let script = "head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2; exit 6";
        let (output, record) = run(shell, &dir.path().join("t"), "10240", script);
        let mark = b"\n[hg-automation: output beyond 10240 bytes was left out]\n";
        assert_eq!(sent(&output.stdout), [&[b'x'; 10240][..], mark].concat(), "{shell}");
        assert_eq!((sent(&output.stderr), record.exit, record.capped), (&b"end\n"[..], Exit::Code(6), true));
        assert_eq!(record.output.stdout, sent(&output.stdout).len() as u64);
    }
}

#[test]
fn a_full_disk_on_the_machine_keeps_neither_the_task_nor_its_record_from_ending() {
    // A small file system of its own, in a mount namespace that ends with its process.
    let dir = tempfile::tempdir().unwrap();
    let script = r#"
        mount -t tmpfs -o size=256k,mode=0700 tasks "$1" || exit 77
        sh "$2" start "$1/t" 1048576 - alone -- sh -c 'head -c 1000000 /dev/zero | tr "\0" x; echo end >&2; exit 6' </dev/null
        echo "exit $?"
        sh "$2" record "$1/t"
        sh "$2" start "$1/u" 1048576 - alone -- echo never </dev/null
        echo "exit $?""#;
    let mut command = Local::new("unshare");
    let place = dir.path().to_str().unwrap();
    let output =
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", place, SCRIPT]).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if matches!(output.status.code(), Some(77 | 1)) && said.is_empty() {
        eprintln!("skipped: only root can mount a small file system");
        return;
    }
    let mut lines = said.lines().map(|line| line.trim_start_matches('x')).filter(|line| !line.is_empty());
    assert_eq!(lines.next(), Some("hg-automation: output follows"));
    assert_eq!(lines.next(), Some("exit 0"), "{}", &said[said.len().saturating_sub(600)..]);
    let record: TaskRecord = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!((record.exit, record.capped), (Exit::Code(6), true));
    assert!(record.output.stdout < 256 << 10);
    assert_eq!(lines.next(), Some("exit 84"), "what cannot be kept is not started");
}

#[test]
fn a_start_that_was_cut_off_never_happens() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let place = token.to_str().unwrap();
    std::fs::create_dir(&token).unwrap();
    assert_eq!(supervise("sh", &["follow", place, "0", "0", "-", "alone"]).status.code(), Some(81));
    let again = supervise("sh", &["start", place, "1024", "-", "alone", "--", "touch", &format!("{place}/ran")]);
    assert_eq!(again.status.code(), Some(81));
    assert!(!token.join("ran").exists());
    let none = dir.path().join("none");
    assert_eq!(supervise("sh", &["follow", none.to_str().unwrap(), "0", "0", "-", "alone"]).status.code(), Some(81));
    let boot = supervise("sh", &["start", none.to_str().unwrap(), "1024", "other", "alone", "--", "true"]);
    assert_eq!((boot.status.code(), none.exists()), (Some(82), false));
}

#[test]
fn a_task_that_is_cancelled_while_it_starts_ends() {
    for shell in ["dash", "bash"] {
        let dir = tempfile::tempdir().unwrap();
        // What stands between the supervisor's number and its first wait takes long.
        let slow = dir.path().join("date");
        std::fs::write(&slow, "#!/bin/sh\nsleep 0.5\nPATH=${PATH#*:}\nexec date \"$@\"\n").unwrap();
        std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let place = dir.path().join("t").to_str().unwrap().to_owned();
        let mut launch = Local::new(shell);
        launch.args([SCRIPT, "launch", &place, "1024", "-", "--", "sleep", "30"]).env("PATH", path);
        assert!(launch.stdin(std::process::Stdio::null()).status().unwrap().success());
        assert_eq!(supervise(shell, &["cancel", &place, "1"]).status.code(), Some(0), "{shell}");
        let record = supervise(shell, &["record", &place]);
        let record: TaskRecord = serde_json::from_slice(&record.stdout).unwrap();
        assert!(record.cancelled && record.exit == Exit::Signal("TERM".into()), "{shell}: {record:?}");
        nothing_lives_soon(&place);
    }
}

#[test]
fn following_ends_with_standard_input_and_leaves_nothing_but_the_task() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("t").to_str().unwrap().to_owned();
    assert!(supervise("sh", &["launch", &place, "1024", "-", "--", "sleep", "30"]).status.success());
    let mut follower = Local::new("sh");
    follower.args([SCRIPT, "follow", &place, "0", "0", "-", "watch"]);
    let mut follower = follower
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(follower.try_wait().unwrap().is_none());
    assert!(alive(&place).iter().any(|line| line.starts_with("tail ")));
    drop(follower.stdin.take());
    assert_eq!(follower.wait().unwrap().code(), Some(85));
    let end = Instant::now() + LIMIT;
    while alive(&place).iter().any(|line| line.starts_with("tail ")) {
        assert!(Instant::now() < end, "{:?}", alive(&place));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(supervise("sh", &["cancel", &place, "1"]).status.success());
    nothing_lives_soon(&place);
}
