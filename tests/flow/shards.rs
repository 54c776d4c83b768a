//! Tests that machines take from one queue, over machines in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use connection::dummy::Reply;
use flow::order::Order;
use flow::task::begun::OnceBegun;
use flow::testing::TestTerms;
use flow::testing::shards::{CellEnd, CellJob, Ended, Group, Policy, ShardsEnd, ShardsJob, Split, run_cells};
use flow::transfer::artifacts::Fetch;
use model::exit::Exit;
use model::matrix::Point;
use model::outcome::TestOutcome::Passed;
use model::provider::ability::Notice;
use model::run::RunFolder;
use serde_json::Value;
use state::dir::StateDir;
use state::runs::RunDir;

use super::bake::OPTIONS;
use super::builds::Kept as Builds;
use super::testing::{END, finished, pieces, tests_of};
use super::{GRACE, Theatre};

/// The report of a machine's first part.
const EVENTS: &str = "/hgwork/results/1/events.jsonl";

const WHY: &str = "spare capacity is taken back";

/// A theatre in which a machine lists three tests.
fn theatre() -> Theatre {
    let theatre = Theatre::new();
    pieces(&theatre.remote, EVENTS);
    theatre.remote.reply_to("nproc", Reply::ok().stdout("1\n"));
    theatre.tasks.answer(|command| {
        let script = command.args.first().map(String::as_str).unwrap_or_default();
        match command.program.as_str() {
            "bash" if script.ends_with("/prepare-work.sh") => Some(Reply::ok()),
            "bash" if script.ends_with("/run-tests.sh") && command.args[1] == "--list" => {
                Some(Reply::ok().stdout("test-a.t\ntest-b.t\ntest-c.t\n"))
            }
            _ => None,
        }
    });
    theatre
}

/// Runs the tests of one cell on one machine after another; gives its end, and its folder.
async fn run_cell(theatre: &Theatre, point: Point) -> (CellEnd, RunDir) {
    let folder = StateDir::open(&theatre.events_file().with_extension("state")).unwrap();
    let folder = folder.create_run(&theatre.run.id).unwrap().make_cell("001").unwrap();
    let (order, runner) = (Order::new("test", "hg", Duration::from_secs(3600), GRACE), tests_of(&[]));
    let groups = [Group { site: &theatre.site, plan: None, baking: OPTIONS.clone(), order: &order, machines: 1 }];
    let terms =
        TestTerms { clauses: &[], fetch: &Fetch::default(), allow_all_skipped: false, keep_failed: None, mutes: &[] };
    let split = Split { policy: &Policy::default(), foreseen: &|_| BTreeMap::new(), processors: 1 };
    let (limit, once_begun) = (Duration::from_secs(3600), OnceBegun::Follow(&|| ()));
    let job = ShardsJob { runner: &runner, groups: &groups, split, terms, limit, once_begun };
    let cells = [CellJob { point, job, folder: &folder }];
    let mut ends = run_cells(&theatre.run, &cells, 1, &Builds::default()).await;
    (ends.remove(0), folder)
}

/// Runs the tests on one machine after another; gives what they came to, and what happened to the queue.
async fn run(theatre: &Theatre) -> (Ended, Vec<Value>) {
    let (end, folder) = run_cell(theatre, Point::default()).await;
    let Ok(ShardsEnd::Ended(ended)) = end.result else { panic!("{end:?}") };
    let lines = folder.queue().unwrap().unwrap();
    let entries = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    (*ended, entries)
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_to_be_taken_back_gives_back_what_has_no_result_and_is_replaced() {
    let theatre = theatre();
    theatre.dummy.take_back(Duration::from_secs(30), Notice { why: WHY.into(), ends_at: None });
    // On the first machine one test ends, another is at work until it is ended, and the third was not begun.
    let live = finished("test-a.t", "passed") + "{\"event\": \"start\", \"test\": \"test-b.t\"}\n";
    let follows = AtomicUsize::new(0);
    theatre.remote.answer(move |command| {
        let first = follows.load(Relaxed) == 0;
        let follows = command.args.get(3).is_some_and(|verb| verb == "follow").then(|| follows.fetch_add(1, Relaxed));
        follows.map(|_| if first { Reply::ok().stdout(live.clone()).hang() } else { Reply::ok().hang() })
    });
    let rest = format!("{}{}{END}", finished("test-b.t", "passed"), finished("test-c.t", "passed"));
    let parts = AtomicUsize::new(0);
    theatre.tasks.answer(move |command| {
        let runs = command.args.first().is_some_and(|script| script.ends_with("/run-tests.sh"));
        let done = || Reply::exit(Exit::Code(0)).file(EVENTS, rest.clone());
        runs.then(|| if parts.fetch_add(1, Relaxed) == 0 { Reply::ok().hang() } else { done() })
    });

    let (ended, entries) = run(&theatre).await;

    let outcomes: Vec<_> = ended.tests.iter().map(|test| (test.name.as_str(), test.outcome)).collect();
    assert_eq!(outcomes, [("test-a.t", Passed), ("test-b.t", Passed), ("test-c.t", Passed)]);
    assert_eq!((ended.runner, ended.gap), (Exit::Code(0), None));
    let of = |what: &str| entries.iter().filter(|entry| entry["what"] == what).collect::<Vec<_>>();
    let (joined, took, lost) = (of("joined"), of("took"), of("lost"));
    assert_eq!(joined.len(), 2, "replaced once: {entries:?}");
    assert_eq!(took[1]["tests"], serde_json::json!(["test-b.t", "test-c.t"]));
    assert!(lost.iter().all(|entry| entry["machine"] == joined[0]["machine"]), "{lost:?}");
    assert!(lost[0]["why"].as_str().unwrap().contains(WHY), "{lost:?}");
    // It took part no more from the moment of the notice, half a minute after it was up.
    let at = |entry: &Value| entry["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let span = at(lost[0]).duration_since(at(joined[0]));
    assert!((30..60).contains(&span.as_secs()), "{span:?}");
    assert_eq!(theatre.events.count("warning hg-"), 1, "{:?}", theatre.events.lines());
    theatre.assert_clean().await;
}
