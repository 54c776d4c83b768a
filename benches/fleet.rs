//! How fast commands and connections are, on one machine and on many, beside their peers: OpenSSH, asyncssh, `ansible`,
//! `pyinfra`, parallel-ssh. Prints tables with each bar.
//!
//! `cargo bench --bench fleet` runs it against an OpenSSH server of its own on loopback, which speaks no key exchange but
//! curve25519. As root, everything runs in a mount namespace where the login shell is `dash`, which starts fast; other users
//! have the shell they have. The peers from the Python index are looked for in `target/bench-peers` (`docs/performance.md` says
//! how to make it), or in the virtual environment that `AUTOMATION_BENCH_PEERS` names. Peers that are not installed are named and
//! left out; nothing is installed. Times are medians of rounds in which everybody takes a turn: compare ratios of one run, since
//! computers drift. `-- commands`, `connects`, `fleets` and `memory` run a part alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    missing_docs
)]

mod common {
    pub(crate) mod memory;
    pub(crate) mod state;
    pub(crate) mod store;
}

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use connection::SshConnector;
use flow::run::saturating_add;
use model::base::id::{MachineId, RunId};
use model::connection::Connector;
use model::machine::Machine;
use model::output::{OutputLimits, run_command};
use model::task;
use support::sshd::Sshd;

const BINARY: &str = env!("CARGO_BIN_EXE_automation");

/// Commands one after another, as the bar has it.
const COMMANDS: usize = 200;

/// Rounds of the work that takes milliseconds, and of that which takes seconds.
const ROUNDS: (usize, usize) = (11, 5);

/// The numbers of machines.
const FLEETS: [usize; 3] = [1, 10, 50];

/// The variable that says that the namespace was made.
const INSIDE: &str = "AUTOMATION_BENCH_INSIDE";

fn main() {
    if rustix::process::geteuid().is_root() && std::env::var_os(INSIDE).is_none() {
        with_dash();
    }
    let bench = Bench::new();
    println!("login shell of the server: {}\n", shell());
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    if wanted("commands") {
        bench.commands();
    }
    if wanted("connects") {
        bench.connects();
    }
    if wanted("fleets") {
        bench.fleets();
    }
    if wanted("memory") {
        bench.memory();
    }
}

/// Runs this program again where the login shell of root is `dash`. Comes back where that cannot be.
fn with_dash() {
    let scratch = tempfile::tempdir().unwrap();
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let dash = |line: &str| match line.strip_prefix("root:").and_then(|rest| rest.rsplit_once(':')) {
        Some((rest, _)) => format!("root:{rest}:/bin/dash\n"),
        None => format!("{line}\n"),
    };
    let copy = scratch.path().join("passwd");
    std::fs::write(&copy, users.lines().map(dash).collect::<String>()).unwrap();
    let script = "mount --bind \"$1\" /etc/passwd && rm -r \"$2\" && shift 2 && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&copy).arg(scratch.path());
    command.arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let error = command.exec();
    eprintln!("no namespace with another login shell: {error}");
}

fn shell() -> String {
    let user = support::sshd::user();
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with(&format!("{user}:")));
    line.and_then(|line| line.rsplit(':').next()).unwrap_or("unknown").to_owned()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The median, with the least and the most.
fn shown(times: &[f64]) -> String {
    let (least, most) = times.iter().fold((f64::MAX, 0.0_f64), |(a, b), time| (a.min(*time), b.max(*time)));
    let unit = |seconds: f64| {
        if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
    };
    format!("{} ({} to {})", unit(median(times.to_vec())), unit(least), unit(most))
}

/// One who does the work: gives its seconds in one turn.
struct Runner<'a> {
    name: &'static str,
    /// Ours may take at most this many times its time.
    bar: Option<f64>,
    turn: Box<dyn FnMut() -> f64 + 'a>,
}

/// Lets everybody take turns and prints what they took.
fn compare(what: &str, rounds: usize, mut runners: Vec<Runner>) {
    let mut times = vec![Vec::new(); runners.len()];
    for round in 0..=rounds {
        for (runner, times) in runners.iter_mut().zip(&mut times) {
            let seconds = (runner.turn)();
            // The first round fills caches.
            if round > 0 {
                times.push(seconds);
            }
        }
    }
    println!("| {what} | median of {rounds} | ours to it | bar |\n|---|---|---|---|");
    let ours = median(times[0].clone());
    for (runner, times) in runners.iter().zip(&times) {
        let ratio = ours / median(times.clone());
        let (ratio, bar) = match runner.bar {
            Some(bar) => {
                let bar_text = format!("at most {bar:.2}{}", if ratio > bar { ", **missed**" } else { "" });
                (format!("{ratio:.2}"), bar_text)
            }
            None => (String::new(), String::new()),
        };
        println!("| {} | {} | {ratio} | {bar} |", runner.name, shown(times));
    }
    println!();
}

