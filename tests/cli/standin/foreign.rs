//! A stand-in as a machine of somebody else's.

use std::path::PathBuf;

use serde_json::Value;
use support::door::Door;

use super::Standins;

/// A stand-in, as one sees it that is somebody else's.
pub(in crate::cli) struct Foreign {
    pub(in crate::cli) id: String,
    machine: Value,
}

impl Foreign {
    pub(in crate::cli) fn up(place: &Standins) -> Self {
        let id = place.up(&["--image", "windows-standin"]);
        let machines = place.json(&["machine", "list", "--json"]);
        let machine = machines.as_array().unwrap().iter().find(|machine| machine["id"] == id.as_str());
        Self { machine: machine.unwrap().clone(), id }
    }

    pub(in crate::cli) fn socket(&self) -> PathBuf {
        self.machine["address"]["socket"].as_str().unwrap().into()
    }

    /// Makes its host key the one that is known at `door`.
    pub(in crate::cli) fn know(&self, place: &Standins, door: &Door) {
        let public = self.machine["host_key"]["public"].as_str().unwrap();
        let words: Vec<&str> = public.split(' ').take(2).collect();
        std::fs::create_dir_all(place.home.join(".ssh")).unwrap();
        let line = format!("[127.0.0.1]:{} {}\n", door.port, words.join(" "));
        std::fs::write(place.home.join(".ssh/known_hosts"), line).unwrap();
    }

    /// The words by which a command finds it behind `door`.
    pub(in crate::cli) fn words(&self, door: &Door) -> Vec<String> {
        let (host, identity) = (format!("hg@127.0.0.1:{}", door.port), self.machine["identity"].as_str().unwrap());
        ["--host", &host, "--platform", "windows", "--identity", identity].map(str::to_owned).to_vec()
    }

    /// What of ours lies on it outside of the source, as Python writes a list.
    pub(in crate::cli) fn ours(&self, place: &Standins) -> String {
        let look = "import os; print(sorted(name for name in os.listdir('C:/') + os.listdir('C:/hgdev') \
                    if 'automation' in name or name in ('results', 'tmp')))";
        place.exec(&self.id, &["python", "-c", look]).expect(0).text().trim().to_owned()
    }

    pub(in crate::cli) fn hg(&self, place: &Standins, words: &[&str]) -> String {
        place.exec(&self.id, &[&["hg", "--cwd", "C:/hgdev/src"][..], words].concat()).expect(0).text()
    }

    /// Fails where anything was ever sent to it.
    pub(in crate::cli) fn assert_untouched(&self, place: &Standins) {
        assert_eq!(self.hg(place, &["log", "--rev", "all()", "--template", "{node} "]), "");
        let look =
            "import os; print([name for name in os.listdir('C:/') + os.listdir('C:/hgdev') if 'automation' in name])";
        assert_eq!(place.exec(&self.id, &["python", "-c", look]).expect(0).text().trim(), "[]");
    }
}
