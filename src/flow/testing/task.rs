//! The records of tests in a run's folder: one that it takes to follow them, and one of their outcome.

use std::time::Duration;

use model::artifact::CollectedArtifacts;
use model::base::clock;
use model::fault::Fault;
use model::mute::Mute;
use model::run::RunFolder;
use model::runner::RunnerRecord;
use serde::{Deserialize, Serialize};

use crate::testing::{BegunTests, RunResult};
use crate::transfer::artifacts::Fetch;

/// Everything that a later driver needs to know of tests that were begun on a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestTask {
    /// The runner of the tests; none in files of builds that knew only one runner.
    #[serde(default)]
    pub runner: Option<RunnerRecord>,
    /// The image that the machine was booted from, in words.
    pub image: String,
    /// How long making images took.
    #[serde(with = "clock::seconds")]
    pub baking: Duration,
    /// How long it took from then until the machine was up.
    #[serde(with = "clock::seconds")]
    pub booting: Duration,
    /// The tests.
    pub begun: BegunTests,
    /// The files to fetch after them.
    #[serde(default)]
    pub fetch: Fetch,
    /// Whether a run in which every test was skipped is green.
    #[serde(default)]
    pub allow_all_skipped: bool,
    /// How long a machine is kept on which a test failed; none for not at all.
    #[serde(default, with = "clock::optional_seconds")]
    pub keep_failed: Option<Duration>,
    /// The mutes that held when the run began: every driver judges by the same.
    #[serde(default)]
    pub mutes: Vec<Mute>,
}

impl TestTask {
    /// Writes it into the folder of its run.
    pub fn keep(&self, folder: &dyn RunFolder) -> Result<(), Fault> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Fault::infrastructure("cannot write JSON").because(error))?;
        folder.keep_task(&self.begun.task.machine, &text)
    }

    /// Reads the record of a run; none if its tests were never begun. A run whose tests went to several machines is one
    /// of a newer build.
    pub fn read(folder: &dyn RunFolder) -> Result<Option<Self>, Fault> {
        let tasks = folder.tasks()?;
        let [task] = tasks.as_slice() else {
            return match tasks.len() {
                0 => Ok(None),
                many => Err(Fault::outside(format!("the run's tests are on {many} machines"))
                    .hint("Follow it with the build of this tool that began it.")),
            };
        };
        let read = serde_json::from_slice(&task.text);
        read.map(Some).map_err(|error| Fault::outside(format!("`{}` is damaged", task.path.display())).because(error))
    }
}

/// Tests that were followed to their end, and the files that were fetched. If a driver dies while it releases the
/// machine, the next one learns their outcome from this record.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tested {
    /// Their outcome.
    pub ran: RunResult,
    /// The files that were fetched; none if none were asked for.
    pub artifacts: Option<CollectedArtifacts>,
}

impl Tested {
    /// Tests with this outcome that were never followed: there was nothing to test.
    pub fn unbuilt(ran: RunResult) -> Self {
        Self { ran, artifacts: None }
    }

    /// Writes it into the folder of its run.
    pub(super) fn keep(&self, folder: &dyn RunFolder) -> Result<(), Fault> {
        let text = serde_json::to_vec(self).map_err(|e| Fault::infrastructure("cannot write JSON").because(e))?;
        folder.store_outcome(&text)
    }

