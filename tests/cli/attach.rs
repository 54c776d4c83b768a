//! Runs that outlive their driver: detached, killed, attached again, cancelled; each byte of their output once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::tool::{Done, Place, Running, clear, is_root, private, skip};
use support::{leftovers, mercurial};

/// Ending on an idle computer takes a second or two; the rest is room for a busy one.
const LIMIT: Duration = Duration::from_secs(120);

/// Says numbered lines until it is let go.
const TALKS: &str = "i=0
while [ ! -e /tmp/go ]; do i=$((i+1)); echo \"line $i\"; [ $((i % 7)) != 0 ] || echo \"fault $i\" >&2; sleep 0.01; done
echo \"last $i\"
";

/// Tests that go on until they are let go.
struct Story {
    place: Place,
    checkout: PathBuf,
}

impl Story {
    fn new() -> Self {
        let place = Place::whole();
        let tests = [("talks.sh", TALKS), ("test-talks.t", "  $ sh \"$TESTDIR/talks.sh\"\n")];
        let checkout = mercurial::small(place.path(), &tests);
        Self { place, checkout }
    }

    fn words<'a>(&'a self, further: &[&'a str]) -> Vec<&'a str> {
        let source = ["run-tests-linux", "--source", self.checkout.to_str().unwrap(), "test-talks.t"];
        [&source[..], further, &mercurial::READY_HG, &["--debug"]].concat()
    }

    /// Starts a run and waits until its tests talk.
    fn talking(&self, further: &[&str]) -> Running {
        let running = self.place.start(&self.words(further));
        running.wait_for("line 3\n");
        running
    }

    /// A run that goes on without a driver.
    fn detached(&self, further: &[&str]) -> String {
        let words = [&["--detach"], further].concat();
        let done = self.place.run(&self.words(&words)).expect(0).tells(&["Detached", "runs attach"]);
        done.text().trim().to_owned()
    }

    /// A run whose driver was killed after it had kept some output.
    fn killed(&self) -> String {
        kill(self.talking(&["--grace", "5m"]));
        self.place.latest()
    }

    fn machine(&self) -> String {
        self.place.json(&["machine", "list", "--json"])[0]["id"].as_str().unwrap().to_owned()
    }

    /// The machine on which the tests of a run go on.
    fn machine_of(&self, run: &str) -> String {
        let machines = self.place.json(&["machine", "list", "--json"]);
        let machine = machines.as_array().unwrap().iter().find(|machine| machine["run"] == run);
        machine.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Lets the tests end.
    fn go(&self) {
        self.place.exec(&self.machine(), &["touch", "/tmp/go"]).expect(0);
    }

    fn log(&self, run: &str) -> Vec<u8> {
        std::fs::read(self.folder(run).join("output.log")).unwrap()
    }

    /// What the log holds of standard output and of standard error, as its index tells them apart.
    fn streams(&self, run: &str) -> (Vec<u8>, Vec<u8>) {
        let (log, index) = (self.log(run), std::fs::read(self.folder(run).join("output.index")).unwrap());
        let (mut streams, mut at) = ((Vec::new(), Vec::new()), 0);
        for record in index.chunks(5) {
            let end = at + u32::from_le_bytes(record[1..].try_into().unwrap()) as usize;
            let stream = if record[0] == 1 { &mut streams.0 } else { &mut streams.1 };
            stream.extend_from_slice(&log[at..end]);
            at = end;
        }
        assert_eq!(at, log.len(), "the index covers the log");
        streams
    }

    fn folder(&self, run: &str) -> PathBuf {
        self.place.state.join("runs").join(run)
    }

    fn shown(&self, run: &str) -> serde_json::Value {
        self.place.json(&["runs", "show", run, "--json"])
    }

    /// The run ended with this code, its log is whole, and nothing is left of it.
    #[track_caller]
    fn ended(&self, run: &str, code: i32) {
        let shown = self.shown(run);
        assert_eq!((&shown["state"], &shown["exit_code"]), (&"ended".into(), &code.into()), "{shown}");
        assert_eq!((&shown["id"], &shown["alive"]), (&run.into(), &false.into()));
        self.place.assert_certified(run);
        self.place.assert_clean();
    }

    /// The run's log and results are those of a run that passed.
    #[track_caller]
    fn passed(&self, run: &str) {
        self.ended(run, 0);
        whole(&self.log(run));
        let results = std::fs::read(self.folder(run).join("results.json")).unwrap();
        let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
        assert_eq!(
            (&results["id"], &results["verdict"], &results["counts"]["passed"]),
            (&run.into(), &"passed".into(), &1.into())
        );
        assert!(results["time"]["tests"].as_f64().unwrap() >= 0.0 && results["image"].is_string(), "{results}");
        assert!(self.folder(run).join("junit.xml").is_file());
    }
}

fn kill(running: Running) {
    running.signal(Signal::KILL);
    running.end_within(LIMIT).expect(128 + 9);
}

/// Every line that the test said is there once, whole and in order, to the last.
#[track_caller]
fn whole(output: &[u8]) {
    let text = String::from_utf8_lossy(output);
    // The other stream of the runner may cut into a line, but not into what the program wrote at once.
    let numbers = |word: &str| -> Vec<u32> {
        let rests = text.match_indices(word).map(|(at, _)| &text[at + word.len()..]);
        let digits = rests.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        digits.map(|number| number.parse().unwrap_or_else(|_| panic!("half a line `{word}{number}`"))).collect()
    };
    let last = numbers("last ");
    assert_eq!(last.len(), 1, "{text}");
    assert_eq!(numbers("line "), (1..=last[0]).collect::<Vec<_>>());
}

#[test]
fn a_detached_run_is_followed_by_whoever_attaches() {
    let story = Story::new();
    let place = &story.place;
    let said = place.run(&story.words(&["--detach", "--json", "--ttl", "2h"])).expect(0).json();
    let run = place.latest();
    assert_eq!((said["id"].as_str(), said["machine"].as_str()), (Some(run.as_str()), Some(story.machine().as_str())));
    let shown = story.shown(&run);
    assert_eq!((&shown["state"], &shown["alive"]), (&"detached".into(), &false.into()), "{shown}");
    assert_eq!(shown["expires_at"], said["expires_at"]);
    assert!(place.run(&["runs", "list"]).expect(0).text().contains("detached, machine ends in 1h 5"));
    place.run(&["runs", "logs"]).expect(0).tells(&["Nobody drives this run"]);
    // Whoever cleans up leaves it alone.
    let found = place.run(&["audit", "--fix", "--json"]).expect(0).json();
    assert!(!found.as_array().unwrap().is_empty());
    assert!(found.as_array().unwrap().iter().all(|finding| finding["standing"] == "kept"), "{found}");
    assert_eq!(story.shown(&run)["state"], "detached");
    let down = place.run(&["machine", "down", story.machine().as_str()]).expect(2);
    down.tells(&["is in use by the living run", &format!("runs cancel {run}"), "--force"]);
    let attached = place.start(&["runs", "attach"]);
    attached.wait_for("line 3\n");
    assert!(place.run(&["runs", "list"]).expect(0).text().contains("running"));
    story.go();
    let done = attached.end_within(LIMIT).expect(0).tells(&["1 passed", "Nothing is left behind"]);
    whole(&done.stdout);
    let (stdout, stderr) = story.streams(&run);
    assert_eq!(String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&stdout));
    assert!(String::from_utf8_lossy(&stderr).contains("fault 7\n"));
    story.passed(&run);
    // Once more: what it came to is known.
    let junit = place.path().join("again.xml");
    let again = place.run(&["runs", "attach", &run, "--json", "--junit", junit.to_str().unwrap()]).expect(0);
    assert_eq!(again.json()["verdict"], "passed");
    assert_eq!(std::fs::read(&junit).unwrap(), std::fs::read(story.folder(&run).join("junit.xml")).unwrap());
    place.run(&["runs", "wait"]).expect(0).tells(&[&format!("Run {run} ended "), " ago."]);
}

#[test]
fn a_run_whose_id_cannot_be_printed_is_cancelled_and_released() {
    let story = Story::new();
    for further in [&["--detach"][..], &["--detach", "--json"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = story.place.command(&story.words(further));
        let output = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        for words in ["cannot write to standard output", "No space left", "cancelled", "Nothing is left behind"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("Detached: "), "{said}");
        assert_eq!(story.place.json(&["machine", "list", "--json"]), serde_json::json!([]));
        let shown = story.shown("latest");
        assert_eq!((&shown["state"], &shown["exit_code"]), (&"ended".into(), &3.into()), "{shown}");
    }
    story.place.assert_clean();
}

#[test]
fn the_latest_run_is_that_with_tests_whatever_was_made_since() {
    let story = Story::new();
    let place = &story.place;
    let run = story.detached(&[]);
    let up = place.up(&[]);
    let made = place.latest_of("machine up");
    assert_eq!(story.shown("latest")["id"], run.as_str());
    assert_eq!(place.json(&["runs", "logs", "--json"])["id"], run.as_str());
    place.run(&["runs", "wait", &made]).expect(2).tells(&["has no tests", "`machine up`"]);
    place.run(&["runs", "cancel", "latest", "--dry-run"]).expect(0);
    let waiting = place.start(&["runs", "wait"]);
    place.exec(&story.machine_of(&run), &["touch", "/tmp/go"]).expect(0);
    waiting.end_within(LIMIT).expect(0).tells(&["PASSED  1 of 1 test"]);
    // Of a run that made a machine which was kept it is said how that ends.
    place.run(&["runs", "cancel", &made]).expect(0).tells(&[&format!("machine down {up}")]);
    place.run(&["machine", "down", &up]).expect(0);
    place.run(&["runs", "cancel", &made]).expect(0);
    story.ended(&run, 0);
}

#[test]
fn a_run_whose_driver_was_killed_goes_on_at_the_exact_byte() {
    let story = Story::new();
    let run = story.killed();
    let before = story.log(&run);
    let listed = story.place.run(&["runs", "list"]).expect(0);
    assert!(listed.text().contains("driver died"), "{}", listed.text());
    let next = format!("runs attach {run}` follows it to its end");
    listed.tells(&["hint: The driver of run", &next]);
    assert!(story.place.run(&["runs", "show"]).expect(0).text().contains(&next));
    let status = story.place.run(&["status"]).expect(0).text();
    assert!(status.contains("0 runs at work, 1 whose driver died") && status.contains("runs show"), "{status}");
    for _ in 0..3 {
        let attached = story.place.start(&["runs", "attach", &run]);
        attached.wait_for("line 9\n");
        std::thread::sleep(Duration::from_millis(100));
        kill(attached);
    }
    let waiting = story.place.start(&["runs", "wait", &run, "--json"]);
    story.go();
    let done = waiting.end_within(LIMIT).expect(0);
    assert_eq!(done.json()["counts"]["passed"], 1);
    assert!(!done.stderr.contains("line 3\n"), "who waits sees no output");
    assert!(story.log(&run).starts_with(&before), "what was kept stays");
    story.passed(&run);
}

#[test]
fn a_run_that_an_older_build_began_is_followed_by_what_that_wrote_down() {
    let story = Story::new();
    let run = story.detached(&[]);
    let task = story.folder(&run).join("tasks").join(format!("{}.json", story.machine_of(&run)));
    let mut kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&task).unwrap()).unwrap();
    assert_eq!(
        (&kept["runner"]["name"], &kept["runner"]["settings"]["filesystem"]),
        (&"mercurial".into(), &"default".into())
    );
    let strange = kept.to_string().replace("\"mercurial\"", "\"martian\"");
    std::fs::write(&task, strange).unwrap();
    story.place.run(&["runs", "attach", &run]).expect(3).tells(&["knows no test runner `martian`"]);
    assert_eq!(story.shown(&run)["state"], "detached", "nothing has changed");
    kept.as_object_mut().unwrap().remove("runner").unwrap();
    std::fs::remove_dir_all(task.parent().unwrap()).unwrap();
    std::fs::write(story.folder(&run).join("task.json"), kept.to_string()).unwrap();
    story.go();
    story.place.run(&["runs", "attach", &run]).expect(0).tells(&["PASSED  1 of 1 test", "Nothing is left behind"]);
    story.passed(&run);
}

