//! The queue, held against machines that exist only as a clock: what they bring, how they die, when all is done.

mod simulation;

use std::collections::BTreeMap;
use std::time::Duration;

use model::base::id::{MachineId, TestName};
use model::build::BuildOrigin;
use model::exit::Exit;
use model::machine::ProviderKind;
use model::outcome::{TestOutcome, TestResult};
use model::subject::TestSubject;

use crate::testing::shards::entry::{Closing, Happening, Joined, PartEnd, Policy, Selection, TestOrder};
use crate::testing::shards::merge;
use crate::testing::shards::queue::{MOST_RETURNS, Next, NextPart, Queue};

fn selection(tests: &[&str], foreseen: &[(&str, f64)], policy: Policy) -> Selection {
    Selection {
        tests: tests.iter().map(|test| TestName::from(*test)).collect(),
        foreseen: foreseen.iter().map(|(test, took)| (TestName::from(*test), *took)).collect(),
        source: "a source".into(),
        subject: TestSubject {
            program: "hg".into(),
            version: None,
            revision: None,
            working_copy: false,
            distro: None,
            python: None,
            filesystem: None,
            flags: Vec::new(),
        },
        built: BuildOrigin::Image,
        policy,
        machines: 0,
    }
}

fn machine(number: usize) -> MachineId {
    format!("hg-machine{number:03}").parse().unwrap()
}

fn join(queue: &mut Queue, number: usize) -> MachineId {
    let machine = machine(number);
    let at = jiff::Timestamp::UNIX_EPOCH;
    queue.apply(Happening::Joined(Joined {
        machine: machine.clone(),
        provider: ProviderKind::Local,
        jobs: 1,
        asked_at: at,
        up_at: at,
        push: Duration::ZERO,
        build: Duration::ZERO,
    }));
    machine
}

/// Gives the machine its next part.
fn take(queue: &mut Queue, machine: &MachineId) -> NextPart {
    let Next::Part(part) = queue.next(machine) else { panic!("{:?}", queue.next(machine)) };
    queue.apply(Happening::Took { machine: machine.clone(), part: part.number, tests: part.tests.clone() });
    part
}

fn result(test: &str, outcome: TestOutcome) -> TestResult {
    TestResult::of(test.into(), outcome, Some(Duration::from_secs(1)), None)
}

/// Ends a part with these outcomes.
fn end(queue: &mut Queue, machine: &MachineId, part: u32, exit: Exit, results: Vec<TestResult>) {
    let took = Duration::from_secs(1);
    let end = Box::new(PartEnd { exit, gap: None, caveats: Vec::new(), took, results, taken_back: false });
    queue.apply(Happening::Ended { machine: machine.clone(), part, end });
}

fn outcomes(queue: &Queue) -> BTreeMap<String, TestOutcome> {
    merge::results(queue, "nobody").into_iter().map(|test| (test.name.to_string(), test.outcome)).collect()
}

#[test]
fn each_test_comes_to_one_result_and_the_longest_goes_first() {
    let known = [("a", 1.0), ("b", 9.0), ("c", 5.0)];
    let mut queue = Queue::new(selection(&["a", "b", "c"], &known, Policy::default()));
    let (first, second) = (join(&mut queue, 1), join(&mut queue, 2));
    let one = take(&mut queue, &first);
    assert_eq!(one.tests, ["b".into()], "half of what there is to do is less than the longest");
    let two = take(&mut queue, &second);
    assert_eq!(two.tests[0].as_str(), "c");
    end(&mut queue, &first, one.number, Exit::Code(0), vec![result("b", TestOutcome::Passed)]);
    for test in two.tests {
        end(&mut queue, &second, two.number, Exit::Code(0), vec![result(test.as_str(), TestOutcome::Passed)]);
    }
    while let Next::Part(_) = queue.next(&first) {
        let part = take(&mut queue, &first);
        let results = part.tests.iter().map(|test| result(test.as_str(), TestOutcome::Passed)).collect();
        end(&mut queue, &first, part.number, Exit::Code(0), results);
    }
    assert_eq!((queue.next(&first), queue.is_done()), (Next::Done, true));
    assert!(outcomes(&queue).values().all(|outcome| *outcome == TestOutcome::Passed));
}

