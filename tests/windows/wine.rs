//! What only Windows has, as wine has it: `cmd.exe`, job objects, drives, names that it does not take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connection::SshConnector;
use flow::task::durable::Durable;
use model::base::id::TaskId;
use model::connection::{Connection, Process};
use model::exit::Exit;
use model::machine::Platform;
use model::task::{Chunk, Command};
use serde_json::Value;
use support::commands::{LIMIT, run, try_connect};
use support::sshd::user;
use support::tool::Place;
use support::wine::{PYTHON, PYTHONS, Wine};

use super::{TELL, text, told, torture};
use crate::flow::Theatre;

async fn connect(wine: &Wine) -> Box<dyn Connection> {
    try_connect(&wine.machine(), LIMIT, false).await.unwrap()
}

fn python(program: &str) -> Command {
    Command::new("python").args(["-c", program])
}

/// A durable connection to `wine`, with its folder there.
fn durable(theatre: &mut Theatre, wine: &Wine, folder: &str) -> Durable {
    theatre.site.connector = Arc::new(SshConnector::default());
    Durable::new(&theatre.run, &theatre.site, &wine.machine(), None, folder)
}

/// Waits until `there` has something.
async fn until(what: &str, there: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn forty_arguments_arrive_byte_for_byte_in_each_python() {
    for version in PYTHONS {
        let Some(wine) = Wine::start(version, true) else { return };
        let connection = connect(&wine).await;
        let words = torture();
        assert_eq!(words.len(), 40);
        let got = run(&*connection, &python(TELL).args(words.clone())).await;
        assert_eq!((got.exit, got.stderr.as_slice()), (Exit::Code(0), &b""[..]), "{version}");
        assert_eq!(text(got.stdout), told(&words), "{version}");
        let program = "import os, sys; sys.stdout.buffer.write(os.read(0, 300) + os.environ['A'].encode())";
        let all: Vec<u8> = (0..=255).collect();
        let odd = "%PATH% \"x\" & ^ ! \u{e9} \u{1f600}";
        let got = run(&*connection, &python(program).env("A", odd).stdin(all.clone())).await;
        assert_eq!((got.exit, got.stdout), (Exit::Code(0), [all, odd.as_bytes().to_vec()].concat()), "{version}");
    }
}

#[tokio::test]
async fn exit_codes_and_a_users_own_line_are_those_of_windows() {
    let Some(wine) = Wine::start(PYTHON, true) else { return };
    let connection = connect(&wine).await;
    for (code, told) in [(0, 0), (7, 7), (255, 255), (256, 255), (3010, 255)] {
        let got = run(&*connection, &python(&format!("import sys; sys.exit({code})"))).await;
        assert_eq!((got.exit, text(got.stderr).contains("told as 255")), (Exit::Code(told), code > 255), "{code}");
    }
    let guest = guest::of(Platform::Windows);
    let got = run(&*connection, &guest.line("echo a & cd & exit 5")).await;
    assert_eq!((text(got.stdout).as_str(), got.exit), ("a \r\nC:\\home\r\n", Exit::Code(5)));
    let got = run(&*connection, &Command::new("cmd").args(["/c", "echo", "a", "& exit 6"])).await;
    assert_eq!((text(got.stdout).trim_end(), got.exit), ("a", Exit::Code(6)));
    let missing = run(&*connection, &Command::new("echo")).await;
    assert_eq!((missing.exit, text(missing.stderr).contains("`cmd /c`")), (Exit::Code(127), true));
    // A batch file gets what cmd.exe can carry, and nothing that it would change.
    let (folder, path) = wine.folder();
    std::fs::write(folder.path().join("b.bat"), "@echo off\r\necho [\"%~1\"]\r\nexit /b 3\r\n").unwrap();
    let got = run(&*connection, &Command::new(format!("{path}/b.bat")).arg("a & b")).await;
    assert_eq!((text(got.stdout).as_str(), got.exit), ("[\"a & b\"]\r\n", Exit::Code(3)));
    let got = run(&*connection, &Command::new(format!("{path}/b.bat")).arg("%PATH%")).await;
    assert_eq!((got.exit, got.stdout.len()), (Exit::Code(126), 0), "{}", text(got.stderr));
}

#[tokio::test]
async fn a_task_outlives_the_job_object_of_a_killed_session() {
    let Some(wine) = Wine::start(PYTHON, true) else { return };
    let (folder, path) = wine.folder();
    let mut theatre = Theatre::new();
    let durable = durable(&mut theatre, &wine, &format!("{path}/tasks"));
    let program = "import sys, time\nopen(sys.argv[1], 'a').write('x')\n\
                for n in range(40):\n    print('line %d' % n, flush=True)\n    time.sleep(0.25)\nsys.exit(9)";
    let command = python(program).arg(format!("{path}/starts"));
    let id = TaskId::random();
    let mut task = durable.run_task(&id, &command).await.unwrap();
    let (mut stdout, mut kills) = (Vec::new(), 0);
    while let Some(chunk) = task.next().await {
        let Chunk::Stdout(bytes) = chunk else { panic!("{chunk:?}") };
        stdout.extend(bytes);
        if stdout.len() > 60 * (kills + 1) && kills < 2 {
            kills += 1;
            wine.sshd.kill_sessions();
        }
    }
    let whole: String = (0..40).map(|n| format!("line {n}\r\n")).collect();
    assert_eq!((text(stdout), task.exit(), kills), (whole, Exit::Code(9), 2));
    let record = task.record().unwrap();
    assert!(record.output == task.offsets() && !record.cancelled, "{record:?}");
    // It is not started by another call either.
    let mut again = durable.run_task(&id, &command).await.unwrap();
    while again.next().await.is_some() {}
    assert_eq!(
        (again.exit(), std::fs::read_to_string(folder.path().join("starts")).unwrap().as_str()),
        (Exit::Code(9), "x")
    );
}

#[tokio::test]
async fn what_does_not_break_away_ends_with_the_session_and_what_may_not_is_refused() {
    let Some(wine) = Wine::start(PYTHON, true) else { return };
    let (folder, path) = wine.folder();
    let program = "import subprocess, sys, time\n\
                for name, flags in (('stays', 0x01000008), ('goes', 0x8)):\n    \
                subprocess.Popen([sys.executable, '-c', 'import sys, time; time.sleep(3); open(sys.argv[1], chr(119))', \
                sys.argv[1] + '/' + name], creationflags=flags, stdin=-3, stdout=-3, stderr=-3)\n\
                print('up', flush=True)\ntime.sleep(100)";
    let connection = connect(&wine).await;
    let mut process = connection.start(&python(program).arg(&path)).await.unwrap();
    assert_eq!(process.next().await, Some(Chunk::Stdout(b"up\r\n".to_vec())));
    wine.sshd.kill_sessions();
    until("what broke away ended", || folder.path().join("stays").exists()).await;
    assert!(!folder.path().join("goes").exists());

    let Some(closed) = Wine::start(PYTHON, false) else { return };
    let mut theatre = Theatre::new();
    let durable = durable(&mut theatre, &closed, &format!("{path}/tasks"));
    let mut task = durable.run_task(&TaskId::random(), &python("print(1)")).await.unwrap();
    while task.next().await.is_some() {}
    let Exit::Lost(why) = task.exit() else { panic!("{:?}", task.exit()) };
    assert!(why.contains("the machine cannot start it") && why.contains("break away"), "{why}");
}

#[tokio::test]
async fn a_cancelled_task_ends_with_all_that_it_started() {
    let Some(wine) = Wine::start(PYTHON, true) else { return };
    let (folder, path) = wine.folder();
    let mut theatre = Theatre::new();
    let durable = durable(&mut theatre, &wine, &format!("{path}/tasks"));
    let beat = "import sys, time\nwhile True:\n    open(sys.argv[1], 'a').write('x')\n    time.sleep(0.1)";
    let program = "import signal, subprocess, sys, time\nsignal.signal(signal.SIGBREAK, signal.SIG_IGN)\n\
                subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]], creationflags=8)\n\
                print('up', flush=True)\ntime.sleep(100)";
    let id = TaskId::random();
    let command = python(program).arg(beat).arg(format!("{path}/beat"));
    let mut task = durable.run_task(&id, &command).await.unwrap();
    assert_eq!(task.next().await, Some(Chunk::Stdout(b"up\r\n".to_vec())));
    let beats = || std::fs::metadata(folder.path().join("beat")).map_or(0, |found| found.len());
    until("the child does not start", || beats() > 0).await;
    durable.cancel_task(&id).await.unwrap();
    let last = beats();
    while task.next().await.is_some() {}
    assert_eq!(task.exit(), Exit::Signal("KILL".to_owned()));
    assert!(task.record().unwrap().cancelled);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(beats(), last);
}

#[tokio::test]
async fn the_exit_status_counts_where_a_survivor_holds_the_channel() {
    let Some(wine) = Wine::start(PYTHON, true) else { return };
    let connection = connect(&wine).await;
    let program = "import subprocess, sys\n\
                subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'], creationflags=0x01000000, stdin=0, stdout=1, \
                stderr=2)\nprint('done', flush=True)\nsys.exit(4)";
    let began = Instant::now();
    let got = run(&*connection, &python(program)).await;
    assert_eq!((got.stdout.as_slice(), got.exit), (&b"done\r\n"[..], Exit::Code(4)));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn files_and_trees_travel_by_paths_with_a_drive() {
    let Some(wine) = Wine::start(PYTHON, true) else { return };
    let connection = connect(&wine).await;
    let (folder, path) = wine.folder();
    support::contract::writes_and_reads_small_files(&*connection, &format!("{path}/")).await;
    assert!(folder.path().join("small").exists());
    let local = tempfile::tempdir().unwrap();
    let tree = local.path().join("tree");
    std::fs::create_dir_all(tree.join("a b/empty")).unwrap();
    std::fs::write(tree.join("a b/\u{e9}\u{20ac}.txt"), "one\r\n\n").unwrap();
    std::fs::write(tree.join("two"), vec![7; 3_000_000]).unwrap();
    let up = connection.upload(&tree, &format!("{path}/up"), &|_| ()).await.unwrap();
    assert_eq!((up.files, up.bytes), (2, 3_000_006));
    assert_eq!(std::fs::read(folder.path().join("up/a b/\u{e9}\u{20ac}.txt")).unwrap(), b"one\r\n\n");
    let back = local.path().join("back");
    assert_eq!(connection.download(&format!("{path}/up"), &back, &|_| ()).await.unwrap(), up);
    assert_eq!(std::fs::read(back.join("a b/\u{e9}\u{20ac}.txt")).unwrap(), b"one\r\n\n");
    assert!(back.join("a b/empty").is_dir());
    // A large one goes over channels of its own, and its partial files are found and compared.
    let large = local.path().join("large");
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&large, &bytes).unwrap();
    connection.upload(&large, &format!("{path}/large"), &|_| ()).await.unwrap();
    assert!(std::fs::read(folder.path().join("large")).unwrap() == bytes);
    connection.download(&format!("{path}/large"), &local.path().join("again"), &|_| ()).await.unwrap();
    assert!(std::fs::read(local.path().join("again")).unwrap() == bytes);
    // Names that Windows has not are refused as they are called, and nothing of the tree comes.
    for name in ["a:b", "nul.txt", "dot.", "blank ", "back\\slash", "TWO"] {
        std::fs::write(tree.join(name), "x").unwrap();
        let error = connection.upload(&tree, &format!("{path}/odd"), &|_| ()).await.unwrap_err().to_string();
        assert!(error.contains(name.trim_end_matches("\\slash")) && error.contains("nothing was copied"), "{error}");
        assert!(!folder.path().join("odd").exists());
        std::fs::remove_file(tree.join(name)).unwrap();
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("partial")), "{left:?}");
}

