//! Reading JUnit's XML, as the many runners write it that call it by this name: `<testcase>` elements at any depth, with
//! `<failure>`, `<error>` or `<skipped>` in those that did not pass.
//!
//! It is written at the end, so it is read at the end. The names of the attributes are agreed on; which of them a test is
//! called by is not, so that is said beside the report.

use std::collections::BTreeSet;

use model::base::id::TestName;
use model::base::text;
use model::outcome::TestOutcome;
use model::runner::{ReportReader, RunnerReport, TestNews};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::attributes::Attributes;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::reports::tally::{Rules, Tally, span};

/// The longest report. Twenty thousand tests with some output each take a tenth of it.
const REPORT_CAP: usize = 64 << 20;

/// The most elements within each other; honest reports have five.
const DEPTH_CAP: usize = 100;

/// How much of the text of a failure is read, in bytes; the tally has a bound of its own for all.
const SAID_CAP: usize = 64 << 10;

/// A report in the making.
pub(crate) struct JunitReader {
    /// How a test is called.
    name: NameForm,
    bytes: Vec<u8>,
    tally: Tally,
}

/// The name of a test by the attributes of its element: text with `{name}`, `{classname}`, `{file}` and `{suite}` in it, the last of
/// which is the name of the suite around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameForm(Vec<Piece>);

impl Default for NameForm {
    /// The name alone.
    fn default() -> Self {
        Self(vec![Piece::Attribute("name")])
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Attribute(&'static str),
}

/// The attributes that a form may name.
const ATTRIBUTES: [&str; 4] = ["name", "classname", "file", "suite"];

impl NameForm {
    /// Reads a form; the error says what is wrong with it.
    pub(crate) fn parse(form: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), form);
        while let Some((before, behind)) = rest.split_once('{') {
            let (named, after) = behind.split_once('}').ok_or("it has a `{` without a `}`")?;
            let known = ATTRIBUTES.into_iter().find(|known| *known == named);
            let known =
                known.ok_or_else(|| format!("it knows no `{{{named}}}`, only {{{}}}", ATTRIBUTES.join("}, {")))?;
            pieces.extend([Piece::Text(before.to_owned()), Piece::Attribute(known)]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        match pieces.iter().any(|piece| matches!(piece, Piece::Attribute(_))) {
            true => Ok(Self(pieces)),
            false => Err("it names no attribute, so that all tests would have one name".to_owned()),
        }
    }

    fn of(&self, value: impl Fn(&str) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Attribute(name) => value(name),
        };
        self.0.iter().map(piece).collect()
    }
}

impl JunitReader {
    /// A reader of nothing yet, in whose report tests are called by `name`.
    pub(crate) fn new(name: NameForm) -> Self {
        let mut tally = Tally::new(Rules::STRICT);
        // Nobody can say of a runner that left no report whether it came to its tests.
        tally.may_have_begun = true;
        Self { name, bytes: Vec::new(), tally }
    }
}

impl ReportReader for JunitReader {
    fn feed(&mut self, bytes: &[u8]) {
        let room = REPORT_CAP.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        if room < bytes.len() {
            self.tally.note(format!("more than {}", text::bytes(REPORT_CAP as u64)));
        }
    }

    fn report(&mut self) -> RunnerReport {
        let bytes = std::mem::take(&mut self.bytes);
        let mut document = Document {
            name: &self.name,
            tally: &mut self.tally,
            suites: Vec::new(),
            depth: 0,
            case: None,
            failures: None,
        };
        let read = document.read(&bytes);
        if let Some(Failures::Claimed) = document.failures {
            self.tally.note("a suite that counts failures, and no test that failed");
        }
        match read {
            Ok(true) => self.tally.end(),
            Ok(false) => {}
            Err(error) => self.tally.note(format!("what is no XML ({})", text::cut(&error, 200).escape_debug())),
        }
        self.tally.report()
    }

    fn news(&mut self) -> Vec<TestNews> {
        self.tally.news()
    }

    fn ended(&self) -> BTreeSet<TestName> {
        self.tally.ended()
    }

    fn output_file(&self, _: &TestName) -> Option<String> {
        None
    }
}

/// A document while it is read.
struct Document<'a> {
    name: &'a NameForm,
    tally: &'a mut Tally,
    /// The names of the suites around the present element.
    suites: Vec<String>,
    depth: usize,
    case: Option<Case>,
    /// What it says of failures; none where nothing failed.
    failures: Option<Failures>,
}

/// What a document says of failures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failures {
    /// A suite counts some, and no test that failed was seen. Counts mean too many things to be held against each other any closer.
    Claimed,
    /// A test failed.
    Seen,
}

