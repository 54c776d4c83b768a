//! Tests on a machine: no outcome is green without a test that ran.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use TestOutcome::{Failed, Lost, NotRun, Passed, Skipped};
use connection::dummy::{Dummy as Remote, DummyConnector, Reply};
use flow::preparation::folder;
use flow::task::durable::Durable;
use flow::testing::{
    BegunTests, Finished, Records, RunResult, TestTask, Tested, begin, finish, results, resume, set_up,
};
use flow::transfer::artifacts::Fetch;
use model::connection::Connection;
use model::event::Teller;
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::outcome::{Attempt, Evidence, TestOutcome, Verdict, verdict};
use model::preparation::SshProgram;
use model::provider::Provider;
use model::runner::RunnerRecord;
use model::task::{Chunk, Command, Offsets, TaskOutput};
use project::mercurial::LinuxTests;
use state::dir::StateDir;
use support::supervised::TOOK;
use tokio::io::AsyncReadExt;
use tokio::process::Command as Local;

use super::Theatre;
use super::builds::Kept as Builds;

const EVENTS: &str = "/hgwork/results/events.jsonl";

/// What the runner writes when it came to its end.
pub(crate) const END: &str = "{\"event\": \"end\"}\n";

pub(crate) fn tests_of(names: &[&str]) -> LinuxTests {
    let ssh = SshProgram { program: "/bin/automation".into(), args: vec![] };
    LinuxTests { tests: names.iter().map(|name| (*name).to_owned()).collect(), ..LinuxTests::for_following(ssh) }
}

/// What the machine does at each call; a test changes what its story is about.
#[derive(Clone)]
struct Script {
    prepare: Reply,
    list: Reply,
    run: Reply,
    follow: Reply,
    details: Vec<(&'static str, Reply)>,
}

impl Script {
    /// Three tests; the runner ends with `status` and has left `report`.
    fn of(status: u32, report: &str) -> Self {
        Self {
            prepare: Reply::ok(),
            list: Reply::ok().stdout("test-a.t\ntest-b.t\ntest-c.t\n"),
            run: Reply::exit(Exit::Code(status)).stdout("..s\n").file(EVENTS, report),
            follow: Reply::ok().hang(),
            details: vec![],
        }
    }

    fn reply(&self, command: &Command) -> Option<Reply> {
        let script = command.args.first().map(String::as_str).unwrap_or_default();
        match command.program.as_str() {
            "bash" if script.ends_with("/prepare-work.sh") => Some(self.prepare.clone()),
            "bash" if script.ends_with("/run-tests.sh") && command.args[1] == "--list" => Some(self.list.clone()),
            "bash" if script.ends_with("/run-tests.sh") => Some(self.run.clone()),
            "sh" if command.args.get(4).is_some_and(|path| path.ends_with(".err")) => {
                let known = self.details.iter().find(|(test, _)| command.args[4].ends_with(test));
                Some(known.map_or(Reply::exit(Exit::Code(1)), |(_, reply)| reply.clone()))
            }
            _ => None,
        }
    }
}

pub(crate) fn finished(test: &str, outcome: &str) -> String {
    format!(
        "{{\"event\": \"start\", \"test\": \"{test}\"}}\n{{\"event\": \"finish\", \"test\": \"{test}\", \"outcome\": \"{outcome}\", \"seconds\": 1.5, \"reason\": null}}\n"
    )
}

fn all_passed() -> String {
    let tests: String = ["test-a.t", "test-b.t", "test-c.t"].map(|test| finished(test, "passed")).concat();
    format!("{{\"event\": \"expected\", \"tests\": [\"test-a.t\"]}}\n{tests}{END}")
}

/// Prints what a machine has of the report from where it is asked to begin, as its shell would.
pub(crate) fn pieces(remote: &Remote, report: &'static str) {
    let machine = remote.clone();
    remote.answer(move |command| {
        let ["-c", _, "sh", "piece", path, from, cap] = command.args.iter().map(String::as_str).collect::<Vec<_>>()[..]
        else {
            return None;
        };
        if path != report {
            return None;
        }
        let bytes = machine.file(report).map(|(bytes, _)| bytes).unwrap_or_default();
        let from: usize = from.parse().unwrap();
        let rest = bytes.get(from - 1..).unwrap_or_default();
        Some(Reply::ok().stdout(&rest[..rest.len().min(cap.parse().unwrap())]))
    });
}

struct Stagehand {
    theatre: Theatre,
    machine: Machine,
    output: Kept,
    /// What was written down to follow the tests later.
    kept: Mutex<Vec<String>>,
}

/// The output of the tests, in memory.
#[derive(Default)]
struct Kept {
    bytes: Mutex<(Vec<u8>, Vec<u8>)>,
    /// How often from now on there is no room.
    full: AtomicUsize,
}

impl Kept {
    fn stdout(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().0.clone()).unwrap()
    }
}

