//! How fast trees travel over SSH: 5,000 files of 8 KiB both ways, and the same tree again with ten of them changed.
//!
//! `cargo bench --bench trees` starts an OpenSSH server of its own on loopback and runs everything as whole processes, connecting
//! included: `automation machine cp` and `machine sync` beside `sftp`, `rsync -a` and `tar | ssh tar`, one after another in each round. Peers
//! that are not installed are named and left out. Figures are medians; compare ratios of one run, since computers drift.

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
    pub(crate) mod state;
    pub(crate) mod store;
}

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::content::content;
use common::median::median;

const BINARY: &str = env!("CARGO_BIN_EXE_automation");

const FILES: usize = 5000;
const SIZE: usize = 8 << 10;
const CHANGED: usize = 10;
const ROUNDS: usize = 7;

fn main() {
    let bench = Bench::new();
    let rows = [bench.upload(), bench.download(), bench.again()];
    println!("| work | ours, median | beside it, in the same run | bar |\n|---|---|---|---|");
    for row in rows {
        println!("{row}");
    }
}

struct Bench {
    sshd: support::sshd::Sshd,
    id: String,
    state: PathBuf,
    /// The tree, on the local side.
    tree: PathBuf,
}

/// A contestant: its name, the bar for our speed as a multiple of its, and what it runs in a round.
type Contestant<'a> = (&'a str, Option<f64>, Box<dyn FnMut(usize) -> Option<Duration> + 'a>);

fn installed(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
}

/// Runs `script` with `sh` and these arguments.
fn time(script: &str, words: &[&str]) -> Option<Duration> {
    let program = script.split_whitespace().find(|word| ["sftp", "rsync", "tar"].contains(word));
    if program.is_some_and(|program| !installed(program)) {
        return None;
    }
    let began = Instant::now();
    let done = Command::new("sh").args(["-c", script, "sh"]).args(words).stdin(Stdio::null()).output().unwrap();
    let took = began.elapsed();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    Some(took)
}

/// Runs all in turn, `ROUNDS` times after one to warm up; gives a row of the table.
fn compete(work: &str, mut all: Vec<Contestant<'_>>) -> String {
    let mut times = vec![Vec::new(); all.len()];
    for round in 0..=ROUNDS {
        for (at, (_, _, run)) in all.iter_mut().enumerate() {
            if let (Some(took), true) = (run(round), round > 0) {
                times[at].push(took);
            }
        }
    }
    let ours = median(times[0].clone()).as_secs_f64();
    let (mut beside, mut bars) = (Vec::new(), Vec::new());
    for ((name, bar, _), times) in all.iter().zip(&times).skip(1) {
        if times.is_empty() {
            beside.push(format!("{name}: not installed"));
            continue;
        }
        let theirs = median(times.clone()).as_secs_f64();
        beside.push(format!("{name} {:.0} ms ({:.2})", theirs * 1e3, theirs / ours));
        bars.extend(bar.map(|bar| format!("{bar}")));
    }
    format!("| {work} | {:.0} ms | {} | at least {} times |", ours * 1e3, beside.join("; "), bars.join(", "))
}

