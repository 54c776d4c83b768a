//! How long tests took: what makes the longest come first in the next run. One file for each program, command and file system.
//!
//! A file that cannot be read costs the order and nothing else: it is told, and made anew by the next run. One of a newer build of the
//! tool is left as it is.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::TestName;
use model::fault::Fault;
use serde::{Deserialize, Serialize};

use crate::file::{self, Lock};

/// The form of the files that this build writes.
const FORM: u32 = 1;

/// The most tests in a file, and the most bytes of one: those that ran last are kept. Mercurial's suite has 1,100.
const MOST_TESTS: usize = 50_000;
const MOST_BYTES: u64 = 32 << 20;

/// The file by which one process at a time writes.
const LOCK: &str = "lock";

/// How long another process may write a file before this one goes without.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// How much the last run weighs against all before it.
const WEIGHT: f64 = 0.5;

/// Which tests a history is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryKey {
    /// The tested program.
    pub program: String,
    /// The command that runs them, which says on what system.
    pub command: String,
    /// The file system that they work on.
    pub filesystem: Option<String>,
}

impl HistoryKey {
    /// Whether a file in the folder of histories is ours.
    pub(super) fn is_name(name: &str) -> bool {
        name == LOCK || name.ends_with(".json")
    }

    /// The name of the file: letters, digits and hyphens alone.
    fn name(&self) -> String {
        let filesystem = self.filesystem.as_deref().unwrap_or("default");
        let plain = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect()
        };
        format!("{}-{}-{}", plain(&self.program), plain(&self.command), plain(filesystem))
    }
}

/// How long one test took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Known {
    #[serde(rename = "seconds", with = "clock::seconds")]
    took: Duration,
    runs: u32,
    at: Timestamp,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    form: u32,
    tests: BTreeMap<TestName, Known>,
}

/// The folder of histories.
#[derive(Debug, Clone)]
pub struct History {
    folder: PathBuf,
}

impl History {
    /// The histories in a folder, which need not exist.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, key: &HistoryKey) -> PathBuf {
        self.folder.join(format!("{}.json", key.name()))
    }

    /// How long tests took. Nothing is known where there is no history; one that cannot be read is a fault.
    pub fn read(&self, key: &HistoryKey) -> Result<BTreeMap<TestName, Duration>, Fault> {
        Ok(self.content(key)?.tests.into_iter().map(|(test, known)| (test, known.took)).collect())
    }

    fn content(&self, key: &HistoryKey) -> Result<Content, Fault> {
        let path = self.path(key);
        let useless = |why: String| {
            Fault::outside(format!("cannot read how long tests took before from `{}`", path.display())).because(why)
        };
        let length = match std::fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Content::default()),
            Err(error) => return Err(useless(error.to_string())),
        };
        if length > MOST_BYTES {
            return Err(useless(format!("it has {length} bytes")));
        }
        let bytes = std::fs::read(&path).map_err(|error| useless(error.to_string()))?;
        match form_of(&bytes) {
            Some(form) if form > FORM => Err(useless(format!("a newer build of the tool wrote it (form {form})"))),
            _ => serde_json::from_slice(&bytes).map_err(|error| useless(error.to_string())),
        }
    }

    /// Adds what tests took in a run that ended at `now`.
    pub fn learn<'a>(
        &self,
        key: &HistoryKey,
        tests: impl Iterator<Item = (&'a TestName, Duration)>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let path = self.path(key);
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&self.folder);
        made.map_err(|error| file::fault("make", &self.folder, error))?;
        let _lock = Lock::acquire(&self.folder.join(LOCK), LOCK_LIMIT)?;
        if self.is_newer(key) {
            return Ok(());
        }
        let mut content = match self.content(key) {
            Ok(content) => content,
            Err(_) => set_aside(&path)?,
        };
        content.form = FORM;
        for (test, took) in tests {
            let known = content.tests.entry(test.clone()).or_insert(Known { took, runs: 0, at: now });
            known.took = known.took.mul_f64(1.0 - WEIGHT) + took.mul_f64(WEIGHT);
            (known.runs, known.at) = (known.runs.saturating_add(1), now);
        }
        if content.tests.len() > MOST_TESTS {
            let mut ages: Vec<Timestamp> = content.tests.values().map(|known| known.at).collect();
            ages.sort_unstable_by(|a, b| b.cmp(a));
            let oldest = ages[MOST_TESTS];
            content.tests.retain(|_, known| known.at > oldest);
        }
        let text = serde_json::to_vec(&content)
            .map_err(|error| Fault::outside(format!("cannot write `{}`", path.display())).because(error))?;
        file::write_atomic(&path, &text)
    }

    /// Whether a newer build of the tool wrote the file.
    fn is_newer(&self, key: &HistoryKey) -> bool {
        let bytes = std::fs::read(self.path(key)).unwrap_or_default();
        form_of(&bytes).is_some_and(|form| form > FORM)
    }
}

