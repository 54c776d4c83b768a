//! The main job on the newest Mercurial, whose build asks for more than older distributions have.
//!
//! On Debian 13; `AUTOMATION_TEST_DISTROS=debian13,ubuntu24.04` names others, each of which is baked first. All that can build it
//! are tested before a release.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::mercurial::{hg, unpacked};
use support::tool::Place;

use super::alone;

/// Small tests of Mercurial's suite that need nothing of the machine; the second asks the helpers of tests, which are programs in
/// Python that import Mercurial, the third starts a Python where the current folder is gone.
const TESTS: [&str; 4] = ["test-empty-dir.t", "test-hghave.t", "test-removeemptydirs.t", "test-revert-flags.t"];

/// The release in a repository, as a user would put it there.
fn checkout(folder: &Path) -> PathBuf {
    let target = unpacked(folder);
    hg(&target, &["init"]);
    hg(&target, &["commit", "--quiet", "--addremove", "--message", "the newest release"]);
    target
}

fn outcomes(results: &Value) -> Vec<(&str, &str)> {
    let tests = results["tests"].as_array().unwrap();
    tests.iter().map(|test| (test["name"].as_str().unwrap(), test["outcome"].as_str().unwrap())).collect()
}

#[test]
fn the_newest_release_is_built_and_tested() {
    let named = std::env::var("AUTOMATION_TEST_DISTROS").unwrap_or_else(|_| "debian13".to_owned());
    let distros: Vec<&str> = named.split(',').collect();
    let place = Place::of(&distros);
    let _alone = alone();
    let source = checkout(place.path());
    let arguments = [&["run-tests-linux", "--json", "--source", source.to_str().unwrap()][..], &TESTS].concat();
    for distro in &distros {
        let done = place.run(&[&arguments[..], &["--distro", distro]].concat()).expect(0);
        let results = done.tells(&["Building ", ", build ", "Nothing is left behind"]).json();
        assert_eq!(outcomes(&results), TESTS.map(|test| (test, "passed")), "{results}");
        assert_eq!((&results["verdict"], &results["built"]), (&"passed".into(), &"made".into()), "{results}");
    }

    // Without a name the first is taken that can build it; and a test that is broken on purpose fails with its difference.
    let broken = source.join("tests").join(TESTS[0]);
    let text = std::fs::read_to_string(&broken).unwrap();
    std::fs::write(&broken, format!("{text}\n  $ echo as it is\n  as it was\n")).unwrap();
    if distros.contains(&"debian13") {
        let done = place.run(&[&arguments[..], &["--working-copy"]].concat()).expect(1);
        let done = done.tells(&["Distribution: debian13, the first that can build", "debian12 lacks setuptools >=77"]);
        let done = done.tells(&["that was kept is used again", "-  as it was", "+  as it is"]);
        let results = done.json();
        let mut expected = TESTS.map(|test| (test, "passed"));
        expected[0].1 = "failed";
        assert_eq!(outcomes(&results), expected, "{results}");
        assert_eq!((&results["verdict"], &results["built"]), (&"failed".into(), &"kept".into()), "{results}");
        let (detail, output) = (&results["tests"][0]["detail"], &results["tests"][0]["output"]);
        assert!(detail.as_str().unwrap().contains("-  as it was\n+  as it is\n"), "{detail}");
        assert!(output.as_str().unwrap().contains("$ echo as it is\n  as it is\n"), "{output}");
    }
    if distros.contains(&"debian13") {
        // Through chg: the first of these is skipped there alone. Parts of a split run compile nothing again.
        let of = ["run-tests-linux", "--json", "--source", source.to_str().unwrap(), "--distro", "debian13"];
        let through = [&of[..], &["--shards", "2", "test-bad-extension.t", TESTS[3], "--", "--chg"]].concat();
        let results = place.run(&through).expect(0).json();
        let found = outcomes(&results).into_iter().collect::<BTreeMap<_, _>>();
        assert_eq!(found, BTreeMap::from([("test-bad-extension.t", "skipped"), (TESTS[3], "passed")]), "{results}");
        assert_eq!(results["built"], "kept", "{results}");
    }
    place.assert_clean();
}