impl TaskOutput for Kept {
    fn offsets(&self) -> Offsets {
        let bytes = self.bytes.lock().unwrap();
        Offsets { stdout: bytes.0.len() as u64, stderr: bytes.1.len() as u64 }
    }

    fn append(&self, chunk: &Chunk) -> Result<(), Fault> {
        if self.full.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(Fault::outside("no space left on device"));
        }
        let mut bytes = self.bytes.lock().unwrap();
        match chunk {
            Chunk::Stdout(more) => bytes.0.extend(more),
            Chunk::Stderr(more) => bytes.1.extend(more),
        }
        Ok(())
    }
}

impl Stagehand {
    async fn new(script: Script) -> Self {
        let theatre = Theatre::new();
        let follow = script.follow.clone();
        theatre
            .remote
            .answer(move |command| command.args.get(3).is_some_and(|verb| verb == "follow").then(|| follow.clone()));
        pieces(&theatre.remote, EVENTS);
        theatre.tasks.answer(move |command| script.reply(command));
        let machine = theatre.dummy.create(&theatre.request(), &|_, _, _| Ok(()), &Teller::silent()).await.unwrap();
        Self { theatre, machine, output: Kept::default(), kept: Mutex::default() }
    }

    async fn run(&self, limit: Option<Duration>) -> Result<RunResult, Fault> {
        match self.run_until(limit).await? {
            Finished::Ran(ran) => Ok(*ran),
            Finished::Detached => panic!("nobody asked for that"),
        }
    }

    async fn run_until(&self, limit: Option<Duration>) -> Result<Finished, Fault> {
        let (run, runner) = (&self.theatre.run, tests_of(&["test-a.t"]));
        let durable = self.durable();
        let ready = set_up(run, &self.machine, &durable, &runner, Path::new("/x"), &Builds::default()).await?;
        let begun = begin(run, &durable, ready, limit, &|begun| {
            self.kept.lock().unwrap().push(serde_json::to_string(begun).unwrap());
            Ok(())
        })
        .await?;
        let place = tempfile::tempdir().unwrap();
        let folder = StateDir::open(&place.path().join("state")).unwrap().create_run(&run.id).unwrap();
        finish(
            run,
            &durable,
            &runner,
            &begun,
            &Records { folder: &folder, output: &self.output, stop: run.stop.clone(), watch: &|_| () },
        )
        .await
    }

    fn durable(&self) -> Durable {
        let first: Box<dyn Connection> = Box::new(self.theatre.remote.clone());
        Durable::new(
            &self.theatre.run,
            &self.theatre.site,
            &self.machine,
            Some(first),
            &folder(&self.theatre.run, self.machine.platform),
        )
    }

    /// Runs until everything waits, then breaks the connection.
    async fn run_and_lose(&self) -> RunResult {
        let losing = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            self.theatre.remote.lose("reset by peer");
        };
        tokio::join!(self.run(None), losing).0.unwrap()
    }
}

fn outcomes(ran: &RunResult) -> Vec<TestOutcome> {
    ran.tests.iter().map(|test| test.outcome).collect()
}

