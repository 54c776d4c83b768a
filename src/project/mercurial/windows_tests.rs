//! Mercurial's test runner on a Windows machine.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use model::base::id::TestName;
use model::build::BuildOrigin;
use model::event::Teller;
use model::exit::Exit;
use model::fault::Fault;
use model::machine::Machine;
use model::output::Output;
use model::preparation::{Job, Preparation, SshProgram, Tenancy};
use model::runner::{Layout, Part, ReportReader, Runner, TestListing};
use model::script::ScriptFile;
use model::subject::TestSubject;
use model::task::{Command, StepCommand};
use model::work::Work;
use serde::{Deserialize, Serialize};

use crate::facts::{self, MachineFacts};
use crate::mercurial::PROGRAM;
use crate::mercurial::checkout::Checkout;
use crate::mercurial::windows_python::WindowsPython;
use crate::mercurial::windows_work::{self, WindowsWork, checkout_work, script};
use crate::mercurial::{flags, listing, report};
use crate::reports::events::EventsReader;

const FILES: [ScriptFile; 2] = [
    ScriptFile::built_in("run_tests.py", include_str!("../../../remote/mercurial/windows/run_tests.py")),
    report::EVENTS,
];

/// The runner's name in the folders of runs.
pub const WINDOWS_NAME: &str = "mercurial-windows";

/// The exit code of the program that lists the tests, where the source cannot be checked out.
const NOT_CHECKED_OUT: Exit = Exit::Code(65);

/// The folder for what the runner reports.
const RESULTS: &str = "C:/hgdev/results";

/// The longest run if no limit is given, as on Linux.
const RUN_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// The tests to run, and how.
#[derive(Debug, Clone)]
pub struct WindowsTests {
    /// Test names, as given.
    pub tests: Vec<String>,
    /// Flags for the runner, as given.
    pub flags: Vec<String>,
    /// The Python that runs them.
    pub python: WindowsPython,
    /// The source under test.
    pub work: WindowsWork,
}

/// The settings of the tests that are kept with a run, so that another process can follow them.
#[derive(Debug, Serialize, Deserialize)]
struct KeptSettings {
    tests: Vec<String>,
    flags: Vec<String>,
    python: WindowsPython,
}

impl WindowsTests {
    /// The runner that [`Runner::settings`] describes; its source is on the machine already.
    pub fn from_settings(settings: &serde_json::Value, ssh: SshProgram) -> Result<Self, Fault> {
        let KeptSettings { tests, flags, python } = KeptSettings::deserialize(settings)
            .map_err(|error| Fault::outside("cannot read the settings that were kept of the tests").because(error))?;
        Ok(Self { tests, flags, python, work: WindowsWork { checkout: None, ssh, patience: crate::PATIENCE } })
    }

    fn runner_command(&self, folder: &str, options: &[String], flags: &[String], tests: &[&str]) -> Command {
        script(folder, "run_tests.py")
            .args(options.iter().cloned())
            .arg(self.python.program())
            .arg("--")
            .args(flags.iter().cloned())
            .args(tests.iter().copied())
    }

    /// The source, where the step that lists the tests checks it out as well: each step starts Python three times, which takes
    /// longer than what either has to do. Uncommitted changes come between the two.
    fn checked_out_by_list(&self) -> Option<&Checkout> {
        self.work.checkout.as_ref().filter(|checkout| !checkout.has_changes())
    }

    /// The tests as the user named them.
    fn named(&self) -> Vec<&str> {
        self.tests.iter().map(String::as_str).collect()
    }

    fn subject(&self, told: &str) -> TestSubject {
        let facts = MachineFacts::read(told);
        let version = self.work.checkout.as_ref().and_then(|checkout| checkout.version.clone());
        let revision = self.work.checkout.as_ref().map(|checkout| checkout.node.clone());
        TestSubject {
            program: PROGRAM.to_owned(),
            version: version.as_deref().and_then(facts::word),
            revision: revision.as_deref().and_then(facts::word),
            working_copy: self.work.checkout.as_ref().is_some_and(Checkout::has_changes),
            distro: facts.distro,
            python: facts.python,
            filesystem: None,
            flags: self.flags.clone(),
        }
    }
}

