//! What of the programs for Windows is not Windows' own, with this computer's Python.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connection::SshConnector;
use flow::task::durable::{Durable, Task};
use guest::Guest;
use model::base::id::TaskId;
use model::connection::Process;
use model::exit::Exit;
use model::machine::Platform;
use model::output::{OutputLimits, run_command};
use model::task::{Chunk, Command, Offsets, TaskRecord};
use support::commands::run;
use support::contract::{hands_out_stdin_once, listing_without, output, writes_and_reads_small_files};
use support::sshd::Sshd;

use super::{TELL, connect, machine, text, told, torture};
use crate::flow::Theatre;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

fn guest() -> &'static dyn Guest {
    guest::of(Platform::Windows)
}

fn python(program: &str) -> Command {
    Command::new("python").args(["-c", program])
}

#[tokio::test]
async fn words_variables_input_and_exit_codes_are_carried_as_they_are() {
    let sshd = Sshd::with_python();
    let connection = connect(&sshd).await;
    let connection = &*connection;
    let words = torture();
    assert_eq!(words.len(), 40);
    let got = run(connection, &python(TELL).args(words.clone())).await;
    assert_eq!(got, output(told(&words), "", Exit::Code(0)));
    let all: Vec<u8> = (0..=255).collect();
    let got = run(connection, &Command::new("cat").stdin(all.clone())).await;
    assert_eq!(got, output(all, "", Exit::Code(0)));
    for (name, value) in [("A", "%PATH% \"x\" \u{e9}"), ("B", "a\nb")] {
        let command = python("import os, sys; sys.stdout.write(os.environ[sys.argv[1]])").arg(name).env(name, value);
        assert_eq!(run(connection, &command).await, output(value, "", Exit::Code(0)));
    }
    assert_eq!(run(connection, &python("import sys; sys.exit(255)")).await.exit, Exit::Code(255));
    let missing = run(connection, &Command::new("/no/such/program")).await;
    assert_eq!((missing.exit, text(missing.stderr).contains("/no/such/program")), (Exit::Code(127), true));
    hands_out_stdin_once(connection).await;
    let nul = connection.start(&Command::new("echo").arg("a\0b")).await;
    assert!(nul.is_err_and(|error| error.to_string().contains("NUL")));
}

