//! The process that sees to the end of a run's machines when the run itself is over: this program once more, in a session of its own.

use std::process::{Command, Stdio};
use std::time::Duration;

use flow::parting::Parting;
use model::base::id::RunId;
use model::fault::Fault;
use model::journal::{ResourceFilter, runs_of};
use model::run::{Driver, RunRecord};
use state::process;
use state::runs::{RunDir, RunFile};

use crate::compose::{Context, executable, variables};

/// The subcommand that it runs.
pub const SUBCOMMAND: &str = "internal-release";

/// How long a run waits for a machine that is told to end before it leaves that to another process: what takes no longer is seen by
/// the run itself.
const PROMPT: Duration = Duration::from_secs(1);

/// When a run waits until its machines are seen gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitGone {
    /// Where the variable `CI` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl WaitGone {
    /// What people call the choices.
    pub const NAMES: [&str; 3] = ["auto", "always", "never"];

    /// The choice of this name; the usual one for any other.
    pub fn named(name: &str) -> Self {
        match name {
            "always" => Self::Always,
            "never" => Self::Never,
            _ => Self::Auto,
        }
    }
}

impl Context {
    /// How a run parts with its machines, by the option that was given, else by the settings. Where `CI` is set it waits: a job's
    /// container ends with its last command, and with it whatever that leaves.
    pub fn parting(&self, given: Option<WaitGone>) -> Parting {
        let chosen = given.unwrap_or_else(|| WaitGone::named(&self.settings.defaults.wait_gone));
        match chosen {
            WaitGone::Always => Parting::default(),
            WaitGone::Auto if variables::is_automated() => Parting::default(),
            WaitGone::Auto | WaitGone::Never => Parting::within(PROMPT),
        }
    }

    /// Starts the process that sees to the end of the run's machines, as soon as this one lets go of the run; gives it as the run's
    /// driver.
    pub fn start_release(&self, dir: &RunDir) -> Result<Driver, Fault> {
        let path = dir.file(RunFile::Release);
        let fault = |error| {
            Fault::outside(format!("cannot start the process that ends the machines of run {}", dir.id()))
                .because(error)
        };
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(fault)?;
        let mut command = Command::new(executable()?);
        command.arg("--state-path").arg(self.state.root()).arg(SUBCOMMAND).arg(dir.id().as_str());
        // It must not keep a pipe open that somebody reads to its end, nor the folder that we were started in.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir(dir.path());
        let child = command.spawn().map_err(fault)?;
        process::of(child.id())
    }

    /// Goes on with the end of machines whose process was killed, or lost with the computer's last boot.
    pub fn go_on_releasing(&self) -> Result<(), Fault> {
        let open = self.journal.resources(&ResourceFilter { open: true, ..ResourceFilter::default() })?;
        for run in runs_of(&open) {
            if self.cut_off(run)?.is_some() {
                self.release_again(run)?;
            }
        }
        Ok(())
    }

    /// The record of the run, where nobody sees to the end of its machines any more.
    fn cut_off(&self, run: &RunId) -> Result<Option<RunRecord>, Fault> {
        Ok(self.journal.run(run)?.filter(|record| record.is_release_cut_off(process::is_alive)))
    }

    fn release_again(&self, run: &RunId) -> Result<(), Fault> {
        let dir = self.state.run(run)?;
        // Whoever has the lock is going on with it.
        let Some(_driving) = dir.lock_driver()? else { return Ok(()) };
        let Some(record) = self.cut_off(run)? else { return Ok(()) };
        let driver = self.start_release(&dir)?;
        self.journal.update_run(&RunRecord { driver, ..record })?;
        self.screen.message(&format!("The end of the machines of run {run} was not seen to its end; that goes on."));
        Ok(())
    }
}
