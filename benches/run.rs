//! How fast the edit-run loop is: a command on a new machine, on a kept one after a small change in a large tree, one test of Mercurial after
//! a line was changed. Prints a table with each bar and each peer.
//!
//! `cargo bench --bench run` runs it, as root; `-- new`, `tree`, `loop` and `memory` run a part alone. The state directory is
//! `target/bench-state` (or `AUTOMATION_BENCH_STATE`); images are baked there on first use. Peers that are not installed are named and left
//! out; nothing is installed. Everybody takes turns in every round, and figures are medians of whole processes: compare ratios of one run,
//! since computers drift.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod common {
    pub(crate) mod content;
    pub(crate) mod median;
    pub(crate) mod roots;
    pub(crate) mod state;
    pub(crate) mod store;
}

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::content::content;
use common::median::median;
use common::roots::{self, Peer};

const BINARY: &str = env!("CARGO_BIN_EXE_automation");

/// The image of commands.
const IMAGE: &str = "plain";

/// The large tree: that many files of that many bytes, of which so many change.
const FILES: usize = 20_000;
const SIZE: usize = 4 << 10;
const CHANGED: usize = 10;

/// The test of the loop, and the file of which a line is changed before each of its runs.
const TEST: &str = "test-empty-dir.t";
const EDITED: &str = "mercurial/util.py";