#[test]
fn a_lost_machine_gives_its_tests_back_and_one_that_ends_machines_is_run_alone_and_then_lost() {
    let mut queue = Queue::new(selection(&["a", "b"], &[("a", 1.0), ("b", 1.0)], Policy::default()));
    for number in 1..=MOST_RETURNS as usize {
        let machine = join(&mut queue, number);
        let mut part = take(&mut queue, &machine);
        while !part.tests.contains(&"a".into()) {
            let results = part.tests.iter().map(|test| result(test.as_str(), TestOutcome::Passed)).collect();
            end(&mut queue, &machine, part.number, Exit::Code(0), results);
            part = take(&mut queue, &machine);
        }
        assert!(number <= 2 || part.tests.len() == 1, "alone by now: {part:?}");
        let lost = TestResult {
            began_at: Some(jiff::Timestamp::UNIX_EPOCH),
            ..TestResult::of("a".into(), TestOutcome::Lost, None, Some("gone".into()))
        };
        end(&mut queue, &machine, part.number, Exit::Lost("gone".into()), vec![lost]);
        queue.apply(Happening::Lost { machine: machine.clone(), why: "gone".into() });
        assert_eq!(queue.next(&machine), Next::Done);
    }
    let last = join(&mut queue, 9);
    while let Next::Part(_) = queue.next(&last) {
        let part = take(&mut queue, &last);
        assert_eq!(part.tests, ["b".into()]);
        end(&mut queue, &last, part.number, Exit::Code(0), vec![result("b", TestOutcome::Passed)]);
    }
    assert_eq!(outcomes(&queue), [("a".into(), TestOutcome::Lost), ("b".into(), TestOutcome::Passed)].into());
}

#[test]
fn a_failed_test_is_tried_again_elsewhere_and_is_flaky_where_it_passes() {
    let policy = Policy { retries: 2, ..Policy::default() };
    let mut queue = Queue::new(selection(&["a"], &[], policy));
    let (first, second) = (join(&mut queue, 1), join(&mut queue, 2));
    let part = take(&mut queue, &first);
    end(&mut queue, &first, part.number, Exit::Code(1), vec![result("a", TestOutcome::Failed)]);
    assert_eq!(queue.next(&first), Next::Wait, "another machine is there");
    let part = take(&mut queue, &second);
    end(&mut queue, &second, part.number, Exit::Code(0), vec![result("a", TestOutcome::Passed)]);
    let results = merge::results(&queue, "");
    assert_eq!((results.len(), results[0].outcome, results[0].is_flaky()), (1, TestOutcome::Passed, true));
    assert_eq!(results[0].attempt.as_ref().unwrap().number, 2);
    assert_eq!(results[0].others[0].attempt.machine, first);
    assert!(queue.is_done());
}

#[test]
fn where_enough_have_failed_the_rest_is_skipped_with_that_reason() {
    let policy = Policy { max_failures: Some(1), ..Policy::default() };
    let mut queue = Queue::new(selection(&["a", "b", "c", "d"], &[], policy));
    let first = join(&mut queue, 1);
    let part = take(&mut queue, &first);
    let results = vec![result("a", TestOutcome::Failed), result("b", TestOutcome::Passed)];
    end(&mut queue, &first, part.number, Exit::Code(1), results);
    assert_eq!((queue.next(&first), queue.is_done()), (Next::Done, true));
    let results = merge::results(&queue, "");
    let reasons: Vec<_> = results[2..].iter().map(|test| (test.outcome, test.reason.as_deref().unwrap())).collect();
    assert_eq!(reasons, [(TestOutcome::Skipped, "not begun: 1 test failed before"); 2]);
}

#[test]
fn tests_that_are_run_many_times_show_that_they_are_flaky() {
    let policy = Policy { runs_per_test: 3, ..Policy::default() };
    let mut queue = Queue::new(selection(&["a"], &[], policy));
    let first = join(&mut queue, 1);
    for outcome in [TestOutcome::Passed, TestOutcome::Failed, TestOutcome::Passed] {
        let part = take(&mut queue, &first);
        end(&mut queue, &first, part.number, Exit::Code(0), vec![result("a", outcome)]);
    }
    let results = merge::results(&queue, "");
    assert_eq!((results[0].outcome, results[0].is_flaky()), (TestOutcome::Failed, true));
    assert_eq!((results[0].others.len(), queue.next(&first)), (2, Next::Done));
}

