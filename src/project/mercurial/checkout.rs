//! The user's own checkout: where it is, which changeset is meant, what is uncommitted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::fault::Fault;
use crate::project::mercurial::hg::hg;
use crate::project::mercurial::needs::Needs;

/// How long a question to the local repository may take. A cold `hg status` of a large checkout on a slow disk takes
/// half a minute.
const QUESTION: Duration = Duration::from_secs(120);

/// Where a source says what its build needs.
const BUILD_FILE: &str = "pyproject.toml";

/// A changeset of a Mercurial checkout on this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The repository's root.
    pub root: PathBuf,
    /// The changeset, 40 hexadecimal digits.
    pub node: String,
    /// Uncommitted changes as a Git-style patch, when they are to be sent and there are any.
    pub patch: Option<Vec<u8>>,
    /// Whether they change what a build reads, rather than only what is read in place when Mercurial runs.
    pub rebuilds: bool,
}

impl Checkout {
    /// The changeset, as short as people are shown it.
    pub fn short(&self) -> &str {
        self.node.get(..12).unwrap_or(&self.node)
    }

    /// What its build needs, as it is sent.
    pub async fn needs(&self) -> Result<Needs, Fault> {
        if self.patch.is_some() {
            let text = std::fs::read_to_string(self.root.join(BUILD_FILE));
            return Ok(text.map(|text| Needs::parse(&text)).unwrap_or_default());
        }
        // A source of before 2019 has none, and so has one of ours in a test.
        let said = hg(&self.root, &["cat", &format!("--rev={}", self.node), BUILD_FILE], QUESTION).await?;
        Ok(Needs::parse(&String::from_utf8_lossy(&said.stdout)))
    }
}

enum Found {
    Mercurial(PathBuf),
    Git(PathBuf),
    Neither,
}

fn climb(from: &Path) -> Found {
    for folder in from.ancestors() {
        if folder.join(".hg").is_dir() {
            return Found::Mercurial(folder.to_owned());
        }
        if folder.join(".git").exists() {
            return Found::Git(folder.to_owned());
        }
    }
    Found::Neither
}

/// Finds the source to test.
///
/// With `source` it must be a Mercurial checkout of Mercurial; without, the checkout that holds `current`, or none when
/// `current` is in no Mercurial checkout (then the image's own source is tested). `revision` and `working_copy` are the
/// user's wishes, which need a checkout.
pub async fn find(
    source: Option<&Path>,
    current: &Path,
    revision: Option<&str>,
    working_copy: bool,
) -> Result<Option<Checkout>, Fault> {
    let start = source.unwrap_or(current);
    if source.is_some() && !start.is_dir() {
        return Err(Fault::usage(format!("`--source {}` is not a folder", start.display())));
    }
    let start = start
        .canonicalize()
        .map_err(|error| Fault::outside(format!("cannot open `{}`", start.display())).because(error))?;
    let root = match (climb(&start), source) {
        (Found::Mercurial(root), _) => root,
        (Found::Git(root), Some(_)) => {
            return Err(Fault::usage(format!("`{}` is a Git checkout, not a Mercurial one", root.display()))
                .hint("Only a Mercurial checkout can be sent: clone Mercurial with `hg clone` and name that."));
        }
        (Found::Neither, Some(_)) => {
            return Err(Fault::usage(format!("`{}` is in no Mercurial checkout", start.display())));
        }
        (Found::Git(root), None) if root.join("tests/run-tests.py").is_file() => {
            return Err(Fault::usage(format!(
                "`{}` is a Git checkout of Mercurial, and only a Mercurial one can be sent",
                root.display()
            ))
            .hint("Clone Mercurial with `hg clone` and run it there; elsewhere the image's own source is tested."));
        }
        (_, None) if revision.is_some() || working_copy => {
            return Err(Fault::usage("`--revision` and `--working-copy` need a Mercurial checkout")
                .hint("Run it inside one, or name one with `--source DIR`."));
        }
        (_, None) => return Ok(None),
    };
    if !root.join("tests/run-tests.py").is_file() {
        return Err(Fault::usage(format!(
            "`{}` is no checkout of Mercurial: it has no tests/run-tests.py",
            root.display()
        ))
        .hint("Name a checkout of Mercurial with `--source DIR`, or run it outside of any checkout."));
    }
    resolve(root, revision.unwrap_or("."), working_copy).await.map(Some)
}

