//! What `--version` says, and how a build comes to know it.

use std::path::{Path, PathBuf};
use std::process::Command;

use support::tool::Place;

/// Runs a program that must succeed; gives what it printed.
fn said(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// `git` in a folder, with no configuration but its own.
fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-C", folder.to_str().unwrap(), "-c", "user.name=t", "-c", "user.email=t@invalid"]).args(args);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_COMMITTER_DATE", "2026-11-30T23:30:00-0800");
    said(&mut command).trim().to_owned()
}

/// The build script as a program, and folders that are laid out as those of the workspace.
struct Script {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Script {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("script");
        let source = support::root().join("src/automation/build.rs");
        said(Command::new("rustc").args(["--edition", "2024", "-o"]).arg(&program).arg(source));
        Self { folder, program }
    }

    /// An empty source of that name.
    fn source(&self, name: &str) -> PathBuf {
        let root = self.folder.path().join(name);
        std::fs::create_dir_all(root.join("src/automation")).unwrap();
        root
    }

    /// The version that a build of `root` has, and the files below it that another build would look at.
    fn build(&self, root: &Path) -> (String, Vec<String>) {
        let mut command = Command::new(&self.program);
        let own = root.join("src/automation");
        command.env("CARGO_PKG_VERSION", "1.2.3").env("CARGO_MANIFEST_DIR", &own).current_dir(&own);
        // As in a hook of another repository.
        command.env("GIT_DIR", "/nowhere");
        let text = said(&mut command);
        let of = |key: &str| text.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect();
        let (version, files): (Vec<String>, Vec<String>) =
            (of("cargo::rustc-env=AUTOMATION_VERSION="), of("cargo::rerun-if-changed="));
        assert_eq!(version.len(), 1, "{text}");
        let root = root.canonicalize().unwrap();
        let below = |file: String| match Path::new(&file).strip_prefix(&root) {
            Ok(below) => below.display().to_string(),
            Err(_) => file,
        };
        (version[0].clone(), files.into_iter().map(below).collect())
    }
}

#[test]
fn the_version_has_the_commit_it_was_built_from() {
    let place = Place::new();
    let text = place.run(&["--version"]).expect(0).text();
    let rest = text.trim_end().strip_prefix(concat!("automation ", env!("CARGO_PKG_VERSION"))).unwrap();
    if !support::root().join(".git").exists() {
        return assert_eq!(rest, "", "there is no commit");
    }
    let (hash, date) = rest.trim_matches([' ', '(', ')']).split_once(' ').unwrap();
    let known = git(support::root(), &["log", "-1", "--format=%h %cs", "--abbrev=7", hash]);
    assert_eq!(known, format!("{hash} {date}"));
    assert!(!place.state.exists(), "it is only said");
}

#[test]
fn a_build_knows_its_commit_and_runs_again_when_there_is_another() {
    let script = Script::new();
    let root = script.source("checkout");
    git(&root, &["init", "--quiet", "--initial-branch", "main"]);
    let bare = ("1.2.3".to_owned(), vec!["build.rs".to_owned()]);
    assert_eq!(script.build(&root), bare, "nothing is committed");
    git(&root, &["commit", "--quiet", "--allow-empty", "-m", "first"]);
    let hash = git(&root, &["rev-parse", "HEAD"]);
    let (version, watched) = script.build(&root);
    assert_eq!(version, format!("1.2.3 ({} 2026-11-30)", &hash[..7]));
    assert_eq!(watched, ["build.rs", ".git/logs/HEAD"]);
    // Without a log of its head, and with its branch packed.
    std::fs::remove_dir_all(root.join(".git/logs")).unwrap();
    assert_eq!(script.build(&root).1, ["build.rs", ".git/HEAD", ".git/refs/heads/main"]);
    git(&root, &["pack-refs", "--all"]);
    assert_eq!(script.build(&root).1, ["build.rs", ".git/HEAD", ".git/packed-refs", ".git/refs/heads"]);
    // A worktree has a head of its own.
    let tree = script.folder.path().join("tree");
    git(&root, &["worktree", "add", "--quiet", "--detach", tree.to_str().unwrap()]);
    std::fs::create_dir_all(tree.join("src/automation")).unwrap();
    let (of_tree, watched) = script.build(&tree);
    assert_eq!(of_tree, version);
    assert!(watched[1].ends_with("checkout/.git/worktrees/tree/logs/HEAD"), "{watched:?}");
    // An archive that was unpacked within somebody else's repository.
    assert_eq!(script.build(&script.source("checkout/vendor/archive")), bare);
    assert_eq!(script.build(&script.source("archive")), bare);
}
