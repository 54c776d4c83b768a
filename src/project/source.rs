//! The files of a folder that belong to it, as they are: what is sent for a command, for declared tests, with uncommitted changes and by
//! a sync that leaves ignored files behind. All of them ask here, so that all of them send the same.

mod git;
mod hg;
mod jj;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use data_encoding::HEXLOWER;
use globset::{GlobBuilder, GlobMatcher};
use model::base::text;
use model::fault::Fault;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::credentials;
use crate::program::HgOutput;

/// How long the version control system may take to answer.
const QUESTION: Duration = Duration::from_secs(60);

/// The files of a folder, and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The folder.
    pub top: PathBuf,
    /// The paths below it, a folder before its entries.
    pub paths: Vec<PathBuf>,
    /// The revision that is checked out; none where there is no version control, or nothing was committed yet.
    pub(crate) revision: Option<String>,
    /// Whether anything differs from that revision.
    pub(crate) changed: bool,
    /// Those of the files that no version control system knows, and that therefore nobody else has seen.
    unknown: BTreeSet<PathBuf>,
    /// The repositories whose files are sent, by the paths of their roots below the folder; the folder itself has the empty path.
    pub(crate) repositories: BTreeMap<PathBuf, Control>,
    /// How much would be sent, once somebody asked: each file is looked at for it.
    size: OnceLock<SourceSize>,
}

/// How much a source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SourceSize {
    /// How many files and links.
    pub files: u64,
    /// The bytes of the files.
    pub bytes: u64,
}

/// The patterns; `*` stays within a name.
fn globs(patterns: &[String]) -> Result<Vec<GlobMatcher>, Fault> {
    let glob = |pattern: &String| {
        let refused = |error| Fault::usage(format!("`{pattern}` is not a pattern for files")).because(error);
        Ok(GlobBuilder::new(pattern).literal_separator(true).build().map_err(refused)?.compile_matcher())
    };
    patterns.iter().map(glob).collect()
}

/// The folders that version control systems keep for themselves.
pub const OWN: [&str; 3] = [".git", ".hg", ".jj"];

/// A version control system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Git,
    Hg,
    Jj,
}

/// The version control system whose root `folder` is. Where jj works on a repository of Git's, Git is asked.
fn control_of(folder: &Path) -> Option<Control> {
    match () {
        () if folder.join(".hg").is_dir() => Some(Control::Hg),
        () if folder.join(".git").exists() => Some(Control::Git),
        () if folder.join(".jj").is_dir() => Some(Control::Jj),
        () => None,
    }
}

/// The version control system that a folder belongs to, and the root of its repository. Of two repositories within each other the inner one is meant.
fn control(top: &Path) -> Option<(Control, &Path)> {
    top.ancestors().find_map(|folder| Some((control_of(folder)?, folder)))
}

/// The root of the repository that a folder belongs to.
pub(crate) fn root_around(top: &Path) -> Option<&Path> {
    control(top).map(|(_, root)| root)
}

/// Whether a folder is the root of a repository.
pub(crate) fn is_repository(folder: &Path) -> bool {
    OWN.iter().any(|own| folder.join(own).exists())
}

/// Whether a folder is a state directory of this tool: its images and keys are nobody's source.
fn is_state(folder: &Path) -> bool {
    STATE.iter().all(|name| folder.join(name).exists())
}

/// By what a state directory is known.
const STATE: [&str; 4] = ["layout", "journal.db", "machines", "images"];

/// Whether a path is within what a version control system keeps for itself.
fn is_own(path: &Path) -> bool {
    path.components().any(|part| OWN.iter().any(|own| part.as_os_str() == *own))
}

impl Source {
    /// Looks at a folder: its files are what its version control system does not ignore, and all of them where there is none, or one that
    /// ignores the folder.
    pub async fn find(folder: &Path) -> Result<Self, Fault> {
        Self::find_with(folder, &[]).await
    }

