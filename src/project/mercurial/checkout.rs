//! The user's own checkout: where it is, which changeset is meant, what is uncommitted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::event::TestsEvent;
use model::fault::Fault;

use crate::mercurial::build_files::shapes_build;
use crate::mercurial::names;
use crate::mercurial::needs::BuildNeeds;
use crate::mercurial::new_files::NewFiles;
use crate::mercurial::release::version::ReleaseVersion;
use crate::program::hg;

/// How long a question to the local repository may take. A cold `hg status` of a large checkout on a slow disk takes
/// half a minute.
pub(crate) const QUESTION: Duration = Duration::from_secs(120);

/// The node that `hg` prints for a repository without a changeset.
pub(crate) const NOTHING: &str = "0000000000000000000000000000000000000000";

/// The file without which there is nothing to run.
pub(super) const RUNNER: &str = "tests/run-tests.py";

/// The file in which a released source states its version.
pub(crate) const RELEASE: &str = "PKG-INFO";

/// The file in which a source states what its build needs.
pub(crate) const BUILD_FILE: &str = "pyproject.toml";

/// Settings with which a patch holds everything that has changed, and can be applied: people have `hg diff` leave out
/// blanks and more, and plain output does not undo that.
const WHOLE: [&str; 10] = [
    "diff.ignorews=no",
    "diff.ignorewsamount=no",
    "diff.ignorewseol=no",
    "diff.ignoreblanklines=no",
    "diff.nobinary=no",
    "diff.noprefix=no",
    "diff.word-diff=no",
    "diff.merge=no",
    "diff.unified=3",
    "defaults.diff=",
];

/// The node that `hg` prints for the working copy itself.
pub(crate) const WORKING_COPY: &str = "ffffffffffffffffffffffffffffffffffffffff";

/// A changeset of a Mercurial checkout on this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The repository's root.
    pub root: PathBuf,
    /// The changeset, 40 hexadecimal digits.
    pub node: String,
    /// The version that it states, for example `7.2.4`, or `7.2.4+12` twelve changesets after it; none if it states
    /// none.
    pub version: Option<String>,
    /// The release whose tag the changeset bears; none where uncommitted changes are sent with it.
    pub tag: Option<String>,
    /// The names of the tests in it, sorted.
    pub tests: Vec<String>,
    /// Uncommitted changes of tracked files as a Git-style patch, when they are to be sent and there are any.
    pub patch: Option<Vec<u8>>,
    /// The files that `hg` neither knows nor ignores, when they are to be sent and there are any.
    pub new_files: Option<NewFiles>,
    /// Whether these change files that a build reads, rather than only files that are read in place when Mercurial runs.
    pub rebuilds: bool,
    /// A remark on the uncommitted changes, where the user might expect otherwise.
    pub remark: Option<TestsEvent>,
}

impl Checkout {
    /// Whether uncommitted changes are sent with the changeset.
    pub fn has_changes(&self) -> bool {
        self.patch.is_some() || self.new_files.is_some()
    }

    /// The source, in words.
    pub fn words(&self) -> String {
        let changes = if self.has_changes() { " with uncommitted changes" } else { "" };
        format!("revision {} of {}{changes}", self.node, self.root.display())
    }

    /// The changeset, in the short form that people are shown.
    pub fn short(&self) -> &str {
        self.node.get(..12).unwrap_or(&self.node)
    }

    /// The needs of its build, in the state that is sent.
    pub async fn needs(&self) -> Result<BuildNeeds, Fault> {
        // A source from before 2019 has no such file, and neither have those of our tests.
        let text = self.read(BUILD_FILE).await?;
        Ok(text.map(|text| BuildNeeds::parse(&text)).unwrap_or_default())
    }

    /// The text of a file of the source, in the state that is sent; none where it has no such file.
    pub(crate) async fn read(&self, path: &str) -> Result<Option<String>, Fault> {
        Ok(self.read_some(&[path]).await?.remove(path))
    }

