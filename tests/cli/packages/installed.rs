//! Installers: what of them a machine has when they were installed, and what when that was removed.

use std::path::Path;

use serde_json::Value;
use support::mercurial::packaged;
use support::tool::Place;

use super::super::standin::Standins;
use super::{ask, cell, names};

/// Everything on drive C where an installer may put anything, a path a line. What Windows' own programs write for themselves at any
/// time is not an installer's.
const EVERYTHING: &str = "import os, sys; out = sys.stdout.reconfigure(encoding='utf-8', newline='\\n')
for top in ('C:/hgdev', 'C:/Program Files', 'C:/Program Files (x86)', 'C:/ProgramData', 'C:/users', 'C:/windows/Installer'):
    for folder, below, files in os.walk(top):
        below[:] = [name for name in below if name.lower() not in ('temp', '__pycache__')]
        for name in below + files: print(folder.replace(os.sep, '/') + '/' + name)";

/// The names under which the system lists what can be removed.
const LISTED: &str = "import winreg
for top in (winreg.HKEY_LOCAL_MACHINE, winreg.HKEY_CURRENT_USER):
    for view in (winreg.KEY_WOW64_64KEY, winreg.KEY_WOW64_32KEY):
        try: key = winreg.OpenKey(top, 'Software/Microsoft/Windows/CurrentVersion/Uninstall'.replace('/', chr(92)), 0, winreg.KEY_READ | view)
        except OSError: continue
        for at in range(winreg.QueryInfoKey(key)[0]): print('listed:', winreg.EnumKey(key, at))";