#[test]
fn a_driver_that_dies_while_it_releases_the_machine_loses_no_verdict() {
    let story = Story::new();
    let driver = story.talking(&["--grace", "5m"]);
    let run = story.place.latest();
    story.go();
    driver.wait_for("Releasing ");
    kill(driver);
    end_machines(&story.place.state);
    story.place.run(&["runs", "attach", &run]).expect(0).tells(&["PASSED  1 of 1 test", "Nothing is left behind"]);
    story.place.assert_clean();
}

#[test]
fn what_a_driver_knew_when_it_was_killed_counts_where_its_machine_is_gone() {
    let story = Story::new();
    let running = story.talking(&[]);
    story.go();
    running.end_within(LIMIT).expect(0);
    let run = story.place.latest();
    // As a driver leaves it that dies between the end of its machine and its last word.
    let journal = rusqlite::Connection::open(story.place.state.join("journal.db")).unwrap();
    journal
        .execute("UPDATE runs SET state = 'running', ended_at = NULL, exit_code = NULL, summary = NULL", [])
        .unwrap();
    drop(journal);
    std::fs::remove_file(story.folder(&run).join("results.json")).unwrap();
    story.place.run(&["runs", "attach", &run]).expect(0).tells(&["1 passed", "Nothing is left behind"]);
    story.passed(&run);
}

