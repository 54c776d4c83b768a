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
use crate::turn::Turn;

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

/// The folder in there for the source.
const SOURCE: &str = "C:/hgdev/src";

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

/// What a step that checks the source out does, and its limit.
pub(super) fn checkout_work(checkout: &Checkout) -> (Work, Duration) {
    (Work::CheckingOut { revision: checkout.short().to_owned() }, PREPARE_LIMIT)
}

impl WindowsWork {
    /// The system of the machines that it is done on.
    pub const PLATFORM: Platform = Platform::Windows;

    /// The source, in words.
    pub(super) fn source(&self) -> String {
        match &self.checkout {
            Some(checkout) => checkout.words(),
            None => "the machine's own source".to_owned(),
        }
    }

    /// The job that brings the source there; where it is there already, the one that takes the machine's folders. Those of a source
    /// that was sent are taken where it is checked out.
    pub(super) fn begin(&self, folder: &str) -> Job {
        if self.checkout.is_some() {
            return Job::Send;
        }
        let work = Work::Preparing { folder: FOLDER.to_owned(), filesystem: Filesystem::Default };
        let command = script(folder, "prepare_work.py");
        Job::Step(Box::new(StepCommand { work, command, limit: PREPARE_LIMIT }))
    }

    /// The steps that bring the working copy to the source, and remove everything else from it; with `take` they take the machine's
    /// folders before.
    pub(super) fn check_out(&self, folder: &str, take: bool) -> Vec<StepCommand> {
        let Some(checkout) = &self.checkout else { return Vec::new() };
        let finish = script(folder, "sync_finish.py").arg(&checkout.node).args(take.then_some("take"));
        let (work, limit) = checkout_work(checkout);
        let mut steps = vec![StepCommand { work, command: finish, limit }];
        steps.extend(checkout.patch.as_ref().map(|patch| {
            let command = script(folder, "apply_working_copy.py").stdin(patch.clone());
            StepCommand { work: Work::ApplyingChanges, command, limit: PREPARE_LIMIT }
        }));
        steps
    }

    /// The job that sends the working copy's new files once the source is checked out; none where there are none.
    pub(super) fn new_files(&self) -> Option<Job> {
        let checkout = self.checkout.as_ref()?;
        checkout.new_files.as_ref().map(|new| new.send(SOURCE))
    }

    /// The work's turn on a machine that stays.
    pub(super) fn turn(&self) -> Turn {
        Turn {
            guest: guest(),
            held: FOLDER,
            hold: windows::HOLD,
            sign: SHOW_SIGN,
            cleanup: Some(CLEANUP),
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
