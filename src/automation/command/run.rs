//! `automation run`: any command, in the files of a folder, on a machine of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use flow::command::{CommandJob, CommandRecords, run_command};
use flow::task::begun::OnceBegun;
use flow::transfer::artifacts::Fetch;
use model::base::text;
use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::{Machine, ProviderKind};
use model::preparation::UserCommand;
use project::command::FolderCommand;
use project::image::SetUp;
use project::source::Source;

use crate::command::announcer::{Announcer, accept_detach};
use crate::command::artifact_args::ArtifactArgs;
use crate::command::command_end;
use crate::command::error;
use crate::command::image::baking_for;
use crate::command::machine_args::{MachineArgs, default_ttl};
use crate::command::session::{Ending, Session};
use crate::command::unfit::{refuse_options, refuse_wait};
use crate::command::variable_args::VariableArgs;
use crate::compose::{Context, current_folder};

/// The command's name in the journal.
pub const RUN: &str = "run";

/// The definition of the image where nothing is said.
const USUAL_IMAGE: &str = "plain";

/// The text below the help.
const EXAMPLES: &str = "Examples:\n  automation run -- make check\n  \
                        automation run --image linux-dev --artifact 'out/*' --detach -- ./build.sh";

/// The options of `automation run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("required", |arg| arg.help("Fetch the files that match: a path below the source's top, or an absolute path. A pattern that matches nothing is an error")))]
pub struct Args {
    /// The program and its arguments; no shell comes in between
    #[arg(last = true, value_name = "COMMAND", required_unless_present_any = ["shell", "plan"])]
    words: Vec<String>,
    /// A line for the shell of the machine, in place of a command
    #[arg(long, value_name = "LINE", conflicts_with = "words")]
    shell: Option<String>,
    /// The folder to send [default: the current one]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Print the files that would be sent, and stop
    #[arg(long, conflicts_with = "detach")]
    plan: bool,
    /// The definition of the image to boot
    #[arg(long, value_name = "NAME", default_value = USUAL_IMAGE)]
    image: String,
    /// A line for the shell, or a file with a script, that root runs on the image once; the result is kept as an image of its own
    #[arg(long, value_name = "LINE|FILE")]
    setup: Option<String>,
    #[command(flatten)]
    variables: VariableArgs,
    /// The folder below the source in which the command runs [default: the source's top]
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true, value_parser = parse_workdir)]
    workdir: String,
    /// How long the command may take
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    timeout: Option<Duration>,
    /// How long the machine lives at most, whatever happens to this command [default: 13h, 2h on EC2]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_ttl)]
    ttl: Option<Duration>,
    /// How long to wait for another run that uses a machine of somebody else's [default: 2m]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    wait: Option<Duration>,
    /// Keep the machine for so long where the command fails, to look at it; it goes by itself then
    #[arg(long, value_name = "SPAN", value_parser = text::parse_ttl)]
    keep_failed: Option<Duration>,
    /// Return as soon as the command runs; it goes on on the machine, which lives until its expiry (`--ttl`). `runs attach` follows it. Prints
    /// the run's id
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    artifacts: ArtifactArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print what the command came to as JSON; its output goes to standard error
    #[arg(long)]
    json: bool,
}

/// A path below the source.
fn parse_workdir(text: &str) -> Result<String, String> {
    let path = std::path::Path::new(text);
    let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if inside { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a path below the source")) }
}

/// The time that a machine needs before and after its command.
const AROUND: Duration = Duration::from_secs(3600);

/// A command with everything about it resolved.
struct Resolved {
    command: FolderCommand,
    plan: Option<ImagePlan>,
    order: flow::order::Order,
    fetch: Fetch,
}

/// Runs the command; gives its exit code, or one that no usual command has.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    if args.plan {
        return show_plan(&context, &args).await;
    }
    let kind = context.default_provider()?;
    let resolved = args.resolve(&context, kind).await?;
    let session = Session::begin_on(context, RUN, kind).await?;
    let ended = drive(&session, &args, &resolved).await;
    command_end::close(session, ended).await
}

/// Prints what would be sent.
async fn show_plan(context: &Context, args: &Args) -> Result<i32, Fault> {
    let source = args.find_source().await?;
    let (screen, size) = (&context.screen, source.size());
    if args.json {
        screen.json(&size);
        return Ok(error::exit::OK);
    }
    for path in &source.paths {
        screen.data(&format!("{}\n", path.display()));
    }
    screen.message(&format!(
        "{}, {}: {}",
        text::pluralize(size.files, "file"),
        text::bytes(size.bytes),
        source.words()
    ));
    Ok(error::exit::OK)
}