#[test]
fn whoever_only_attached_leaves_the_run_at_work() {
    let story = Story::new();
    let run = story.detached(&[]);
    let place = &story.place;
    for verb in ["attach", "wait"] {
        let driving = place.start(&["runs", verb, &run]);
        driving.wait_for("Following run");
        let looking = place.start(&["runs", "attach", &run]);
        looking.wait_for("is at work elsewhere");
        let (attach, cancel) = (format!("runs attach {run}"), format!("runs cancel {run}"));
        looking.signal(Signal::INT);
        looking.end_within(LIMIT).expect(130).tells(&["The run goes on", &attach, &cancel]);
        assert_eq!(story.shown(&run)["alive"], true);
        driving.signal(Signal::INT);
        driving.end_within(LIMIT).expect(6).tells(&["goes on", &attach, &cancel]);
        let shown = story.shown(&run);
        assert_eq!((&shown["state"], &shown["alive"]), (&"detached".into(), &false.into()), "{shown}");
    }
    story.go();
    place.run(&["runs", "attach", &run]).expect(0).tells(&["1 passed"]);
    story.passed(&run);
}

#[test]
fn of_two_that_attach_one_drives_and_the_other_takes_over() {
    let story = Story::new();
    let run = story.detached(&[]);
    let first = story.place.start(&["runs", "attach", &run]);
    first.wait_for("line 5\n");
    let second = story.place.start(&["runs", "attach", &run]);
    second.wait_for("is at work elsewhere");
    second.wait_for("line 9\n");
    kill(first);
    let third = story.place.start(&["runs", "wait", &run]);
    story.go();
    let done = second.end_within(LIMIT).expect(0);
    whole(&done.stdout);
    third.end_within(LIMIT).expect(0);
    story.passed(&run);
}

