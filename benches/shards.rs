//! How close a run that is split over machines comes to the shortest time that is possible, beside an even split by count; and
//! what handing out tests costs. Prints a table with the bars.
//!
//! `cargo bench --bench shards` runs it on local machines, with tests that only sleep, and with an image that
//! `target/test-cache` holds or gets. Lengths are those of a suite: many short tests, few long ones. Time is counted from the
//! first test to the last, by what the runs wrote down. The shortest time is all the work, as the runner measured it test by test, divided by the machines, and no less than the longest test;
//! that of an even split is the longest of as many piles with as many tests each, in the runner's order. Two rows have a machine whose
//! tests take three times as long, and one that is killed in the middle. A second table has 100 of Mercurial's own tests, beside
//! its runner with as many tests at once on one machine.
//! `AUTOMATION_BENCH_SECONDS` (240) is how long the tests sleep in all; `AUTOMATION_BENCH_ONLY` names one of `sleep`, `real` and `queue`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flow::testing::shards::queue::{Next, Queue};
use flow::testing::shards::{Happening, Joined, PartEnd, Policy, Selection};
use jiff::Timestamp;
use model::base::id::{MachineId, TestName};
use model::build::BuildOrigin;
use model::exit::Exit;
use model::machine::ProviderKind;
use model::outcome::{TestOutcome, TestResult};
use model::subject::TestSubject;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::mercurial::{READY_HG, related, small};
use support::tool::{Place, Running};

/// How many tests sleep.
const TESTS: usize = 60;

/// What is most allowed of a run over the shortest time: with what earlier runs took, and without.
const BARS: (f64, f64) = (1.10, 1.25);

fn main() {
    let seconds: f64 =
        std::env::var("AUTOMATION_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(240.0);
    let only = std::env::var("AUTOMATION_BENCH_ONLY").ok();
    let wants = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wants("sleep") {
        sleeping(seconds);
    }
    if wants("real") {
        beside_one_machine();
    }
    if wants("queue") {
        scheduling();
    }
}

/// What happens to one of the machines.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Lives,
    /// Its tests take three times as long.
    IsSlow,
    IsKilled,
}

fn sleeping(seconds: f64) {
    println!("| machines | what | makespan / ideal | even split / ideal | bar |\n|---|---|---|---|---|");
    for machines in [2, 4, 8] {
        let bench = Bench::new(seconds);
        bench.row(machines, "nothing known", BARS.1, Fate::Lives);
        bench.row(machines, "known", BARS.0, Fate::Lives);
        if machines == 4 {
            bench.row(machines, "known, one three times slower", BARS.0, Fate::IsSlow);
            bench.row(machines, "known, one killed in the middle", BARS.0, Fate::IsKilled);
        }
    }
}

/// How many of Mercurial's tests are run, and for how much longer than one machine two may take, seconds.
const REAL: usize = 100;
const REAL_BAR: f64 = 3.0;

/// 100 of Mercurial's own tests over two machines with one test at once each, beside its runner with two at once on one machine.
fn beside_one_machine() {
    let place = Place::whole();
    let checkout = related(place.path());
    let mut sizes: Vec<(u64, String)> = std::fs::read_dir(checkout.join("tests"))
        .unwrap()
        .flatten()
        .map(|entry| (entry.metadata().unwrap().len(), entry.file_name().into_string().unwrap()))
        .filter(|(_, name)| name.starts_with("test-") && name.ends_with(".t"))
        .collect();
    sizes.sort();
    // The longest would hide all else: the smaller half of the files, evenly.
    let step = sizes.len() / 2 / REAL;
    let names: Vec<&str> = sizes.iter().step_by(step.max(1)).take(REAL).map(|(_, name)| name.as_str()).collect();
    let run = |further: &[&str], flags: &[&str]| {
        let words = [&["run-tests-linux", "--image-source"], further, &names, &["--"], flags].concat();
        let began = Instant::now();
        let done = place.run(&words);
        assert!([0, 1].contains(&done.code()), "{}", done.stderr);
        (began.elapsed().as_secs_f64(), makespan(&place.state.join("runs").join(place.latest())))
    };
    println!("\n| what | tests, s | whole run, s |\n|---|---|---|");
    let row = |what: &str, (whole, tests): (f64, f64)| {
        println!("| {what} | {tests:.1} | {whole:.1} |");
        whole
    };
    let one = row("one machine, `-j2`", run(&[], &["-j2"]));
    row("two machines, nothing known", run(&["--shards", "2"], &["-j1"]));
    let two = row("two machines, known", run(&["--shards", "2"], &["-j1"]));
    println!("\ntwo machines take {:+.1} s (bar {REAL_BAR:+.1} s), {:+.1} s a machine", two - one, (two - one) / 2.0);
}

