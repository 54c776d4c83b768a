//! `automation run`: any command, in the files of a folder, on a machine of its own.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flow::command::{CommandJob, CommandRecords, run_command};
use flow::task::begun::OnceBegun;
use flow::transfer::artifacts::Fetch;
use model::base::{quote, text};
use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::{Machine, ProviderKind};
use model::preparation::UserCommand;
use project::command::FolderCommand;
use project::file::{ProjectCommand, ProjectFile};
use project::image::SetUp;

use crate::command::announcer::{Announcer, accept_detach};
use crate::command::artifact_args::ArtifactArgs;
use crate::command::command_end;
use crate::command::error;
use crate::command::image::baking_for;
use crate::command::machine_args::{MachineArgs, default_ttl};
use crate::command::session::{Ending, Session};
use crate::command::source_args::SourceArgs;
use crate::command::unfit::{refuse_options, refuse_wait};
use crate::command::variable_args::VariableArgs;
use crate::compose::{Context, current_folder};

/// The command's name in the journal.
pub const RUN: &str = "run";

/// The definition of the image where nothing is said.
const USUAL_IMAGE: &str = "plain";

/// The options of `automation run`.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
#[command(mut_arg("required", |arg| arg.help(ARTIFACT_HELP)))]
pub struct Args {
    /// A command of the project's `automation.toml`; what stands behind `--` is added to it
    #[arg(value_name = "NAME", conflicts_with = "shell")]
    names: Vec<String>,
    /// The program and its arguments; no shell comes in between
    #[arg(last = true, value_name = "COMMAND")]
    words: Vec<String>,
    /// A line for the shell of the machine, in place of a command
    #[arg(long, value_name = "LINE", conflicts_with = "words")]
    shell: Option<String>,
    #[command(flatten)]
    files: SourceArgs,
    /// Print the files that would be sent, and stop
    #[arg(long, conflicts_with = "detach")]
    plan: bool,
    /// The definition of the image to boot [default: plain]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// A line for the shell, or a file with a script, that root runs on the image once; the result is kept as an image of its own
    #[arg(long, value_name = "LINE|FILE")]
    setup: Option<String>,
    #[command(flatten)]
    variables: VariableArgs,
    /// Give the command what comes on standard input, at most 64 MiB; it is read to its end first
    #[arg(long)]
    stdin: bool,
    /// The folder below the source in which the command runs [default: the source's top]
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
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
    /// Return as soon as the command runs; it goes on on the machine, which lives until its expiry (`--ttl`). `runs attach` follows it.
    /// Prints the run's id
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

/// The lines of usage in the help.
const USAGE: &str = "automation run [OPTIONS] -- COMMAND...\n       automation run [OPTIONS] --shell LINE\n       \
                     automation run [OPTIONS] NAME [-- ARGUMENT...]";

/// What the files to fetch are relative to.
const ARTIFACT_HELP: &str = "Fetch the files that match: a path below the source's top, or an absolute path. A pattern that matches \
                             nothing is an error";

/// Refuses what is no path below the source.
fn check_workdir(text: &str) -> Result<(), Fault> {
    let path = std::path::Path::new(text);
    let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if inside { Ok(()) } else { Err(Fault::usage(format!("`{text}` is not a path below the source"))) }
}

/// The longest standard input, bytes: it is held in memory until the command begins.
const INPUT_CAP: u64 = 64 << 20;

/// The time that a machine needs before and after its command.
const AROUND: Duration = Duration::from_secs(3600);

/// A command with everything about it resolved.
struct Resolved {
    command: FolderCommand,
    plan: Option<ImagePlan>,
    order: flow::order::Order,
    fetch: Fetch,
    limit: Option<Duration>,
}

/// Runs the command; gives its exit code, or one that no usual command has.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let kind = context.default_provider()?;
    let project = Project::of(&args)?;
    if args.plan {
        return show_plan(&context, &args, &project).await;
    }
    let resolved = args.resolve(&context, kind, project).await?;
    let session = Session::begin_on(context, RUN, kind).await?;
    let ended = drive(&session, &args, &resolved).await;
    command_end::close(session, ended).await
}