impl Args {
    async fn find_source(&self) -> Result<Source, Fault> {
        if let Some(named) = self.source.as_ref().filter(|named| !named.is_dir()) {
            return Err(Fault::usage(format!("`--source {}` is not a folder", named.display())));
        }
        Source::find(self.source.as_ref().unwrap_or(&current_folder()?)).await
    }

    /// Checks all that can be refused before anything is made.
    async fn resolve(&self, context: &Context, kind: ProviderKind) -> Result<Resolved, Fault> {
        let kinds = [kind];
        self.machine.refuse_unfit(&kinds)?;
        let of_image = [("--setup", self.setup.is_some()), ("--keep-failed", self.keep_failed.is_some())];
        refuse_options(&of_image, &kinds, |kind| kind != ProviderKind::Host)?;
        refuse_wait(self.wait.is_some(), &kinds)?;
        context.require_ssh()?;
        context.require_platform(kind, FolderCommand::PLATFORM)?;
        let fetch = self.artifacts.check()?;
        let command = FolderCommand {
            words: match &self.shell {
                Some(line) => ["bash", "-c", line].map(str::to_owned).to_vec(),
                None => self.words.clone(),
            },
            env: self.variables.resolve()?,
            workdir: self.workdir.clone(),
            patience: self.wait.unwrap_or(project::PATIENCE),
            source: Some(self.find_source().await?),
        };
        let plan = match kind {
            ProviderKind::Host => None,
            _ => Some(self.image_plan(context)?),
        };
        let context = &context.on(kind);
        let order = self.machine.order(context, plan.as_ref(), "hg", self.lifetime(kind)?);
        Ok(Resolved { command, plan, order, fetch })
    }

    fn image_plan(&self, context: &Context) -> Result<ImagePlan, Fault> {
        let definition = context.definition(&self.image)?;
        let mut choice = self.machine.declared_choice(context, &definition, None, &BTreeMap::new())?;
        choice.set_up = self.setup.as_deref().map(SetUp::read).transpose()?;
        let plan = definition.plan(&choice).map_err(|fault| self.machine.name_setting(context, fault))?;
        if plan.platform != FolderCommand::PLATFORM {
            return Err(Fault::usage(format!("machines of `{}` have no Linux", self.image))
                .hint("`machine up` and `machine exec` run commands there."));
        }
        Ok(plan)
    }

    /// How long the machine may live: longer than the command, by the time around it.
    fn lifetime(&self, kind: ProviderKind) -> Result<Duration, Fault> {
        let ttl = self.ttl.unwrap_or_else(|| default_ttl(kind));
        match self.timeout {
            Some(timeout) if timeout > ttl.saturating_sub(AROUND) && self.ttl.is_none() => Ok(timeout + AROUND),
            Some(timeout) if timeout >= ttl => Err(Fault::usage(format!(
                "`--timeout {}` is longer than the machine lives, {}",
                text::seconds(timeout),
                text::seconds(ttl)
            ))
            .hint("Give a longer `--ttl`.")),
            _ => Ok(ttl),
        }
    }
}

/// Runs the command in this process to its end, or until it is left on its machine.
async fn drive(session: &Session, args: &Args, resolved: &Resolved) -> Result<Ending, Fault> {
    let announcer = Announcer::new(session, args.json);
    let announce = |machine: &Machine| announcer.announce(machine);
    let once_begun =
        if args.detach { OnceBegun::Leave(&announce) } else { OnceBegun::Follow(&|| session.detachable()) };
    let (output, builds) = (session.task_output(), session.context.state.builds());
    let records = CommandRecords { folder: &session.dir, output: &output, builds: &builds };
    let job = CommandJob {
        command: &resolved.command,
        plan: resolved.plan.as_ref(),
        baking: &baking_for(&resolved.order),
        order: &resolved.order,
        limit: args.timeout,
        fetch: &resolved.fetch,
        keep_failed: args.keep_failed,
        once_begun,
    };
    let ended = run_command(&session.run, &session.site, &job, &records).await?;
    announcer.settle();
    let ending = command_end::conclude(session, &resolved.command.line(), ended, args.json)?;
    Ok(accept_detach(args.detach, ending))
}