/// What a machine has, sorted.
fn everything(place: &Place, id: &str) -> Vec<String> {
    let told = |program: &str| place.exec(id, &["python", "-c", program]).expect(0).text();
    let text = told(EVERYTHING) + &told(LISTED);
    let mut lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// What is there now and was not there before.
fn more(before: &[String], now: &[String]) -> Vec<String> {
    now.iter().filter(|line| before.binary_search(line).is_err()).cloned().collect()
}

/// Installs the program on a machine, runs what it installed, and removes it: nothing of it is left but the caches of Python, and the
/// folders that they lie in.
pub(super) fn install_program(place: &Place, id: &str, program: &Path) {
    let there = "C:/hgdev/setup.exe";
    place.run(&["machine", "cp", program.to_str().unwrap(), &format!("{id}:{there}")]).expect(0);
    let before = everything(place, id);
    place.exec(id, &[there, "/VERYSILENT", "/SUPPRESSMSGBOXES", "/DIR=C:\\hgdev\\installed"]).expect(0);
    let version = place.exec(id, &["C:/hgdev/installed/hg.exe", "version", "--quiet"]).expect(0).text();
    assert!(version.contains("7.2.4"), "{version}");
    let installed = more(&before, &everything(place, id));
    for needed in ["C:/hgdev/installed/hg.exe", "C:/hgdev/installed/unins000.exe"] {
        assert!(installed.iter().any(|line| line == needed), "no {needed}: {installed:?}");
    }
    assert!(installed.iter().any(|line| line.starts_with("listed: ")), "it cannot be removed: {installed:?}");
    // The uninstaller ends before a second process of it has removed the folder.
    let remove = "import os, subprocess, sys, time; folder = 'C:/hgdev/installed'
code = subprocess.call([folder + '/unins000.exe', '/VERYSILENT', '/SUPPRESSMSGBOXES'])
for _ in range(120):
    if not os.path.exists(folder + '/unins000.exe'): break
    time.sleep(0.5)
sys.exit(code)";
    place.exec(id, &["python", "-c", remove]).expect(0);
    let look = "import os; left = [folder for folder, below, files in os.walk('C:/hgdev/installed') \
                if [name for name in files if not name.endswith('.pyc')] or not below + files]; print(left)";
    assert_eq!(place.exec(id, &["python", "-c", look]).expect(0).text().trim(), "[]", "more than caches is left");
    let left = more(&before, &everything(place, id));
    let strange: Vec<&String> =
        left.iter().filter(|line| !format!("{line}/").starts_with("C:/hgdev/installed/")).collect();
    assert!(strange.is_empty(), "left behind: {strange:?}");
    place.exec(id, &["python", "-c", "import shutil; shutil.rmtree('C:/hgdev/installed', True)"]).expect(0);
}

/// Installs the package on a machine and removes it: nothing of it is left.
pub(super) fn install_package(place: &Place, id: &str, package: &Path) {
    place.run(&["machine", "cp", package.to_str().unwrap(), &format!("{id}:C:/hgdev/setup.msi")]).expect(0);
    let before = everything(place, id);
    place.exec(id, &["msiexec", "/i", "C:\\hgdev\\setup.msi", "/qn"]).expect(0);
    let installed = more(&before, &everything(place, id));
    assert!(installed.iter().any(|line| line.ends_with("/Mercurial/hg.exe")), "{installed:?}");
    assert!(installed.iter().any(|line| line.starts_with("listed: ")), "it cannot be removed: {installed:?}");
    place.exec(id, &["msiexec", "/x", "C:\\hgdev\\setup.msi", "/qn"]).expect(0);
    assert_eq!(more(&before, &everything(place, id)), Vec::<String>::new(), "left behind");
}

/// What the package says of itself, read by another program.
pub(super) fn read_package(package: &Path) {
    let package = package.to_str().unwrap();
    let table = |name: &str| ask("msiinfo", &["export", package, name]);
    let properties = table("Property");
    assert!(properties.contains("ProductVersion\t7.2.4"), "{properties}");
    assert!(properties.contains("ProductName\tMercurial"), "{properties}");
    assert!(ask("msiinfo", &["suminfo", package]).contains("x64;1033"));
    assert!(table("File").lines().any(|line| line.contains("hg.exe")), "no program in it");
}

#[test]
fn installers_of_both_types_are_built_where_none_is_named_and_one_by_its_own_command() {
    let Some(place) = Standins::beside(&["msiinfo"]) else { return };
    let (source, dist) = (packaged(place.path()), place.path().join("dist"));
    let into = ["--source", source.to_str().unwrap(), "--dist", dist.to_str().unwrap(), "--json"];
    let done = place.run(&[&["build-windows-installer"][..], &into].concat()).expect(0);
    let results = done.tells(&["2 of 2 packages built", "Nothing is left behind"]).json();
    let both = ["Mercurial-7.2.4-x64.exe", "logs", "manifest.json", "mercurial-7.2.4-x64.msi"];
    assert_eq!(names(&dist), both);
    assert_eq!(cell(&results, "inno-x64")["artifact"]["name"], both[0], "{results}");
    // The compiler says itself which one it is.
    let log = std::fs::read_to_string(dist.join("logs/inno-x64.log")).unwrap();
    assert!(log.contains("Inno Setup 5.6.1"), "not by the compiler that the packaging asks for: {log}");
    assert!(!log.contains("Inno Setup 6"), "{log}");

    // By the narrow command again, into the same folder: the list has each package once.
    std::fs::remove_file(dist.join(both[3])).unwrap();
    let done = place.run(&[&["build-wix"][..], &into].concat()).expect(0).tells(&["1 of 1 packages built"]);
    assert_eq!(cell(&done.json(), "wix-x64")["artifact"]["name"], both[3]);
    assert_eq!(names(&dist), both);
    let manifest: Value = serde_json::from_slice(&std::fs::read(dist.join(both[2])).unwrap()).unwrap();
    let listed: Vec<&str> =
        manifest["artifacts"].as_array().unwrap().iter().map(|listed| listed["name"].as_str().unwrap()).collect();
    assert_eq!(listed, [both[0], both[3]]);
    read_package(&dist.join(both[3]));

    // All by the source's own packaging, which asks for that compiler by its folder.
    let whole = [&["build-inno", "--stage", "pyoxidizer"][..], &into].concat();
    place.run(&whole).expect(0).tells(&["1 of 1 packages built"]);
    let log = std::fs::read_to_string(dist.join("logs/inno-x64.log")).unwrap();
    assert!(log.contains("Inno Setup 5.6.1"), "{log}");
}