    /// The same of several files, by their paths.
    pub(crate) async fn read_some(&self, paths: &[&str]) -> Result<BTreeMap<String, String>, Fault> {
        if self.has_changes() {
            let text = |path: &&str| Some(((*path).to_owned(), std::fs::read_to_string(self.root.join(path)).ok()?));
            return Ok(paths.iter().filter_map(text).collect());
        }
        let (rev, named) = (format!("--rev={}", self.node), paths.iter().map(|path| format!("path:{path}")));
        let named: Vec<String> = named.collect();
        let args = ["cat", &rev, "--template", "{path}\\0{data}\\0"];
        let args: Vec<&str> = args.into_iter().chain(named.iter().map(String::as_str)).collect();
        // Where one is not there the code is 1, as where none is; the others are printed.
        let said = hg(&self.root, &args, QUESTION).await?;
        let texts: Vec<String> =
            said.stdout.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        Ok(texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    }
}

/// The source that the user asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct SourceChoice<'a> {
    /// The folder.
    pub source: Option<&'a Path>,
    /// The source that comes with the image, whatever the present folder is.
    pub of_image: bool,
    /// The revision.
    pub revision: Option<&'a str>,
    /// Uncommitted changes as well.
    pub working_copy: bool,
    /// Whether the command can do without a checkout, by the option `--image-source`.
    pub optional: bool,
}

impl SourceChoice<'_> {
    /// A hint, and the sentence that only a command with `--image-source` has.
    fn hint(&self, hint: &str, of_image: &str) -> String {
        if self.optional { format!("{hint} {of_image}") } else { hint.to_owned() }
    }
}

/// The hints where there is no source.
const NAME_ONE: &str = "Name a checkout of Mercurial.";
const USE_IMAGE: &str = "`--image-source` takes the source that comes with the image instead.";

/// What a folder lies in.
pub(crate) enum FoundSource {
    /// A Mercurial repository, of whatever.
    Mercurial(PathBuf),
    /// A Git repository, of whatever.
    Git(PathBuf),
    /// Mercurial's source without a repository: an unpacked release, an archive, a part of one.
    Unversioned(PathBuf),
    /// None of these.
    Neither,
}

/// Finds the nearest folder that means something: of two nested trees the inner one is meant. A Git repository of
/// something else says nothing about the tree that it lies in.
pub(crate) fn find_root(from: &Path) -> FoundSource {
    let mut git = None;
    for folder in from.ancestors() {
        if folder.join(".hg").is_dir() {
            return FoundSource::Mercurial(folder.to_owned());
        }
        if folder.join(".git").exists() {
            if folder.join(RUNNER).is_file() {
                return FoundSource::Git(folder.to_owned());
            }
            git.get_or_insert(folder);
        }
        if folder.join(RUNNER).is_file() {
            return FoundSource::Unversioned(folder.to_owned());
        }
    }
    git.map_or(FoundSource::Neither, |git| FoundSource::Git(git.to_owned()))
}

/// Finds the source to test.
///
/// A source that the user names must be a Mercurial checkout of Mercurial. Without one it is the checkout that holds
/// `current`, or none if `current` is not in a source of Mercurial (then the image's own is tested). A source that
/// exists and cannot be sent is refused: the tested source must not be another than the one that the user stands in.
pub async fn find(wish: &SourceChoice<'_>, current: &Path) -> Result<Option<Checkout>, Fault> {
    if wish.of_image {
        return Ok(None);
    }
    let start = wish.source.unwrap_or(current);
    if wish.source.is_some() && !start.is_dir() {
        return Err(Fault::usage(format!("`--source {}` is not a folder", start.display())));
    }
    let start = start
        .canonicalize()
        .map_err(|error| Fault::outside(format!("cannot open `{}`", start.display())).because(error))?;
    let root = match (find_root(&start), wish.source) {
        (FoundSource::Mercurial(root), _) => root,
        (FoundSource::Unversioned(root), _) => return Err(unversioned(&root, wish)),
        (FoundSource::Git(root), source) if source.is_some() || root.join(RUNNER).is_file() => {
            return Err(git(&root, wish));
        }
        (FoundSource::Neither, Some(_)) => {
            return Err(Fault::usage(format!("`{}` is not in a Mercurial checkout", start.display()))
                .hint(wish.hint(NAME_ONE, USE_IMAGE)));
        }
        (_, None) if wish.revision.is_some() || wish.working_copy => {
            return Err(Fault::usage("`--revision` and `--working-copy` need a Mercurial checkout")
                .hint("Run it inside one, or name one with `--source DIR`."));
        }
        _ if wish.optional => return Ok(None),
        _ => {
            return Err(Fault::usage(format!("`{}` is not in a Mercurial checkout", start.display()))
                .hint("Run it inside one, or name one with `--source DIR`."));
        }
    };
    resolve(root, wish).await.map(Some)
}

