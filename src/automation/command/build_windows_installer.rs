//! `automation build-windows-installer`, `build-inno` and `build-wix`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use model::fault::Fault;
use project::mercurial::{InstallerType, PackageWish, Stage, WindowsArch};

use crate::command::package_args::{InstallerArgs, PackageArgs, architectures, build};
use crate::compose::Context;

/// The options of `automation build-windows-installer`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The types of installers [default: both]
    #[arg(long = "type", value_name = "TYPE", num_args = 1.., value_delimiter = ',', value_parser = types())]
    types: Vec<InstallerType>,
    #[command(flatten)]
    stage: StageArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// The options of `automation build-inno`.
#[derive(Debug, clap::Args)]
pub struct InnoArgs {
    #[command(flatten)]
    stage: StageArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// The options of `automation build-wix`.
#[derive(Debug, clap::Args)]
pub struct WixArgs {
    #[command(flatten)]
    common: CommonArgs,
}

/// The option of commands that build installers of type inno.
#[derive(Debug, clap::Args)]
struct StageArgs {
    /// What installers of type inno are made of: `wheel`, the source's wheel and an embeddable Python; or `pyoxidizer`, all that
    /// the source's packaging makes with PyOxidizer, as it always does for type wix [default: wheel]
    #[arg(long, value_name = "STAGE", value_parser = stages())]
    stage: Option<Stage>,
}

/// The options of every command that builds installers.
#[derive(Debug, clap::Args)]
struct CommonArgs {
    /// The architectures
    #[arg(long, value_name = "ARCH", num_args = 1.., value_delimiter = ',', default_value = "x64", value_parser = architectures(WindowsArch::RUN))]
    arch: Vec<WindowsArch>,
    #[command(flatten)]
    installers: InstallerArgs,
    #[command(flatten)]
    packages: PackageArgs,
}

fn types() -> impl TypedValueParser<Value = InstallerType> {
    PossibleValuesParser::new(InstallerType::ALL.map(InstallerType::name))
        .try_map(|name: String| InstallerType::named(&name).ok_or_else(|| format!("`{name}` is not a type")))
}

fn stages() -> impl TypedValueParser<Value = Stage> {
    PossibleValuesParser::new(Stage::ALL.map(Stage::name))
        .try_map(|name: String| Stage::named(&name).ok_or_else(|| format!("`{name}` is not a stage")))
}

/// Builds installers of the types that are asked for.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let types = if args.types.is_empty() { InstallerType::ALL.to_vec() } else { args.types };
    if args.stage.stage == Some(Stage::Wheel) && !types.contains(&InstallerType::Inno) {
        return Err(
            Fault::usage("`--stage wheel` is for installers of type inno, and none is asked for").hint("Leave it out.")
        );
    }
    let stage = args.stage.stage.unwrap_or_default();
    of_types(context, args.common, "build-windows-installer", types, stage).await
}

/// `build-inno`: installers of type inno.
pub async fn run_inno(context: Context, args: InnoArgs) -> Result<i32, Fault> {
    of_types(context, args.common, "build-inno", vec![InstallerType::Inno], args.stage.stage.unwrap_or_default()).await
}

/// `build-wix`: installers of type wix.
pub async fn run_wix(context: Context, args: WixArgs) -> Result<i32, Fault> {
    of_types(context, args.common, "build-wix", vec![InstallerType::Wix], Stage::default()).await
}

async fn of_types(
    context: Context,
    args: CommonArgs,
    command: &'static str,
    types: Vec<InstallerType>,
    inno_stage: Stage,
) -> Result<i32, Fault> {
    let CommonArgs { arch, installers: InstallerArgs { version, sign }, packages } = args;
    let wish = PackageWish { wheels: None, installers: types, installer_archs: arch, inno_stage, version };
    build(context, packages, command, wish, sign).await
}
