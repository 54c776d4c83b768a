//! The main job on Amazon EC2 in an account that is set up, against the emulator with real machines: how many calls, where
//! its time goes, memory. Prints a table, with the same job on this computer in the same run.
//!
//! `cargo bench -p aws-emulator --bench ec2` runs it; it needs root, because the machines of the emulator listen on port 22, and what
//! `docs/testing.md` says of the emulator. Base systems and the image of local machines are kept in `target/bench-state` (or
//! `AUTOMATION_BENCH_STATE`), which `benches/machines.rs` uses too. The AMI is baked anew each time, for moto keeps its records
//! in memory only: two minutes.
//!
//! The driver's own share of the setup is what is left of it without the times in which a call waited for its answer, and
//! without the time from the answer to `RunInstances` until port 22 answers. It holds what is done on the machine over SSH.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_emulator::control::covered;
use aws_emulator::{Emulator, Options};
use support::tool::binary;

/// The main job: three tests of Mercurial's own suite.
const JOB: [&str; 5] = ["run-tests-linux", "--json", "test-add.t", "test-commit.t", "test-merge1.t"];

/// How many times it runs on each side.
const RUNS: usize = 3;

/// The most calls in an account that is set up, and the most of the setup that may be the driver's own.
const MOST_CALLS: usize = 20;
const MOST_OWN: Duration = Duration::from_secs(1);

fn main() {
    if !rustix::process::geteuid().is_root() {
        println!("left out: machines of the emulator listen on port 22, which needs root");
        return;
    }
    let state = std::env::var_os("AUTOMATION_BENCH_STATE")
        .map_or_else(|| support::root().join("target/bench-state"), PathBuf::from);
    let folder = tempfile::tempdir().unwrap();
    let local = Side { state: state.clone(), home: folder.path().to_owned(), emulator: None };
    eprintln!("image of local machines (baked on first use) ...");
    local.prepare(&["image", "build"]);
    let options = Options {
        folder: folder.path().join("emulator"),
        machines: true,
        executable: binary().into(),
        shares_moto: false,
        bases: state,
    };
    let aws = Emulator::start(options).unwrap();
    let ec2 = Side { state: folder.path().join("state"), home: folder.path().to_owned(), emulator: Some(&aws) };
    eprintln!("AMI (baked each time) ...");
    ec2.prepare(&["bootstrap-linux-dev", "--distros", "debian12"]);
    // In turns, so that whatever else this computer does meets both alike.
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for number in 1..=RUNS {
        eprintln!("run {number} of {RUNS} ...");
        here.push(local.measure());
        there.push(ec2.measure());
        eprintln!("calls, with the seconds when they came:{}", there[number - 1].sequence);
    }
    print(&here, &there);
    let calls = there.iter().map(|run| run.calls).max().unwrap();
    assert!(calls <= MOST_CALLS, "{calls} calls");
    let own = median(&there, |run| run.own);
    assert!(own <= MOST_OWN, "{own:?} of the setup are the driver's own");
}

/// The tool with machines of one provider.
struct Side<'a> {
    state: PathBuf,
    home: PathBuf,
    /// Of EC2, the account.
    emulator: Option<&'a Emulator>,
}

/// What one run came to.
struct Measure {
    /// How many calls there were.
    calls: usize,
    /// Each call, with the seconds from the start at which it came.
    sequence: String,
    /// From the start of the process to its end.
    whole: Duration,
    /// From its start to that of the tests.
    setup: Duration,
    /// Of the setup, the time in which at least one call waited for its answer.
    answers: Duration,
    /// From the answer to the launch until port 22 answered.
    boot: Duration,
    /// Of the setup, what is neither.
    own: Duration,
    /// From the end of the tests to the end of the process.
    after: Duration,
    /// Peak resident memory of the driver, kB.
    memory: i64,
}

impl Side<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &self.home);
        command.arg("--state-path").arg(&self.state).current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
        if let Some(aws) = self.emulator {
            command.args(["--provider", "ec2"]).envs(aws.environment());
        }
        command.args(arguments);
        command
    }

    fn prepare(&self, arguments: &[&str]) {
        let done = self.command(arguments).stdout(Stdio::null()).status().unwrap();
        assert!(done.success(), "{arguments:?}: {done}");
    }

    fn measure(&self) -> Measure {
        if let Some(aws) = self.emulator {
            aws.control.clear_log();
        }
        let began = Instant::now();
        let child = self.command(&JOB).stdout(Stdio::piped()).spawn().unwrap();
        let (output, memory) = support::child::finish(child);
        let whole = began.elapsed();
        let results: serde_json::Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(results["verdict"], "passed");
        let time = |name: &str| Duration::from_secs_f64(results["time"][name].as_f64().unwrap());
        let setup = time("image") + time("setup");
        let after = whole.saturating_sub(setup + time("tests"));
        let local = Measure {
            calls: 0,
            sequence: String::new(),
            whole,
            setup,
            answers: Duration::ZERO,
            boot: Duration::ZERO,
            own: setup,
            after,
            memory,
        };
        match self.emulator {
            Some(aws) => ec2_parts(aws, began, local),
            None => local,
        }
    }
}

/// Adds to what the tool says of a run, which began at `began`, what the emulator saw of it.
fn ec2_parts(aws: &Emulator, began: Instant, run: Measure) -> Measure {
    let end = began + run.setup;
    let log = aws.control.calls();
    let launched = log.iter().find(|call| call.name == "ec2:RunInstances").unwrap().answered.unwrap();
    let [(_, booted)] = aws.control.boots()[..] else { panic!("not one instance was launched") };
    let boot = booted.saturating_duration_since(launched);
    let mut waits = aws.control.waits();
    let answers = covered(waits.clone(), end);
    waits.push((launched, booted));
    let own = run.setup - covered(waits, end);
    let sequence: String = log
        .iter()
        .map(|call| format!(" {} {:.2}", call.name, call.came.saturating_duration_since(began).as_secs_f64()))
        .collect();
    Measure { calls: log.len(), sequence, answers, boot, own, ..run }
}

fn median(runs: &[Measure], of: impl Fn(&Measure) -> Duration) -> Duration {
    let mut times: Vec<Duration> = runs.iter().map(of).collect();
    times.sort();
    times[times.len() / 2]
}

fn print(here: &[Measure], there: &[Measure]) {
    let row = |what: &str, bar: &str, of: fn(&Measure) -> Duration, both: bool| {
        let (ec2, local) = (median(there, of).as_secs_f64(), median(here, of).as_secs_f64());
        let beside = if both { format!("{local:.2} s ({:.2} times)", ec2 / local) } else { String::new() };
        println!("| {what} | {ec2:.2} s | {bar} | {beside} |");
    };
    println!("| of the main job, median of {RUNS} | EC2 | bar | local |\n|---|---|---|---|");
    let counts: Vec<String> = there.iter().map(|run| run.calls.to_string()).collect();
    println!("| calls, run by run | {} | at most {MOST_CALLS} | |", counts.join(", "));
    row("whole", "", |run| run.whole, true);
    row("setup", "", |run| run.setup, true);
    row("of it, waiting for the emulator's answers", "", |run| run.answers, false);
    row("of it, from the launch to port 22", "", |run| run.boot, false);
    row("of it, the driver's own share", "at most 1 s", |run| run.own, true);
    row("after the tests, until all is seen gone", "", |run| run.after, true);
    let memory = |runs: &[Measure]| runs.iter().map(|run| run.memory).max().unwrap() as f64 / 1e3;
    println!("| peak memory of the driver | {:.1} MB | | {:.1} MB |", memory(there), memory(here));
}
