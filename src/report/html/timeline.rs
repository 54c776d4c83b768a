//! What ran where: a lane for each machine, on one axis of time.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use model::base::clock::since;
use model::base::id::MachineId;
use model::base::text::{pluralize, seconds};
use model::outcome::{MachineUse, OtherAttempt, Results, TestOutcome, TestResult};
use model::price::amount;

use super::figures;
use super::mark::Mark;
use super::text::{Named, Room, cell_name, one_line, percent, weight};

/// Room for the drawn tests, in bytes: 1,000 take 120 kB.
const TRIES: usize = 140_000;

/// Room for the lanes, in bytes: 64 machines that begin four batches of tests each take 90 kB.
const LANES: usize = 100_000;

/// What a drawn test, a band and a lane weigh beside their texts.
const MARKUP: usize = 90;
const BAND: usize = 85;
const LANE: usize = 450;

/// Most tests that are drawn one below the other, as many as a large machine runs at once.
const ROWS: usize = 64;

/// The clock of a machine counts as wrong when its tests lie this far outside of the time in which its runner was at work.
const SKEW: f64 = 2.0;

/// Most bytes of the reason why a machine was lost.
const REASON: usize = 200;

/// The picture.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) lanes: Vec<Lane>,
    pub(super) ticks: Vec<Tick>,
    pub(super) length: String,
    /// How many tests were not drawn.
    pub(super) left_out: usize,
    /// How many machines have no lane.
    pub(super) lanes_left_out: usize,
}

/// A moment that is named on the axis.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) left: String,
    pub(super) label: String,
}

/// One machine.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) machine: String,
    /// The name of its cell, where the run has a matrix.
    pub(super) cell: Option<String>,
    pub(super) provider: &'static str,
    /// What the picture shows, in words.
    pub(super) words: String,
    pub(super) lost: Option<String>,
    pub(super) bands: Vec<Band>,
    pub(super) marks: Vec<Drawn>,
    /// How many tests lie one below the other.
    pub(super) rows: usize,
}

/// A piece of a machine's life.
#[derive(Debug)]
pub(super) struct Band {
    pub(super) class: &'static str,
    pub(super) left: String,
    pub(super) width: String,
    pub(super) title: String,
}

/// One try of a test.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) class: &'static str,
    pub(super) left: String,
    pub(super) width: String,
    pub(super) row: usize,
    pub(super) title: String,
}

/// One try, in seconds from the beginning of the axis.
struct Try<'a> {
    test: &'a TestResult,
    outcome: TestOutcome,
    from: f64,
    took: Duration,
}

impl Try<'_> {
    fn until(&self) -> f64 {
        self.from + self.took.as_secs_f64()
    }
}

/// The axis of time.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: Timestamp,
    length: f64,
}

impl Axis {
    fn at(&self, time: Timestamp) -> f64 {
        time.duration_since(self.from).as_secs_f64()
    }

    fn left(&self, at: f64) -> String {
        percent(at.max(0.0), self.length)
    }

    fn width(&self, from: f64, until: f64) -> String {
        percent(until.min(self.length) - from.max(0.0), self.length)
    }
}

impl Timeline {
    /// The picture of a run; none where nobody noted what its machines did.
    pub(super) fn of(results: &Results) -> Option<Self> {
        let from = results.machines.iter().map(|machine| machine.asked_at).min()?;
        let mut axis = Axis { from, length: 1.0 };
        let mut tries = tries(results, &axis);
        for machine in &results.machines {
            let own = tries.entry(&machine.machine).or_default();
            set_clock(machine, own, &axis);
            let ends = own.iter().map(Try::until).chain([axis.at(end(machine))]);
            axis.length = ends.fold(axis.length, f64::max);
        }
        let (mut lanes, mut room) = (Room::of(LANES), Room::of(TRIES));
        let mut timeline = Self {
            ticks: ticks(axis.length),
            length: seconds(Duration::from_secs_f64(axis.length)),
            ..Self::default()
        };
        let cell = |machine: &MachineUse| figures::cell_of(results, &machine.machine);
        let mut machines: Vec<&MachineUse> = results.machines.iter().collect();
        machines.sort_by_key(|machine| cell(machine).map(|(at, _)| at));
        for machine in machines {
            let own = tries.remove(&machine.machine).unwrap_or_default();
            let mut lane = Lane::of(machine, own.as_slice(), &axis);
            lane.cell = cell(machine).map(|(_, cell)| cell_name(&cell.point.to_string()));
            if !lanes.take(lane.weight()) {
                timeline.lanes_left_out += 1;
                continue;
            }
            timeline.left_out += lane.draw(own, &axis, &mut room);
            timeline.lanes.push(lane);
        }
        Some(timeline)
    }
}

