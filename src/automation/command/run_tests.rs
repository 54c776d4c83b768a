//! `automation run-tests`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::ProviderKind;
use model::matrix::Point;
use model::outcome::TestOutcome;
use project::declared::{self, Declaration, DeclaredTests, Surroundings};
use project::file::ProjectFile;
use project::image::{ImageChoice, SetUp};
use project::source::Source;

use crate::command::boot_image::{BootImage, BootImages, plan_of_snapshot};
use crate::command::error::exit;
use crate::command::machine_args::{DISTRO, MachineArgs};
use crate::command::matrix_args::in_cell;
use crate::command::runs::ended_results_of;
use crate::command::test_args::{ResolvedCell, ResolvedGroup, ResolvedTests, TestArgs};
use crate::command::test_run::run_tests;
use crate::command::testing::DECLARED;
use crate::command::unfit::refuse_options;
use crate::compose::{Context, current_folder, home};

/// The options of `automation run-tests`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file that declares the tests [default: the table `[tests.NAME]` of the project's `automation.toml`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which of several tables `[tests.NAME]` of `automation.toml`
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    suite: Option<String>,
    /// List the presets that a file can name
    #[arg(long, conflicts_with_all = ["config", "suite", "tests", "flags", "detach"])]
    presets: bool,
    /// Tests to run, by their names as the command `list` prints them [default: all]
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// Flags for the test runner, as they are, behind those of the file
    #[arg(last = true, value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Run the tests again that failed or timed out in this run: its id, its beginning, or `latest`
    #[arg(long, value_name = "RUN", conflicts_with_all = ["tests", "lost_of", "presets"])]
    failed_of: Option<String>,
    /// Run the tests that were lost in this run
    #[arg(long, value_name = "RUN", conflicts_with_all = ["tests", "presets"])]
    lost_of: Option<String>,
    /// The image to boot: a definition, or what `machine snapshot` has made [default: the file's `image`, or linux-dev]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// The folder to test [default: the file's `source`, or the current folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    testing: TestArgs,
}

/// The axis of `--matrix` beside the distribution.
const IMAGE: &str = "image";

/// The definition of the image where nothing is said.
const USUAL_IMAGE: &str = "linux-dev";

/// Runs the tests, or lists the presets.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    match args.presets {
        true => list_presets(&context, args.testing.asks_for_json()),
        false => run_declared(context, args).await,
    }
}

/// What is declared of the tests, and what holds for their machines.
struct Declared {
    declaration: Declaration,
    around: Surroundings,
    /// What root does once to the image.
    set_up: Option<SetUp>,
}