    /// The same with those of the ignored files that match one of the patterns `ignored`, by their paths below the folder.
    pub async fn find_with(folder: &Path, ignored: &[String]) -> Result<Self, Fault> {
        let top = folder
            .canonicalize()
            .map_err(|error| Fault::outside(format!("cannot open `{}`", folder.display())).because(error))?;
        let globs = globs(ignored)?;
        let no_match =
            |pattern: &String| Fault::usage(format!("no ignored file of `{}` matches `{pattern}`", top.display()));
        let Some(mut known) = known(&top, !ignored.is_empty()).await? else {
            if let Some(pattern) = ignored.first() {
                return Err(no_match(pattern));
            }
            let paths = everything(&top)?;
            let unknown = paths.iter().cloned().collect();
            let size = OnceLock::new();
            return Ok(Self {
                top,
                paths,
                revision: None,
                changed: false,
                unknown,
                repositories: BTreeMap::new(),
                size,
            });
        };
        for (pattern, glob) in ignored.iter().zip(globs) {
            let before = known.unknown.len();
            known.unknown.extend(known.ignored.iter().filter(|path| glob.is_match(path)).cloned());
            if known.unknown.len() == before {
                return Err(no_match(pattern));
            }
        }
        let Known { tracked, unknown, folders, revision, changed, repositories, .. } = known;
        let mut paths = with_folders(&top, tracked.into_iter().chain(unknown.iter().cloned()));
        paths.extend(with_folders_of(&top, folders));
        let unknown = unknown.into_iter().filter(|path| paths.contains(path)).collect();
        // In the order of their parts, a folder comes before its entries.
        let (paths, size) = (paths.into_iter().collect(), OnceLock::new());
        Ok(Self { top, paths, revision, changed, unknown, repositories, size })
    }

    /// What tells this folder from others, on a machine that has the files of several: 16 hexadecimal digits.
    pub(crate) fn identity(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.top.as_os_str().as_bytes())[..8])
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether it has this folder.
    pub fn has_folder(&self, path: &Path) -> bool {
        let is_sent = || self.paths.iter().any(|known| known == path);
        path.as_os_str().is_empty() || is_sent() && !self.top.join(path).is_file()
    }

    /// How much would be sent. What cannot be looked at counts nothing: sending it says why.
    pub fn size(&self) -> SourceSize {
        *self.size.get_or_init(|| self.measure())
    }

    fn measure(&self) -> SourceSize {
        let mut size = SourceSize::default();
        for path in &self.paths {
            let Ok(found) = std::fs::symlink_metadata(self.top.join(path)) else { continue };
            if !found.is_dir() {
                size.files += 1;
                size.bytes += if found.is_file() { found.len() } else { 0 };
            }
        }
        size
    }

    /// Those of its files alone that no version control system knows, but for repositories within it; none where there are none.
    pub(crate) fn into_unknown(mut self) -> Option<Self> {
        let is_within =
            |path: &Path| path.ancestors().any(|at| at != Path::new("") && self.repositories.contains_key(at));
        self.unknown.retain(|path| !is_within(path));
        self.paths = with_folders(&self.top, self.unknown.iter().cloned()).into_iter().collect();
        self.repositories.clear();
        self.size = OnceLock::new();
        (!self.unknown.is_empty()).then_some(self)
    }

    /// Those of its files that look like credentials and that no version control system knows: what it knows, others have as well. Their names decide; of a key's file,
    /// whether it holds a private one.
    pub fn credentials(&self) -> Vec<&Path> {
        let paths = self.unknown.iter().map(PathBuf::as_path);
        paths.filter(|path| credentials::is_one(&self.top, path)).collect()
    }

    /// How much it is, and what, in words.
    pub fn outline(&self) -> String {
        let size = self.size();
        format!("{}, {}: {}", text::pluralize(size.files, "file"), text::bytes(size.bytes), self.words())
    }

    /// What it is, in words.
    pub fn words(&self) -> String {
        match (&self.revision, self.changed) {
            (Some(revision), true) => format!("revision {revision} of {} with uncommitted changes", self.top.display()),
            (Some(revision), false) => format!("revision {revision} of {}", self.top.display()),
            (None, _) => format!("the folder {}", self.top.display()),
        }
    }
}

/// What a version control system says of a folder.
#[derive(Debug, Default)]
struct Known {
    /// The files that it knows.
    tracked: Vec<PathBuf>,
    /// Those that it neither knows nor ignores.
    unknown: Vec<PathBuf>,
    /// Those that it ignores, where they were asked for.
    ignored: Vec<PathBuf>,
    /// Folders that it does not look into: roots of repositories within its own.
    inner: BTreeSet<PathBuf>,
    /// The same where it ignores them, where ignored files were asked for.
    ignored_inner: BTreeSet<PathBuf>,
    /// Folders that are sent though nothing may be in them: those of the repositories within it, which it would miss.
    folders: BTreeSet<PathBuf>,
    revision: Option<String>,
    changed: bool,
    /// The repositories that were asked.
    repositories: BTreeMap<PathBuf, Control>,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.tracked.is_empty() && self.unknown.is_empty()
    }

    /// Adds what is known of the repository, or mere folder, in the folder `at`.
    fn add(&mut self, at: &Path, inner: Self) {
        let below = |paths: Vec<PathBuf>| paths.into_iter().map(|path| at.join(path));
        self.tracked.extend(below(inner.tracked));
        self.unknown.extend(below(inner.unknown));
        self.ignored.extend(below(inner.ignored));
        self.folders.extend(inner.folders.iter().map(|path| at.join(path)));
        self.folders.insert(at.to_owned());
        self.repositories.extend(inner.repositories.into_iter().map(|(path, control)| (at.join(path), control)));
    }
}

