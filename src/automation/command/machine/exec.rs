//! `automation machine ssh` and `automation machine exec`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use connection::interactive;
use flow::task::timed::Timed;
use model::connection::Connection;
use model::exit::Exit;
use model::fault::Fault;
use model::machine::Machine;
use model::task::Command;

use crate::command::error::{code_of_signal, exit};
use crate::command::machine::chosen::choose;
use crate::command::machine::fleet::FleetArgs;
use crate::command::machine::words::MachineCommand;
use crate::compose::{Context, variables};
use crate::ui;

/// Log in, or run one command with a terminal.
#[derive(Debug, clap::Args)]
#[command(override_usage = "automation machine ssh [ID] [COMMAND...]\n       \
                      automation machine ssh -- COMMAND...")]
pub struct SshArgs {
    /// The machine's id, its beginning, its name, or `latest`; may be left out where one machine is there alone. Behind it a command to run
    /// instead of the login shell, given to the machine's shell as it is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ID")]
    words: Vec<String>,
}

/// The text below the help of `machine exec`.
const EXEC_HELP: &str = "\
Options stand before the machine's id, which may be left out where one machine is there alone. On one machine the command is joined with our own standard input, output and error, and its \
status is ours, or 4 where it did not end within `--timeout`. With `--all` or \
`--machines` it runs on many at once without input, every line of output follows its machine's id, and the status is 0 where \
it succeeded everywhere, 1 where it failed somewhere, 4 where a machine was not reached or an end is not known. It runs as the \
user that `machine ssh` logs in as, which is printed first.";

/// Run a command; its output and exit status come through apart.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "automation machine exec [--timeout SPAN] [ID] -- COMMAND...\n       \
                      automation machine exec --all|--machines ID,ID [OPTIONS] -- COMMAND...",
    after_help = EXEC_HELP
)]
pub struct ExecArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// The command and its arguments, behind the machine's id where there is one alone; no shell comes in between
    #[arg(
        required_unless_present = "dry_run",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    words: Vec<String>,
}

impl ExecArgs {
    /// The machine, where one is named, and the command. `line` is the whole command line.
    fn split(self, line: &[String]) -> Result<(FleetArgs, MachineCommand), Fault> {
        let meant = match self.fleet.is_fleet() {
            true => MachineCommand { machine: None, words: self.words, apart: true },
            false => MachineCommand::split("exec", line, self.words)?,
        };
        if let (Some(id), Some(option), false) = (&meant.machine, meant.words.first(), meant.apart)
            && option.starts_with('-')
        {
            return Err(Fault::usage(format!("`{option}` stands behind the machine, where its command begins"))
                .hint(format!("Options come first: `automation machine exec [OPTIONS] {id} -- COMMAND`.")));
        }
        if meant.words.is_empty() && !self.fleet.dry_run() {
            return Err(Fault::usage("there is no command to run").hint("Give it after `--`."));
        }
        Ok((self.fleet, meant))
    }
}

/// Logs in.
pub(crate) async fn ssh(context: &Context, args: SshArgs) -> Result<i32, Fault> {
    let meant = MachineCommand::split("ssh", &context.words, args.words)?;
    let machine = choose(context, meant.machine.as_deref())?;
    let connection = super::connect(context, &machine).await?;
    let mut command = match meant.words.is_empty() {
        true => Command::new(""),
        // The words are joined, as `ssh` does, and the machine's own shell splits them.
        false => guest::of(machine.platform).line(&meant.words.join(" ")),
    };
    let kind = variables::terminal().unwrap_or_else(|| "dumb".to_owned());
    command.terminal = interactive::terminal(&kind);
    let exit = join(context, connection.as_ref(), &command, None).await;
    connection.close().await;
    exit_status(context, &machine, &exit?)
}

/// Runs the command.
pub(crate) async fn exec(context: &Context, args: ExecArgs) -> Result<i32, Fault> {
    let (fleet, meant) = args.split(&context.words)?;
    let mut words = meant.words.into_iter();
    let command = Command::new(words.next().unwrap_or_default()).args(words);
    if fleet.is_fleet() {
        return super::fleet::run(context, &fleet, &command).await;
    }
    let machine = choose(context, meant.machine.as_deref())?;
    let connection = super::connect(context, &machine).await?;
    let exit = join(context, connection.as_ref(), &command, fleet.timeout).await;
    connection.close().await;
    exit_status(context, &machine, &exit?)
}

/// Joins the command with our own streams until it ends, or until its time is over.
async fn join(
    context: &Context,
    connection: &dyn Connection,
    command: &Command,
    limit: Option<Duration>,
) -> Result<Exit, Fault> {
    let streams = interactive::Streams::own()
        .map_err(|error| Fault::outside("standard input, output or error is closed").because(error))?;
    let process = connection.start(command).await?;
    let manner = interactive::InteractOptions { raw: command.terminal.is_some(), filter: !context.raw() };
    let Some(limit) = limit else { return exit_of(interactive::join(process, streams, manner).await) };
    let (process, over) = Timed::new(process, limit);
    let exit = exit_of(interactive::join(Box::new(process), streams, manner).await)?;
    if !over.load(Ordering::Relaxed) {
        return Ok(exit);
    }
    let seen = if matches!(exit, Exit::Lost(_)) { "it may still be running" } else { "it was ended" };
    let limit = model::base::text::seconds(limit);
    Err(Fault::infrastructure(format!("the command did not end within {limit}, {seen}"))
        .hint("`--timeout SPAN` gives it more time."))
}

/// The command's exit, where all that it wrote could be written here. Its own failure takes precedence over lost
/// messages.
fn exit_of(joined: std::io::Result<interactive::InteractionEnd>) -> Result<Exit, Fault> {
    let joined = joined.map_err(ui::unwritten_fault)?;
    match joined.messages {
        Err(error) if joined.exit == Exit::Code(0) => Err(ui::unwritten_messages_fault(error)),
        _ => Ok(joined.exit),
    }
}

/// Our exit code: the command's own status, or 128 and the number of its signal, as a shell has it; a lost command is
/// an infrastructure fault.
fn exit_status(context: &Context, machine: &Machine, ended: &Exit) -> Result<i32, Fault> {
    match ended {
        Exit::Code(code) => Ok(i32::try_from(*code).unwrap_or(exit::FAILED)),
        Exit::Signal(name) => {
            context.screen.message(&format!("ended by signal {name}"));
            Ok(code_of_signal(name))
        }
        Exit::Lost(reason) => Err(match machine.time_over(context.now()) {
            Some(why) => Fault::infrastructure(format!("the command ended with its machine: {why}"))
                .hint("`automation machine up --ttl SPAN` makes one that lives longer."),
            None => Fault::infrastructure(format!("the command's end is not known: {reason}")),
        }),
    }
}