#[test]
fn a_log_is_followed_without_taking_the_run_over() {
    let story = Story::new();
    let run = story.detached(&[]);
    let straight = story.place.start(&["runs", "logs", "-f", &run]);
    straight.wait_for("line 5\n");
    assert_eq!(story.log(&run), b"", "who only looks keeps nothing");
    let attached = story.place.start(&["runs", "attach", &run]);
    attached.wait_for("line 20\n");
    let beside = story.place.start(&["runs", "logs", "--follow"]);
    beside.wait_for("line 20\n");
    kill(attached);
    story.go();
    for looking in [straight, beside] {
        whole(&looking.end_within(LIMIT).expect(0).stdout);
    }
    assert_eq!(story.shown(&run)["state"], "detached");
    story.place.run(&["runs", "attach"]).expect(0);
    story.passed(&run);
    whole(&story.place.run(&["runs", "logs", "-f"]).expect(0).stdout);
}

#[test]
fn a_run_is_cancelled_wherever_it_stands() {
    let story = Story::new();
    let place = &story.place;
    let driven = story.talking(&[]);
    let run = place.latest();
    let dry = place.run(&["runs", "cancel", &run, "--dry-run"]).expect(0).text();
    assert!(dry.contains("Would tell process"), "{dry}");
    let cancelled = place.run(&["runs", "cancel", &run, "--json"]).expect(0).json();
    assert_eq!((&cancelled["id"], &cancelled["exit_code"]), (&run.as_str().into(), &130.into()), "{cancelled}");
    driven.end_within(LIMIT).expect(130).tells(&["Interrupted"]);
    story.ended(&run, 130);
    for begin in [|story: &Story| story.detached(&[]), Story::killed] {
        let run = begin(&story);
        let dry = place.run(&["runs", "cancel", &run, "--dry-run"]).expect(0).text();
        assert!(dry.contains("Would end the tests of"), "{dry}");
        assert_eq!(place.json(&["machine", "list", "--json"]).as_array().unwrap().len(), 1);
        place.run(&["runs", "cancel", &run]).expect(0).tells(&["was cancelled"]);
        story.ended(&run, 130);
    }
    place.run(&["runs", "cancel", &run]).expect(0);
    assert!(place.run(&["runs", "cancel", &run, "--dry-run"]).expect(0).text().contains("was cancelled"));
    place.run(&["runs", "attach", &run]).expect(130);
    place.run(&["runs", "cancel", "20"]).expect(2);
}