impl Declared {
    /// By the file that is named, or by the project's own.
    fn read(args: &Args) -> Result<Self, Fault> {
        if let Some(config) = &args.config {
            let (declaration, around) = declared::load(config)?;
            return Ok(Self { declaration, around, set_up: None });
        }
        let folder = args.source.clone().map_or_else(current_folder, Ok)?;
        let file = ProjectFile::find(&folder, home().ok().as_deref())?.ok_or_else(|| {
            let (name, folder) = (project::file::NAME, folder.display());
            Fault::usage(format!("nothing says which tests there are: there is no `{name}` for `{folder}`"))
                .hint("Name a file with `--config FILE`; `docs/runners.md` explains its keys, `--presets` lists what is known.")
        })?;
        let suite = file.suite(args.suite.as_deref())?;
        let (declaration, around) = declared::load_suite(&file.path, suite)?;
        let usual = file.usual();
        let set_up = usual.setup.as_ref().map(|setup| setup.set_up(file.root())).transpose()?;
        let around = Surroundings {
            source: around.source.or_else(|| Some(file.root().to_owned())),
            image: around.image.or(usual.image),
            distro: around.distro.or(usual.distro),
            network: around.network.or(usual.network),
            ..around
        };
        Ok(Self { declaration, around, set_up })
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

impl Args {
    /// The names of the tests: those that are named, or those of an earlier run of `program`; empty for all.
    fn tests(&self, context: &Context, program: &str) -> Result<Vec<String>, Fault> {
        let (run, what, is_wanted): (_, _, fn(TestOutcome) -> bool) = match (&self.failed_of, &self.lost_of) {
            (Some(run), _) => (run, "failed or timed out", TestOutcome::is_failure),
            (None, Some(run)) => (run, "was lost", |outcome| !outcome.is_known()),
            (None, None) => {
                let mut seen = BTreeSet::new();
                return Ok(self.tests.iter().filter(|test| seen.insert(*test)).cloned().collect());
            }
        };
        let results = ended_results_of(context, run, program)?;
        let tests = results.tests.iter().filter(|test| is_wanted(test.outcome)).map(|test| test.name.to_string());
        // A test of several cells is one.
        let tests: BTreeSet<String> = tests.collect();
        if tests.is_empty() {
            let show = context.to_type(&format!("runs show {}", results.id));
            return Err(Fault::usage(format!("no test of run `{}` {what}", results.id))
                .hint(format!("`{show}` tells what its tests came to.")));
        }
        Ok(tests.into_iter().collect())
    }
}

async fn run_declared(context: Context, mut args: Args) -> Result<i32, Fault> {
    let context = args.testing.on.apply(context, args.testing.detach)?;
    let Declared { mut declaration, around, set_up } = Declared::read(&args)?;
    declaration.add_flags(&args.flags)?;
    if let Some(network) = around.network {
        args.machine.hardware.or_network(network.into());
    }
    args.testing.artifacts.add(around.artifacts.clone());
    args.testing.timeout = args.testing.timeout.or(declaration.limit);
    let groups = args.testing.groups(&context)?;
    let kinds: Vec<ProviderKind> = groups.iter().map(|(kind, _)| *kind).collect();
    args.machine.refuse_unfit(&kinds)?;
    let points = args.testing.points(
        &[args.machine.known_distro(), (IMAGE, args.image.as_ref().map(|_| "--image"))],
        args.machine.distro_axis()?,
    )?;
    let is_host = kinds.contains(&ProviderKind::Host);
    if is_host && points.iter().any(|point| point.name().is_some()) {
        return Err(
            Fault::usage("a machine that is there already has the image that it has").hint("Leave `--matrix` out.")
        );
    }
    args.testing.refuse_unfit(&kinds)?;
    let context = context.privileged(args.machine.hardware.privileged_machine)?;
    context.require_ssh()?;
    for kind in &kinds {
        context.require_platform(*kind, DeclaredTests::PLATFORM)?;
    }
    refuse_options(&[("--image", args.image.is_some())], &kinds, |kind| kind != ProviderKind::Host)?;
    let around = Surroundings { image: args.image.clone().or(around.image), ..around };
    let source = find_source(&args, &around).await?;
    let images = BootImages::of(&context, &kinds, points.iter().map(|point| image_name(&around, point))).await?;
    let tests = args.tests(&context, &declaration.name)?;
    let mut cells = Vec::new();
    for point in points {
        let group = |(kind, machines): &(ProviderKind, usize)| {
            let context = &context.on(*kind);
            let plan = match kind {
                ProviderKind::Host => None,
                _ => Some(plan(context, *kind, &args.machine, (&around, set_up.as_ref(), &images), &point)?),
            };
            let ttl = args.testing.lifetime(*kind)?;
            let order = args.machine.order(context, plan.as_ref(), "hg", ttl);
            Ok(ResolvedGroup { kind: *kind, machines: *machines, plan, order })
        };
        let groups = groups.iter().map(group).collect::<Result<_, Fault>>()?;
        let (declaration, tests, source) = (declaration.clone(), tests.clone(), Some(source.clone()));
        let (patience, again) = (args.testing.patience(), args.testing.on.is_given());
        let runner = DeclaredTests { declaration, tests, source, patience, again };
        cells.push(ResolvedCell { point, runner: Box::new(runner), groups });
    }
    let resolved = ResolvedTests { command: DECLARED, cells, clauses: &[], remarks: Vec::new() };
    run_tests(context, &args.testing, resolved).await
}

/// The name of the image at this point of the matrix.
fn image_name<'a>(around: &'a Surroundings, point: &'a Point) -> &'a str {
    point.get(IMAGE).or(around.image.as_deref()).unwrap_or(USUAL_IMAGE)
}

/// The image that the file and the options name, at this point of the matrix.
fn plan(
    context: &Context,
    kind: ProviderKind,
    machine: &MachineArgs,
    (around, set_up, images): (&Surroundings, Option<&SetUp>, &BootImages),
    point: &Point,
) -> Result<ImagePlan, Fault> {
    let mut machine = machine.clone();
    if let Some(distro) = point.get(DISTRO) {
        machine.choose_distro(distro);
    }
    let plan = || match images.get(context, kind, image_name(around, point))? {
        BootImage::Snapshot(record) => plan_of_snapshot(record, set_up, kind, &machine.given_of_definition()),
        BootImage::Definition(definition) => {
            let choice = machine.declared_choice(context, &definition, around.distro.as_deref(), &around.values)?;
            definition.plan(&ImageChoice { set_up: set_up.cloned(), ..choice })
        }
    };
    let plan = plan().map_err(|fault| in_cell(point, fault))?;
    match plan.platform == DeclaredTests::PLATFORM {
        true => Ok(plan),
        false => Err(in_cell(point, Fault::usage(format!("machines of `{}` have no Linux", plan.name)))),
    }
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
