//! What a person sees while a run goes on, and what a log and a program get of it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use model::event::{Event, EventKind, RunEvent, TestsEvent};
use model::outcome::TestOutcome;
use rustix::process::Signal;
use serde_json::Value;
use support::mercurial::{self, READY_HG};
use support::terminal::Terminal;
use support::tool::{Place, Running};

/// A test that fails in a line whose text would steer a terminal.
const FAILS: &str = "  $ printf 'one\\033]0;owned\\007\\n'\n  two\n";
const WAITS: &str = "  $ while [ ! -e /tmp/go ]; do sleep 0.1; done\n";
const LONG: &str = "  $ head -c 100000 /dev/zero | tr '\\0' x\n";

/// A run of four tests, one of which waits for a word.
struct Story {
    place: Place,
    checkout: PathBuf,
}

impl Story {
    fn new() -> Self {
        let place = Place::whole();
        let tests = [
            ("test-fails.t", FAILS),
            ("test-ok.t", "  $ true\n"),
            ("test-skips.t", "  $ exit 80\n"),
            ("test-waits.t", WAITS),
        ];
        let checkout = mercurial::small(place.path(), &tests);
        Self { place, checkout }
    }

    fn words<'a>(&'a self, further: &[&'a str]) -> Vec<&'a str> {
        let source = ["run-tests-linux", "--source", self.checkout.to_str().unwrap()];
        [&source[..], further, &READY_HG, &["-j", "2"]].concat()
    }

    /// The tool as a person starts it who reads such signs.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.place.command(words);
        command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
        command
    }

    /// Lets the test end that waits.
    fn go(&self) {
        let machine = self.place.json(&["machine", "list", "--json"])[0]["id"].as_str().unwrap().to_owned();
        self.place.exec(&machine, &["touch", "/tmp/go"]).expect(0);
    }
}

/// The lines of the region: from the bar on, where three tests have ended.
fn region(lines: &[String]) -> Option<Vec<String>> {
    let bar = lines.iter().position(|line| line.contains('━') && line.contains("3 of 4"))?;
    let lines: Vec<String> = lines[bar..].iter().map(|line| line.trim_end().to_owned()).collect();
    let end = lines.iter().rposition(|line| !line.is_empty())?;
    Some(lines[..=end].to_vec())
}

/// Three tests have ended, the fourth runs, and all of that is to be seen, once.
#[track_caller]
fn shows_the_run(terminal: &Terminal, columns: u16) -> Vec<String> {
    let is_whole = |lines: &[String]| {
        let Some(region) = region(lines) else { return false };
        let (text, last) = (region.join("\n"), &region[region.len() - 1]);
        ["✗ 1 failed", "○ 1 skipped", "✓ 1 passed", "test-waits.t "].iter().all(|part| text.contains(part))
            && last.starts_with("hg-")
            && last.ends_with('s')
            && region.iter().all(|line| line.chars().count() < usize::from(columns))
            && lines.iter().filter(|line| line.contains("3 of 4")).count() == 1
    };
    terminal.wait_until("region that is whole", is_whole)
}

#[test]
fn a_person_sees_the_run_at_any_width_and_after_a_resize() {
    let story = Story::new();
    for (columns, then) in [(80, 40), (40, 200), (200, 80)] {
        let began = Instant::now();
        let terminal = Terminal::start(story.command(&story.words(&[])), 30, columns);
        let lines = shows_the_run(&terminal, columns);
        // It boots faster than a person reads, and is shown all the same.
        assert!(terminal.raw().contains("Booting from "), "{}", terminal.raw());
        let above = lines.join("\n");
        assert!(above.contains("✗ test-fails.t  failed  "), "{above}");
        assert!(above.contains("\n  -  two\n") && above.contains("\n  +  one"), "the difference: {above}");
        terminal.resize(24, then);
        shows_the_run(&terminal, then);
        // Each frame begins so; there are ten a second at most.
        let (frames, most) = (terminal.raw().matches("\u{1b}[?7l").count(), began.elapsed().as_secs() * 10 + 11);
        assert!((2..most).contains(&(frames as u64)), "{frames} frames in {:?}", began.elapsed());
        story.go();
        let (code, lines) = terminal.end();
        let text = lines.join("\n");
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("FAILED  1 of 4 tests"), "{text}");
        assert!(!text.contains('━'), "nothing stays of the region: {text}");
        assert!(!text.contains("running 4 tests"), "the runner's own words are in the log: {text}");
    }
    story.place.assert_clean();
}

