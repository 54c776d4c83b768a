//! The stand-in for Windows machines: its commands, files and tests are those of Windows, and nothing of Wine stays.

mod deaths;
mod index;
mod pushes;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::MutexGuard;

use serde_json::Value;
use support::leftovers;
use support::mercurial::{hg, small_of};
use support::tool::{Done, Place, skip};

use super::{alone, newest};

/// The Mercurial that the machine has; there is no compiler to build another.
const READY: [&str; 3] = ["--", "--with-hg", "C:/hgdev/python/Scripts/hg.exe"];

/// A place for stand-ins. A test that ends well there fails where the tool or the system still has anything of them.
struct Standins {
    place: Place,
    _alone: MutexGuard<'static, ()>,
}

/// Why a computer with these processors has no stand-ins.
fn missing(arch: &str) -> Option<String> {
    let reason = || format!("a stand-in for Windows machines needs a computer with x86-64, and this one has {arch}");
    (arch != "x86_64").then(reason)
}

impl Standins {
    /// None, said as a skipped test, where there can be no stand-ins.
    fn new() -> Option<Self> {
        if let Some(reason) = missing(std::env::consts::ARCH) {
            skip(&reason);
            return None;
        }
        let place = Place::standin();
        Some(Self { place, _alone: alone() })
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
fn other_processors_are_a_reason_to_skip() {
    assert_eq!(missing("x86_64"), None);
    assert!(missing("aarch64").unwrap().contains("x86-64, and this one has aarch64"));
}

/// A checkout with Mercurial's runner and `tests`: names and texts.
fn small(place: &Place, tests: &[(&str, &str)]) -> PathBuf {
    let folder = tempfile::tempdir_in(place.path()).unwrap().keep();
    small_of(&newest::unpacked(&folder), &folder, tests)
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
    place.run(&["machine", "check", &id]).expect(0);
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
    assert!(of("test-broken.py")["detail"].as_str().unwrap().contains("the reason"), "{results}");
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

/// A program of `remote/mercurial/windows` on the machine, run as the tool runs one.
fn program(place: &Place, id: &str, name: &str, words: &[&str]) -> Done {
    let path = format!("C:/hgdev/programs/{name}");
    place.exec(id, &[&["python", "-I", "-S", "-X", "utf8", &path][..], words].concat())
}

/// A machine with the programs, and with a source in `C:/hgdev/src` that packages itself.
fn packaging_machine(place: &Place) -> String {
    let id = place.up(&["--image", "windows-standin"]);
    // A folder that is there already would get the source as a folder in it.
    place.exec(&id, &["cmd", "/c", "rmdir /s /q C:\\hgdev\\src"]).expect(0);
    for (from, to) in [("remote/mercurial/windows", "programs"), ("tests/fixtures/packaged", "src")] {
        let from = support::root().join(from);
        place.run(&["machine", "cp", from.to_str().unwrap(), &format!("{id}:C:/hgdev/{to}")]).expect(0);
    }
    for words in
        ["init", "commit --quiet --addremove --user me --message source", "tag --user me 7.2.4", "update --quiet 7.2.4"]
    {
        let words: Vec<&str> = ["hg", "--cwd", "C:/hgdev/src"].into_iter().chain(words.split(' ')).collect();
        place.exec(&id, &words).expect(0);
    }
    id
}

#[test]
fn wheels_and_installers_come_of_a_source_that_packages_itself() {
    let Some(place) = Standins::new() else { return };
    let id = packaging_machine(&place);
    let made = "C:/hgdev/out";
    program(&place, &id, "build_wheel.py", &["3.13", "x64", made]).expect(75).tells(&["another run"]);
    program(&place, &id, "prepare_work.py", &[]).expect(0);
    let done = program(&place, &id, "build_wheel.py", &["3.13", "x64", made]).expect(0);
    assert_eq!(done.text().trim_end(), format!("{made}/mercurial-7.2.4-cp313-cp313-win_amd64.whl"));
    program(&place, &id, "build_wheel.py", &["3.8", "x64", made]).expect(2).tells(&["3.9", "3.13"]);
    program(&place, &id, "build_wheel.py", &["3.13", "x64", made, "7.2.5"]).expect(1).tells(&["7.2.4", "7.2.5"]);

    let done = program(&place, &id, "build_installer.py", &["inno", "x64", "", "wheel", made]).expect(0);
    let installer = format!("{made}/Mercurial-7.2.4-x64.exe");
    assert_eq!(done.text().trim_end(), installer);
    place.exec(&id, &[&installer, "/VERYSILENT", "/SUPPRESSMSGBOXES", "/DIR=C:\\hgdev\\installed"]).expect(0);
    let version = place.exec(&id, &["C:/hgdev/installed/hg.exe", "version", "--quiet"]).expect(0).text();
    assert!(version.contains("7.2.4"), "{version}");
    program(&place, &id, "build_installer.py", &["inno", "x86", "7.2.4", "wheel", made]).expect(2);
    program(&place, &id, "build_installer.py", &["wix", "x64", "7.2.4", "wheel", made]).expect(2);

    program(&place, &id, "build_installer.py", &["wix", "x64", "7.2.4", "pyoxidizer", made]).expect(0);
    let (package, home) = (format!("{made}/mercurial-7.2.4-x64.msi"), place.path().join("home.msi"));
    place.run(&["machine", "cp", &format!("{id}:{package}"), home.to_str().unwrap()]).expect(0);
    assert!(std::fs::read(home).unwrap().starts_with(&[0xd0, 0xcf, 0x11, 0xe0]));
    let msi = package.replace('/', "\\");
    for (verb, there) in [("/i", 0), ("/x", 1)] {
        place.exec(&id, &["msiexec", verb, &msi, "/qn"]).expect(0);
        let look = "import glob, sys; sys.exit(not glob.glob('C:/Program Files*/Mercurial/hg.exe'))";
        place.exec(&id, &["python", "-c", look]).expect(there);
    }

    // What the compiler says of a script is what the user is told.
    let planted = place.path().join("more.iss");
    std::fs::write(&planted, "Bogus=yes\n").unwrap();
    let target = format!("{id}:C:/hgdev/src/more.iss");
    place.run(&["machine", "cp", planted.to_str().unwrap(), &target]).expect(0);
    let refused = program(&place, &id, "build_installer.py", &["inno", "x64", "7.2.4", "wheel", "C:/hgdev/second"]);
    refused.expect(1).tells(&["Error on line"]);
    place.run(&["machine", "down", &id]).expect(0);
}