/// The tests that are meant by `given` in the folder `current`; refuses tests that the checkout, if there is one, does
/// not hold.
///
/// Where the source is the image's own and nobody said so (`of_image`), a name that is a file here is refused as well: the
/// user means that file, and a test of the same name would run in its place.
pub fn resolve_tests(
    given: &[String],
    current: &Path,
    checkout: Option<&Checkout>,
    of_image: bool,
) -> Result<Vec<String>, Fault> {
    if given.iter().any(|name| name.trim().is_empty()) {
        return Err(Fault::usage("the name of a test is empty").hint("Without a name all tests run."));
    }
    let is_file = |name: &&String| current.join(name.split('#').next().unwrap_or_default()).is_file();
    if let (None, false, Some(name)) = (checkout, of_image, given.iter().find(is_file)) {
        return Err(Fault::usage(format!("`{name}` is a file here, and the source under test is the image's own")).hint(
            "Name a checkout of Mercurial that holds the test with `--source DIR`. `--image-source` runs the image's test of that name.",
        ));
    }
    let folder = checkout.map(|checkout| checkout.root.join("tests"));
    let tests: Vec<String> = given.iter().map(|name| names::runner_name(name, current, folder.as_deref())).collect();
    if checkout.is_none()
        && let Some(name) = tests.iter().find(|name| name.contains('/'))
    {
        return Err(names::unknown_test(name, std::iter::empty()));
    }
    let unknown = checkout.and_then(|checkout| Some((names::find_unknown(&tests, &checkout.tests)?, checkout)));
    if let Some((name, checkout)) = unknown {
        let file = names::file_of(name);
        let is_there = folder.is_some_and(|folder| folder.join(file).is_file());
        let known = checkout.tests.iter().map(String::as_str);
        return Err(if is_there { not_sent(file) } else { names::unknown_test(name, known) });
    }
    Ok(tests)
}

/// The fault of a test whose file is there, but is not a part of what is sent.
fn not_sent(file: &str) -> Fault {
    Fault::usage(format!("`{file}` is not in the source under test, though the file is there"))
        .hint("`hg add` and `hg commit` it; a file that is not committed is sent with `--working-copy`, unless a rule ignores it.")
}

fn unversioned(root: &Path, wish: &SourceChoice<'_>) -> Fault {
    let fault = Fault::usage(format!(
        "`{}` holds Mercurial's source without a repository, and only changesets can be sent",
        root.display()
    ));
    fault
        .hint(wish.hint("Make it a repository: `hg init && hg commit --addremove --message release` in it.", USE_IMAGE))
}

fn git(root: &Path, wish: &SourceChoice<'_>) -> Fault {
    Fault::usage(format!("`{}` is a Git checkout, and only a Mercurial one can be sent", root.display()))
        .hint(wish.hint("Clone Mercurial with `hg clone` and run it there.", USE_IMAGE))
}

