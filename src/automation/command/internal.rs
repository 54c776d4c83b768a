//! Subcommands that the tool starts itself; hidden from the help.

use std::path::{Path, PathBuf};
use std::time::Duration;

use connection::interactive;
use model::base::id::RunId;
use model::connection::Connector;
use model::exit::Exit;
use model::fault::Fault;
use model::machine::Machine;

use crate::command::release;
use crate::compose::Context;
use crate::compose::sites::connector_of;

/// The subcommands that the tool starts itself.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Stand in for `ssh` where `hg` wants one
    #[command(hide = true)]
    InternalSsh {
        /// The file that describes the machine
        #[arg(long)]
        target: PathBuf,
        /// What `hg` calls the machine
        host: String,
        /// The command for the machine's shell
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// See to the end of a run's machines
    #[command(hide = true)]
    InternalRelease {
        /// The run
        run: RunId,
    },
}

impl Command {
    /// Runs it.
    pub async fn run(self, open: impl FnOnce() -> Result<Context, Fault>) -> Result<i32, Fault> {
        match self {
            Self::InternalRelease { run } => release::run(open()?, &run).await,
            Self::InternalSsh { target, host: _, command } => ssh(&target, &command).await,
        }
    }
}

/// Runs `command` on the machine that `target` describes and bridges standard input and output, as `ssh` does.
async fn ssh(target: &Path, command: &[String]) -> Result<i32, Fault> {
    // `hg`, or the shell through which it starts us, may be killed: this process must end with it. If that happened
    // before this call, standard input has ended.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    let fault = || Fault::usage(format!("cannot read the machine from `{}`", target.display()));
    let text = std::fs::read(target).map_err(|error| fault().because(error))?;
    let machine: Machine = serde_json::from_slice(&text).map_err(|error| fault().because(error))?;
    let limit = Duration::from_secs(60);
    let connection = connector_of(&machine).connect(&machine, &machine.user, limit, false).await?;
    // `hg` quotes for the machine's shell itself.
    let task = guest::of(machine.platform).quoted_line(&command.join(" "));
    match interactive::bridge_stdio(connection.as_ref(), &task).await {
        Exit::Code(code) => Ok(i32::try_from(code).unwrap_or(255)),
        Exit::Signal(_) | Exit::Lost(_) => Ok(255),
    }
}