impl Bench {
    fn new() -> Self {
        let sshd = support::sshd::Sshd::start();
        let state = sshd.dir.path().join("state");
        let machine = sshd.machine();
        common::store::store(&state, std::slice::from_ref(&machine));
        let tree = sshd.folder("tree");
        for number in 0..FILES {
            let folder = tree.join(format!("folder {}", number / 100));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("file-{number}")), content(number, SIZE)).unwrap();
        }
        Self { id: machine.id.as_str().to_owned(), state, tree, sshd }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.sshd.dir.path().join(name)
    }

    /// What `ssh` needs to reach the server.
    fn ssh(&self) -> String {
        let identity = self.at("identity");
        format!(
            "-F none -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            identity.display()
        )
    }

    fn ours(&self, verb: &str, from: &str, to: &str) -> Duration {
        let began = Instant::now();
        let done = Command::new(BINARY)
            .arg("--state-path")
            .arg(&self.state)
            .args(["machine", verb, from, to])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let took = began.elapsed();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        took
    }

    fn sftp(&self, line: &str) -> Option<Duration> {
        let (ssh, port) = (self.ssh(), self.sshd.port);
        time(&format!("echo '{line}' | sftp -q {ssh} -P {port} -b - {}@127.0.0.1", support::sshd::user()), &[])
    }

    fn rsync(&self, from: &str, to: &str) -> Option<Duration> {
        time(&format!("rsync -a -e 'ssh {} -p {}' \"$1\" \"$2\"", self.ssh(), self.sshd.port), &[from, to])
    }

    fn there(&self, path: &Path) -> String {
        format!("{}@127.0.0.1:{}", support::sshd::user(), path.display())
    }

    fn check(&self, folder: &Path) {
        let count = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(count, FILES.div_ceil(100), "{}", folder.display());
        let last = folder.join(format!("folder {}", (FILES - 1) / 100)).join(format!("file-{}", FILES - 1));
        assert_eq!(std::fs::read(last).unwrap().len(), SIZE);
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn upload(&self) -> String {
        let (tree, to) = (self.tree.to_str().unwrap(), self.at("up"));
        let (ssh, port, user) = (self.ssh(), self.sshd.port, support::sshd::user());
        let checked = |took: Option<Duration>| {
            took.inspect(|_| self.check(&to));
            took
        };
        compete(
            "5,000 files of 8 KiB, there",
            vec![
                (
                    "ours",
                    None,
                    Box::new(|_| checked(Some(self.ours("cp", tree, &format!("{}:{}", self.id, to.display()))))),
                ),
                ("sftp -r", Some(2.5), Box::new(|_| checked(self.sftp(&format!("put -r {tree} {}", to.display()))))),
                ("rsync -a", Some(1.2), Box::new(|_| checked(self.rsync(&format!("{tree}/"), &self.there(&to))))),
                (
                    "tar \\| ssh tar",
                    Some(1.0),
                    Box::new(|_| {
                        let far = format!("mkdir {0} && tar -xf - -C {0}", to.display());
                        let script = format!("tar -cf - -C {tree} . | ssh {ssh} -p {port} {user}@127.0.0.1 '{far}'");
                        checked(time(&script, &[]))
                    }),
                ),
            ],
        )
    }

    fn download(&self) -> String {
        let (tree, to) = (self.tree.to_str().unwrap(), self.at("down"));
        let (ssh, port, user) = (self.ssh(), self.sshd.port, support::sshd::user());
        let checked = |took: Option<Duration>| {
            took.inspect(|_| self.check(&to));
            took
        };
        let shown = to.display();
        compete(
            "the same, back",
            vec![
                (
                    "ours",
                    None,
                    Box::new(|_| checked(Some(self.ours("cp", &format!("{}:{tree}", self.id), to.to_str().unwrap())))),
                ),
                ("sftp -r", Some(2.5), Box::new(|_| checked(self.sftp(&format!("get -r {tree} {shown}"))))),
                (
                    "rsync -a",
                    Some(1.2),
                    Box::new(|_| checked(self.rsync(&format!("{}/", self.there(&self.tree)), to.to_str().unwrap()))),
                ),
                (
                    "ssh tar \\| tar",
                    Some(1.0),
                    Box::new(|_| {
                        let script = format!(
                            "mkdir {shown} && ssh {ssh} -p {port} {user}@127.0.0.1 'tar -cf - -C {tree} .' | tar -xf - -C {shown}"
                        );
                        checked(time(&script, &[]))
                    }),
                ),
            ],
        )
    }

    /// Changes some files in the same size.
    fn change(&self, round: usize) {
        for number in (0..CHANGED).map(|n| n * (FILES / CHANGED)) {
            let path = self.tree.join(format!("folder {}", number / 100)).join(format!("file-{number}"));
            std::fs::write(path, content(number * 1000 + round + 1, SIZE)).unwrap();
        }
    }

    fn again(&self) -> String {
        let (ours, theirs) = (self.at("ours"), self.at("theirs"));
        let tree = format!("{}/", self.tree.display());
        // A file of the same size that changed within a second of the last copy is the same to `rsync`.
        let pause = || std::thread::sleep(Duration::from_millis(1100));
        compete(
            "the same tree again, 10 files changed",
            vec![
                (
                    "ours",
                    None,
                    Box::new(|round| {
                        pause();
                        self.change(2 * round);
                        let took = self.ours("sync", &tree, &format!("{}:{}", self.id, ours.display()));
                        self.same(&ours);
                        Some(took)
                    }),
                ),
                (
                    "rsync -a",
                    Some(1.0),
                    Box::new(|round| {
                        pause();
                        self.change(2 * round + 1);
                        let took = self.rsync(&tree, &self.there(&theirs));
                        took.inspect(|_| self.same(&theirs));
                        took
                    }),
                ),
            ],
        )
    }

    fn same(&self, folder: &Path) {
        for number in 0..FILES {
            let name = Path::new(&format!("folder {}", number / 100)).join(format!("file-{number}"));
            assert!(
                std::fs::read(folder.join(&name)).unwrap() == std::fs::read(self.tree.join(&name)).unwrap(),
                "{name:?}"
            );
        }
    }
}