#[tokio::test]
async fn the_exit_status_counts_where_a_survivor_holds_the_channel() {
    let sshd = Sshd::with_python();
    let program = "import subprocess, sys; subprocess.Popen(['sleep', '30']); print('done', flush=True); sys.exit(4)";
    let began = Instant::now();
    let got = run(&*connect(&sshd).await, &python(program)).await;
    assert_eq!(got, output("done\n", "", Exit::Code(4)));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn files_are_asked_for_as_on_linux() {
    let sshd = Sshd::with_python();
    let connection = connect(&sshd).await;
    let connection = &*connection;
    let folder = sshd.folder("remote");
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    writes_and_reads_small_files(connection, &format!("{}/", folder.display())).await;
    let code = async |command: Command| run(connection, &command).await.exit;
    assert_eq!(code(guest().own_folder(&at("own"))).await, Exit::Code(0));
    assert_eq!(code(guest().own_folder(&at("own"))).await, Exit::Code(0));
    std::os::unix::fs::symlink("own", folder.join("link")).unwrap();
    assert_eq!(code(guest().own_folder(&at("link"))).await, Exit::Code(73));
    assert_eq!(code(guest().is_folder(&at("own"))).await, Exit::Code(0));
    assert_eq!(code(guest().is_folder(&at("small"))).await, Exit::Code(1));
    std::fs::write(folder.join("own/file"), "0123456789").unwrap();
    let out = async |command: Command| run(connection, &command).await.stdout;
    assert_eq!(out(guest().file_ends(&at("own/file"), 2)).await, b"10\n0189");
    assert_eq!(out(guest().file_ends(&at("own/file"), 5)).await, b"10\n0123456789");
    assert_eq!(out(guest().file_piece(&at("own/file"), 3, 4)).await, b"3456");
    let listed = out(guest().list_files(&[at("own"), at("none")])).await;
    assert_eq!(listed, format!("d0 {0}\0r10 {0}/file\0", at("own")).into_bytes());
    std::fs::write(folder.join("own/.x.hg-partial-0123456789abcdef"), "").unwrap();
    std::fs::write(folder.join("own/.x.hg-partial-01234567aaaaaaaa"), "").unwrap();
    let (start, kept) = (at("own/.x.hg-partial-01234567"), at("own/.x.hg-partial-01234567aaaaaaaa"));
    assert_eq!(code(guest().remove_stale(&start, &kept)).await, Exit::Code(0));
    assert_eq!(std::fs::read_dir(folder.join("own")).unwrap().count(), 2);
    assert_eq!(code(guest().remove_folder(&at("link"))).await, Exit::Code(0));
    assert!(folder.join("own/file").exists() && !folder.join("link").exists());
    assert_eq!(code(guest().remove_folder(&at("own"))).await, Exit::Code(0));
    assert!(!folder.join("own").exists());
}

#[tokio::test]
async fn a_file_is_followed_until_nobody_listens() {
    let sshd = Sshd::with_python();
    let connection = connect(&sshd).await;
    let path = sshd.dir.path().join("grows");
    let mut process = connection.start(&guest().follow_file(path.to_str().unwrap(), 2)).await.unwrap();
    let stdin = process.take_stdin();
    std::fs::write(&path, "one").unwrap();
    assert_eq!(process.next().await, Some(Chunk::Stdout(b"e".to_vec())));
    std::fs::write(&path, "one, two").unwrap();
    assert_eq!(process.next().await, Some(Chunk::Stdout(b", two".to_vec())));
    drop(stdin);
    assert_eq!((process.next().await, process.exit()), (None, Exit::Code(0)));
}

#[tokio::test]
async fn trees_go_there_and_back() {
    let sshd = Sshd::with_python();
    let connection = connect(&sshd).await;
    let remote = format!("{}/", sshd.folder("remote").display());
    support::contract::copies_files(&*connection, &remote, 5_000_000).await;
    let left = support::contract::listing(&sshd.folder("remote"));
    assert!(left.iter().all(|(path, ..)| !path.contains("partial")), "{left:?}");
}

#[tokio::test]
async fn a_sync_sends_what_differs_and_removes_what_it_sent() {
    use flow::transfer::sync::{SyncRequest, SyncSummary, sync};
    let sshd = Sshd::with_python();
    let theatre = Theatre::new();
    let (here, there) = (sshd.folder("here"), sshd.dir.path().join("there"));
    let wanted = SyncRequest {
        from: here.clone(),
        paths: None,
        to: there.to_str().unwrap().to_owned(),
        memory: None,
        max_delete: 9,
        dry_run: false,
    };
    let go = async || -> SyncSummary {
        let connecting = async { Ok(connect(&sshd).await) };
        sync(connecting, &theatre.run.teller, &wanted).await.unwrap()
    };
    std::fs::create_dir(here.join("a b")).unwrap();
    for name in ["one", "two", "a b/three \u{e9}"] {
        std::fs::write(here.join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("one", here.join("link")).unwrap();
    let same = |here: &Path| {
        assert_eq!(listing_without(here, "none"), listing_without(&there, ".hg-automation-sync"));
    };
    let done = go().await;
    assert_eq!((done.sent, done.deleted), (5, 0));
    same(&here);
    let done = go().await;
    assert_eq!((done.sent, done.unchanged), (0, 5), "{done:?}");
    std::fs::remove_file(here.join("two")).unwrap();
    std::fs::remove_dir_all(here.join("a b")).unwrap();
    std::fs::write(here.join("one"), "changed").unwrap();
    let done = go().await;
    assert_eq!((done.sent, done.deleted), (1, 3), "{done:?}");
    same(&here);
    // What somebody else changed there is not removed, and what nobody sent stays.
    std::fs::write(there.join("one"), "theirs").unwrap();
    std::fs::write(there.join("own"), "theirs").unwrap();
    std::fs::remove_file(here.join("one")).unwrap();
    let done = go().await;
    assert_eq!((done.deleted, done.kept), (0, 2), "{done:?}");
    assert!(there.join("one").exists() && there.join("own").exists());
}

/// A server, and a durable connection to it.
struct Scene {
    theatre: Theatre,
    sshd: Sshd,
}

impl Scene {
    fn new() -> Self {
        let mut theatre = Theatre::new();
        theatre.site.connector = Arc::new(SshConnector::default());
        Self { theatre, sshd: Sshd::with_python() }
    }

    fn durable(&self) -> Durable {
        let folder = self.sshd.dir.path().join("tasks");
        Durable::new(&self.theatre.run, &self.theatre.site, &machine(&self.sshd), None, folder.to_str().unwrap())
    }
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

#[tokio::test]
async fn a_task_outlives_killed_sessions_and_is_followed_from_its_byte() {
    let scene = Scene::new();
    let program = "import sys\nfor n in range(300000):\n    sys.stdout.write('%09d the quick brown fox\\n' % n)\n\
                sys.stderr.write('end')\nsys.exit(7)";
    let whole: Vec<u8> = (0..300_000).flat_map(|n| format!("{n:09} the quick brown fox\n").into_bytes()).collect();
    let (durable, id) = (scene.durable(), TaskId::random());
    let mut task = durable.run_task(&id, &python(program)).await.unwrap();
    let (mut kills, step) = (0, whole.len() / 6);
    let left = drain(&mut task, |seen| {
        if kills < 5 && seen > (kills + 1) * step {
            kills += 1;
            scene.sshd.kill_sessions();
        }
    })
    .await;
    assert_eq!((kills, left.exit, left.stderr.as_slice()), (5, Exit::Code(7), &b"end"[..]));
    assert!(left.stdout == whole, "{} bytes in place of {}", left.stdout.len(), whole.len());
    let record = left.record.unwrap();
    assert!(record.output == task.offsets() && !record.capped && !record.cancelled && record.peak_memory.is_some());
    // It is read from a file, and not asked for.
    let file = std::fs::read(durable.guest().record_file(durable.folder(), &id).unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<TaskRecord>(&file).unwrap().output, task.offsets());
}

#[tokio::test]
async fn a_start_that_is_repeated_starts_once() {
    let scene = Scene::new();
    let (first, second) = (scene.durable(), scene.durable());
    let counter = scene.sshd.dir.path().join("counter");
    let id = TaskId::random();
    let program = "import sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(0.3); print('done')";
    let command = python(program).arg(counter.to_str().unwrap());
    let starts = (0..8).map(|n| {
        let (durable, id, command) = (if n % 2 == 0 { &first } else { &second }, &id, &command);
        async move { drain(&mut durable.run_task(id, command).await.unwrap(), |_| ()).await }
    });
    for left in futures_util::future::join_all(starts).await {
        assert_eq!((left.stdout.as_slice(), left.exit), (&b"done\n"[..], Exit::Code(0)));
    }
    assert_eq!(std::fs::read_to_string(counter).unwrap(), "x");
}

#[tokio::test]
async fn a_cancelled_task_ends_with_all_that_it_started() {
    let scene = Scene::new();
    let durable = scene.durable();
    let id = TaskId::random();
    let program = "import signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n\
                print(child.pid, flush=True)\ntime.sleep(100)";
    let mut task = durable.run_task(&id, &python(program)).await.unwrap();
    let Some(Chunk::Stdout(pid)) = task.next().await else { panic!("it does not start") };
    let pid = text(pid);
    durable.cancel_task(&id).await.unwrap();
    // What nobody waits for stays as a zombie where there is no init.
    let state = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    let left = drain(&mut task, |_| ()).await;
    assert_eq!((left.exit, left.record.unwrap().cancelled), (Exit::Signal("KILL".to_owned()), true));
    // One that was not started when it was cancelled never starts.
    let never = TaskId::random();
    durable.cancel_task(&never).await.unwrap();
    let left = drain(&mut durable.run_task(&never, &python("print(1)")).await.unwrap(), |_| ()).await;
    assert_eq!((left.stdout.as_slice(), left.exit), (&b""[..], Exit::Lost("it was never started".to_owned())));
}

#[tokio::test]
async fn another_boot_and_a_killed_supervisor_lose_the_task_and_say_so() {
    let scene = Scene::new();
    let id = TaskId::random();
    let program = "import time; print('one', flush=True); time.sleep(100)";
    let mut task = scene.durable().run_task(&id, &python(program)).await.unwrap();
    assert!(task.next().await.is_some());
    let place = scene.sshd.dir.path().join("tasks").join(id.as_str());
    let boot = std::fs::read(place.join("boot")).unwrap();
    std::fs::write(place.join("boot"), "another\n").unwrap();
    let left = drain(&mut scene.durable().follow_task(&id, Offsets::default()), |_| ()).await;
    assert_eq!(left.exit, Exit::Lost("the machine was booted again, which ended the task".to_owned()));
    std::fs::write(place.join("boot"), boot).unwrap();
    let pid = std::fs::read_to_string(place.join("pid")).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let left = drain(&mut task, |_| ()).await;
    assert_eq!(left.exit, Exit::Lost("its supervisor on the machine was killed".to_owned()));
}

#[tokio::test]
async fn what_a_task_is_given_reaches_it_and_what_cannot_start_says_why() {
    let scene = Scene::new();
    let durable = scene.durable();
    let words = torture();
    let mut task = durable.run_task(&TaskId::random(), &python(TELL).args(words.clone())).await.unwrap();
    assert_eq!(text(drain(&mut task, |_| ()).await.stdout), told(&words));
    let command =
        python("import os, sys; sys.stdout.write(sys.stdin.read() + os.environ['A'])").env("A", "b\"%\n").stdin("in ");
    let done = run_command(&durable, &command, OutputLimits::SMALL).await.unwrap();
    assert_eq!((done.stdout_text().as_str(), done.exit), ("in b\"%\n", Exit::Code(0)));
    let left = drain(&mut durable.run_task(&TaskId::random(), &Command::new("no-such")).await.unwrap(), |_| ()).await;
    assert_eq!(left.exit, Exit::Code(127));
    assert!(text(left.stderr).contains("there is no program `no-such`"));
}

#[tokio::test]
async fn a_run_leaves_nothing_and_holds_what_it_names() {
    let scene = Scene::new();
    let durable = scene.durable();
    durable.prepare().await.unwrap();
    let (folder, machine) = (durable.folder().to_owned(), scene.sshd.folder("machine"));
    let [check, hold] = guest().contract_check();
    for file in [&check, &hold] {
        std::fs::write(Path::new(&folder).join(&*file.name), &*file.text).unwrap();
    }
    let script = |name: &str| guest().script(&format!("{folder}/{name}"));
    let machine = machine.to_str().unwrap();
    let mut held = durable
        .run_task(&TaskId::random(), &script(&hold.name).args([machine, "run-1", "60", "ann on a desk"]))
        .await
        .unwrap();
    assert_eq!(held.next().await, Some(Chunk::Stdout(b"held\n".to_vec())));
    let connection = durable.direct().await.unwrap();
    let who = run(&*connection, &script(&hold.name).args(["who", machine])).await;
    let who = text(who.stdout);
    assert!(who.starts_with("run-1 20") && who.ends_with("Z ann on a desk\n"), "{who}");
    let checked = run(&*connection, &script(&check.name)).await;
    assert_eq!(checked.exit, Exit::Code(0), "{}", text(checked.stderr));
    assert!(text(checked.stdout).contains("\"clause\": \"python\", \"ok\": true"));
    let began = Instant::now();
    assert_eq!(run(&*connection, &guest().remove_run(&folder, Some("no-such.py"))).await.exit, Exit::Code(0));
    assert!(!Path::new(&folder).exists() && began.elapsed() < LIMIT);
    let who = run(&*connection, &python(&hold.text).args(["who", machine])).await;
    assert_eq!((who.stdout, who.exit), (Vec::new(), Exit::Code(0)));
}
