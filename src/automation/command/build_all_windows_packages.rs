//! `automation build-all-windows-packages`.

use model::fault::Fault;
use project::mercurial::{InstallerType, PackageWish, Stage, WheelWish};

use crate::command::package_args::{InstallerArgs, PackageArgs, build};
use crate::compose::Context;

/// The options of `automation build-all-windows-packages`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    installers: InstallerArgs,
    #[command(flatten)]
    packages: PackageArgs,
}

/// Builds all that a release has: every wheel of the revision's table, and both installers for both architectures.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let wish = PackageWish {
        wheels: Some(WheelWish::default()),
        installers: InstallerType::ALL.to_vec(),
        installer_archs: Vec::new(),
        inno_stage: Stage::default(),
        version: args.installers.version,
    };
    build(context, args.packages, "build-all-windows-packages", wish, args.installers.sign).await
}
