use model::event::RunEvent;
use model::outcome::{TestOutcome, TestResult, Verdict};
use model::price::Quote;

use super::*;
use crate::ui::paint::Painted;

/// The beginning of every story here.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn id(number: usize) -> MachineId {
    format!("hg-{number:010}").parse().unwrap()
}

/// A run, told event by event.
#[derive(Default)]
struct Story(LiveView);

/// The cell of each machine in a run with a matrix.
const CELLS: [&str; 4] = ["debian12/default", "debian12/tmpfs", "debian13/default", "debian13/tmpfs"];

impl Story {
    fn tell(&mut self, seconds: i64, machine: usize, kind: impl Into<EventKind>) -> bool {
        self.tell_of(seconds, machine, None, kind)
    }

    /// The same in the machine's cell.
    fn tell_in_cell(&mut self, seconds: i64, machine: usize, kind: impl Into<EventKind>) -> bool {
        self.tell_of(seconds, machine, Some(CELLS[machine % 4].to_owned()), kind)
    }

    fn tell_of(&mut self, seconds: i64, machine: usize, cell: Option<String>, kind: impl Into<EventKind>) -> bool {
        let subject = Some(Subject::Machine(id(machine)));
        self.0.fold(&Event { at: at(seconds), subject, cell, kind: kind.into() })
    }

    fn began(&mut self, seconds: i64, machine: usize, test: &str) {
        self.tell(seconds, machine, TestsEvent::TestBegan { test: test.into() });
    }

    fn ended(&mut self, seconds: i64, machine: usize, test: &str, outcome: TestOutcome) -> bool {
        let result = TestResult::of(test.into(), outcome, Some(Duration::from_secs(1)), None);
        self.tell(seconds, machine, TestsEvent::ended(&result))
    }

    fn step(&mut self, seconds: i64, machine: usize, work: &Work) {
        self.tell(seconds, machine, StepEvent::Began { work: work.clone() });
    }

    fn step_ended(&mut self, seconds: i64, machine: usize, work: &Work) {
        self.tell(seconds, machine, StepEvent::Ended { work: work.clone(), took: Duration::ZERO, moved: None });
    }

    /// The region so many columns wide, each line with a mark at its end.
    fn seen(&self, seconds: i64, columns: usize, rows: usize) -> String {
        let lines = self.0.lines(at(seconds), Frame { columns, rows, unicode: true });
        assert!(lines.len() <= rows && lines.iter().all(|line| line.width() <= columns), "{lines:?}");
        lines.iter().map(|line| line.render(false) + "|\n").collect()
    }

    fn text(&self, seconds: i64) -> String {
        self.seen(seconds, 80, 20)
    }
}

fn building() -> Work {
    Work::Building { what: "0123456789ab".into() }
}

fn booting(machine: usize) -> Work {
    Work::Booting { machine: id(machine), image: "linux-dev-debian12".into() }
}

fn quote() -> Quote {
    Quote {
        currency: "USD".into(),
        compute_per_hour: 1.5,
        volumes_per_hour: 0.25,
        address_per_hour: 0.05,
        basis: "c5.9xlarge on demand in us-west-2".into(),
    }
}

/// Four machines in the middle of a run: one is slow, one failed something, one builds, one boots.
fn middle() -> Story {
    let mut story = Story::default();
    for machine in 0..4 {
        story.tell(0, machine, EventKind::Machine(MachineEvent::CostForeseen { quote: quote(), life: Duration::ZERO }));
        story.step(0, machine, &booting(machine));
    }
    (0..3).for_each(|machine| story.step_ended(20, machine, &booting(machine)));
    story.tell(30, 0, TestsEvent::Selected { tests: 983, foreseen: Some(Duration::from_secs(600)) });
    story.tell(30, 0, TestsEvent::Ready { source: "x".into(), expected: 983 });
    story.step(31, 2, &building());
    story.tell(31, 2, StepEvent::Expected { took: Duration::from_secs(300) });
    story.tell(32, 2, StepEvent::Said { line: "gcc -O2 -c mercurial/cext/parsers.c\t-o parsers.o".into() });
    for number in 0..400 {
        let outcome = match number {
            7 | 70 | 300 => TestOutcome::Failed,
            n if n % 30 == 0 => TestOutcome::Skipped,
            _ => TestOutcome::Passed,
        };
        story.ended(40, number % 2, &format!("test-{number}.t"), outcome);
    }
    story.ended(41, 1, "test-7.t", TestOutcome::Passed);
    for (seconds, machine, test) in [
        (199, 0, "test-largefiles-update.t"),
        (234, 0, "test-merge1.t"),
        (240, 0, "test-a.t"),
        (246, 0, "test-b.t"),
        (247, 1, "test-clone.t#stream-bundle2-v2"),
    ] {
        story.began(seconds, machine, test);
    }
    story
}

