//! How fast a release is published, beside OpenSSH's `sftp` and `twine` one after the other, on loopback and 50 ms away.
//! Prints a table with the bars.
//!
//! `cargo bench --bench publish` runs it, against a private SSH server and a pypiserver (`tests/index-venv` installs it) with
//! everything in temporary folders. The release has sixteen files of the size of Mercurial's: twelve wheels and four
//! installers. Each round runs ours and the peers in turns as whole processes; the figures are medians of the rounds.
//! `AUTOMATION_BENCH_ROUNDS` (5) and `AUTOMATION_BENCH_MIB` (7, of each file) can be set. `AUTOMATION_TWINE` names a `twine`
//! that is not on the path. Nothing is installed: a peer that is missing is named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::index::{IndexServer, names};
use support::sshd::{Sshd, user};

const BINARY: &str = env!("CARGO_BIN_EXE_automation");

/// How long the relay holds every byte, each way.
const DELAY: Duration = Duration::from_millis(25);

/// The least that the peers may take of our time: no slower than they are.
const BAR: f64 = 1.0;

struct Bench {
    folder: tempfile::TempDir,
    sshd: Sshd,
    twine: PathBuf,
    rounds: usize,
}

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let twine = std::env::var_os("AUTOMATION_TWINE").map_or_else(|| PathBuf::from("twine"), PathBuf::from);
    for (program, flag) in [(twine.as_path(), "--version"), (Path::new("sftp"), "-V")] {
        if Command::new(program).arg(flag).stdin(Stdio::null()).output().is_err() {
            println!("{}: not installed, so there is nothing to compare with", program.display());
            return;
        }
    }
    let rounds = number("AUTOMATION_BENCH_ROUNDS", 5).max(1);
    let bench = Bench { folder: tempfile::tempdir().unwrap(), sshd: Sshd::start(), twine, rounds };
    bench.prepare(number("AUTOMATION_BENCH_MIB", 7) << 20);
    println!("| work | ours | `twine` | `sftp` | both peers / ours | bar | |\n|---|---|---|---|---|---|---|");
    bench.row("loopback", None);
    bench.row("50 ms round trip", Some(DELAY));
}

impl Bench {
    fn dist(&self) -> PathBuf {
        self.folder.path().join("dist")
    }

    fn prepare(&self, size: usize) {
        let source = self.folder.path().join("source/tests");
        std::fs::create_dir_all(&source).unwrap();
        std::fs::create_dir_all(self.folder.path().join("home/.ssh")).unwrap();
        std::fs::write(source.join("run-tests.py"), "").unwrap();
        let build = support::release::BUILD_FILE.replace("cp313-* cp314-*", "cp311-* cp312-* cp313-* cp314-*");
        std::fs::write(source.parent().unwrap().join("pyproject.toml"), build).unwrap();
        support::release::make_release(&self.dist(), "1.2", &["cp311", "cp312", "cp313", "cp314"], size);
    }

    fn row(&self, place: &str, delay: Option<Duration>) {
        let mut times: [Vec<f64>; 3] = Default::default();
        let ssh = delay.map_or(self.sshd.port, |delay| support::relay::start(self.sshd.port, delay));
        let known = self.folder.path().join("home/.ssh/known_hosts");
        std::fs::write(&known, format!("[127.0.0.1]:{ssh} {}\n", self.sshd.host.public_openssh.trim())).unwrap();
        for _ in 0..self.rounds {
            // A new index and a new folder each time: what is there already is not sent again.
            let index = || {
                let server = IndexServer::start(&[]);
                let port = server.url.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
                let url = delay.map_or(server.url.clone(), |delay| {
                    format!("http://127.0.0.1:{}/", support::relay::start(port, delay))
                });
                (server, url)
            };
            let (server, url) = index();
            let there = self.sshd.folder("there");
            times[0].push(timed(&mut self.ours(&url, ssh, &there), ""));
            assert_eq!((server.names().len(), names(&there).len()), (12, 17));
            std::fs::remove_dir_all(&there).unwrap();
            let (server, url) = index();
            times[1].push(timed(&mut self.twine(&url), ""));
            assert_eq!(server.names().len(), 12);
            let there = self.sshd.folder("there");
            times[2]
                .push(timed(&mut self.sftp(ssh), &format!("put {}/* {}\n", self.dist().display(), there.display())));
            assert_eq!(names(&there).len(), 16);
            std::fs::remove_dir_all(&there).unwrap();
        }
        let [ours, twine, sftp] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        let ratio = (twine + sftp) / ours;
        let met = if ratio >= BAR { "met" } else { "not met" };
        println!(
            "| a release, {place} | {ours:.2} s | {twine:.2} s | {sftp:.2} s | {ratio:.2} | at least {BAR:.1} | {met} |"
        );
    }

    fn ours(&self, url: &str, ssh: u16, there: &Path) -> Command {
        let mut command = Command::new(BINARY);
        command.env("HOME", self.folder.path().join("home")).current_dir(self.folder.path().join("source"));
        command.arg("--state-path").arg(self.folder.path().join("state")).args([
            "publish-windows-artifacts",
            "1.2",
            "--yes",
        ]);
        command.arg("--dist").arg(self.dist()).args(["--repository-url", url]).arg("--folder").arg(there);
        command.arg("--host").arg(format!("{}@127.0.0.1:{ssh}", user()));
        command.arg("--identity").arg(self.sshd.dir.path().join("identity"));
        command
    }

    fn twine(&self, url: &str) -> Command {
        let mut command = Command::new(&self.twine);
        command.args([
            "upload",
            "--non-interactive",
            "--disable-progress-bar",
            "-u",
            "x",
            "-p",
            "x",
            "--repository-url",
            url,
        ]);
        let wheels = names(&self.dist()).into_iter().filter(|name| name.ends_with(".whl"));
        command.args(wheels.map(|name| self.dist().join(name)));
        command
    }

    fn sftp(&self, ssh: u16) -> Command {
        let mut command = Command::new("sftp");
        command.args(["-q", "-b", "-", "-F", "none", "-P", &ssh.to_string(), "-o", "IdentitiesOnly=yes", "-i"]);
        command.arg(self.sshd.dir.path().join("identity"));
        let known = self.folder.path().join("home/.ssh/known_hosts");
        command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display())).arg(format!("{}@127.0.0.1", user()));
        command
    }
}

/// The seconds that a command takes, which must succeed.
fn timed(command: &mut Command, input: &str) -> f64 {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    took
}