async fn resolve(root: PathBuf, wish: &SourceChoice<'_>) -> Result<Checkout, Fault> {
    let revision = wish.revision.unwrap_or(".");
    let rev = format!("--rev={revision}");
    let template = "{node} {phase} {latesttagdistance} {latesttag}\\n";
    let said = hg(&root, &["log", &rev, "--template", template], QUESTION).await?;
    if said.code != Some(0) {
        return Err(unresolved(&root, revision, said.stderr));
    }
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut lines = text.lines();
    let fields = |line: &'_ str| line.splitn(4, ' ').map(str::to_owned).collect::<Vec<_>>();
    let (node, phase, distance, tags) = match (lines.next().map(fields).as_deref(), lines.next()) {
        (Some([node, phase, distance, tags]), None) => (node.clone(), phase.clone(), distance.clone(), tags.clone()),
        (_, None) => return Err(Fault::usage(format!("`{revision}` names no changeset"))),
        (_, Some(_)) => return Err(Fault::usage(format!("`{revision}` names more than one changeset"))),
    };
    match wish.revision {
        Some(_) if node == NOTHING => return Err(Fault::usage(format!("`{revision}` names no changeset"))),
        None if node == NOTHING => return Err(nothing_checked_out(&root, wish).await?),
        _ => {}
    }
    if node == WORKING_COPY {
        return Err(Fault::usage(format!("`{revision}` is the working copy, not a changeset"))
            .hint("`--working-copy` sends what is uncommitted with the changeset that is checked out."));
    }
    if phase == "secret" {
        return Err(Fault::usage(format!("`{revision}` is secret, and secret changesets do not travel"))
            .hint("`hg phase --draft` makes it a draft; the machine keeps it a draft."));
    }
    let (patch, new_files) = match wish.working_copy {
        true => (read_patch(&root, revision, &node).await?, NewFiles::find(&root).await?),
        false => (None, None),
    };
    let is_sent = patch.is_some() || new_files.is_some();
    // Each of the two starts `hg`, which takes most of its time.
    let (remark, mut files) = tokio::try_join!(remark(&root, wish, is_sent), files(&root, &node, wish.working_copy))?;
    files.extend(new_files.iter().flat_map(|new| &new.source.paths).map(|path| path.to_string_lossy().into_owned()));
    let rebuilds = new_files.as_ref().is_some_and(NewFiles::shape_build)
        || patch.is_some() && changed_files(&root).await?.iter().any(|path| shapes_build(path));
    if !files.iter().any(|file| file == RUNNER) {
        return Err(no_runner(&root, wish, &node));
    }
    let version = match tagged_version(&tags, &distance) {
        None if files.iter().any(|file| file == RELEASE) => released_version(&root, &node).await?,
        version => version,
    };
    let tests = files.iter().filter_map(|file| test_name(file)).map(str::to_owned).collect();
    let tag = release_tag(&tags, &distance).filter(|_| !is_sent);
    Ok(Checkout { root, node, version, tag, tests, patch, new_files, rebuilds, remark })
}

/// The fault of a revision that `hg` does not find, or of a repository that it cannot read.
pub(crate) fn unresolved(root: &Path, revision: &str, stderr: String) -> Fault {
    // In plain mode the text is English; a configuration that cannot be read has another.
    match stderr.contains("unknown revision") || stderr.contains("parse error") {
        true => Fault::usage(format!("`{}` has no revision `{revision}`", root.display()))
            .because(stderr)
            .hint("`hg log` and `hg tags` there show what it has."),
        false => Fault::usage(format!("`hg` cannot read `{}`", root.display())).because(stderr),
    }
}

/// The fault of a repository in which nothing is checked out; of one that is not Mercurial's where nothing tells that it is.
async fn nothing_checked_out(root: &Path, wish: &SourceChoice<'_>) -> Result<Fault, Fault> {
    let is_ours = root.join(RUNNER).exists() || files(root, "tip", false).await?.iter().any(|file| file == RUNNER);
    if !is_ours {
        return Ok(no_runner(root, wish, NOTHING));
    }
    Ok(Fault::usage(format!("nothing is checked out in `{}`", root.display())).hint(
        "`hg commit --addremove` makes a changeset of what lies there, `hg update` checks one out, `--revision REV` names one.",
    ))
}

/// The fault of a changeset that has no tests to run.
fn no_runner(root: &Path, wish: &SourceChoice<'_>, node: &str) -> Fault {
    if wish.revision.is_none() && !root.join(RUNNER).exists() {
        return Fault::usage(format!("`{}` is not a checkout of Mercurial: it has no {RUNNER}", root.display()))
            .hint(wish.hint("Name a checkout of Mercurial with `--source DIR`.", USE_IMAGE));
    }
    Fault::usage(format!("revision {node} of `{}` has no {RUNNER}", root.display()))
        .hint("`hg add` and `hg commit` it, or name a revision of Mercurial with `--revision`.")
}

