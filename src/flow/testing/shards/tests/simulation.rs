//! Whole runs on machines of which only the clock exists: how close they come to the shortest time that is possible.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use model::base::id::TestName;
use model::exit::Exit;
use model::outcome::{TestOutcome, TestResult};

use super::{join, machine, selection, take};
use crate::testing::shards::entry::{Happening, PartEnd, Policy};
use crate::testing::shards::merge;
use crate::testing::shards::queue::{Next, Queue};

/// How long a runner takes to start, seconds.
const START: f64 = 0.5;

/// Tests with the lengths of a real suite: many short, few long; seconds. No chance is in it.
fn lengths(count: usize) -> BTreeMap<String, f64> {
    let length = |n: usize| 0.2 + 40.0 * ((n * 7919 % count) as f64 / count as f64).powi(6);
    (0..count).map(|n| (format!("test-{n:05}.t"), length(n))).collect()
}

/// The machines of a run.
struct Scene {
    machines: usize,
    known: bool,
    /// The first machine is so many times slower.
    slow: f64,
    /// The second one ends at this time.
    death: Option<f64>,
}

/// How long the run takes over the shortest time that is possible.
fn play(scene: &Scene, tests: usize) -> f64 {
    let lengths = lengths(tests);
    let names: Vec<&str> = lengths.keys().map(String::as_str).collect();
    let known: Vec<(&str, f64)> = lengths.iter().map(|(name, took)| (name.as_str(), *took)).collect();
    let known = if scene.known { known } else { Vec::new() };
    let mut queue = Queue::new(selection(&names, &known, Policy::default()));
    let speed = |number: usize| if number == 0 { scene.slow } else { 1.0 };
    // When each machine has ended its part, in microseconds, with the part.
    let mut busy: BinaryHeap<Reverse<(u64, usize, u32)>> = BinaryHeap::new();
    let mut parts: BTreeMap<usize, Vec<TestName>> = BTreeMap::new();
    let (mut idle, mut now): (Vec<usize>, f64) = ((0..scene.machines).collect(), 0.0);
    for number in 0..scene.machines {
        join(&mut queue, number);
    }
    loop {
        idle.retain(|&number| {
            if !matches!(queue.next(&machine(number)), Next::Part(_)) {
                return true;
            }
            let part = take(&mut queue, &machine(number));
            let took: f64 = part.tests.iter().map(|test| lengths[test.as_str()] * speed(number)).sum();
            busy.push(Reverse((((now + START + took) * 1e6) as u64, number, part.number)));
            parts.insert(number, part.tests);
            false
        });
        let Some(Reverse((at, number, part))) = busy.pop() else { break };
        let (end, had) = (at as f64 / 1e6, parts.remove(&number).unwrap());
        now = end;
        if number == 1 && scene.death.is_some_and(|death| end > death) {
            queue.apply(Happening::Lost { machine: machine(number), why: "it was ended".into() });
            continue;
        }
        let result = |test: &TestName| {
            let took = Duration::from_secs_f64(lengths[test.as_str()] * speed(number));
            TestResult::of(test.clone(), TestOutcome::Passed, Some(took), None)
        };
        let results: Vec<TestResult> = had.iter().map(result).collect();
        let took = results.iter().filter_map(|result| result.took).sum::<Duration>() + Duration::from_secs_f64(START);
        let end =
            Box::new(PartEnd { exit: Exit::Code(0), gap: None, caveats: Vec::new(), took, results, taken_back: false });
        queue.apply(Happening::Ended { machine: machine(number), part, end });
        idle.push(number);
    }
    assert!(merge::results(&queue, "").iter().all(|test| test.outcome == TestOutcome::Passed));
    let total: f64 = lengths.values().sum();
    let lived = scene.death.map_or(0.0, |death| death.min(now));
    let others = scene.machines - 1 - usize::from(scene.death.is_some());
    // All the work, divided by what the machines can do in that time.
    let power = others as f64 + 1.0 / scene.slow;
    let ideal = ((total - lived) / power).max(lengths.values().copied().fold(0.0, f64::max));
    now / ideal
}

#[test]
fn a_run_ends_close_to_the_shortest_time_that_is_possible() {
    for machines in 2..=8 {
        for (known, most) in [(true, 1.10), (false, 1.25)] {
            for (slow, death) in [(1.0, None), (3.0, None), (1.0, Some(100.0)), (3.0, Some(100.0))] {
                let ratio = play(&Scene { machines, known, slow, death }, 600);
                println!("{machines} machines, known {known}, slow {slow}, death {death:?}: {ratio:.3}");
                assert!(ratio <= most, "{machines} machines, known {known}, slow {slow}, death {death:?}: {ratio:.3}");
            }
        }
    }
}