#[test]
fn a_closed_terminal_detaches_and_sigterm_cancels() {
    let story = Story::new();
    let running = story.talking(&[]);
    running.signal(Signal::HUP);
    // The second comes from the shell that closes as well.
    running.signal(Signal::HUP);
    running.end_within(LIMIT).expect(6).tells(&["Detached"]);
    let run = story.place.latest();
    assert_eq!(story.shown(&run)["state"], "detached");
    let attached = story.place.start(&["runs", "attach"]);
    attached.wait_for("Following run");
    attached.signal(Signal::HUP);
    attached.end_within(LIMIT).expect(6);
    let attached = story.place.start(&["runs", "attach"]);
    attached.wait_for("Following run");
    attached.signal(Signal::TERM);
    attached.end_within(LIMIT).expect(130).tells(&["Interrupted"]);
    story.ended(&run, 130);
}

/// Runs a command on a terminal of its own: says what the first argument lists (each a marker to wait for, then keys to
/// type), copies all it sees to standard output, and ends as the command does.
const TERMINAL: &str = r#"
import json, os, pty, sys, time
pid, master = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen, end = b"", time.time() + 120
for marker, keys in json.loads(sys.argv[1]):
    while marker.encode() not in seen:
        assert time.time() < end, seen
        data = os.read(master, 65536)
        os.write(1, data)
        seen += data
    seen = seen[seen.index(marker.encode()) + len(marker):]
    time.sleep(float(os.environ.get("PAUSE", "0")))
    os.write(master, keys.encode())
try:
    while True:
        data = os.read(master, 65536)
        if not data: break
        os.write(1, data)
except OSError: pass
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

/// Starts the tool on a terminal where somebody types `keys` at each marker.
fn typing(place: &Place, words: &[&str], keys: &[(&str, &str)]) -> Running {
    typing_slowly(place, words, keys, 0.0)
}

/// The same, with a pause of so many seconds before each.
pub(crate) fn typing_slowly(place: &Place, words: &[&str], keys: &[(&str, &str)], pause: f64) -> Running {
    let inner = place.command(words);
    let mut command = Command::new("/usr/bin/python3");
    clear(&mut command, &place.home);
    command.env("TERM", "xterm").env("PAUSE", pause.to_string()).args([
        "-c",
        TERMINAL,
        &serde_json::to_string(keys).unwrap(),
    ]);
    command.current_dir(&place.home).arg(inner.get_program()).args(inner.get_args());
    Running::start(command)
}

const CTRL_C: (&str, &str) = ("line 5\r\n", "\u{3}");
const QUESTION: &str = "[k]eep on, then Enter? ";

