//! `automation run-tests`.

use std::path::{Path, PathBuf};

use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::ProviderKind;
use model::matrix::Point;
use project::declared::{self, DeclaredTests, Surroundings};
use project::source::Source;

use crate::command::error::exit;
use crate::command::machine_args::MachineArgs;
use crate::command::matrix_args::in_cell;
use crate::command::test_args::{ResolvedCell, ResolvedGroup, ResolvedTests, TestArgs};
use crate::command::test_run::run_tests;
use crate::command::testing::DECLARED;
use crate::compose::{Context, current_folder};

/// The options of `automation run-tests`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file that declares the tests
    #[arg(long, value_name = "FILE", required_unless_present = "presets")]
    config: Option<PathBuf>,
    /// List the presets that a file can name
    #[arg(long, conflicts_with_all = ["config", "tests", "flags", "detach"])]
    presets: bool,
    /// Tests to run, by their names as the command `list` prints them [default: all]
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// Flags for the test runner, as they are, behind those of the file
    #[arg(last = true, value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// The folder to test [default: the file's `source`, or the current folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    testing: TestArgs,
}

/// The axes of `--matrix`.
const DISTRO: &str = "distro";
const IMAGE: &str = "image";

/// The definition of the image where nothing is said.
const USUAL_IMAGE: &str = "linux-dev";

/// Runs the tests, or lists the presets.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    match args.config.clone() {
        Some(config) if !args.presets => run_declared(context, args, &config).await,
        _ => list_presets(&context, args.testing.asks_for_json()),
    }
}

fn list_presets(context: &Context, json: bool) -> Result<i32, Fault> {
    let presets = declared::presets()?;
    match json {
        true => context.screen.json(&presets),
        false => {
            for preset in presets {
                let packages = preset.packages.join(" ");
                context.screen.data(&format!("{:<14} {} (Debian: {packages})\n", preset.name, preset.description));
            }
        }
    }
    Ok(exit::OK)
}

async fn run_declared(context: Context, mut args: Args, config: &Path) -> Result<i32, Fault> {
    let (mut declaration, around) = declared::load(config)?;
    declaration.add_flags(&args.flags)?;
    if let Some(network) = around.network {
        args.machine.hardware.or_network(network.into());
    }
    args.testing.artifacts.add(around.artifacts.clone());
    args.testing.timeout = args.testing.timeout.or(declaration.limit);
    let groups = args.testing.groups(&context)?;
    let kinds: Vec<ProviderKind> = groups.iter().map(|(kind, _)| *kind).collect();
    let points = args.testing.points(&[(DISTRO, args.machine.named_distro().map(|_| "--distro")), (IMAGE, None)])?;
    let is_host = kinds.contains(&ProviderKind::Host);
    if is_host && points.iter().any(|point| point.name().is_some()) {
        return Err(
            Fault::usage("a machine that somebody else made has the image that it has").hint("Leave `--matrix` out.")
        );
    }
    args.machine.refuse_unfit(&kinds)?;
    args.testing.refuse_unfit(&kinds)?;
    let context = context.privileged(args.machine.hardware.privileged_machine)?;
    context.require_ssh()?;
    for kind in &kinds {
        context.require_platform(*kind, DeclaredTests::PLATFORM)?;
    }
    let source = find_source(&args, &around).await?;
    let tests = std::mem::take(&mut args.tests);
    let mut cells = Vec::new();
    for point in points {
        let group = |(kind, machines): &(ProviderKind, usize)| {
            let context = &context.on(*kind);
            let plan = match kind {
                ProviderKind::Host => None,
                _ => Some(plan(context, &args.machine, &around, &point)?),
            };
            let ttl = args.testing.lifetime(*kind)?;
            let order = args.machine.order(context, plan.as_ref(), "hg", ttl);
            Ok(ResolvedGroup { kind: *kind, machines: *machines, plan, order })
        };
        let groups = groups.iter().map(group).collect::<Result<_, Fault>>()?;
        let (declaration, tests, source) = (declaration.clone(), tests.clone(), Some(source.clone()));
        let runner = DeclaredTests { declaration, tests, source, patience: args.testing.patience() };
        cells.push(ResolvedCell { point, runner: Box::new(runner), groups });
    }
    let resolved = ResolvedTests { command: DECLARED, cells, clauses: &[], remarks: Vec::new() };
    run_tests(context, &args.testing, resolved).await
}

/// The image that the file and the options name, at this point of the matrix.
fn plan(context: &Context, machine: &MachineArgs, around: &Surroundings, point: &Point) -> Result<ImagePlan, Fault> {
    let mut machine = machine.clone();
    if let Some(distro) = point.get(DISTRO) {
        machine.prefer_distro(distro);
    }
    let image = point.get(IMAGE).or(around.image.as_deref()).unwrap_or(USUAL_IMAGE);
    let plan = || {
        let definition = context.definition(image)?;
        let choice = machine.declared_choice(context, &definition, around.distro.as_deref(), &around.values)?;
        definition.plan(&choice)
    };
    plan().map_err(|fault| in_cell(point, fault))
}

/// The folder to test: the option's, the file's, or the current one.
async fn find_source(args: &Args, around: &Surroundings) -> Result<Source, Fault> {
    if let Some(named) = &args.source
        && !named.is_dir()
    {
        return Err(Fault::usage(format!("`--source {}` is not a folder", named.display())));
    }
    let current = current_folder()?;
    let source = Source::find(args.source.as_deref().or(around.source.as_deref()).unwrap_or(&current)).await?;
    if source.is_empty() {
        return Err(Fault::usage(format!("there is nothing to test in `{}`", source.top.display()))
            .hint("Run it in the folder of the source, or name that with `--source DIR`."));
    }
    Ok(source)
}
