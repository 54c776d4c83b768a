//! What every kind of work on Mercurial's source does on a Windows machine: its turn there, its source.

use std::path::Path;
use std::time::Duration;

use guest::{Guest, windows};
use model::event::Teller;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::machine::Platform;
use model::preparation::{Job, SshProgram};
use model::script::ScriptFile;
use model::task::{Command, StepCommand};
use model::work::Work;

use crate::mercurial::checkout::Checkout;
use crate::mercurial::push::{Repository, push};
use crate::mercurial::turn::Turn;

/// The programs that every kind of work needs.
pub(super) const FILES: [ScriptFile; 6] = [
    ScriptFile::built_in("places.py", include_str!("../../../remote/mercurial/windows/places.py")),
    ScriptFile::built_in("prepare_work.py", include_str!("../../../remote/mercurial/windows/prepare_work.py")),
    ScriptFile::built_in("sync_finish.py", include_str!("../../../remote/mercurial/windows/sync_finish.py")),
    ScriptFile::built_in(
        "apply_working_copy.py",
        include_str!("../../../remote/mercurial/windows/apply_working_copy.py"),
    ),
    windows::HOLD,
    ScriptFile::built_in(CLEANUP, include_str!("../../../remote/mercurial/windows/cleanup.py")),
];

/// The program that removes what a run made outside of its folder.
const CLEANUP: &str = "cleanup.py";

/// The program that shows the machine that the driver is alive.
const SHOW_SIGN: &str = include_str!("../../../remote/mercurial/windows/show_sign.py");

/// The folder of the work on every machine, by whose lock a run holds a machine too.
pub(super) const FOLDER: &str = "C:/hgdev";

/// The repository that receives the source; its `hg` is found by the path of the login.
const REPOSITORY: Repository = Repository { program: "hg", url: "ssh://hg@machine/C:/hgdev/src" };

/// Preparing empties folders and checks out a changeset: minutes on a busy machine.
const PREPARE_LIMIT: Duration = Duration::from_secs(900);

/// The limit of short commands; a virtual machine that has just booted reads every file of Python for the first time.
pub(super) const SHORT: Duration = Duration::from_secs(300);

/// Work on a source.
#[derive(Debug, Clone)]
pub struct WindowsWork {
    /// The user's checkout; without one it is the source that is on the machine.
    pub checkout: Option<Checkout>,
    /// How `hg` is to reach the machine.
    pub ssh: SshProgram,
    /// How long to wait for another run on somebody else's machine.
    pub patience: Duration,
}

/// The system of the machine.
fn guest() -> &'static dyn Guest {
    guest::of(Platform::Windows)
}

/// The command that runs one of our programs there.
pub(super) fn script(folder: &str, name: &str) -> Command {
    guest().script(&format!("{folder}/{name}"))
}

impl WindowsWork {
    /// The system of the machines that it is done on.
    pub const PLATFORM: Platform = Platform::Windows;

    /// The source, in words.
    pub(super) fn source(&self) -> String {
        match &self.checkout {
            Some(checkout) => {
                let changes = if checkout.patch.is_some() { " with uncommitted changes" } else { "" };
                format!("revision {} of {}{changes}", checkout.node, checkout.root.display())
            }
            None => "the machine's own source".to_owned(),
        }
    }

    /// All jobs at once for work on one source: with a step less than [`Self::begin`] and [`Self::check_out`], each of which
    /// starts Python three times.
    pub(super) fn set_up(&self, folder: &str) -> Vec<Job> {
        if self.checkout.is_none() {
            return self.begin(folder);
        }
        let mut steps = self.check_out(folder);
        if let Some(first) = steps.first_mut() {
            first.command.args.push("take".to_owned());
        }
        std::iter::once(Job::Send).chain(steps.into_iter().map(|step| Job::Step(Box::new(step)))).collect()
    }

    /// The jobs that take the machine's folders and bring the source there.
    pub(super) fn begin(&self, folder: &str) -> Vec<Job> {
        let work = Work::Preparing { folder: FOLDER.to_owned(), filesystem: Filesystem::Default };
        let command = script(folder, "prepare_work.py");
        let mut jobs = vec![Job::Step(Box::new(StepCommand { work, command, limit: PREPARE_LIMIT }))];
        jobs.extend(self.checkout.as_ref().map(|_| Job::Send));
        jobs
    }

    /// The steps that bring the working copy to the source, and remove everything else from it.
    pub(super) fn check_out(&self, folder: &str) -> Vec<StepCommand> {
        let Some(checkout) = &self.checkout else { return Vec::new() };
        let finish = script(folder, "sync_finish.py").arg(&checkout.node);
        let work = Work::CheckingOut { revision: checkout.short().to_owned() };
        let mut steps = vec![StepCommand { work, command: finish, limit: PREPARE_LIMIT }];
        steps.extend(checkout.patch.as_ref().map(|patch| {
            let command = script(folder, "apply_working_copy.py").stdin(patch.clone());
            StepCommand { work: Work::ApplyingChanges, command, limit: PREPARE_LIMIT }
        }));
        steps
    }

    /// The work's turn on a machine that stays.
    pub(super) fn turn(&self) -> Turn {
        Turn {
            guest: guest(),
            held: FOLDER,
            hold: windows::HOLD,
            sign: SHOW_SIGN,
            cleanup: CLEANUP,
            patience: self.patience,
            tidying: SHORT,
        }
    }

    /// Sends the source, and where the `tags` are wanted those that tell its version.
    pub(super) async fn send(&self, target: &Path, tags: bool, teller: &Teller) -> Result<(), Fault> {
        let Some(checkout) = &self.checkout else { return Ok(()) };
        push(checkout, &self.ssh, (&REPOSITORY, tags), target, teller).await
    }
}
