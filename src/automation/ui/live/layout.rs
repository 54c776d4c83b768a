//! The live region as lines: the tests in all, then a line for each machine, in as many columns and rows as there are.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::text;

use super::lane::{Lane, OpenStep};
use super::{LiveView, measure, name_of, span};
use crate::ui::paint::{Ink, Painted};

/// The space that lines are laid out in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// How many columns a line may take.
    pub columns: usize,
    /// How many lines there may be.
    pub rows: usize,
    /// Whether signs beyond ASCII are shown.
    pub unicode: bool,
}

/// From how many columns on all about the tests stands in one line, beside a bar that still shows something.
const WIDE: usize = 120;

/// From how many columns on the time stands beside the bar.
const MIDDLE: usize = 60;

/// The columns of the longest and the shortest bar, and of that of a step.
const LONGEST_BAR: usize = 60;
const SHORTEST_BAR: usize = 8;
const STEP_BAR: usize = 10;

/// The columns that the words of a step have at least, where they have so many.
const LEAST_WORDS: usize = 20;

/// The part of a line that the name of a cell may take.
const CELL_PART: usize = 4;

/// What stands between two things in a line.
const GAP: &str = "  ";

/// The signs that go with words.
struct Signs {
    passed: &'static str,
    failed: &'static str,
    skipped: &'static str,
    flaky: &'static str,
    lost: &'static str,
    full: &'static str,
    open: &'static str,
    more: &'static str,
}

const UNICODE: Signs =
    Signs {
        passed: "✓", failed: "✗", skipped: "○", flaky: "↻", lost: "?", full: "━", open: "─", more: "…"
    };
const ASCII: Signs =
    Signs { passed: "+", failed: "x", skipped: "o", flaky: "~", lost: "?", full: "#", open: "-", more: "..." };

impl Frame {
    fn signs(self) -> &'static Signs {
        if self.unicode { &UNICODE } else { &ASCII }
    }
}

impl LiveView {
    /// What is going on, from the most important line to the least.
    pub fn lines(&self, now: Timestamp, frame: Frame) -> Vec<Painted> {
        let mut lines = if self.tally.is_open() { self.head(now, frame) } else { Vec::new() };
        lines.truncate(frame.rows);
        let room = frame.rows - lines.len();
        lines.extend(self.lane_lines(now, frame, room));
        let cut = |line: Painted| line.cut(frame.columns);
        lines.into_iter().map(|line| if frame.unicode { cut(line) } else { cut(line).in_ascii() }).collect()
    }

    /// The tests of the whole run: how many of how many, what they came to, the time, the cost.
    fn head(&self, now: Timestamp, frame: Frame) -> Vec<Painted> {
        let mut beside = vec![self.share(frame)];
        let mut parts = self.states(frame);
        match frame.columns {
            WIDE.. => beside.append(&mut parts),
            MIDDLE..WIDE => {}
            _ => parts.push(self.time(now)),
        }
        if frame.columns >= MIDDLE {
            beside.push(self.time(now));
        }
        parts.extend(self.bill.words(now).map(|cost| Painted::of(Ink::Plain, &cost)));
        if frame.columns >= WIDE {
            beside.append(&mut parts);
        }
        let beside = join(beside);
        let bar = self.bar(frame, frame.columns.saturating_sub(beside.width() + GAP.len()).min(LONGEST_BAR));
        let first = if bar.is_empty() { beside } else { bar.with(Ink::Plain, GAP).and(beside) };
        std::iter::once(first).chain(flow(parts, frame.columns)).collect()
    }

    /// How many tests have ended, of how many.
    fn share(&self, frame: Frame) -> Painted {
        let (total, done) = (self.counts().total, self.tally.done());
        Painted::of(
            Ink::Plain,
            &match frame.columns {
                _ if total == 0 => "no test yet".to_owned(),
                MIDDLE.. => format!("{done} of {}", text::pluralize(total, "test")),
                _ => format!("{done} of {total}"),
            },
        )
    }