/// A test's element while it is read.
struct Case {
    name: String,
    /// The elements around it.
    depth: usize,
    took: Option<f64>,
    outcome: TestOutcome,
    reason: Option<String>,
    /// What is to be seen of its failure.
    said: String,
    /// What it printed.
    printed: String,
    /// To which of them text belongs now.
    listening: Listening,
    /// Whether CTest could not run it.
    not_run: bool,
    /// Whether it was disabled.
    disabled: bool,
}

/// To what the text of the present element belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listening {
    Failure,
    Output,
    Nothing,
}

impl Document<'_> {
    /// Reads the document; whether it is whole.
    fn read(&mut self, bytes: &[u8]) -> Result<bool, String> {
        let mut reader = Reader::from_reader(bytes);
        let mut closed = false;
        loop {
            let event = reader.read_event().map_err(|error| error.to_string())?;
            if closed && matches!(event, Event::Start(_) | Event::Empty(_)) {
                self.tally.note("something behind its end");
            }
            match event {
                Event::Start(element) => self.open(&element)?,
                Event::Empty(element) => {
                    self.open(&element)?;
                    closed |= self.close();
                }
                Event::End(_) => closed |= self.close(),
                Event::Text(text) => self.say(&String::from_utf8_lossy(&text)),
                Event::CData(text) => self.say(&String::from_utf8_lossy(&text)),
                Event::GeneralRef(reference) => self.say(&resolve(&reference)),
                Event::Eof => return Ok(closed && self.depth == 0),
                _ => {}
            }
        }
    }

    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_CAP {
            return Err(format!("more than {DEPTH_CAP} elements within each other"));
        }
        let name = element.local_name();
        if matches!(name.as_ref(), b"testsuite" | b"testsuites") {
            self.claim(element);
        }
        match name.as_ref() {
            b"testsuite" => self.suites.push(attribute(element.attributes(), "name")),
            b"testcase" => {
                let suite = self.suites.last().cloned().unwrap_or_default();
                let name = self.name.of(|name| match name {
                    "suite" => suite.clone(),
                    name => attribute(element.attributes(), name),
                });
                // A comma parts thousands where it is written at all.
                let took = attribute(element.attributes(), "time").replace(',', "").parse().ok();
                let status = attribute(element.attributes(), "status").to_ascii_lowercase();
                self.case = Some(Case {
                    name,
                    depth: self.depth,
                    took,
                    outcome: of_status(&status),
                    reason: None,
                    said: String::new(),
                    printed: String::new(),
                    listening: Listening::Nothing,
                    not_run: status == "notrun",
                    disabled: status == "disabled",
                });
            }
            b"failure" | b"error" if self.case.is_none() => {
                let message = attribute(element.attributes(), "message");
                self.tally.note(format!("a failure of a whole suite ({})", text::cut(&message, 200).escape_debug()));
            }
            b"failure" | b"error" => self.came_to(TestOutcome::Failed, element),
            b"skipped" => self.came_to(TestOutcome::Skipped, element),
            b"system-out" | b"system-err" => self.listen(Listening::Output),
            _ => {}
        }
        Ok(())
    }

    /// Takes what a suite counts.
    fn claim(&mut self, suite: &BytesStart<'_>) {
        let counts = ["failures", "errors"].map(|name| attribute(suite.attributes(), name).trim().parse::<u64>());
        if counts.iter().flatten().any(|count| *count > 0) {
            self.failures.get_or_insert(Failures::Claimed);
        }
    }

    /// The element within a test's that says how it came out; the worst counts.
    fn came_to(&mut self, outcome: TestOutcome, element: &BytesStart<'_>) {
        let Some(case) = self.case.as_mut().filter(|case| self.depth == case.depth + 1) else { return };
        case.listening = if outcome == TestOutcome::Failed { Listening::Failure } else { Listening::Nothing };
        let message = attribute(element.attributes(), "message");
        // CTest calls a test skipped whose program is not there, too; one that skips itself says so by these.
        let outcome = match case.not_run && !message.starts_with("SKIP_") {
            true => TestOutcome::Failed,
            false => outcome,
        };
        if case.outcome == TestOutcome::Failed && outcome == TestOutcome::Skipped {
            return;
        }
        case.outcome = outcome;
        if case.reason.is_none() {
            case.reason = message.lines().next().map(str::to_owned).filter(|line| !line.trim().is_empty());
        }
    }

    /// The present element ends; whether it was the outermost.
    fn close(&mut self) -> bool {
        if self.case.as_ref().is_some_and(|case| case.depth == self.depth) {
            if let Some(case) = self.case.take() {
                self.finish(case);
            }
        } else if let Some(case) = self.case.as_mut() {
            if self.depth == case.depth + 1 {
                case.listening = Listening::Nothing;
            }
        } else if self.suites.len() == self.depth || self.suites.len() + 1 == self.depth {
            // Suites stand within each other, and perhaps in one element around all.
            self.suites.pop();
        }
        self.depth = self.depth.saturating_sub(1);
        self.depth == 0
    }

    /// The text that follows belongs to this, in an element of a test.
    fn listen(&mut self, to: Listening) {
        if let Some(case) = self.case.as_mut().filter(|case| self.depth == case.depth + 1) {
            case.listening = to;
        }
    }

    fn say(&mut self, said: &str) {
        let Some(case) = self.case.as_mut() else { return };
        let into = match case.listening {
            Listening::Failure => &mut case.said,
            Listening::Output => &mut case.printed,
            Listening::Nothing => return,
        };
        if into.len() < SAID_CAP {
            into.push_str(said);
        }
    }

    fn finish(&mut self, case: Case) {
        if case.name.is_empty() {
            return self.tally.note("a test without a name");
        }
        if case.outcome == TestOutcome::Failed {
            self.failures = Some(Failures::Seen);
        }
        let said = if case.said.trim().is_empty() { case.printed.trim() } else { case.said.trim() };
        // CTest has no element for a test that its project disabled, and says so where others have the output.
        let reason = case.reason.or_else(|| case.disabled.then(|| "disabled".to_owned()));
        if case.outcome == TestOutcome::Failed && !said.is_empty() {
            self.tally.detail(case.name.clone(), said, None);
        }
        self.tally.finish(case.name, case.outcome, case.took.and_then(span), reason);
    }
}