#[test]
fn a_runner_that_lies_takes_the_trust_and_one_that_brings_nothing_gets_no_more() {
    let mut queue = Queue::new(selection(&["a", "b"], &[], Policy::default()));
    let first = join(&mut queue, 1);
    let part = take(&mut queue, &first);
    let lies = part
        .tests
        .iter()
        .map(|test| result(test.as_str(), TestOutcome::Passed))
        .chain([result("x", TestOutcome::Passed)]);
    let lies = lies.collect();
    end(&mut queue, &first, part.number, Exit::Code(1), lies);
    assert!(queue.gap.as_ref().unwrap().contains("exit status 1 and reported no failed test"));
    assert!(outcomes(&queue).contains_key("x"), "it did run");
    let mut queue = Queue::new(selection(&["a", "b"], &[], Policy::default()));
    let (first, second) = (join(&mut queue, 1), join(&mut queue, 2));
    for _ in 0..2 {
        let part = take(&mut queue, &first);
        end(&mut queue, &first, part.number, Exit::Code(2), Vec::new());
    }
    assert!(queue.is_withdrawn(&first) && queue.next(&first) == Next::Done, "another machine is there");
    for _ in 0..MOST_RETURNS {
        let Next::Part(_) = queue.next(&second) else { break };
        let part = take(&mut queue, &second);
        end(&mut queue, &second, part.number, Exit::Code(2), Vec::new());
    }
    assert!(!queue.is_withdrawn(&second), "it is the last one");
    let results = merge::results(&queue, "nobody");
    let reasons: Vec<_> = results.iter().map(|test| (test.outcome, test.reason.as_deref().unwrap())).collect();
    assert_eq!(reasons, [(TestOutcome::Lost, "the runner's report does not mention it"); 2]);
}

/// A result of a test that was at work when its runner ended.
fn at_work(test: &str) -> TestResult {
    let lost = TestResult::of(test.into(), TestOutcome::Lost, None, Some("the runner ended while it ran".into()));
    TestResult { began_at: Some(jiff::Timestamp::UNIX_EPOCH), ..lost }
}

/// What a runner reports that ends with status 3 as soon as it comes to a test `die…`.
fn report_of(part: &NextPart) -> (Exit, Vec<TestResult>) {
    let mut results = Vec::new();
    for test in part.tests.iter().map(TestName::as_str) {
        if test.starts_with("die") {
            results.push(at_work(test));
            return (Exit::Code(3), results);
        }
        results.push(result(test, TestOutcome::Passed));
    }
    (Exit::Code(0), results)
}

#[test]
fn tests_behind_others_that_end_the_runner_are_never_lost_and_each_try_is_told() {
    let deaths = ["die1", "die2", "die3", "die4", "die5"];
    let names: Vec<String> = (0..20).map(|n| format!("pass{n}")).collect();
    for seed in 0..20 {
        let tests: Vec<&str> = deaths.into_iter().chain(names.iter().map(String::as_str)).collect();
        let policy = Policy { order: TestOrder::Random { seed }, ..Policy::default() };
        let mut queue = Queue::new(selection(&tests, &[], policy));
        let machines = [join(&mut queue, 1), join(&mut queue, 2)];
        while !queue.is_done() {
            for machine in &machines {
                let Next::Part(_) = queue.next(machine) else { continue };
                let part = take(&mut queue, machine);
                let (exit, results) = report_of(&part);
                end(&mut queue, machine, part.number, exit, results);
            }
        }
        for test in merge::results(&queue, "nobody") {
            let dies = test.name.as_str().starts_with("die");
            let expected = if dies { TestOutcome::Lost } else { TestOutcome::Passed };
            assert_eq!(test.outcome, expected, "seed {seed}: {test:?}");
            assert_eq!(test.others.len(), if dies { MOST_RETURNS as usize - 1 } else { 0 }, "{test:?}");
            assert!(test.attempt.is_some_and(|attempt| attempt.number == 1 + u32::from(dies) * (MOST_RETURNS - 1)));
        }
        assert_eq!(queue.worst_status(), 3);
    }
}

#[test]
fn a_test_that_ran_until_the_time_was_over_is_not_told_as_one_that_was_never_begun() {
    let mut queue = Queue::new(selection(&["a", "b"], &[("a", 9.0), ("b", 1.0)], Policy::default()));
    let first = join(&mut queue, 1);
    let part = take(&mut queue, &first);
    end(&mut queue, &first, part.number, Exit::Lost("not done in time".into()), vec![at_work("a")]);
    let why = "the time for the tests was over before it was begun".to_owned();
    queue.apply(Happening::Closed(Closing { outcome: TestOutcome::Lost, why: why.clone(), build: None }));
    let results = merge::results(&queue, "nobody");
    let told: Vec<_> = results.iter().map(|test| test.reason.clone().unwrap()).collect();
    assert_eq!(told, ["the runner ended while it ran".to_owned(), why]);
    assert_eq!(results[0].attempt.as_ref().unwrap().machine, first);
}

