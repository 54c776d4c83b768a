//! `automation machine up|list|ssh|exec|cp|sync|tunnel|snapshot|down|check`.

mod check;
pub(crate) mod chosen;
mod copy;
mod down;
mod exec;
mod fleet;
mod list;
mod side;
mod snapshot;
mod sync;
mod tunnel;
mod up;
mod words;

use flow::site::Sites;
use model::connection::Connection;
use model::fault::{Fault, FaultKind};
use model::machine::Machine;

use crate::compose::Context;

/// Subcommands of `machine`. A machine is named by its id, the beginning of it, or its name; one that is there alone need not be named.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a machine, or one of each of several distributions, and keep it until its expiry
    Up(up::Args),
    /// List the machines that are there, newest first
    ///
    /// On EC2, where it is or was used from here, the region's machines of every owner are listed, and those whose expiry
    /// has passed are told to end.
    List(list::Args),
    /// Log in, or run one command with a terminal
    Ssh(exec::SshArgs),
    /// Run a command on one machine or many; its output and exit status come through apart
    Exec(exec::ExecArgs),
    /// Copy files and folders to or from a machine
    ///
    /// One side is a path here, the other `ID:PATH` on a machine, or `:PATH` where one machine is there alone. Like `cp -r`: into TO where TO is a folder, to the name TO
    /// otherwise. A link at TO is followed, a device or a pipe written into; neither is replaced. A large file that was cut
    /// goes on where it stopped when the same copy is made again.
    Cp(copy::Args),
    /// Bring a folder on a machine up to date with one here, sending only what differs
    ///
    /// What differs is decided by size and content. What an earlier sync put there and is not here any more is removed;
    /// what others put there stays, unless a file here has its name.
    Sync(sync::Args),
    /// Lead a port of this computer to one of a machine, until Ctrl-C
    ///
    /// Each connection is a channel of its own over the tool's SSH connection, at most 64 at once. Only this computer can connect, unless
    /// `--bind` says otherwise.
    Tunnel(tunnel::Args),
    /// Make an image of the state of a machine, by a name of your own
    ///
    /// The machine goes on: on this computer it stands still for the moment in which its files are copied. `--image NAME` boots machines from
    /// it, with `machine up`, `run` and commands that run tests. Keys, folders of runs and, on this computer, `/tmp` and `/run` do not become part of it.
    Snapshot(snapshot::Args),
    /// End machines and remove all that belongs to them
    Down(down::Args),
    /// Verify that a machine keeps the contract of `docs/remote-machine.md`
    ///
    /// Any machine will do that answers to SSH. Nothing is installed on it, and the scripts that check are removed. Exit
    /// code 0 when every clause holds, 3 otherwise.
    Check(check::Args),
}

impl Command {
    /// Runs it.
    pub async fn run(self, context: Context) -> Result<i32, Fault> {
        match self {
            Self::Up(args) => up::run(context, args).await,
            Self::List(args) => list::run(&context, &args).await,
            Self::Ssh(args) => exec::ssh(&context, args).await,
            Self::Exec(args) => exec::exec(&context, args).await,
            Self::Cp(args) => copy::run(&context, &args).await,
            Self::Sync(args) => sync::run(&context, &args).await,
            Self::Tunnel(args) => tunnel::run(&context, &args).await,
            Self::Snapshot(args) => snapshot::run(context, args).await,
            Self::Down(args) => down::run(&context, &args).await,
            Self::Check(args) => check::run(context, args).await,
        }
    }
}

/// Connects to a machine that is up: the first refusal is final.
async fn connect(context: &Context, machine: &Machine) -> Result<Box<dyn Connection>, Fault> {
    let limit = std::time::Duration::from_secs(30);
    context.sites.connector(machine.provider).await?.connect(machine, &machine.user, limit, false).await.map_err(
        |error| {
            let fault = Fault::from(error);
            if machine.expires_at < context.now() && fault.kind == FaultKind::Infrastructure {
                return fault.hint(format!("The machine expired at {}.", machine.expires_at));
            }
            fault
        },
    )
}
