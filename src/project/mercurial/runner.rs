//! Mercurial's test runner on a Linux machine.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use guest::{self, Guest, linux};
use model::base::id::TestName;
use model::build::{Build, BuildOrigin};
use model::event::Teller;
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::filesystem::Filesystem;
use model::image::Fingerprint;
use model::machine::{Machine, Platform};
use model::output::Output;
use model::preparation::{Job, Preparation, SshProgram, Tenancy};
use model::runner::{Layout, Part, ReportReader, Runner, TestListing};
use model::script::ScriptFile;
use model::subject::TestSubject;
use model::task::{Command, StepCommand};
use model::work::Work;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::facts::{self, MachineFacts};
use crate::mercurial::PROGRAM;
use crate::mercurial::checkout::Checkout;
use crate::mercurial::push::{Repository, push};
use crate::mercurial::{flags, listing, report};
use crate::reports::events::EventsReader;
use crate::turn::{PATIENCE, Turn};

const FILES: [ScriptFile; 8] = [
    ScriptFile::built_in("prepare-work.sh", include_str!("../../../remote/mercurial/prepare-work.sh")),
    ScriptFile::built_in(BUILD, BUILD_TEXT),
    ScriptFile::built_in("run-tests.sh", include_str!("../../../remote/mercurial/run-tests.sh")),
    report::EVENTS,
    ScriptFile::built_in("sync-finish.sh", include_str!("../../../remote/mercurial/sync-finish.sh")),
    ScriptFile::built_in("apply-working-copy.sh", include_str!("../../../remote/mercurial/apply-working-copy.sh")),
    linux::HOLD,
    ScriptFile::built_in(CLEANUP, include_str!("../../../remote/mercurial/cleanup.sh")),
];

/// The script that builds the source in place.
const BUILD: &str = "build-source.sh";
const BUILD_TEXT: &str = include_str!("../../../remote/mercurial/build-source.sh");

/// The script that removes what a run made outside of its folder.
const CLEANUP: &str = "cleanup.sh";

/// The exit code of `prepare-work.sh` for "this machine cannot make that file system".
const REFUSED: Exit = Exit::Code(3);

/// The runner's name in the folders of runs.
pub const NAME: &str = "mercurial";

/// The runner's folder on every machine.
const WORK: &str = "/hgwork";

/// The folder in there for the source.
const SOURCE: &str = "/hgwork/src";

/// The folder for what the runner reports.
const RESULTS: &str = "/hgwork/results";

/// The folder by whose lock a run holds a machine. Every machine that keeps the contract has it, and scripts ask for its lock
/// (`cleanup.sh`, `check-mercurial.sh`).
const HELD: &str = "/hgdev";

/// The longest run if no limit is given. The whole suite takes about 20 minutes on 36 cores and 8 hours on 2.
const RUN_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// The repository that receives the source.
const REPOSITORY: Repository =
    Repository { program: "/hgdev/venv-bootstrap/bin/hg", url: "ssh://hg@machine//hgwork/src" };

/// Preparing copies a few hundred MiB at the most.
const PREPARE_LIMIT: Duration = Duration::from_secs(600);

/// The longest build. It takes a minute on two processors, and an emulated machine has a tenth of their speed.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// The limit of short commands.
const SHORT: Duration = Duration::from_secs(120);

/// The tests to run, and how.
#[derive(Debug, Clone)]
pub struct LinuxTests {
    /// Test names, as given.
    pub tests: Vec<String>,
    /// Flags for the runner, as given.
    pub flags: Vec<String>,
    /// The file system of the work folder.
    pub filesystem: Filesystem,
    /// The Python, `system3`, `pypy3` or `3.N`.
    pub python_version: String,
    /// The image of the machine; none for a machine that somebody else made.
    pub image: Option<Fingerprint>,
    /// The user's checkout; none tests the image's own source.
    pub checkout: Option<Checkout>,
    /// How `hg` is to reach the machine.
    pub ssh: SshProgram,
    /// How long to wait for another run on somebody else's machine.
    pub patience: Duration,
    /// Whether the machine stays ours: what an earlier run left there is used again, and stays.
    pub again: bool,
}

/// The settings of the tests that are kept with a run, so that another process can follow them.
#[derive(Debug, Serialize, Deserialize)]
struct KeptSettings {
    tests: Vec<String>,
    flags: Vec<String>,
    filesystem: Filesystem,
    python: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
}

