//! Mercurial's test runner on a Windows machine.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use guest::{Guest, windows};
use model::base::id::{RunId, TestName};
use model::build::BuildOrigin;
use model::event::Teller;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::machine::{Machine, Platform};
use model::output::Output;
use model::runner::{Job, Layout, ReportReader, Runner, SshProgram, Tenancy, TestListing};
use model::script::ScriptFile;
use model::subject::TestSubject;
use model::task::{Command, StepCommand};
use model::work::Work;
use serde::{Deserialize, Serialize};

use crate::mercurial::checkout::Checkout;
use crate::mercurial::facts::{self, MachineFacts};
use crate::mercurial::push::{Repository, push};
use crate::mercurial::windows_python::WindowsPython;
use crate::mercurial::{flags, listing, report, runner};

const FILES: [ScriptFile; 8] = [
    ScriptFile::built_in("places.py", include_str!("../../../remote/mercurial/windows/places.py")),
    ScriptFile::built_in("prepare_work.py", include_str!("../../../remote/mercurial/windows/prepare_work.py")),
    ScriptFile::built_in("sync_finish.py", include_str!("../../../remote/mercurial/windows/sync_finish.py")),
    ScriptFile::built_in(
        "apply_working_copy.py",
        include_str!("../../../remote/mercurial/windows/apply_working_copy.py"),
    ),
    ScriptFile::built_in("run_tests.py", include_str!("../../../remote/mercurial/windows/run_tests.py")),
    report::EVENTS,
    windows::HOLD,
    ScriptFile::built_in(CLEANUP, include_str!("../../../remote/mercurial/windows/cleanup.py")),
];

/// The program that removes what a run made outside of its folder.
const CLEANUP: &str = "cleanup.py";

/// The program that shows the machine that the driver is alive.
const SHOW_SIGN: &str = include_str!("../../../remote/mercurial/windows/show_sign.py");

/// The runner's name in the folders of runs.
pub const WINDOWS_NAME: &str = "mercurial-windows";

/// The runner's folder on every machine, by whose lock a run holds a machine too.
const WORK: &str = "C:/hgdev";

/// The repository that receives the source; its `hg` is found by the path of the login.
const REPOSITORY: Repository = Repository { program: "hg", url: "ssh://hg@machine/C:/hgdev/src" };

/// The longest run if no limit is given, as on Linux.
const RUN_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// Preparing empties folders and checks out a changeset: minutes on a busy machine.
const PREPARE_LIMIT: Duration = Duration::from_secs(900);

/// The limit of short commands; a virtual machine that has just booted reads every file of Python for the first time.
const SHORT: Duration = Duration::from_secs(300);

/// The tests to run, and how.
#[derive(Debug, Clone)]
pub struct WindowsTests {
    /// Test names, as given.
    pub tests: Vec<String>,
    /// Flags for the runner, as given.
    pub flags: Vec<String>,
    /// The Python that runs them.
    pub python: WindowsPython,
    /// The user's checkout; none tests the source that is on the machine.
    pub checkout: Option<Checkout>,
    /// How `hg` is to reach the machine.
    pub ssh: SshProgram,
    /// How long to wait for another run on somebody else's machine.
    pub patience: Duration,
}

/// The settings of the tests that are kept with a run, so that another process can follow them.
#[derive(Debug, Serialize, Deserialize)]
struct KeptSettings {
    tests: Vec<String>,
    flags: Vec<String>,
    python: WindowsPython,
}

/// The system of the machine: these tests are for Windows.
fn guest() -> &'static dyn Guest {
    guest::of(Platform::Windows)
}

fn script(folder: &str, name: &str) -> Command {
    guest().script(&format!("{folder}/{name}"))
}

impl WindowsTests {
    /// The system of the machines that it runs on.
    pub const PLATFORM: Platform = Platform::Windows;

    /// The runner that [`Runner::settings`] describes; its source is on the machine already.
    pub fn from_settings(settings: &serde_json::Value, ssh: SshProgram) -> Result<Self, Fault> {
        let KeptSettings { tests, flags, python } = KeptSettings::deserialize(settings)
            .map_err(|error| Fault::outside("cannot read the settings that were kept of the tests").because(error))?;
        Ok(Self { tests, flags, python, checkout: None, ssh, patience: runner::PATIENCE })
    }

    fn runner_command(&self, folder: &str, options: &[String], flags: &[String], tests: &[&str]) -> Command {
        script(folder, "run_tests.py")
            .args(options.iter().cloned())
            .arg(self.python.program())
            .arg("--")
            .args(flags.iter().cloned())
            .args(tests.iter().copied())
    }

    /// The tests as the user named them.
    fn named(&self) -> Vec<&str> {
        self.tests.iter().map(String::as_str).collect()
    }

    fn source(&self) -> String {
        match &self.checkout {
            Some(checkout) => {
                let changes = if checkout.patch.is_some() { " with uncommitted changes" } else { "" };
                format!("revision {} of {}{changes}", checkout.node, checkout.root.display())
            }
            None => "the machine's own source".to_owned(),
        }
    }

