//! How much `run-tests-windows` and `build-inno` add to what Windows' programs take, on the stand-in: beside plain `ssh` that has the same
//! programs do the same on the same kind of machine. Prints a table with each bar.
//!
//! `cargo bench --bench windows` runs it, on computers with x86-64. The state directory is `target/bench-state` (or
//! `AUTOMATION_BENCH_STATE`); the image is baked there on first use. `tests/newest-mercurial` fetches the runner of the tests. Ours and
//! the peer take turns, each round on a fresh machine; the figures are medians of the rounds, of which `AUTOMATION_BENCH_ROUNDS` (5)
//! says how many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod common {
    pub(crate) mod median;
}

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::median::median;
use serde_json::Value;
use support::door::Door;
use support::leftovers;
use support::mercurial::{hg, packaged, small_of, unpacked};

const BINARY: &str = env!("CARGO_BIN_EXE_automation");

/// The Mercurial of the stand-in, as the runner is told.
const READY: [&str; 2] = ["--with-hg", "C:/hgdev/python/Scripts/hg.exe"];

struct Bench {
    folder: tempfile::TempDir,
    state: PathBuf,
    checkout: PathBuf,
    /// A source that packages itself.
    packaged: PathBuf,
}

/// What one round took.
struct Ours {
    whole: Duration,
    first: Duration,
}

/// What the same programs took behind plain `ssh`.
struct Plain {
    push: Duration,
    update: Duration,
    list: Duration,
    tests: Duration,
}

impl Plain {
    fn whole(&self) -> Duration {
        self.push + self.update + self.list + self.tests
    }
}

/// What building an installer took: by the tool, and behind plain `ssh`.
struct Built {
    ours: Duration,
    plain: Duration,
}

/// A machine that is reached by plain `ssh`.
struct Shell {
    id: String,
    ssh: String,
}

