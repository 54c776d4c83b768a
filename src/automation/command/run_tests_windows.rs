//! `automation run-tests-windows`.

use model::fault::Fault;
use model::matrix::Point;
use project::mercurial::{self, WindowsArch, WindowsPython, WindowsTests, WindowsWork};

use crate::command::machine_args::HardwareArgs;
use crate::command::matrix_args::{KnownAxis, in_cell};
use crate::command::mercurial_args::MercurialArgs;
use crate::command::package_args::architectures;
use crate::command::test_args::{ResolvedCell, ResolvedGroup, ResolvedTests, TestArgs};
use crate::command::test_run::run_tests;
use crate::command::testing::ON_WINDOWS;
use crate::command::windows_args::{WindowsImage, WindowsImageArgs};
use crate::compose::{Context, current_folder};

/// The options of `automation run-tests-windows`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    image: WindowsImageArgs,
    /// The Python that runs the tests: 3.N; that of the installed Mercurial is 3.13 [default: 3.13]
    #[arg(long, value_name = "VERSION", value_parser = WindowsPython::parse_version)]
    python_version: Option<String>,
    /// The architecture of that Python [default: x64]
    #[arg(long, value_name = "ARCH", value_parser = architectures(WindowsArch::RUN))]
    arch: Option<WindowsArch>,
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

/// The Python that runs the tests where nobody says otherwise: that of the installed Mercurial.
const USUAL_PYTHON: &str = "3.13";

/// The axes of `--matrix`.
const PYTHON: &str = "python";
const ARCH: &str = "arch";

/// Runs the tests.
pub async fn run(context: Context, mut args: Args) -> Result<i32, Fault> {
    let context = args.testing.on.apply(context, args.testing.detach)?;
    let groups = args.testing.groups(&context)?;
    let [(kind, machines)] = groups.as_slice() else {
        return Err(Fault::usage("machines of two providers do not have the same Windows")
            .hint("Name machines of one provider in `--shards`."));
    };
    let (kind, machines) = (*kind, *machines);
    let points = args.testing.points(&args.axes(), None)?;
    let earlier = args.mercurial.take_earlier(&context)?;
    let wanted = args.mercurial.wanted(points, earlier.as_ref(), &args.axes(), args.testing.has_matrix());
    args.hardware.refuse_unfit(&[kind])?;
    args.image.refuse_unfit(&[kind])?;
    if let Some(text) = args.test_flags.take() {
        let words = model::base::quote::split(&text)
            .ok_or_else(|| Fault::usage("a quote in `--test-flags` does not end").hint("Give the flags after `--`."))?;
        args.mercurial.flags.splice(0..0, words);
    }
    args.mercurial.refuse_unfit()?;
    args.testing.refuse_unfit(&[kind])?;
    let context = context.privileged(args.hardware.privileged_machine)?.on(kind);
    context.require_ssh()?;
    context.require_platform(kind, WindowsWork::PLATFORM)?;
    let ttl = args.testing.lifetime(kind)?;
    let current = current_folder()?;
    let checkout = args.mercurial.checkout(&current, &context.screen).await?;
    let image = args.image.plan(&context, kind).await?;
    let order = WindowsImage::order(image.as_ref(), &args.hardware, &context, ttl);
    let ssh = context.ssh()?;
    let cell = |(point, tests): (Point, Vec<String>)| {
        let runner = WindowsTests {
            tests: mercurial::resolve_tests(&tests, &current, checkout.as_ref(), args.mercurial.image_source)?,
            flags: args.mercurial.flags.clone(),
            python: args.python_at(&point).map_err(|fault| in_cell(&point, fault))?,
            work: WindowsWork { checkout: checkout.clone(), ssh: ssh.clone(), patience: args.testing.patience() },
        };
        let plan = image.as_ref().map(|image| image.plan.clone());
        let groups = vec![ResolvedGroup { kind, machines, plan, order: order.clone() }];
        Ok(ResolvedCell { point, runner: Box::new(runner), groups })
    };
    let cells = wanted.into_iter().map(cell).collect::<Result<_, Fault>>()?;
    let of_checkout = checkout.as_ref().and_then(|checkout| checkout.remark.clone());
    let of_earlier =
        earlier.and_then(|earlier| earlier.remark(checkout.as_ref().map(|checkout| checkout.node.as_str())));
    let remarks = of_checkout.into_iter().chain(of_earlier).collect();
    let clauses = &[mercurial::clauses_on(WindowsWork::PLATFORM)];
    run_tests(context, &args.testing, ResolvedTests { command: ON_WINDOWS, cells, clauses, remarks }).await
}

impl Args {
    /// The axes of `--matrix`, each with the option that chooses the same where that is given.
    fn axes(&self) -> [KnownAxis<'static>; 2] {
        let python = self.python_version.as_ref().map(|_| "--python-version");
        [(PYTHON, python), (ARCH, self.arch.map(|_| "--arch"))]
    }

    /// The Python at a point of the matrix.
    fn python_at(&self, point: &Point) -> Result<WindowsPython, Fault> {
        let version = match (point.get(PYTHON), &self.python_version) {
            (Some(version), _) => WindowsPython::parse_version(version).map_err(Fault::usage)?,
            (None, Some(version)) => version.clone(),
            (None, None) => USUAL_PYTHON.to_owned(),
        };
        let arch = match point.get(ARCH) {
            Some(name) => WindowsArch::RUN.into_iter().find(|arch| arch.name() == name).ok_or_else(|| {
                let names: Vec<&str> = WindowsArch::RUN.into_iter().map(WindowsArch::name).collect();
                Fault::usage(format!("`{name}` is not one of {}", names.join(", ")))
            })?,
            None => self.arch.unwrap_or(WindowsArch::X64),
        };
        Ok(WindowsPython { version, arch })
    }
}
