//! `automation run-tests-windows`.

use model::fault::Fault;
use project::mercurial::{self, WindowsArch, WindowsPython, WindowsTests, WindowsWork};

use crate::command::machine_args::HardwareArgs;
use crate::command::mercurial_args::MercurialArgs;
use crate::command::package_args::architectures;
use crate::command::test_args::{ResolvedTests, TestArgs, run_tests};
use crate::command::testing::ON_WINDOWS;
use crate::command::windows_args::{WindowsImage, WindowsImageArgs};
use crate::compose::{Context, current_folder};

/// The options of `automation run-tests-windows`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: automation run-tests-windows test-ancestor.py -- --with-hg C:/hgdev/python/Scripts/hg.exe"
)]
pub struct Args {
    #[command(flatten)]
    image: WindowsImageArgs,
    /// The Python that runs the tests: 3.N; that of the installed Mercurial is 3.13
    #[arg(long, value_name = "VERSION", default_value = "3.13", value_parser = WindowsPython::parse_version)]
    python_version: String,
    /// The architecture of that Python
    #[arg(long, value_name = "ARCH", default_value = WindowsArch::X64.name(), value_parser = architectures(WindowsArch::RUN))]
    arch: WindowsArch,
    /// Flags for run-tests.py in one text, split as a shell splits it; those after `--` come behind them
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    test_flags: Option<String>,
    #[command(flatten)]
    hardware: HardwareArgs,
    #[command(flatten)]
    mercurial: MercurialArgs,
    #[command(flatten)]
    testing: TestArgs,
}

/// Runs the tests.
pub async fn run(context: Context, mut args: Args) -> Result<i32, Fault> {
    let kind = context.default_provider()?;
    let earlier = args.mercurial.take_earlier(&context)?;
    args.hardware.refuse_unfit(kind)?;
    args.image.refuse_unfit(kind)?;
    if let Some(text) = args.test_flags.take() {
        let words = model::base::quote::split(&text)
            .ok_or_else(|| Fault::usage("a quote in `--test-flags` does not end").hint("Give the flags after `--`."))?;
        args.mercurial.flags.splice(0..0, words);
    }
    args.mercurial.refuse_unfit()?;
    args.testing.refuse_unfit(kind)?;
    let context = context.privileged(args.hardware.privileged_machine)?;
    context.require_ssh()?;
    context.require_platform(kind, WindowsWork::PLATFORM)?;
    let ttl = args.testing.lifetime(kind)?;
    let current = current_folder()?;
    let checkout = mercurial::find(&args.mercurial.wish(), &current).await?;
    let tests =
        mercurial::resolve_tests(&args.mercurial.tests, &current, checkout.as_ref(), args.mercurial.image_source)?;
    let image = args.image.plan(&context, kind)?;
    let runner = WindowsTests {
        tests,
        flags: args.mercurial.flags.clone(),
        python: WindowsPython { version: args.python_version, arch: args.arch },
        work: WindowsWork { checkout, ssh: context.ssh()?, patience: args.testing.patience() },
    };
    let order = WindowsImage::order(image.as_ref(), &args.hardware, &context, ttl);
    let of_checkout = runner.work.checkout.as_ref().and_then(|checkout| checkout.remark.clone());
    let node = runner.work.checkout.as_ref().map(|checkout| checkout.node.as_str());
    let of_earlier = earlier.and_then(|earlier| earlier.remark(node));
    let resolved = ResolvedTests {
        command: ON_WINDOWS,
        runner: &runner,
        plan: image.as_ref().map(|image| &image.plan),
        order: &order,
        clauses: &[mercurial::clauses_on(WindowsWork::PLATFORM)],
        remarks: of_checkout.into_iter().chain(of_earlier).collect(),
    };
    run_tests(context, &args.testing, resolved).await
}
