//! `automation run-tests-linux`.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use flow::order::Order;
use model::event::TestsEvent;
use model::fault::Fault;
use model::filesystem::{Filesystem, NoFilesystem};
use model::image::ImagePlan;
use model::machine::ProviderKind;
use model::matrix::Point;
use project::mercurial::{self, Checkout};

use crate::command::boot_image::{BootImage, BootImages, plan_of_snapshot};
use crate::command::distro;
use crate::command::machine_args::{DISTRO, MachineArgs};
use crate::command::matrix_args::{KnownAxis, in_cell};
use crate::command::mercurial_args::{EarlierRun, MercurialArgs};
use crate::command::test_args::{ResolvedCell, ResolvedGroup, ResolvedTests, TestArgs};
use crate::command::test_run::run_tests;
use crate::command::testing::ON_LINUX;
use crate::command::unfit::refuse_options;
use crate::compose::{Context, current_folder};

/// The options of `automation run-tests-linux`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    machine: MachineArgs,
    /// An image that `machine snapshot` has made of a machine for such tests [default: linux-dev]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
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

/// The axes of `--matrix` beside the distribution.
const FILESYSTEM: &str = "filesystem";
const PYTHON: &str = "python";

/// The parameter of the image that an axis stands for.
const PYTHON_PARAMETER: &str = "python-version";

/// Runs the tests.
pub async fn run(context: Context, mut args: Args) -> Result<i32, Fault> {
    let context = args.testing.on.apply(context, args.testing.detach)?;
    let groups = args.testing.groups(&context)?;
    let kinds: Vec<ProviderKind> = groups.iter().map(|(kind, _)| *kind).collect();
    let distros = args.machine.distro_axis()?;
    let has_matrix = args.testing.has_matrix() || distros.is_some();
    let points = args.testing.points(&args.axes(), distros)?;
    let earlier = args.mercurial.take_earlier(&context)?;
    let wanted = args.mercurial.wanted(points, earlier.as_ref(), &args.axes(), has_matrix);
    let is_host = kinds.contains(&ProviderKind::Host);
    let has_axis = |axis| wanted.iter().any(|(point, _)| point.get(axis).is_some());
    let takes_distro = !is_host && !has_axis(DISTRO) && args.image.is_none();
    if let Some(distro) = earlier.as_ref().and_then(EarlierRun::distro).filter(|_| takes_distro) {
        args.machine.prefer_distro(distro);
    }
    args.machine.refuse_unfit(&kinds)?;
    if is_host && has_axis(DISTRO) {
        return Err(Fault::usage("a machine that is there already has the distribution that it has")
            .hint("Leave the axis `distro` out of `--matrix`."));
    }
    args.mercurial.refuse_unfit()?;
    args.testing.refuse_unfit(&kinds)?;
    let context = context.privileged(args.machine.hardware.privileged_machine)?;
    context.require_ssh()?;
    for kind in &kinds {
        context.require_platform(*kind, mercurial::LinuxTests::PLATFORM)?;
    }
    let current = current_folder()?;
    let checkout = args.mercurial.checkout(&current, &context.screen).await?;
    let resolve =
        |tests: &[String]| mercurial::resolve_tests(tests, &current, checkout.as_ref(), args.mercurial.image_source);
    let wanted = wanted.into_iter().map(|(point, tests)| Ok((point, resolve(&tests)?)));
    let wanted: Vec<(Point, Vec<String>)> = wanted.collect::<Result<_, Fault>>()?;
    let needs = match &checkout {
        Some(checkout) if !is_host && mercurial::builds(&args.mercurial.flags) => checkout.needs().await?,
        _ => mercurial::BuildNeeds::default(),
    };
    let of_checkout = checkout.as_ref().and_then(|checkout| checkout.remark.clone());
    let node = checkout.as_ref().map(|checkout| checkout.node.clone());
    let before = earlier.as_ref().and_then(EarlierRun::filesystem);
    refuse_options(&[("--image", args.image.is_some())], &kinds, |kind| kind != ProviderKind::Host)?;
    let images = BootImages::of(&context, &kinds, args.image.as_deref()).await?;
    let linux = Linux { context: &context, args: &args, groups, checkout, needs, before, images };
    let (mut cells, mut remarks) = (Vec::new(), Vec::new());
    for (point, tests) in wanted {
        let (cell, why) = linux.cell(&point, tests).map_err(|fault| in_cell(&point, fault))?;
        cells.push(cell);
        remarks.extend(why.filter(|why| !remarks.contains(why)));
    }
    let of_earlier = earlier.and_then(|earlier| earlier.remark(node.as_deref()));
    remarks.extend(of_checkout.into_iter().chain(of_earlier));
    let resolved = ResolvedTests { command: ON_LINUX, cells, clauses: &[mercurial::CLAUSES], remarks };
    run_tests(context, &args.testing, resolved).await
}