/// A part of the bench.
type Part = (&'static str, fn(&Path));

/// A step of a round, and the times that it has taken.
type Step<'a> = (&'a mut Vec<Duration>, Box<dyn Fn() -> Option<Duration> + 'a>);

fn main() {
    // The bench is its own guard, as the tool is.
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = local::internal(&arguments) {
        std::process::exit(code);
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    let state = std::env::var_os("AUTOMATION_BENCH_STATE")
        .map_or_else(|| support::root().join("target/bench-state"), PathBuf::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("Load before it began: {}\n", load.trim());
    println!("| work | ours, median (least to most) | beside it, in the same run | bar |\n|---|---|---|---|");
    let parts: [Part; 4] =
        [("new", on_a_new_machine), ("tree", with_a_large_tree), ("loop", edit_and_test), ("memory", memory_and_help)];
    for (name, run) in parts {
        if is_wanted(name) {
            run(&state);
        }
    }
}

fn row(what: &str, ours: &str, beside: &str, bar: &str) {
    println!("| {what} | {ours} | {beside} | {bar} |");
}

/// The median of times, seconds.
fn seconds(times: &[Duration]) -> f64 {
    median(times.to_vec()).as_secs_f64()
}

/// Times in milliseconds, with the spread.
fn shown(times: &[Duration]) -> String {
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let (least, most) = (millis(times.iter().min()), millis(times.iter().max()));
    format!("{:.0} ms ({least:.0} to {most:.0})", seconds(times) * 1e3)
}

fn automation(state: &Path, folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("--state-path").arg(state).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs the tool to its end, which must be well; how long it took, and what it printed.
fn timed(mut command: Command) -> (Duration, String) {
    let began = Instant::now();
    let done = command.output().unwrap();
    let took = began.elapsed();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    (took, String::from_utf8_lossy(&done.stdout).into_owned())
}

fn bake(state: &Path, image: &str) {
    eprintln!("image {image} (baked on first use) ...");
    let mut command = automation(state, Path::new("/"));
    command.args(["image", "build", image]);
    timed(command);
}

/// A machine that is up, ended with this value.
struct Kept<'a> {
    state: &'a Path,
    id: String,
}

impl<'a> Kept<'a> {
    fn up(state: &'a Path, image: &str) -> Self {
        let mut command = automation(state, Path::new("/"));
        command.args(["machine", "up", "--image", image]);
        Self { state, id: timed(command).1.trim().to_owned() }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let mut command = automation(self.state, Path::new("/"));
        drop(command.args(["machine", "down", &self.id]).output());
    }
}

/// `true` in the files of a small folder, on a machine that is made for it.
fn on_a_new_machine(state: &Path) {
    bake(state, IMAGE);
    let folder = tempfile::tempdir().unwrap();
    for number in 0..20 {
        std::fs::write(folder.path().join(format!("file-{number}")), content(number, SIZE)).unwrap();
    }
    let place = folder.path().display();
    let root = roots::ROOT;
    let peers = [
        ("podman", format!("podman run --rm --network none -v {place}:/mnt -w /mnt --rootfs {root} /bin/true")),
        (
            "systemd-nspawn",
            format!(
                "systemd-nspawn --quiet --register=no --keep-unit --private-network --bind={place}:/mnt --chdir=/mnt -D {root} /bin/true"
            ),
        ),
    ]
    .map(|(name, line)| Peer { name, line });
    let layers = roots::layers(BINARY, state, &format!("{IMAGE}-debian12"));
    let (mut ours, mut theirs) = (Vec::new(), peers.each_ref().map(|_| Ok(Vec::new())));
    for round in 0..=11 {
        let mut command = automation(state, folder.path());
        command.args(["run", "--", "true"]);
        let took = timed(command).0;
        if round > 0 {
            ours.push(took);
        }
        for (peer, times) in peers.iter().zip(&mut theirs) {
            let Ok(known) = times else { continue };
            match peer.time(state, &layers) {
                Ok(took) if round > 0 => known.push(took),
                Ok(_) => {}
                Err(why) => *times = Err(why),
            }
        }
    }
    let beside = peers.iter().zip(&theirs).map(|(peer, times)| match times {
        Err(why) => why.clone(),
        Ok(times) => {
            let more = (seconds(&ours) - seconds(times)) * 1e3;
            let name = peer.name;
            format!("{name} with the folder mounted, without SSH {}: ours takes {more:+.0} ms", shown(times))
        }
    });
    let beside = beside.collect::<Vec<_>>().join("; ");
    row(
        "`automation run -- true`, whole process",
        &shown(&ours),
        &beside,
        "at most 150 ms, and 100 ms more than a peer",
    );
}

/// A large tree of which a little changed, on a machine that has the rest.
fn with_a_large_tree(state: &Path) {
    let sshd = support::sshd::Sshd::start();
    let machine = sshd.machine();
    let other = sshd.dir.path().join("state");
    common::store::store(&other, std::slice::from_ref(&machine));
    let tree = sshd.folder("tree");
    for number in 0..FILES {
        let file = tree.join(name(number));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content(number, SIZE)).unwrap();
    }
    // Files that changed lately are read again, whatever is known of them: a tree that somebody works on is older than that.
    std::thread::sleep(Duration::from_secs(45));
    let (ours, theirs) = (sshd.folder("ours"), sshd.folder("theirs"));
    let ssh = format!(
        "ssh -F none -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -p {}",
        sshd.dir.path().join("identity").display(),
        sshd.port
    );
    let there = format!("{}@127.0.0.1", support::sshd::user());
    let source = format!("{}/", tree.display());
    let sync = || {
        let mut command = automation(&other, &tree);
        command.args(["machine", "sync", &source, &format!("{}:{}", machine.id, ours.display())]);
        timed(command).0
    };
    let rsync = |then: &str| {
        let mut command = Command::new("sh");
        let to = format!("{there}:{}", theirs.display());
        command.args(["-c", &format!("rsync -a -e '{ssh}' {source} {to} {then}")]).stdin(Stdio::null());
        timed(command).0
    };
    bake(state, IMAGE);
    let kept = Kept::up(state, IMAGE);
    let run = || {
        let mut command = automation(state, &tree);
        command.args(["run", "--machine", &kept.id, "--", "true"]);
        timed(command).0
    };
    let has_rsync = Command::new("rsync").arg("--version").output().is_ok();
    let then = format!("&& {ssh} {there} true");
    let (mut syncs, mut rsyncs, mut runs, mut loops) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut steps: Vec<Step<'_>> = vec![
        (&mut syncs, Box::new(|| Some(sync()))),
        (&mut rsyncs, Box::new(|| has_rsync.then(|| rsync("")))),
        (&mut runs, Box::new(|| Some(run()))),
        (&mut loops, Box::new(|| has_rsync.then(|| rsync(&then)))),
    ];
    for round in 0..=9 {
        for (at, (times, step)) in steps.iter_mut().enumerate() {
            // A file of the same size that changed within a second of the last copy is the same to `rsync`.
            std::thread::sleep(Duration::from_millis(1100));
            for number in (0..CHANGED).map(|n| n * (FILES / CHANGED)) {
                std::fs::write(tree.join(name(number)), content(number * 1000 + round * 10 + at + 1, SIZE)).unwrap();
            }
            let took = step();
            times.extend(took.filter(|_| round > 0));
        }
    }
    drop(steps);
    let beside = |what: &str, ours: &[Duration], theirs: &[Duration]| match theirs {
        [] => "rsync: not installed".to_owned(),
        theirs => format!("{what} {}: ours to it {:.2}", shown(theirs), seconds(ours) / seconds(theirs)),
    };
    let what = format!("{FILES} files, {CHANGED} changed");
    let bar = "no slower than rsync";
    let told = beside("`rsync -a` over OpenSSH, to the same server", &syncs, &rsyncs);
    row(&format!("{what}: `machine sync`"), &shown(&syncs), &told, bar);
    let told = beside("`rsync -a`, then `ssh … true`", &runs, &loops);
    row(&format!("{what}: `run --machine ID -- true`"), &shown(&runs), &told, bar);
}

/// One changed line of Mercurial's own source, and one test.
fn edit_and_test(state: &Path) {
    bake(state, "linux-dev");
    let kept = Kept::up(state, "linux-dev");
    let scratch = tempfile::tempdir().unwrap();
    let checkout = source_of(&kept, scratch.path());
    let (mut around, mut whole, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=5 {
        let edited = checkout.join(EDITED);
        let text = std::fs::read_to_string(&edited).unwrap();
        std::fs::write(&edited, format!("{text}# {round}\n")).unwrap();
        let mut command = automation(state, &checkout);
        let words = ["run-tests-linux", "--machine", &kept.id, "--working-copy", "--json", TEST];
        command.args(words);
        let (took, printed) = timed(command);
        let results: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(results["verdict"], "passed");
        let test = Duration::from_secs_f64(results["tests"][0]["seconds"].as_f64().unwrap());
        if round > 0 {
            around.push(took.saturating_sub(test));
            whole.push(took);
            own.push(test);
        }
    }
    let beside = format!("the whole {}, of it the test's own time {}", shown(&whole), shown(&own));
    row("a line of Python changed, one test of Mercurial on a kept machine", &shown(&around), &beside, "at most 3 s");
}

/// A checkout of the source that the image carries.
fn source_of(kept: &Kept<'_>, folder: &Path) -> PathBuf {
    let bundle = folder.join("all.hg");
    let mut command = automation(kept.state, folder);
    let words = ["/hgdev/venv-bootstrap/bin/hg", "--cwd", "/hgdev/src", "bundle", "--all", "/tmp/all.hg"];
    command.args(["machine", "exec", &kept.id, "--"]).args(words);
    timed(command);
    let mut command = automation(kept.state, folder);
    command.args(["machine", "cp", &format!("{}:/tmp/all.hg", kept.id)]).arg(&bundle);
    timed(command);
    support::mercurial::hg(folder, &["init", "src"]);
    support::mercurial::hg(&folder.join("src"), &["unbundle", "--quiet", "--update", bundle.to_str().unwrap()]);
    folder.join("src")
}

/// The driver's peak memory, and how fast the help is.
fn memory_and_help(state: &Path) {
    bake(state, IMAGE);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let peak = |_| {
        let mut command = automation(state, folder.path());
        let child = command.args(["run", "--", "true"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        support::child::finish(child).1
    };
    let peak = (0..3).map(peak).max().unwrap_or_default();
    row("peak memory of the driver of `run -- true`", &format!("{:.1} MB", peak as f64 / 1e3), "", "at most 30 MB");
    let once = |program: &str| {
        let began = Instant::now();
        assert!(Command::new(program).arg("--help").stdout(Stdio::null()).status().unwrap().success());
        began.elapsed()
    };
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..41 {
        ours.push(once(BINARY));
        floor.push(once("/bin/true"));
    }
    let (ours, floor) = (seconds(&ours) * 1e3, seconds(&floor) * 1e3);
    row("`automation --help`", &format!("{ours:.1} ms"), &format!("`true --help` {floor:.1} ms"), "below 5 ms");
}

/// The path of a file of the large tree.
fn name(number: usize) -> PathBuf {
    Path::new(&format!("folder-{}", number / 100)).join(format!("file-{number}"))
}
