//! The stand-in for Windows machines: its commands, files and tests are those of Windows, and nothing of Wine stays.

mod deaths;
pub(super) mod foreign;
mod index;
mod pushes;
mod results;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::MutexGuard;

use serde_json::Value;
use support::mercurial::{hg, small_of, unpacked};
use support::tool::{Place, skip};
use support::{bits, leftovers};

use super::alone;

/// The Mercurial that the machine has; there is no compiler to build another.
const READY: [&str; 3] = ["--", "--with-hg", "C:/hgdev/python/Scripts/hg.exe"];

/// A place for stand-ins. A test that ends well there fails where the tool or the system still has anything of them.
pub(super) struct Standins {
    place: Place,
    _alone: MutexGuard<'static, ()>,
}

impl Standins {
    /// None, said as a skipped test, where there can be no stand-ins.
    pub(super) fn new() -> Option<Self> {
        Self::beside(&[])
    }

    /// The same where a test needs these programs of this computer as well.
    pub(super) fn beside(programs: &[&str]) -> Option<Self> {
        if let Some(program) = programs.iter().find(|program| !bits::has_program(program)) {
            skip(&format!("there is no `{program}` on this computer"));
            return None;
        }
        Some(Self { place: Place::standin()?, _alone: alone() })
    }
}

impl Deref for Standins {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Drop for Standins {
    fn drop(&mut self) {
        // A test that failed already has said what matters.
        if !std::thread::panicking() {
            self.place.assert_clean();
        }
    }
}

#[test]
fn other_computers_are_a_reason_to_skip() {
    assert_eq!(bits::reason("x86_64", || true), None);
    assert!(bits::reason("aarch64", || true).unwrap().contains("x86-64, and this one has aarch64"));
    assert!(bits::reason("x86_64", || false).unwrap().contains("32 bits (i386)"));
    assert!(!bits::runs(b"\x7fELF no program"), "it would run anything");
    assert!(bits::has_program("sh") && !bits::has_program("no-such-program"));
}

/// A checkout with Mercurial's runner and `tests`: names and texts.
fn small(place: &Place, tests: &[(&str, &str)]) -> PathBuf {
    let folder = tempfile::tempdir_in(place.path()).unwrap().keep();
    small_of(&unpacked(&folder), &folder, tests)
}

#[test]
fn a_standin_is_spoken_to_as_windows_and_leaves_nothing() {
    let Some(place) = Standins::new() else { return };
    let id = place.up(&["--image", "windows-standin"]);
    let listed = place.json(&["machine", "list", "--json"]);
    assert_eq!(listed[0]["platform"], "windows", "{listed}");
    let words = ["a \"b\" %PATH% & ^ !x!", "", "trailing\\", "é ü ß 漢"];
    let print = "import sys; sys.stdout.buffer.write(repr(sys.argv[1:]).encode())";
    let said = place.exec(&id, &[&["python", "-c", print][..], &words].concat()).expect(0).text();
    let expected: Vec<String> =
        words.iter().map(|word| word.replace('\\', "\\\\")).map(|word| format!("'{word}'")).collect();
    assert_eq!(said, format!("[{}]", expected.join(", ")));
    place.exec(&id, &["cmd", "/c", "exit 7"]).expect(7);
    for python in ["39", "310", "311", "312", "313"] {
        let program = format!("C:/hgdev/python{python}-x64/python.exe");
        let said = place.exec(&id, &[&program, "-c", "import sys; print(sys.version_info[1], sys.maxsize > 2**32)"]);
        assert_eq!(said.expect(0).text().trim(), format!("{} True", &python[1..]));
    }
    // A program of 32 bits, and one that Wine has in name only.
    place.exec(&id, &["C:/Program Files (x86)/Inno Setup 5/ISCC.exe", "/?"]).expect(1).tells(&[]);
    let hollow = place.exec(&id, &["powershell", "-Command", "Get-Date"]).expect(97);
    hollow.tells(&["`powershell` is not really there, and nothing was scripted"]);

    let (here, back) = (place.path().join("here"), place.path().join("back"));
    std::fs::create_dir_all(here.join("empty")).unwrap();
    std::fs::write(here.join("Ümlaut.txt"), "text\r\n").unwrap();
    place.run(&["machine", "cp", here.to_str().unwrap(), &format!("{id}:C:/hgdev/there")]).expect(0);
    place.run(&["machine", "cp", &format!("{id}:C:/hgdev/there"), back.to_str().unwrap()]).expect(0);
    assert_eq!(std::fs::read_to_string(back.join("Ümlaut.txt")).unwrap(), "text\r\n");
    assert!(back.join("empty").is_dir());
    let checked = place.run(&["machine", "check", &id]).expect(0).text();
    for (clause, found) in [
        ("for wheels: `cibuildwheel`", "cibuildwheel.exe"),
        ("for installers: python's packages", "docutils jinja2"),
        ("for inno: embeddable Pythons", "python313-x64"),
        ("for inno: its compiler", "Inno Setup 5, Inno Setup 6"),
        ("for wix: `pyoxidizer`", "pyoxidizer.exe"),
    ] {
        let is_kept = |line: &str| line.starts_with(clause) && line.contains(" ok ") && line.ends_with(found);
        assert!(checked.lines().any(is_kept), "{clause}: {checked}");
    }
    let inside = leftovers::inside(&place.state);
    assert!(inside.iter().any(|(_, line)| line.contains("wineserver")), "{inside:?}");
    place.run(&["machine", "down", &id]).expect(0);
}

fn outcome<'a>(results: &'a Value, test: &str) -> &'a str {
    let tests = results["tests"].as_array().unwrap();
    tests.iter().find(|found| found["name"] == test).map_or("none", |found| found["outcome"].as_str().unwrap())
}

