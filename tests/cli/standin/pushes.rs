//! The source reaches the Mercurial of a Windows machine, and no machine but the one whose host key is known.

use std::path::PathBuf;

use serde_json::Value;
use support::door::Door;
use support::mercurial::hg;
use support::tool::Done;

use super::{READY, Standins, small};

/// How many files are pushed.
const FILES: usize = 200;

/// A stand-in, as one sees it that is somebody else's.
struct Foreign {
    id: String,
    machine: Value,
}

impl Foreign {
    fn up(place: &Standins) -> Self {
        let id = place.up(&["--image", "windows-standin"]);
        let machines = place.json(&["machine", "list", "--json"]);
        let machine = machines.as_array().unwrap().iter().find(|machine| machine["id"] == id.as_str());
        Self { machine: machine.unwrap().clone(), id }
    }

    fn socket(&self) -> PathBuf {
        self.machine["address"]["socket"].as_str().unwrap().into()
    }

    /// Makes its host key the one that is known at `door`.
    fn know(&self, place: &Standins, door: &Door) {
        let public = self.machine["host_key"]["public"].as_str().unwrap();
        let words: Vec<&str> = public.split(' ').take(2).collect();
        std::fs::create_dir_all(place.home.join(".ssh")).unwrap();
        let line = format!("[127.0.0.1]:{} {}\n", door.port, words.join(" "));
        std::fs::write(place.home.join(".ssh/known_hosts"), line).unwrap();
    }

    fn hg(&self, place: &Standins, words: &[&str]) -> String {
        place.exec(&self.id, &[&["hg", "--cwd", "C:/hgdev/src"][..], words].concat()).expect(0).text()
    }

    /// Fails where anything was ever sent to it.
    fn assert_untouched(&self, place: &Standins) {
        assert_eq!(self.hg(place, &["log", "--rev", "all()", "--template", "{node} "]), "");
        let look =
            "import os; print([name for name in os.listdir('C:/') + os.listdir('C:/hgdev') if 'automation' in name])";
        assert_eq!(place.exec(&self.id, &["python", "-c", look]).expect(0).text().trim(), "[]");
    }
}

#[test]
fn a_push_lands_once_and_another_host_key_is_refused() {
    let Some(place) = Standins::new() else { return };
    let (right, wrong) = (Foreign::up(&place), Foreign::up(&place));
    let door = Door::to(&right.socket());
    right.know(&place, &door);
    let checkout = small(&place, &[("test-fine.py", "")]);
    std::fs::create_dir(checkout.join("many")).unwrap();
    for number in 0..FILES {
        std::fs::write(checkout.join(format!("many/{number}.txt")), format!("{number}\n")).unwrap();
    }
    hg(&checkout, &["commit", "--quiet", "--addremove", "--message", "many files"]);
    let node = hg(&checkout, &["log", "--rev", ".", "--template", "{node}"]);
    let host = format!("hg@127.0.0.1:{}", door.port);
    let identity = right.machine["identity"].as_str().unwrap();
    let foreign = ["--host", &host, "--platform", "windows", "--identity", identity];
    let job = ["run-tests-windows", "--python-version", "3.13", "--source", checkout.to_str().unwrap(), "test-fine.py"];
    let words = [&foreign[..], &job, &READY].concat();

    place.run(&words).expect(0);
    assert_eq!(right.hg(&place, &["log", "--rev", ".", "--template", "{node}"]), node);
    assert_eq!(right.hg(&place, &["status", "--modified", "--added", "--removed", "--deleted"]), "");
    let sum = "import glob; names = glob.glob('C:/hgdev/src/many/*.txt'); print(len(names), sum(int(open(name).read()) for name in names))";
    let told = place.exec(&right.id, &["python", "-c", sum]).expect(0).text();
    assert_eq!(told.trim(), format!("{FILES} {}", (0..FILES).sum::<usize>()));
    assert!(!place.steps().contains("no changes found"), "{}", place.steps());
    place.run(&words).expect(0);
    assert!(place.steps().contains("no changes found"), "{}", place.steps());

    // Another machine answers from the beginning, and one that comes between the first connection and the push.
    let refused = |done: Done| {
        done.expect(3).tells(&["host key mismatch", "Nothing was sent", "ssh-keygen -R", "Nothing is left behind"])
    };
    door.lead_to(&wrong.socket());
    refused(place.run(&words));
    wrong.assert_untouched(&place);
    door.lead_to(&right.socket());
    let running = place.start(&words);
    running.wait_for("Pushing");
    door.lead_to(&wrong.socket());
    refused(running.end());
    wrong.assert_untouched(&place);
    for machine in [right, wrong] {
        place.run(&["machine", "down", &machine.id]).expect(0);
    }
}