/// The files of the tree that say what it is and which tests it has, by their paths from its root.
async fn files(root: &Path, node: &str, working_copy: bool) -> Result<Vec<String>, Fault> {
    let rev = format!("--rev={node}");
    let wanted = ["glob:tests/test-*", "glob:tests/run-tests.py", "glob:PKG-INFO"];
    let mut args = vec!["files", "--print0"];
    args.extend((!working_copy).then_some(rev.as_str()));
    args.extend(wanted);
    let said = hg(root, &args, QUESTION).await?;
    match said.code {
        // The exit code 1 says that there are none.
        Some(0 | 1) => {
            let names = said.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
        }
        _ => Err(Fault::outside(format!("cannot list the files of `{}`", root.display())).because(said.stderr)),
    }
}

/// The name of the test that a file is.
fn test_name(file: &str) -> Option<&str> {
    let name = file.strip_prefix("tests/")?;
    (name.starts_with("test-") && (name.ends_with(".t") || name.ends_with(".py")) && !name.contains('/'))
        .then_some(name)
}

/// The newest release by the tags of the changeset itself.
fn release_tag(tags: &str, distance: &str) -> Option<String> {
    let releases = tags.split(':').filter_map(|tag| ReleaseVersion::parse(tag).ok());
    releases.max().filter(|_| distance == "0").map(|release| release.as_str().to_owned())
}

/// The version by the latest tag; none if there is no tag.
fn tagged_version(tags: &str, distance: &str) -> Option<String> {
    let tag = tags.split(':').next().filter(|tag| *tag != "null" && !tag.is_empty())?;
    Some(if distance == "0" { tag.to_owned() } else { format!("{tag}+{distance}") })
}

/// The version that a release states of itself; with the number of changesets since it was stated, as after a tag.
async fn released_version(root: &Path, node: &str) -> Result<Option<String>, Fault> {
    let said = hg(root, &["cat", &format!("--rev={node}"), &format!("path:{RELEASE}")], QUESTION).await?;
    let text = String::from_utf8_lossy(&said.stdout);
    let Some(version) = text.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::trim) else {
        return Ok(None);
    };
    let later = format!("--rev=only({node}, last(::{node} and filelog('path:{RELEASE}')))");
    let said = hg(root, &["log", &later, "--template", "."], QUESTION).await?;
    Ok(Some(match said.stdout.len() {
        0 => version.to_owned(),
        later => format!("{version}+{later}"),
    }))
}

async fn read_patch(root: &Path, revision: &str, node: &str) -> Result<Option<Vec<u8>>, Fault> {
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
    let whole = WHOLE.iter().flat_map(|setting| ["--config", setting]);
    let said = hg(root, &whole.chain(["diff", "--git"]).collect::<Vec<_>>(), QUESTION).await?;
    if said.code != Some(0) {
        return Err(Fault::outside("cannot read the uncommitted changes").because(said.stderr));
    }
    Ok(Some(said.stdout).filter(|patch| !patch.is_empty()))
}

/// A remark on uncommitted changes that are not sent, or that were to be sent and do not exist.
async fn remark(root: &Path, wish: &SourceChoice<'_>, sent: bool) -> Result<Option<TestsEvent>, Fault> {
    if wish.working_copy {
        return Ok((!sent).then_some(TestsEvent::NothingUncommitted));
    }
    if wish.revision.is_some() {
        return Ok(None);
    }
    let files = changed_files(root).await?.len();
    Ok((files > 0).then_some(TestsEvent::ChangesNotTested { files }))
}

/// The paths of tracked files that differ from the changeset that is checked out.
pub(crate) async fn changed_files(root: &Path) -> Result<Vec<String>, Fault> {
    let args = ["status", "--modified", "--added", "--removed", "--deleted", "--no-status", "--print0"];
    let said = hg(root, &args, QUESTION).await?;
    if said.code != Some(0) {
        return Err(Fault::outside("cannot tell which files have uncommitted changes").because(said.stderr));
    }
    let paths = said.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Ok(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
}