fn main() {
    if std::env::consts::ARCH != "x86_64" {
        println!("there are no stand-ins for Windows machines on {}", std::env::consts::ARCH);
        return;
    }
    let rounds = std::env::var("AUTOMATION_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5).max(1);
    let bench = Bench::new();
    let (mut ours, mut plain, mut built) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds} ...");
        ours.push(bench.ours());
        plain.push(bench.plain());
        built.push(Built { ours: bench.build(), plain: bench.plain_build() });
    }
    let ours_of = |part: fn(&Ours) -> Duration| median(ours.iter().map(part).collect());
    let plain_of = |part: fn(&Plain) -> Duration| median(plain.iter().map(part).collect());
    let shares = ours.iter().zip(&plain).map(|(ours, plain)| ours.whole.saturating_sub(plain.whole()));
    let building = built.iter().map(|built| built.ours.saturating_sub(built.plain));
    println!("| work | median | bar |\n|---|---|---|");
    let row = |what: &str, time: Duration, bar: &str| println!("| {what} | {:.2} s | {bar} |", time.as_secs_f64());
    row("`run-tests-windows`, one test, from the command to its end", ours_of(|round| round.whole), "");
    row("the same by plain `ssh`, on a machine that is up: all", plain_of(Plain::whole), "");
    row("of it, `hg push`, with the first start of Windows' programs", plain_of(|round| round.push), "");
    row("of it, `hg update`", plain_of(|round| round.update), "");
    row("of it, `run-tests.py --list-tests`", plain_of(|round| round.list), "");
    row("of it, `run-tests.py`", plain_of(|round| round.tests), "");
    row("the driver's own share: the difference", median(shares.collect()), "at most 2 s");
    row("from the command to the first program of Windows", ours_of(|round| round.first), "at most 3 s");
    row("`build-inno`, from the command to its end", median(built.iter().map(|built| built.ours).collect()), "");
    row("push, update and build by plain `ssh`", median(built.iter().map(|built| built.plain).collect()), "");
    row("the driver's own share: the difference", median(building.collect()), "at most 2 s");
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let checkout = small_of(&unpacked(folder.path()), folder.path(), &[("test-fine.py", "")]);
        let packaged = packaged(folder.path());
        let state = std::env::var_os("AUTOMATION_BENCH_STATE")
            .map_or_else(|| support::root().join("target/bench-state"), PathBuf::from);
        let bench = Self { folder, state, checkout, packaged };
        eprintln!("image (baked on first use) ...");
        bench.tool(&["image", "build", "windows-standin"]);
        bench
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("--state-path").arg(&self.state).args(words).current_dir("/").stdin(Stdio::null());
        command.stderr(Stdio::null());
        command
    }

    /// What the tool prints.
    fn tool(&self, words: &[&str]) -> String {
        let done = self.command(words).output().unwrap();
        assert!(done.status.success(), "{words:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    fn ours(&self) -> Ours {
        let source = ["run-tests-windows", "--json", "--python-version", "3.13", "--source"];
        let words = [&source[..], &[self.checkout.to_str().unwrap(), "test-fine.py", "--"], &READY].concat();
        let began = Instant::now();
        let child = self.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let is_ours = |line: &str| line.contains("python.exe") || line.starts_with("python ");
        while !leftovers::inside(&self.state).iter().any(|(_, line)| is_ours(line)) {
            assert!(began.elapsed() < Duration::from_secs(60), "no program of Windows begins");
            std::thread::sleep(Duration::from_millis(10));
        }
        let first = began.elapsed();
        let done = child.wait_with_output().unwrap();
        let whole = began.elapsed();
        let results: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(results["verdict"], "passed", "{results}");
        Ours { whole, first }
    }

    fn build(&self) -> Duration {
        let dist = tempfile::tempdir().unwrap();
        let source =
            ["build-inno", "--source", self.packaged.to_str().unwrap(), "--dist", dist.path().to_str().unwrap()];
        let began = Instant::now();
        self.tool(&source);
        began.elapsed()
    }

    /// A machine of its own for a round.
    fn shell(&self) -> Shell {
        let id = self.tool(&["machine", "up", "--image", "windows-standin"]).trim().to_owned();
        let listed: Value = serde_json::from_str(&self.tool(&["machine", "list", "--json"])).unwrap();
        let machine = listed.as_array().unwrap().iter().find(|machine| machine["id"] == id.as_str()).unwrap();
        let door = Door::to(Path::new(machine["address"]["socket"].as_str().unwrap()));
        let known = self.folder.path().join("known_hosts");
        let key = machine["host_key"]["public"].as_str().unwrap();
        std::fs::write(&known, format!("[127.0.0.1]:{} {key}\n", door.port)).unwrap();
        let ssh = format!(
            "ssh -F none -p {} -i {} -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={}",
            door.port,
            machine["identity"].as_str().unwrap(),
            known.display()
        );
        Shell { id, ssh }
    }

    fn plain(&self) -> Plain {
        let shell = self.shell();
        let (push, update) = shell.bring(&self.checkout);
        let runner = |words: &str| {
            let runner =
                format!("C:\\hgdev\\python313-x64\\python.exe run-tests.py {} test-fine.py{words}", READY.join(" "));
            shell.timed(&format!("set MSYSTEM=MINGW64&& cd /d C:\\hgdev\\src\\tests && {runner}"))
        };
        let (list, tests) = (runner(" --list-tests"), runner(""));
        self.tool(&["machine", "down", &shell.id]);
        Plain { push, update, list, tests }
    }

    fn plain_build(&self) -> Duration {
        let shell = self.shell();
        let programs = support::root().join("remote/mercurial/windows");
        let (push, update) = shell.bring(&self.packaged);
        self.tool(&["machine", "cp", programs.to_str().unwrap(), &format!("{}:C:/hgdev/run", shell.id)]);
        let own = "open('C:/hgdev/.used-by-automation', 'w').write('C:/hgdev/run')";
        self.tool(&["machine", "exec", &shell.id, "--", "python", "-c", own]);
        let build = "python C:\\hgdev\\run\\build_installer.py inno x64 7.2.4 7.2.4 wheel C:/hgdev/made 3.9 3.13";
        let build = shell.timed(build);
        self.tool(&["machine", "down", &shell.id]);
        push + update + build
    }
}

impl Shell {
    /// Brings a source to the machine and checks it out there; how long either took.
    fn bring(&self, checkout: &Path) -> (Duration, Duration) {
        let node = hg(checkout, &["log", "--rev", ".", "--template", "{node}"]);
        let began = Instant::now();
        let via = format!("ui.ssh={}", self.ssh);
        let url = "ssh://hg@127.0.0.1//hgdev/src";
        hg(checkout, &["push", "--force", "--config", &via, "--remotecmd", "hg", url]);
        let push = began.elapsed();
        (push, self.timed(&format!("hg --cwd C:\\hgdev\\src update --quiet --clean --rev {node}")))
    }

    /// How long a line for `cmd.exe` takes.
    fn timed(&self, line: &str) -> Duration {
        let mut words = self.ssh.split(' ');
        let mut command = Command::new(words.next().unwrap());
        let began = Instant::now();
        let done = command.args(words).args(["hg@127.0.0.1", line]).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        began.elapsed()
    }
}
