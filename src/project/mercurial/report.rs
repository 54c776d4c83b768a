//! Reading the report that `remote/mercurial/run_tests_events.py` wrote: one JSON object a line, complete up to the
//! moment of a loss.
//!
//! The file lies on a machine whose tests may write anything into it. So everything here has a cap, and a report that
//! goes beyond one says so and is not whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use model::base::id::TestName;
use model::base::text;
use model::outcome::{Expectation, TestOutcome, TestResult};
use model::runner::{ReportReader, RunnerReport, TestNews};
use model::script::ScriptFile;
use model::sum::Sha256Sum;
use serde::Deserialize;

/// The name of the report in the folder for the results.
pub(super) const FILE: &str = "events.jsonl";

/// The folder for the results of all tests, or of a part of them, where `folder` is that for all.
pub(super) fn results(folder: &str, part: Option<u32>) -> String {
    part.map_or_else(|| folder.to_owned(), |number| format!("{folder}/{number}"))
}

/// The module that writes the report; it lies beside the program that starts the runner.
pub(super) const EVENTS: ScriptFile =
    ScriptFile::built_in("run_tests_events.py", include_str!("../../../remote/mercurial/run_tests_events.py"));

/// The longest line. The longest one of an honest report names all tests: 50 KiB for the 1,100 of Mercurial's suite.
const LINE_CAP: usize = 512 << 10;

/// The longest name of a test: that of a file, with its cases.
const NAME_CAP: usize = 1024;

/// The longest reason that is kept; an honest one is a line.
const REASON_CAP: usize = 4096;

/// The most tests.
pub(super) const MOST_TESTS: usize = 20_000;

/// The most news of tests that are told to those who watch: each test begins and ends, and some are tried again.
const MOST_NEWS: usize = 4 * MOST_TESTS;

/// The most bytes of names and reasons. Mercurial's whole suite has 0.1 MiB of them. Written as JSON each byte may
/// become six.
const TEXT_CAP: usize = 2 << 20;

/// The most bytes of the difference of one test, and of all. A machine that keeps to the format sends no more than the first of a test.
const DIFF_CAP: usize = 128 << 10;
const DIFFS_CAP: usize = 8 << 20;

/// The longest path of a program that a caveat names.
const PATH_CAP: usize = 256;

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Expected {
        tests: Vec<String>,
    },
    Options {
        #[serde(default)]
        debug: bool,
        /// The programs under test that do not come from the source, by the flag that named them.
        #[serde(default)]
        foreign: BTreeMap<String, String>,
        /// The seconds for which the runner built and installed before it came to its tests.
        #[serde(default)]
        building: Option<f64>,
    },
    Start {
        test: String,
        /// Seconds since 1970, by the machine's clock.
        #[serde(default)]
        at: Option<f64>,
    },
    Diff {
        test: String,
        text: String,
        file: String,
        sha256: Option<Sha256Sum>,
    },
    Finish {
        test: String,
        outcome: ReportedOutcome,
        seconds: Option<f64>,
        reason: Option<String>,
    },
    End,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum ReportedOutcome {
    Passed,
    Failed,
    TimedOut,
    Errored,
    Skipped,
    Ignored,
    Missing,
    Interrupted,
}

impl ReportedOutcome {
    fn into_test(self) -> TestOutcome {
        match self {
            Self::Passed => TestOutcome::Passed,
            // A test that the runner could not run is not a test that passed.
            Self::Failed | Self::Errored => TestOutcome::Failed,
            Self::TimedOut => TestOutcome::TimedOut,
            Self::Skipped | Self::Ignored => TestOutcome::Skipped,
            // The runner calls a test without a file skipped, but nobody asked to skip it.
            Self::Missing | Self::Interrupted => TestOutcome::Lost,
        }
    }

    /// The reason where the runner gave none.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Missing => Some("the runner found no file of that name"),
            Self::Interrupted => Some("interrupted"),
            _ => None,
        }
    }
}

