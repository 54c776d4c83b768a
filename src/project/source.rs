//! The files of a folder that belong to it, as they are: what is sent for a command and for declared tests.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use model::fault::Fault;
use serde::Serialize;

use crate::credentials;
use crate::program::{HgOutput, git, hg};

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
}

/// How much a source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SourceSize {
    /// How many files and links.
    pub files: u64,
    /// The bytes of the files.
    pub bytes: u64,
}

/// What matches any of these patterns; `*` stays within a name.
fn globs(patterns: &[String]) -> Result<GlobSet, Fault> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        let refused = |error| Fault::usage(format!("`{pattern}` is not a pattern for files")).because(error);
        globs.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(refused)?);
    }
    globs.build().map_err(|error| Fault::usage("there are too many patterns for files").because(error))
}

/// The version control system that a folder belongs to.
enum Control {
    Git,
    Hg,
    None,
}

impl Source {
    /// Looks at a folder: its files are what its version control system does not ignore, and all of them where there is none, or one that
    /// knows nothing of the folder.
    pub async fn find(folder: &Path) -> Result<Self, Fault> {
        Self::find_with(folder, &[]).await
    }

    /// The same with those of the ignored files that match one of the patterns `ignored`, by their paths below the folder.
    pub async fn find_with(folder: &Path, ignored: &[String]) -> Result<Self, Fault> {
        let ignored = globs(ignored)?;
        let top = folder
            .canonicalize()
            .map_err(|error| Fault::outside(format!("cannot open `{}`", folder.display())).because(error))?;
        let known = match control(&top) {
            Control::Git => of_git(&top, !ignored.is_empty()).await?,
            Control::Hg => of_hg(&top, !ignored.is_empty()).await?,
            Control::None => Known::default(),
        };
        let Known { tracked, mut unknown, ignored: left, revision, changed } = known;
        // A folder that the repository around it ignores is none of it.
        if tracked.is_empty() && unknown.is_empty() {
            let paths = everything(&top)?;
            let unknown = paths.iter().cloned().collect();
            return Ok(Self { top, paths, revision: None, changed: false, unknown });
        }
        unknown.extend(left.into_iter().filter(|path| ignored.is_match(path)));
        let paths = with_folders(&top, tracked.into_iter().chain(unknown.iter().cloned()));
        Ok(Self { top, paths, revision, changed, unknown: unknown.into_iter().collect() })
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// How much would be sent. What cannot be looked at counts nothing: sending it says why.
    pub fn size(&self) -> SourceSize {
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

    /// Those of its files that look like credentials and that no version control system knows: what it knows, others have as well. Their names decide; of a key's file,
    /// whether it holds a private one.
    pub fn credentials(&self) -> Vec<&Path> {
        let paths = self.paths.iter().filter(|path| self.unknown.contains(*path));
        paths.map(PathBuf::as_path).filter(|path| credentials::is_one(&self.top, path)).collect()
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

/// Of two repositories within each other the inner one is meant.
fn control(top: &Path) -> Control {
    for folder in top.ancestors() {
        if folder.join(".hg").is_dir() {
            return Control::Hg;
        }
        if folder.join(".git").exists() {
            return Control::Git;
        }
    }
    Control::None
}

/// What a version control system says of a folder.
#[derive(Default)]
struct Known {
    /// The files that it knows.
    tracked: Vec<PathBuf>,
    /// Those that it neither knows nor ignores.
    unknown: Vec<PathBuf>,
    /// Those that it ignores, where they were asked for.
    ignored: Vec<PathBuf>,
    revision: Option<String>,
    changed: bool,
}

async fn of_git(top: &Path, asks_for_ignored: bool) -> Result<Known, Fault> {
    let list = async |flags: &[&str]| {
        let listed = git(top, &[&["ls-files", "-z"], flags].concat(), QUESTION).await?;
        names(listed, top, "git")
    };
    let tracked = list(&["--cached"]).await?;
    let unknown = list(&["--others", "--exclude-standard"]).await?;
    let ignored = match asks_for_ignored {
        true => list(&["--others", "--ignored", "--exclude-standard"]).await?,
        false => Vec::new(),
    };
    let head = git(top, &["rev-parse", "--verify", "--quiet", "HEAD"], QUESTION).await?;
    let revision = Some(String::from_utf8_lossy(&head.stdout).trim().to_owned());
    let status = git(top, &["status", "--porcelain", "--", "."], QUESTION).await?;
    let revision = revision.filter(|revision| head.code == Some(0) && !revision.is_empty());
    Ok(Known { tracked, unknown, ignored, revision, changed: !status.stdout.is_empty() })
}

async fn of_hg(top: &Path, asks_for_ignored: bool) -> Result<Known, Fault> {
    // A pattern makes the paths relative to the folder.
    let relative = ["--config", "ui.relative-paths=yes", "--config", "commands.status.relative=yes", "."];
    let list = async |states: &str| {
        let listed = hg(top, &[&["status", states][..], &relative].concat(), QUESTION).await?;
        names(listed, top, "hg")
    };
    let tracked = list("-macn0").await?;
    let unknown = list("-un0").await?;
    let ignored = if asks_for_ignored { list("-in0").await? } else { Vec::new() };
    let log = hg(top, &["log", "--rev=.", "--template={node}"], QUESTION).await?;
    let revision = Some(String::from_utf8_lossy(&log.stdout).trim().to_owned());
    let status = hg(top, &["status", "-mardu", "."], QUESTION).await?;
    // The null revision has nothing in it.
    let revision = revision.filter(|node| log.code == Some(0) && node.bytes().any(|byte| byte != b'0'));
    Ok(Known { tracked, unknown, ignored, revision, changed: !status.stdout.is_empty() })
}

/// The paths that a program printed, each with a NUL behind it.
fn names(said: HgOutput, top: &Path, program: &str) -> Result<Vec<PathBuf>, Fault> {
    if said.code != Some(0) {
        return Err(
            Fault::outside(format!("`{program}` cannot list the files of `{}`", top.display())).because(said.stderr)
        );
    }
    let names = said.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))).collect())
}

