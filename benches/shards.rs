//! How close a run that is split over machines comes to the shortest time that is possible, beside an even split by count; and
//! what handing out tests costs. Prints a table with the bars.
//!
//! `cargo bench --bench shards` runs it on local machines, with tests that only sleep, and with an image that
//! `target/test-cache` holds or gets. Lengths are those of a suite: many short tests, few long ones. Time is counted from the
//! first test to the last, by what the runs wrote down. The shortest time is all the work divided by the machines, and no less than the longest test;
//! that of an even split is the longest of as many piles with as many tests each, in the runner's order.
//! `AUTOMATION_BENCH_SECONDS` (90) is how long the tests sleep in all.

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
use serde_json::Value;
use support::mercurial::{READY_HG, small};
use support::tool::Place;

/// How many tests sleep.
const TESTS: usize = 60;

/// What is most allowed of a run over the shortest time: with what earlier runs took, and without.
const BARS: (f64, f64) = (1.10, 1.25);

fn main() {
    let seconds: f64 =
        std::env::var("AUTOMATION_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(90.0);
    println!("| machines | what | makespan / ideal | even split / ideal | bar |\n|---|---|---|---|---|");
    for machines in [2, 4, 8] {
        let bench = Bench::new(seconds);
        bench.row(machines, "nothing known", BARS.1);
        bench.row(machines, "known", BARS.0);
    }
    scheduling();
}

struct Bench {
    place: Place,
    checkout: PathBuf,
    lengths: BTreeMap<String, f64>,
}

impl Bench {
    fn new(seconds: f64) -> Self {
        let place = Place::whole();
        let share = |n: usize| 0.15 + ((n * 37 % TESTS) as f64 / TESTS as f64).powi(4);
        let all: f64 = (0..TESTS).map(share).sum();
        let lengths: BTreeMap<String, f64> =
            (0..TESTS).map(|n| (format!("test-sleeps-{n:02}.t"), share(n) / all * seconds)).collect();
        let texts: Vec<(String, String)> =
            lengths.iter().map(|(name, length)| (name.clone(), format!("  $ sleep {length:.3}\n"))).collect();
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let checkout = small(place.path(), &texts);
        Self { place, checkout, lengths }
    }

    /// One run, and how it compares.
    fn row(&self, machines: usize, what: &str, bar: f64) {
        let shards = machines.to_string();
        let names: Vec<&str> = self.lengths.keys().map(String::as_str).collect();
        let source = ["run-tests-linux", "--source", self.checkout.to_str().unwrap(), "--shards", &shards];
        self.place.run(&[&source[..], &names, &READY_HG, &["-j1"]].concat()).expect(0);
        let folder = self.place.state.join("runs").join(self.place.latest());
        let took = makespan(&folder);
        let longest = self.lengths.values().copied().fold(0.0, f64::max);
        let ideal = (self.lengths.values().sum::<f64>() / machines as f64).max(longest);
        let piles: Vec<f64> = self.lengths.values().copied().collect();
        let even = piles.chunks(TESTS.div_ceil(machines)).map(|pile| pile.iter().sum::<f64>()).fold(0.0, f64::max);
        println!("| {machines} | {what} | {:.2} | {:.2} | {bar:.2} |", took / ideal, even / ideal);
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

/// Hands 10,000 tests to 64 machines, as fast as that goes.
fn scheduling() {
    let (tests, machines) = (10_000usize, 64usize);
    let names: Vec<TestName> = (0..tests).map(|n| TestName::from(format!("test-{n:05}.t").as_str())).collect();
    let length = |n: usize| 0.2 + (n * 7919 % tests) as f64 / 1000.0;
    let foreseen = names.iter().enumerate().map(|(n, name)| (name.clone(), length(n))).collect();
    let work: f64 = (0..tests).map(length).sum();
    let began = Instant::now();
    let subject = TestSubject { program: "hg".into(), ..serde_json::from_str(SUBJECT).unwrap() };
    let built = BuildOrigin::Image;
    let policy = Policy::default();
    let mut queue = Queue::new(Selection { tests: names, foreseen, source: String::new(), subject, built, policy });
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
            let end =
                PartEnd { exit: Exit::Code(0), gap: None, caveats: Vec::new(), took: Duration::from_secs(1), results };
            queue.apply(Happening::Ended { machine: machine.clone(), part: part.number, end: Box::new(end) });
        }
    }
    let (took, wall) = (began.elapsed().as_secs_f64(), work / machines as f64);
    println!(
        "\n{tests} tests on {machines} machines: {parts} parts, {:.1} ms in all, {:.4} % of the {wall:.0} s that they would take (bar 1 %)",
        took * 1e3,
        took / wall * 100.0
    );
}

/// Nothing is known of what is tested.
const SUBJECT: &str = r#"{"program":"","version":null,"revision":null,"working_copy":false,"distro":null,"python":null,"filesystem":null,"flags":[]}"#;