/// Prints what would be sent.
async fn show_plan(context: &Context, args: &Args, project: &Project) -> Result<i32, Fault> {
    let source = args.files.find(&project.folder).await?;
    let (screen, size) = (&context.screen, source.size());
    if args.json {
        screen.json(&size);
        return Ok(error::exit::OK);
    }
    for path in &source.paths {
        screen.data(&format!("{}\n", path.display()));
    }
    for path in args.files.refused(&source)? {
        screen.message(&format!("Would be refused without `--allow-file`: {}", path.display()));
    }
    screen.message(&format!(
        "{}, {}: {}",
        text::pluralize(size.files, "file"),
        text::bytes(size.bytes),
        source.words()
    ));
    Ok(error::exit::OK)
}

/// What the project's file says of the command, and the folder whose files are sent.
struct Project {
    command: ProjectCommand,
    folder: PathBuf,
    /// The folder to which the file's own paths are relative.
    root: PathBuf,
}

impl Project {
    fn of(args: &Args) -> Result<Self, Fault> {
        let named = args.files.named()?;
        let folder = named.map_or_else(current_folder, |named| Ok(named.to_owned()))?;
        let file = ProjectFile::find(&folder)?;
        let root = file.as_ref().map_or(&*folder, ProjectFile::root).to_owned();
        let name = match args.names.as_slice() {
            [] => None,
            [name] => Some(name),
            words => {
                let line = quote::join(words).unwrap_or_else(|_| words.join(" "));
                return Err(Fault::usage(format!("a command stands behind `--`, and `{line}` does not"))
                    .hint(format!("Type `automation run -- {line}`.")));
            }
        };
        let Some(name) = name else {
            let command = file.as_ref().map(ProjectFile::usual).unwrap_or_default();
            let words = match &args.shell {
                Some(line) => ["bash", "-c", line].map(str::to_owned).to_vec(),
                None => args.words.clone(),
            };
            if words.is_empty() && !args.plan {
                return Err(nothing_to_run(file.as_ref()));
            }
            return Ok(Self { command: ProjectCommand { words, ..command }, folder, root });
        };
        let file = file.ok_or_else(|| {
            let (file, folder) = (project::file::NAME, folder.display());
            Fault::usage(format!("there is no `{file}` for `{folder}` that could have a command `{name}`"))
                .hint("A command that has no name there stands after `--`: `automation run -- COMMAND`.")
        })?;
        let command = file.command(name, &args.words)?;
        let folder = if named.is_some() { folder } else { root.clone() };
        Ok(Self { command, folder, root })
    }
}

fn nothing_to_run(file: Option<&ProjectFile>) -> Fault {
    let fault = Fault::usage("there is no command to run");
    let commands: Vec<String> = file
        .map(ProjectFile::commands)
        .into_iter()
        .flatten()
        .map(|(name, what)| match what {
            Some(what) => format!("`automation run {name}` ({what})"),
            None => format!("`automation run {name}`"),
        })
        .collect();
    match commands.is_empty() {
        true => fault.hint("Give it after `--`: `automation run -- make check`."),
        false => fault.hint(format!("The project has {}; any other stands after `--`.", commands.join(", "))),
    }
}