struct Bench {
    place: Place,
    checkout: PathBuf,
    lengths: BTreeMap<String, f64>,
    /// How long a test takes beside its sleep, seconds, in the run before.
    beside: std::cell::Cell<f64>,
}

impl Bench {
    fn new(seconds: f64) -> Self {
        let place = Place::whole();
        let share = |n: usize| 0.15 + ((n * 37 % TESTS) as f64 / TESTS as f64).powi(4);
        let all: f64 = (0..TESTS).map(share).sum();
        let lengths: BTreeMap<String, f64> =
            (0..TESTS).map(|n| (format!("test-sleeps-{n:02}.t"), share(n) / all * seconds)).collect();
        let texts: Vec<(String, String)> = lengths
            .iter()
            .map(|(name, length)| {
                (
                    name.clone(),
                    format!("  $ sleep {length:.3}\n  $ if test -e /hgwork/slow; then sleep {:.3}; fi\n", 2.0 * length),
                )
            })
            .collect();
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let checkout = small(place.path(), &texts);
        Self { place, checkout, lengths, beside: std::cell::Cell::new(0.0) }
    }

    /// One run, and how it compares.
    fn row(&self, machines: usize, what: &str, bar: f64, fate: Fate) {
        let shards = machines.to_string();
        let names: Vec<&str> = self.lengths.keys().map(String::as_str).collect();
        let source = ["run-tests-linux", "--source", self.checkout.to_str().unwrap(), "--shards", &shards];
        let running = self.place.start(&[&source[..], &names, &READY_HG, &["-j1"]].concat());
        let all: f64 = self.lengths.values().sum();
        self.befall(fate, &running, all / machines as f64);
        running.end_within(Duration::from_secs(900)).expect(0);
        let folder = self.place.state.join("runs").join(self.place.latest());
        let took = makespan(&folder);
        // What a test takes beside its sleep (the runner starts shells for it) is work too, whoever hands it out.
        if fate != Fate::IsSlow {
            self.beside.set((work(&folder) - all).max(0.0) / TESTS as f64);
        }
        let piles: Vec<f64> = self.lengths.values().map(|length| length + self.beside.get()).collect();
        let all: f64 = piles.iter().sum();
        let longest = piles.iter().copied().fold(0.0, f64::max);
        let speed = machines as f64 - if fate == Fate::IsSlow { 2.0 / 3.0 } else { 0.0 };
        let ideal = (all / speed).max(longest);
        let even = piles.chunks(TESTS.div_ceil(machines)).map(|pile| pile.iter().sum::<f64>()).fold(0.0, f64::max);
        println!("| {machines} | {what} | {:.2} | {:.2} | {bar:.2} |", took / ideal, even / ideal);
    }
}

impl Bench {
    /// Slows one machine down before its first test, or kills it in the middle of the `ideal` time.
    fn befall(&self, fate: Fate, running: &Running, ideal: f64) {
        if fate == Fate::Lives {
            return;
        }
        running.wait_for("tests expected");
        let machines = self.place.json(&["machine", "list", "--json"]);
        let machine = machines[0]["id"].as_str().unwrap();
        match fate {
            Fate::IsSlow => drop(self.place.exec(machine, &["touch", "/hgwork/slow"]).expect(0)),
            _ => {
                std::thread::sleep(Duration::from_secs_f64(ideal / 2.0));
                let facts = std::fs::read(self.place.state.join("machines").join(machine).join("guard.json")).unwrap();
                let facts: Value = serde_json::from_slice(&facts).unwrap();
                let init = i32::try_from(facts["init"]["pid"].as_i64().unwrap()).unwrap();
                kill_process(Pid::from_raw(init).unwrap(), Signal::KILL).unwrap();
            }
        }
    }
}

