//! The source of a package on the machine: it is what the user has, and nothing else, whoever made the machine.

use std::path::Path;
use std::time::Instant;

use support::door::Door;
use support::mercurial::{hg, packaged};

use super::super::standin::Standins;
use super::super::standin::foreign::Foreign;
use super::{SOON, ask, cell, names};

/// Has the packaging refuse a source in which an earlier build left anything, and leave something itself: files that are tracked by
/// nobody, ignored or not, and a change of one that is tracked.
const PLANT: &str = r#"
PLANTED = ("stray", "deep/stray", "ignored.tmp")
left = [name for name in PLANTED if (SOURCE / name).exists()]
if left or (SOURCE / "README").read_text().startswith("changed"):
    raise SystemExit("error: an earlier build left %s" % (left or "README"))
main()
(SOURCE / "deep").mkdir()
for name in PLANTED:
    (SOURCE / name).write_text("planted")
(SOURCE / "README").write_text("changed")
"#;

/// A source of a package that needs no compiler, with a module that tells `text`.
fn model(folder: &Path, text: &str) -> std::path::PathBuf {
    let source = packaged(folder);
    let build = "[project]\nname = \"model\"\nversion = \"7.2.4\"\n[tool.setuptools]\npy-modules = [\"model\"]\n\
                 [tool.cibuildwheel]\nbuild = [\"cp39-*\", \"cp313-*\"]\n";
    std::fs::write(source.join("pyproject.toml"), build).unwrap();
    std::fs::write(source.join("model.py"), text).unwrap();
    hg(&source, &["commit", "--quiet", "--addremove", "--message", "a model"]);
    hg(&source, &["tag", "--force", "7.2.4"]);
    hg(&source, &["update", "--quiet", "7.2.4"]);
    source
}

/// What the module of a wheel tells.
fn told(wheel: &Path) -> String {
    let read = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('model.py').decode())";
    ask("python3", &["-c", read, wheel.to_str().unwrap()]).trim().to_owned()
}

#[test]
fn what_an_earlier_build_left_in_the_source_is_gone_before_the_next_package() {
    let Some(place) = Standins::new() else { return };
    let (source, dist) = (packaged(place.path()), place.path().join("dist"));
    let file = source.join("contrib/packaging/packaging.py");
    let text = std::fs::read_to_string(&file).unwrap();
    let before = text.strip_suffix("\nmain()\n").expect("it ends with its call");
    std::fs::write(&file, format!("{before}{PLANT}")).unwrap();
    std::fs::write(source.join(".hgignore"), "syntax: glob\ndist\nbuild\n*.tmp\n").unwrap();
    hg(&source, &["commit", "--quiet", "--message", "plants"]);
    hg(&source, &["tag", "--force", "7.2.4"]);
    hg(&source, &["update", "--quiet", "7.2.4"]);
    let into = ["--source", source.to_str().unwrap(), "--dist", dist.to_str().unwrap(), "--json"];
    let done = place.run(&[&["build-windows-installer", "--stage", "pyoxidizer"][..], &into].concat()).expect(0);
    let results = done.tells(&["2 of 2 packages built"]).json();
    let machine = |name: &str| cell(&results, name)["machine"].as_str().unwrap().to_owned();
    assert_eq!(machine("inno-x64"), machine("wix-x64"), "each of them met what the other left");
}

#[test]
fn uncommitted_changes_are_packaged_where_that_is_asked_for() {
    let Some(place) = Standins::new() else { return };
    let (source, dist) = (model(place.path(), "committed = True"), place.path().join("dist"));
    std::fs::write(source.join("model.py"), "committed = False").unwrap();
    let into = ["--source", source.to_str().unwrap(), "--dist", dist.to_str().unwrap(), "--python-version", "3.13"];
    let build = |further: &[&str]| {
        place.run(&[&["build-windows-wheel"][..], &into, further].concat()).expect(0).tells(&["1 of 1 packages built"]);
        told(&dist.join("model-7.2.4-cp313-cp313-win_amd64.whl"))
    };
    assert_eq!(build(&[]), "committed = True");
    assert_eq!(build(&["--working-copy"]), "committed = False");
}

#[test]
fn a_wheel_is_built_on_a_machine_of_somebody_elses_which_keeps_nothing_of_it() {
    let Some(place) = Standins::new() else { return };
    let foreign = Foreign::up(&place);
    let door = Door::to(&foreign.socket());
    foreign.know(&place, &door);
    let before = foreign.ours(&place);
    let (source, dist) = (packaged(place.path()), place.path().join("dist"));
    let words = foreign.words(&door);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let job = ["--provider", "host", "build-windows-wheel", "--source", source.to_str().unwrap(), "--json"];
    let job = [&words[..], &job, &["--dist", dist.to_str().unwrap()]].concat();
    let running = place.start(&job);
    running.wait_for("Building the wheel for Python 3.9 on x64");
    let holder = place.latest_of("build-windows-wheel");
    // As long as it builds, the machine is its own. Who has no time to ask learns no name; a busy machine takes as long to build.
    let named = ["3s", "9s", "18s"].iter().any(|wait| {
        let refused = place.run(&[&job[..], &["--wait", wait]].concat()).expect(3);
        refused.tells(&["in use by another run", "Nothing is left behind"]).stderr.contains(&holder)
    });
    assert!(named, "nobody was told for whom to wait");
    let held = foreign.ours(&place);
    assert!(held.contains(".used-by-automation") && held.contains(&format!("hg-automation-{holder}")), "{held}");
    let done = running.end().expect(0).tells(&["2 of 2 packages built", "Nothing is left behind"]);
    let wheels = ["mercurial-7.2.4-cp313-cp313-win_amd64.whl", "mercurial-7.2.4-cp39-cp39-win_amd64.whl"];
    assert_eq!(names(&dist), ["logs", "manifest.json", wheels[0], wheels[1]]);
    for (name, wheel) in [("wheel-3.13-x64", wheels[0]), ("wheel-3.9-x64", wheels[1])] {
        assert_eq!(cell(&done.json(), name)["artifact"]["name"], wheel);
    }
    // It is never ended by us, and has nothing more than before, once the last program of ours there has seen that the run is over.
    let end = Instant::now() + SOON;
    while foreign.ours(&place) != "[]" {
        assert!(Instant::now() < end, "left there: {}", foreign.ours(&place));
    }
    assert_eq!(before, "[]");
    let node = hg(&source, &["log", "--rev", ".", "--template", "{node}"]);
    assert_eq!(foreign.hg(&place, &["log", "--rev", ".", "--template", "{node}"]), node);
    place.assert_certified(&holder);
    place.run(&["machine", "down", &foreign.id]).expect(0);
}