impl Args {
    /// Checks all that can be refused before anything is made.
    async fn resolve(&self, context: &Context, kind: ProviderKind, project: Project) -> Result<Resolved, Fault> {
        let Project { command, folder, root } = project;
        let kinds = [kind];
        self.machine.refuse_unfit(&kinds)?;
        let of_image = [("--setup", self.setup.is_some()), ("--keep-failed", self.keep_failed.is_some())];
        refuse_options(&of_image, &kinds, |kind| kind != ProviderKind::Host)?;
        refuse_wait(self.wait.is_some(), &kinds)?;
        context.require_ssh()?;
        context.require_platform(kind, FolderCommand::PLATFORM)?;
        let mut artifacts = self.artifacts.clone();
        artifacts.add(command.artifacts.clone());
        let fetch = artifacts.check()?;
        let workdir = self.workdir.clone().or(command.workdir.clone()).unwrap_or_default();
        check_workdir(&workdir)?;
        let env = self.variables.resolve(command.env.clone())?;
        let plan = match kind {
            ProviderKind::Host => None,
            _ => Some(self.image_plan(context, &command, &root)?),
        };
        let limit = self.timeout.or(command.timeout);
        let context = &context.on(kind);
        let mut machine = self.machine.clone();
        if let Some(network) = command.network {
            machine.hardware.or_network(network.into());
        }
        let order = machine.order(context, plan.as_ref(), "hg", self.lifetime(kind, limit)?);
        let (secrets, input) = (self.variables.secrets()?, self.input()?);
        let source = self.files.find(&folder).await?;
        self.files.check(&source, &context.screen)?;
        if !source.has_folder(Path::new(&workdir)) {
            return Err(Fault::usage(format!("the folder `{workdir}` is none of those that are sent")));
        }
        let (words, patience) = (command.words, self.wait.unwrap_or(project::PATIENCE));
        let command = FolderCommand { words, env, secrets, input, workdir, patience, source: Some(source) };
        Ok(Resolved { command, plan, order, fetch, limit })
    }

    /// What the command reads, where that was asked for.
    fn input(&self) -> Result<Vec<u8>, Fault> {
        let mut input = Vec::new();
        if self.stdin {
            let read = std::io::stdin().lock().take(INPUT_CAP + 1).read_to_end(&mut input);
            read.map_err(|error| Fault::outside("cannot read standard input").because(error))?;
        }
        match input.len() as u64 > INPUT_CAP {
            true => Err(Fault::usage(format!("standard input has more than {}", text::bytes(INPUT_CAP)))
                .hint("Have it in a file of the folder that is sent.")),
            false => Ok(input),
        }
    }

    fn image_plan(&self, context: &Context, command: &ProjectCommand, root: &Path) -> Result<ImagePlan, Fault> {
        let image = self.image.as_deref().or(command.image.as_deref()).unwrap_or(USUAL_IMAGE);
        let definition = context.definition(image)?;
        let mut choice =
            self.machine.declared_choice(context, &definition, command.distro.as_deref(), &BTreeMap::new())?;
        choice.set_up = match (&self.setup, &command.setup) {
            (Some(setup), _) => Some(SetUp::read(setup, Path::new(""))?),
            (None, Some(setup)) => Some(SetUp::read(setup, root)?),
            (None, None) => None,
        };
        let plan = definition.plan(&choice).map_err(|fault| self.machine.name_setting(context, fault))?;
        if plan.platform != FolderCommand::PLATFORM {
            return Err(Fault::usage(format!("machines of `{image}` have no Linux"))
                .hint("`machine up` and `machine exec` run commands there."));
        }
        Ok(plan)
    }

    /// How long the machine may live: longer than the command, by the time around it.
    fn lifetime(&self, kind: ProviderKind, limit: Option<Duration>) -> Result<Duration, Fault> {
        let ttl = self.ttl.unwrap_or_else(|| default_ttl(kind));
        match limit {
            Some(timeout) if timeout > ttl.saturating_sub(AROUND) && self.ttl.is_none() => Ok(timeout + AROUND),
            Some(timeout) if timeout >= ttl => Err(Fault::usage(format!(
                "the command may take {}, longer than the machine lives, {}",
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
        limit: resolved.limit,
        fetch: &resolved.fetch,
        keep_failed: args.keep_failed,
        once_begun,
    };
    let ended = run_command(&session.run, &session.site, &job, &records).await?;
    announcer.settle();
    let ending = command_end::conclude(session, &resolved.command.line(), ended, args.json)?;
    Ok(accept_detach(args.detach, ending))
}
