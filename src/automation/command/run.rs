//! `automation run`: any command, in the files of a folder, on a machine of its own.

mod cells;
mod drive;
mod history;
mod project;
mod resolve;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use ::project::command::FolderCommand;
use ::project::source::SourceSize;
use model::base::text;
use model::fault::Fault;
use model::preparation::Preparation;

use crate::command::artifact_args::ArtifactArgs;
use crate::command::command_end;
use crate::command::dry_run::{self, Wanted};
use crate::command::error;
use crate::command::machine_args::MachineArgs;
use crate::command::matrix_args::MatrixArgs;
use crate::command::on_machine_args::OnMachineArgs;
use crate::command::parting_args::PartingArgs;
use crate::command::run::project::Project;
use crate::command::run::resolve::{Resolved, ResolvedCell};
use crate::command::session::{Ending, Session};
use crate::command::source_args::SourceArgs;
use crate::command::variable_args::VariableArgs;
use crate::compose::Context;

/// The command's name in the journal.
pub const RUN: &str = "run";

/// The options of `automation run`.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
#[command(mut_arg("required", |arg| arg.help(ARTIFACT_HELP)), mut_arg("matrix", |arg| arg.help(MATRIX_HELP)))]
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
    /// Send the history too, so that `git` or `hg` work in the folder on the machine: what branches, tags and the index lead to, and none of this
    /// computer's settings, hooks and credentials
    #[arg(long)]
    history: bool,
    /// Say which machines would be made, from what image and at what price, and what would be sent; make nothing
    #[arg(long, conflicts_with_all = ["plan", "detach"])]
    dry_run: bool,
    /// Print the files that would be sent, and stop
    #[arg(long, conflicts_with = "detach")]
    plan: bool,
    /// The image to boot: a definition, or what `machine snapshot` has made [default: plain]
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
    /// Give the command this terminal, to talk with it. It ends with its driver, and the run keeps none of its output
    #[arg(short = 't', long, conflicts_with_all = ["stdin", "detach", "json", "secrets", "machines", "matrix"])]
    terminal: bool,
    /// Run the command again each time one of the files changes that are sent, on the same machine, until Ctrl-C ends it and the machine; the
    /// exit code is that of the last time
    #[arg(long, conflicts_with_all = ["stdin", "detach", "json", "terminal", "machines", "matrix", "sync_back", "keep_failed", "plan"])]
    watch: bool,
    /// The folder below the source in which the command runs [default: the source's top]
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// As whom the command runs on the machine [default: hg, who may call sudo]
    #[arg(long, value_enum)]
    user: Option<UserArg>,
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
    /// Run it on so many machines at once, the same on each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MOST_MACHINES))]
    machines: Option<u16>,
    #[command(flatten)]
    matrix: MatrixArgs,
    #[command(flatten)]
    artifacts: ArtifactArgs,
    /// Bring the files that match and that the command made or changed back into the folder itself, after a failure too; one that was changed
    /// here meanwhile stays as it is, which is an error. A path below the folder; may be repeated
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["machines", "matrix"])]
    sync_back: Vec<String>,
    #[command(flatten)]
    on: OnMachineArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    parting: PartingArgs,
    /// Print what the command came to as JSON; its output goes to standard error
    #[arg(long)]
    json: bool,
}

/// The most machines of `--machines`.
const MOST_MACHINES: i64 = model::matrix::MOST_POINTS as i64;

/// As whom a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum UserArg {
    /// The user for builds and tests, who may call sudo
    Hg,
    /// The administrator
    Root,
}

impl UserArg {
    /// The login name.
    fn name(self) -> &'static str {
        match self {
            Self::Root => guest::of(FolderCommand::PLATFORM).administrator(),
            Self::Hg => "hg",
        }
    }
}

/// The lines of usage in the help.
const USAGE: &str = "automation run [OPTIONS] -- COMMAND...\n       automation run [OPTIONS] --shell LINE\n       \
                     automation run [OPTIONS] NAME [-- ARGUMENT...]";