fn judged(ran: &RunResult) -> Verdict {
    verdict(&ran.tests, &Evidence { runner: &ran.runner, gap: ran.gap.as_deref(), may_all_skip: false })
}

#[tokio::test(start_paused = true)]
async fn every_test_that_ran_is_in_the_result_with_its_time() {
    let hand = Stagehand::new(Script::of(0, &all_passed())).await;
    let ran = hand.run(None).await.unwrap();
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Passed; 3], Verdict::Passed));
    assert!(ran.tests.iter().all(|test| test.took == Some(Duration::from_millis(1500))));
    let attempt = Some(Attempt { machine: hand.machine.id.clone(), number: 1 });
    assert!(ran.tests.iter().all(|test| test.attempt == attempt), "{ran:?}");
    let lines = hand.theatre.events.lines();
    assert_eq!(hand.output.stdout(), "..s\n");
    assert!(lines.contains(&"notice Testing the machine's own source: 3 tests expected".to_owned()), "{lines:?}");
    let calls = hand.theatre.remote.calls();
    let place = |wanted: &str| calls.iter().position(|call| call.contains(wanted)).unwrap();
    assert!(place("mkdir -m 0700") < place("write_file"), "the folder is ours before anything is put there");
    assert!(place("cleanup.sh") < place("prepare-work.sh default"), "what cleans is there before there is a need");
}

#[tokio::test(start_paused = true)]
async fn what_was_reported_before_the_connection_broke_counts() {
    let live = format!("{}{}", finished("test-a.t", "passed"), finished("test-b.t", "skipped"));
    let script = Script { run: Reply::ok().hang(), follow: Reply::ok().stdout(live).hang(), ..Script::of(0, "") };
    let hand = Stagehand::new(script).await;
    let ran = hand.run_and_lose().await;
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Passed, Skipped, Lost], Verdict::Incomplete));
    let why = ran.tests[2].reason.as_deref().unwrap();
    // The clock moves by the pauses between attempts.
    assert!(why.contains("lost: reset by peer (kept trying for 1m 0"), "{why}");
    assert_eq!(hand.theatre.events.count("warning the connection to"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_fetches_what_the_first_did_not_see() {
    let live = finished("test-a.t", "passed");
    let script = Script { run: Reply::ok().hang(), follow: Reply::ok().stdout(live).hang(), ..Script::of(0, "") };
    let mut hand = Stagehand::new(script).await;
    let second = Remote::new();
    pieces(&second, EVENTS);
    second.add_file(EVENTS, format!("{}{}", finished("test-a.t", "passed"), finished("test-b.t", "failed")), 0o644);
    hand.theatre.site.connector = Arc::new(DummyConnector::new(second));
    let ran = hand.run_and_lose().await;
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Passed, Failed, Lost], Verdict::Incomplete));
}

#[tokio::test(start_paused = true)]
async fn a_fetched_report_that_says_less_than_was_followed_does_not_count() {
    let live = finished("test-a.t", "failed");
    let script = Script { run: Reply::ok().hang(), follow: Reply::ok().stdout(live).hang(), ..Script::of(0, "") };
    let mut hand = Stagehand::new(script).await;
    let second = Remote::new();
    pieces(&second, EVENTS);
    second.add_file(EVENTS, "", 0o644);
    hand.theatre.site.connector = Arc::new(DummyConnector::new(second));
    assert_eq!(outcomes(&hand.run_and_lose().await), [Failed, Lost, Lost]);
}