/// The image's description of its own source.
#[derive(Debug, Deserialize)]
struct Baked {
    node: String,
    python: String,
    python_version: String,
    #[serde(default)]
    version: Option<String>,
}

fn parse_baked(bytes: Option<&[u8]>) -> Option<Baked> {
    serde_json::from_slice(bytes?).ok()
}

impl LinuxTests {
    /// The system of the machines that they run on.
    pub const PLATFORM: Platform = Platform::Linux;

    /// A runner for work that depends on no test: following tests that were begun, and removing what they left.
    pub fn for_following(ssh: SshProgram) -> Self {
        Self {
            tests: Vec::new(),
            flags: Vec::new(),
            filesystem: Filesystem::Default,
            python_version: "system3".to_owned(),
            image: None,
            checkout: None,
            ssh,
            patience: PATIENCE,
            again: false,
        }
    }

    /// The runner that [`Runner::settings`] describes; its source is on the machine already.
    pub fn from_settings(settings: &serde_json::Value, ssh: SshProgram) -> Result<Self, Fault> {
        let KeptSettings { tests, flags, filesystem, python, again } = KeptSettings::deserialize(settings)
            .map_err(|error| Fault::outside("cannot read the settings that were kept of the tests").because(error))?;
        Ok(Self { tests, flags, filesystem, python_version: python, again, ..Self::for_following(ssh) })
    }

    fn python(&self, baked_bytes: Option<&[u8]>) -> String {
        match parse_baked(baked_bytes) {
            Some(baked) if baked.python_version == self.python_version => baked.python,
            _ if self.python_version == "system3" => "/usr/bin/python3".to_owned(),
            _ => format!("/hgdev/pyenv/versions/{}/bin/python", self.python_version),
        }
    }

    fn build(&self, folder: &str, checkout: &Checkout) -> Build {
        let packed = format!("{folder}/build.tar.gz");
        let stepped = |verb: &str, work: Work| {
            let command =
                script(folder, BUILD).args([verb, &self.python(None), &self.python_version, &checkout.node, &packed]);
            StepCommand { work, command, limit: BUILD_LIMIT }
        };
        let what = checkout.short().to_owned();
        Build {
            key: self.image.as_ref().map(|image| self.build_key(image, checkout)),
            despite: (checkout.has_changes() && !checkout.rebuilds)
                .then(|| "no file that a build reads has uncommitted changes".to_owned()),
            make: stepped("make", Work::Building { what: what.clone() }),
            restore: stepped("restore", Work::RestoringBuild { what: what.clone() }),
            packed,
            what,
        }
    }

    /// The key of a build, from everything that shapes it: the script, the image, the Python, the source.
    fn build_key(&self, image: &Fingerprint, checkout: &Checkout) -> String {
        let patch = checkout.patch.as_deref().filter(|_| checkout.rebuilds).unwrap_or_default();
        let new_files = checkout.new_files.as_ref().filter(|_| checkout.rebuilds).map(|new| &new.built[..]);
        let mut hash = Sha256::new();
        let texts = [BUILD_TEXT, &image.0, &self.python_version, &checkout.node].map(str::as_bytes);
        for part in texts.into_iter().chain([patch]).chain(new_files) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let hash = HEXLOWER.encode(&hash.finalize()[..8]);
        format!("{}-{}-{}-{hash}", image.short(), self.python_version, checkout.short())
    }

    fn runner_command(
        &self,
        folder: &str,
        options: &[String],
        baked: Option<&[u8]>,
        flags: &[String],
        tests: &[&str],
    ) -> Command {
        script(folder, "run-tests.sh")
            .args(options.iter().cloned())
            .args(flags::builds_in_place(&self.flags).then_some("--built"))
            .arg(self.python(baked))
            .arg("--")
            .args(flags.iter().cloned())
            .args(tests.iter().copied())
    }

    /// The tests as the user named them.
    fn named(&self) -> Vec<&str> {
        self.tests.iter().map(String::as_str).collect()
    }

