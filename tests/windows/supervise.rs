//! The supervisor of tasks, spoken to as the driver speaks to it: what it keeps, what it ends, and what it does not begin. Each with
//! this computer's Python, and with one for Windows where there is wine.

use std::any::Any;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use model::connection::Connection;
use model::exit::Exit;
use model::machine::Platform;
use model::task::{Chunk, Command, TaskRecord};
use serde_json::json;
use support::commands::{LIMIT, Output, drain, run, try_connect};
use support::sshd::Sshd;
use support::tool::{is_root, skip};
use support::wine::{PYTHON, Wine};

use super::connect;

/// What a child does until it is ended: it shows that it lives, in the file that its argument names.
const BEAT: &str = "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                    while True:\n    open(sys.argv[1], 'a').write('x')\n    time.sleep(0.05)";

/// Starts [`BEAT`] away from this process, as far as the system has it; its arguments are that program and the file.
const LEAVE: &str = "import os, subprocess, sys, time\n\
                     def leave(name):\n    away = {'creationflags': 0x208} if os.name == 'nt' else {'start_new_session': True}\n    \
                     quiet = subprocess.DEVNULL\n    \
                     subprocess.Popen([sys.executable, '-c', sys.argv[1], name], stdin=quiet, stdout=quiet, stderr=quiet, **away)\n    \
                     while not os.path.exists(name): time.sleep(0.02)\n";

/// A machine with the supervisor in a folder.
struct Scene {
    name: &'static str,
    connection: Box<dyn Connection>,
    /// The folder, as the machine calls it and as this computer does.
    there: String,
    here: PathBuf,
    _held: Vec<Box<dyn Any>>,
}

impl Scene {
    /// Both machines, or one where there is no wine.
    async fn all() -> Vec<Self> {
        let sshd = Sshd::with_python();
        let here = sshd.folder("tasks");
        let connection = connect(&sshd).await;
        let there = here.to_str().unwrap().to_owned();
        let mut scenes = vec![Self { name: "portable", connection, there, here, _held: vec![Box::new(sshd)] }];
        if let Some(wine) = Wine::start(PYTHON, true) {
            let (folder, there) = wine.folder();
            let connection = try_connect(&wine.machine(), LIMIT, false).await.unwrap();
            let here = folder.path().to_owned();
            scenes.push(Self { name: "wine", connection, there, here, _held: vec![Box::new(folder), Box::new(wine)] });
        }
        let source = support::root().join("remote/windows/supervise.py");
        for scene in &scenes {
            std::fs::copy(&source, scene.here.join("supervise.py")).unwrap();
        }
        scenes
    }

    fn command(&self, words: &[&str]) -> Command {
        let script = guest::of(Platform::Windows).script(&format!("{}/supervise.py", self.there));
        script.args(words.iter().copied())
    }

    async fn supervise(&self, words: &[&str]) -> Output {
        run(&*self.connection, &self.command(words)).await
    }

    fn place(&self, task: &str) -> String {
        format!("{}/{task}", self.there)
    }

    /// Runs a task to its end; gives what was followed, and the record.
    async fn run(&self, place: &str, cap: &str, program: &str, words: &[&str]) -> (Output, TaskRecord) {
        let done = self.supervise(&["start", place, cap, "-", "alone", &task(program, words)]).await;
        assert_eq!(done.exit, Exit::Code(0), "{}: {}", self.name, String::from_utf8_lossy(&done.stderr));
        (done, self.record(place).await)
    }

    async fn record(&self, place: &str) -> TaskRecord {
        let told = self.supervise(&["record", place]).await;
        assert_eq!(told.exit, Exit::Code(0), "{}: {}", self.name, String::from_utf8_lossy(&told.stderr));
        serde_json::from_slice(&told.stdout).unwrap()
    }

    fn beats(&self, file: &str) -> u64 {
        std::fs::metadata(self.here.join(file)).map_or(0, |found| found.len())
    }