#[test]
fn the_region_is_right_at_three_widths() {
    let story = middle();
    insta::assert_snapshot!(story.seen(247, 39, 20), @"
    ━━━━━━━━━━─────────────────  400 of 983|
    ✗ 2 failed  ↻ 1 flaky  ○ 13 skipped|
    ✓ 385 passed  4m 07s, about 5m 55s left|
    0.4940 USD|
    hg-0000000000  test-largefiles… 48s  +3|
    hg-0000000001  test-clone.t#stream-… 0s|
    hg-0000000002  Building 0123456… 3m 36s|
    hg-0000000003  Booting from lin… 4m 07s|
    ");
    insta::assert_snapshot!(story.seen(247, 79, 20), @"
    ━━━━━━━━━━━━━─────────────────────  400 of 983 tests  4m 07s, about 5m 55s left|
    ✗ 2 failed  ↻ 1 flaky  ○ 13 skipped  ✓ 385 passed  0.4940 USD|
    hg-0000000000  test-largefiles-update.t 48s  test-merge1.t 13s  test-a.t 7s  +1|
    hg-0000000001  test-clone.t#stream-bundle2-v2 0s|
    hg-0000000002  Building 0123456789ab ━━━━━━━─── 3m 36s of about 5m 00s|
    hg-0000000003  Booting from linux-dev-debian12 4m 07s|
    ");
    insta::assert_snapshot!(story.seen(247, 199, 20), @r"
    ━━━━━━━━━━━━━━━━━━━━━━━━────────────────────────────────────  400 of 983 tests  ✗ 2 failed  ↻ 1 flaky  ○ 13 skipped  ✓ 385 passed  4m 07s, about 5m 55s left  0.4940 USD|
    hg-0000000000  test-largefiles-update.t 48s  test-merge1.t 13s  test-a.t 7s  test-b.t 1s|
    hg-0000000001  test-clone.t#stream-bundle2-v2 0s|
    hg-0000000002  Building 0123456789ab ━━━━━━━─── 3m 36s of about 5m 00s  gcc -O2 -c mercurial/cext/parsers.c\t-o parsers.o|
    hg-0000000003  Booting from linux-dev-debian12 4m 07s|
    ");
    for columns in 0..210 {
        (0..12).for_each(|rows| drop(story.seen(247, columns, rows)));
    }
}

/// Four cells with a machine each: the same tests in all of them, of which one fails in memory.
fn cells() -> Story {
    let mut story = Story::default();
    for machine in 0..4 {
        story.tell_in_cell(0, machine, StepEvent::Began { work: booting(machine) });
        if machine == 3 {
            continue;
        }
        story.tell_in_cell(20, machine, StepEvent::Ended { work: booting(machine), took: Duration::ZERO, moved: None });
        let foreseen = Some(Duration::from_secs(100 + 10 * machine as u64));
        story.tell_in_cell(30, machine, TestsEvent::Selected { tests: 50, foreseen });
        story.tell_in_cell(30, machine, TestsEvent::Ready { source: "x".into(), expected: 50 });
        let outcome = if machine == 1 { TestOutcome::Failed } else { TestOutcome::Passed };
        let result = TestResult::of("test-disk.t".into(), outcome, Some(Duration::from_secs(1)), None);
        assert!(story.tell_in_cell(31, machine, TestsEvent::ended(&result)), "another test in each cell");
        story.tell_in_cell(32, machine, TestsEvent::TestBegan { test: "test-clone.t#stream-bundle2-v2".into() });
    }
    story
}

#[test]
fn machines_of_several_cells_show_theirs_and_the_tests_of_all_add_up() {
    let story = cells();
    insta::assert_snapshot!(story.seen(47, 39, 20), @"
    ─────────────────────────────  3 of 150|
    ✗ 1 failed  ✓ 2 passed|
    47s, about 1m 43s left|
    hg-0000000000  …/default  test-clo… 15s|
    hg-0000000001  …12/tmpfs  test-clo… 15s|
    hg-0000000002  …/default  test-clo… 15s|
    hg-0000000003  …13/tmpfs  Booting … 47s|
    ");
    insta::assert_snapshot!(story.seen(47, 79, 20), @"
    ───────────────────────────────────────  3 of 150 tests  47s, about 1m 43s left|
    ✗ 1 failed  ✓ 2 passed|
    hg-0000000000  debian12/default  test-clone.t#stream-bundle2-v2 15s|
    hg-0000000001  debian12/tmpfs    test-clone.t#stream-bundle2-v2 15s|
    hg-0000000002  debian13/default  test-clone.t#stream-bundle2-v2 15s|
    hg-0000000003  debian13/tmpfs    Booting from linux-dev-debian12 47s|
    ");
    insta::assert_snapshot!(story.seen(47, 199, 20), @"
    ━───────────────────────────────────────────────────────────  3 of 150 tests  ✗ 1 failed  ✓ 2 passed  47s, about 1m 43s left|
    hg-0000000000  debian12/default  test-clone.t#stream-bundle2-v2 15s|
    hg-0000000001  debian12/tmpfs    test-clone.t#stream-bundle2-v2 15s|
    hg-0000000002  debian13/default  test-clone.t#stream-bundle2-v2 15s|
    hg-0000000003  debian13/tmpfs    Booting from linux-dev-debian12 47s|
    ");
    for columns in 0..210 {
        (0..12).for_each(|rows| drop(story.seen(47, columns, rows)));
    }
    insta::assert_snapshot!(story.0.status(at(47)), @"47s: 3 of 150 tests, 1 failed, about 1m 43s left; hg-0000000003 [debian13/tmpfs]: Booting from linux-dev-debian12 47s; hg-0000000000 [debian12/default]: test-clone.t#stream-bundle2-v2 15s; hg-0000000001 [debian12/tmpfs]: test-clone.t#stream-bundle2-v2 15s; 1 more at work");
    let progress = story.0.progress().unwrap();
    let counts = progress.counts;
    assert_eq!((progress.done, counts.total, counts.passed, counts.failed, counts.flaky), (3, 150, 2, 1, 0));
    let running: Vec<_> = progress.running.iter().map(|running| running.cell.as_deref().unwrap()).collect();
    assert_eq!(running, &CELLS[..3]);
}

#[test]
fn what_happens_to_one_cell_is_the_end_of_none_and_a_single_cell_needs_no_name() {
    let mut story = Story::default();
    story.tell_in_cell(0, 0, TestsEvent::Ready { source: "x".into(), expected: 3 });
    story.tell_in_cell(1, 0, TestsEvent::TestBegan { test: "test-a.t".into() });
    insta::assert_snapshot!(story.text(2), @"
    ────────────────────────────────────────────────────────────  0 of 3 tests  2s|
    ✗ 0 failed|
    hg-0000000000  test-a.t 1s|
    ");
    let failure = (&model::fault::Fault::infrastructure("no room")).into();
    story.tell_of(2, 9, Some("debian13/tmpfs".into()), RunEvent::Failed { failure });
    assert!(story.0.is_at_work() && story.text(3).contains("debian12/default"), "{}", story.text(3));
    let long = "x".repeat(10_000) + "\u{1b}[2J測試";
    story.tell_of(3, 5, Some(long), TestsEvent::TestBegan { test: "test-a.t".into() });
    for columns in [0, 7, 39, 79, 199] {
        let text = story.seen(4, columns, 30);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    assert!(!story.0.tally.is_over());
    story.tell(5, 0, RunEvent::NothingMade);
    assert!(story.0.tally.is_over());
}

#[test]
fn without_unicode_there_is_none() {
    let mut story = middle();
    story.tell(247, 2, StepEvent::Said { line: "é".repeat(100) });
    let lines = story.0.lines(at(247), Frame { columns: 79, rows: 5, unicode: false });
    let text: String = lines.iter().map(|line| line.render(false) + "\n").collect();
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!(text, @"
    #############---------------------  400 of 983 tests  4m 07s, about 5m 55s left
    x 2 failed  ~ 1 flaky  o 13 skipped  + 385 passed  0.4940 USD
    hg-0000000002  Building 0123456789ab #######--- 3m 36s of about 5m 00s
    hg-0000000003  Booting from linux-dev-debian12 4m 07s
    ... 2 more: 2 at tests
    ");
}

#[test]
fn colours_only_repeat_what_signs_and_words_say() {
    let lines = middle().0.lines(at(247), Frame { columns: 79, rows: 2, unicode: true });
    insta::assert_snapshot!(lines.iter().map(|line| line.render(true) + "\n").collect::<String>().escape_debug().to_string().replace("\\n", "\n"), @r"
    \u{1b}[32m━━━━━━━━━━━━\u{1b}[0m\u{1b}[31m━\u{1b}[0m\u{1b}[2m─────────────────────\u{1b}[0m  400 of 983 tests  4m 07s\u{1b}[2m, about 5m 55s left\u{1b}[0m
    \u{1b}[31m✗ 2 failed\u{1b}[0m  \u{1b}[35m↻ 1 flaky\u{1b}[0m  \u{1b}[33m○ 13 skipped\u{1b}[0m  \u{1b}[32m✓ 385 passed\u{1b}[0m  0.4940 USD
    ");
}

#[test]
fn setting_up_is_shown_by_machine_and_steps_that_belong_to_none_stand_alone() {
    let mut story = Story::default();
    let event = |seconds, kind: StepEvent| Event {
        at: at(seconds),
        subject: Some(Subject::Image("linux-dev".into())),
        cell: None,
        kind: kind.into(),
    };
    let work = Work::BakingLayer { image: "linux-dev".into(), layer: "packages".into(), number: 2, of: 5 };
    story.0.fold(&event(0, StepEvent::Began { work: work.clone() }));
    story.0.fold(&event(0, StepEvent::Expected { took: Duration::from_secs(40) }));
    insta::assert_snapshot!(story.text(10), @"linux-dev: packages (2/5) ━━──────── 10s of about 40s|");
    assert!(!story.0.is_parallel());
    story.step(10, 1, &booting(1));
    insta::assert_snapshot!(story.text(12), @"
    linux-dev: packages (2/5) ━━━─────── 12s of about 40s|
    hg-0000000001  Booting from linux-dev-debian12 2s|
    ");
    assert!(story.0.is_parallel() && story.0.machines() == 1);
    story.0.fold(&event(50, StepEvent::Stopped { work, took: Duration::ZERO }));
    story.tell(50, 1, StepEvent::Stopped { work: booting(1), took: Duration::ZERO });
    assert!(!story.0.is_at_work() && story.0.machines() == 0, "a machine that did not come up is none");
}

#[test]
fn a_step_stands_within_another_and_steps_beside_each_other_end_each_by_itself() {
    let mut story = Story::default();
    let (push, prepare) = (
        Work::Pushing { revision: "0123".into(), from: "/x".into() },
        Work::Preparing { folder: "/hgwork".into(), filesystem: Default::default() },
    );
    story.step(0, 1, &prepare);
    story.step(1, 1, &push);
    assert!(story.text(2).contains("Pushing 0123 from /x 1s"), "{}", story.text(2));
    story.tell(2, 1, StepEvent::Moved { done: 1024, total: Some(4096) });
    assert!(story.text(2).contains("Pushing 0123 from /x 1s  1.0 KiB of 4.0 KiB"), "{}", story.text(2));
    story.step_ended(3, 1, &push);
    assert!(story.text(4).contains("Preparing /hgwork (file system: default) 4s"), "{}", story.text(4));
    story.step_ended(5, 1, &prepare);
    // What is done there between two steps is waited for as well.
    assert!(story.0.is_at_work());
    insta::assert_snapshot!(story.text(6), @"hg-0000000001  ready 1s|");
    assert_eq!(story.0.status(at(31)), "31s: between two steps");
    story.tell(7, 1, RunEvent::NothingMade);
    assert!(!story.0.is_at_work());
}

#[test]
fn of_more_machines_than_there_are_rows_those_are_shown_that_were_at_it_longest() {
    let mut story = Story::default();
    story.tell(0, 0, TestsEvent::Selected { tests: 10_000, foreseen: None });
    for machine in 0..64 {
        let began = 100 - i64::try_from(machine).unwrap();
        match machine % 3 {
            0 => story.step(began, machine, &building()),
            _ => story.began(began, machine, "test-a.t"),
        }
    }
    insta::assert_snapshot!(story.seen(200, 79, 6), @"
    ─────────────────────────────────────────────────────  0 of 10000 tests  3m 20s|
    ✗ 0 failed|
    hg-0000000061  test-a.t 2m 41s|
    hg-0000000062  test-a.t 2m 42s|
    hg-0000000063  Building 0123456789ab 2m 43s|
    … 61 more: 40 at tests, 21 at other steps|
    ");
}

#[test]
fn names_of_any_kind_leave_the_region_whole() {
    let long = "x".repeat(10_000);
    let wide = "測試".repeat(5_000);
    let stacked = format!("e{}", "\u{301}".repeat(10_000));
    let steering = "a\u{1b}[2J\r\n\u{202e}\u{9b}1Ab";
    let mut story = Story::default();
    story.tell(0, 0, TestsEvent::Ready { source: "x".into(), expected: 4 });
    for (machine, name) in
        [long.as_str(), &wide, &stacked, steering, "👩\u{200d}👩\u{200d}👧 ☃\u{fe0f}"].iter().enumerate()
    {
        story.began(1, machine, name);
        story.step(1, 9, &Work::Building { what: (*name).into() });
        story.tell(1, 9, StepEvent::Said { line: name.repeat(100) });
    }
    for columns in [1, 7, 39, 79, 199] {
        let text = story.seen(2, columns, 30);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.chars().count() < 30 * 4 * (columns + 10), "{columns}");
    }
    // The end of each is told by the same name.
    for (machine, name) in [long.as_str(), &wide, &stacked, steering].iter().enumerate() {
        story.ended(3, machine, name, TestOutcome::Passed);
    }
    assert_eq!(story.0.progress().unwrap().running.len(), 1);
}

#[test]
fn a_megabyte_on_one_line_is_kept_as_a_line() {
    let mut story = Story::default();
    story.step(0, 1, &building());
    story.tell(0, 1, StepEvent::Said { line: "y".repeat(1 << 20) });
    assert!(story.0.lanes[0].steps[0].said.len() < 1024);
}

#[test]
fn a_run_that_another_driver_takes_over_is_counted_once() {
    let mut story = middle();
    let before = story.0.progress().unwrap();
    assert_eq!((before.done, before.counts.failed, before.counts.flaky, before.counts.total), (400, 2, 1, 983));
    story.tell(300, 2, StepEvent::Said { line: "killed here".into() });
    story.tell(400, 0, EventKind::Machine(MachineEvent::Following { run: "r-1".parse().unwrap() }));
    assert!(!story.text(401).contains("Building"), "{}", story.text(401));
    assert!(!story.ended(402, 1, "test-7.t", TestOutcome::Passed), "it was told before");
    story.began(402, 0, "test-merge1.t");
    let after = story.0.progress().unwrap();
    assert_eq!(before, after, "who hears of it again learns nothing new");
}

#[test]
fn the_region_goes_with_the_verdict() {
    let mut story = Story::default();
    story.tell(0, 0, TestsEvent::Ready { source: "x".into(), expected: 1 });
    story.began(1, 0, "test-a.t");
    story.ended(2, 0, "test-a.t", TestOutcome::Passed);
    assert!(story.0.is_at_work());
    insta::assert_snapshot!(story.text(3), @"
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  1 of 1 test  3s|
    ✗ 0 failed  ✓ 1 passed|
    hg-0000000000  idle 1s|
    ");
    let judged = TestsEvent::Judged { verdict: Verdict::Passed, counts: story.0.counts(), summary: String::new() };
    story.tell(4, 0, judged);
    assert!(!story.0.is_at_work() && story.seen(5, 80, 9).is_empty());
    // Releasing comes after it, and is shown by itself.
    story.step(5, 0, &Work::Releasing { machine: id(0) });
    insta::assert_snapshot!(story.text(6), @"hg-0000000000  Releasing 1s|");
    story.step_ended(7, 0, &Work::Releasing { machine: id(0) });
    assert_eq!((story.0.is_at_work(), story.0.machines()), (false, 0));
    story.tell(8, 0, RunEvent::NothingMade);
}

#[test]
fn what_machines_cost_grows_until_they_end() {
    let mut story = Story::default();
    assert_eq!(story.0.bill.words(at(0)), None);
    let cost = |story: &Story, seconds| story.0.bill.words(at(seconds)).unwrap();
    for machine in 0..2 {
        story.tell(0, machine, EventKind::Machine(MachineEvent::CostForeseen { quote: quote(), life: Duration::ZERO }));
    }
    assert_eq!((cost(&story, 0), cost(&story, 1800)), ("0.0600 USD".into(), "1.8000 USD".into()), "a minute at least");
    let age = Duration::from_secs(3600);
    story.tell(3600, 0, EventKind::Machine(MachineEvent::Cost { quote: quote(), age }));
    assert_eq!(cost(&story, 7200), "5.4000 USD");
    // One that never came up is told to have cost nothing more.
    story.step(0, 1, &booting(1));
    story.tell(7200, 1, StepEvent::Stopped { work: booting(1), took: Duration::ZERO });
    assert_eq!(cost(&story, 72_000), "5.4000 USD");
}

#[test]
fn a_log_is_told_all_of_it_in_a_line() {
    insta::assert_snapshot!(middle().0.status(at(247)), @r"4m 07s: 400 of 983 tests, 2 failed, 1 flaky, 13 skipped, about 5m 55s left; hg-0000000003: Booting from linux-dev-debian12 4m 07s; hg-0000000002: Building 0123456789ab 3m 36s of about 5m 00s (gcc -O2 -c mercurial/cext/parsers.c\t-o parsers.o); hg-0000000000: test-largefiles-update.t 48s and 3 more; 1 more at work; 0.4940 USD");
    let mut story = Story::default();
    story.step(0, 1, &booting(1));
    insta::assert_snapshot!(story.0.status(at(31)), @"31s: hg-0000000001: Booting from linux-dev-debian12 31s");
}

#[test]
fn ten_thousand_tests_on_sixty_four_machines_need_little_memory() {
    let mut story = Story::default();
    for number in 0..10_000 {
        let name = format!("test-{number}.t");
        story.began(1, number % 64, &name);
        story.ended(2, number % 64, &name, TestOutcome::Passed);
    }
    let lanes = &story.0.lanes;
    assert!(lanes.len() == 64 && lanes.iter().all(|lane| lane.running.capacity() <= 8 && lane.steps.is_empty()));
    assert_eq!(story.0.progress().unwrap().done, 10_000);
}

#[test]
fn what_outlives_its_bounds_is_left_out_and_nothing_is_lost_with_it() {
    let mut story = Story::default();
    for number in 0..LANES + 10 {
        story.began(0, number, "test-a.t");
    }
    assert_eq!(story.0.machines(), LANES);
    (0..5000).for_each(|number| story.began(0, 0, &format!("test-{number}.t")));
    (0..500).for_each(|_| story.step(0, 0, &building()));
    assert!(story.0.lanes[0].running.len() <= 1024 && story.0.lanes[0].steps.len() <= 64);
    assert!(story.ended(1, LANES + 5, "test-a.t", TestOutcome::Passed), "it counts all the same");
}

#[test]
fn nothing_is_shown_of_nothing() {
    assert_eq!(LiveView::default().lines(at(0), Frame { columns: 80, rows: 20, unicode: true }), Vec::<Painted>::new());
    assert_eq!(LiveView::default().progress(), None);
}
