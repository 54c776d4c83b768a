//! The push of a checkout: few round trips however long the history, and once more where its connection broke.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use connection::dummy::Reply;
use flow::preparation::folder;
use flow::task::durable::Durable;
use flow::testing::set_up;
use model::event::Teller;
use model::preparation::{Preparation, SshProgram};
use model::provider::Provider;
use project::mercurial::{Checkout, LinuxTests, SourceChoice, find};
use support::mercurial::hg;

use super::Theatre;
use super::builds::Kept as Builds;
use super::testing::tests_of;

/// In place of `ssh`: serves the repository `$1`, cut off after `$3` bytes where that is not 0 and the file `$2` is there, which it
/// removes; what it is asked goes to the file `$2.asked`.
const SERVE: &str = r#"#!/bin/sh
export HGRCPATH= HGPLAIN=1
if [ "$3" -gt 0 ] && rm "$2" 2>/dev/null; then
    dd bs=1 count="$3" status=none | hg -R "$1" serve --stdio
else
    tee "$2.asked" | hg -R "$1" serve --stdio
fi
"#;

/// A checkout with `history` changesets, and a machine's repository that has the first few and one of its own.
struct Sides {
    dir: tempfile::TempDir,
    tests: LinuxTests,
}

impl Sides {
    fn new(history: usize, cut: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        for folder in [&here, &there] {
            std::fs::create_dir(folder).unwrap();
            hg(folder, &["init"]);
        }
        hg(&here, &["debugbuilddag", &format!("+{history}")]);
        hg(&there, &["pull", "--quiet", "--rev", &(history / 3).to_string(), here.to_str().unwrap()]);
        hg(&there, &["update", "--quiet", "null"]);
        std::fs::write(there.join("own"), "").unwrap();
        hg(&there, &["commit", "--quiet", "--addremove", "--message", "the machine's own"]);
        let node = hg(&here, &["log", "--rev", "tip", "--template", "{node}"]);
        let serve = dir.path().join("serve");
        std::fs::write(&serve, SERVE).unwrap();
        std::fs::set_permissions(&serve, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(dir.path().join("cut"), "").unwrap();
        let mark = dir.path().join("cut").display().to_string();
        let ssh = SshProgram { program: serve, args: vec![there.display().to_string(), mark, cut.to_string()] };
        let checkout = Some(Checkout {
            root: here,
            node,
            version: None,
            tests: vec![],
            patch: None,
            new_files: None,
            tag: None,
            rebuilds: false,
            remark: None,
        });
        Self { tests: LinuxTests { checkout, ssh, ..tests_of(&["test-a.t"]) }, dir }
    }

    fn there(&self) -> PathBuf {
        self.dir.path().join("there")
    }

    fn node(&self) -> &str {
        &self.tests.checkout.as_ref().unwrap().node
    }

    /// How often the machine was asked what.
    fn asked(&self) -> BTreeMap<String, usize> {
        const KNOWN: [&str; 10] =
            ["batch", "between", "branchmap", "getbundle", "heads", "hello", "known", "listkeys", "lookup", "unbundle"];
        let asked = std::fs::read(self.dir.path().join("cut.asked")).unwrap();
        let mut counts = BTreeMap::new();
        for line in asked.split(|byte| *byte == b'\n') {
            // What comes before the name on its line belongs to the request before.
            if let Some(name) = KNOWN.iter().find(|name| line.ends_with(name.as_bytes())) {
                *counts.entry((*name).to_owned()).or_default() += 1;
            }
        }
        counts
    }
}

#[tokio::test]
async fn a_push_asks_as_little_of_a_long_history_as_of_a_short_one() {
    for history in [10, 3000] {
        let sides = Sides::new(history, 0);
        sides.tests.send(Path::new("/x"), &Teller::silent()).await.unwrap();
        hg(&sides.there(), &["log", "--rev", sides.node()]);
        let asked = sides.asked();
        assert_eq!(asked.get("unbundle"), Some(&1), "{asked:?}");
        let all: usize = asked.values().sum();
        assert!(all <= 10, "{history} changesets took {all} requests: {asked:?}");
    }
}

#[tokio::test]
async fn a_push_whose_connection_broke_is_made_again() {
    let sides = Sides::new(300, 2000);
    let theatre = Theatre::new();
    let prepared = |command: &model::task::Command| {
        let list = command.args.get(1).is_some_and(|word| word == "--list");
        Some(if list { Reply::ok().stdout("test-a.t\n") } else { Reply::ok() })
    };
    theatre.tasks.answer(prepared);
    let machine = theatre.dummy.create(&theatre.request(), &|_, _, _| Ok(()), &Teller::silent()).await.unwrap();
    let durable = Durable::new(&theatre.run, &theatre.site, &machine, None, &folder(&theatre.run, machine.platform));
    set_up(&theatre.run, &machine, &durable, &sides.tests, Path::new("/x"), &Builds::default()).await.unwrap();
    let lines = theatre.events.lines();
    let again: Vec<&String> = lines.iter().filter(|line| line.ends_with("; trying again")).collect();
    assert_eq!(again.len(), 1, "{lines:?}");
    assert!(again[0].starts_with("warning cannot push"), "{again:?}");
    hg(&sides.there(), &["log", "--rev", sides.node()]);
}

#[tokio::test]
async fn a_release_states_its_version_and_the_changesets_since_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("tests")).unwrap();
    std::fs::write(root.join("tests/run-tests.py"), "").unwrap();
    std::fs::write(root.join("PKG-INFO"), "Metadata-Version: 2.4\nVersion: 7.2.4\n").unwrap();
    support::mercurial::hg(root, &["init"]);
    support::mercurial::hg(root, &["commit", "-A", "-m", "release"]);
    let version = async || find(&SourceChoice::default(), root).await.unwrap().unwrap().version;
    assert_eq!(version().await.as_deref(), Some("7.2.4"));
    for (number, text) in ["a", "b"].into_iter().enumerate() {
        std::fs::write(root.join("hg"), text).unwrap();
        support::mercurial::hg(root, &["commit", "-A", "-m", text]);
        assert_eq!(version().await.unwrap(), format!("7.2.4+{}", number + 1));
    }
}