#[test]
fn parts_grow_also_where_the_runner_does_not_say_how_long_its_tests_took() {
    let names: Vec<String> = (0..1000).map(|n| format!("t{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut queue = Queue::new(selection(&names, &[], Policy::default()));
    let machines = [join(&mut queue, 1), join(&mut queue, 2)];
    let mut parts = 0;
    while !queue.is_done() {
        let machine = &machines[parts % 2];
        let part = take(&mut queue, machine);
        let results = part.tests.iter().map(|test| TestResult::of(test.clone(), TestOutcome::Passed, None, None));
        let took = Duration::from_millis(100 + part.tests.len() as u64);
        let end = PartEnd {
            exit: Exit::Code(0),
            gap: None,
            caveats: Vec::new(),
            took,
            results: results.collect(),
            taken_back: false,
        };
        queue.apply(Happening::Ended { machine: machine.clone(), part: part.number, end: Box::new(end) });
        parts += 1;
    }
    assert!(parts < 40, "{parts} starts of the runner");
}

#[test]
fn a_shuffled_order_is_the_same_for_the_same_seed() {
    let names: Vec<String> = (0..40).map(|n| format!("test-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let known: Vec<(&str, f64)> = names.iter().map(|name| (*name, 1.0)).collect();
    let order = |seed| {
        let policy = Policy { order: TestOrder::Random { seed }, ..Policy::default() };
        let mut queue = Queue::new(selection(&names, &known, policy));
        let first = join(&mut queue, 1);
        take(&mut queue, &first).tests
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
    assert_ne!(order(1)[0].as_str(), order(2)[0].as_str());
}

#[test]
fn all_that_waits_is_shared_out_where_nobody_will_hand_it_out() {
    let known = [("a", 9.0), ("b", 5.0), ("c", 4.0), ("d", 1.0)];
    let mut queue = Queue::new(selection(&["a", "b", "c", "d"], &known, Policy::default()));
    let (first, second) = (join(&mut queue, 1), join(&mut queue, 2));
    let shares = queue.share_out();
    let of = |machine| shares[machine].iter().map(TestName::as_str).collect::<Vec<_>>();
    let mut both = [of(&first), of(&second)];
    both.sort();
    assert_eq!(both, [vec!["a", "d"], vec!["b", "c"]]);
}

#[test]
fn a_test_on_a_machine_that_is_taken_back_is_not_to_blame_however_often_that_happens() {
    let mut queue = Queue::new(selection(&["a", "b"], &[("a", 1.0), ("b", 1.0)], Policy::default()));
    for number in 1..=2 * MOST_RETURNS as usize {
        let machine = join(&mut queue, number);
        // What passed before it came keeps its result.
        let (passed, tests) = match number {
            1 => (vec![result("b", TestOutcome::Passed)], vec!["a".into(), "b".into()]),
            _ => (vec![], vec!["a".into()]),
        };
        queue.apply(Happening::Took { machine: machine.clone(), part: 1, tests });
        let at_work = TestResult {
            began_at: Some(jiff::Timestamp::UNIX_EPOCH),
            ..TestResult::of("a".into(), TestOutcome::Lost, None, Some("interrupted".into()))
        };
        let results = passed.into_iter().chain([at_work]).collect();
        let exit = Exit::Lost("interrupted".into());
        let end = PartEnd { exit, gap: None, caveats: vec![], took: Duration::ZERO, results, taken_back: true };
        queue.apply(Happening::Ended { machine: machine.clone(), part: 1, end: Box::new(end) });
        queue.apply(Happening::Lost { machine: machine.clone(), why: "taken back".into() });
        assert!(queue.waits() && queue.living().count() == 0);
    }
    let machine = join(&mut queue, 0);
    let part = take(&mut queue, &machine);
    assert_eq!(part.tests, ["a".into()]);
    end(&mut queue, &machine, part.number, Exit::Code(0), vec![result("a", TestOutcome::Passed)]);
    assert!(outcomes(&queue).values().all(|outcome| *outcome == TestOutcome::Passed) && queue.is_done());
}