    fn subject(&self, told: &str) -> TestSubject {
        let facts = MachineFacts::read(told);
        let version = self.checkout.as_ref().and_then(|checkout| checkout.version.clone());
        let revision = self.checkout.as_ref().map(|checkout| checkout.node.clone());
        TestSubject {
            program: "hg".to_owned(),
            version: version.as_deref().and_then(facts::word),
            revision: revision.as_deref().and_then(facts::word),
            working_copy: self.checkout.as_ref().is_some_and(|checkout| checkout.patch.is_some()),
            distro: facts.distro,
            python: facts.python,
            filesystem: None,
            flags: self.flags.clone(),
        }
    }
}

#[async_trait]
impl Runner for WindowsTests {
    fn name(&self) -> &str {
        WINDOWS_NAME
    }

    fn settings(&self) -> serde_json::Value {
        let Self { tests, flags, python, .. } = self.clone();
        // Texts and lists of them can always be written as JSON.
        serde_json::to_value(KeptSettings { tests, flags, python }).unwrap_or_default()
    }

    fn layout(&self) -> Layout {
        Layout {
            root: WORK.into(),
            baked: "C:/hgdev/baked.json".into(),
            report: "C:/hgdev/results/events.jsonl".into(),
        }
    }

    fn files(&self) -> Vec<ScriptFile> {
        FILES.to_vec()
    }

    fn set_up(&self, folder: &str, _: &Machine) -> Vec<Job> {
        let step = |work, command| Job::Step(Box::new(StepCommand { work, command, limit: PREPARE_LIMIT }));
        let preparing = Work::Preparing { folder: WORK.to_owned(), filesystem: Filesystem::Default };
        let mut jobs = vec![step(preparing, script(folder, "prepare_work.py"))];
        if let Some(checkout) = &self.checkout {
            let finish = script(folder, "sync_finish.py").arg(&checkout.node);
            jobs.push(Job::Send);
            jobs.push(step(Work::CheckingOut { revision: checkout.short().to_owned() }, finish));
            jobs.extend(checkout.patch.as_ref().map(|patch| {
                step(Work::ApplyingChanges, script(folder, "apply_working_copy.py").stdin(patch.clone()))
            }));
        }
        jobs
    }

    async fn send(&self, target: &Path, teller: &Teller) -> Result<(), Fault> {
        let Some(checkout) = &self.checkout else { return Ok(()) };
        push(checkout, &self.ssh, &REPOSITORY, target, teller).await
    }

    /// Nothing: each of the programs says by itself what is wrong.
    fn explain(&self, _: &StepCommand, _: &Output) -> Option<Fault> {
        None
    }

    fn list(&self, folder: &str, _: Option<&[u8]>) -> StepCommand {
        let options = ["--list".to_owned(), self.tests.len().to_string()];
        let command = self.runner_command(folder, &options, &self.flags, &self.named());
        StepCommand { work: Work::ListingTests, command, limit: SHORT }
    }

    fn read_list(&self, _: Option<&[u8]>, done: &Output) -> Result<TestListing, Fault> {
        Ok(TestListing {
            tests: listing::judge(&self.tests, &self.flags, done)?,
            source: self.source(),
            subject: self.subject(&done.stderr_text()),
            built: if flags::builds(&self.flags) { BuildOrigin::Runner } else { BuildOrigin::Given },
        })
    }

    fn run(&self, folder: &str, _: Option<&[u8]>, only: Option<&[TestName]>) -> StepCommand {
        let command = match only {
            None => self.runner_command(folder, &[], &self.flags, &self.named()),
            Some(only) => {
                let tests: Vec<&str> = only.iter().map(TestName::as_str).collect();
                self.runner_command(folder, &[], &flags::flags_for_part(&self.flags), &tests)
            }
        };
        StepCommand { work: Work::RunningTests, command, limit: RUN_LIMIT }
    }

    fn read_report(&self) -> Box<dyn ReportReader> {
        Box::new(report::EventsReader::in_folder("C:/hgdev/results"))
    }

    fn tenancy(&self) -> Option<&dyn Tenancy> {
        Some(self)
    }
}

impl Tenancy for WindowsTests {
    fn hold(&self, folder: &str, run: &RunId, owner: &str, silence: Duration) -> StepCommand {
        let command =
            script(folder, &windows::HOLD.name).args([WORK, run.as_str(), &silence.as_secs().to_string(), owner]);
        StepCommand { work: Work::Holding, command, limit: self.patience }
    }

    fn presence_command(&self, folder: &str) -> Command {
        guest().text(SHOW_SIGN).arg(folder)
    }

    fn aside_folder(&self, folder: &str) -> String {
        format!("{folder}/taken")
    }

    fn clean(&self, folder: &str) -> StepCommand {
        let command = guest().remove_run(folder, Some(CLEANUP));
        StepCommand { work: Work::RemovingFiles, command, limit: SHORT }
    }
}