#[test]
fn tests_run_with_a_python_for_windows_and_a_push_goes_to_a_windows_hg() {
    let Some(place) = Standins::new() else { return };
    let version = "import sys\nassert sys.platform == 'win32', sys.platform\nassert sys.version_info[:2] == (3, 11)\n";
    let broken = "import sys\nprint('the reason')\nsys.exit(1)\n";
    let tests = [
        ("test-broken.py", broken),
        ("test-fine.py", version),
        ("test-script.t", "  $ true\n"),
        ("test-skipped.py", "import sys\nprint('skipped: for a reason')\nsys.exit(80)\n"),
    ];
    let checkout = small(&place, &tests);
    let run = |further: &[&str]| {
        let source = ["--source", checkout.to_str().unwrap()];
        place
            .run(&[&["run-tests-windows", "--json", "--python-version", "3.11"][..], &source, further, &READY].concat())
    };
    let done = run(&[]).expect(1).tells(&["FAILED  1 of 4 tests, 2 skipped", "Nothing is left behind"]);
    let results = done.json();
    let outcomes = tests.map(|(test, _)| outcome(&results, test));
    assert_eq!(outcomes, ["failed", "passed", "skipped", "skipped"], "{results}");
    let of = |test: &str| results["tests"].as_array().unwrap().iter().find(|found| found["name"] == test).unwrap();
    assert_eq!(of("test-script.t")["reason"], "there is no `sh` on this machine");
    assert!(of("test-broken.py")["output"].as_str().unwrap().contains("the reason"), "{results}");
    let node = hg(&checkout, &["log", "--rev", ".", "--template", "{node}"]);
    assert_eq!(results["revision"].as_str(), Some(node.as_str()), "{results}");
    assert!(results["distro"].as_str().unwrap().starts_with("wine"), "{results}");

    // What is changed and not committed is tested where that is asked for; nothing but skipped tests is not green.
    std::fs::write(checkout.join("tests/test-broken.py"), "print('mended', end='')\n").unwrap();
    std::fs::write(checkout.join("tests/test-broken.py.out"), "mended").unwrap();
    hg(&checkout, &["add", "tests/test-broken.py.out"]);
    let done = run(&["--working-copy", "test-broken.py", "test-fine.py"]).expect(0);
    assert_eq!(done.json()["verdict"], "passed");
    run(&["test-script.t"]).expect(4).tells(&["1 skipped"]);
    // The value of an option is no name of a test, whatever it looks like.
    let source = ["run-tests-windows", "--json", "--python-version", "3.11", "--source", checkout.to_str().unwrap()];
    let done = place.run(&[&source[..], &READY, &["-k", "test-broken.py"]].concat()).expect(1);
    assert_eq!(outcome(&done.json(), "test-broken.py"), "failed", "{}", done.text());
    // Where nobody names a Python it is that of the Mercurial that is installed.
    std::fs::write(checkout.join("tests/test-import.py"), "import mercurial\n").unwrap();
    hg(&checkout, &["add", "tests/test-import.py"]);
    let usual = ["run-tests-windows", "--source", source[5], "--working-copy", "test-import.py"];
    place.run(&[&usual[..], &READY].concat()).expect(0);
    run(&["test-absent.py"]).expect(2).tells(&["test-absent.py"]);
}

#[test]
fn what_cannot_be_run_on_windows_is_refused_before_anything_is_made() {
    let place = Place::new();
    let refused = |words: &[&str], told: &[&str]| {
        place.run(&[&["run-tests-windows"][..], words].concat()).expect(2).tells(told);
    };
    refused(&["--python-version", "2.7"], &["2.7", "3.N"]);
    refused(&["--arch", "mips"], &["mips", "x64"]);
    refused(&["--image", "linux-dev"], &["do not have Windows", "--image"]);
    refused(&["--image", "windows-standing"], &["no image definition `windows-standing`", "windows-standin"]);
    refused(&["--test-flags", "'open"], &["a quote in `--test-flags` does not end"]);
    refused(&["--provider", "host", "--host", "hg@127.0.0.1"], &["--platform windows"]);
    place.assert_clean();
}