#[tokio::test(start_paused = true)]
async fn a_whole_report_without_the_end_of_its_runner_is_not_green() {
    let script =
        Script { run: Reply::ok().hang(), follow: Reply::ok().stdout(all_passed()).hang(), ..Script::of(0, "") };
    let ran = Stagehand::new(script).await.run_and_lose().await;
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Passed; 3], Verdict::Incomplete));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_before_the_runner_starts_loses_every_test() {
    let hand = Stagehand::new(Script::of(0, "")).await;
    let remote = hand.theatre.remote.clone();
    hand.theatre.events.on_each(move |line| {
        if line.starts_with("notice Testing") {
            remote.lose("reset by peer");
        }
    });
    let ran = hand.run(None).await.unwrap();
    assert!(matches!(ran.runner, Exit::Lost(_)));
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Lost; 3], Verdict::Incomplete));
}

#[tokio::test(start_paused = true)]
async fn a_failed_test_fails_the_run_and_brings_its_output() {
    let report = ["passed", "failed", "errored"].iter().zip(["test-a.t", "test-b.t", "test-c.t"]);
    let report: String = report.map(|(outcome, test)| finished(test, outcome)).collect();
    let report = report + END;
    let details = vec![("/test-c.t.err", Reply::ok().stdout("15\n+ a difference\n"))];
    let hand = Stagehand::new(Script { details, ..Script::of(1, &report) }).await;
    let ran = hand.run(None).await.unwrap();
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Passed, Failed, Failed], Verdict::Failed));
    let outputs: Vec<Option<&str>> = ran.tests.iter().map(|test| test.output.as_deref()).collect();
    assert_eq!(outputs, [None, None, Some("+ a difference\n")], "one without output does not hide the next");
}

#[tokio::test(start_paused = true)]
async fn green_takes_a_report_of_every_expected_test() {
    let some = format!("{}{}", finished("test-a.t", "passed"), finished("test-b.t", "passed"));
    let ended = format!("{some}{END}");
    let broken = format!("{some}{{\"event\": \"finish\", \"test\": \"test-c.t\", \"outcome\": \"pas");
    let stories = [
        (some, vec![Passed, Passed, Lost], "the runner ended with exit status 0 before it came to this test"),
        (ended, vec![Passed, Passed, Lost], "the runner's report does not mention it"),
        (broken, vec![Passed, Passed, Lost], "the runner ended with exit status 0 before it came to this test"),
        (String::new(), vec![Lost; 3], "the runner ended with exit status 0 before it came to this test"),
    ];
    for (report, expected, why) in stories {
        let ran = Stagehand::new(Script::of(0, &report)).await.run(None).await.unwrap();
        assert_eq!((outcomes(&ran), judged(&ran)), (expected, Verdict::Incomplete), "{report}");
        assert_eq!(ran.tests[2].reason.as_deref(), Some(why));
    }
    let without_report = Script { run: Reply::ok(), ..Script::of(0, "") };
    let ran = Stagehand::new(without_report).await.run(None).await.unwrap();
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Lost; 3], Verdict::Incomplete));
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_fails_before_its_first_test_did_not_build_what_it_tests() {
    let expected = "{\"event\": \"expected\", \"tests\": [\"test-a.t\"]}\n";
    for report in ["", expected] {
        let ran = Stagehand::new(Script::of(1, report)).await.run(None).await.unwrap();
        assert_eq!((outcomes(&ran), judged(&ran)), (vec![NotRun; 3], Verdict::NotRun), "{report}");
        let why = ran.tests[0].reason.as_deref();
        assert_eq!(why, Some("the test runner ended with exit status 1 before its first test"));
    }
    // A test that began may be what ended it, a signal says nothing of a build, and skipping is something that was done.
    let began = "{\"event\": \"start\", \"test\": \"test-a.t\"}\n".to_owned();
    let skipped = finished("test-a.t", "skipped").lines().last().unwrap().to_owned() + "\n";
    for (status, report) in [(1, began), (137, String::new()), (1, skipped)] {
        let ran = Stagehand::new(Script::of(status, &report)).await.run(None).await.unwrap();
        assert_eq!((ran.tests[2].outcome, judged(&ran)), (Lost, Verdict::Incomplete), "{status} {report}");
    }
    let run = Reply::exit(Exit::Signal("KILL".into()));
    let ran = Stagehand::new(Script { run, ..Script::of(0, "") }).await.run(None).await.unwrap();
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Lost; 3], Verdict::Incomplete));
}

