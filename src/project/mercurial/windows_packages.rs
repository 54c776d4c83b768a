//! Mercurial's packages for Windows: which there are of a source, and how a machine builds each.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use model::event::Teller;
use model::fault::Fault;
use model::machine::Machine;
use model::output::Output;
use model::packaging::{PackageCell, Packager};
use model::preparation::{Job, Preparation, Tenancy};
use model::script::ScriptFile;
use model::task::StepCommand;
use model::work::Work;

use crate::mercurial::checkout::{BUILD_FILE, Checkout};
use crate::mercurial::release::{WindowsWheel, windows_wheels};
use crate::mercurial::windows_python::WindowsArch;
use crate::mercurial::windows_work::{self, WindowsWork, script};

const FILES: [ScriptFile; 4] = [
    ScriptFile::built_in("build_installer.py", include_str!("../../../remote/mercurial/windows/build_installer.py")),
    ScriptFile::built_in("build_wheel.py", include_str!("../../../remote/mercurial/windows/build_wheel.py")),
    ScriptFile::built_in("stage_installer.py", include_str!("../../../remote/mercurial/windows/stage_installer.py")),
    ScriptFile::built_in("wheels.py", include_str!("../../../remote/mercurial/windows/wheels.py")),
];

/// How long one package may take if no limit is given: a build of Rust with its packaging has taken an hour.
const BUILD_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// The source's own packaging, which knows the ways to an installer.
const PACKAGING: &str = "contrib/packaging/packaging.py";

/// The part of it that reads its arguments, in newer sources.
const ARGUMENTS: &str = "contrib/packaging/hgpackaging/cli.py";

/// The part of it by which an installer is made of a wheel.
const INNO: &str = "contrib/packaging/hgpackaging/inno.py";

/// A kind of installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallerType {
    /// A program, made by Inno Setup.
    Inno,
    /// An MSI, made by WiX.
    Wix,
}

impl InstallerType {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Inno, Self::Wix];

    /// Its name on the command line and in the source's packaging.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inno => "inno",
            Self::Wix => "wix",
        }
    }

    /// The kind that is called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What an installer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// What the source's own packaging makes by PyOxidizer.
    Pyoxidizer,
    /// The source's wheel and an embeddable Python.
    #[default]
    Wheel,
}

impl Stage {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Pyoxidizer, Self::Wheel];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pyoxidizer => "pyoxidizer",
            Self::Wheel => "wheel",
        }
    }

    /// The one that is called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

/// The packages that the user asks for.
#[derive(Debug, Clone, Default)]
pub struct PackageWish {
    /// Wheels, if any.
    pub wheels: Option<WheelWish>,
    /// The kinds of installers.
    pub installers: Vec<InstallerType>,
    /// The architectures of the installers; empty means those for which the source can have them.
    pub installer_archs: Vec<WindowsArch>,
    /// What installers of type inno are made of; only the source's own packaging makes an MSI.
    pub inno_stage: Stage,
    /// The version that installers get; without it that of the source's tag.
    pub version: Option<String>,
}

/// Wheels that the user asks for.
#[derive(Debug, Clone, Default)]
pub struct WheelWish {
    /// The versions of Python; empty means those that the source has.
    pub pythons: Vec<String>,
    /// The architectures; empty means those that the source has.
    pub archs: Vec<WindowsArch>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Package {
    Wheel {
        python: String,
        arch: WindowsArch,
    },
    Installer {
        kind: InstallerType,
        arch: WindowsArch,
        stage: Stage,
        /// The versions of Python that it may carry.
        pythons: Vec<String>,
    },
}

impl Package {
    fn cell(&self) -> PackageCell {
        match self {
            Self::Wheel { python, arch } => PackageCell {
                name: format!("wheel-{python}-{}", arch.name()),
                what: format!("the wheel for Python {python} on {}", arch.name()),
            },
            Self::Installer { kind, arch, .. } => PackageCell {
                name: format!("{}-{}", kind.name(), arch.name()),
                what: format!("the installer of type {} for {}", kind.name(), arch.name()),
            },
        }
    }
}

/// Packages of one source.
#[derive(Debug, Clone)]
pub struct WindowsPackages {
    work: WindowsWork,
    packages: Vec<Package>,
    /// The version that the user gives to installers.
    version: Option<String>,
    /// The release that the source is.
    tag: Option<String>,
}

impl WindowsPackages {
    /// The packages of a source that are asked for; refuses those that it does not have, before anything is made.
    pub async fn of(checkout: &Checkout, work: WindowsWork, wish: &PackageWish) -> Result<Self, Fault> {
        let mut packages = Vec::new();
        let files = checkout.read_some(&[BUILD_FILE, PACKAGING, ARGUMENTS, INNO]).await?;
        let build_file = files.get(BUILD_FILE).cloned().unwrap_or_default();
        if let (Some(_), Some(version), Some(tag)) = (&wish.wheels, &wish.version, &checkout.tag)
            && version != tag
        {
            let message = format!(
                "the wheels of revision {} are of version {tag}, and `--version {version}` is given",
                checkout.short()
            );
            return Err(Fault::usage(message).hint("Leave `--version` out, or name the revision that is tagged so."));
        }
        if let Some(wheels) = &wish.wheels {
            packages.extend(choose_wheels(&build_file, wheels, checkout)?);
        }
        for kind in &wish.installers {
            let stage = match kind {
                InstallerType::Inno => wish.inno_stage,
                InstallerType::Wix => Stage::Pyoxidizer,
            };
            need_packaging(checkout, stage, &files)?;
            need_version(checkout, stage, wish.version.as_deref(), &build_file)?;
            let all = wish.installer_archs.is_empty();
            for arch in if all { &WindowsArch::RUN } else { wish.installer_archs.as_slice() } {
                let pythons = match stage {
                    Stage::Pyoxidizer => Vec::new(),
                    Stage::Wheel => carried(&build_file, *arch)?,
                };
                if stage == Stage::Wheel && pythons.is_empty() {
                    if all {
                        continue;
                    }
                    return Err(no_wheel_for(checkout, *arch));
                }
                packages.push(Package::Installer { kind: *kind, arch: *arch, stage, pythons });
            }
        }
        // Who names one twice means it once.
        let mut chosen: Vec<Package> = Vec::new();
        for package in packages {
            if !chosen.contains(&package) {
                chosen.push(package);
            }
        }
        Ok(Self { work, packages: chosen, version: wish.version.clone(), tag: checkout.tag.clone() })
    }

