//! Gives the version that `--version` prints: with the commit that the tool is built from, where that is known.
//!
//! The same source gives the same version: the date is the commit's, and no clock is asked. Outside of a repository of the project's own,
//! as in a source archive, the version stands alone, unless whoever made the archive says what it holds (`tests/release`).

use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable with the commit and its date, as `0123456 2026-12-01`, where there is no repository to ask.
const GIVEN: &str = "AUTOMATION_RELEASE_COMMIT";

/// The digits of the commit's hash that are shown.
const DIGITS: usize = 7;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rerun-if-env-changed={GIVEN}");
    let given = std::env::var(GIVEN).ok().filter(|given| !given.is_empty());
    let commit = given.or_else(|| std::env::var_os("CARGO_MANIFEST_DIR").and_then(|own| commit(Path::new(&own))));
    let whole = commit.map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=AUTOMATION_VERSION={whole}");
}

/// The commit and its date, and to Cargo the files that change with it. `own` is the folder of this package.
fn commit(own: &Path) -> Option<String> {
    let root = own.ancestors().nth(2)?.canonicalize().ok()?;
    // A source archive that was unpacked within somebody else's repository is none of that repository's commits.
    if Path::new(&git(&root, &["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != root {
        return None;
    }
    let line = git(&root, &["log", "-1", "--no-show-signature", "--format=%H %cs"])?;
    let (hash, date) = line.split_once(' ')?;
    for file in watched(&root) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    Some(format!("{} {date}", hash.get(..DIGITS)?))
}

/// What changes with the commit. All of it is there: Cargo would run this at each build for the sake of a file that is missing.
fn watched(root: &Path) -> Vec<PathBuf> {
    let path = |name: &str| Some(root.join(git(root, &["rev-parse", "--git-path", name])?));
    // Whatever moves `HEAD` adds a line to its log, and what happens to other branches does not.
    if let Some(log) = path("logs/HEAD").filter(|log| log.is_file()) {
        return vec![log];
    }
    let mut watched: Vec<PathBuf> =
        ["HEAD", "packed-refs"].into_iter().filter_map(path).filter(|file| file.is_file()).collect();
    // A branch that is packed gets a file with its next commit, in a folder that is watched till then.
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]).and_then(|name| path(&name));
    watched.extend(branch.iter().flat_map(|file| file.ancestors()).find(|above| above.exists()).map(Path::to_owned));
    watched
}

/// What `git` says of the repository around `root`, without the end of the line; none where it does not, or is not there.
fn git(root: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(["-c", "core.fsmonitor=false"]).args(args);
    // A build within a hook of another repository.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    let done = command.output().ok().filter(|done| done.status.success())?;
    let said = String::from_utf8(done.stdout).ok()?.trim_end().to_owned();
    (!said.is_empty()).then_some(said)
}
