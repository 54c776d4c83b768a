//! What reports say of tests, held within bounds whatever a machine sends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use model::base::id::TestName;
use model::base::text;
use model::outcome::{Expectation, TestOutcome, TestResult};
use model::runner::{RunnerReport, TestNews};

/// The longest reason that is kept; an honest one is a line.
pub(super) const REASON_CAP: usize = 4096;

/// The most tests.
pub(crate) const MOST_TESTS: usize = 20_000;

/// The most news of tests that are told to those who watch: each test begins and ends, and some are tried again.
const MOST_NEWS: usize = 4 * MOST_TESTS;

/// The most bytes of names and reasons. Mercurial's whole suite has 0.1 MiB of them. Written as JSON each byte may
/// become six.
pub(super) const TEXT_CAP: usize = 2 << 20;

/// The most bytes of the detail of one test, and of all. A machine that keeps to the format sends no more than the first of a test.
pub(super) const DETAIL_CAP: usize = 128 << 10;
pub(super) const DETAILS_CAP: usize = 8 << 20;

/// The longest name of a test of a runner that was declared. Parameters of tests may be long texts.
const NAME_CAP: usize = 16 << 10;

/// How much of a name a message shows.
const SHOWN: usize = 200;

/// What a report must keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Whether a test has one result, and the report one end: anything more makes it one that cannot be believed.
    pub once: bool,
    /// The longest name of a test, in bytes.
    pub name_cap: usize,
}

impl Rules {
    /// The rules for the report of a runner that was declared.
    pub(crate) const STRICT: Self = Self { once: true, name_cap: NAME_CAP };
}

/// Everything that was reported about one test.
#[derive(Default)]
pub(super) struct TestEntry {
    expected: bool,
    started: bool,
    /// When it began the last time.
    began_at: Option<Timestamp>,
    /// What is to be seen of its failure.
    detail: Option<String>,
    /// The file that says what was expected.
    expected_output: Option<Expectation>,
    pub(super) result: Option<TestResult>,
}

impl TestEntry {
    fn result(&self) -> Option<TestResult> {
        let mut result = self.result.clone()?;
        // Of several tries the worst counts; of those that were ended nobody knows the whole output.
        if result.outcome == TestOutcome::Failed {
            (result.detail, result.expected) = (self.detail.clone(), self.expected_output.clone());
        }
        Some(result)
    }
}

/// The tests of a report.
pub(crate) struct Tally {
    pub(super) rules: Rules,
    /// What was not told yet, and how much was.
    news: Vec<TestNews>,
    told: usize,
    pub(super) entries: BTreeMap<String, TestEntry>,
    /// Bytes of names and reasons in `entries`.
    pub(super) text: usize,
    /// Bytes of details in `entries`.
    details: usize,
    /// Why green means less than it seems.
    pub caveats: Vec<String>,
    /// How long the runner built before its first test.
    pub building: Option<Duration>,
    /// Whether tests may have begun although none is known to have.
    pub may_have_begun: bool,
    complete: bool,
    beyond: Option<String>,
}

