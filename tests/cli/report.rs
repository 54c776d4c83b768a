//! `runs report`: the page of a run, as a browser and its user meet it.

mod browser;
mod sample;

use std::path::Path;

use serde_json::Value;
use support::tool::Place;

use self::browser::{Browser, VIEWS};
use self::sample::{EARLIER, GREEN, MATRIX, MATRIX_EARLIER, MIXED, store};

/// The largest page that is promised for 1,000 tests.
const LIMIT: u64 = 1_000_000;

fn place() -> Place {
    let place = Place::new();
    for suite in [&EARLIER, &MIXED, &GREEN] {
        store(&place, &suite.results());
    }
    place
}

/// The same with runs that have a matrix.
fn place_with_cells() -> Place {
    let place = place();
    for matrix in [&MATRIX_EARLIER, &MATRIX] {
        store(&place, &matrix.results());
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
    refused(&[GREEN.id], &["without results", "runs list"]);
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
fn a_run_with_a_matrix_is_compared_cell_by_cell() {
    let place = place_with_cells();
    let read = |id: &str, against: &str| {
        place.run(&["runs", "report", id, "--against", against]).expect(0);
        std::fs::read_to_string(folder(&place, id).join("report.html")).unwrap()
    };
    let newly = |page: &str| {
        let (_, rest) = page.split_once("Newly failing <span class=\"count\">").expect("something fails anew");
        rest.split_once("</div>").unwrap().0.to_owned()
    };
    let with_cells = newly(&read(MATRIX.id, MATRIX_EARLIER.id));
    assert!(with_cells.starts_with("3<"), "what fails in memory on the one distribution both had: {with_cells}");
    assert!(with_cells.contains("<em>debian12/tmpfs</em>") && !with_cells.contains("debian13"), "{with_cells}");
    // Each cell is compared with the only one of a run that has no matrix.
    let with_plain = newly(&read(MATRIX.id, EARLIER.id));
    assert!(with_plain.contains("<em>debian12/tmpfs</em>") && with_plain.contains("<em>debian13/tmpfs</em>"));
    // The other way round one cell is compared, and named.
    let page = read(EARLIER.id, MATRIX.id);
    assert!(page.contains("Its cell <em>debian12/default</em> is compared"), "{page:.2000}");
    assert!(page.contains("Newly failing <span class=\"count\">2<"), "two of those that the matrix had as well");
}

#[test]
fn tests_of_a_run_with_a_matrix_are_shown_with_their_cells() {
    let place = place_with_cells();
    let tests = MATRIX.results().tests;
    let failed = tests.iter().filter(|test| test.outcome.is_failure()).count();
    let text = |further: &[&str]| place.run(&[&["runs", "show", MATRIX.id], further].concat()).expect(0).text();
    let shown = text(&["--failed"]);
    assert_eq!((shown.lines().count(), shown.lines().next().unwrap().contains("CELL")), (failed + 1, true), "{shown}");
    let lines = |text: &str, part: &str| text.lines().filter(|line| line.contains(part)).count();
    let of_one = text(&["--failed", "--cell", "debian13/tmpfs"]);
    assert_eq!((lines(&of_one, "debian13/tmpfs"), lines(&of_one, "debian12")), (4, 0), "{of_one}");
    let name = tests.iter().find(|test| test.outcome.is_failure()).unwrap().name.as_str();
    assert_eq!(lines(&text(&[name]), &format!("{name} [debian1")), 4, "in each cell where it ran");
    assert_eq!(lines(&text(&[name, "--cell", "debian12/tmpfs"]), &format!("{name} [")), 1);
    assert_eq!(lines(&text(&["--cell", "debian12/tmpfs"]), "debian12/tmpfs"), 250, "all tests of one cell");
    let refused = |run: &str, cell: &str, told: &str| {
        place.run(&["runs", "show", run, "--failed", "--cell", cell]).expect(2).tells(&[told]);
    };
    refused(MATRIX.id, "debian12/tmpf", "Did you mean `debian12/tmpfs`?");
    refused(GREEN.id, "tmpfs", "has no matrix");
    place.run(&["runs", "show", MATRIX.id, name, "--cell", "ubuntu24.04/default"]).expect(2).tells(&["in its cell"]);
    // Every cell has a line, and the one that could not begin says why.
    let shown = text(&[]);
    let row = |name: &str| shown.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
    assert!(row("debian12/tmpfs").contains("failed") && row("ubuntu24.04/default").contains("mirror"), "{shown}");
    let listed = place.run(&["runs", "list"]).expect(0).text();
    assert!(lines(&listed, "debian12, debian13") >= 1, "{listed}");
    // What differs from cell to cell is not flaky: the flaky runs are those of the other samples.
    let past = place.json(&["tests", "show", name, "--since", "3650d", "--json"]);
    let of_cell = past.as_array().unwrap().iter().filter(|past| past["cell"] == "debian12/tmpfs");
    assert_eq!(of_cell.count(), 2, "{past}");
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
    let place = place_with_cells();
    place.run(&["runs", "report", MIXED.id, "--against", EARLIER.id]).expect(0);
    place.run(&["runs", "report", MATRIX.id, "--against", MATRIX_EARLIER.id]).expect(0);
    place.run(&["runs", "report", GREEN.id]).expect(0);
    let page = |id| folder(&place, id).join("report.html");
    for id in [MIXED.id, MATRIX.id] {
        let size = std::fs::metadata(page(id)).unwrap().len();
        assert!(size < LIMIT, "{size} bytes for {} tests", MIXED.tests);
    }
    for view in VIEWS {
        for id in [MIXED.id, MATRIX.id, GREEN.id] {
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
