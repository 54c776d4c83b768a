//! What is remembered of past runs.

use model::event::{self, Event, EventKind, RunEvent, StepEvent, Subject, Words};
use serde_json::Value;
use support::tool::Place;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("`{key}` is no text in {value}"))
}

#[test]
fn runs_are_listed_newest_first_with_all_their_fields() {
    let place = Place::with_steps(&[("talks", "echo a line of the step\n"), ("fails", "exit 3\n")]);
    place.own_images();
    place.run(&["image", "build"]).expect(3);
    place.run(&["image", "build", "--json"]).expect(3);
    let runs = place.json(&["runs", "list", "--json"]);
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert!(text(&runs[0], "started_at") > text(&runs[1], "started_at"), "newest first");
    for run in runs {
        assert_eq!((text(run, "command"), text(run, "state")), ("image build", "ended"));
        assert_eq!((&run["exit_code"], &run["alive"]), (&3.into(), &false.into()), "{run}");
        assert!(run["arguments"].as_array().unwrap().iter().any(|word| word == "build"));
        assert!(text(run, "owner").contains('@') && text(run, "summary").contains("`fails`"), "{run}");
        assert!(run["driver"]["pid"].is_number() && !run["driver"]["boot"].is_null(), "{run}");
        assert!(text(run, "ended_at").parse::<jiff::Timestamp>().is_ok());
        assert!(std::path::Path::new(text(run, "folder")).is_dir());
    }
    let (newest, oldest) = (text(&runs[0], "id"), text(&runs[1], "id"));
    for name in [newest, &newest[..newest.len() - 1]] {
        assert_eq!(text(&place.json(&["runs", "show", name, "--json"]), "id"), newest);
    }
    place.run(&["runs", "show", &newest[..4]]).expect(2);
    // None of them has tests: none is meant without an id, and the end of none says anything of tests.
    for verb in [
        &["runs", "show"][..],
        &["runs", "logs"],
        &["runs", "wait"],
        &["runs", "attach"],
        &["runs", "cancel", "latest"],
    ] {
        place.run(verb).expect(2).tells(&["no runs with tests", "runs list"]);
    }
    for verb in ["wait", "attach"] {
        place.run(&["runs", verb, newest]).expect(2).tells(&["has no tests", "`image build`"]);
    }
    assert!(place.run(&["runs", "show", oldest]).expect(0).text().contains(oldest));
    assert!(place.run(&["runs", "list"]).expect(0).text().contains(newest));
    assert_eq!(place.json(&["runs", "list", "--limit", "1", "--json"]).as_array().unwrap().len(), 1);
    let steps = place.run(&["runs", "logs", oldest, "--steps"]).expect(0).text();
    assert!(steps.contains("a line of the step") && steps.contains("Trying fails"), "{steps}");
    for line in steps.lines() {
        assert!(line.split(' ').next().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
    }
    assert_eq!(place.run(&["runs", "logs", oldest]).expect(0).text(), "", "no task ran");
    events_are_those_of_the_log(&place, oldest, &steps);
    place.assert_clean();
}

/// The file of events of a run that failed says the same as its log, and of what.
fn events_are_those_of_the_log(place: &Place, run: &str, steps: &str) {
    let logs = place.json(&["runs", "logs", run, "--json"]);
    let written = std::fs::read(text(&logs, "events")).unwrap();
    let events: Vec<Event> = event::read(&written).collect();
    assert_eq!(events.len(), written.iter().filter(|byte| **byte == b'\n').count(), "every line is one");
    let image = |event: &Event| matches!(&event.subject, Some(Subject::Image(name)) if name.starts_with("linux-dev"));
    let lines = events.iter().filter(|event| matches!(&event.kind, EventKind::Step(StepEvent::Said { .. })));
    assert!(lines.clone().count() > 0 && lines.clone().all(image), "{events:?}");
    let stopped = events.iter().filter_map(|event| match &event.kind {
        EventKind::Step(StepEvent::Stopped { work, .. }) => Some(work.words()),
        _ => None,
    });
    assert_eq!(stopped.collect::<Vec<_>>().len(), 1, "the step that failed: {events:?}");
    let last = &events[events.len() - 1];
    assert!(matches!(&last.kind, EventKind::Run(RunEvent::Clean { kept: 0, .. })), "{last:?}");
    assert_eq!(last.subject.as_ref().map(Subject::name), Some(run));
    for event in &events {
        if let Words::Notice(words) | Words::Begin(words) | Words::Outcome(words) = event.words() {
            let line = format!("{:.3}", event.at);
            assert!(steps.contains(&line) && steps.contains(words.lines().next().unwrap()), "{event:?} in {steps}");
        }
    }
}

#[test]
fn an_audit_of_a_run_tells_only_of_that_run() {
    let place = Place::small();
    let ids = [place.up(&[]), place.up(&[])];
    let machines = place.json(&["machine", "list", "--json"]);
    let run = |id: &str| {
        let machine = machines.as_array().unwrap().iter().find(|machine| machine["id"] == id).unwrap();
        text(machine, "run").to_owned()
    };
    let certificate = place.run(&["audit", "--run", &run(&ids[0]), "--json"]).expect(5).json();
    assert_eq!(certificate["clean"], false);
    for row in certificate["resources"].as_array().unwrap() {
        assert_eq!((text(row, "machine"), text(row, "state")), (ids[0].as_str(), "present"), "{row}");
        assert!(row["locator"].is_string() && row["gone_at"].is_null() && row["id"].is_string(), "{row}");
    }
    let kinds: Vec<&str> = certificate["remaining"].as_array().unwrap().iter().map(|row| text(row, "kind")).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    assert_eq!(kinds[0], "process");
    place.run(&["machine", "down", &ids[0]]).expect(0);
    place.assert_certified(&run(&ids[0]));
    place.run(&["audit", "--run", &run(&ids[1])]).expect(0).tells(&["on purpose"]);
    place.run(&["machine", "down", &ids[1]]).expect(0);
    place.assert_certified(&run(&ids[1]));
    place.assert_clean();
}
