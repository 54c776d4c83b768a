//! `automation run-tests-windows`.

use std::time::Instant;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use flow::testing::{OnceBegun, TestJob};
use model::fault::Fault;
use model::machine::ProviderKind;
use project::image::ImageChoice;
use project::mercurial::{self, WindowsArch, WindowsPython, WindowsTests};

use crate::command::image::baking_for;
use crate::command::machine_args::HardwareArgs;
use crate::command::session::Session;
use crate::command::test_args::{TestArgs, drive};
use crate::command::testing::ON_WINDOWS;
use crate::compose::{Context, current_folder};

/// The options of `automation run-tests-windows`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: automation run-tests-windows --python-version 3.13 test-lock.py -- --with-hg C:/hgdev/python/Scripts/hg.exe"
)]
pub struct Args {
    /// The image's definition
    #[arg(long, value_name = "NAME", default_value = "windows-standin")]
    image: String,
    /// The Python that runs the tests: 3.N
    #[arg(long, value_name = "VERSION", default_value = "3.9", value_parser = WindowsPython::parse_version)]
    python_version: String,
    /// The architecture of that Python
    #[arg(long, value_name = "ARCH", default_value = WindowsArch::X64.name(), value_parser = architectures())]
    arch: WindowsArch,
    /// Flags for run-tests.py in one text, split as a shell splits it; those after `--` come behind them
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    test_flags: Option<String>,
    #[command(flatten)]
    hardware: HardwareArgs,
    #[command(flatten)]
    testing: TestArgs,
}

fn architectures() -> impl TypedValueParser<Value = WindowsArch> {
    PossibleValuesParser::new(WindowsArch::ALL.map(WindowsArch::name))
        .try_map(|name: String| WindowsArch::named(&name).ok_or_else(|| format!("`{name}` is not an architecture")))
}

/// Runs the tests.
pub async fn run(context: Context, mut args: Args) -> Result<i32, Fault> {
    let kind = context.default_provider()?;
    args.hardware.refuse_unfit(kind)?;
    if let Some(text) = args.test_flags.take() {
        let words = model::base::quote::split(&text)
            .ok_or_else(|| Fault::usage("a quote in `--test-flags` does not end").hint("Give the flags after `--`."))?;
        args.testing.flags.splice(0..0, words);
    }
    args.testing.refuse_unfit(kind)?;
    let context = context.privileged(args.hardware.privileged_machine)?;
    context.require_ssh()?;
    context.require_platform(kind, WindowsTests::PLATFORM)?;
    let ttl = args.testing.lifetime(kind)?;
    let current = current_folder()?;
    let checkout = mercurial::find(&args.testing.wish(), &current).await?;
    let tests = mercurial::resolve_tests(&args.testing.tests, &current, checkout.as_ref(), args.testing.image_source)?;
    let plan = match kind {
        ProviderKind::Host => None,
        _ => {
            let definition = context.definition(&args.image)?;
            let distro = definition.distro_for(None, &context.settings.defaults.distro);
            let plan = definition.plan(&ImageChoice::new(context.base_choice()?, distro))?;
            if plan.platform != WindowsTests::PLATFORM {
                return Err(Fault::usage(format!("machines of the image `{}` do not have Windows", args.image))
                    .hint("Name another with `--image`."));
            }
            Some(plan)
        }
    };
    let runner = WindowsTests {
        tests,
        flags: args.testing.flags.clone(),
        python: WindowsPython { version: args.python_version, arch: args.arch },
        checkout,
        ssh: context.ssh()?,
        patience: args.testing.patience(),
    };
    let fetch = args.testing.artifacts.check()?;
    let mut order = args.hardware.order(&context, plan.as_ref(), "hg", ttl);
    // Somebody else's machine is of no image that could say it.
    order.platform = WindowsTests::PLATFORM;
    args.testing.reports.check()?;
    // The time that the look-ups above took belongs to no part of the run.
    let began = Instant::now();
    let session = Session::begin(context, ON_WINDOWS).await?;
    if let Some(remark) = runner.checkout.as_ref().and_then(|checkout| checkout.remark.clone()) {
        session.run.tell(remark);
    }
    let job = TestJob {
        runner: &runner,
        plan: plan.as_ref(),
        baking: &baking_for(&order),
        order: &order,
        clauses: &[mercurial::clauses_on(WindowsTests::PLATFORM)],
        fetch: &fetch,
        limit: args.testing.timeout,
        allow_all_skipped: args.testing.allow_all_skipped,
        began,
        once_begun: OnceBegun::Follow(&|| ()),
    };
    let result = drive(&session, &args.testing, job).await;
    session.end(result).await
}
