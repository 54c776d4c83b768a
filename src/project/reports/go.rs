//! Reading what `go test -json` prints: a line an event, of packages and their tests.
//!
//! A test is called `PACKAGE.TEST`. Subtests are a part of their test.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::base::text;
use model::outcome::TestOutcome;
use serde::Deserialize;

use crate::reports::lines::{LineReader, LineStream};
use crate::reports::tally::{MOST_TESTS, Rules, Tally, span};

/// How much of a test's output is collected until it ends, in bytes, and of all tests together.
const SAID_CAP: usize = 64 << 10;
const ALL_SAID_CAP: usize = 8 << 20;

/// The beginning of the output of a test that took longer than it may.
const OUT_OF_TIME: &str = "panic: test timed out";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    test: String,
    time: Option<Timestamp>,
    elapsed: Option<f64>,
    #[serde(default)]
    output: String,
}

/// A stream of such events.
pub(crate) type GoReader = LineReader<GoStream>;

/// What the events said so far.
pub(crate) struct GoStream {
    tally: Tally,
    /// Packages that began, and whether they ended.
    packages: BTreeMap<String, bool>,
    /// The output of tests that have not ended.
    said: BTreeMap<String, String>,
    held: usize,
    /// The tests that ran out of their time.
    slow: BTreeSet<String>,
}

impl GoReader {
    /// A reader of nothing yet.
    pub(crate) fn new() -> Self {
        let stream = GoStream {
            tally: Tally::new(Rules::STRICT),
            packages: BTreeMap::new(),
            said: BTreeMap::new(),
            held: 0,
            slow: BTreeSet::new(),
        };
        Self::of(stream)
    }
}

impl LineStream for GoStream {
    fn take(&mut self, line: &[u8]) {
        // Whatever else stands in the stream is the output of a build.
        let Ok(event) = serde_json::from_slice::<Event>(line) else { return };
        if event.package.is_empty() {
            return;
        }
        // Before Go 1.20 a package says nothing when it begins.
        if !event.test.is_empty() && self.packages.len() < MOST_TESTS && !self.packages.contains_key(&event.package) {
            self.packages.insert(event.package.clone(), false);
        }
        match event.test.split_once('/') {
            _ if event.test.is_empty() => self.package(event),
            None => self.test(event),
            // Of a subtest only what it says is of interest: its test fails with it.
            Some((test, _)) if event.action == "output" => {
                let name = name(&event.package, test);
                self.say(name, &event.output);
            }
            Some(_) => {}
        }
    }