async fn resolve(root: PathBuf, revision: &str, working_copy: bool) -> Result<Checkout, Fault> {
    let rev = format!("--rev={revision}");
    let said = hg(&root, &["log", &rev, "--template", "{node} {phase}\\n"], QUESTION).await?;
    if said.code != Some(0) {
        return Err(Fault::usage(format!("`{}` has no revision `{revision}`", root.display())).because(said.stderr));
    }
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut lines = text.lines();
    let (node, phase) = match (lines.next().and_then(|line| line.split_once(' ')), lines.next()) {
        (Some((node, phase)), None) => (node.to_owned(), phase.to_owned()),
        (None, _) => return Err(Fault::usage(format!("`{revision}` names no changeset"))),
        (Some(_), Some(_)) => return Err(Fault::usage(format!("`{revision}` names more than one changeset"))),
    };
    if phase == "secret" {
        return Err(Fault::usage(format!("`{revision}` is secret, and secret changesets do not travel"))
            .hint("`hg phase --draft` makes it a draft; the machine keeps it a draft."));
    }
    let patch = if working_copy { changes(&root, revision, &node).await? } else { None };
    let rebuilds = patch.is_some() && changed(&root).await?.iter().any(|path| shapes_build(path));
    Ok(Checkout { root, node, patch, rebuilds })
}

async fn changes(root: &Path, revision: &str, node: &str) -> Result<Option<Vec<u8>>, Fault> {
    let said = hg(root, &["parents", "--template", "{node}\\n"], QUESTION).await?;
    let parents = String::from_utf8_lossy(&said.stdout).into_owned();
    let parents: Vec<&str> = parents.lines().collect();
    match parents[..] {
        [parent] if parent == node => {}
        [_, _] => return Err(Fault::usage("an uncommitted merge cannot be sent with `--working-copy`")),
        _ => {
            return Err(Fault::usage(format!(
                "`--working-copy` belongs to the revision checked out, not to `{revision}`"
            ))
            .hint("Leave `--revision` out."));
        }
    }
    let said = hg(root, &["diff", "--git"], QUESTION).await?;
    if said.code != Some(0) {
        return Err(Fault::outside("cannot read the uncommitted changes").because(said.stderr));
    }
    Ok(Some(said.stdout).filter(|patch| !patch.is_empty()))
}

/// The paths of tracked files that differ from the changeset that is checked out.
async fn changed(root: &Path) -> Result<Vec<String>, Fault> {
    let args = ["status", "--modified", "--added", "--removed", "--deleted", "--no-status", "--print0"];
    let said = hg(root, &args, QUESTION).await?;
    if said.code != Some(0) {
        return Err(Fault::outside("cannot tell which files have uncommitted changes").because(said.stderr));
    }
    let paths = said.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Ok(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
}

/// Whether a build reads the file. What is not known to be read in place may be part of a build.
fn shapes_build(path: &str) -> bool {
    const IN_PLACE: [&str; 6] =
        ["tests/", "doc/", "relnotes/", "mercurial/helptext/", "mercurial/templates/", "mercurial/defaultrc/"];
    // What builds is written in Python too.
    const BUILDS: [&str; 3] = ["setup.py", "contrib/python-zstandard/", "mercurial/cffi/"];
    let starts = |known: &[&str]| known.iter().any(|start| path.starts_with(start));
    starts(&BUILDS) || !(path.ends_with(".py") || starts(&IN_PLACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_reads_makes_a_build_stale_and_nothing_else_does() {
        for path in
            ["mercurial/commands.py", "hgext/rebase.py", "tests/test-add.t", "tests/x.c", "mercurial/helptext/urls.txt"]
        {
            assert!(!shapes_build(path), "{path}");
        }
        for path in [
            "setup.py",
            "pyproject.toml",
            "hg",
            "mercurial/cext/revlog.c",
            "mercurial/cffi/bdiffbuild.py",
            "contrib/python-zstandard/setup_zstd.py",
            "i18n/de.po",
            "rust/hg-core/src/lib.rs",
        ] {
            assert!(shapes_build(path), "{path}");
        }
    }
}
