//! Where the source of a release is read: the revision of its tag, or what lies in the folder.

use std::path::Path;
use std::time::Duration;

use model::fault::Fault;
use serde::Deserialize;

use super::{PROJECT, ReleaseVersion};
use crate::mercurial::checkout::{BUILD_FILE, FoundSource, RELEASE, find_root};
use crate::program::{git, hg};

/// How long a question to the local repository may take.
const QUESTION: Duration = Duration::from_secs(120);

/// The source that says which files a release has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseSource {
    /// The text of its `pyproject.toml`.
    pub build_file: String,
    /// Where that was read, in words.
    pub words: String,
}

#[derive(Deserialize)]
struct PyProject {
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    name: Option<String>,
}

/// Finds the source of `version` in the folder that the user names, or else around `current`.
pub async fn find(named: Option<&Path>, current: &Path, version: &ReleaseVersion) -> Result<ReleaseSource, Fault> {
    let start = named.unwrap_or(current);
    if !start.is_dir() {
        return Err(Fault::usage(format!("`--source {}` is not a folder", start.display())));
    }
    let start = start
        .canonicalize()
        .map_err(|error| Fault::outside(format!("cannot open `{}`", start.display())).because(error))?;
    let version = version.as_str();
    let (root, tagged) = match find_root(&start) {
        FoundSource::Mercurial(root) => {
            let tagged = of_mercurial_tag(&root, version).await?;
            (root, tagged)
        }
        FoundSource::Git(root) => {
            let tagged = of_git_tag(&root, version).await?;
            (root, tagged)
        }
        FoundSource::Unversioned(root) => (root, None),
        FoundSource::Neither => return Err(no_source(&start)),
    };
    let source = match tagged {
        Some(source) => source,
        None => of_folder(&root, version)?.ok_or_else(|| no_source(&start))?,
    };
    match is_ours(&source.build_file) {
        true => Ok(source),
        false => Err(no_source(&start)),
    }
}

fn no_source(start: &Path) -> Fault {
    let message =
        format!("`{}` is not in a source of Mercurial, which says what wheels a release has", start.display());
    Fault::usage(message)
        .hint("Run it in a checkout of Mercurial or in an unpacked release, or name one with `--source DIR`.")
}

/// Whether a build file is that of this project. One that cannot be read is told when it is needed.
fn is_ours(build_file: &str) -> bool {
    let read = toml::from_str::<PyProject>(build_file);
    read.map_or(true, |read| read.project.and_then(|project| project.name).is_some_and(|name| name == PROJECT))
}

async fn of_mercurial_tag(root: &Path, version: &str) -> Result<Option<ReleaseSource>, Fault> {
    let tag = format!("--rev=tag('literal:{version}')");
    let said = hg(root, &["log", &tag, "--template", "{node}"], QUESTION).await?;
    let node = String::from_utf8_lossy(&said.stdout).into_owned();
    if said.code != Some(0) || node.is_empty() {
        return match said.stderr.contains("does not exist") || said.stderr.is_empty() {
            true => Ok(None),
            false => Err(Fault::usage(format!("`hg` cannot read `{}`", root.display())).because(said.stderr)),
        };
    }
    let said = hg(root, &["cat", &format!("--rev={node}"), &format!("path:{BUILD_FILE}")], QUESTION).await?;
    let short = node.get(..12).unwrap_or(&node);
    Ok(Some(ReleaseSource {
        build_file: String::from_utf8_lossy(&said.stdout).into_owned(),
        words: format!("tag {version} ({short}) of `{}`", root.display()),
    }))
}

async fn of_git_tag(root: &Path, version: &str) -> Result<Option<ReleaseSource>, Fault> {
    let said = git(root, &["show", &format!("refs/tags/{version}:{BUILD_FILE}")], QUESTION).await?;
    Ok((said.code == Some(0)).then(|| ReleaseSource {
        build_file: String::from_utf8_lossy(&said.stdout).into_owned(),
        words: format!("tag {version} of `{}`", root.display()),
    }))
}

/// The source that lies in a folder; refuses one that says that it is another version.
fn of_folder(root: &Path, version: &str) -> Result<Option<ReleaseSource>, Fault> {
    let stated = std::fs::read_to_string(root.join(RELEASE)).unwrap_or_default();
    let stated = stated.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::trim);
    if let Some(other) = stated.filter(|stated| *stated != version) {
        return Err(Fault::usage(format!(
            "the source in `{}` is version {}, not {version}",
            root.display(),
            other.escape_debug()
        ))
        .hint("Name that of the release with `--source DIR`, or a checkout that has its tag."));
    }
    let words = match stated {
        Some(_) => format!("the release in `{}`", root.display()),
        None => format!("the files in `{}` (it has no tag {version})", root.display()),
    };
    match std::fs::read_to_string(root.join(BUILD_FILE)) {
        Ok(build_file) => Ok(Some(ReleaseSource { build_file, words })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::outside(format!("cannot read `{}`", root.join(BUILD_FILE).display())).because(error)),
    }
}
