//! `runs report`: the page of a run, as a browser and its user meet it.

mod browser;
mod sample;

use std::path::Path;

use serde_json::Value;
use support::tool::Place;

use self::browser::{Browser, VIEWS};
use self::sample::{EARLIER, GREEN, MIXED, store};

/// The largest page that is promised for 1,000 tests.
const LIMIT: u64 = 1_000_000;

fn place() -> Place {
    let place = Place::new();
    for suite in [&EARLIER, &MIXED, &GREEN] {
        store(&place, &suite.results());
    }
    place
}

fn folder(place: &Place, id: &str) -> std::path::PathBuf {
    place.state.join("runs").join(id)
}

#[test]
fn a_report_lies_beside_the_results_and_its_path_is_printed() {
    let place = place();
    let done = place.run(&["runs", "report", MIXED.id]).expect(0);
    let path = folder(&place, MIXED.id).join("report.html");
    assert_eq!(done.text(), format!("{}\n", path.display()));
    let page = std::fs::read_to_string(&path).unwrap();
    for part in
        ["<!DOCTYPE html>", "Incomplete", "<a href=\"./junit.xml\">", "<a href=\"./results.json\">", "--shards 4"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("Changes since"));
    let told = place.json(&["runs", "report", MIXED.id, "--against", &EARLIER.id[..8], "--json"]);
    let expected = serde_json::json!({"id": MIXED.id, "path": path, "against": EARLIER.id,
        "bytes": std::fs::metadata(&path).unwrap().len(), "opened": false});
    assert_eq!(told, expected);
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.contains(&format!("Changes since run <span class=\"id\">{}", EARLIER.id)));
    // The latest of those with tests is meant where none is named.
    assert!(place.run(&["runs", "report"]).expect(0).text().contains(GREEN.id));
}

#[test]
fn a_report_elsewhere_names_the_other_files_without_links() {
    let place = place();
    let path = place.path().join("a page.html");
    place.run(&["runs", "report", MIXED.id, "--output", path.to_str().unwrap()]).expect(0);
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.contains("<code>junit.xml</code>") && !page.contains("href=\"./"));
    assert!(!folder(&place, MIXED.id).join("report.html").exists());
    // The name of the file in the run's folder is that, however it is written.
    let own = folder(&place, MIXED.id).join("../").join(MIXED.id).join("report.html");
    place.run(&["runs", "report", MIXED.id, "--output", own.to_str().unwrap()]).expect(0);
    assert!(std::fs::read_to_string(&own).unwrap().contains("href=\"./junit.xml\""));
    let printed = place.run(&["runs", "report", MIXED.id, "--output", "/dev/stdout"]).expect(0).text();
    assert_eq!(printed, page);
}

#[test]
fn what_cannot_be_reported_is_refused_with_the_reason() {
    let place = place();
    let refused = |arguments: &[&str], parts: &[&str]| {
        place.run(&[&["runs", "report"], arguments].concat()).expect(2).tells(parts);
    };
    refused(&["20990101"], &["20990101"]);
    refused(&[MIXED.id, "--against", MIXED.id], &["cannot be compared with itself"]);
    refused(&[MIXED.id, "--against", "20990101"], &["20990101"]);
    refused(&[MIXED.id, "--output", "/no/such/folder/x.html"], &["cannot write `--output /no/such/folder/x.html`"]);
    refused(&[MIXED.id, "--output", "/dev/stdout", "--json"], &["`--json` needs a file"]);
    refused(&[MIXED.id, "--output", "/dev/stdout", "--open"], &["`--open` needs a file"]);
    std::fs::remove_file(folder(&place, GREEN.id).join("results.json")).unwrap();
    refused(&[GREEN.id], &["has no results", "runs wait"]);
    assert!(!folder(&place, MIXED.id).join("report.html").exists(), "nothing was written");
}

#[test]
fn a_browser_is_told_to_show_the_page_or_its_lack_is_told() {
    let place = place();
    let told = place.path().join("told");
    let browser = place.path().join("browser");
    std::fs::write(&browser, format!("#!/bin/sh\nprintf '%s' \"$1\" >'{}'\n", told.display())).unwrap();
    std::fs::set_permissions(&browser, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = |browser: &Path| {
        let mut command = place.command(&["runs", "report", GREEN.id, "--open", "--json"]);
        command.env("BROWSER", browser).env("PATH", place.path().join("empty"));
        support::tool::Running::start(command).end()
    };
    let done = open(&browser).expect(0);
    assert_eq!(done.json()["opened"], true);
    let page = folder(&place, GREEN.id).join("report.html");
    let shown = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        std::fs::read_to_string(&told).unwrap_or_default()
    });
    let shown = shown.take(2_000).find(|text| !text.is_empty()).expect("the browser was started");
    assert_eq!(shown, format!("file://{}", page.display()));
    let done = open(&place.path().join("none")).expect(3);
    assert_eq!(done.json()["opened"], false);
    done.tells(&["cannot open", "report.html", "`BROWSER`"]);
    assert!(page.exists());
}

#[test]
fn results_of_older_builds_have_a_report() {
    let place = place();
    let path = folder(&place, MIXED.id).join("results.json");
    let mut old: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for field in ["cells", "machines", "program", "version", "revision", "flags", "caveats", "gap"] {
        old.as_object_mut().unwrap().remove(field);
    }
    for test in old["tests"].as_array_mut().unwrap() {
        for field in ["machine", "attempt", "began_at", "others", "output_file", "expected"] {
            test.as_object_mut().unwrap().remove(field);
        }
    }
    std::fs::write(&path, old.to_string()).unwrap();
    place.run(&["runs", "report", MIXED.id, "--against", EARLIER.id]).expect(0);
    let page = std::fs::read_to_string(folder(&place, MIXED.id).join("report.html")).unwrap();
    assert!(page.contains("did not note what its machines did") && page.contains("Newly failing"));
}

#[test]
fn a_report_is_read_by_everybody_at_every_width_by_day_and_by_night() {
    let Some(browser) = Browser::find() else { return };
    let place = place();
    place.run(&["runs", "report", MIXED.id, "--against", EARLIER.id]).expect(0);
    place.run(&["runs", "report", GREEN.id]).expect(0);
    let page = |id| folder(&place, id).join("report.html");
    let size = std::fs::metadata(page(MIXED.id)).unwrap().len();
    assert!(size < LIMIT, "{size} bytes for {} tests", MIXED.tests);
    for view in VIEWS {
        for id in [MIXED.id, GREEN.id] {
            let seen = browser.look(&page(id), view);
            assert_eq!(seen.violations, Vec::<String>::new(), "{id} {view:?}");
            assert!(seen.passes > 15, "{seen:?}");
            assert_eq!(
                seen.widths,
                (u64::from(view.width), u64::from(view.width)),
                "{id} {view:?}: wider than its window"
            );
            assert_eq!(seen.background != "rgb(255, 255, 255)", view.is_dark, "{seen:?}");
        }
        let picture = std::fs::read(browser.picture(&page(MIXED.id), view)).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes", picture.len());
    }
}
