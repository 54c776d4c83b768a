//! `automation build-windows-installer`, `build-inno` and `build-wix`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use model::fault::Fault;
use project::mercurial::{InstallerType, PackageWish, Stage, WindowsArch};

use crate::command::package_args::{PackageArgs, architectures, build, parse_version};
use crate::compose::Context;

/// The options of `automation build-windows-installer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: automation build-windows-installer --type inno --arch x64 --revision 7.2.4")]
pub struct Args {
    /// The types of installers [default: both]
    #[arg(long = "type", value_name = "TYPE", num_args = 1.., value_delimiter = ',', value_parser = types())]
    types: Vec<InstallerType>,
    #[command(flatten)]
    installer: InstallerArgs,
}

/// The options of every command that builds installers.
#[derive(Debug, clap::Args)]
pub struct InstallerArgs {
    /// The architectures
    #[arg(long, value_name = "ARCH", num_args = 1.., value_delimiter = ',', default_value = "x64", value_parser = architectures(WindowsArch::RUN))]
    arch: Vec<WindowsArch>,
    /// The version of the installers [default: that of the revision's tag]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<String>,
    /// What they are made of: the source's wheel and Python's embeddable archive, or all that the source's packaging makes with
    /// PyOxidizer [default: wheel for inno, pyoxidizer for wix]
    #[arg(long, value_name = "STAGE", value_parser = stages())]
    stage: Option<Stage>,
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
    of_types(context, args.installer, "build-windows-installer", types).await
}

/// `build-inno`: installers of type inno.
pub async fn run_inno(context: Context, args: InstallerArgs) -> Result<i32, Fault> {
    of_types(context, args, "build-inno", vec![InstallerType::Inno]).await
}

/// `build-wix`: installers of type wix.
pub async fn run_wix(context: Context, args: InstallerArgs) -> Result<i32, Fault> {
    of_types(context, args, "build-wix", vec![InstallerType::Wix]).await
}

async fn of_types(
    context: Context,
    args: InstallerArgs,
    command: &'static str,
    installers: Vec<InstallerType>,
) -> Result<i32, Fault> {
    let InstallerArgs { arch, version, stage, packages } = args;
    let wish = PackageWish { wheels: None, installers, installer_archs: arch, stage, version };
    build(context, packages, command, wish).await
}