    fn package(&self, cell: &PackageCell) -> Option<&Package> {
        self.packages.iter().find(|package| package.cell().name == cell.name)
    }
}

/// The wheels that are asked for, in the order of the source's own table.
fn choose_wheels(build_file: &str, wish: &WheelWish, checkout: &Checkout) -> Result<Vec<Package>, Fault> {
    let table = windows_wheels(build_file)?;
    let archs = |arch: &WindowsArch| wish.archs.is_empty() || wish.archs.contains(arch);
    for arch in &wish.archs {
        let there: Vec<String> =
            table.iter().filter(|wheel| wheel.arch() == *arch).map(|wheel| wheel.python()).collect();
        let lacking = wish.pythons.iter().find(|python| !there.contains(python));
        if lacking.is_none() && !there.is_empty() {
            continue;
        }
        let python = lacking.map(|python| format!(" for Python {python}")).unwrap_or_default();
        let some = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let message = format!("revision {} has no wheel{python} on {}", checkout.short(), arch.name());
        return Err(
            Fault::usage(message).hint(format!("Its pyproject.toml has wheels of that architecture for: {some}."))
        );
    }
    let wheels = table.iter().filter(|wheel| archs(&wheel.arch()));
    let chosen = wheels.filter(|wheel| wish.pythons.is_empty() || wish.pythons.contains(&wheel.python()));
    Ok(chosen.map(|wheel| Package::Wheel { python: wheel.python(), arch: wheel.arch() }).collect())
}

/// Refuses a source whose packaging cannot make such an installer.
fn need_packaging(checkout: &Checkout, stage: Stage, files: &BTreeMap<String, String>) -> Result<(), Fault> {
    let (needed, word) = match stage {
        Stage::Pyoxidizer => (PACKAGING, "--pyoxidizer-target"),
        Stage::Wheel => (INNO, "def build_installer"),
    };
    let too_old = |why: String| {
        Fault::usage(format!("revision {} cannot be packaged: {why}", checkout.short()))
            .hint("Name a newer one with `--revision REV`; `docs/windows.md` says what is asked of a source.")
    };
    // Which option the script knows is said by the script of its arguments, wherever it lies.
    let texts: &[&str] = match stage {
        Stage::Pyoxidizer => &[PACKAGING, ARGUMENTS],
        Stage::Wheel => &[INNO],
    };
    let found: String = texts.iter().filter_map(|path| files.get(*path)).map(String::as_str).collect();
    if found.is_empty() {
        return Err(too_old(format!("it has no {needed}")));
    }
    if !found.contains(word) {
        return Err(too_old(format!("its {needed} knows no `{word}`")));
    }
    Ok(())
}

/// Refuses a source that is no release, where nobody names a version: its packaging asks for one; or what it calls itself is a version
/// of setuptools-scm, such as `7.2.4.post1.dev3+h0123456789ab`, of which its packaging can make no version of Windows.
fn need_version(checkout: &Checkout, stage: Stage, version: Option<&str>, build_file: &str) -> Result<(), Fault> {
    let of_repository = || ["setuptools-scm", "setuptools_scm"].iter().any(|name| build_file.contains(name));
    if version.is_some() || checkout.tag.is_some() || (stage == Stage::Wheel && !of_repository()) {
        return Ok(());
    }
    let message =
        format!("revision {} is no release as it was tagged, and its packaging asks for a version", checkout.short());
    Err(Fault::usage(message).hint("Name one with `--version`, or a release with `--revision`."))
}

/// The versions of Python that an installer made of a wheel may carry: those that the source has wheels for.
fn carried(build_file: &str, arch: WindowsArch) -> Result<Vec<String>, Fault> {
    let table = windows_wheels(build_file)?;
    // There is no embeddable Python without the global lock.
    let wheels = table.iter().filter(|wheel| wheel.arch() == arch && !wheel.python().ends_with('t'));
    Ok(wheels.map(WindowsWheel::python).collect())
}

fn no_wheel_for(checkout: &Checkout, arch: WindowsArch) -> Fault {
    let message =
        format!("revision {} has no wheel on {}, of which an installer is made", checkout.short(), arch.name());
    Fault::usage(message).hint("Name another architecture, or `--stage pyoxidizer`.")
}

#[async_trait]
impl Preparation for WindowsPackages {
    fn files(&self) -> Vec<ScriptFile> {
        windows_work::FILES.into_iter().chain(FILES).collect()
    }