    /// Reads what an earlier driver knew before it released the machine; a file that cannot be read is as good as none.
    pub fn read(folder: &dyn RunFolder) -> Option<Self> {
        serde_json::from_slice(&folder.outcome().ok()??).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use model::base::id::MachineId;
    use model::machine::Machine;
    use model::outcome::TestOutcome;
    use model::run::KeptTask;

    /// A folder that holds these.
    #[derive(Default)]
    struct Folder {
        tasks: Vec<&'static str>,
        tested: Option<&'static str>,
    }

    impl RunFolder for Folder {
        fn path(&self) -> &Path {
            Path::new("/run")
        }

        fn write_target(&self, _: &Machine) -> Result<PathBuf, Fault> {
            Ok("/run/machine.json".into())
        }

        fn keep_task(&self, _: &MachineId, _: &[u8]) -> Result<(), Fault> {
            Ok(())
        }

        fn tasks(&self) -> Result<Vec<KeptTask>, Fault> {
            let kept = |text: &&str| KeptTask { path: "/run/task.json".into(), text: (*text).into() };
            Ok(self.tasks.iter().map(kept).collect())
        }

        fn store_outcome(&self, _: &[u8]) -> Result<(), Fault> {
            Ok(())
        }

        fn append_queue(&self, _: &[u8]) -> Result<(), Fault> {
            Ok(())
        }

        fn queue(&self) -> Result<Option<Vec<u8>>, Fault> {
            Ok(None)
        }

        fn machine_output(&self, _: &MachineId) -> Result<Box<dyn model::task::TaskOutput>, Fault> {
            Err(Fault::outside("this folder has one machine"))
        }

        fn outcome(&self) -> Result<Option<Vec<u8>>, Fault> {
            Ok(self.tested.map(Into::into))
        }

        fn last_output(&self, _: u64) -> Result<Vec<u8>, Fault> {
            Ok(Vec::new())
        }
    }

    /// A `task.json` of builds that knew only one runner.
    const OLD_TASK: &str = r#"{
  "image": "linux-dev-debian12 0123456789ab", "baking": 0.25, "booting": 1.5,
  "begun": {"machine": "hg-4x2k9q0d7m", "task": "0123456789abcdef", "folder": "/tmp/hg-automation-20261120-105301-abcdef",
    "expected": ["test-a.t", "test-b.t"], "source": "the image's own source",
    "subject": {"program": "hg", "version": "6.3.2", "revision": null, "working_copy": false, "distro": "debian12",
      "python": "3.11.2", "filesystem": "default", "flags": []},
    "began_at": "2026-11-20T10:53:01Z", "limit": 43200.0, "built": "image", "setup": 2.125, "push": 0.0, "build": 0.0,
    "log_base": {"stdout": 0, "stderr": 0}},
  "fetch": {"wanted": {"patterns": []}, "into": null}, "allow_all_skipped": false
}"#;

    /// A `tested.json` of the same builds.
    const OLD_TESTED: &str = r#"{"ran": {"tests": [
    {"name": "test-a.t", "outcome": "passed", "seconds": 1.234567, "reason": null, "detail": null},
    {"name": "test-b.t", "outcome": "lost", "seconds": null, "reason": "gone", "detail": null}],
  "runner": {"kind": "code", "value": 0}, "said": null, "source": "the image's own source",
  "subject": {"program": "hg", "version": null, "revision": null, "working_copy": false, "distro": null, "python": null,
    "filesystem": null, "flags": []},
  "caveats": [], "gap": null, "built": "image", "setup": 2.125, "push": 0.0, "build": 0.0, "testing": 7.5},
  "artifacts": null}"#;

    #[test]
    fn what_older_builds_wrote_is_still_read() {
        let folder = Folder { tasks: vec![OLD_TASK], tested: Some(OLD_TESTED) };
        let task = TestTask::read(&folder).unwrap().unwrap();
        assert_eq!((&task.runner, task.begun.task.limit), (&None, Duration::from_secs(43_200)));
        assert_eq!((task.booting, task.begun.before.setup), (Duration::from_millis(1500), Duration::from_millis(2125)));
        assert_eq!(task.begun.expected[1].as_str(), "test-b.t");
        let again: TestTask = serde_json::from_slice(&serde_json::to_vec(&task).unwrap()).unwrap();
        assert_eq!(again, task);
        let ran = Tested::read(&folder).unwrap().ran;
        assert_eq!((ran.tests[1].outcome, &ran.tests[1].attempt), (TestOutcome::Lost, &None));
        assert_eq!(
            (ran.testing, ran.tests[0].took),
            (Duration::from_millis(7500), Some(Duration::from_nanos(1_234_567_000)))
        );
    }

    #[test]
    fn a_run_without_a_task_that_can_be_followed_says_so() {
        assert_eq!(TestTask::read(&Folder::default()).unwrap(), None);
        let several = TestTask::read(&Folder { tasks: vec![OLD_TASK; 2], ..Folder::default() }).unwrap_err();
        assert_eq!(several.message, "the run's tests are on 2 machines");
        let damaged = TestTask::read(&Folder { tasks: vec![&OLD_TASK[..90]], ..Folder::default() }).unwrap_err();
        assert_eq!(damaged.message, "`/run/task.json` is damaged");
        assert!(Tested::read(&Folder { tested: Some("{"), ..Folder::default() }).is_none());
    }
}
