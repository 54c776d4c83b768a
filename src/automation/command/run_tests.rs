//! `automation run-tests`.

use std::path::{Path, PathBuf};

use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::ProviderKind;
use project::declared::{self, DeclaredTests, NetworkWord, Source, Surroundings};

use crate::command::error::exit;
use crate::command::machine_args::{MachineArgs, NetworkArg};
use crate::command::test_args::{ResolvedTests, TestArgs, run_tests};
use crate::command::testing::DECLARED;
use crate::compose::{Context, current_folder};

/// The options of `automation run-tests`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: automation run-tests --config tests.toml tests/test_a.py::test_one -- -x")]
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
        args.machine.hardware.or_network(match network {
            NetworkWord::Loopback => NetworkArg::Loopback,
            NetworkWord::Host => NetworkArg::Host,
        });
    }
    args.testing.artifacts.add(around.artifacts.clone());
    args.testing.timeout = args.testing.timeout.or(declaration.limit);
    let kind = context.default_provider()?;
    args.machine.refuse_unfit(kind)?;
    args.testing.refuse_unfit(kind)?;
    let context = context.privileged(args.machine.hardware.privileged_machine)?;
    context.require_ssh()?;
    context.require_platform(kind, DeclaredTests::PLATFORM)?;
    let ttl = args.testing.lifetime(kind)?;
    let plan = match kind {
        ProviderKind::Host => None,
        _ => Some(plan(&context, &args.machine, &around)?),
    };
    let source = find_source(&args, &around).await?;
    let tests = std::mem::take(&mut args.tests);
    let runner = DeclaredTests { declaration, tests, source: Some(source), patience: args.testing.patience() };
    let order = args.machine.order(&context, plan.as_ref(), "hg", ttl);
    let resolved = ResolvedTests {
        command: DECLARED,
        runner: &runner,
        plan: plan.as_ref(),
        order: &order,
        clauses: &[],
        remarks: Vec::new(),
    };
    run_tests(context, &args.testing, resolved).await
}

/// The image that the file and the options name.
fn plan(context: &Context, machine: &MachineArgs, around: &Surroundings) -> Result<ImagePlan, Fault> {
    let definition = context.definition(around.image.as_deref().unwrap_or(USUAL_IMAGE))?;
    let choice = machine.declared_choice(context, &definition, around.distro.as_deref(), &around.values)?;
    definition.plan(&choice)
}

/// The folder to test: the option's, the file's, or the current one.
async fn find_source(args: &Args, around: &Surroundings) -> Result<Source, Fault> {
    if let Some(named) = &args.source
        && !named.is_dir()
    {
        return Err(Fault::usage(format!("`--source {}` is not a folder", named.display())));
    }
    let current = current_folder()?;
    Source::find(args.source.as_deref().or(around.source.as_deref()).unwrap_or(&current)).await
}
