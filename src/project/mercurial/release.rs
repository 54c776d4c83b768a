//! A release for Windows: which files it has, whether a file is what its name says, and what the download page is told.

mod artifact;
mod latest;
mod source;
pub(crate) mod version;
mod wheels;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use model::fault::Fault;
use model::release::{BuildManifest, MANIFEST, ReleaseFile};

pub use latest::{FILE as LATEST, LatestWish, change as latest_change, name_backup as latest_backup};
pub use source::{ReleaseSource, find as find_source};
pub use version::ReleaseVersion;
pub use wheels::{WindowsWheel, table as windows_wheels};

/// The project's name at package indexes, and the beginning of its wheels' names.
pub const PROJECT: &str = "mercurial";

/// Most missing files that an error names.
const NAMED: usize = 24;

/// The files that are to be there.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The version.
    pub version: &'a ReleaseVersion,
    /// The text of the `pyproject.toml` of its source.
    pub build_file: &'a str,
    /// Whether the installers belong to it: they go to no index.
    pub installers: bool,
}

/// Finds all files of a release in `folder`, and checks that each is whole and what its name says; the order is that of
/// their names. Blocks while it reads them.
pub fn collect(wanted: &Wanted<'_>, folder: &Path) -> Result<Vec<ReleaseFile>, Fault> {
    if !folder.is_dir() {
        return Err(Fault::usage(format!("there is no folder `{}`", folder.display()))
            .hint("Name the folder with the wheels and installers by `--dist DIR`."));
    }
    let manifest = read_manifest(wanted.version, folder)?;
    let version = wanted.version.as_str();
    let mut names: BTreeSet<String> = wheels::expected(wanted.build_file, version)?.into_iter().collect();
    if wanted.installers {
        names.extend(installers(version));
    }
    let listed = manifest.iter().flat_map(|manifest| manifest.of_version(version)).map(|artifact| &artifact.name);
    names.extend(
        listed.filter(|name| artifact::is_wheel(name) || (wanted.installers && artifact::is_installer(name))).cloned(),
    );
    let mut listed = manifest.iter().flat_map(|manifest| &manifest.artifacts);
    if let Some(built) = listed.find(|built| built.rehearsal && names.contains(&built.name)) {
        let message = format!("`{}` is a rehearsal: a machine built it that only stands in for Windows", built.name);
        return Err(Fault::outside(message).hint(
            "Build it with `--provider ec2`, or on a machine with Windows (`--host USER@HOST --platform windows`).",
        ));
    }
    let missing: Vec<&String> = names.iter().filter(|name| !folder.join(name).is_file()).collect();
    if !missing.is_empty() {
        return Err(missing_fault(&missing, names.len(), wanted, folder));
    }
    let read = |name: &String| {
        let built = manifest.as_ref().and_then(|manifest| manifest.artifacts.iter().find(|built| built.name == *name));
        artifact::check(folder, name, version, built)
    };
    in_parallel(names.iter().collect(), read)
}

/// Does `work` for each of `items` on as many threads as there are processors, and gives the results in order.
fn in_parallel<T: Sync + Copy, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<R, Fault> + Sync,
) -> Result<Vec<R>, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len().max(1));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, item)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, *items.get(at)?)))
                {
                    let result = work(item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(at, result);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// The manifest beside the files, where there is one.
fn read_manifest(version: &ReleaseVersion, folder: &Path) -> Result<Option<BuildManifest>, Fault> {
    let path = folder.join(MANIFEST);
    let failed = |why: String| Fault::outside(format!("cannot read the manifest `{}`", path.display())).because(why);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let manifest = BuildManifest::read(&bytes).map_err(failed)?;
    if manifest.of_version(version.as_str()).next().is_none() {
        let (path, other) = (path.display(), manifest.version.escape_debug());
        return Err(Fault::usage(format!(
            "the manifest `{path}` is of version `{other}`, not of `{}`",
            version.as_str()
        ))
        .hint("Build this version into that folder, or name another one with `--dist DIR`."));
    }
    Ok(Some(manifest))
}

/// The names of the installers.
fn installers(version: &str) -> [String; 4] {
    let [a, b, c, d] = latest::installers(version).map(|installer| installer.name);
    [a, b, c, d]
}

fn missing_fault(missing: &[&String], all: usize, wanted: &Wanted<'_>, folder: &Path) -> Fault {
    let named: Vec<&str> = missing.iter().take(NAMED).map(|name| name.as_str()).collect();
    let more = missing.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    let (version, place) = (wanted.version.as_str(), folder.display());
    let message = format!("{} of the {all} files of {version} are not in `{place}`", missing.len());
    let hint = match other_versions(folder, version).as_slice() {
        [] if wanted.installers => {
            "Build them, or fetch them there. `--no-mercurial-scm-org` publishes the wheels alone, which need no installers.".to_owned()
        }
        [] => "Build them, or fetch them there; `--dist DIR` names another folder.".to_owned(),
        others => format!("There are files of {} there: is that the version that you mean?", others.join(" and ")),
    };
    Fault::usage(message).because(format!("{}{more}", named.join("\n"))).hint(hint)
}

/// Versions of which there are wheels in the folder, when there are none of `version`.
fn other_versions(folder: &Path, version: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let found: BTreeSet<String> = names.filter_map(|name| artifact::version_of(&name).map(str::to_owned)).collect();
    if found.contains(version) { Vec::new() } else { found.into_iter().take(3).collect() }
}

#[cfg(test)]
mod tests;