struct Bench {
    sshd: Sshd,
    machines: Vec<Machine>,
    state: PathBuf,
    runtime: tokio::runtime::Runtime,
    python: Option<PathBuf>,
}

impl Bench {
    fn new() -> Self {
        let config = "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org\nMaxStartups 500\nMaxSessions 500\nPerSourceMaxStartups none\n";
        let sshd = Sshd::with(config);
        let state = sshd.dir.path().join("state");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let machines = store(&state, &sshd, FLEETS[2]);
        let peers = std::env::var_os("AUTOMATION_BENCH_PEERS")
            .map_or_else(|| support::root().join("target/bench-peers"), PathBuf::from);
        let python = Some(peers.join("bin/python")).filter(|python| python.exists());
        let bench = Self { sshd, machines, state, runtime, python };
        bench.write_configurations();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sshd.dir.path().join(name)
    }

    /// Files by which every peer finds the same server under as many names as are wanted, with the same keys.
    fn write_configurations(&self) {
        let (at, port, user) = (self.sshd.dir.path().display(), self.sshd.port, support::sshd::user());
        let public = self.sshd.host.public_openssh.trim();
        let known = format!("[127.0.0.1]:{port} {public}\n");
        std::fs::write(self.path("known_hosts"), known).unwrap();
        let config = format!(
            "Host *\n HostName 127.0.0.1\n Port {port}\n User {user}\n IdentityFile {at}/identity\n IdentitiesOnly yes\n\
             UserKnownHostsFile {at}/known_hosts\n GlobalKnownHostsFile none\n StrictHostKeyChecking yes\n BatchMode yes\n\
             HostKeyAlias [127.0.0.1]:{port}\n IdentityAgent none\n KexAlgorithms curve25519-sha256\n LogLevel ERROR\n"
        );
        std::fs::write(self.path("ssh_config"), config).unwrap();
        for number in FLEETS {
            let names: Vec<String> = (0..number).map(|index| format!("m{index}")).collect();
            std::fs::write(self.path(&format!("names-{number}")), names.join("\n") + "\n").unwrap();
            let hosts: Vec<String> = names
                .iter()
                .map(|name| {
                    format!(
                        "    ({name:?}, {{'ssh_hostname': '127.0.0.1', 'ssh_port': {port}, 'ssh_user': {user:?}, 'ssh_key': '{at}/identity', \
                         'ssh_known_hosts_file': '{at}/known_hosts', 'ssh_strict_host_key_checking': 'yes'}}),\n"
                    )
                })
                .collect();
            let hosts = format!("fleet = [\n{}]\n", hosts.concat());
            std::fs::write(self.path(&format!("inventory{number}.py")), hosts).unwrap();
        }
        for (name, command) in [("library.json", "true"), ("sleeping.json", "sleep 3")] {
            let config = serde_json::json!({
                "host": "127.0.0.1", "port": port, "user": user, "key": self.path("identity"),
                "known_hosts": self.path("known_hosts"), "command": command,
            });
            std::fs::write(self.path(name), config.to_string()).unwrap();
        }
    }

    fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(self.path("ssh_config")).stdin(Stdio::null());
        command
    }

    fn automation(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("--state-path").arg(&self.state).current_dir("/").stdin(Stdio::null());
        command
    }

    /// A program of the virtual environment, or of this computer.
    fn peer(&self, name: &str) -> Option<Command> {
        let own = self.python.as_ref().map(|python| python.with_file_name(name)).filter(|path| path.exists());
        let found = own.or_else(|| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists())
        });
        if found.is_none() {
            println!("{name}: not installed\n");
        }
        let mut command = Command::new(found?);
        // A home of its own: the settings of whoever runs this are not part of it.
        command.env("HOME", self.sshd.dir.path()).current_dir(self.sshd.dir.path()).stdin(Stdio::null());
        Some(command)
    }

    /// A Python library's peer, where the library is there.
    fn library(&self, module: &str, what: &str, config: &str, count: usize) -> Option<Command> {
        let mut command = self.python.as_ref().map(Command::new)?;
        let there = Command::new(self.python.as_ref()?).args(["-c", &format!("import {module}")]).output().unwrap();
        if !there.status.success() {
            println!("{module}: not installed\n");
            return None;
        }
        command.arg(support::root().join("benches/peers/library.py"));
        command.arg(what).arg(self.path(config)).arg(count.to_string()).stdin(Stdio::null());
        command.env("HOME", self.sshd.dir.path());
        Some(command)
    }

    /// 200 commands one after another on one connection.
    fn commands(&self) {
        let connection = self.runtime.block_on(connect(&self.machines[0]));
        let ours = || {
            let began = Instant::now();
            self.runtime.block_on(async {
                for _ in 0..COMMANDS {
                    let done = run_command(connection.as_ref(), &task::Command::new("true"), OutputLimits::SMALL)
                        .await
                        .unwrap();
                    assert!(done.exit.is_success());
                }
            });
            began.elapsed().as_secs_f64()
        };
        let control = self.path("control");
        let master = self.ssh().args(["-fNM", "-S"]).arg(&control).arg("m0").status().unwrap();
        assert!(master.success());
        let theirs = || {
            let began = Instant::now();
            for _ in 0..COMMANDS {
                assert!(self.ssh().arg("-S").arg(&control).args(["m0", "true"]).status().unwrap().success());
            }
            began.elapsed().as_secs_f64()
        };
        let mut runners =
            vec![runner("this tool's library", None, ours), runner("OpenSSH with a control master", Some(0.4), theirs)];
        let library = || self.library("asyncssh", "asyncssh-commands", "library.json", COMMANDS);
        if library().is_some() {
            runners.push(runner("asyncssh", Some(1.0), move || seconds(library().unwrap())[0]));
        }
        compare("200 commands on one connection", ROUNDS.0, runners);
        drop(self.ssh().arg("-S").arg(&control).args(["-O", "exit", "m0"]).output());
        self.runtime.block_on(connection.close());
    }

    /// Until the server has let us in; and a whole process for one command.
    fn connects(&self) {
        let ours = || {
            let times = (0..10).map(|_| {
                let began = Instant::now();
                let connection = self.runtime.block_on(connect(&self.machines[0]));
                let took = began.elapsed().as_secs_f64();
                self.runtime.block_on(connection.close());
                took
            });
            median(times.collect())
        };
        let control = self.path("connecting");
        // The process that is waited for ends when the connection is authenticated; the one behind it is ended apart.
        let theirs = || {
            let times = (0..10).map(|_| {
                let began = Instant::now();
                assert!(self.ssh().args(["-fNM", "-S"]).arg(&control).arg("m0").status().unwrap().success());
                let took = began.elapsed().as_secs_f64();
                drop(self.ssh().arg("-S").arg(&control).args(["-O", "exit", "m0"]).output());
                took
            });
            median(times.collect())
        };
        let mut runners =
            vec![runner("this tool's library", None, ours), runner("OpenSSH (`ssh -fNM`)", Some(1.0), theirs)];
        let library = || self.library("asyncssh", "asyncssh-connect", "library.json", 11);
        if library().is_some() {
            // Its first connection also loads what the library loads late.
            runners.push(runner("asyncssh", Some(1.0), move || median(seconds(library().unwrap())[1..].to_vec())));
        }
        compare("connect and authenticate", ROUNDS.0, runners);

        let id = self.machines[0].id.as_str();
        let ours = || whole(self.automation().args(["machine", "exec", id, "--", "true"]));
        let theirs = || whole(self.ssh().args(["m0", "true"]));
        let runners = vec![
            runner("`automation machine exec ID -- true`", None, ours),
            runner("`ssh HOST true`", Some(1.0), theirs),
        ];
        compare("a whole process for one command", ROUNDS.0, runners);
    }

    /// Everybody who runs `command` on `number` machines, with the bar at fifty.
    fn everybody(&self, number: usize, command: &'static str) -> Vec<(&'static str, Option<f64>, Option<Command>)> {
        let mut ours = self.automation();
        let ids: Vec<&str> = self.machines[..number].iter().map(|machine| machine.id.as_str()).collect();
        ours.args(["machine", "exec", "--machines", &ids.join(","), "--"]).args(command.split(' '));
        let mut xargs = Command::new("xargs");
        xargs.args(["-P50", "-I{}", "-a"]).arg(self.path(&format!("names-{number}")));
        xargs.arg("ssh").arg("-F").arg(self.path("ssh_config")).args(["{}", command]).stdin(Stdio::null());
        let ansible = self.peer("ansible").map(|mut ansible| {
            let folder = tempfile::tempdir_in(self.sshd.dir.path()).unwrap().keep();
            ansible
                .args(["all", "-f", "50", "-m", "command", "-a", command, "-i"])
                .arg(self.path(&format!("names-{number}")));
            ansible.args(["-e", "ansible_python_interpreter=/usr/bin/python3", "--ssh-common-args"]);
            ansible.arg(format!("-F {}", self.path("ssh_config").display()));
            // Connections that it keeps are not to be there before it starts.
            ansible.env("ANSIBLE_SSH_CONTROL_PATH_DIR", &folder).env("ANSIBLE_LOCAL_TEMP", &folder);
            ansible.env("ANSIBLE_REMOTE_TMP", self.path("remote"));
            ansible
        });
        let pyinfra = self.peer("pyinfra").map(|mut pyinfra| {
            pyinfra.arg("--yes").args(["--parallel", "50"]).arg(self.path(&format!("inventory{number}.py")));
            pyinfra.args(["exec", "--"]).args(command.split(' '));
            pyinfra
        });
        let config = if command == "true" { "library.json" } else { "sleeping.json" };
        let at = |bar: f64| (number == FLEETS[2]).then_some(bar);
        vec![
            ("`automation machine exec`", None, Some(ours)),
            ("`ansible -m command`", at(1.0 / 15.0), ansible),
            ("`xargs -P50 ssh`", at(1.0), Some(xargs)),
            ("`pyinfra exec`", at(1.0), pyinfra),
            ("parallel-ssh (library)", at(1.0), self.library("pssh", "parallel-ssh", config, number)),
        ]
    }

    fn fleets(&self) {
        for number in FLEETS {
            let everybody = self.everybody(number, "true").into_iter();
            let runners = everybody.filter_map(|(name, bar, command)| command.map(|_| (name, bar)));
            let runners = runners.map(|(name, bar)| {
                let turn = move || {
                    let mine = self.everybody(number, "true").into_iter().find(|(other, ..)| *other == name);
                    let took = whole(&mut mine.unwrap().2.unwrap());
                    self.forget_connections();
                    took
                };
                runner(name, bar, turn)
            });
            compare(&format!("`true` on {number} machines"), ROUNDS.1, runners.collect());
        }
    }

    /// Ends what `ansible` keeps running behind itself.
    fn forget_connections(&self) {
        for folder in std::fs::read_dir(self.sshd.dir.path()).unwrap().flatten() {
            for socket in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                use std::os::unix::fs::FileTypeExt;
                if socket.file_type().is_ok_and(|kind| kind.is_socket()) {
                    drop(self.ssh().arg("-S").arg(socket.path()).args(["-O", "exit", "m0"]).output());
                }
            }
        }
    }

    /// The most memory with fifty connections open, of all processes together.
    fn memory(&self) {
        println!("| memory with 50 connections open | processes | most |\n|---|---|---|");
        for (name, _, command) in self.everybody(FLEETS[2], "sleep 3") {
            let Some(mut command) = command else { continue };
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let peak = common::memory::watch(child);
            let verdict = match name.starts_with("`automation") {
                true if peak.bytes > 80_000_000 => ", bar 80 MB **missed**",
                true => ", bar at most 80 MB",
                false => "",
            };
            println!("| {name} | {} | {:.1} MB{verdict} |", peak.processes, peak.bytes as f64 / 1e6);
            self.forget_connections();
        }
    }
}

