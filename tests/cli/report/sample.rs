//! Results of runs as the tool writes them, made up: whole suites over several machines, with all that can become of a test.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::base::id::MachineId;
use model::exit::Exit;
use model::machine::ProviderKind;
use model::matrix::{Coordinate, Point};
use model::outcome::{
    Attempt, Cell, Expectation, MachineUse, OtherAttempt, Results, Span, TestOutcome, TestResult, TimeSplit, Verdict,
    count,
};
use model::run::{RunRecord, RunState};
use model::subject::TestSubject;
use state::dir::StateDir;
use state::runs::RunFile;
use support::tool::Place;

/// How many tests a machine runs at once.
const AT_ONCE: usize = 4;

/// A difference such as Mercurial's runner prints.
const DIFFERENCE: &str = "--- /hgdev/src/tests/test-merge1.t\n+++ /hgdev/src/tests/test-merge1.t.err\n@@ -14,9 +14,10 @@\n   $ hg commit -m \"commit #1\"\n \
    \x20 $ echo This is file c1 > c\n   $ hg merge 1 --debug\n-  resolving manifests\n-  0 files updated, 0 files merged, 0 files removed, 1 files unresolved\n\
    +  abort: merging with the working directory parent has no effect & <nothing> was done\n+  [10]\n+  \u{1b}[31mTraceback (most recent call last):\u{1b}[0m\n   $ hg status\n\
   \x20  M c\n@@ -40,3 +41,3 @@\n   $ cat c | wc -c\n-  a line that is much longer than a telephone is wide, so that it has to be broken somewhere in the middle of it, whatever it says\n+  19\n";

/// A suite that was run.
pub(super) struct Suite {
    /// The run's id.
    pub(super) id: &'static str,
    /// How many tests it has.
    pub(super) tests: usize,
    /// The machines of each cell.
    pub(super) cells: &'static [(&'static str, &'static [&'static str])],
    /// Every so many tests take other times than in a suite with another number here.
    pub(super) pace: u64,
    /// What became of a test.
    pub(super) outcome: fn(usize) -> TestOutcome,
}

/// Many tests on four machines of two cells, with some of everything.
pub(super) const MIXED: Suite = Suite {
    id: "20261120-105301-abcdef",
    tests: 1_000,
    cells: &[("debian12", &["hg-4x2k9q0d7m", "hg-b83mzk1c5t"]), ("debian13", &["hg-c7w0p2v9xn", "hg-d1l5q8y3rj"])],
    pace: 1,
    outcome: |at| match at {
        17 | 230 | 555 | 700 => TestOutcome::Failed,
        301 => TestOutcome::TimedOut,
        990.. => TestOutcome::Lost,
        at if at % 19 == 0 => TestOutcome::Skipped,
        _ => TestOutcome::Passed,
    },
};

/// The same the day before.
pub(super) const EARLIER: Suite = Suite {
    id: "20261119-081500-aaaaaa",
    tests: 985,
    cells: &[("debian12", &["hg-e4x2k9q0d7", "hg-f83mzk1c5t"])],
    pace: 2,
    outcome: |at| match at {
        40 | 41 | 555 => TestOutcome::Failed,
        at if at % 19 == 0 => TestOutcome::Skipped,
        _ => TestOutcome::Passed,
    },
};

/// A few tests on one machine, all green.
pub(super) const GREEN: Suite = Suite {
    id: "20261121-120000-bbbbbb",
    tests: 12,
    cells: &[("debian13", &["hg-4x2k9q0d7m"])],
    pace: 1,
    outcome: |_| TestOutcome::Passed,
};

/// A run with a matrix: a suite for each cell.
pub(super) struct Matrix {
    /// The run's id.
    pub(super) id: &'static str,
    /// The file system of each cell, and its tests; a distribution stands in the suite.
    pub(super) cells: &'static [(&'static str, Suite)],
}

/// A suite of a cell; its tests fail now and then, or where the file system is the cause.
const fn of_cell(
    cells: &'static [(&'static str, &'static [&'static str])],
    pace: u64,
    outcome: fn(usize) -> TestOutcome,
) -> Suite {
    Suite { id: MIXED.id, tests: 250, cells, pace, outcome }
}

fn on_disk(at: usize) -> TestOutcome {
    match at {
        17 => TestOutcome::Failed,
        at if at % 19 == 0 => TestOutcome::Skipped,
        _ => TestOutcome::Passed,
    }
}