/// The files that are there, with the folders that they lie in. A repository within the repository is a folder whose files are its own:
/// all of them are taken.
fn with_folders(top: &Path, files: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut paths = BTreeSet::new();
    for file in files {
        let Ok(found) = std::fs::symlink_metadata(top.join(&file)) else { continue };
        let folders = file.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        paths.extend(folders.map(Path::to_owned));
        let below = if found.is_dir() { everything(&top.join(&file)).unwrap_or_default() } else { Vec::new() };
        paths.extend(below.into_iter().map(|path| file.join(path)));
        paths.insert(file);
    }
    // In the order of their parts, a folder comes before its entries.
    paths.into_iter().collect()
}

/// All that is in a folder, but for what version control systems keep for themselves.
fn everything(top: &Path) -> Result<Vec<PathBuf>, Fault> {
    let failed = |path: &Path, error| Fault::outside(format!("cannot read `{}`", path.display())).because(error);
    let (mut paths, mut todo) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(folder) = todo.pop() {
        let here = top.join(&folder);
        for entry in std::fs::read_dir(&here).map_err(|error| failed(&here, error))? {
            let entry = entry.map_err(|error| failed(&here, error))?;
            if [".git", ".hg", ".jj"].iter().any(|own| entry.file_name() == *own) {
                continue;
            }
            let path = folder.join(entry.file_name());
            if entry.file_type().map_err(|error| failed(&entry.path(), error))?.is_dir() {
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
    async fn ignored_files_come_where_they_are_named_and_what_nobody_knows_may_be_a_credential() {
        for program in ["git", "hg"] {
            let place = place(&["a", ".env", "known.env/.env", "new/id_rsa", "out/a.log", "out/b.log"]);
            let top = place.path();
            let (file, rule) = if program == "git" { (".gitignore", "*.log\n") } else { (".hgignore", "\\.log$\n") };
            std::fs::write(top.join(file), rule).unwrap();
            run(top, &[program, "init"]);
            run(top, &[program, "add", "a", "known.env/.env"]);
            let source = Source::find_with(top, &["out/a.*".to_owned()]).await.unwrap();
            assert!(Source::find_with(top, &["[".to_owned()]).await.is_err());
            let shown = shown(&source);
            assert!(shown.contains(&"out/a.log") && !shown.contains(&"out/b.log"), "{shown:?}");
            let found: Vec<&str> = source.credentials().into_iter().map(|path| path.to_str().unwrap()).collect();
            assert_eq!(found, [".env", "new/id_rsa"], "{program}");
        }
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
