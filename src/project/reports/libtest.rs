//! Reading the JSON of Rust's test harness: a line an event, of `cargo test -- --format json` and of nextest
//! (`--message-format libtest-json`).

use model::outcome::TestOutcome;
use serde::Deserialize;

use crate::reports::lines::{LineReader, LineStream};
use crate::reports::tally::{Rules, Tally, span};

/// The words of the harness for a test that took longer than it may.
const OUT_OF_TIME: &str = "time limit exceeded";

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Suite(Suite),
    Test(Test),
}

/// A binary with tests begins or ends.
#[derive(Deserialize)]
struct Suite {
    event: String,
    #[serde(default)]
    passed: usize,
    #[serde(default)]
    failed: usize,
}

/// A test begins or ends. An event `timeout` says only that it takes long.
#[derive(Deserialize)]
struct Test {
    event: String,
    name: String,
    exec_time: Option<f64>,
    stdout: Option<String>,
    message: Option<String>,
    reason: Option<String>,
}

/// A stream of such events.
pub(crate) type LibtestReader = LineReader<LibtestStream>;

/// What the events said so far.
pub(crate) struct LibtestStream {
    tally: Tally,
    suites_began: usize,
    suites_ended: usize,
    /// How many tests passed and failed by the suites that ended. What is ignored they do not agree on: nextest ends a suite twice whose
    /// last results are late, and counts those again.
    said: [usize; 2],
}

impl LibtestReader {
    /// A reader of nothing yet.
    pub(crate) fn new() -> Self {
        let stream = LibtestStream { tally: Tally::new(Rules::STRICT), suites_began: 0, suites_ended: 0, said: [0; 2] };
        Self::of(stream)
    }
}

impl LineStream for LibtestStream {
    fn take(&mut self, line: &[u8]) {
        // Whatever else stands in the stream is the output of a build or of a test.
        match serde_json::from_slice(line) {
            Ok(Line::Suite(suite)) => self.suite(&suite),
            Ok(Line::Test(test)) => self.test(test),
            Err(_) => {}
        }
    }