#[test]
fn who_wants_all_of_it_reads_it_above_the_region() {
    let place = Place::whole();
    let checkout = mercurial::small(place.path(), &[("test-fails.t", FAILS), ("test-long.t", LONG)]);
    let words = ["run-tests-linux", "-v", "--source", checkout.to_str().unwrap()];
    let mut command = place.command(&[&words[..], &READY_HG].concat());
    command.env("TERM", "xterm").env("NO_COLOR", "1");
    let terminal = Terminal::start(command, 30, 100);
    terminal.wait_for("running 2 tests");
    let raw = terminal.raw();
    let (code, lines) = terminal.end();
    assert_eq!(code, Some(1), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("# Ran 2 tests, 0 skipped, 2 failed.")), "{lines:#?}");
    assert!(!raw.contains("\u{1b}]0;") && !raw.contains("\u{1b}[31m"), "{raw:?}");
    place.assert_clean();
}

#[test]
fn a_log_hears_of_each_failure_at_once_and_every_half_minute_how_far_it_is() {
    let story = Story::new();
    for (variable, value) in [("CI", "true"), ("TERM", "dumb")] {
        let mut command = story.command(&story.words(&["--json"]));
        command.env(variable, value);
        let terminal = Terminal::start(command, 50, 200);
        terminal.wait_for("✗ test-fails.t  failed  ");
        if variable == "CI" {
            let lines = terminal.wait_for("3 of 4 tests, 1 failed, 1 skipped");
            let line = lines.iter().find(|line| line.contains("3 of 4 tests")).unwrap();
            assert!(line.starts_with("30s: ") || line.starts_with("3"), "{line}");
            assert!(line.contains("; hg-") && line.contains(": test-waits.t "), "{line}");
        }
        story.go();
        let raw = terminal.raw();
        assert!(!raw.contains("\u{1b}[J") && !raw.contains("\u{1b}[?7l"), "nothing moves in a log: {raw:?}");
        assert_eq!(terminal.end().0, Some(1));
    }
    story.place.assert_clean();
}

fn waiting(place: &Place, running: &Running) -> Value {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let shown = place.json(&["runs", "show", "--json"]);
        if shown["progress"]["done"] == 3 && !shown["progress"]["running"].as_array().unwrap().is_empty() {
            return shown["progress"].clone();
        }
        assert!(running.lives() && Instant::now() < end, "{shown}: {}", running.said());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn others_see_the_same_counts_and_whoever_attaches_the_same_screen() {
    let story = Story::new();
    let events = story.place.path().join("events.jsonl");
    let words = story.words(&["--grace", "5m", "--events", events.to_str().unwrap()]);
    let running = story.place.start(&words);
    running.wait_for("Testing ");
    let progress = waiting(&story.place, &running);
    assert_eq!((&progress["total"], &progress["failed"], &progress["skipped"]), (&4.into(), &1.into(), &1.into()));
    let now = &progress["running"][0];
    assert_eq!(now["test"], "test-waits.t", "{progress}");
    assert!(now["machine"].as_str().unwrap().starts_with("hg-") && now["since"].is_string(), "{progress}");
    let shown = story.place.run(&["runs", "show"]).expect(0).text();
    assert!(shown.contains("tests    3 of 4 tests: 1 passed, 1 failed, 1 skipped"), "{shown}");
    assert!(shown.contains("running  test-waits.t on hg-"), "{shown}");
    // While another drives it, and after that one was killed.
    let attached = Terminal::start(story.command(&["runs", "attach"]), 30, 80);
    let lines = shows_the_run(&attached, 80);
    assert_eq!(lines.iter().filter(|line| line.contains("✗ test-fails.t  failed  ")).count(), 1, "{lines:#?}");
    running.signal(Signal::KILL);
    running.end().expect(128 + 9);
    attached.wait_for("Following run");
    shows_the_run(&attached, 80);
    story.go();
    let (code, lines) = attached.end();
    let text = lines.join("\n");
    assert_eq!(code, Some(1), "{text}");
    // Once when it was told, and once below the verdict.
    assert_eq!(text.matches("✗ test-fails.t  failed  ").count(), 2, "{text}");
    assert!(story.place.json(&["runs", "show", "--json"])["progress"].is_null());
    are_events(&std::fs::read(&events).unwrap());
    story.place.assert_clean();
}

/// Every line is an event, and the tests are among them.
fn are_events(written: &[u8]) {
    let events: Vec<Event> = model::event::read(written).collect();
    assert_eq!(events.len(), written.iter().filter(|byte| **byte == b'\n').count());
    let failed = events.iter().filter(|event| {
        matches!(&event.kind, EventKind::Tests(TestsEvent::TestEnded { test, outcome: TestOutcome::Failed, .. })
            if test.as_str() == "test-fails.t")
    });
    assert_eq!(failed.count(), 1);
    let text = String::from_utf8(written.to_vec()).unwrap();
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "nothing in it steers a terminal");
}