/// Keeps a file that cannot be read as it is, beside it, and begins anew: a person may still make something of it.
fn set_aside(path: &Path) -> Result<Content, Fault> {
    let aside = path.with_extension("json.damaged");
    std::fs::rename(path, &aside).map_err(|error| file::fault("put aside", path, error))?;
    Ok(Content::default())
}

/// The form of a file, whatever else it holds; none where it does not say.
fn form_of(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Form {
        form: u32,
    }
    serde_json::from_slice::<Form>(bytes).ok().map(|content| content.form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HistoryKey {
        HistoryKey { program: "hg/../x".into(), command: "run-tests-linux".into(), filesystem: None }
    }

    fn seconds(history: &History, test: &str) -> Option<f64> {
        history.read(&key()).unwrap().get(&TestName::from(test)).map(Duration::as_secs_f64)
    }

    fn learn(history: &History, test: &str, seconds: u64, at: i64) -> Result<(), Fault> {
        let at = Timestamp::from_second(at).unwrap();
        history.learn(&key(), [(&TestName::from(test), Duration::from_secs(seconds))].into_iter(), at)
    }

    #[test]
    fn what_tests_took_is_known_the_next_time_and_the_last_run_weighs_most() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::at(folder.path().join("history"));
        assert_eq!(seconds(&history, "a"), None);
        for took in [10, 2] {
            learn(&history, "a", took, 100).unwrap();
        }
        learn(&history, "b", 1, 100).unwrap();
        assert_eq!((seconds(&history, "a"), seconds(&history, "b")), (Some(6.0), Some(1.0)));
        assert!(folder.path().join("history/hg----x-run-tests-linux-default.json").is_file(), "no part of a path");
    }

    #[test]
    fn a_damaged_history_is_told_and_made_anew_and_one_from_the_future_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::at(folder.path().to_owned());
        let path = history.path(&key());
        for damaged in ["", "{", r#"{"form":1,"tests":{"a":{"seconds":-1,"runs":1,"at":"x"}}}"#] {
            std::fs::write(&path, damaged).unwrap();
            assert!(history.read(&key()).unwrap_err().line().contains("how long tests took before"));
            learn(&history, "a", 3, 100).unwrap();
            assert_eq!(seconds(&history, "a"), Some(3.0));
            assert_eq!(std::fs::read_to_string(path.with_extension("json.damaged")).unwrap(), damaged);
        }
        let newer = r#"{"form":2,"tests":[]}"#;
        std::fs::write(&path, newer).unwrap();
        assert!(history.read(&key()).unwrap_err().line().contains("newer build"));
        learn(&history, "a", 3, 100).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
    }

    #[test]
    fn runs_that_end_together_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::at(folder.path().to_owned());
        std::thread::scope(|scope| {
            for number in 0..8 {
                let history = &history;
                scope.spawn(move || learn(history, &format!("test-{number}"), 1, 100).unwrap());
            }
        });
        assert_eq!(history.read(&key()).unwrap().len(), 8);
    }
}