impl Tally {
    /// Nothing yet, of a report that is to keep to `rules`.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            news: Vec::new(),
            told: 0,
            entries: BTreeMap::new(),
            text: 0,
            details: 0,
            caveats: Vec::new(),
            building: None,
            may_have_begun: false,
            complete: false,
            beyond: None,
        }
    }

    /// Notes a bound that was exceeded, or what cannot be true; the first is enough to say.
    pub(super) fn note(&mut self, what: impl Into<String>) {
        self.beyond.get_or_insert_with(|| what.into());
    }

    /// The test is expected to run.
    pub(super) fn expect(&mut self, name: String) {
        if let Some(entry) = self.entry(name) {
            entry.expected = true;
        }
    }

    /// The test began.
    pub(super) fn start(&mut self, name: String, began_at: Option<Timestamp>) {
        self.refuse_after_the_end();
        let Some(entry) = self.entry(name.clone()) else { return };
        entry.started = true;
        entry.began_at = began_at;
        self.tell(TestNews::Began(name.into()));
    }

    /// Whether the test began.
    pub(super) fn has_started(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.started)
    }

    /// Takes what is to be seen of a test's failure; what there is no room for is left out.
    pub(super) fn detail(&mut self, name: String, detail: &str, expected: Option<Expectation>) {
        let room = DETAILS_CAP.saturating_sub(self.details).min(DETAIL_CAP);
        let detail = text::cut(detail, room);
        let cap = self.rules.name_cap;
        let Some(entry) = self.entry(name).filter(|_| room > 0) else { return };
        entry.expected_output = expected.filter(|expected| expected.file.len() <= cap);
        let before = entry.detail.replace(detail.clone()).map_or(0, |old| old.len());
        self.details = (self.details + detail.len()).saturating_sub(before);
    }

    /// The test came to an end. Where it has come to one before, the worse counts.
    pub(super) fn finish(
        &mut self,
        name: String,
        outcome: TestOutcome,
        took: Option<Duration>,
        reason: Option<String>,
    ) {
        self.refuse_after_the_end();
        let (once, room) = (self.rules.once, TEXT_CAP.saturating_sub(self.text + name.len()));
        let Some(entry) = self.entry(name.clone()) else { return };
        if once && entry.result.is_some() {
            let name = text::cut(&name, SHOWN);
            self.note(format!("a second result of the test `{}`", name.escape_debug()));
        }
        let Some(entry) = self.entries.get_mut(&name) else { return };
        if entry.result.as_ref().is_some_and(|known| known.outcome.rank() >= outcome.rank()) {
            return;
        }
        let reason = reason.map(|reason| text::cut(&reason, REASON_CAP));
        let before = entry.result.as_ref().and_then(|known| known.reason.as_ref()).map_or(0, String::len);
        let after = reason.as_ref().map_or(0, String::len);
        let fits = after <= room.saturating_add(before);
        let reason = reason.filter(|_| fits);
        let result = TestResult::of(name.into(), outcome, took, reason);
        entry.result = Some(TestResult { began_at: entry.began_at, ..result });
        let news = entry.result().map(Box::new).map(TestNews::Ended);
        news.into_iter().for_each(|news| self.tell(news));
        if fits {
            self.text = self.text + after - before;
        } else {
            self.text -= before;
            self.note(format!("more than {} of names and reasons", text::bytes(TEXT_CAP as u64)));
        }
    }

    /// The runner said that it came to its end.
    pub(super) fn end(&mut self) {
        if self.rules.once && self.complete {
            self.note("a second end");
        }
        self.complete = true;
    }

    fn refuse_after_the_end(&mut self) {
        if self.rules.once && self.complete {
            self.note("something behind its end");
        }
    }

    /// How many tests have this outcome so far.
    pub(super) fn count(&self, outcome: TestOutcome) -> usize {
        let of = |entry: &&TestEntry| entry.result.as_ref().is_some_and(|result| result.outcome == outcome);
        self.entries.values().filter(of).count()
    }

    /// Keeps the news for those who watch.
    fn tell(&mut self, news: TestNews) {
        if self.told < MOST_NEWS {
            self.told += 1;
            self.news.push(news);
        }
    }

    /// The entry of a test; none if there is no room for another.
    fn entry(&mut self, name: String) -> Option<&mut TestEntry> {
        if !self.entries.contains_key(&name) {
            let too_much = if name.len() > self.rules.name_cap {
                Some(format!("a name of more than {} bytes", self.rules.name_cap))
            } else if self.entries.len() >= MOST_TESTS {
                Some(format!("more than {MOST_TESTS} tests"))
            } else if self.text + name.len() > TEXT_CAP {
                Some(format!("more than {} of names and reasons", text::bytes(TEXT_CAP as u64)))
            } else {
                None
            };
            if let Some(what) = too_much {
                self.note(what);
                return None;
            }
            self.text += name.len();
        }
        Some(self.entries.entry(name).or_default())
    }

    /// The report so far; what it holds is given away.
    pub(super) fn report(&mut self) -> RunnerReport {
        let with = |has: fn(&TestEntry) -> bool| {
            let with = self.entries.iter().filter(move |(_, entry)| has(entry));
            with.map(|(name, entry)| (TestName::from(name.as_str()), entry.began_at))
        };
        let expected = with(|entry| entry.expected).map(|(name, _)| name).collect();
        let unfinished = with(|entry| entry.started && entry.result.is_none()).collect();
        let began = self.may_have_begun || self.entries.values().any(|entry| entry.started);
        RunnerReport {
            expected,
            unfinished,
            tests: std::mem::take(&mut self.entries).into_values().filter_map(|entry| entry.result()).collect(),
            caveats: std::mem::take(&mut self.caveats),
            building: self.building,
            began,
            complete: self.complete,
            extras: false,
            excess: self.beyond.take(),
        }
    }

    /// What was reported since this was last asked.
    pub(super) fn news(&mut self) -> Vec<TestNews> {
        std::mem::take(&mut self.news)
    }

    /// The tests that have ended so far.
    pub(super) fn ended(&self) -> BTreeSet<TestName> {
        let ended = self.entries.iter().filter(|(_, entry)| entry.result.is_some());
        ended.map(|(name, _)| TestName::from(name.as_str())).collect()
    }
}

/// A span of so many seconds; none if the number is not a span.
pub(super) fn span(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_test_has_one_result_a_second_one_is_told_and_the_worse_counts() {
        let of = |rules: Rules| {
            let mut tally = Tally::new(rules);
            tally.finish("t".into(), TestOutcome::Passed, None, None);
            tally.finish("t".into(), TestOutcome::Failed, None, None);
            tally.end();
            tally.report()
        };
        let strict = of(Rules::STRICT);
        assert_eq!(strict.tests[0].outcome, TestOutcome::Failed);
        assert_eq!(strict.excess.as_deref(), Some("a second result of the test `t`"));
        assert_eq!(of(Rules { once: false, ..Rules::STRICT }).excess, None);
    }

    #[test]
    fn nothing_follows_an_end() {
        let of = |more: fn(&mut Tally)| {
            let mut tally = Tally::new(Rules::STRICT);
            tally.finish("t".into(), TestOutcome::Passed, None, None);
            tally.end();
            more(&mut tally);
            tally.report().excess
        };
        assert_eq!(of(|_| ()), None);
        assert_eq!(of(Tally::end).as_deref(), Some("a second end"));
        let begins = of(|tally| tally.start("u".into(), None));
        assert_eq!(begins.as_deref(), Some("something behind its end"));
        assert_eq!(of(|tally| tally.finish("u".into(), TestOutcome::Passed, None, None)), begins);
    }
}
