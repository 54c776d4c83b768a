//! How a run takes its turn on a machine that stays: the same on every system, by programs of its own.

use std::time::Duration;

use guest::Guest;
use model::base::id::RunId;
use model::preparation::Tenancy;
use model::script::ScriptFile;
use model::task::{Command, StepCommand};
use model::work::Work;

/// How long to wait for another run on somebody else's machine, unless the user says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A turn on a machine that stays.
pub(crate) struct Turn {
    /// How the machine's system is spoken to.
    pub guest: &'static dyn Guest,
    /// The folder by whose lock a run holds the machine.
    pub held: &'static str,
    /// The program that waits and holds.
    pub hold: ScriptFile,
    /// The text of the program that shows the machine that the driver is alive.
    pub sign: &'static str,
    /// The program that removes what a run made outside of its folder, a file in the run's folder; none where that stays.
    pub cleanup: Option<&'static str>,
    /// How long to wait for another run.
    pub patience: Duration,
    /// How long removing a run's files may take.
    pub tidying: Duration,
}

impl Tenancy for Turn {
    fn hold(&self, folder: &str, run: &RunId, owner: &str, silence: Duration) -> StepCommand {
        let program = self.guest.script(&format!("{folder}/{}", self.hold.name));
        let command = program.args([self.held, run.as_str(), &silence.as_secs().to_string(), owner]);
        StepCommand { work: Work::Holding, command, limit: self.patience }
    }

    fn presence_command(&self, folder: &str) -> Command {
        self.guest.text(self.sign).arg(folder)
    }

    fn aside_folder(&self, folder: &str) -> String {
        format!("{folder}/taken")
    }

    fn clean(&self, folder: &str) -> StepCommand {
        let command = self.guest.remove_run(folder, self.cleanup);
        StepCommand { work: Work::RemovingFiles, command, limit: self.tidying }
    }
}