/// Everything that was reported about one test.
#[derive(Default)]
struct TestEntry {
    expected: bool,
    started: bool,
    /// When it began the last time.
    began_at: Option<Timestamp>,
    /// How its output differs from what was expected.
    diff: Option<String>,
    /// The file that says what was expected.
    expected_output: Option<Expectation>,
    result: Option<TestResult>,
}

impl TestEntry {
    fn result(&self) -> Option<TestResult> {
        let mut result = self.result.clone()?;
        // Of several tries the worst counts; of those that were ended nobody knows the whole output.
        if result.outcome == TestOutcome::Failed {
            (result.detail, result.expected) = (self.diff.clone(), self.expected_output.clone());
        }
        Some(result)
    }
}

/// A report, line by line.
#[derive(Default)]
pub(crate) struct EventsReader {
    /// The folder on the machine in which the output of failed tests lies.
    folder: String,
    /// What was not told yet, and how much was.
    news: Vec<TestNews>,
    told: usize,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Whether the present line is too long and is skipped.
    skipping: bool,
    entries: BTreeMap<String, TestEntry>,
    /// Bytes of names and reasons in `entries`.
    text: usize,
    /// Bytes of differences in `entries`.
    diffs: usize,
    caveats: Vec<String>,
    building: Option<Duration>,
    complete: bool,
    beyond: Option<String>,
}

impl ReportReader for EventsReader {
    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.extend(&rest[..end]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        self.extend(rest);
    }

    fn report(&mut self) -> RunnerReport {
        self.end_line();
        let began = self.entries.values().any(|entry| entry.started);
        let expected = self.entries.iter().filter(|(_, entry)| entry.expected);
        let expected = expected.map(|(name, _)| TestName::from(name.as_str())).collect();
        let unfinished = self.entries.iter().filter(|(_, entry)| entry.started && entry.result.is_none());
        let unfinished = unfinished.map(|(name, entry)| (TestName::from(name.as_str()), entry.began_at)).collect();
        RunnerReport {
            expected,
            unfinished,
            tests: std::mem::take(&mut self.entries).into_values().filter_map(|entry| entry.result()).collect(),
            caveats: std::mem::take(&mut self.caveats),
            building: self.building,
            began,
            complete: self.complete,
            excess: self.beyond.take(),
        }
    }

    fn news(&mut self) -> Vec<TestNews> {
        std::mem::take(&mut self.news)
    }

    fn ended(&self) -> BTreeSet<TestName> {
        let ended = self.entries.iter().filter(|(_, entry)| entry.result.is_some());
        ended.map(|(name, _)| TestName::from(name.as_str())).collect()
    }

    fn output_file(&self, test: &TestName) -> Option<String> {
        // Names come from the machine: one that is not a plain file name is not made into a path.
        (!test.as_str().contains('/')).then(|| format!("{}/{test}.err", self.folder))
    }
}

impl EventsReader {
    /// A reader of what a runner reports whose results lie in `folder` on the machine.
    pub(crate) fn in_folder(folder: String) -> Self {
        Self { folder, ..Self::default() }
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.line.len() + bytes.len() > LINE_CAP {
            self.skipping = true;
            self.line = Vec::new();
            return self.note(format!("a line of more than {}", text::bytes(LINE_CAP as u64)));
        }
        self.line.extend_from_slice(bytes);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !std::mem::take(&mut self.skipping) {
            // A line that breaks off, or that is not ours, is skipped: its test stays unknown, and so lost.
            if let Ok(line) = serde_json::from_slice(&line) {
                self.take(line);
            }
        }
    }