/// The tries of each machine whose beginning is known.
fn tries<'a>(results: &'a Results, axis: &Axis) -> HashMap<&'a MachineId, Vec<Try<'a>>> {
    let mut tries: HashMap<&MachineId, Vec<Try<'_>>> = HashMap::new();
    for test in &results.tests {
        let mut add = |machine, outcome, began_at: Option<Timestamp>, took: Option<Duration>| {
            let (Some(began_at), Some(took)) = (began_at, took) else { return };
            tries.entry(machine).or_default().push(Try { test, outcome, from: axis.at(began_at), took });
        };
        for OtherAttempt { attempt, outcome, took, began_at, .. } in &test.others {
            add(&attempt.machine, *outcome, *began_at, *took);
        }
        if let Some(attempt) = &test.attempt {
            add(&attempt.machine, test.outcome, test.began_at, test.took);
        }
    }
    tries
}

/// Moves the tries of a machine whose clock is wrong to where its runner began.
fn set_clock(machine: &MachineUse, tries: &mut [Try<'_>], axis: &Axis) {
    let (Some(first), Some(last)) = (machine.at_work.first(), machine.at_work.last()) else { return };
    let (begin, end) = (axis.at(first.from), axis.at(last.until));
    let earliest = tries.iter().map(|one| one.from).fold(f64::INFINITY, f64::min);
    let latest = tries.iter().map(Try::until).fold(f64::NEG_INFINITY, f64::max);
    if earliest < begin - SKEW || latest > end + SKEW {
        tries.iter_mut().for_each(|one| one.from += begin - earliest);
    }
}

/// The last moment that is known of a machine.
fn end(machine: &MachineUse) -> Timestamp {
    let worked = machine.at_work.last().map(|span| span.until);
    let known = [machine.up_at, machine.ready_at, worked, machine.ended_at];
    known.into_iter().flatten().fold(machine.asked_at, Timestamp::max)
}

impl Lane {
    /// The lane of a machine, without its tests.
    fn of(machine: &MachineUse, tries: &[Try<'_>], axis: &Axis) -> Self {
        Self {
            machine: machine.machine.to_string(),
            cell: None,
            provider: machine.provider.name(),
            words: words(machine, tries, axis),
            lost: machine.lost.as_deref().map(|why| one_line(why, REASON)),
            bands: bands(machine, axis),
            marks: Vec::new(),
            rows: 1,
        }
    }

    fn weight(&self) -> usize {
        let cell = self.cell.as_deref().map_or(0, |cell| 2 * weight(cell) + "<em></em> in the cell ".len());
        LANE + cell + 2 * weight(&self.words) + self.lost.as_deref().map_or(0, weight) + BAND * self.bands.len()
    }

    /// Draws the tests, those that ran at once one below the other; gives the number of those for which there is no room.
    fn draw(&mut self, mut tries: Vec<Try<'_>>, axis: &Axis, room: &mut Room) -> usize {
        tries.sort_by(|one, other| one.from.total_cmp(&other.from));
        let mut rows: Vec<f64> = Vec::new();
        let mut left_out = 0;
        for one in &tries {
            let title = format!("{}, {}, {}", Named::of(one.test).text(), one.outcome.words(), seconds(one.took));
            if !room.take(weight(&title) + MARKUP) {
                left_out += 1;
                continue;
            }
            let row = rows.iter().position(|until| *until <= one.from + 0.01).unwrap_or(rows.len()).min(ROWS - 1);
            rows.resize(rows.len().max(row + 1), 0.0);
            rows[row] = one.until();
            let (left, width) = (axis.left(one.from), axis.width(one.from, one.until()));
            self.marks.push(Drawn { class: Mark::of(one.outcome).class, left, width, row, title });
        }
        self.rows = rows.len().max(1);
        left_out
    }
}

/// The boot, the push, the build, what else was set up, and the time in which the runner was at work.
fn bands(machine: &MachineUse, axis: &Axis) -> Vec<Band> {
    let band = |class, words: &str, from: f64, until: f64| {
        let title = format!("{words} {}", seconds(Duration::from_secs_f64((until - from).max(0.0))));
        Band { class, left: axis.left(from), width: axis.width(from, until), title }
    };
    let asked = axis.at(machine.asked_at);
    let up = axis.at(machine.up_at.unwrap_or_else(|| end(machine)));
    let mut bands = vec![band("boot", "boot", asked, up)];
    if machine.up_at.is_some() {
        let ready = axis.at(machine.ready_at.unwrap_or_else(|| end(machine))).max(up);
        let pushed = (up + machine.push.as_secs_f64()).min(ready);
        let built = (pushed + machine.build.as_secs_f64()).min(ready);
        bands.extend([
            band("push", "push", up, pushed),
            band("build", "build", pushed, built),
            band("setup", "set-up", built, ready),
        ]);
    }
    bands.extend(
        machine.at_work.iter().map(|span| band("work", "runner at work", axis.at(span.from), axis.at(span.until))),
    );
    bands.retain(|band| band.width != "0");
    bands
}

/// A lane for those who cannot see it: `boot 2.0s · push 0.4s · build 1m 03s · 250 tests in 8m 10s, 2 failed · idle 12.0s`.
fn words(machine: &MachineUse, tries: &[Try<'_>], axis: &Axis) -> String {
    let part = |name: &str, span: Duration| Some(format!("{name} {}", seconds(span))).filter(|_| !span.is_zero());
    let boot = machine.up_at.map(|up| format!("boot {}", seconds(since(machine.asked_at, up))));
    let work: Duration = machine.at_work.iter().map(|work| since(work.from, work.until)).sum();
    let failed = tries.iter().filter(|one| one.outcome.is_failure()).count();
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let tests = match tries.len() {
        0 => part("runner at work", work),
        count => Some(format!("{} in {}{failed}", pluralize(count, "test"), seconds(work))),
    };
    let parts = [
        boot.or_else(|| Some("never answered".to_owned())),
        part("push", machine.push),
        part("build", machine.build),
        tests,
        idle(machine, tries, axis).and_then(|idle| part("idle", idle)),
        machine.cost.map(|cost| format!("{} USD", amount(cost))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// How long the machine was ready and ran no test; none where that is not known. Less than a second is the pace of the runner.
fn idle(machine: &MachineUse, tries: &[Try<'_>], axis: &Axis) -> Option<Duration> {
    let (from, until) = (axis.at(machine.ready_at?), axis.at(end(machine)));
    let spans = machine.at_work.iter().map(|span| (axis.at(span.from), axis.at(span.until)));
    let mut spans: Vec<(f64, f64)> = match tries {
        [] => spans.collect(),
        tries => tries.iter().map(|one| (one.from, one.until())).collect(),
    };
    spans.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut idle, mut reached) = (0.0, from);
    for (begin, end) in spans {
        idle += (begin.min(until) - reached).max(0.0);
        reached = reached.max(end);
    }
    idle += (until - reached).max(0.0);
    Some(Duration::from_secs_f64(idle)).filter(|idle| *idle >= Duration::from_secs(1))
}

/// At most seven moments with a round distance, the first at the beginning.
fn ticks(length: f64) -> Vec<Tick> {
    const STEPS: [u32; 14] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];
    let fits = |step: &u32| length / f64::from(*step) <= 6.5;
    let step = STEPS.into_iter().find(fits).unwrap_or_else(|| (length / 6.5 / 3600.0).ceil() as u32 * 3600);
    let moments = (0..7).map(|number| number * step).take_while(|at| f64::from(*at) <= length * 0.96);
    moments.map(|at| Tick { left: percent(f64::from(at), length), label: clock(at) }).collect()
}

/// A moment on the axis: `30s`, `5m`, `1h 20m`.
fn clock(at: u32) -> String {
    match at {
        0 => "0".to_owned(),
        at if at % 60 > 0 && at > 60 => format!("{}m {:02}s", at / 60, at % 60),
        1..60 => format!("{at}s"),
        60..3600 => format!("{}m", at / 60),
        _ if at.is_multiple_of(3600) => format!("{}h", at / 3600),
        _ => format!("{}h {:02}m", at / 3600, at % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::tests::{at, machine, ran};
    use crate::json::tests::results;

    #[test]
    fn tests_that_ran_at_once_lie_one_below_the_other_and_gaps_are_idle() {
        let mut run = results(vec![
            ran("a", "hg-a", 10.0, 5.0, TestOutcome::Passed),
            ran("b", "hg-a", 11.0, 2.0, TestOutcome::Failed),
            ran("c", "hg-a", 20.0, 5.0, TestOutcome::Passed),
        ]);
        run.machines = vec![machine("hg-a", 0.0, 4.0, 10.0, 25.0)];
        let timeline = Timeline::of(&run).unwrap();
        let lane = &timeline.lanes[0];
        let drawn: Vec<_> =
            lane.marks.iter().map(|mark| (mark.class, mark.row, mark.left.as_str(), mark.width.as_str())).collect();
        assert_eq!(drawn, [("passed", 0, "40", "20"), ("failed", 1, "44", "8"), ("passed", 0, "80", "20")]);
        assert_eq!(lane.words, "boot 4.0s · push 1.0s · build 3.0s · 3 tests in 15.0s, 1 failed · idle 5.0s");
        let bands: Vec<_> = lane.bands.iter().map(|band| (band.class, band.width.as_str())).collect();
        assert_eq!(bands, [("boot", "16"), ("push", "4"), ("build", "12"), ("setup", "8"), ("work", "60")]);
        let labels: Vec<_> = timeline.ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["0", "5s", "10s", "15s", "20s"], "the last would stand beyond the edge");
    }

    #[test]
    fn a_machine_whose_clock_is_wrong_does_not_stretch_the_axis() {
        let mut run = results(vec![ran("a", "hg-a", -7200.0, 5.0, TestOutcome::Passed)]);
        run.machines = vec![machine("hg-a", 0.0, 4.0, 10.0, 20.0)];
        let timeline = Timeline::of(&run).unwrap();
        assert_eq!((timeline.length.as_str(), timeline.lanes[0].marks[0].left.as_str()), ("20.0s", "50"));
    }

    #[test]
    fn a_machine_that_never_answered_and_one_without_tests_have_a_lane() {
        let mut run = results(vec![]);
        let mut lost = machine("hg-b", 0.0, 4.0, 10.0, 20.0);
        (lost.up_at, lost.ready_at, lost.lost) = (None, None, Some("no\u{1b} answer".into()));
        lost.at_work.clear();
        lost.ended_at = Some(at(30.0));
        run.machines = vec![machine("hg-a", 0.0, 4.0, 10.0, 20.0), lost];
        let timeline = Timeline::of(&run).unwrap();
        let [first, second] = timeline.lanes.as_slice() else { panic!("{timeline:?}") };
        assert_eq!(first.words, "boot 4.0s · push 1.0s · build 3.0s · runner at work 10.0s");
        assert!(second.words.starts_with("never answered") && second.bands.len() == 1, "{second:?}");
        assert_eq!(second.lost.as_deref(), Some("no\\u{1b} answer"));
        assert!(Timeline::of(&results(vec![])).is_none(), "older builds noted no machines");
    }

    #[test]
    fn the_axis_has_round_moments_whatever_its_length() {
        let labels = |length| ticks(length).into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(" ");
        assert_eq!(labels(0.5), "0");
        assert_eq!(labels(95.0), "0 20s 40s 1m 1m 20s");
        assert_eq!(labels(1500.0), "0 5m 10m 15m 20m");
        assert_eq!(labels(7000.0), "0 20m 40m 1h 1h 20m 1h 40m");
        assert_eq!(labels(100_000.0), "0 5h 10h 15h 20h 25h");
    }
}