/// What the version control system of a folder says of it; none where there is none, and where its repository ignores the folder, which then
/// is none of it.
async fn known(top: &Path, asks_for_ignored: bool) -> Result<Option<Known>, Fault> {
    let Some((control, root)) = control(top) else { return Ok(None) };
    let known = listed(control, top, root, asks_for_ignored).await?;
    let is_apart = root != top && known.is_empty() && {
        let below = top.strip_prefix(root).unwrap_or(top);
        match control {
            Control::Git => git::ignores(root, below).await?,
            Control::Hg => hg::ignores(root, below).await?,
            // It tells of files alone.
            Control::Jj => true,
        }
    };
    Ok((!is_apart).then_some(known))
}

/// The files of a folder by its version control system. A repository within it is asked for its own.
async fn listed(control: Control, top: &Path, root: &Path, asks_for_ignored: bool) -> Result<Known, Fault> {
    let mut known = match control {
        Control::Git => git::known(top, asks_for_ignored).await?,
        Control::Hg => hg::known(top, asks_for_ignored).await?,
        Control::Jj => jj::known(top, root, asks_for_ignored).await?,
    };
    if root == top {
        known.repositories.insert(PathBuf::new(), control);
    }
    let unseen = repositories_among(top, &known.unknown);
    known.inner.extend(unseen);
    for paths in [&mut known.tracked, &mut known.unknown, &mut known.ignored] {
        paths.retain(|path| !is_own(path));
    }
    let is_inner = |path: &PathBuf| path.ancestors().any(|folder| known.inner.contains(folder));
    known.unknown.retain(|path| !is_inner(path));
    known.ignored.retain(|path| !is_inner(path));
    for folder in std::mem::take(&mut known.inner) {
        let there = top.join(&folder);
        let below = match control_of(&there) {
            Some(control) => Box::pin(listed(control, &there, &there, asks_for_ignored)).await?,
            None => Known { unknown: everything(&there)?, ..Known::default() },
        };
        known.add(&folder, below);
    }
    for folder in std::mem::take(&mut known.ignored_inner) {
        known.ignored.extend(everything(&top.join(&folder))?.into_iter().map(|path| folder.join(path)));
    }
    Ok(known)
}

/// The topmost folders with files of these that are repositories themselves, of a kind that the one around them does not know for one.
fn repositories_among(top: &Path, paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut folders: BTreeSet<&Path> = BTreeSet::new();
    for path in paths {
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            if !folders.insert(folder) {
                break;
            }
        }
    }
    let mut found: BTreeSet<PathBuf> = BTreeSet::new();
    // In this order a folder comes before those below it.
    for folder in folders.into_iter().filter(|folder| !is_own(folder)) {
        let is_within = folder.ancestors().skip(1).any(|above| found.contains(above));
        if !is_within && matches!(control_of(&top.join(folder)), Some(Control::Hg | Control::Jj)) {
            found.insert(folder.to_owned());
        }
    }
    found
}

/// The paths that a program printed, each with a NUL behind it.
fn names(said: &HgOutput, top: &Path, program: &str) -> Result<Vec<PathBuf>, Fault> {
    Ok(records(said, top, program)?.map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))).collect())
}

/// The records that a program printed, each with a NUL behind it.
fn records<'a>(said: &'a HgOutput, top: &Path, program: &str) -> Result<impl Iterator<Item = &'a [u8]>, Fault> {
    if said.code != Some(0) {
        let fault = Fault::outside(format!("`{program}` cannot list the files of `{}`", top.display()));
        return Err(fault.because(said.stderr.clone()));
    }
    Ok(said.stdout.split(|byte| *byte == 0).filter(|record| !record.is_empty()))
}

/// Whether something is sent: sockets, pipes and devices are no files.
fn is_sent(kind: std::fs::FileType) -> bool {
    kind.is_file() || kind.is_symlink() || kind.is_dir()
}

/// Remembers which folders are real ones: behind a link lie the files of another folder.
#[derive(Default)]
struct RealFolders(BTreeMap<PathBuf, bool>);