#[tokio::test]
async fn a_sync_ends_where_nothing_is_to_be_sent() {
    use flow::transfer::sync::{SyncRequest, sync};
    let Some(wine) = Wine::start(PYTHON, true) else { return };
    let (folder, path) = wine.folder();
    let theatre = Theatre::new();
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir(here.path().join("sub")).unwrap();
    std::fs::write(here.path().join("sub/one"), "one").unwrap();
    std::fs::write(here.path().join("two"), "two").unwrap();
    let to = format!("{path}/there");
    let wanted =
        SyncRequest { from: here.path().to_owned(), paths: None, to, memory: None, max_delete: 9, dry_run: false };
    let go = async || {
        let connecting = async { Ok(connect(&wine).await) };
        let done = sync(connecting, &theatre.run.teller, &wanted).await.unwrap();
        (done.sent, done.deleted, done.unchanged)
    };
    assert_eq!(go().await, (3, 0, 0));
    // Permissions are remembered, as Windows has none.
    assert_eq!(go().await, (0, 0, 3));
    std::fs::write(folder.path().join("there/two"), "TWO").unwrap();
    assert_eq!(go().await, (1, 0, 2));
    assert_eq!(std::fs::read(folder.path().join("there/two")).unwrap(), b"two");
    std::fs::remove_file(here.path().join("two")).unwrap();
    assert_eq!(go().await, (0, 1, 2));
    assert!(!folder.path().join("there/two").exists());
}