    /// The jobs that follow once the source is on the machine.
    fn jobs_after_sending(&self, folder: &str, checkout: &Checkout) -> Vec<Job> {
        let step = |work, command| Job::Step(Box::new(StepCommand { work, command, limit: PREPARE_LIMIT }));
        let finish = script(folder, "sync-finish.sh").args(self.again.then_some("--again")).arg(&checkout.node);
        let checking_out = step(Work::CheckingOut { revision: checkout.short().to_owned() }, finish);
        // Where that is enough, the changeset alone is built: such a build fits whatever else is changed.
        let first = flags::builds_in_place(&self.flags) && !checkout.rebuilds;
        // New files alone make a build stale as well: the script is told, with no patch.
        let applying = checkout.has_changes().then(|| {
            let command = script(folder, "apply-working-copy.sh").args(first.then_some("--built"));
            step(Work::ApplyingChanges, command.stdin(checkout.patch.clone().unwrap_or_default()))
        });
        let adding = checkout.new_files.as_ref().map(|new| new.send(SOURCE));
        let building = flags::builds_in_place(&self.flags).then(|| Job::Build(Box::new(self.build(folder, checkout))));
        let rest = if first { [building, applying, adding] } else { [applying, adding, building] };
        std::iter::once(checking_out).chain(rest.into_iter().flatten()).collect()
    }
}

/// The system of the machine: these tests are for Linux.
fn guest() -> &'static dyn Guest {
    guest::of(Platform::Linux)
}

fn script(folder: &str, name: &str) -> Command {
    guest().script(&format!("{folder}/{name}"))
}

/// Reads what a machine says of itself and of the tests.
impl LinuxTests {
    fn built(&self, baked_bytes: Option<&[u8]>) -> BuildOrigin {
        match parse_baked(baked_bytes) {
            _ if !flags::builds(&self.flags) => BuildOrigin::Given,
            Some(baked) if flags::builds_in_place(&self.flags) && baked.python == self.python(baked_bytes) => {
                BuildOrigin::Image
            }
            _ => BuildOrigin::Runner,
        }
    }

    fn source(&self, baked_bytes: Option<&[u8]>) -> String {
        match (&self.checkout, parse_baked(baked_bytes)) {
            (Some(checkout), _) => checkout.words(),
            (None, Some(Baked { node, version, .. })) => {
                let version = version.map(|v| format!(" {v}")).unwrap_or_default();
                format!("the image's own source{version} ({})", node.get(..12).unwrap_or(&node))
            }
            (None, None) => "the machine's own source".to_owned(),
        }
    }

    fn subject(&self, baked_bytes: Option<&[u8]>, told: &str) -> TestSubject {
        let facts = MachineFacts::read(told);
        let (version, revision) = match (&self.checkout, parse_baked(baked_bytes)) {
            (Some(checkout), _) => (checkout.version.clone(), Some(checkout.node.clone())),
            (None, Some(baked)) => (baked.version, Some(baked.node)),
            (None, None) => (None, None),
        };
        TestSubject {
            program: PROGRAM.to_owned(),
            version: version.as_deref().and_then(facts::word),
            revision: revision.as_deref().and_then(facts::word),
            working_copy: self.checkout.as_ref().is_some_and(Checkout::has_changes),
            distro: facts.distro,
            python: facts.python,
            filesystem: Some(self.filesystem.to_string()),
            flags: self.flags.clone(),
        }
    }

    fn refused(&self, exit: &Exit, stderr: &str) -> Fault {
        if *exit == REFUSED {
            return Fault::outside(format!("the machine refuses file system `{}`", self.filesystem))
                .because(stderr.trim().to_owned())
                .hint("`--filesystem default` and `--filesystem tmpfs` work everywhere.");
        }
        let kind = if matches!(exit, Exit::Lost(_)) { FaultKind::Infrastructure } else { FaultKind::Outside };
        Fault::new(kind, format!("cannot prepare /hgwork on the machine: {exit}"))
            .because(stderr.trim().to_owned())
            .hint("`automation machine check` says what a machine must have.")
    }
}

#[async_trait]
impl Preparation for LinuxTests {
    fn files(&self) -> Vec<ScriptFile> {
        FILES.to_vec()
    }

    fn set_up(&self, folder: &str, machine: &Machine) -> Vec<Job> {
        let command = script(folder, "prepare-work.sh")
            .args(self.again.then_some("--again"))
            .arg(self.filesystem.name())
            .args(machine.volume.clone());
        let work = Work::Preparing { folder: WORK.to_owned(), filesystem: self.filesystem };
        let mut jobs = vec![Job::Step(Box::new(StepCommand { work, command, limit: PREPARE_LIMIT }))];
        if let Some(checkout) = &self.checkout {
            jobs.push(Job::Send);
            jobs.extend(self.jobs_after_sending(folder, checkout));
        }
        jobs
    }