    /// What the tests came to, each with its sign and its word. That none failed is told as well.
    fn states(&self, frame: Frame) -> Vec<Painted> {
        let (counts, signs) = (self.counts(), frame.signs());
        let failed = if counts.failed == 0 { Ink::Faint } else { Ink::Bad };
        let states = [
            (signs.failed, "failed", counts.failed, failed, true),
            (signs.lost, "lost", counts.lost, Ink::Bad, counts.lost > 0),
            (signs.flaky, "flaky", counts.flaky, Ink::Odd, counts.flaky > 0),
            (signs.skipped, "skipped", counts.skipped, Ink::Caution, counts.skipped > 0),
            (signs.passed, "passed", counts.passed, Ink::Good, counts.passed > 0),
        ];
        let shown = states.into_iter().filter(|(.., is_shown)| *is_shown);
        shown.map(|(sign, word, count, ink, _)| Painted::of(ink, &format!("{sign} {count} {word}"))).collect()
    }

    /// How long it has gone on, and how long it may go on.
    fn time(&self, now: Timestamp) -> Painted {
        let elapsed = Painted::of(Ink::Plain, &span(self.elapsed(now)));
        match self.tally.left(self.counts().total, now) {
            Some(left) => elapsed.with(Ink::Faint, &format!(", about {} left", span(left))),
            None => elapsed,
        }
    }

    /// A bar of the tests that have ended, with the share of those that failed; nothing where there is no room or no number of all.
    fn bar(&self, frame: Frame, columns: usize) -> Painted {
        let counts = self.counts();
        if columns < SHORTEST_BAR || counts.total == 0 {
            return Painted::default();
        }
        let signs = frame.signs();
        let of = |count: usize| count * columns / counts.total;
        let full = of(self.tally.done());
        // One failure in a thousand is seen as well.
        let failed = of(counts.failed + counts.lost).max(usize::from(counts.failed + counts.lost > 0)).min(full);
        Painted::of(Ink::Good, &signs.full.repeat(full - failed))
            .with(Ink::Bad, &signs.full.repeat(failed))
            .with(Ink::Faint, &signs.open.repeat(columns - full))
    }

    /// A line for each lane that there is room for: those whose work has gone on longest, in the order in which they came.
    fn lane_lines(&self, now: Timestamp, frame: Frame, room: usize) -> Vec<Painted> {
        let is_shown = |lane: &Lane| lane.is_busy() || self.is_idle(lane);
        let mut shown: Vec<(usize, &Lane)> = self.lanes.iter().enumerate().filter(|(_, lane)| is_shown(lane)).collect();
        let mut left_out = Vec::new();
        if shown.len() > room {
            shown.sort_by_key(|(at, lane)| (!lane.is_busy(), lane.since(), *at));
            left_out = shown.split_off(room.saturating_sub(1));
            shown.sort_by_key(|(at, _)| *at);
        }
        let widest = |name: &dyn Fn(&Lane) -> usize| shown.iter().map(|(_, lane)| name(lane)).max().unwrap_or_default();
        // A third of the line is the most that names may take.
        let names = widest(&|lane| measure::width(name_of(lane.machine()))).min(frame.columns / 3);
        let cells = widest(&|lane| measure::width(self.cell_of(lane))).min(frame.columns / CELL_PART);
        let columns = [names, cells];
        let mut lines: Vec<Painted> = shown.iter().map(|(_, lane)| self.lane_line(lane, now, frame, columns)).collect();
        if !left_out.is_empty() && room > 0 {
            lines.push(rest(frame, &left_out));
        }
        lines
    }
}

/// A name in as many columns as others take, and the gap behind it.
fn column(ink: Ink, name: Cow<'_, str>, columns: usize) -> Painted {
    let blanks = columns - measure::width(&name);
    Painted::of(ink, &name).with(Ink::Plain, &" ".repeat(blanks)).with(Ink::Plain, GAP)
}

/// How many lanes there was no room for, and what they do.
fn rest(frame: Frame, lanes: &[(usize, &Lane)]) -> Painted {
    let count = |does: fn(&Lane) -> bool| lanes.iter().filter(|(_, lane)| does(lane)).count();
    let does = [
        (count(|lane| !lane.running.is_empty()), "at tests"),
        (count(|lane| lane.running.is_empty() && !lane.steps.is_empty()), "at other steps"),
        (count(|lane| !lane.is_busy()), "idle"),
    ];
    let does: Vec<String> =
        does.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    Painted::of(Ink::Faint, &format!("{} {} more: {}", frame.signs().more, lanes.len(), does.join(", ")))
}