impl RealFolders {
    /// Whether a folder below `top` is one, and so are all that it lies in.
    fn has(&mut self, top: &Path, folder: &Path) -> bool {
        if folder.as_os_str().is_empty() {
            return true;
        }
        if let Some(known) = self.0.get(folder) {
            return *known;
        }
        let is_real = folder.parent().is_none_or(|above| self.has(top, above))
            && std::fs::symlink_metadata(top.join(folder)).is_ok_and(|found| found.is_dir());
        self.0.insert(folder.to_owned(), is_real);
        is_real
    }
}

/// The files that are there, with the folders that they lie in.
fn with_folders(top: &Path, files: impl Iterator<Item = PathBuf>) -> BTreeSet<PathBuf> {
    let (mut paths, mut folders) = (BTreeSet::new(), RealFolders::default());
    for file in files {
        let above = file.parent().unwrap_or(Path::new(""));
        let is_there = folders.has(top, above)
            && std::fs::symlink_metadata(top.join(&file)).is_ok_and(|found| is_sent(found.file_type()));
        if is_there {
            add_with_folders(&mut paths, file);
        }
    }
    paths
}

/// These folders where they are there, with those that they lie in.
fn with_folders_of(top: &Path, folders: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let (mut paths, mut real) = (BTreeSet::new(), RealFolders::default());
    for folder in folders {
        if real.has(top, &folder) {
            add_with_folders(&mut paths, folder);
        }
    }
    paths
}

fn add_with_folders(paths: &mut BTreeSet<PathBuf>, path: PathBuf) {
    let above = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    for folder in above {
        if !paths.insert(folder.to_owned()) {
            break;
        }
    }
    paths.insert(path);
}