    async fn send(&self, target: &Path, teller: &Teller) -> Result<(), Fault> {
        let Some(checkout) = &self.checkout else { return Ok(()) };
        push(checkout, &self.ssh, (&REPOSITORY, false), target, teller).await
    }

    fn explain(&self, step: &StepCommand, done: &Output) -> Option<Fault> {
        matches!(step.work, Work::Preparing { .. }).then(|| self.refused(&done.exit, &done.stderr_text()))
    }

    fn brings(&self) -> Option<String> {
        self.checkout.as_ref().map(Checkout::words)
    }

    fn place(&self) -> Option<String> {
        // As `run-tests.sh` runs them.
        let variables = format!("-u HGRCPATH -u HGPLAIN -u HGENCODING TMPDIR={WORK}/tmp");
        Some(format!("cd {WORK}/src/tests && exec env {variables} \"PATH=$PATH:/hgdev/venv-bootstrap/bin\" bash"))
    }

    fn tenancy(&self) -> Option<Box<dyn Tenancy>> {
        Some(Box::new(Turn {
            guest: guest(),
            held: HELD,
            hold: linux::HOLD,
            sign: linux::SHOW_SIGN,
            cleanup: (!self.again).then_some(CLEANUP),
            patience: self.patience,
            tidying: SHORT,
        }))
    }
}

impl Runner for LinuxTests {
    fn name(&self) -> &str {
        NAME
    }

    fn settings(&self) -> serde_json::Value {
        let settings = KeptSettings {
            tests: self.tests.clone(),
            flags: self.flags.clone(),
            filesystem: self.filesystem,
            python: self.python_version.clone(),
            again: self.again,
        };
        // Texts and lists of them can always be written as JSON.
        serde_json::to_value(settings).unwrap_or_default()
    }

    fn layout(&self) -> Layout {
        Layout { root: WORK.into(), baked: "/hgwork/baked.json".into() }
    }

    fn list(&self, folder: &str, baked: Option<&[u8]>) -> StepCommand {
        let options = ["--list".to_owned(), self.tests.len().to_string()];
        let command = self.runner_command(folder, &options, baked, &self.flags, &self.named());
        StepCommand { work: Work::ListingTests, command, limit: SHORT }
    }

    fn read_list(&self, baked: Option<&[u8]>, done: &Output) -> Result<TestListing, Fault> {
        let said = done.stderr_text();
        Ok(TestListing {
            tests: listing::judge(&self.tests, &self.flags, done)?,
            source: self.source(baked),
            subject: self.subject(baked, &said),
            built: self.built(baked),
        })
    }

    fn run(&self, folder: &str, baked: Option<&[u8]>, part: Option<Part<'_>>) -> StepCommand {
        let command = match part {
            None => self.runner_command(folder, &[], baked, &self.flags, &self.named()),
            Some(part) => {
                let tests: Vec<&str> = part.tests.iter().map(TestName::as_str).collect();
                let options = ["--part".to_owned(), part.number.to_string()];
                self.runner_command(folder, &options, baked, &flags::flags_for_part(&self.flags, part.jobs), &tests)
            }
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_tests_is_named_and_not_chosen_again() {
        let ssh = SshProgram { program: "/bin/automation".into(), args: vec![] };
        let choosing = ["--shard-total", "2", "--shard-index=1", "--test-list", "/list", "--retest"];
        let flags = choosing.into_iter().chain(["-j4", "--keywords", "x"]).map(str::to_owned).collect::<Vec<_>>();
        let tests =
            LinuxTests { tests: vec!["test-a.t".into()], flags: flags.clone(), ..LinuxTests::for_following(ssh) };
        let words = |part| tests.run("/f", None, part).command.args[1..].join(" ");
        assert_eq!(words(None), format!("--built /usr/bin/python3 -- {} test-a.t", flags.join(" ")));
        let part = ["test-b.t#case", "test-c.t"].map(TestName::from);
        assert_eq!(
            words(Some(Part { number: 3, tests: &part, jobs: 2 })),
            "--part 3 --built /usr/bin/python3 -- -j4 --keywords x test-b.t#case test-c.t"
        );
        assert_eq!(tests.report_file(Some(3)), "/hgwork/results/3/events.jsonl");
        assert_eq!(tests.report_file(None), "/hgwork/results/events.jsonl");
    }
}
