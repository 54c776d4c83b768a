//! `automation run-tests-linux`.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use flow::order::Order;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::image::ImagePlan;
use model::machine::ProviderKind;
use project::mercurial;

use crate::command::distro;
use crate::command::machine_args::MachineArgs;
use crate::command::mercurial_args::{EarlierRun, MercurialArgs};
use crate::command::test_args::{ResolvedTests, TestArgs, run_tests};
use crate::command::testing::ON_LINUX;
use crate::compose::{Context, current_folder};

/// The options of `automation run-tests-linux`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: automation run-tests-linux test-add.t test-commit.t -- --timeout 60 -j 4")]
pub struct Args {
    #[command(flatten)]
    machine: MachineArgs,
    /// The file system of the work folder [default: default, or the settings' `defaults.filesystem`]
    #[arg(long, value_parser = filesystems())]
    filesystem: Option<Filesystem>,
    #[command(flatten)]
    mercurial: MercurialArgs,
    #[command(flatten)]
    testing: TestArgs,
}

/// The size of the second volume, bytes: that of the original tool. On this computer the file behind it is sparse.
const VOLUME: u64 = 8 << 30;

/// The names of file systems, for the command line.
fn filesystems() -> impl TypedValueParser<Value = Filesystem> {
    let named = |it: Filesystem| PossibleValue::new(it.name()).help(it.place());
    PossibleValuesParser::new(Filesystem::ALL.map(named)).try_map(|name: String| name.parse::<Filesystem>())
}

/// Runs the tests.
pub async fn run(context: Context, mut args: Args) -> Result<i32, Fault> {
    let kind = context.default_provider()?;
    let earlier = args.mercurial.take_earlier(&context)?;
    if let Some(distro) = earlier.as_ref().and_then(EarlierRun::distro).filter(|_| kind != ProviderKind::Host) {
        args.machine.prefer_distro(distro);
    }
    args.machine.refuse_unfit(kind)?;
    args.mercurial.refuse_unfit()?;
    args.testing.refuse_unfit(kind)?;
    let context = context.privileged(args.machine.hardware.privileged_machine)?;
    context.require_ssh()?;
    context.require_platform(kind, mercurial::LinuxTests::PLATFORM)?;
    let ttl = args.testing.lifetime(kind)?;
    let current = current_folder()?;
    let checkout = mercurial::find(&args.mercurial.wish(), &current).await?;
    let tests =
        mercurial::resolve_tests(&args.mercurial.tests, &current, checkout.as_ref(), args.mercurial.image_source)?;
    let needs = match &checkout {
        Some(checkout) if kind != ProviderKind::Host && mercurial::builds(&args.mercurial.flags) => {
            checkout.needs().await?
        }
        _ => mercurial::BuildNeeds::default(),
    };
    let chosen = match kind {
        ProviderKind::Host => None,
        _ => Some(
            distro::choose(&context, &args.machine, checkout.as_ref(), &needs)
                .map_err(|fault| args.machine.name_setting(&context, fault))?,
        ),
    };
    let (plan, why) = chosen.map(|chosen| (chosen.plan, chosen.why)).unzip();
    let values = match &plan {
        Some(plan) => plan.values.clone(),
        None => args.machine.parameters.without_image(&context)?,
    };
    let before = earlier.as_ref().and_then(EarlierRun::filesystem);
    let filesystem = args.filesystem.or(before).unwrap_or(context.settings.defaults.filesystem);
    let runner = mercurial::LinuxTests {
        tests,
        flags: args.mercurial.flags.clone(),
        filesystem,
        python_version: mercurial::python(&values),
        image: plan.as_ref().map(ImagePlan::fingerprint),
        checkout,
        ssh: context.ssh()?,
        patience: args.testing.patience(),
    };
    let volume = filesystem.needs_volume().then_some(VOLUME);
    let order = Order { volume, filesystem, ..args.machine.order(&context, plan.as_ref(), "hg", ttl) };
    let of_checkout = runner.checkout.as_ref().and_then(|checkout| checkout.remark.clone());
    let node = runner.checkout.as_ref().map(|checkout| checkout.node.as_str());
    let of_earlier = earlier.and_then(|earlier| earlier.remark(node));
    let resolved = ResolvedTests {
        command: ON_LINUX,
        runner: &runner,
        plan: plan.as_ref(),
        order: &order,
        clauses: &[mercurial::CLAUSES],
        remarks: why.flatten().into_iter().chain(of_checkout).chain(of_earlier).collect(),
    };
    run_tests(context, &args.testing, resolved).await
}