fn in_memory(at: usize) -> TestOutcome {
    match at {
        100 | 101 => TestOutcome::Failed,
        200 => TestOutcome::TimedOut,
        _ => on_disk(at),
    }
}

/// Four cells with tests, of which those in memory fail more, and one that could not begin.
pub(super) const MATRIX: Matrix = Matrix {
    id: "20261122-090000-cccccc",
    cells: &[
        ("default", of_cell(&[("debian12", &["hg-4x2k9q0d7m", "hg-b83mzk1c5t"])], 1, on_disk)),
        ("tmpfs", of_cell(&[("debian12", &["hg-c7w0p2v9xn"])], 1, in_memory)),
        ("default", of_cell(&[("debian13", &["hg-d1l5q8y3rj", "hg-a77mzk1c5u"])], 1, on_disk)),
        ("tmpfs", of_cell(&[("debian13", &["hg-e4x2k9q0d7"])], 1, in_memory)),
    ],
};

/// The same the day before, without failures in memory.
pub(super) const MATRIX_EARLIER: Matrix = Matrix {
    id: "20261121-180000-dddddd",
    cells: &[
        ("default", of_cell(&[("debian12", &["hg-f4x2k9q0d7"])], 2, on_disk)),
        ("tmpfs", of_cell(&[("debian12", &["hg-g83mzk1c5t"])], 2, on_disk)),
    ],
};

impl Matrix {
    /// Its results.
    pub(super) fn results(&self) -> Results {
        let mut all = Results { id: self.id.parse().unwrap(), ..self.cells[0].1.results() };
        all.cells.clear();
        all.machines.clear();
        all.tests.clear();
        for (filesystem, suite) in self.cells {
            let part = suite.results();
            let point = point(suite.cells[0].0, filesystem);
            let name = point.name();
            all.cells.extend(part.cells.into_iter().map(|cell| Cell {
                point: point.clone(),
                filesystem: Some((*filesystem).to_owned()),
                ..cell
            }));
            all.machines.extend(part.machines);
            all.tests.extend(part.tests.into_iter().map(|test| TestResult { cell: name.clone(), ..test }));
        }
        if self.id == MATRIX.id {
            all.cells.push(Cell {
                why: Some("image `linux-dev-ubuntu24.04` could not be baked: the mirror gave no answer".to_owned()),
                image: String::new(),
                machines: Vec::new(),
                verdict: Verdict::Incomplete,
                counts: Default::default(),
                distro: None,
                python: None,
                filesystem: None,
                point: point("ubuntu24.04", "default"),
            });
        }
        (all.subject.distro, all.subject.filesystem) = (None, None);
        all.counts = count(&all.tests);
        all.verdict = all.cells.iter().map(|cell| cell.verdict).max_by_key(|verdict| verdict.rank()).unwrap();
        all
    }
}

fn point(distro: &str, filesystem: &str) -> Point {
    let coordinate = |(axis, value): (&str, &str)| Coordinate { axis: axis.to_owned(), value: value.to_owned() };
    Point([("distro", distro), ("filesystem", filesystem)].map(coordinate).to_vec())
}

fn at(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-11-20T10:53:01Z".parse().unwrap();
    start + SignedDuration::from_secs_f64(seconds)
}

/// A number below `below` that looks like chance and is always the same.
fn chance(of: usize, pace: u64, below: u64) -> u64 {
    let mut mixed =
        (of as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(pace.wrapping_mul(0x2545_f491_4f6c_dd1d));
    mixed ^= mixed >> 31;
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 29) % below
}

fn name(number: usize) -> String {
    const WORDS: [&str; 12] = [
        "merge",
        "clone",
        "rebase",
        "phases",
        "subrepo",
        "convert",
        "largefiles",
        "obsolete",
        "hgweb",
        "copies",
        "log",
        "status",
    ];
    const KINDS: [&str; 6] = ["", "-http", "-ssh", "-empty", "-tools", "-default"];
    let case = if number.is_multiple_of(7) { "#stream-bundle2-v2" } else { "" };
    format!("test-{}{}-{number:03}.t{case}", WORDS[number % WORDS.len()], KINDS[number % KINDS.len()])
}

