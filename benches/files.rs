//! How fast one large file travels, beside OpenSSH's `sftp`, on loopback and 50 ms away. Prints a table with the bars.
//!
//! `cargo bench --bench files` runs it, against a private server with everything in a temporary folder (`TMPDIR` chooses the
//! disk). Each round runs ours and the peers in turns as whole processes, connecting included; the figures are medians of
//! the rounds. `AUTOMATION_BENCH_ROUNDS` (5) and `AUTOMATION_BENCH_MIB` (512) can be set. Nothing is installed: a peer that
//! is missing is named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod common {
    pub(crate) mod state;
    pub(crate) mod store;
}

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::machine::{Address, Machine};

const BINARY: &str = env!("CARGO_BIN_EXE_automation");

/// How long the relay holds every byte, each way.
const DELAY: Duration = Duration::from_millis(25);

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Up,
    Down,
}

/// Who copies.
#[derive(Clone, Copy)]
enum Who {
    Ours,
    /// OpenSSH's `sftp` with this cipher, or its default.
    Sftp(Option<&'static str>),
}

const WHO: [Who; 3] = [Who::Ours, Who::Sftp(None), Who::Sftp(Some("aes128-gcm@openssh.com"))];

struct Bench {
    sshd: support::sshd::Sshd,
    state: PathBuf,
    near: Machine,
    far: Machine,
    rounds: usize,
}

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let sshd = support::sshd::Sshd::start();
    let near = sshd.machine();
    let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: support::relay::start(sshd.port, DELAY) };
    let far = Machine { id: model::base::id::MachineId::random(), address, ..near.clone() };
    let state = sshd.folder("state");
    let bench = Bench { sshd, state, near, far, rounds: number("AUTOMATION_BENCH_ROUNDS", 5).max(1) };
    bench.store();
    if Command::new("sftp").arg("-V").stdin(Stdio::null()).output().is_err() {
        println!("sftp: not installed, so there is nothing to compare with");
        return;
    }
    println!(
        "| work | ours | `sftp` | `sftp`, aes128-gcm | faster peer / ours | bar | |\n|---|---|---|---|---|---|---|"
    );
    let whole = number("AUTOMATION_BENCH_MIB", 512);
    for (machine, size, place, bar) in [
        (&bench.near, whole, "loopback", 1.0),
        (&bench.far, whole.min(64), "50 ms round trip", 2.0),
        (&bench.far, whole, "50 ms round trip", 2.0),
    ] {
        for way in [Way::Up, Way::Down] {
            bench.row(machine, way, size, place, bar);
        }
    }
}

impl Bench {
    /// Writes the two machines into the state directory, as `machine up` would.
    fn store(&self) {
        common::store::store(&self.state, &[self.near.clone(), self.far.clone()]);
    }

    fn row(&self, machine: &Machine, way: Way, size: usize, place: &str, bar: f64) {
        let folder = self.sshd.folder("files");
        let (from, to) = (folder.join("from"), folder.join("to"));
        fill(&from, size);
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..self.rounds {
            for (who, times) in WHO.into_iter().zip(&mut times) {
                drop(std::fs::remove_file(&to));
                times.push(self.copy(machine, way, who, &from, &to));
                assert!(same(&from, &to), "the copy differs");
            }
        }
        let [ours, sftp, gcm] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2].as_secs_f64()
        });
        let ratio = sftp.min(gcm) / ours;
        let word = if way == Way::Up { "upload" } else { "download" };
        let met = if ratio >= bar { "met" } else { "not met" };
        println!(
            "| {word} of {size} MiB, {place} | {ours:.2} s | {sftp:.2} s | {gcm:.2} s | {ratio:.2} | at least {bar:.1} | {met} |"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    fn copy(&self, machine: &Machine, way: Way, who: Who, from: &Path, to: &Path) -> Duration {
        let mut command = match who {
            Who::Ours => self.ours(machine, way, from, to),
            Who::Sftp(cipher) => self.sftp(machine, cipher),
        };
        command.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn().unwrap();
        if let Who::Sftp(_) = who {
            let verb = if way == Way::Up { "put" } else { "get" };
            writeln!(child.stdin.take().unwrap(), "{verb} {} {}", from.display(), to.display()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let took = began.elapsed();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        took
    }

    fn ours(&self, machine: &Machine, way: Way, from: &Path, to: &Path) -> Command {
        let there = |path: &Path| format!("{}:{}", machine.id, path.display());
        let mut command = Command::new(BINARY);
        command.arg("--state-path").arg(&self.state).args(["machine", "cp"]);
        match way {
            Way::Up => command.arg(from).arg(there(to)),
            Way::Down => command.arg(there(from)).arg(to),
        };
        command
    }

    fn sftp(&self, machine: &Machine, cipher: Option<&str>) -> Command {
        let Address::Tcp { port, .. } = &machine.address else { unreachable!() };
        let known = self.sshd.dir.path().join("known_hosts");
        std::fs::write(&known, format!("[127.0.0.1]:{port} {}\n", self.sshd.host.public_openssh.trim())).unwrap();
        let mut command = Command::new("sftp");
        command.args(["-q", "-b", "-", "-F", "none", "-P", &port.to_string(), "-o", "IdentitiesOnly=yes", "-i"]);
        command.arg(self.sshd.dir.path().join("identity"));
        command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
        if let Some(cipher) = cipher {
            command.arg("-o").arg(format!("Ciphers={cipher}"));
        }
        command.arg(format!("{}@127.0.0.1", machine.user));
        command
    }
}

/// Bytes without a pattern that anything on the way could use.
fn fill(path: &Path, mib: usize) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut word = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = vec![0_u8; 1 << 20];
    for _ in 0..mib {
        for bytes in block.chunks_exact_mut(8) {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        file.write_all(&block).unwrap();
    }
}

fn same(one: &Path, other: &Path) -> bool {
    Command::new("cmp").arg("-s").arg(one).arg(other).status().unwrap().success()
}
