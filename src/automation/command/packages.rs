//! The subcommands that build packages for Windows.

use model::fault::Fault;

use crate::command::{build_all_windows_packages, build_windows_installer, build_windows_wheel};
use crate::compose::Context;

/// The subcommands of packages.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Build Mercurial's installers for Windows
    ///
    /// The revision is sent to a Windows machine, and its own packaging makes the installers there: on a local machine that
    /// stands in for Windows, on EC2, or on a machine of somebody else's (`--host USER@HOST --platform windows`). They land in
    /// `--dist` with a list of their sizes and sums. A package that cannot be built does not stop the others. Exit code: 0 all
    /// were built, 1 some failed, 4 some were lost. `docs/windows.md` says what is real.
    BuildWindowsInstaller(Box<build_windows_installer::Args>),
    /// Build installers of type inno alone
    BuildInno(Box<build_windows_installer::InnoArgs>),
    /// Build installers of type wix alone
    BuildWix(Box<build_windows_installer::WixArgs>),
    /// Build Mercurial's wheels for Windows
    ///
    /// By cibuildwheel, for the Pythons and architectures that the revision itself has wheels for. The rest is as with
    /// `build-windows-installer`.
    BuildWindowsWheel(Box<build_windows_wheel::Args>),
    /// Build all that a release has for Windows
    ///
    /// Every wheel of the revision's own table, and both types of installers for x86 and x64. The rest is as with
    /// `build-windows-installer`.
    BuildAllWindowsPackages(Box<build_all_windows_packages::Args>),
}

impl Command {
    /// Runs it; gives the exit code.
    pub async fn run(self, context: Context) -> Result<i32, Fault> {
        match self {
            Self::BuildWindowsInstaller(args) => build_windows_installer::run(context, *args).await,
            Self::BuildInno(args) => build_windows_installer::run_inno(context, *args).await,
            Self::BuildWix(args) => build_windows_installer::run_wix(context, *args).await,
            Self::BuildWindowsWheel(args) => build_windows_wheel::run(context, *args).await,
            Self::BuildAllWindowsPackages(args) => build_all_windows_packages::run(context, *args).await,
        }
    }
}