fn took(number: usize, pace: u64) -> f64 {
    let base = chance(number, 0, 4_000) as f64 / 1_000.0 + 0.2;
    let long = if number.is_multiple_of(97) { 40.0 + chance(number, 7, 30) as f64 } else { 0.0 };
    let drift = if chance(number, pace, 23) == 0 { 2.2 } else { 1.0 };
    (base + long) * drift
}

impl Suite {
    /// Its results.
    pub(super) fn results(&self) -> Results {
        let mut lanes: Vec<Lane> =
            self.cells.iter().flat_map(|(_, machines)| *machines).enumerate().map(Lane::new).collect();
        let tests: Vec<TestResult> = (0..self.tests).map(|number| self.test(number, &mut lanes)).collect();
        let end = lanes.iter().map(Lane::end).fold(0.0, f64::max);
        let several = lanes.len() > 1;
        let last = lanes.len() - 1;
        let machines: Vec<MachineUse> =
            lanes.iter().enumerate().map(|(at, lane)| lane.done(several && at == last, end)).collect();
        let counts = count(&tests);
        let verdict = match counts {
            counts if counts.lost > 0 => Verdict::Incomplete,
            counts if counts.failed > 0 => Verdict::Failed,
            _ => Verdict::Passed,
        };
        let cells = self.cells.iter().map(|(distro, machines)| cell(distro, machines, &tests)).collect();
        Results {
            id: self.id.parse().unwrap(),
            verdict,
            counts,
            time: TimeSplit {
                total: Duration::from_secs_f64(end + 3.0),
                image: Duration::ZERO,
                setup: Duration::from_secs_f64(8.4),
                push: Duration::from_secs_f64(2.1),
                build: Duration::from_secs_f64(63.0),
                tests: Duration::from_secs_f64(end - 74.0),
            },
            image: "linux-dev-debian12 (0123456789ab)".into(),
            source: "revision a1b2c3d4e5f6 of /home/ann/hg, with uncommitted changes".into(),
            built: None,
            subject: TestSubject {
                program: "hg".into(),
                version: Some("7.2.4+12".into()),
                revision: Some(format!("a1b2c3d4e5f6{:028}", self.pace)),
                working_copy: self.pace == 1,
                distro: (self.cells.len() == 1).then(|| self.cells[0].0.to_owned()),
                python: Some("3.13.5".into()),
                filesystem: Some("default".into()),
                flags: vec!["-j".into(), "4".into()],
            },
            caveats: Vec::new(),
            gap: None,
            cost: several.then_some(0.4312),
            artifacts: None,
            runner: Exit::Code(u32::from(verdict != Verdict::Passed)),
            last_output: None,
            cells,
            machines,
            tests,
        }
    }

    /// One test, run on the machine that is free first.
    fn test(&self, number: usize, lanes: &mut [Lane]) -> TestResult {
        let outcome = (self.outcome)(number);
        let mut test = TestResult::of(name(number).as_str().into(), outcome, None, None);
        match outcome {
            TestOutcome::Skipped => {
                let why = [
                    "missing feature: svn",
                    "missing feature: Rust extensions",
                    "missing feature: rhg",
                    "not on Linux",
                ];
                test.reason = Some(why[number % why.len()].into());
            }
            TestOutcome::Lost => {
                test.reason = Some("its machine was lost: the connection broke off and did not come back".into())
            }
            _ => {}
        }
        let ran = outcome == TestOutcome::Passed || outcome.is_failure();
        let took = if ran { took(number, self.pace) } else { 0.01 };
        let lane = lanes.iter_mut().min_by(|one, other| one.free().total_cmp(&other.free())).unwrap();
        let began = lane.run(took);
        test.attempt = Some(Attempt { machine: lane.machine.clone(), number: 1 });
        if ran {
            (test.took, test.began_at) = (Some(Duration::from_secs_f64(took)), Some(at(began)));
        }
        if outcome == TestOutcome::Failed {
            test.reason = Some("output changed".into());
            test.detail = Some(DIFFERENCE.repeat(if number == 230 { 20 } else { 1 }));
            test.output_file = Some(format!("outputs/{number}.err"));
            test.expected = Some(Expectation { file: format!("tests/{}", name(number)), sha256: None });
        }
        if outcome == TestOutcome::TimedOut {
            test.reason = Some("timed out".into());
            test.output = Some("  $ hg serve -d --pid-file=hg.pid\n  $ cat hg.pid\n".into());
        }
        if outcome == TestOutcome::Passed && lanes.len() > 2 && number % 331 == 1 {
            make_flaky(&mut test, lanes);
        }
        test
    }
}