#[test]
fn a_program_gets_every_event_on_standard_output_and_nothing_else() {
    let place = Place::small();
    let done = place.run(&["machine", "up", "--events", "-"]).expect(0);
    let events: Vec<Event> = model::event::read(&done.stdout).collect();
    assert_eq!(events.len(), done.text().lines().count(), "{}", done.text());
    let id = place.json(&["machine", "list", "--json"])[0]["id"].as_str().unwrap().to_owned();
    assert!(events.iter().any(
        |event| matches!(&event.kind, EventKind::Run(RunEvent::MachineKept { machine, .. }) if machine.as_str() == id)
    ));
    assert!(done.stderr.contains(&id), "what would be printed there is told here: {}", done.stderr);
    place.run(&["machine", "down", &id]).expect(0);
    place.run(&["machine", "up", "--events", "-", "--json"]).expect(2).tells(&["--events FILE"]);
    place
        .run(&["machine", "up", "--events", "/nonexistent/x"])
        .expect(2)
        .tells(&["cannot write `--events /nonexistent/x`"]);
    let pipe = place.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    place.run(&["machine", "up", "--events", pipe.to_str().unwrap()]).expect(2).tells(&["its reader first"]);
    let full = place.run(&["machine", "up", "--events", "/dev/full"]).expect(3).tells(&["cannot write `/dev/full`"]);
    drop(full);
    place.run(&["audit", "--fix"]);
    for machine in place.json(&["machine", "list", "--json"]).as_array().unwrap() {
        place.run(&["machine", "down", machine["id"].as_str().unwrap()]).expect(0);
    }
    place.assert_clean();
}

#[test]
fn colours_are_where_they_are_wanted_and_quiet_is_quiet() {
    let place = Place::small();
    let steers = |text: &str| text.contains('\u{1b}');
    let with = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.command(words);
        command.envs(variables.iter().copied());
        Running::start(command).end()
    };
    let (wrong, hostile) = (["runs", "show", "none"], ["runs", "show", "a\u{1b}[2Jb"]);
    for (flags, variables, colored) in [
        (&[][..], &[][..], false),
        (&["--color", "always"], &[("NO_COLOR", "1")], true),
        (&[], &[("CLICOLOR_FORCE", "1")], true),
        (&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&["--color=never"], &[("CLICOLOR_FORCE", "1")], false),
    ] {
        let done = with(&[flags, &wrong].concat(), variables).expect(2);
        assert_eq!(
            done.stderr.starts_with("\u{1b}[31merror:\u{1b}[0m "),
            colored,
            "{flags:?} {variables:?}: {}",
            done.stderr
        );
        assert_eq!(steers(&done.stderr), colored, "{}", done.stderr);
        // What the parser of the command line says obeys as well.
        assert_eq!(steers(&with(&[flags, &["--nonsense"]].concat(), variables).expect(2).stderr), colored, "{flags:?}");
        let done = with(&[flags, &hostile].concat(), variables).expect(2);
        assert!(!done.stderr.contains("\u{1b}[2J"), "{}", done.stderr);
    }
    let quiet = place.run(&["-q", "machine", "up"]).expect(0);
    assert!(!quiet.stderr.contains("Booting") && quiet.stderr.contains("Kept "), "{}", quiet.stderr);
    place.run(&["machine", "down", quiet.text().trim()]).expect(0);
    place.run(&["-q", "-v", "runs", "list"]).expect(2);
    place.assert_clean();
}