    fn set_up(&self, folder: &str, _: &Machine) -> Vec<Job> {
        vec![self.work.begin(folder)]
    }

    async fn send(&self, target: &Path, teller: &Teller) -> Result<(), Fault> {
        // A build asks the repository for its version.
        self.work.send(target, true, teller).await
    }

    /// Nothing: each of the programs says by itself what is wrong.
    fn explain(&self, _: &StepCommand, _: &Output) -> Option<Fault> {
        None
    }

    fn brings(&self) -> Option<String> {
        self.work.checkout.as_ref().map(Checkout::words)
    }

    fn place(&self) -> Option<String> {
        None
    }

    fn tenancy(&self) -> Option<Box<dyn Tenancy>> {
        Some(Box::new(self.work.turn()))
    }
}

impl Packager for WindowsPackages {
    fn cells(&self) -> Vec<PackageCell> {
        self.packages.iter().map(Package::cell).collect()
    }

    fn version(&self) -> Option<String> {
        self.version.clone().or_else(|| self.tag.clone())
    }

    fn clear(&self, folder: &str, is_first: bool) -> Vec<StepCommand> {
        self.work.check_out(folder, is_first)
    }

    fn build(&self, folder: &str, cell: &PackageCell, output: &str) -> StepCommand {
        let command = match self.package(cell) {
            // A wheel says its version itself, and a release's has to be that of its tag.
            Some(Package::Wheel { python, arch }) => {
                script(folder, "build_wheel.py").args([python, arch.name(), output]).args(self.tag.clone())
            }
            Some(Package::Installer { kind, arch, stage, pythons }) => {
                let version = self.version().unwrap_or_default();
                let tag = self.tag.as_deref().unwrap_or_default();
                let words = [kind.name(), arch.name(), &version, tag, stage.name(), output];
                script(folder, "build_installer.py").args(words).args(pythons.iter().cloned())
            }
            // Without arguments it says how it is used, and fails.
            None => script(folder, "build_wheel.py"),
        };
        StepCommand { work: Work::Building { what: cell.what.clone() }, command, limit: BUILD_LIMIT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const TABLE: &str = "[tool.cibuildwheel]\nbuild = 'cp39-* cp313-*'\nwindows.archs = 'x86 AMD64 ARM64'";

    fn checkout() -> Checkout {
        Checkout {
            root: PathBuf::from("/nowhere"),
            node: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            version: None,
            tag: None,
            tests: Vec::new(),
            patch: None,
            new_files: None,
            rebuilds: false,
            remark: None,
        }
    }

    fn chosen(pythons: &[&str], archs: &[WindowsArch]) -> Result<Vec<String>, String> {
        let pythons = pythons.iter().map(|python| (*python).to_owned()).collect();
        let wish = WheelWish { pythons, archs: archs.to_vec() };
        let wheels = choose_wheels(TABLE, &wish, &checkout()).map_err(|fault| fault.line())?;
        Ok(wheels.iter().map(|wheel| wheel.cell().name).collect())
    }

    #[test]
    fn wheels_are_those_that_the_source_has() {
        use WindowsArch::{Arm64, X64, X86};
        let all = ["wheel-3.9-x86", "wheel-3.9-x64", "wheel-3.13-x86", "wheel-3.13-x64", "wheel-3.13-arm64"];
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let expected = sorted(all.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(sorted(chosen(&[], &[]).unwrap()), expected);
        assert_eq!(chosen(&[], &[Arm64]).unwrap(), ["wheel-3.13-arm64"]);
        assert_eq!(chosen(&["3.13"], &[X64, X86]).unwrap().len(), 2);
        for (pythons, archs, told) in
            [(&["3.8"][..], &[X64][..], "no wheel for Python 3.8 on x64"), (&["3.9"], &[X64, Arm64], "3.9 on arm64")]
        {
            let fault = chosen(pythons, archs).unwrap_err();
            assert!(fault.contains(told), "{fault}");
        }
    }
}