impl LiveView {
    /// The machine of a lane in as many columns as `names`, its cell in as many as `cells`, and what it does.
    fn lane_line(&self, lane: &Lane, now: Timestamp, frame: Frame, [names, cells]: [usize; 2]) -> Painted {
        let head = match lane.machine() {
            None => Painted::default(),
            Some(id) if cells == 0 => column(Ink::Place, measure::cut(id.as_str(), names), names),
            // The value that varies fastest from one cell to the next stands last.
            Some(id) => column(Ink::Place, measure::cut(id.as_str(), names), names).and(column(
                Ink::Plain,
                measure::cut_start(self.cell_of(lane), cells),
                cells,
            )),
        };
        let columns = frame.columns.saturating_sub(head.width());
        // A step stands within the work that it is a part of.
        head.and(match lane.steps.last() {
            _ if !lane.running.is_empty() => lane.tests_line(now, columns),
            Some(step) => step.line(now, frame, columns),
            None => self.idle_line(lane, now),
        })
    }

    fn idle_line(&self, lane: &Lane, now: Timestamp) -> Painted {
        let what = match (self.tally.is_open(), lane.has_tested) {
            (false, _) => "ready",
            (true, false) => "waiting for its first test",
            (true, true) => "idle",
        };
        Painted::of(Ink::Faint, what).with(Ink::Plain, &format!(" {}", span(clock::since(lane.idle_since, now))))
    }
}

impl Lane {
    /// The tests that run and since when, the oldest first: as many as there is room for, and how many more.
    fn tests_line(&self, now: Timestamp, columns: usize) -> Painted {
        let mut line = Painted::default();
        let more = |count: usize| if count > 0 { format!("{GAP}+{count}") } else { String::new() };
        for (at, test) in self.running.iter().enumerate() {
            let (took, left) = (format!(" {}", span(test.elapsed(now))), self.running.len() - at - 1);
            let gap = if at == 0 { "" } else { GAP };
            let room = columns.saturating_sub(line.width() + gap.len() + took.len() + more(left).len());
            if at > 0 && measure::width(&test.shown) > room {
                return line.with(Ink::Faint, &more(left + 1));
            }
            let name = measure::cut(&test.shown, room);
            line = line.with(Ink::Plain, gap).with(Ink::Plain, &name).with(Ink::Faint, &took);
        }
        line
    }
}

impl OpenStep {
    /// The work, how long it has gone on and of how long, and what it says.
    fn line(&self, now: Timestamp, frame: Frame, columns: usize) -> Painted {
        let elapsed = self.elapsed(now);
        let mut time = Painted::default();
        if let Some(expected) = self.expected.filter(|_| columns >= MIDDLE) {
            time = step_bar(frame, elapsed, expected).with(Ink::Plain, " ");
        }
        time = time.with(Ink::Plain, &span(elapsed));
        let whole = self.expected.map(|expected| format!(" of about {}", span(expected))).unwrap_or_default();
        // What is done matters more than how long it may take.
        if columns >= time.width() + measure::width(&whole) + LEAST_WORDS.min(measure::width(&self.words)) {
            time = time.with(Ink::Faint, &whole);
        }
        let words = measure::cut(&self.words, columns.saturating_sub(time.width() + 1));
        let line = Painted::of(Ink::Plain, &words).with(Ink::Plain, " ").and(time);
        let has_room = columns >= line.width() + GAP.len() + LEAST_WORDS.min(measure::width(&self.said));
        if self.said.is_empty() || !has_room { line } else { line.with(Ink::Plain, GAP).with(Ink::Faint, &self.said) }
    }
}

/// A bar for `elapsed` of a time that was `expected`; it is never full before the end.
fn step_bar(frame: Frame, elapsed: Duration, expected: Duration) -> Painted {
    let share = elapsed.as_secs_f64() / expected.as_secs_f64().max(1.0);
    // At most the width, so that the number fits.
    let full = ((share * STEP_BAR as f64) as usize).min(STEP_BAR - 1);
    let signs = frame.signs();
    Painted::of(Ink::Good, &signs.full.repeat(full)).with(Ink::Faint, &signs.open.repeat(STEP_BAR - full))
}

fn join(parts: Vec<Painted>) -> Painted {
    let mut whole = Painted::default();
    for part in parts {
        whole = if whole.is_empty() { part } else { whole.with(Ink::Plain, GAP).and(part) };
    }
    whole
}

/// The parts in as few lines of `columns` as they fit into, in their order.
fn flow(parts: Vec<Painted>, columns: usize) -> Vec<Painted> {
    let mut lines: Vec<Painted> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.width() + GAP.len() + part.width() <= columns => {
                *line = std::mem::take(line).with(Ink::Plain, GAP).and(part);
            }
            _ => lines.push(part),
        }
    }
    lines
}
