//! The demonstration: from nothing to nothing, and what it says where it cannot be had.

use std::time::Duration;

use support::terminal::Terminal;
use support::tool::Place;

/// Baking the base takes a minute at a near mirror.
const FROM_NOTHING: Duration = Duration::from_secs(600);

#[test]
fn it_goes_from_nothing_to_nothing_but_the_image_and_again_before_a_person() {
    let place = Place::new();
    let done = place.start(&["demo"]).end_within(FROM_NOTHING).expect(0).tells(&[
        "PASSED  2 of 2 tests",
        "Nothing is left behind",
        "Bootstrapping the distribution",
    ]);
    let text = done.text();
    let run = place.latest_of("demo");
    let certificate = place.assert_certified(&run);
    // What the run made is in the certificate that people read, each row with when it was seen gone.
    for row in certificate["resources"].as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        let line = text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} is not in {text}"));
        assert_eq!(line.matches("after ").count(), 2, "{line}");
    }
    assert!(text.contains("What stays is the image `bare-debian12` with "), "{text}");
    let state = place.state.to_str().unwrap();
    for next in ["run -- make check", "init", "runs report latest --open"] {
        assert!(text.contains(&format!("automation --state-path {state} {next}")), "{next}: {text}");
    }
    let shown = place.json(&["runs", "show", &run, "--json"]);
    assert_eq!((&shown["results"]["verdict"], &shown["results"]["counts"]["passed"]), (&"passed".into(), &2.into()));
    place.assert_clean();
    // Its image is one that `image list` knows, and the only one.
    let images = place.json(&["image", "list", "--json"]);
    assert_eq!((images[0]["name"].as_str(), images.as_array().unwrap().len()), (Some("bare-debian12"), 1));
    again(&place);
    let results = place.json(&["demo", "--json"]);
    assert_eq!((&results["verdict"], &results["counts"]["total"]), (&"passed".into(), &2.into()));
    place.assert_clean();
}

/// On a terminal both machines are seen at work, each with a test.
fn again(place: &Place) {
    let mut command = place.command(&["demo"]);
    command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
    let terminal = Terminal::start(command, 60, 150);
    terminal.wait_until("two machines at work", |lines| {
        let at_work = |test: &str| lines.iter().any(|line| line.starts_with("hg-") && line.contains(test));
        at_work("machine-is-its-own") && at_work("machine-is-new")
    });
    let (code, lines) = terminal.end();
    let text = lines.join("\n");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("PASSED  2 of 2 tests") && text.contains("which was there before"), "{text}");
    assert!(!text.contains("Bootstrapping"), "{text}");
}

#[test]
fn it_is_of_this_computer_alone_and_whoever_asks_for_nothing_is_told_of_it() {
    let place = Place::new();
    place.run(&["--provider", "host", "demo"]).expect(2);
    place.run(&["--host", "me@there", "demo"]).expect(2).tells(&["`--host` has no meaning for this command"]);
    place.run(&["demo", "more"]).expect(2);
    assert!(place.run::<&str>(&[]).expect(0).text().contains("automation demo "));
    place.assert_clean();
}