    /// Notes a cap that was exceeded; the first one is enough to say.
    fn note(&mut self, what: String) {
        self.beyond.get_or_insert(what);
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Expected { tests } => {
                for test in tests {
                    if let Some(entry) = self.entry(test) {
                        entry.expected = true;
                    }
                }
            }
            Line::Options { debug, foreign, building } => {
                self.caveats = caveats(debug, &foreign);
                self.building = building.and_then(span);
            }
            Line::Start { test, at } => self.start(test, at),
            Line::Diff { test, text, file, sha256 } => self.differ(test, &text, Expectation { file, sha256 }),
            Line::Finish { test, outcome, seconds, reason } => self.finish(test, outcome, seconds, reason),
            Line::End => self.complete = true,
        }
    }

    fn start(&mut self, test: String, at: Option<f64>) {
        let Some(entry) = self.entry(test.clone()) else { return };
        entry.started = true;
        entry.began_at = at.and_then(|at| Timestamp::from_millisecond((at * 1000.0) as i64).ok());
        self.tell(TestNews::Began(test.into()));
    }

    /// Keeps the news for those who watch.
    fn tell(&mut self, news: TestNews) {
        if self.told < MOST_NEWS {
            self.told += 1;
            self.news.push(news);
        }
    }

    /// Takes the difference of a test; what there is no room for is left out, and the output of the run has it.
    fn differ(&mut self, name: String, diff: &str, expected: Expectation) {
        let room = DIFFS_CAP.saturating_sub(self.diffs).min(DIFF_CAP);
        let diff = text::cut(diff, room);
        let Some(entry) = self.entry(name).filter(|_| room > 0) else { return };
        entry.expected_output = Some(expected).filter(|expected| expected.file.len() <= NAME_CAP);
        let before = entry.diff.replace(diff.clone()).map_or(0, |old| old.len());
        self.diffs = (self.diffs + diff.len()).saturating_sub(before);
    }

    fn finish(&mut self, name: String, outcome: ReportedOutcome, seconds: Option<f64>, reason: Option<String>) {
        let room = TEXT_CAP.saturating_sub(self.text + name.len());
        let Some(entry) = self.entry(name.clone()) else { return };
        // The runner also says "passed" of a test that it was only asked to list.
        if matches!(outcome, ReportedOutcome::Passed | ReportedOutcome::Failed | ReportedOutcome::TimedOut)
            && !entry.started
        {
            return;
        }
        let rank = outcome.into_test().rank();
        if entry.result.as_ref().is_some_and(|known| known.outcome.rank() >= rank) {
            return;
        }
        let reason =
            reason.or_else(|| outcome.reason().map(str::to_owned)).map(|reason| text::cut(&reason, REASON_CAP));
        let before = entry.result.as_ref().and_then(|known| known.reason.as_ref()).map_or(0, String::len);
        let after = reason.as_ref().map_or(0, String::len);
        let fits = after <= room.saturating_add(before);
        let reason = reason.filter(|_| fits);
        let (outcome, took) = (outcome.into_test(), seconds.and_then(span));
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

    /// The entry of a test; none if there is no room for another.
    fn entry(&mut self, name: String) -> Option<&mut TestEntry> {
        if !self.entries.contains_key(&name) {
            let too_much = if name.len() > NAME_CAP {
                Some(format!("a name of more than {NAME_CAP} bytes"))
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
}

/// A span of so many seconds; none if the number is not a span.
fn span(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// The reasons, from the runner's options, why green means less than it seems.
fn caveats(debug: bool, foreign: &BTreeMap<String, String>) -> Vec<String> {
    let mut said = Vec::new();
    if debug {
        said.push("output not compared (--debug)".to_owned());
    }
    // There are three such flags.
    said.extend(foreign.iter().take(4).map(|(flag, path)| {
        format!("not the source's own program but {} ({})", text::cut(path, PATH_CAP), text::cut(flag, PATH_CAP))
    }));
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(report: &[u8]) -> RunnerReport {
        let mut reader = EventsReader::in_folder("/hgwork/results".to_owned());
        reader.feed(report);
        reader.report()
    }

    fn started(test: &str) -> String {
        format!("{{\"event\": \"start\", \"test\": \"{test}\"}}\n")
    }

    fn finished(test: &str, outcome: &str) -> String {
        let reason = "\"reason\": \"missing feature: x\"";
        format!(
            "{{\"event\": \"finish\", \"test\": \"{test}\", \"outcome\": \"{outcome}\", \"seconds\": 1, {reason}}}\n"
        )
    }

    #[test]
    fn a_report_that_breaks_off_keeps_what_it_said() {
        let report = br#"{"event": "expected", "tests": ["test-a.t", "test-b.t"]}
{"event": "start", "test": "test-a.t"}
{"event": "finish", "test": "test-a.t", "outcome": "skipped", "seconds": 0.5, "reason": "missing feature: x"}
{"event": "start", "test": "test-b.t"}
{"event": "finish", "test": "test-b.t", "outc"#;
        // The pieces in which it comes do not matter.
        for size in 1..report.len() {
            let mut reader = EventsReader::in_folder("/hgwork/results".to_owned());
            report.chunks(size).for_each(|piece| reader.feed(piece));
            let reported = reader.report();
            assert_eq!(reported.expected, ["test-a.t", "test-b.t"].map(TestName::from));
            assert_eq!(reported.tests.len(), 1);
            assert_eq!(reported.tests[0].outcome, TestOutcome::Skipped);
            assert_eq!(reported.tests[0].reason.as_deref(), Some("missing feature: x"));
            assert!(reported.began && !reported.complete && reported.excess.is_none());
        }
    }

    #[test]
    fn a_test_that_never_started_did_not_pass() {
        let report = br#"{"event": "finish", "test": "t", "outcome": "passed", "seconds": 0, "reason": null}
{"event": "finish", "test": "u", "outcome": "skipped", "seconds": 0, "reason": "blacklisted"}
{"event": "end"}"#;
        let RunnerReport { tests, began, .. } = read(report);
        assert!(!began);
        assert_eq!(tests.iter().map(|test| test.name.as_str()).collect::<Vec<_>>(), ["u"]);
    }

    #[test]
    fn a_difference_is_of_the_test_that_failed_and_has_its_limits() {
        let differs = |test: &str, text: &str| {
            let line =
                serde_json::json!({"event": "diff", "test": test, "text": text, "file": "tests/t", "sha256": null});
            format!("{line}\n")
        };
        let all = |tests: &[(&str, &str, &str)]| -> String {
            let lines = tests
                .iter()
                .map(|(test, text, outcome)| [started(test), differs(test, text), finished(test, outcome)].concat());
            lines.collect()
        };
        let long = "+".repeat(2 * DIFF_CAP);
        let report =
            all(&[("a", "+1", "failed"), ("b", "+2", "passed"), ("c", "+3", "timed_out"), ("d", &long, "failed")]);
        let tests = read(report.as_bytes()).tests;
        let details: Vec<Option<&str>> = tests.iter().map(|test| test.detail.as_deref()).collect();
        assert_eq!(details[..3], [Some("+1"), None, None]);
        assert!(details[3].is_some_and(|text| text.len() < DIFF_CAP + 100), "a machine may send what it likes");
        assert_eq!(tests[0].expected.as_ref().map(|expected| expected.file.as_str()), Some("tests/t"));
        assert!(tests[1].expected.is_none());
        let many: String = (0..200).map(|n| all(&[(&format!("t{n}"), &long, "failed")])).collect();
        let held: usize =
            read(many.as_bytes()).tests.iter().filter_map(|test| test.detail.as_ref()).map(String::len).sum();
        assert!(held < DIFFS_CAP + 200 * 100, "{held}");
    }

    #[test]
    fn a_test_whose_file_is_not_there_was_not_skipped() {
        let reported = read(finished("t", "missing").as_bytes());
        assert_eq!(reported.tests[0].outcome, TestOutcome::Lost);
    }

    #[test]
    fn a_test_that_ran_out_of_its_time_says_so() {
        let report = [started("t"), finished("t", "timed_out"), finished("u", "timed_out")].concat();
        let tests = read(report.as_bytes()).tests;
        assert_eq!((tests.len(), tests[0].outcome), (1, TestOutcome::TimedOut), "one that never started has no time");
        assert_eq!(tests[0].took, Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_time_that_is_none_is_not_known() {
        for seconds in ["-1", "1e300", "null"] {
            let line = format!(
                "{{\"event\": \"finish\", \"test\": \"t\", \"outcome\": \"skipped\", \"seconds\": {seconds}, \"reason\": null}}"
            );
            assert_eq!(read(line.as_bytes()).tests[0].took, None, "{seconds}");
        }
    }

    #[test]
    fn a_test_that_ran_often_keeps_its_worst_outcome() {
        let report = [started("t"), finished("t", "passed"), finished("t", "failed"), finished("t", "passed")].concat();
        let reported = read(report.as_bytes());
        assert_eq!((reported.tests.len(), reported.tests[0].outcome), (1, TestOutcome::Failed));
    }

    #[test]
    fn an_unknown_outcome_is_no_outcome() {
        let report = br#"{"event": "finish", "test": "t", "outcome": "splendid", "seconds": 1, "reason": null}
{"event": "end"}"#;
        let reported = read(report);
        assert!(reported.tests.is_empty() && reported.complete);
    }

    #[test]
    fn options_that_make_green_mean_less_are_told() {
        let report = br#"{"event": "options", "debug": true, "foreign": {"--with-hg": "/usr/bin/hg"}}"#;
        let told = ["output not compared (--debug)", "not the source's own program but /usr/bin/hg (--with-hg)"];
        assert_eq!(read(report).caveats, told);
        let plain = read(br#"{"event": "options", "debug": false, "foreign": {}, "building": 61.5}"#);
        assert_eq!((plain.caveats.len(), plain.building), (0, Some(Duration::from_millis(61_500))));
    }

    #[test]
    fn a_hostile_report_is_kept_in_little_and_is_not_whole() {
        let end = "{\"event\": \"end\"}\n";
        let long_line = [&"x".repeat(LINE_CAP + 1), "\n", end].concat();
        let long_name = [&started(&"n".repeat(NAME_CAP + 1)), end].concat();
        let many: String = (0..=MOST_TESTS).map(|n| started(&format!("t{n}"))).chain([end.to_owned()]).collect();
        let wordy: String = (0..3000).map(|n| started(&format!("{n:01000}"))).chain([end.to_owned()]).collect();
        let stories = [
            (long_line, "a line of more than 512.0 KiB"),
            (long_name, "a name of more than 1024 bytes"),
            (many, "more than 20000 tests"),
            (wordy, "more than 2.0 MiB of names and reasons"),
        ];
        for (report, beyond) in stories {
            let mut reader = EventsReader::in_folder("/hgwork/results".to_owned());
            reader.feed(report.as_bytes());
            assert!(reader.text <= TEXT_CAP && reader.entries.len() <= MOST_TESTS && reader.line.len() <= LINE_CAP);
            let reported = reader.report();
            assert!(reported.complete, "what follows is read again");
            assert_eq!(reported.excess.as_deref(), Some(beyond));
        }
    }

    #[test]
    fn reasons_are_cut_and_counted() {
        let reason = "r".repeat(REASON_CAP + 100);
        let finish = |test: &str| {
            format!(
                "{{\"event\":\"finish\",\"test\":\"{test}\",\"outcome\":\"skipped\",\"seconds\":1,\"reason\":\"{reason}\"}}\n"
            )
        };
        let mut reader = EventsReader::in_folder("/hgwork/results".to_owned());
        reader.feed(finish("t").as_bytes());
        reader.feed(finish("t").as_bytes());
        assert_eq!(reader.text, 1 + reader.entries["t"].result.as_ref().unwrap().reason.as_ref().unwrap().len());
        for n in 0..1000 {
            reader.feed(finish(&format!("t{n}")).as_bytes());
        }
        assert!(reader.text <= TEXT_CAP);
        let reported = reader.report();
        assert!(reported.tests[0].reason.as_ref().unwrap().ends_with("bytes left out]"));
        assert_eq!(reported.excess.as_deref(), Some("more than 2.0 MiB of names and reasons"));
    }
}