#[tokio::test(start_paused = true)]
async fn a_build_that_the_runner_makes_is_no_part_of_its_tests() {
    let options = "{\"event\": \"options\", \"debug\": false, \"foreign\": {}, \"building\": 40}\n";
    // The machine's record says how long the runner took; one that failed before its first test built until its end.
    for (status, report, building) in [(0, options.to_owned() + &all_passed(), 40), (1, String::new(), 100)] {
        let ran = Stagehand::new(Script::of(status, &report)).await.run(None).await.unwrap();
        let building = Duration::from_secs(building);
        assert!((ran.before.build, ran.testing) == (building, TOOK.saturating_sub(building)), "{ran:?}");
        assert!(ran.before.setup >= ran.before.build, "{ran:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_never_said_that_it_came_to_its_end_is_neither_green_nor_red() {
    for (status, last) in [(0, "passed"), (1, "failed")] {
        let report =
            ["test-a.t", "test-b.t"].map(|test| finished(test, "passed")).concat() + &finished("test-c.t", last);
        let ran = Stagehand::new(Script::of(status, &report)).await.run(None).await.unwrap();
        assert_eq!(judged(&ran), Verdict::Incomplete);
        assert_eq!(ran.gap.as_deref(), Some("it does not say that the runner came to its end"));
        let ran = Stagehand::new(Script::of(status, &(report + END))).await.run(None).await.unwrap();
        assert_ne!(judged(&ran), Verdict::Incomplete);
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_beyond_all_measure_is_not_whole() {
    let line = format!("{}\n", "x".repeat(600 << 10));
    for report in
        [format!("{line}{}", all_passed()), format!("{}{line}", all_passed()), all_passed() + &"x".repeat(3 << 20)]
    {
        let ran = Stagehand::new(Script::of(0, &report)).await.run(None).await.unwrap();
        assert_eq!((outcomes(&ran), judged(&ran)), (vec![Passed; 3], Verdict::Incomplete));
        assert_eq!(ran.gap.as_deref(), Some("it holds a line of more than 512.0 KiB, which was not taken"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_tests_without_end_is_refused() {
    for list in ["test-a.t\n".repeat(300_000), "t\n".repeat(30_000)] {
        let script = Script { list: Reply::ok().stdout(list), ..Script::of(0, "") };
        let fault = Stagehand::new(script).await.run(None).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Outside);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_machine_says_of_itself_names_what_was_tested() {
    let list = Reply::ok().stdout("test-a.t\n").stderr("Hello!\nrun-tests: on distro=debian13 python=3.13.5\n");
    let report = format!(
        "{{\"event\": \"options\", \"debug\": true, \"foreign\": {{}}}}\n{}{END}",
        finished("test-a.t", "passed")
    );
    let hand = Stagehand::new(Script { list, ..Script::of(0, &report) }).await;
    let ran = hand.run(None).await.unwrap();
    assert_eq!(ran.subject.words(), ["hg", "debian13", "python 3.13"]);
    assert_eq!(ran.caveats, ["output not compared (--debug)"]);
    let kept: BegunTests = serde_json::from_str(&hand.kept.lock().unwrap()[0]).unwrap();
    assert_eq!(kept.subject, ran.subject, "whoever attaches knows it too");
}

#[tokio::test(start_paused = true)]
async fn a_named_test_that_the_runner_passes_over_is_refused() {
    let list = Reply::ok().stdout("test-b.t\n");
    let fault = Stagehand::new(Script { list, ..Script::of(0, "") }).await.run(None).await.unwrap_err();
    assert_eq!((fault.kind, fault.hint.as_deref()), (FaultKind::Usage, Some("Did you mean `test-b.t`?")));
    assert!(fault.message.contains("`test-a.t`"), "{}", fault.message);
    let none =
        Script { list: Reply::ok().stderr("run-tests: on distro=debian12 python=3.11.2\n"), ..Script::of(0, "") };
    let fault = Stagehand::new(none).await.run(None).await.unwrap_err();
    assert_eq!((fault.message.as_str(), fault.chain().len()), ("the arguments select no test", 1), "no empty cause");
}

#[tokio::test(start_paused = true)]
async fn a_report_of_a_test_that_nobody_asked_for_is_not_green() {
    let report = all_passed().replace(END, &format!("{}{END}", finished("test-x.t", "passed")));
    let ran = Stagehand::new(Script::of(0, &report)).await.run(None).await.unwrap();
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Passed; 4], Verdict::Incomplete));
    assert_eq!(ran.gap.as_deref(), Some("it names the test `test-x.t`, which was not asked for"));
}

#[tokio::test(start_paused = true)]
async fn tests_that_only_the_runner_knows_of_are_expected_too() {
    let report = all_passed().replacen("[\"test-a.t\"]", "[\"test-z.t#case\"]", 1);
    let ran = Stagehand::new(Script::of(0, &report)).await.run(None).await.unwrap();
    assert_eq!(judged(&ran), Verdict::Incomplete);
    assert_eq!(ran.tests.iter().filter(|test| test.outcome == Lost).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn tests_that_are_not_done_by_the_deadline_are_lost() {
    let report = finished("test-a.t", "passed");
    let run = Reply::ok().stdout(".").file(EVENTS, report).hang();
    let hand = Stagehand::new(Script { run, ..Script::of(0, "") }).await;
    let ran = hand.run(Some(Duration::from_secs(5))).await.unwrap();
    assert_eq!(ran.runner, Exit::Lost("waited 5.0s for its end".to_owned()));
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Passed, Lost, Lost], Verdict::Incomplete));
}

#[tokio::test(start_paused = true)]
async fn a_refused_file_system_is_a_cause_outside() {
    let prepare = Reply::exit(Exit::Code(3)).stderr("cannot make /hgwork on jfs: the kernel does not know jfs\n");
    let hand = Stagehand::new(Script { prepare, ..Script::of(0, "") }).await;
    let fault = hand.run(None).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Outside);
    assert_eq!(fault.chain()[1], "cannot make /hgwork on jfs: the kernel does not know jfs");
    let listed = hand.theatre.remote.calls().iter().any(|call| call.contains("--list"));
    assert!(!listed, "nothing goes on from there");
}

#[tokio::test(start_paused = true)]
async fn a_machine_lost_in_preparation_is_infrastructure() {
    let hand = Stagehand::new(Script { prepare: Reply::ok().hang(), ..Script::of(0, "") }).await;
    assert_eq!(hand.run(None).await.unwrap_err().kind, FaultKind::Infrastructure);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_test_is_a_usage_error_with_the_nearest() {
    let list = Reply::exit(Exit::Code(66)).stdout("test-add.t\ntest-zap.t\n").stderr("unknown test: test-ad.t\n");
    let hand = Stagehand::new(Script { list, ..Script::of(0, "") }).await;
    let fault = hand.run(None).await.unwrap_err();
    assert_eq!((fault.kind, fault.hint.as_deref()), (FaultKind::Usage, Some("Did you mean `test-add.t`?")));
    assert!(!hand.theatre.remote.calls().iter().any(|call| call.contains("run-tests.sh --built /usr/bin/python3")));
}

#[tokio::test(start_paused = true)]
async fn everything_needed_to_follow_is_kept_before_anything_is_started() {
    let hand = Stagehand::new(Script::of(0, &all_passed())).await;
    let (run, runner, durable) = (&hand.theatre.run, tests_of(&["test-a.t"]), hand.durable());
    let ready = set_up(run, &hand.machine, &durable, &runner, Path::new("/x"), &Builds::default()).await.unwrap();
    let before = hand.theatre.tasks.started().len();
    let refused = begin(run, &durable, ready.clone(), None, &|_| Err(Fault::outside("no space left on device"))).await;
    assert_eq!(refused.unwrap_err().message, "no space left on device");
    assert_eq!(hand.theatre.tasks.started().len(), before, "what cannot be followed is not started");
    let kept = Mutex::new(String::new());
    let keep = |begun: &BegunTests| {
        assert_eq!(hand.theatre.tasks.started().len(), before);
        *kept.lock().unwrap() = serde_json::to_string(begun).unwrap();
        Ok(())
    };
    let begun = begin(run, &durable, ready, None, &keep).await.unwrap();
    assert_eq!(hand.theatre.tasks.started().len(), before + 1);
    // Another process, with what was written down and a new connection.
    let again: BegunTests = serde_json::from_str(&kept.into_inner().unwrap()).unwrap();
    assert_eq!(again, begun);
    let other = Durable::new(run, &hand.theatre.site, &hand.machine, None, &again.task.folder);
    let place = tempfile::tempdir().unwrap();
    let folder = StateDir::open(&place.path().join("state")).unwrap().create_run(&run.id).unwrap();
    let records = Records { folder: &folder, output: &hand.output, stop: run.stop.clone(), watch: &|_| () };
    let Finished::Ran(ran) = finish(run, &other, &runner, &again, &records).await.unwrap() else {
        panic!("nobody asked for that")
    };
    assert_eq!((outcomes(&ran), judged(&ran)), (vec![Passed; 3], Verdict::Passed));
    assert_eq!(hand.theatre.tasks.started().len(), before + 1, "it is followed, not started again");
}

#[tokio::test(start_paused = true)]
async fn tests_are_driven_to_their_results_by_what_the_runs_folder_says_alone() {
    let hand = Stagehand::new(Script::of(0, &all_passed())).await;
    let (run, site, durable) = (&hand.theatre.run, &hand.theatre.site, hand.durable());
    let place = tempfile::tempdir().unwrap();
    let folder = StateDir::open(&place.path().join("state")).unwrap().create_run(&run.id).unwrap();
    assert_eq!(TestTask::read(&folder).unwrap(), None);
    let first = tests_of(&["test-a.t"]);
    let ready = set_up(run, &hand.machine, &durable, &first, Path::new("/x"), &Builds::default()).await.unwrap();
    let keep = |begun: &BegunTests| {
        let task = TestTask {
            runner: Some(RunnerRecord::of(&first)),
            image: "an image".into(),
            baking: Duration::from_secs(3),
            booting: Duration::from_secs(2),
            begun: begun.clone(),
            fetch: Fetch::default(),
            allow_all_skipped: false,
            keep_failed: None,
            mutes: Vec::new(),
        };
        task.keep(&folder)
    };
    begin(run, &durable, ready, None, &keep).await.unwrap();
    let started = hand.theatre.tasks.started().len();
    drop(durable);

    // A worker without arguments.
    let task = TestTask::read(&folder).unwrap().unwrap();
    let runner = project::runner(task.runner.as_ref(), first.ssh.clone()).unwrap();
    let records = Records { folder: &folder, output: &hand.output, stop: run.stop.clone(), watch: &|_| () };
    let ended = resume(run, site, hand.machine.clone(), runner.as_ref(), &task, &records).await;
    let tested = ended.result.unwrap().unwrap();
    assert_eq!((hand.theatre.tasks.started().len(), hand.output.stdout().as_str()), (started, "..s\n"));
    assert!(ended.left.is_empty() && ended.detached.is_none(), "the machine is released");
    assert_eq!(Tested::read(&folder).unwrap().ran.tests, tested.ran.tests, "what is known outlives the driver");
    let results = results(run, run.now(), model::machine::ProviderKind::Local, task, tested, Some(0.5));
    assert_eq!((results.verdict, results.counts.passed, results.cost), (Verdict::Passed, 3, Some(0.5)));
    let [cell] = results.cells.as_slice() else { panic!("{:?}", results.cells) };
    assert_eq!((cell.verdict, cell.counts, &cell.image), (Verdict::Passed, results.counts, &"an image".to_owned()));
    assert_eq!(
        (cell.machines.as_slice(), results.time.image),
        ([hand.machine.id.clone()].as_slice(), Duration::from_secs(3))
    );
}

#[tokio::test(start_paused = true)]
async fn tests_that_are_left_go_on_and_their_output_is_taken_up_where_it_stopped() {
    let hand = Stagehand::new(Script { run: Reply::ok().stdout("....").hang(), ..Script::of(0, "") }).await;
    let detach = hand.theatre.run.detach.clone();
    let leaving = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        detach.cancel();
    };
    let (finished, ()) = tokio::join!(hand.run_until(None), leaving);
    assert!(matches!(finished.unwrap(), Finished::Detached));
    assert_eq!(hand.output.stdout(), "....");
    let cancelled = hand.theatre.remote.calls().iter().any(|call| call.contains("supervise.sh cancel"));
    assert!(!cancelled, "it is left running");
}

#[tokio::test(start_paused = true)]
async fn tests_that_are_told_to_stop_are_ended_on_the_machine() {
    let script = Script {
        run: Reply::ok().stdout("..").file(EVENTS, finished("test-a.t", "passed")).hang(),
        ..Script::of(0, "")
    };
    let hand = Stagehand::new(script).await;
    let stop = hand.theatre.run.stop.clone();
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        stop.cancel();
    };
    let ran = tokio::join!(hand.run(None), stopping).0.unwrap();
    assert_eq!(ran.runner, Exit::Lost("interrupted".to_owned()));
    assert_eq!(outcomes(&ran), [Passed, Lost, Lost]);
    assert_eq!(hand.output.stdout(), "..", "nothing is kept twice");
    assert!(hand.theatre.remote.calls().iter().any(|call| call.contains("supervise.sh cancel")));
}

#[tokio::test(start_paused = true)]
async fn output_waits_for_room_here_and_is_whole_then() {
    let hand = Stagehand::new(Script::of(0, &all_passed())).await;
    hand.output.full.store(3, Relaxed);
    assert_eq!(judged(&hand.run(None).await.unwrap()), Verdict::Passed);
    assert_eq!(hand.output.stdout(), "..s\n");
    assert_eq!(hand.theatre.events.count("warning no space left on device"), 1);
}

#[tokio::test(start_paused = true)]
async fn without_room_here_the_tests_are_left_with_a_word_on_how_to_go_on() {
    let hand = Stagehand::new(Script::of(0, &all_passed())).await;
    hand.output.full.store(usize::MAX, Relaxed);
    let fault = hand.run(None).await.unwrap_err();
    assert_eq!(fault.message, "no space left on device");
    assert!(fault.hint.unwrap().contains("automation runs attach"));
    assert!(!hand.theatre.remote.calls().iter().any(|call| call.contains("supervise.sh cancel")));
}

/// Runs the very command with which the report is followed, on this computer.
#[tokio::test]
async fn following_a_report_ends_with_its_standard_input() {
    let hand = Stagehand::new(Script { run: Reply::ok().hang(), ..Script::of(0, "") }).await;
    drop(hand.run(Some(Duration::from_millis(50))).await);
    let calls = hand.theatre.remote.calls();
    // The command as it is when nothing was followed yet.
    let line = calls
        .iter()
        .find_map(|call| call.strip_prefix("start ").filter(|l| l.ends_with(&format!("follow {EVENTS} 1"))))
        .unwrap();
    let report = hand.theatre.events_file();
    std::fs::write(&report, "one\n").unwrap();
    let line = line.replace(EVENTS, report.to_str().unwrap());
    let mut child = Local::new("sh")
        .arg("-c")
        .arg(line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut first = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"one\n");
    drop(child.stdin.take());
    // Ends only when every process that holds the pipe has ended, `tail` included.
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output()).await;
    assert!(ended.expect("it lives on").unwrap().stdout.is_empty());
}