#[async_trait]
impl Preparation for WindowsTests {
    fn files(&self) -> Vec<ScriptFile> {
        windows_work::FILES.into_iter().chain(FILES).collect()
    }

    fn set_up(&self, folder: &str, _: &Machine) -> Vec<Job> {
        let steps = if self.checked_out_by_list().is_some() { Vec::new() } else { self.work.check_out(folder, true) };
        let steps = steps.into_iter().map(|step| Job::Step(Box::new(step)));
        std::iter::once(self.work.begin(folder)).chain(steps).chain(self.work.new_files()).collect()
    }

    async fn send(&self, target: &Path, teller: &Teller) -> Result<(), Fault> {
        self.work.send(target, false, teller).await
    }

    /// Nothing: each of the programs says by itself what is wrong.
    fn explain(&self, _: &StepCommand, _: &Output) -> Option<Fault> {
        None
    }

    fn brings(&self) -> Option<String> {
        self.work.checkout.as_ref().map(Checkout::words)
    }

    fn place(&self) -> Option<String> {
        None
    }

    fn tenancy(&self) -> Option<Box<dyn Tenancy>> {
        Some(Box::new(self.work.turn()))
    }
}

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
        Layout { root: windows_work::FOLDER.into(), baked: "C:/hgdev/baked.json".into() }
    }

    fn list(&self, folder: &str, _: Option<&[u8]>) -> StepCommand {
        let mut options = vec!["--list".to_owned(), self.tests.len().to_string()];
        let (mut work, mut limit) = (Work::ListingTests, windows_work::SHORT);
        if let Some(checkout) = self.checked_out_by_list() {
            options.extend(["--take".to_owned(), checkout.node.clone()]);
            (work, limit) = checkout_work(checkout);
        }
        let command = self.runner_command(folder, &options, &self.flags, &self.named());
        StepCommand { work, command, limit }
    }

    fn read_list(&self, _: Option<&[u8]>, done: &Output) -> Result<TestListing, Fault> {
        if done.exit == NOT_CHECKED_OUT {
            return Err(Fault::outside("cannot check the source out on the machine").because(done.stderr_text()));
        }
        Ok(TestListing {
            tests: listing::judge(&self.tests, &self.flags, done)?,
            source: self.work.source(),
            subject: self.subject(&done.stderr_text()),
            built: if flags::builds(&self.flags) { BuildOrigin::Runner } else { BuildOrigin::Given },
        })
    }

    fn run(&self, folder: &str, _: Option<&[u8]>, part: Option<Part<'_>>) -> StepCommand {
        let (flags, tests) = match part {
            None => (self.flags.clone(), self.named()),
            Some(part) => {
                (flags::flags_for_part(&self.flags, part.jobs), part.tests.iter().map(TestName::as_str).collect())
            }
        };
        let number = part.map(|part| ["--part".to_owned(), part.number.to_string()]);
        let options = ["--run".to_owned(), tests.len().to_string()];
        let options: Vec<String> = options.into_iter().chain(number.into_iter().flatten()).collect();
        let command = self.runner_command(folder, &options, &flags, &tests);
        StepCommand { work: Work::RunningTests, command, limit: RUN_LIMIT }
    }

    fn jobs(&self) -> Option<u32> {
        flags::jobs(&self.flags)
    }

    fn report_file(&self, part: Option<u32>) -> String {
        format!("{}/{}", report::results(RESULTS, part), report::FILE)
    }

    fn read_report(&self, part: Option<u32>) -> Box<dyn ReportReader> {
        Box::new(EventsReader::in_folder(report::results(RESULTS, part)))
    }
}