/// What the attribute `status` of a test's element says, which some writers give: CTest among them.
fn of_status(status: &str) -> TestOutcome {
    match status {
        "fail" | "failed" | "error" => TestOutcome::Failed,
        "disabled" | "notrun" | "skipped" | "ignored" => TestOutcome::Skipped,
        _ => TestOutcome::Passed,
    }
}

/// The value of an attribute; empty where there is none, or none that can be read.
fn attribute(attributes: Attributes<'_>, name: &str) -> String {
    let mut found = attributes.flatten().filter(|attribute| attribute.key.local_name().as_ref() == name.as_bytes());
    let value = |attribute: quick_xml::events::attributes::Attribute<'_>| {
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map(std::borrow::Cow::into_owned);
        value.unwrap_or_else(|_| String::from_utf8_lossy(&attribute.value).into_owned())
    };
    found.next().map(value).unwrap_or_default()
}

/// The text of `&name;` or `&#number;`. Nothing that a document declares is expanded.
fn resolve(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return character.to_string();
    }
    let name = String::from_utf8_lossy(reference);
    resolve_predefined_entity(&name).map_or_else(|| format!("&{name};"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_by(form: &str, report: &[u8]) -> RunnerReport {
        let mut reader = JunitReader::new(NameForm::parse(form).unwrap());
        report.chunks(7).for_each(|piece| reader.feed(piece));
        reader.report()
    }

    fn read(report: &str) -> RunnerReport {
        read_by("{classname}.{name}", report.as_bytes())
    }

    const REPORT: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="unit" tests="5" failures="1"><properties><property name="a" value="b"/></properties>
<testcase classname="a" name="adds" time="1,000.5"><system-out>noise</system-out></testcase>
<testcase classname="a" name="breaks &lt;1&gt;" time="0"><failure message="want 2&#10;got 3">at &amp; line <![CDATA[<3>]]></failure></testcase>
<testcase classname="a" name="skips"><skipped message="no clock"/></testcase>
<testsuite name="inner"><testcase classname="b" name="crashes"><error type="x">boom</error></testcase></testsuite>
<testcase classname="a" name="last" status="run"/>
</testsuite></testsuites>
"#;

    #[test]
    fn every_outcome_is_read() {
        let report = read(REPORT);
        assert!(report.complete && report.began && report.excess.is_none(), "{report:?}");
        let outcomes: Vec<_> = report.tests.iter().map(|test| (test.name.as_str(), test.outcome)).collect();
        use TestOutcome::{Failed, Passed, Skipped};
        assert_eq!(
            outcomes,
            [
                ("a.adds", Passed),
                ("a.breaks <1>", Failed),
                ("a.last", Passed),
                ("a.skips", Skipped),
                ("b.crashes", Failed)
            ]
        );
        assert_eq!(report.tests[0].took, span(1000.5));
        assert_eq!(
            (report.tests[1].reason.as_deref(), report.tests[1].detail.as_deref()),
            (Some("want 2"), Some("at & line <3>"))
        );
        assert_eq!(report.tests[3].reason.as_deref(), Some("no clock"));
        let by_suite = read_by("{suite}/{name}", REPORT.as_bytes());
        let names: Vec<&str> = by_suite.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["inner/crashes", "unit/adds", "unit/breaks <1>", "unit/last", "unit/skips"]);
    }

    #[test]
    fn what_ctest_could_not_run_was_not_skipped_and_its_output_tells_of_a_failure() {
        let case = |name: &str, status: &str, inner: &str| {
            format!("<testcase name='{name}' status='{status}'>{inner}</testcase>")
        };
        let cases = [
            case("disabled", "disabled", "<properties/><system-out>Disabled</system-out>"),
            case("fails", "fail", "<failure message=''/><system-out>want 3\n</system-out>"),
            case("gone", "notrun", "<skipped message='Unable to find executable: x'/>"),
            case("skips", "notrun", "<skipped message='SKIP_RETURN_CODE=77'/>"),
        ];
        let report = read_by("{name}", format!("<testsuite>{}</testsuite>", cases.concat()).as_bytes());
        let outcomes: Vec<_> = report.tests.iter().map(|test| test.outcome).collect();
        use TestOutcome::{Failed, Skipped};
        assert_eq!(outcomes, [Skipped, Failed, Failed, Skipped]);
        assert_eq!(report.tests[0].reason.as_deref(), Some("disabled"));
        assert_eq!(report.tests[1].detail.as_deref(), Some("want 3"));
        assert_eq!(report.tests[2].reason.as_deref(), Some("Unable to find executable: x"));
    }

    #[test]
    fn a_report_that_is_cut_or_lies_is_not_whole() {
        let whole = |report: &str| {
            let report = read(report);
            report.complete && report.excess.is_none()
        };
        let case = "<testcase name='a'/>";
        assert!(whole(&format!("<testsuite tests='1' failures='0' errors='0'>{case}</testsuite>")));
        assert!(
            !whole(&format!("<testsuites failures='2'><testsuite>{case}</testsuite></testsuites>")),
            "nobody failed"
        );
        assert!(!whole(&format!("<testsuite><error message='broke'/>{case}</testsuite>")), "the suite itself broke");
        assert!(whole(REPORT));
        assert!(whole("<testsuite><testcase classname='a' name='b'/></testsuite>"), "a suite alone");
        for at in 1..REPORT.trim_end().len() {
            if REPORT.is_char_boundary(at) {
                assert!(!whole(&REPORT[..at]), "cut at {at}");
            }
        }
        let twice = REPORT.replace("name=\"last\"", "name=\"adds\"");
        for (report, why) in [
            ("".to_owned(), "nothing"),
            ("not found".to_owned(), "no XML"),
            (twice, "a test twice"),
            (format!("{REPORT}{}", &REPORT[39..]), "everything twice"),
            (REPORT.replace("</testsuite></testsuites>", "</testsuites>"), "an element that is not closed"),
        ] {
            assert!(!whole(&report), "{why}");
        }
    }

    #[test]
    fn hostile_reports_are_kept_in_little() {
        let deep = "<testsuite>".repeat(1_000_000);
        let report = read(&deep);
        assert!(report.excess.unwrap().contains("more than 100 elements"), "deep");
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><testsuite><testcase classname='c' name='n'>\
                    <failure>&b;</failure></testcase></testsuite>";
        assert_eq!(read(bomb).tests[0].detail.as_deref(), Some("&b;"), "nothing is expanded");
        let mut reader = JunitReader::new(NameForm::parse("{name}").unwrap());
        let piece = vec![b' '; 8 << 20];
        (0..10).for_each(|_| reader.feed(&piece));
        assert_eq!(reader.bytes.len(), REPORT_CAP);
        assert_eq!(reader.report().excess.as_deref(), Some("more than 64.0 MiB"));
    }

    #[test]
    fn a_form_of_names_is_checked() {
        assert!(NameForm::parse("{classname}::{name}").is_ok());
        assert!(NameForm::parse("{nam}").unwrap_err().contains("`{nam}`"));
        assert!(NameForm::parse("{name").unwrap_err().contains('}'));
        assert!(NameForm::parse("name").unwrap_err().contains("no attribute"));
    }
}
