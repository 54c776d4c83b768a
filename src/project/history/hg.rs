//! A repository of `hg`'s, made anew: its store, what is checked out, bookmarks and tags of its own, and nothing of its settings. One whose
//! store lies elsewhere (`hg share`) is made whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::fault::Fault;

use crate::history::{Outlook, PACKING, copy, failed, listing, make, write};
use crate::program::hg;

/// How long a short question may take.
const QUESTION: Duration = Duration::from_secs(60);

/// Requirements of repositories that keep parts of themselves elsewhere, or that only an extension can read.
const ELSEWHERE: [&str; 6] =
    ["largefiles", "lfs", "remotefilelog", "exp-remotefilelog-repo-req-1", "narrowhg-experimental", "git"];

/// Requirements that belong to the working copy, and those that say that the store is elsewhere.
const OF_COPY: [&str; 3] = ["dirstate-v2", "dirstate-tracked-key-v1", "exp-sparse"];
const OF_SHARE: [&str; 2] = ["shared", "relshared"];

/// Changesets that stay on this computer.
const PRIVATE: &str = "secret() or hidden()";

/// Where the parts of a repository are.
struct Places {
    /// What belongs to the working copy.
    own: PathBuf,
    /// What belongs to the store.
    store: PathBuf,
}

impl Places {
    fn of(top: &Path) -> Result<Self, Fault> {
        let own = top.join(".hg");
        let store = match std::fs::read_to_string(own.join("sharedpath")) {
            // Relative to the folder that it stands in.
            Ok(shared) => own.join(shared.trim_end_matches('\n')),
            Err(_) => own.clone(),
        };
        let places = Self { own, store };
        let needs = places.requirements()?;
        let refused =
            |why: String| Err(Fault::usage(format!("the history of `{}` cannot be sent", top.display())).because(why));
        if let Some(need) = ELSEWHERE.iter().find(|need| needs.contains(**need)) {
            return refused(format!("it needs `{need}`, so parts of it are elsewhere, or an extension has to read it"));
        }
        if !places.store.join("store").is_dir() {
            return refused("its store has a form from before 2006, or is gone".to_owned());
        }
        Ok(places)
    }

    /// All that it needs of the `hg` that reads it.
    fn requirements(&self) -> Result<BTreeSet<String>, Fault> {
        let mut all = requirements(&self.own)?;
        all.extend(requirements(&self.store)?);
        all.extend(requirements(&self.store.join("store"))?);
        Ok(all)
    }
}

fn requirements(folder: &Path) -> Result<BTreeSet<String>, Fault> {
    let path = folder.join("requires");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(failed("read", &path, error)),
    }
}

/// What `hg log` prints for these revisions, hidden ones among them.
async fn log(top: &Path, revisions: &str, template: &str) -> Result<String, Fault> {
    let said = hg(top, &["log", "--hidden", "--rev", revisions, "--template", template], QUESTION).await?;
    match said.code {
        Some(0) => Ok(String::from_utf8_lossy(&said.stdout).into_owned()),
        _ => Err(Fault::outside(format!("`hg` cannot read the history of `{}`", top.display())).because(said.stderr)),
    }
}

/// Looks at a repository; refuses one that cannot be made whole.
pub(super) async fn look(top: &Path) -> Result<Outlook, Fault> {
    let places = Places::of(top)?;
    if !log(top, &format!("parents() and ({PRIVATE})"), "x").await?.is_empty() {
        return Err(Fault::usage(format!("the history of `{}` cannot be sent", top.display()))
            .because("what is checked out is secret or obsolete, and such changesets do not travel")
            .hint("`hg phase --draft` makes a secret one a draft."));
    }
    let revisions =
        log(top, "tip", "{rev}").await?.parse::<i64>().map_or(0, |last| u64::try_from(last + 1).unwrap_or_default());
    let size = |path: &PathBuf| std::fs::metadata(places.store.join("store").join(path)).map_or(0, |found| found.len());
    let bytes = of_store(&places.store)?.iter().map(size).sum();
    Ok(Outlook { revisions, bytes, remark: None })
}