/// All that is in a folder, but for what version control systems keep for themselves.
fn everything(top: &Path) -> Result<Vec<PathBuf>, Fault> {
    let failed = |path: &Path, error| Fault::outside(format!("cannot read `{}`", path.display())).because(error);
    let (mut paths, mut todo) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(folder) = todo.pop() {
        let here = top.join(&folder);
        for entry in std::fs::read_dir(&here).map_err(|error| failed(&here, error))? {
            let entry = entry.map_err(|error| failed(&here, error))?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(|error| failed(&entry.path(), error))?;
            if is_own(&path) || !is_sent(kind) || kind.is_dir() && is_state(&entry.path()) {
                continue;
            }
            if kind.is_dir() {
                todo.push(path.clone());
            }
            paths.insert(path);
        }
    }
    Ok(paths.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn place(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    fn run(folder: &Path, words: &[&str]) {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(folder).env("HGRCPATH", "").env("HGUSER", "ann");
        for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command.env(format!("{name}_NAME"), "ann").env(format!("{name}_EMAIL"), "ann@example.org");
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn shown(source: &Source) -> Vec<&str> {
        source.paths.iter().map(|path| path.to_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn what_git_or_hg_does_not_ignore_is_sent_from_the_folder_that_is_named() {
        for program in ["git", "hg"] {
            let place = place(&["a", "gone", "sub/b", "sub/new/c", "sub/out.log", "other/d"]);
            let top = place.path();
            std::fs::write(top.join(if program == "git" { ".gitignore" } else { ".hgignore" }), "\\.log$\n*.log\n")
                .unwrap();
            if program == "hg" {
                std::fs::write(top.join(".hgignore"), "\\.log$\n").unwrap();
            }
            run(top, &[program, "init"]);
            run(top, &[program, "add", "a", "gone", "sub/b"]);
            run(top, &[program, "commit", "-m", "one"]);
            std::fs::remove_file(top.join("gone")).unwrap();
            let whole = Source::find(top).await.unwrap();
            assert!(whole.changed && whole.revision.as_ref().is_some_and(|node| node.len() == 40), "{whole:?}");
            let ignore = if program == "git" { ".gitignore" } else { ".hgignore" };
            assert_eq!(shown(&whole), [ignore, "a", "other", "other/d", "sub", "sub/b", "sub/new", "sub/new/c"]);
            let part = Source::find(&top.join("sub")).await.unwrap();
            assert_eq!(shown(&part), ["b", "new", "new/c"], "{program}");
            std::fs::create_dir(top.join("ignored.log")).unwrap();
            std::fs::write(top.join("ignored.log/e"), "x").unwrap();
            let ignored = Source::find(&top.join("ignored.log")).await.unwrap();
            assert_eq!((shown(&ignored), ignored.revision.as_ref()), (vec!["e"], None), "{program}");
        }
    }

    #[tokio::test]
    async fn the_state_of_this_tool_is_nobodys_source() {
        let state = ["a", "state/layout", "state/journal.db", "state/machines/x", "state/images/y", "other/layout"];
        let place = place(&state);
        let source = Source::find(place.path()).await.unwrap();
        assert_eq!(shown(&source), ["a", "other", "other/layout"]);
    }

    #[tokio::test]
    async fn ignored_files_come_where_they_are_named_and_what_nobody_knows_may_be_a_credential() {
        for program in ["git", "hg"] {
            let place = place(&["a", ".env", "known.env/.env", "new/id_rsa", "out/a.log", "out/b.log"]);
            let top = place.path();
            let (file, rule) = if program == "git" { (".gitignore", "*.log\n") } else { (".hgignore", "\\.log$\n") };
            std::fs::write(top.join(file), rule).unwrap();
            run(top, &[program, "init"]);
            run(top, &[program, "add", "a", "known.env/.env"]);
            let source = Source::find_with(top, &["out/a.*".to_owned()]).await.unwrap();
            for wrong in ["[", "nothing"] {
                assert!(Source::find_with(top, &[wrong.to_owned()]).await.is_err(), "{wrong}");
            }
            let shown = shown(&source);
            assert!(shown.contains(&"out/a.log") && !shown.contains(&"out/b.log"), "{shown:?}");
            let found: Vec<&str> = source.credentials().into_iter().map(|path| path.to_str().unwrap()).collect();
            assert_eq!(found, [".env", "new/id_rsa"], "{program}");
        }
    }

    #[tokio::test]
    async fn repositories_within_each_other_are_each_asked_for_their_own_files() {
        for (outer, inner) in [("git", "git"), ("git", "hg"), ("hg", "git"), ("hg", "hg")] {
            let place = place(&["a", "in/b", "in/c.log", "in/.env", "left/in/d", "plain/e"]);
            let top = place.path();
            let ignore = |program, folder: &str, rule: &str| {
                let (file, syntax) =
                    if program == "git" { (".gitignore", "") } else { (".hgignore", "syntax: glob\n") };
                std::fs::write(top.join(folder).join(file), format!("{syntax}{rule}\n")).unwrap();
            };
            ignore(outer, "", "left");
            ignore(inner, "in", "*.log");
            for (program, folder) in [(outer, ""), (inner, "in"), (inner, "left/in")] {
                run(&top.join(folder), &[program, "init"]);
            }
            run(&top.join("in"), &[inner, "add", "b"]);
            run(&top.join("in"), &[inner, "commit", "-m", "one"]);
            let source = Source::find(top).await.unwrap();
            let shown: Vec<&str> = shown(&source).into_iter().filter(|path| !path.contains("ignore")).collect();
            let expected = ["a", "in", "in/.env", "in/b", "plain", "plain/e"];
            assert_eq!(shown, expected, "{inner} in {outer}");
            let found: Vec<&str> = source.credentials().into_iter().map(|path| path.to_str().unwrap()).collect();
            assert_eq!(found, ["in/.env"], "{inner} in {outer}");
        }
    }

    #[tokio::test]
    async fn what_is_no_file_stays_and_a_repository_may_ignore_all_that_is_in_it() {
        let place = place(&["a", "sub/b"]);
        let top = place.path();
        let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
        assert_eq!(shown(&Source::find(top).await.unwrap()), ["a", "sub", "sub/b"]);
        run(top, &["git", "init"]);
        std::fs::write(top.join(".gitignore"), "*\n").unwrap();
        assert!(Source::find(top).await.unwrap().is_empty());
        // A folder in there is none of it.
        assert_eq!(shown(&Source::find(&top.join("sub")).await.unwrap()), ["b"]);
    }

    #[tokio::test]
    async fn a_folder_under_no_version_control_is_sent_whole() {
        let place = place(&["a", "sub/.hidden", "sub/b"]);
        std::fs::create_dir(place.path().join("empty")).unwrap();
        std::os::unix::fs::symlink("a", place.path().join("link")).unwrap();
        let source = Source::find(place.path()).await.unwrap();
        assert_eq!(shown(&source), ["a", "empty", "link", "sub", "sub/.hidden", "sub/b"]);
        assert_eq!((source.revision.as_ref(), source.changed), (None, false));
        assert!(source.words().starts_with("the folder /"));
        let nothing = Source::find(tempfile::tempdir().unwrap().path()).await.unwrap();
        assert!(nothing.is_empty() && !source.is_empty());
        assert_eq!(source.size(), SourceSize { files: 4, bytes: 3 });
    }
}