    /// The report is whole where every suite that began has ended, and they have counted the results that came.
    fn close(&mut self) {
        let held = [
            self.tally.count(TestOutcome::Passed),
            self.tally.count(TestOutcome::Failed) + self.tally.count(TestOutcome::TimedOut),
        ];
        if self.suites_ended > self.suites_began {
            self.tally.note("more ends of suites than beginnings");
        }
        if self.suites_began == 0 || self.suites_ended < self.suites_began {
            return;
        }
        if held != self.said {
            let words = |[passed, failed]: [usize; 2]| format!("{passed} passed, {failed} failed");
            let (held, said) = (words(held), words(self.said));
            self.tally.note(format!("the results of tests ({held}) that its suites count otherwise ({said})"));
        }
        self.tally.end();
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl LibtestStream {
    fn suite(&mut self, suite: &Suite) {
        match suite.event.as_str() {
            "started" => self.suites_began = self.suites_began.saturating_add(1),
            "ok" | "failed" => {
                self.suites_ended = self.suites_ended.saturating_add(1);
                let said = [suite.passed, suite.failed];
                for (sum, said) in self.said.iter_mut().zip(said) {
                    *sum = sum.saturating_add(said);
                }
            }
            _ => {}
        }
    }

    fn test(&mut self, test: Test) {
        let outcome = match test.event.as_str() {
            "started" => return self.tally.start(test.name, None),
            "ok" => TestOutcome::Passed,
            "ignored" => TestOutcome::Skipped,
            "failed" if test.reason.as_deref() == Some(OUT_OF_TIME) => TestOutcome::TimedOut,
            "failed" => TestOutcome::Failed,
            _ => return,
        };
        let said = test.stdout.as_deref().unwrap_or_default();
        if outcome.is_failure() && !said.is_empty() {
            self.tally.detail(test.name.clone(), said, None);
        }
        let reason = test.message.as_deref().and_then(why_failed).or(test.message).or(test.reason);
        let reason =
            reason.or_else(|| (outcome == TestOutcome::Failed).then(|| why_failed(said).unwrap_or_else(silent)));
        self.tally.finish(test.name, outcome, test.exec_time.and_then(span), reason);
    }
}

/// What is said of a test whose process left nothing to read: nextest does not report how it ended.
fn silent() -> String {
    "its process ended without output, as by a signal".to_owned()
}

/// Why a test failed by its output: what it panicked with, else its last line that is not the harness' own.
fn why_failed(said: &str) -> Option<String> {
    let own = ["running ", "test ", "note: ", "failures:", "successes:", "stack backtrace:", "---- "];
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last = None;
    while let Some(line) = lines.next() {
        if let Some((_, panicked)) = line.split_once(" panicked at ") {
            // Before Rust 1.73 it stood in the same line, before the place.
            let quoted = panicked.strip_prefix('\'').and_then(|rest| rest.rsplit_once("', ")).map(|(words, _)| words);
            return quoted.or_else(|| lines.next()).or(Some(line)).map(str::to_owned);
        }
        last = Some(line).filter(|line| !own.iter().any(|own| line.starts_with(own))).or(last);
    }
    last.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::runner::{ReportReader, RunnerReport};

    const BEGINS: &str = "{\"type\":\"suite\",\"event\":\"started\",\"test_count\":4}\n";
    const TESTS: &str = r#"   Compiling x v0.1.0
{"type":"test","event":"started","name":"a::adds"}
{"type":"test","name":"a::adds","event":"ok","exec_time":0.25}
{"type":"test","event":"started","name":"a::breaks"}
{"type":"test","event":"timeout","name":"a::breaks"}
{"type":"test","name":"a::breaks","event":"failed","stdout":"assertion failed\n"}
{"type":"test","name":"a::ignored","event":"ignored","message":"slow"}
{"type":"test","event":"started","name":"a::hangs"}
{"type":"test","name":"a::hangs","event":"failed","reason":"time limit exceeded"}
"#;
    const ENDS: &str =
        "{\"type\":\"suite\",\"event\":\"failed\",\"passed\":1,\"failed\":2,\"ignored\":1,\"measured\":0}\n";

    fn read(stream: &str) -> RunnerReport {
        let mut reader = LibtestReader::new();
        reader.feed(stream.as_bytes());
        reader.report()
    }

    #[test]
    fn a_whole_stream_tells_every_outcome() {
        let report = read(&[BEGINS, TESTS, ENDS].concat());
        assert!(report.complete && report.began && report.excess.is_none(), "{report:?}");
        let outcomes: Vec<_> = report.tests.iter().map(|test| (test.name.as_str(), test.outcome)).collect();
        use TestOutcome::{Failed, Passed, Skipped, TimedOut};
        assert_eq!(
            outcomes,
            [("a::adds", Passed), ("a::breaks", Failed), ("a::hangs", TimedOut), ("a::ignored", Skipped)]
        );
        assert_eq!(report.tests[0].took, span(0.25));
        assert_eq!(report.tests[1].detail.as_deref(), Some("assertion failed\n"));
        assert_eq!(report.tests[3].reason.as_deref(), Some("slow"));
        assert_eq!(report.tests[1].reason.as_deref(), Some("assertion failed"));
    }

    #[test]
    fn a_failure_has_a_reason() {
        let failed = |said: &str| {
            let line = serde_json::json!({"type": "test", "event": "failed", "name": "t", "stdout": said});
            let reason = read(&format!("{BEGINS}{line}\n")).tests[0].reason.clone();
            reason.unwrap()
        };
        let panic = "\nthread 't' (7) panicked at src/lib.rs:8:9:\nassertion failed: sums\n  left: 2\nnote: run with\n";
        assert_eq!(failed(panic), "assertion failed: sums");
        assert_eq!(failed("thread 't' panicked at 'it's no use', src/lib.rs:8:9\nnote: run with\n"), "it's no use");
        assert_eq!(failed("running 1 test\nError: \"no disk\"\ntest t ... FAILED\n\n"), "Error: \"no disk\"");
        assert_eq!(failed(""), silent());
    }

    #[test]
    fn a_stream_that_is_cut_or_lies_is_not_whole() {
        let whole = |stream: &str| {
            let report = read(stream);
            report.complete && report.excess.is_none()
        };
        assert!(whole(&[BEGINS, TESTS, ENDS].concat()));
        let empty = ENDS.replace(":1", ":0").replace(":2", ":0");
        assert!(whole(&[BEGINS, TESTS, ENDS, BEGINS, &empty].concat()), "a suite without tests");
        for (stream, why) in [
            (String::new(), "nothing"),
            ([BEGINS, TESTS].concat(), "the suite does not end"),
            ([BEGINS, BEGINS, TESTS, ENDS].concat(), "one suite does not end"),
            ([TESTS, ENDS].concat(), "no suite began"),
            ([BEGINS, TESTS, ENDS, &empty].concat(), "a suite ends twice"),
            ([BEGINS, TESTS, &ENDS.replace("\"failed\":2", "\"failed\":0")].concat(), "it counts otherwise"),
            ([BEGINS, TESTS, TESTS, ENDS].concat(), "results come twice"),
        ] {
            assert!(!whole(&stream), "{why}");
        }
    }
}