/// The files of a store that belong to its history.
fn of_store(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let store = folder.join("store");
    let mut paths = listing(&store)?;
    paths.retain(|path| {
        let name = path.to_str().unwrap_or_default();
        // Those that undo the last transaction have what it was to be undone to.
        let is_passing = path.parent() == Some(Path::new(""))
            && (["lock", "wlock"].contains(&name) || name.starts_with("undo") || name.starts_with("journal"));
        !is_passing && std::fs::symlink_metadata(store.join(path)).is_ok_and(|found| found.is_file())
    });
    Ok(paths)
}

/// Makes the repository anew in the folder `into`.
pub(super) async fn pack(top: &Path, into: &Path) -> Result<(), Fault> {
    let places = Places::of(top)?;
    let is_public = log(top, PRIVATE, "x").await?.is_empty();
    let cloned = into.join("clone");
    if !is_public {
        clone(top, &cloned).await?;
    }
    let from = if is_public { places.store.clone() } else { cloned.join(".hg") };
    for path in of_store(&from)? {
        link(&from.join("store").join(&path), &into.join("store").join(&path))?;
    }
    if from.join("store/lock").symlink_metadata().is_ok() {
        return Err(Fault::outside(format!("`{}` was written to while its history was read", top.display()))
            .hint("Run it again once that is over."));
    }
    copy(&from.join("00changelog.i"), &into.join("00changelog.i"))?;
    // Working copies of one store have bookmarks of their own, unless they were made to share them.
    let shares = std::fs::read_to_string(places.own.join("shared")).unwrap_or_default();
    let is_apart = places.own != places.store && !shares.lines().any(|what| what == "bookmarks");
    let bookmarks = if is_apart { &places.own } else { &from };
    copy(&bookmarks.join("bookmarks"), &into.join("bookmarks"))?;
    for path in listing(&places.own)? {
        let name = path.to_str().unwrap_or_default();
        let is_of_copy =
            ["branch", "bookmarks.current", "localtags", "sparse"].contains(&name) || name.starts_with("dirstate");
        if is_of_copy || path.starts_with("merge") && places.own.join(&path).is_file() {
            copy(&places.own.join(&path), &into.join(&path))?;
        }
    }
    let mut needs = requirements(&from)?;
    needs.retain(|need| !OF_COPY.contains(&need.as_str()) && !OF_SHARE.contains(&need.as_str()));
    needs.extend(requirements(&places.own)?.into_iter().filter(|need| OF_COPY.contains(&need.as_str())));
    write(&into.join("requires"), needs.into_iter().map(|need| need + "\n").collect::<String>())?;
    if !is_public {
        let removed = model::base::removal::remove_tree(&cloned);
        removed.map_err(|error| failed("remove", &cloned, error))?;
    }
    Ok(())
}

/// Makes a repository of all that is neither secret nor hidden; drafts stay drafts.
async fn clone(top: &Path, to: &Path) -> Result<(), Fault> {
    let name = to.to_str().ok_or_else(|| failed("use", to, "its name is not UTF-8"))?;
    let words = ["clone", "--pull", "--noupdate", "--quiet", "--config", "phases.publish=no", ".", name];
    let said = hg(top, &words, PACKING).await?;
    match said.code {
        Some(0) => Ok(()),
        _ => Err(Fault::outside(format!("`hg` cannot pack the history of `{}`", top.display())).because(said.stderr)),
    }
}

/// Lets a file lie in a second place: a store may be large, and its files only grow.
fn link(from: &Path, to: &Path) -> Result<(), Fault> {
    if let Some(above) = to.parent() {
        make(above)?;
    }
    // Another file system, or somebody else's file.
    if std::fs::hard_link(from, to).is_err() {
        copy(from, to)?;
    }
    Ok(())
}