/// From the first test to the last, seconds.
fn makespan(folder: &Path) -> f64 {
    let results: Value = serde_json::from_slice(&std::fs::read(folder.join("results.json")).unwrap()).unwrap();
    let machines = results["machines"].as_array().unwrap();
    let spans = || machines.iter().flat_map(|used| used["at_work"].as_array().unwrap());
    let at = |span: &Value, field: &str| span[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    let (from, until) = (spans().map(|span| at(span, "from")).min(), spans().map(|span| at(span, "until")).max());
    Duration::try_from(until.unwrap().duration_since(from.unwrap())).unwrap().as_secs_f64()
}

/// How long all tests took together, by the runner's own measure, seconds.
fn work(folder: &Path) -> f64 {
    let results: Value = serde_json::from_slice(&std::fs::read(folder.join("results.json")).unwrap()).unwrap();
    results["tests"].as_array().unwrap().iter().filter_map(|test| test["seconds"].as_f64()).sum()
}

/// Hands 10,000 tests to 64 machines, as fast as that goes.
fn scheduling() {
    let (tests, machines) = (10_000usize, 64usize);
    let names: Vec<TestName> = (0..tests).map(|n| TestName::from(format!("test-{n:05}.t").as_str())).collect();
    let length = |n: usize| 0.2 + (n * 7919 % tests) as f64 / 1000.0;
    let foreseen = names.iter().enumerate().map(|(n, name)| (name.clone(), length(n))).collect();
    let work: f64 = (0..tests).map(length).sum();
    let before = peak_memory();
    let began = Instant::now();
    let subject = TestSubject { program: "hg".into(), ..serde_json::from_str(SUBJECT).unwrap() };
    let built = BuildOrigin::Image;
    let policy = Policy::default();
    let mut queue =
        Queue::new(Selection { tests: names, foreseen, source: String::new(), subject, built, policy, machines });
    let ids: Vec<MachineId> = (0..machines).map(|n| format!("hg-machine{n:03}").parse().unwrap()).collect();
    let at = Timestamp::UNIX_EPOCH;
    for machine in ids.iter().cloned() {
        let (provider, jobs, zero) = (ProviderKind::Local, 1, Duration::ZERO);
        queue.apply(Happening::Joined(Joined {
            machine,
            provider,
            jobs,
            asked_at: at,
            up_at: at,
            push: zero,
            build: zero,
        }));
    }
    let mut parts = 0;
    while !queue.is_done() {
        for machine in &ids {
            let Next::Part(part) = queue.next(machine) else { continue };
            parts += 1;
            queue.apply(Happening::Took { machine: machine.clone(), part: part.number, tests: part.tests.clone() });
            let passed = |test: TestName| TestResult::of(test, TestOutcome::Passed, Some(Duration::from_secs(1)), None);
            let results: Vec<TestResult> = part.tests.into_iter().map(passed).collect();
            let end = PartEnd {
                exit: Exit::Code(0),
                gap: None,
                caveats: Vec::new(),
                took: Duration::from_secs(1),
                results,
                taken_back: false,
            };
            queue.apply(Happening::Ended { machine: machine.clone(), part: part.number, end: Box::new(end) });
        }
    }
    let (took, wall) = (began.elapsed().as_secs_f64(), work / machines as f64);
    let memory = peak_memory() - before;
    println!(
        "\n{tests} tests on {machines} machines: {parts} parts, {:.1} ms in all, {:.4} % of the {wall:.0} s that they would take (bar 1 %), {memory:.0} MB (bar 100 MB)",
        took * 1e3,
        took / wall * 100.0
    );
}

/// The most memory that this process has had, megabytes.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
}

/// Nothing is known of what is tested.
const SUBJECT: &str = r#"{"program":"","version":null,"revision":null,"working_copy":false,"distro":null,"python":null,"filesystem":null,"flags":[]}"#;