#[test]
fn ctrl_c_on_a_terminal_asks_and_the_answer_is_done() {
    let story = Story::new();
    let words = story.words(&["-v"]);
    let asked: Done = typing(&story.place, &words, &[CTRL_C, (QUESTION, "d\n")]).end_within(LIMIT).expect(6);
    assert!(asked.text().contains("Detached: the run continues on hg-"), "{}", asked.text());
    let run = story.place.latest();
    assert_eq!(story.shown(&run)["state"], "detached");
    // Another that attaches is asked as well; what is no answer is asked again.
    let attach = ["runs", "attach", "-v", &run];
    let keys = [("Following run", "\u{3}"), (QUESTION, "what\n"), (QUESTION, "k\n"), ("Following the tests", "")];
    let kept = typing(&story.place, &attach, &keys);
    kept.wait_for("Following the tests");
    assert_eq!(story.shown(&run)["alive"], true);
    story.go();
    let text = kept.end_within(LIMIT).expect(0).text().replace("\r\n", "\n");
    assert!(text.contains("line 6\n") && text.contains("1 passed"), "{text}");
    story.passed(&run);
    for answer in ["c\n", "\u{3}"] {
        // As slowly as a person: two strokes at once are one.
        let keys = [CTRL_C, (QUESTION, answer)];
        let done = typing_slowly(&story.place, &words, &keys, 0.3).end_within(LIMIT).expect(130);
        assert!(
            done.text().contains("Interrupted") && done.text().contains("Nothing is left behind"),
            "{}",
            done.text()
        );
        story.ended(&story.place.latest(), 130);
    }
}

/// Ends the machine by force: its first process and whatever guards it.
fn end_machines(state: &Path) {
    let end = Instant::now() + LIMIT;
    while let Some((pid, _)) = leftovers::processes(state).into_iter().next() {
        assert!(Instant::now() < end);
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_run_whose_machine_has_gone_is_lost_and_says_so() {
    let story = Story::new();
    let place = &story.place;
    // It died while nobody looked.
    let run = story.detached(&[]);
    end_machines(&place.state);
    let done = place.run(&["runs", "attach", &run]).expect(4);
    assert!(done.stderr.contains("1 lost"), "{}", done.stderr);
    story.ended(&run, 4);
    // Somebody ended it on purpose.
    let run = story.detached(&[]);
    place.run(&["machine", "down", "--force", &story.machine()]).expect(0);
    assert!(place.run(&["runs", "list"]).expect(0).text().contains("machine gone"));
    place.run(&["runs", "attach", &run]).expect(4).tells(&["is lost", "runs logs"]);
    story.ended(&run, 4);
    // Its time was over.
    let run = story.detached(&["--ttl", "45s"]);
    leftovers::ended_within(&place.state, LIMIT);
    place.run(&["audit", "--fix"]).expect(0);
    place.run(&["runs", "attach", &run]).expect(4);
    story.ended(&run, 4);
}

#[test]
fn a_run_that_never_began_its_tests_cannot_be_followed() {
    let story = Story::new();
    let running = story.place.start(&story.words(&["--grace", "5m"]));
    running.wait_for("Preparing /hgwork");
    kill(running);
    let run = story.place.latest();
    for verb in ["attach", "wait", "cancel"] {
        story.place.run(&["runs", verb, &run]).expect(3).tells(&["before they began", "audit --fix --run"]);
    }
    story.place.run(&["audit", "--fix", "--run", &run]).expect(0);
    story.ended(&run, 4);
}

/// A small disk of its own for the folders of runs; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(place: &Place) -> Self {
        let path = place.state.join("runs");
        private(&path);
        let mount = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"];
        assert!(Command::new("mount").args(mount).arg(&path).status().unwrap().success());
        Self(path)
    }

    fn fill(&self) {
        let mut filler = std::fs::File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[test]
fn a_driver_whose_disk_is_full_waits_for_room_and_keeps_every_byte() {
    if !is_root() {
        return skip("only root can mount a small disk");
    }
    let story = Story::new();
    let disk = Disk::mount(&story.place);
    let running = story.talking(&[]);
    disk.fill();
    running.wait_for("trying again until there is room");
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    story.go();
    running.end_within(LIMIT).expect(0).tells(&["No space left on device"]);
    let run = story.place.latest();
    whole(&story.log(&run));
    story.streams(&run);
    drop(disk);
    story.place.assert_certified(&run);
    story.place.assert_clean();
}