fn runner<'a>(name: &'static str, bar: Option<f64>, turn: impl FnMut() -> f64 + 'a) -> Runner<'a> {
    Runner { name, bar, turn: Box::new(turn) }
}

async fn connect(machine: &Machine) -> Box<dyn model::connection::Connection> {
    let connector = SshConnector::default();
    connector.connect(machine, &machine.user, Duration::from_secs(30), false).await.unwrap()
}

/// The seconds that a Python peer tells.
fn seconds(mut command: Command) -> Vec<f64> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    told["seconds"].as_array().unwrap().iter().map(|seconds| seconds.as_f64().unwrap()).collect()
}

/// The seconds of a whole process.
fn whole(command: &mut Command) -> f64 {
    let began = Instant::now();
    let output = command.output().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    took
}

/// A state directory that knows `number` machines, all of them the one server.
fn store(state: &Path, sshd: &Sshd, number: usize) -> Vec<Machine> {
    let (run, expires_at) =
        (RunId::new(jiff::Timestamp::now()), saturating_add(jiff::Timestamp::now(), Duration::from_secs(3600)));
    let machine = || Machine { id: MachineId::random(), run: run.clone(), expires_at, kept: true, ..sshd.machine() };
    let machines: Vec<Machine> = (0..number).map(|_| machine()).collect();
    common::store::store(state, &machines);
    machines
}