    fn close(&mut self) {
        if !self.packages.is_empty() && self.packages.values().all(|ended| *ended) {
            self.tally.end();
        }
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl GoStream {
    fn package(&mut self, event: Event) {
        let ends = match event.action.as_str() {
            "start" | "run" => false,
            "pass" | "fail" | "skip" => true,
            _ => return,
        };
        if self.packages.len() >= MOST_TESTS && !self.packages.contains_key(&event.package) {
            return self.tally.note(format!("more than {MOST_TESTS} packages"));
        }
        if ends {
            self.end_slow(&event.package);
        }
        let package = text::cut(&event.package, 200);
        let known = self.packages.insert(event.package, ends);
        if known == Some(true) {
            self.tally.note(format!("a second end of the package `{}`", package.escape_debug()));
        }
    }

    /// Before Go 1.20 a test that ran out of its time has no event of its own: its package fails.
    fn end_slow(&mut self, package: &str) {
        let of_package = |name: &&String| name.rsplit_once('.').is_some_and(|(of, _)| of == package);
        let slow: Vec<String> = self.slow.iter().filter(of_package).cloned().collect();
        for name in slow {
            self.slow.remove(&name);
            let said = self.said.remove(&name).unwrap_or_default();
            self.held = self.held.saturating_sub(said.len());
            self.tally.finish(name, TestOutcome::TimedOut, None, why_failed(&said));
        }
    }

    fn test(&mut self, event: Event) {
        let name = name(&event.package, &event.test);
        let outcome = match event.action.as_str() {
            "run" => return self.tally.start(name, event.time),
            "output" => return self.say(name, &event.output),
            "pass" => TestOutcome::Passed,
            "skip" => TestOutcome::Skipped,
            "fail" if self.slow.remove(&name) => TestOutcome::TimedOut,
            "fail" => TestOutcome::Failed,
            _ => return,
        };
        let said = self.said.remove(&name).unwrap_or_default();
        self.held = self.held.saturating_sub(said.len());
        if outcome.is_failure() && !said.is_empty() {
            self.tally.detail(name.clone(), &said, None);
        }
        let reason = match outcome {
            TestOutcome::Passed => None,
            TestOutcome::Skipped => why_skipped(&said),
            _ => why_failed(&said),
        };
        self.tally.finish(name, outcome, event.elapsed.and_then(span), reason);
    }

    /// Collects what a test says, until it ends.
    fn say(&mut self, name: String, output: &str) {
        if output.starts_with(OUT_OF_TIME) && self.slow.len() < MOST_TESTS {
            self.slow.insert(name.clone());
        }
        if self.held + output.len() > ALL_SAID_CAP || (self.said.len() >= MOST_TESTS && !self.said.contains_key(&name))
        {
            return;
        }
        let said = self.said.entry(name).or_default();
        if said.len() + output.len() <= SAID_CAP {
            said.push_str(output);
            self.held += output.len();
        }
    }
}

fn name(package: &str, test: &str) -> String {
    format!("{package}.{test}")
}

/// Why a test failed: what it panicked with, else its last line.
fn why_failed(said: &str) -> Option<String> {
    let panic = said.lines().find_map(|line| line.strip_prefix("panic: "));
    panic.map(|words| words.trim_end_matches(" [recovered]").to_owned()).or_else(|| why_skipped(said))
}

/// What a skipped test says: its last line that is not the harness' own, without the file and the line that it stands in.
fn why_skipped(said: &str) -> Option<String> {
    let own = ["===", "---", "FAIL", "exit status "];
    let told = |line: &&str| !line.is_empty() && !own.iter().any(|own| line.starts_with(own));
    let line = said.lines().map(str::trim).rfind(told)?;
    Some(line.split_once(".go:").and_then(|(_, rest)| rest.split_once(": ")).map_or(line, |(_, why)| why).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::runner::{ReportReader, RunnerReport};

    const STREAM: &str = r#"{"Time":"2026-11-30T12:00:00Z","Action":"start","Package":"x/a"}
{"Action":"run","Package":"x/a","Test":"TestAdds"}
{"Action":"output","Package":"x/a","Test":"TestAdds","Output":"=== RUN   TestAdds\n"}
{"Action":"pass","Package":"x/a","Test":"TestAdds","Elapsed":0.5}
{"Action":"run","Package":"x/a","Test":"TestBreaks"}
{"Action":"run","Package":"x/a","Test":"TestBreaks/deep"}
{"Action":"output","Package":"x/a","Test":"TestBreaks/deep","Output":"    a_test.go:7: want 2\n"}
{"Action":"fail","Package":"x/a","Test":"TestBreaks/deep","Elapsed":0}
{"Action":"fail","Package":"x/a","Test":"TestBreaks","Elapsed":0}
{"Action":"run","Package":"x/a","Test":"TestSkips"}
{"Action":"output","Package":"x/a","Test":"TestSkips","Output":"    a_test.go:9: no network\n"}
{"Action":"output","Package":"x/a","Test":"TestSkips","Output":"--- SKIP: TestSkips (0.00s)\n"}
{"Action":"skip","Package":"x/a","Test":"TestSkips","Elapsed":0}
{"Action":"run","Package":"x/a","Test":"TestHangs"}
{"Action":"output","Package":"x/a","Test":"TestHangs","Output":"panic: test timed out after 5s\n"}
{"Action":"fail","Package":"x/a","Test":"TestHangs","Elapsed":5}
{"Action":"fail","Package":"x/a","Elapsed":5.1}
"#;

    fn read(stream: &str) -> RunnerReport {
        let mut reader = GoReader::new();
        reader.feed(stream.as_bytes());
        reader.report()
    }

    #[test]
    fn a_whole_stream_tells_every_outcome() {
        let report = read(STREAM);
        assert!(report.complete && report.began && report.excess.is_none(), "{report:?}");
        let outcomes: Vec<_> = report.tests.iter().map(|test| (test.name.as_str(), test.outcome)).collect();
        use TestOutcome::{Failed, Passed, Skipped, TimedOut};
        assert_eq!(
            outcomes,
            [
                ("x/a.TestAdds", Passed),
                ("x/a.TestBreaks", Failed),
                ("x/a.TestHangs", TimedOut),
                ("x/a.TestSkips", Skipped)
            ]
        );
        assert_eq!(report.tests[1].detail.as_deref(), Some("    a_test.go:7: want 2\n"));
        let reasons: Vec<_> = report.tests[1..].iter().map(|test| test.reason.as_deref()).collect();
        assert_eq!(reasons, [Some("want 2"), Some("test timed out after 5s"), Some("no network")]);
    }

    #[test]
    fn a_stream_that_is_cut_or_lies_is_not_whole() {
        let whole = |stream: &str| {
            let report = read(stream);
            report.complete && report.excess.is_none()
        };
        let end = STREAM.lines().last().unwrap();
        let old: String = STREAM
            .lines()
            .filter(|line| !line.contains("start") && !line.contains("TestHangs\",\"Elapsed"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(whole(&old), "before Go 1.20");
        assert_eq!(read(&old).tests[2].outcome, TestOutcome::TimedOut);
        assert!(
            !whole(&format!("{old}{}", r#"{"Action":"run","Package":"x/b","Test":"TestOther"}"#)),
            "another goes on"
        );
        assert!(whole(STREAM) && whole(&format!("go: downloading x\n{STREAM}")));
        for (stream, why) in [
            (String::new(), "nothing"),
            (STREAM.replace(end, ""), "the package does not end"),
            (STREAM.replace(end, &end[..20]), "it breaks off"),
            (format!("{STREAM}{end}\n"), "the package ends twice"),
            (format!("{STREAM}{STREAM}"), "everything comes twice"),
        ] {
            assert!(!whole(&stream), "{why}");
        }
    }
}