impl Args {
    /// The axes of `--matrix`, each with the option that chooses the same where that is given.
    fn axes(&self) -> [KnownAxis<'static>; 3] {
        let image = self.image.as_ref().map(|_| "--image");
        let python = self.machine.parameters.has(PYTHON_PARAMETER).then_some("--python-version").or(image);
        let distro = self.machine.known_distro().1.or(image);
        [(DISTRO, distro), (FILESYSTEM, self.filesystem.map(|_| "--filesystem")), (PYTHON, python)]
    }
}

/// What all cells have alike.
struct Linux<'a> {
    context: &'a Context,
    args: &'a Args,
    groups: Vec<(ProviderKind, usize)>,
    checkout: Option<Checkout>,
    needs: mercurial::BuildNeeds,
    /// The file system of the earlier run whose tests are run again.
    before: Option<Filesystem>,
    /// The images that `--image` may mean.
    images: BootImages,
}

impl Linux<'_> {
    /// The tests at one point of the matrix, and why their distribution was chosen where nobody named it.
    fn cell(&self, point: &Point, tests: Vec<String>) -> Result<(ResolvedCell, Option<TestsEvent>), Fault> {
        let context = self.context;
        let mut machine = self.args.machine.clone();
        if let Some(distro) = point.get(DISTRO) {
            machine.choose_distro(distro);
        }
        if let Some(python) = point.get(PYTHON) {
            machine.parameters.choose(PYTHON_PARAMETER, python);
        }
        let mut plans = Vec::new();
        let mut why = None;
        for (kind, _) in &self.groups {
            let (plan, told) = self.plan(*kind, &machine)?;
            plans.push(plan);
            why = why.or(told);
        }
        let plan = plans.first().cloned().flatten();
        let values = match &plan {
            Some(plan) => plan.values.clone(),
            None => machine.parameters.without_image(context)?,
        };
        let parse = |name: &str| name.parse().map_err(|error: NoFilesystem| Fault::usage(error.to_string()));
        let of_point = point.get(FILESYSTEM).map(parse).transpose()?;
        let chosen = of_point.or(self.args.filesystem).or(self.before);
        let filesystem = chosen.unwrap_or(context.settings.defaults.filesystem);
        let runner = mercurial::LinuxTests {
            tests,
            flags: self.args.mercurial.flags.clone(),
            filesystem,
            python_version: mercurial::python(&values),
            image: plan.as_ref().map(ImagePlan::fingerprint),
            checkout: self.checkout.clone(),
            ssh: context.ssh()?,
            patience: self.args.testing.patience(),
            again: self.args.testing.on.is_given(),
        };
        let volume = filesystem.needs_volume().then_some(VOLUME);
        let group = |((kind, machines), plan): (&(ProviderKind, usize), Option<ImagePlan>)| {
            let ttl = self.args.testing.lifetime(*kind)?;
            let order = machine.order(&context.on(*kind), plan.as_ref(), "hg", ttl);
            let order = Order { volume, filesystem, ..order };
            Ok(ResolvedGroup { kind: *kind, machines: *machines, plan, order })
        };
        let groups = self.groups.iter().zip(plans).map(group).collect::<Result<_, Fault>>()?;
        Ok((ResolvedCell { point: point.clone(), runner: Box::new(runner), groups }, why))
    }

    /// The image of machines of a provider, and why its distribution was chosen where nobody named it; none for machines that somebody
    /// else made. An image of a cloud begins otherwise than one of this computer.
    fn plan(
        &self,
        kind: ProviderKind,
        machine: &MachineArgs,
    ) -> Result<(Option<ImagePlan>, Option<TestsEvent>), Fault> {
        if kind == ProviderKind::Host {
            return Ok((None, None));
        }
        let context = &self.context.on(kind);
        if let Some(image) = &self.args.image {
            return Ok((Some(self.snapshot(context, kind, image, machine)?), None));
        }
        let chosen = distro::choose(context, machine, self.checkout.as_ref(), &self.needs)
            .map_err(|fault| machine.name_setting(context, fault))?;
        Ok((Some(chosen.plan), chosen.why))
    }

    /// The image that is the state of a machine: it has what its user has put there, so that no distribution has to be chosen.
    fn snapshot(
        &self,
        context: &Context,
        kind: ProviderKind,
        image: &str,
        machine: &MachineArgs,
    ) -> Result<ImagePlan, Fault> {
        match self.images.get(context, kind, image)? {
            BootImage::Snapshot(record) => {
                let plan = plan_of_snapshot(record, None, kind, &machine.given_of_definition())?;
                match plan.platform == mercurial::LinuxTests::PLATFORM {
                    true => Ok(plan),
                    false => Err(Fault::usage(format!("machines of `{image}` have no Linux"))),
                }
            }
            BootImage::Definition(_) => {
                Err(Fault::usage(format!("`--image` names the state of a machine, and `{image}` is a definition"))
                    .hint("Leave it out: these tests run on images of `linux-dev`. `automation run` boots any."))
            }
        }
    }
}