/// What a command has for axes.
const MATRIX_HELP: &str = "Run once for each combination of these values, each on a machine of its own: AXIS=VALUE,VALUE… where the axes are \
                           `distro`, `image` and `env.NAME`, as in `distro=debian12,debian13 env.CC=gcc,clang`";

/// What the files to fetch are relative to.
const ARTIFACT_HELP: &str = "Fetch the files that match: a path below the source's top, or an absolute path. A pattern that matches \
                             nothing is an error";

/// Runs the command; gives its exit code, or one that no usual command has.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let context = args.on.apply_as(context, args.detach, args.user.map(UserArg::name))?;
    let kind = context.default_provider()?;
    let project = Project::of(&args)?;
    if args.plan {
        return show_plan(&context, &args, &project).await;
    }
    let mut resolved = args.resolve(&context, kind, project).await?;
    if args.dry_run {
        return show_machines(&context, &args, &resolved).await;
    }
    let parting = context.parting(args.parting.wait_gone);
    let session = Session::begin_on(context, RUN, kind).await?.parting(Arc::new(parting));
    session.works_at(resolved.cells.first().and_then(|cell| cell.command.place()));
    let ended = drive_all(&session, &args, &mut resolved).await;
    let ended = history::remove(&session).and(ended);
    command_end::close(session, ended).await
}

/// Runs the command in all of its cells, with what travels beside its files.
async fn drive_all(session: &Session, args: &Args, resolved: &mut Resolved) -> Result<Ending, Fault> {
    let source = resolved.cells.first().and_then(|cell| cell.command.source.clone());
    if let (Some(history), Some(source)) = (&resolved.history, source) {
        let packed = history::pack(session, &source.top, history).await?;
        resolved.cells.iter_mut().for_each(|cell| cell.command.history = Some(Arc::clone(&packed)));
    }
    match resolved.cells.as_slice() {
        [cell] if cell.point.name().is_none() => drive::drive(session, args, resolved, cell).await,
        several => cells::drive(session, args, resolved, several).await,
    }
}

/// What would be sent, for programs.
#[derive(serde::Serialize)]
struct Planned {
    #[serde(flatten)]
    size: SourceSize,
    /// How many revisions, and about how many bytes, the history has that is sent as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<PlannedHistory>,
}

#[derive(serde::Serialize)]
struct PlannedHistory {
    revisions: u64,
    bytes: u64,
}

/// Says which machines would be made.
async fn show_machines(context: &Context, args: &Args, resolved: &Resolved) -> Result<i32, Fault> {
    let mut wanted = Vec::new();
    for ResolvedCell { point, plan, order, .. } in &resolved.cells {
        wanted.push(Wanted { cell: point.name(), kind: resolved.kind, machines: 1, plan: plan.as_ref(), order });
    }
    let source = resolved.cells.first().and_then(|cell| cell.command.brings());
    let history = resolved.history.as_ref().map(|history| format!("; {}", history.outline()));
    let source = source.map(|source| source + &history.unwrap_or_default());
    dry_run::show(context, &wanted, source, args.json).await
}

/// Prints what would be sent.
async fn show_plan(context: &Context, args: &Args, project: &Project) -> Result<i32, Fault> {
    let source = args.files.travel.find(&project.folder).await?;
    let (screen, history) = (&context.screen, args.history_of(&source).await?);
    if args.json {
        let history = history.map(|history| PlannedHistory { revisions: history.revisions, bytes: history.bytes });
        screen.json(&Planned { size: source.size(), history });
        return Ok(error::exit::OK);
    }
    for path in &source.paths {
        screen.data(&format!("{}\n", path.display()));
    }
    for path in args.files.travel.refused(&source)? {
        screen.message(&format!("Would be refused without `--allow-file`: {}", path.display()));
    }
    screen.message(&source.outline());
    if let Some(history) = history {
        screen.message(&format!("With {}", history.outline()));
        history.remarks.iter().for_each(|remark| screen.message(&format!("warning: {remark}")));
    }
    Ok(error::exit::OK)
}
