//! What is going on in one plain line, for a log that nobody watches.

use jiff::Timestamp;
use model::base::text;

use super::lane::Lane;
use super::{LiveView, measure, name_of, span};

/// Most machines that the line names.
const NAMED: usize = 3;

/// The most columns of a name or of what a step says: a log has lines of any length, and people read them.
const LONGEST: usize = 80;

impl LiveView {
    /// How far everything is, in one line: `4m 12s: 412 of 983 tests, 3 failed, about 5m 30s left; hg-1: test-merge1.t 48s`.
    pub fn status(&self, now: Timestamp) -> String {
        let mut parts = Vec::new();
        if self.tally.is_open() {
            parts.push(self.tests_so_far(now));
        }
        let mut busy: Vec<&Lane> = self.lanes.iter().filter(|lane| lane.is_busy()).collect();
        busy.sort_by_key(|lane| lane.since());
        parts.extend(busy.iter().take(NAMED).map(|lane| lane.status(now, self.cell_of(lane))));
        if busy.len() > NAMED {
            parts.push(format!("{} more at work", busy.len() - NAMED));
        }
        if parts.is_empty() {
            parts.push("between two steps".to_owned());
        }
        parts.extend(self.bill.words(now));
        format!("{}: {}", span(self.elapsed(now)), parts.join("; "))
    }

    fn tests_so_far(&self, now: Timestamp) -> String {
        let counts = self.counts();
        let mut words = match counts.total {
            0 => "no test yet".to_owned(),
            total => format!("{} of {}", self.tally.done(), text::pluralize(total, "test")),
        };
        for (count, word) in
            [(counts.failed, "failed"), (counts.lost, "lost"), (counts.flaky, "flaky"), (counts.skipped, "skipped")]
        {
            if count > 0 {
                words.push_str(&format!(", {count} {word}"));
            }
        }
        if let Some(left) = self.tally.left(counts.total, now) {
            words.push_str(&format!(", about {} left", span(left)));
        }
        words
    }
}

impl Lane {
    /// What the lane does: the oldest of its tests, or its newest step.
    fn status(&self, now: Timestamp, cell: &str) -> String {
        let cell = if cell.is_empty() { String::new() } else { format!(" [{}]", measure::cut(cell, LONGEST)) };
        let name = self.machine().map(|id| format!("{}{cell}: ", name_of(Some(id)))).unwrap_or_default();
        if let Some(test) = self.running.first() {
            let more = self.running.len() - 1;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return format!("{name}{} {}{more}", measure::cut(&test.shown, LONGEST), span(test.elapsed(now)));
        }
        let Some(step) = self.steps.last() else { return name };
        let expected = step.expected.map(|expected| format!(" of about {}", span(expected))).unwrap_or_default();
        let said =
            if step.said.is_empty() { String::new() } else { format!(" ({})", measure::cut(&step.said, LONGEST)) };
        format!("{name}{} {}{expected}{said}", measure::cut(&step.words, LONGEST), span(step.elapsed(now)))
    }
}
