//! `automation build-windows-wheel`.

use model::fault::Fault;
use project::mercurial::{PackageWish, WheelWish, WindowsArch, WindowsPython};

use crate::command::package_args::{PackageArgs, architectures, build};
use crate::compose::Context;

/// The options of `automation build-windows-wheel`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The Pythons: 3.N, or 3.Nt without the global lock [default: those that the revision has wheels for]
    #[arg(long, value_name = "VERSION", num_args = 1.., value_delimiter = ',', value_parser = parse_python)]
    python_version: Vec<String>,
    /// The architectures
    #[arg(long, value_name = "ARCH", num_args = 1.., value_delimiter = ',', default_value = "x64", value_parser = architectures(WindowsArch::ALL))]
    arch: Vec<WindowsArch>,
    #[command(flatten)]
    packages: PackageArgs,
}

/// Reads the version of a Python that wheels are made for.
fn parse_python(text: &str) -> Result<String, String> {
    WindowsPython::parse_version(text.strip_suffix('t').unwrap_or(text)).map(|_| text.to_owned())
}

/// Builds the wheels.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let wheels = WheelWish { pythons: args.python_version, archs: args.arch };
    let wish = PackageWish { wheels: Some(wheels), ..PackageWish::default() };
    build(context, args.packages, "build-windows-wheel", wish, None).await
}