#[tokio::test]
async fn a_folder_that_others_may_enter_is_not_ours() {
    use std::os::unix::fs::PermissionsExt;
    let Some(wine) = Wine::start(PYTHON, true) else { return };
    let connection = connect(&wine).await;
    let guest = guest::of(Platform::Windows);
    let (folder, path) = wine.folder();
    let code = async |name: &str| run(&*connection, &guest.own_folder(&format!("{path}/{name}"))).await.exit;
    assert_eq!((code("own").await, code("own").await), (Exit::Code(0), Exit::Code(0)));
    let mode = std::fs::metadata(folder.path().join("own")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
    std::fs::create_dir(folder.path().join("open")).unwrap();
    std::fs::set_permissions(folder.path().join("open"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!((code("open").await, code("file").await), (Exit::Code(73), Exit::Code(73)));
}

#[test]
fn a_machine_with_windows_is_held_against_its_contract() {
    for python in [PYTHON, "none"] {
        let Some(wine) = Wine::start(python, true) else { return };
        let place = Place::new();
        let key: Vec<&str> = wine.sshd.host.public_openssh.split(' ').take(2).collect();
        std::fs::create_dir(place.home.join(".ssh")).unwrap();
        let known = format!("[127.0.0.1]:{} {}\n", wine.sshd.port, key.join(" "));
        std::fs::write(place.home.join(".ssh/known_hosts"), known).unwrap();
        let target = format!("{}@127.0.0.1:{}", user(), wine.sshd.port);
        let identity = wine.sshd.dir.path().join("identity");
        let on = ["--platform", "windows", "--identity", identity.to_str().unwrap()];
        let done = place.run(&[&["machine", "check", &target, "--json"][..], &on].concat()).expect(3);
        let checks = done.json();
        let of = |name: &str| checks.as_array().unwrap().iter().find(|check| check["id"] == name).cloned();
        if python == PYTHON {
            // What Mercurial's tests ask beyond the rest is not there; a stand-in for a whole machine has it (`cli::standin`).
            let lacks = |check: &&Value| check["required"] == true && check["ok"] == false;
            let lacking: Vec<&str> =
                checks.as_array().unwrap().iter().filter(lacks).filter_map(|check| check["id"].as_str()).collect();
            let of_mercurial = |name: &&str| name.contains("C:/hgdev") || name.contains("`hg`");
            assert!(lacking.len() == 4 && lacking.iter().all(of_mercurial), "{lacking:?}");
            for name in ["ssh", "sftp", "python", "login shell", "processes outlive a session"] {
                assert_eq!(of(name).unwrap()["ok"], true, "{name}: {checks}");
            }
            assert_eq!(of("paths of more than 260 characters").unwrap()["required"], false);
        } else {
            let broken = of("login shell runs commands").unwrap().to_string();
            assert!(broken.contains("no `python` on the path of user"), "{broken}");
        }
        let left: Vec<_> = std::fs::read_dir(wine.place("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("hg-automation")), "{left:?}");
        let tests = [&["run-tests-linux", "--host", &target, "test-ok.t"][..], &on].concat();
        place
            .run(&tests)
            .expect(2)
            .tells(&["this needs a machine that has linux, and that of somebody else's counts as windows"]);
        place.assert_clean();
    }
}