    /// Waits until a child beats.
    async fn beating(&self, file: &str) {
        let (end, first) = (Instant::now() + LIMIT, self.beats(file));
        while self.beats(file) <= first {
            assert!(Instant::now() < end, "{}: nothing beats", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails where a child still beats.
    async fn assert_still(&self, file: &str) {
        let last = self.beats(file);
        assert!(last > 0, "{}: `{file}` never beat", self.name);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(self.beats(file), last, "{}: `{file}` still beats", self.name);
    }
}

/// The command of a task that runs a program for Python.
fn task(program: &str, words: &[&str]) -> String {
    let all = [&["python", "-c", program], words].concat();
    json!({"words": all, "env": []}).to_string()
}

/// What was followed, without its first line.
fn sent(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"hg-automation: output follows\n").unwrap()
}

#[tokio::test]
async fn what_a_task_leaves_behind_dies_at_its_end() {
    for scene in Scene::all().await {
        let program = format!("{LEAVE}leave(sys.argv[2])\nleave(sys.argv[3])\nprint('done', flush=True)\nsys.exit(5)");
        let (one, other) = (scene.place("one"), scene.place("other"));
        let (done, record) = scene.run(&scene.place("t"), "1024", &program, &[BEAT, &one, &other]).await;
        assert_eq!(String::from_utf8_lossy(sent(&done.stdout)).trim_end(), "done", "{}", scene.name);
        assert_eq!((record.exit, record.cancelled), (Exit::Code(5), false), "{}", scene.name);
        scene.assert_still("one").await;
        scene.assert_still("other").await;
    }
}

#[tokio::test]
async fn output_beyond_the_cap_is_left_out_with_a_mark_and_the_task_goes_on() {
    for scene in Scene::all().await {
        let program =
            "import os, sys\nfor _ in range(300):\n    os.write(1, b'x' * 10000)\nos.write(2, b'end')\nsys.exit(6)";
        let (done, record) = scene.run(&scene.place("t"), "10240", program, &[]).await;
        let mark = b"\n[hg-automation: output beyond 10240 bytes was left out]\n";
        assert!(sent(&done.stdout) == [&[b'x'; 10240][..], mark].concat(), "{}: {}", scene.name, done.stdout.len());
        assert_eq!(
            (sent(&done.stderr), record.exit, record.capped),
            (&b"end"[..], Exit::Code(6), true),
            "{}",
            scene.name
        );
        assert_eq!(record.output.stdout, sent(&done.stdout).len() as u64, "{}", scene.name);
        // What just fits is no more than the cap.
        let program = "import os\nos.write(1, b'x' * 10240)";
        let (done, record) = scene.run(&scene.place("u"), "10240", program, &[]).await;
        assert_eq!((sent(&done.stdout).len(), record.capped), (10240, false), "{}", scene.name);
    }
}

/// A small file system; it goes with this value.
struct Small(PathBuf);

impl Small {
    fn at(folder: PathBuf) -> Option<Self> {
        std::fs::create_dir(&folder).unwrap();
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&folder).status();
        mounted.unwrap().success().then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let gone = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(gone.unwrap().success() || std::thread::panicking(), "{}", self.0.display());
    }
}

#[tokio::test]
async fn a_full_disk_on_the_machine_keeps_neither_the_task_nor_its_record_from_ending() {
    if !is_root() {
        return skip("only root can mount a small file system");
    }
    for scene in Scene::all().await {
        let Some(_small) = Small::at(scene.here.join("small")) else { return skip("nobody may mount anything here") };
        let program =
            "import os, sys\nfor _ in range(100):\n    os.write(1, b'x' * 10000)\nos.write(2, b'end')\nsys.exit(6)";
        let (done, record) = scene.run(&scene.place("small/t"), "1048576", program, &[]).await;
        assert_eq!((record.exit, record.capped), (Exit::Code(6), true), "{}", scene.name);
        assert!((1..256 << 10).contains(&record.output.stdout), "{}: {:?}", scene.name, record.output);
        assert_eq!(sent(&done.stdout).len() as u64, record.output.stdout, "{}", scene.name);
        // What cannot be kept is not started.
        let place = scene.place("small/u");
        let ran = scene.place("ran");
        let refused = task("import sys; open(sys.argv[1], 'w')", &[&ran]);
        let done = scene.supervise(&["start", &place, "1048576", "-", "alone", &refused]).await;
        assert_eq!(done.exit, Exit::Code(84), "{}: {}", scene.name, String::from_utf8_lossy(&done.stderr));
        assert!(String::from_utf8_lossy(&done.stderr).contains("no room for"), "{}", scene.name);
        assert!(!scene.here.join("ran").exists(), "{}", scene.name);
    }
}

#[tokio::test]
async fn a_task_that_is_cancelled_while_it_starts_ends() {
    for scene in Scene::all().await {
        for at in 0..3 {
            let (name, beat) = (format!("t{at}"), format!("beat{at}"));
            let place = scene.place(&name);
            let begin = task(BEAT, &[&scene.place(&beat)]);
            let words = ["launch", &place, "1024", "-", &begin];
            let launching = scene.supervise(&words);
            // From the moment on at which the start has its token.
            let cancelling = async {
                let end = Instant::now() + LIMIT;
                while !scene.here.join(&name).exists() {
                    assert!(Instant::now() < end, "{}: it does not start", scene.name);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                scene.supervise(&["cancel", &place, "1"]).await
            };
            let (_, cancelled) = futures_util::future::join(launching, cancelling).await;
            let said = String::from_utf8_lossy(&cancelled.stderr);
            assert_eq!(cancelled.exit, Exit::Code(0), "{}: {said}", scene.name);
            let record = scene.record(&place).await;
            assert!(record.cancelled && matches!(record.exit, Exit::Signal(_)), "{}: {record:?}", scene.name);
            let last = scene.beats(&beat);
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(scene.beats(&beat), last, "{}: it still beats", scene.name);
            // It cannot be started any more.
            let again = scene.supervise(&["start", &place, "1024", "-", "alone", &begin]).await;
            assert_eq!((again.exit, scene.beats(&beat)), (Exit::Code(0), last), "{}", scene.name);
        }
    }
}

#[tokio::test]
async fn following_ends_with_standard_input_and_leaves_nothing_but_the_task() {
    for scene in Scene::all().await {
        let (place, beat) = (scene.place("t"), scene.place("beat"));
        let begin = scene.supervise(&["launch", &place, "1024", "-", &task(BEAT, &[&beat])]).await;
        assert_eq!(begin.exit, Exit::Code(0), "{}: {}", scene.name, String::from_utf8_lossy(&begin.stderr));
        scene.beating("beat").await;
        let follow = Command { stdin: None, ..scene.command(&["follow", &place, "0", "0", "-", "watch"]) };
        let mut follower = scene.connection.start(&follow).await.unwrap();
        let stdin = follower.take_stdin();
        let first = tokio::time::timeout(LIMIT, follower.next()).await.expect("nothing is followed");
        assert!(matches!(first, Some(Chunk::Stdout(_) | Chunk::Stderr(_))), "{}: {first:?}", scene.name);
        drop(stdin);
        let ended = tokio::time::timeout(LIMIT, drain(&mut *follower)).await.expect("the following never ends");
        assert_eq!(ended.exit, Exit::Code(85), "{}", scene.name);
        // The task goes on, until somebody ends it.
        scene.beating("beat").await;
        assert_eq!(scene.supervise(&["cancel", &place, "1"]).await.exit, Exit::Code(0), "{}", scene.name);
        scene.assert_still("beat").await;
    }
}
