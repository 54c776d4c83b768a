//! `--history`: what version control keeps travels with the files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Project, run_here};

/// What a program prints in a folder, with nobody's settings.
fn say(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(folder).env("HGRCPATH", "").env("HGPLAIN", "1");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").stdin(Stdio::null());
    let done = command.output().unwrap();
    assert!(done.status.success(), "{words:?} in {}: {}", folder.display(), String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The folder as it is on the machine, brought here as it is.
fn brought(project: &Project, words: &[&str]) -> PathBuf {
    let archive = project.run(&[words, &["--history", "--", "tar", "-cf", "-", "."]].concat()).expect(0).stdout;
    let there = tempfile::tempdir_in(project.place.path()).unwrap().keep();
    let file = there.with_extension("tar");
    fs::write(&file, archive).unwrap();
    run_here(&there, &["tar", "-xpf", file.to_str().unwrap(), "--no-same-owner"]);
    there
}

/// The same questions here and there.
fn assert_same(here: &Path, there: &Path, questions: &[&[&str]]) {
    for words in questions {
        assert_eq!(say(there, words), say(here, words), "{words:?}");
    }
}

const OF_GIT: &[&[&str]] = &[
    &["git", "status", "--porcelain=v2", "--branch", "--untracked-files=all"],
    &["git", "status"],
    &["git", "log", "--exclude=refs/stash", "--all", "--oneline", "--decorate"],
    &["git", "describe", "--tags", "--always", "--dirty"],
    &["git", "diff"],
    &["git", "diff", "--cached"],
    &["git", "for-each-ref", "refs/heads", "refs/tags", "refs/remotes"],
    &["git", "submodule", "status"],
];

/// A repository in many states at once.
fn git_project() -> Project {
    let project =
        Project::with(&[("a", "1\n"), ("b", "1\n"), ("sub/c", "1\n"), ("gone", "1\n"), (".gitignore", "*.log\n")]);
    let folder = &project.folder;
    run_here(folder, &["git", "init", "--quiet", "--initial-branch", "main"]);
    run_here(folder, &["git", "add", "."]);
    run_here(folder, &["git", "commit", "--quiet", "-m", "one"]);
    run_here(folder, &["git", "tag", "-a", "-m", "first", "v1"]);
    run_here(folder, &["git", "branch", "side"]);
    for (name, text) in [("a", "2\n"), ("x.log", ""), ("new", "untracked\n")] {
        project.write(name, text);
    }
    run_here(folder, &["git", "commit", "--quiet", "-a", "-m", "two"]);
    // What was dropped, and what was put aside.
    project.write("b", "dropped secret\n");
    run_here(folder, &["git", "commit", "--quiet", "-a", "-m", "a dropped secret"]);
    run_here(folder, &["git", "reset", "--quiet", "--hard", "HEAD~1"]);
    project.write("b", "stashed secret\n");
    run_here(folder, &["git", "stash", "--quiet"]);
    project.write("b", "staged\n");
    run_here(folder, &["git", "add", "b"]);
    project.write("b", "changed again\n");
    fs::remove_file(folder.join("gone")).unwrap();
    run_here(folder, &["git", "mv", "sub/c", "sub/moved"]);
    fs::set_permissions(folder.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
    for (key, value) in [
        ("remote.origin.url", "https://ann:hunter22@example.org/a.git"),
        ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
        ("branch.main.remote", "origin"),
        ("branch.main.merge", "refs/heads/main"),
        ("http.extraHeader", "Authorization: Basic hunter22"),
        ("credential.helper", "!echo hunter22"),
    ] {
        run_here(folder, &["git", "config", key, value]);
    }
    run_here(folder, &["git", "update-ref", "refs/remotes/origin/main", "HEAD~1"]);
    let hook = folder.join(".git/hooks/post-checkout");
    fs::write(&hook, "#!/bin/sh\necho hunter22\n").unwrap();
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
    project
}

#[test]
fn a_repository_of_git_works_there_as_here_and_nothing_private_is_in_it() {
    let project = git_project();
    let there = brought(&project, &[]);
    assert_same(&project.folder, &there, OF_GIT);
    run_here(&there, &["git", "fsck", "--strict"]);
    assert!(!there.join(".git/hooks").exists());
    let config = fs::read_to_string(there.join(".git/config")).unwrap();
    assert!(config.contains("https://example.org/a.git") && !config.contains("hunter22"), "{config}");
    let log = say(&there, &["git", "log", "--all", "--reflog", "--format=%s"]);
    assert!(!log.contains("dropped") && !log.contains("WIP") && log.contains("two"), "{log}");
    let objects = say(&there, &["git", "cat-file", "--batch-all-objects", "--batch"]);
    assert!(!objects.contains("secret"), "{objects}");
    // It is told before, and refused where there is none.
    let planned = project.run(&["--plan", "--history"]).expect(0);
    planned.tells(&["With its history: 2 revisions, about"]);
    let plan = project.run(&["--plan", "--history", "--json"]).expect(0).json();
    assert_eq!(plan["history"]["revisions"], 2);
    let sub = project.folder.join("sub");
    let told = project.run(&["--history", "--source", sub.to_str().unwrap(), "--", "true"]).expect(125);
    told.tells(&["sends a whole repository", "--workdir sub"]);
    project.place.assert_clean();
}

#[test]
fn a_folder_without_a_history_a_partial_clone_and_a_detached_head() {
    let project = git_project();
    let plain = tempfile::tempdir().unwrap();
    let told = project.run(&["--history", "--source", plain.path().to_str().unwrap(), "--", "true"]).expect(125);
    told.tells(&["under no version control, and has no history"]);
    run_here(&project.folder, &["git", "stash", "drop", "--quiet"]);
    run_here(&project.folder, &["git", "checkout", "--quiet", "--force", "v1"]);
    assert_same(&project.folder, &brought(&project, &[]), OF_GIT);
    run_here(&project.folder, &["git", "config", "remote.origin.promisor", "true"]);
    project.run(&["--history", "--", "true"]).expect(125).tells(&["it is a partial clone"]);
    // Nothing was committed yet.
    let fresh = Project::with(&[("a", "1\n"), ("b", "1\n")]);
    run_here(&fresh.folder, &["git", "init", "--quiet"]);
    run_here(&fresh.folder, &["git", "add", "a"]);
    let there = brought(&fresh, &[]);
    assert_same(&fresh.folder, &there, &[&["git", "status", "--porcelain=v2"], &["git", "diff", "--cached"]]);
    fresh.place.assert_clean();
}

#[test]
fn linked_worktrees_submodules_and_shallow_clones_are_made_whole() {
    let project = git_project();
    let outside = |name: &str| project.place.path().join(name);
    let worktree = outside("worktree");
    run_here(&project.folder, &["git", "worktree", "add", "--quiet", worktree.to_str().unwrap(), "side"]);
    fs::write(worktree.join("b"), "in the worktree\n").unwrap();
    let there = brought(&project, &["--source", worktree.to_str().unwrap()]);
    assert!(there.join(".git").is_dir());
    assert_same(&worktree, &there, OF_GIT);
    // A sub-module has its repository in that of the one around it.
    let outer = outside("outer");
    fs::create_dir(&outer).unwrap();
    run_here(&outer, &["git", "init", "--quiet"]);
    let add = ["git", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    run_here(&outer, &[&add[..], &[project.folder.to_str().unwrap(), "inner"]].concat());
    run_here(&outer, &["git", "commit", "--quiet", "-m", "with a sub-module"]);
    fs::write(outer.join("inner/b"), "changed in the sub-module\n").unwrap();
    assert!(outer.join("inner/.git").is_file());
    let there = brought(&project, &["--source", outer.to_str().unwrap()]);
    assert_same(&outer, &there, OF_GIT);
    assert_same(&outer.join("inner"), &there.join("inner"), OF_GIT);
    let alone = brought(&project, &["--source", outer.join("inner").to_str().unwrap()]);
    assert_same(&outer.join("inner"), &alone, OF_GIT);
    let shallow = outside("shallow");
    let from = format!("file://{}", project.folder.display());
    run_here(project.place.path(), &["git", "clone", "--quiet", "--depth", "1", &from, shallow.to_str().unwrap()]);
    let there = brought(&project, &["--source", shallow.to_str().unwrap()]);
    assert_same(&shallow, &there, OF_GIT);
    run_here(&there, &["git", "fsck"]);
    project.place.assert_clean();
}

#[test]
fn a_repository_of_hg_works_there_as_here_and_nothing_private_is_in_it() {
    let ignore = ("syntax: glob\n*.log\n", ".hgignore");
    let project = Project::with(&[("a", "1\n"), ("b", "1\n"), ("gone", "1\n"), ("x.log", ""), (ignore.1, ignore.0)]);
    let folder = &project.folder;
    run_here(folder, &["hg", "init"]);
    run_here(folder, &["hg", "commit", "--addremove", "-m", "one"]);
    run_here(folder, &["hg", "tag", "v1"]);
    run_here(folder, &["hg", "bookmark", "here"]);
    project.write("a", "2\n");
    run_here(folder, &["hg", "commit", "-m", "two"]);
    fs::write(
        folder.join(".hg/hgrc"),
        "[paths]\ndefault = https://ann:hunter22@example.org/a\n[hooks]\nupdate = echo hunter22\n",
    )
    .unwrap();
    run_here(folder, &["hg", "mv", "b", "moved"]);
    project.write("new", "untracked\n");
    fs::remove_file(folder.join("gone")).unwrap();
    let questions: &[&[&str]] = &[
        &["hg", "status", "--copies"],
        &["hg", "log", "--template", "{rev} {node} {phase} {tags} {bookmarks} {branch} {desc}\n", "-r", "not secret()"],
        &["hg", "log", "-r", ".", "--template", "{latesttag} {latesttagdistance}"],
        &["hg", "summary"],
        &["hg", "diff", "--git"],
    ];
    let there = brought(&project, &[]);
    assert_same(folder, &there, questions);
    run_here(&there, &["hg", "verify"]);
    assert!(!there.join(".hg/hgrc").exists(), "settings stay here");
    // Another working copy of the same store.
    let share = project.place.path().join("share");
    let words =
        ["hg", "--config", "extensions.share=", "share", "--quiet", folder.to_str().unwrap(), share.to_str().unwrap()];
    run_here(project.place.path(), &words);
    fs::write(share.join("a"), "in the share\n").unwrap();
    let there = brought(&project, &["--source", share.to_str().unwrap()]);
    assert!(there.join(".hg/store").is_dir() && !there.join(".hg/sharedpath").exists());
    assert_same(&share, &there, questions);
    // A secret stays here.
    project.write("secret", "hidden secret\n");
    run_here(folder, &["hg", "add", "secret"]);
    run_here(folder, &["hg", "commit", "--secret", "-m", "a secret", "secret"]);
    project.run(&["--history", "--", "true"]).expect(125).tells(&["secret or obsolete"]);
    run_here(folder, &["hg", "update", "--quiet", "2"]);
    let there = brought(&project, &[]);
    assert_same(folder, &there, &[questions[0], questions[2], questions[4]]);
    let log = say(&there, &["hg", "log", "--hidden", "--template", "{phase} {desc}\n"]);
    assert!(!log.contains("a secret") && log.contains("draft two"), "{log}");
    project.place.assert_clean();
}

#[test]
fn a_machine_that_is_kept_gets_only_what_is_new_of_a_history() {
    let project = git_project();
    let machine = project.place.up(&["--image", "linux-dev"]);
    let sent = |words: &[&str]| {
        let done = project.run(&[&["--machine", &machine][..], words].concat()).expect(0);
        let line = done
            .stderr
            .lines()
            .find(|line| line.starts_with("Sent") && line.contains("of the history of"))
            .map(str::to_owned);
        (done.text(), line.unwrap_or_default())
    };
    let list = ["--shell", "find .git -type f | LC_ALL=C sort; test -e .git/mine || touch .git/mine"];
    let (first, _) = sent(&[&["--history"][..], &list].concat());
    let (again, told) = sent(&[&["--history"][..], &list].concat());
    assert!(told.contains("Sent 0 files"), "{told}");
    assert_eq!(again, first, "what the command made there is gone, and the rest is there");
    run_here(&project.folder, &["git", "commit", "--quiet", "-m", "three"]);
    let there = brought(&project, &["--machine", &machine]);
    let status = [OF_GIT[0], OF_GIT[2], OF_GIT[3]];
    assert_same(&project.folder, &there, &status);
    // Without it, what was sent of it goes.
    assert_eq!(
        project.run(&["--machine", &machine, "--", "ls", "-A"]).expect(0).text().lines().find(|line| *line == ".git"),
        None
    );
    project.place.run(&["machine", "down", &machine]).expect(0);
    project.place.assert_clean();
}