/// The test failed on the first machine and was tried again where it passed.
fn make_flaky(test: &mut TestResult, lanes: &mut [Lane]) {
    let began = lanes[0].run(1.5);
    test.attempt.as_mut().unwrap().number = 2;
    test.others = vec![OtherAttempt {
        attempt: Attempt { machine: lanes[0].machine.clone(), number: 1 },
        outcome: TestOutcome::Failed,
        took: Some(Duration::from_secs_f64(1.5)),
        reason: Some("output changed".into()),
        began_at: Some(at(began)),
    }];
}

/// One machine at work.
struct Lane {
    machine: MachineId,
    asked: f64,
    ready: f64,
    /// When each of its places is free again.
    free: [f64; AT_ONCE],
}

impl Lane {
    fn new((number, machine): (usize, &&str)) -> Self {
        let ready = 74.0 + 3.0 * number as f64;
        Self { machine: machine.parse().unwrap(), asked: 0.3 * number as f64, ready, free: [ready; AT_ONCE] }
    }

    fn free(&self) -> f64 {
        self.free.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn end(&self) -> f64 {
        self.free.iter().copied().fold(0.0, f64::max)
    }

    /// Runs a test of this length; gives when it began.
    fn run(&mut self, took: f64) -> f64 {
        let place = self.free.iter_mut().min_by(|one, other| one.total_cmp(other)).unwrap();
        let began = *place;
        *place += took + 0.05;
        began
    }

    fn done(&self, is_lost: bool, end: f64) -> MachineUse {
        let until = self.end();
        MachineUse {
            machine: self.machine.clone(),
            provider: if is_lost { ProviderKind::Ec2 } else { ProviderKind::Local },
            asked_at: at(self.asked),
            up_at: Some(at(self.asked + 6.5)),
            ready_at: Some(at(self.ready)),
            push: Duration::from_secs_f64(2.1),
            build: if self.asked == 0.0 { Duration::from_secs(63) } else { Duration::from_secs(4) },
            at_work: vec![Span { from: at(self.ready), until: at(until) }],
            ended_at: Some(at(if is_lost { until } else { end + 1.0 })),
            cost: is_lost.then_some(0.4312),
            lost: is_lost.then(|| "Amazon took the spot instance back".to_owned()),
        }
    }
}

fn cell(distro: &str, machines: &[&str], tests: &[TestResult]) -> Cell {
    let here =
        |test: &&TestResult| test.attempt.as_ref().is_some_and(|attempt| machines.contains(&attempt.machine.as_str()));
    let counts = count(&tests.iter().filter(here).cloned().collect::<Vec<_>>());
    Cell {
        point: Default::default(),
        why: None,
        image: format!("linux-dev-{distro} (0123456789ab)"),
        distro: Some(distro.to_owned()),
        python: Some("3.13.5".into()),
        filesystem: Some("default".into()),
        machines: machines.iter().map(|machine| machine.parse().unwrap()).collect(),
        verdict: match counts {
            counts if counts.lost > 0 => Verdict::Incomplete,
            counts if counts.failed > 0 => Verdict::Failed,
            _ => Verdict::Passed,
        },
        counts,
    }
}

/// Puts a run with these results where the tool finds it.
pub(super) fn store(place: &Place, results: &Results) {
    support::tool::private(&place.state);
    let state = StateDir::open(&place.state).unwrap();
    let dir = state.create_run(&results.id).unwrap();
    dir.write(RunFile::Results, report::json::render(results).unwrap().as_bytes()).unwrap();
    dir.write(RunFile::Junit, report::junit::render("run-tests-linux", results).unwrap().as_bytes()).unwrap();
    let record = RunRecord {
        id: results.id.clone(),
        command: "run-tests-linux".into(),
        arguments: ["run-tests-linux", "--shards", "4", "--working-copy"].map(str::to_owned).to_vec(),
        owner: "ann@build1".into(),
        driver: state::process::current().unwrap(),
        state: RunState::Ended,
        started_at: at(0.0),
        ended_at: Some(at(600.0)),
        exit_code: Some(results.verdict.exit_code()),
        summary: Some(report::terminal::verdict(results)),
    };
    model::journal::RunJournal::store_run(&state.journal().unwrap(), &record).unwrap();
}
