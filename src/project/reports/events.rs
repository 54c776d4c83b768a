//! Reading reports of events: one JSON object a line, complete up to the moment of a loss. `remote/mercurial/run_tests_events.py` and
//! the writers of `remote/runners` write them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::base::id::TestName;
use model::base::text;
use model::outcome::{Expectation, TestOutcome};
use model::sum::Sha256Sum;
use serde::Deserialize;

use crate::reports::lines::{LineReader, LineStream};
use crate::reports::tally::{Rules, Tally, span};

/// The longest name of one of Mercurial's tests: that of a file, with its cases.
const NAME_CAP: usize = 1024;

/// The longest path of a program that a caveat names.
const PATH_CAP: usize = 256;

/// How much is told of a failure that belongs to no test, in bytes.
const FAULT_CAP: usize = 500;

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
    Detail {
        test: String,
        text: String,
    },
    Finish {
        test: String,
        outcome: ReportedOutcome,
        seconds: Option<f64>,
        reason: Option<String>,
    },
    /// Something failed that belongs to no test.
    Fault {
        text: String,
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

    /// Whether a test comes to it only after it began.
    fn takes_a_start(self) -> bool {
        matches!(self, Self::Passed | Self::Failed | Self::TimedOut)
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

/// A report of such events.
pub(crate) type EventsReader = LineReader<EventsStream>;

/// What the events said so far.
pub(crate) struct EventsStream {
    /// The folder on the machine in which the output of failed tests lies; none where there are no such files.
    folder: Option<String>,
    tally: Tally,
}

impl LineStream for EventsStream {
    fn take(&mut self, line: &[u8]) {
        take_line(&mut self.tally, line);
    }

    fn close(&mut self) {}

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn output_file(&self, test: &TestName) -> Option<String> {
        // Names come from the machine: one that is not a plain file name is not made into a path.
        let folder = self.folder.as_ref().filter(|_| !test.as_str().contains('/'))?;
        Some(format!("{folder}/{test}.err"))
    }
}

impl EventsReader {
    /// A reader of what Mercurial's runner reports whose results lie in `folder` on the machine: a test may run more than once.
    pub(crate) fn in_folder(folder: String) -> Self {
        let tally = Tally::new(Rules { once: false, name_cap: NAME_CAP });
        Self::of(EventsStream { folder: Some(folder), tally })
    }

    /// A reader of what a writer of `remote/runners` reports, or one that a user has.
    pub(crate) fn strict() -> Self {
        Self::of(EventsStream { folder: None, tally: Tally::new(Rules::STRICT) })
    }
}

/// A line that breaks off, or that is not ours, is skipped: its test stays unknown, and so lost.
fn take_line(tally: &mut Tally, line: &[u8]) {
    let Ok(line) = serde_json::from_slice(line) else { return };
    match line {
        // Of a runner that was asked for a list before, this list counts.
        Line::Expected { .. } if tally.rules.once => {}
        Line::Expected { tests } => tests.into_iter().for_each(|test| tally.expect(test)),
        Line::Options { debug, foreign, building } => {
            tally.caveats = caveats(debug, &foreign);
            tally.building = building.and_then(span);
        }
        Line::Start { test, at } => {
            tally.start(test, at.and_then(|at| Timestamp::from_millisecond((at * 1000.0) as i64).ok()));
        }
        Line::Diff { test, text, file, sha256 } => tally.detail(test, &text, Some(Expectation { file, sha256 })),
        Line::Detail { test, text } => tally.detail(test, &text, None),
        Line::Finish { test, outcome, seconds, reason } => {
            // The runner also says "passed" of a test that it was only asked to list.
            if outcome.takes_a_start() && !tally.has_started(&test) {
                return;
            }
            let reason = reason.or_else(|| outcome.reason().map(str::to_owned));
            tally.finish(test, outcome.into_test(), seconds.and_then(span), reason);
        }
        Line::Fault { text } => {
            tally.note(format!("a failure of no test ({})", text::cut(&text, FAULT_CAP).escape_debug()));
        }
        Line::End => tally.end(),
    }
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
    use std::time::Duration;

    use super::*;
    use crate::reports::lines::LINE_CAP;
    use crate::reports::tally::{DETAIL_CAP, DETAILS_CAP, MOST_TESTS, REASON_CAP, TEXT_CAP};
    use model::runner::{ReportReader, RunnerReport};

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
    fn a_report_of_a_declared_runner_has_one_result_of_each_test_and_announces_none() {
        let read = |report: &str| {
            let mut reader = EventsReader::strict();
            reader.feed(report.as_bytes());
            (reader.output_file(&"t".into()), reader.report())
        };
        let end = "{\"event\": \"end\"}\n";
        let expected = "{\"event\": \"expected\", \"tests\": [\"u\"]}\n";
        let detail = "{\"event\": \"detail\", \"test\": \"t\", \"text\": \"1 != 2\"}\n";
        let whole = [expected, &started("t"), detail, &finished("t", "failed"), end].concat();
        let (file, report) = read(&whole);
        assert_eq!((file, report.excess, report.complete), (None, None, true));
        assert!(report.expected.is_empty());
        assert_eq!(report.tests[0].detail.as_deref(), Some("1 != 2"));
        let twice = read(&[started("t"), finished("t", "passed"), finished("t", "passed"), end.to_owned()].concat()).1;
        assert_eq!(twice.excess.as_deref(), Some("a second result of the test `t`"));
        let ends_twice = read(&[whole.as_str(), end].concat()).1;
        assert_eq!(ends_twice.excess.as_deref(), Some("a second end"));
        let fault = "{\"event\": \"fault\", \"text\": \"teardown_file failed\"}\n";
        let faulty = read(&[&started("t"), &finished("t", "passed"), fault, end].concat()).1;
        assert_eq!(faulty.excess.as_deref(), Some("a failure of no test (teardown_file failed)"));
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
        let long = "+".repeat(2 * DETAIL_CAP);
        let report =
            all(&[("a", "+1", "failed"), ("b", "+2", "passed"), ("c", "+3", "timed_out"), ("d", &long, "failed")]);
        let tests = read(report.as_bytes()).tests;
        let details: Vec<Option<&str>> = tests.iter().map(|test| test.detail.as_deref()).collect();
        assert_eq!(details[..3], [Some("+1"), None, None]);
        assert!(details[3].is_some_and(|text| text.len() < DETAIL_CAP + 100), "a machine may send what it likes");
        assert_eq!(tests[0].expected.as_ref().map(|expected| expected.file.as_str()), Some("tests/t"));
        assert!(tests[1].expected.is_none());
        let many: String = (0..200).map(|n| all(&[(&format!("t{n}"), &long, "failed")])).collect();
        let held: usize =
            read(many.as_bytes()).tests.iter().filter_map(|test| test.detail.as_ref()).map(String::len).sum();
        assert!(held < DETAILS_CAP + 200 * 100, "{held}");
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
            assert!(reader.stream.tally.text <= TEXT_CAP && reader.stream.tally.entries.len() <= MOST_TESTS);
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
        let kept = reader.stream.tally.entries["t"].result.as_ref().unwrap().reason.as_ref().unwrap().len();
        assert_eq!(reader.stream.tally.text, 1 + kept);
        for n in 0..1000 {
            reader.feed(finish(&format!("t{n}")).as_bytes());
        }
        assert!(reader.stream.tally.text <= TEXT_CAP);
        let reported = reader.report();
        assert!(reported.tests[0].reason.as_ref().unwrap().ends_with("bytes left out]"));
        assert_eq!(reported.excess.as_deref(), Some("more than 2.0 MiB of names and reasons"));
    }
}
