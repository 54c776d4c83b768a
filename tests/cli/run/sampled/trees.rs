//! Trees of files by chance, with rules that ignore some of them: the same for the same number.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::programs::{Hg, git};

/// Numbers by chance (SplitMix64), the same for the same seed everywhere.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> &'a T {
        among[self.below(among.len())]
    }
}

/// What a tree is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Git,
    Hg,
    Plain,
}

/// Names of files and folders; few, so that rules meet them.
const NAMES: [&[u8]; 30] = [
    b"a",
    b"b",
    b"c.log",
    b"A",
    b"C.LOG",
    b"build",
    b"out",
    b"keep.log",
    b"x.tmp",
    b".hidden",
    b"x y",
    b"trailing ",
    b" leading",
    b"#hash",
    b"!bang",
    b"back\\slash",
    b"[ab]",
    b"star*",
    b"what?",
    b"\xc3\xbc",
    b"\xff\xfe",
    b"tab\t",
    b"new\nline",
    b"-dash",
    b"..dots",
    b"'quote\"",
    b"{brace}",
    b"$HOME",
    b"~",
    b".gitkeep",
];

/// Rules for Git. `N` stands for a name.
const GIT_RULES: [&str; 34] = [
    "a",
    "b/",
    "/build",
    "*.log",
    "!keep.log",
    "**/out",
    "out/**",
    "a/**/b",
    "!a",
    "[ab]*",
    "[!a].log",
    "\\#hash",
    "\\!bang",
    "trailing\\ ",
    "a ",
    "*",
    "!*/",
    "star\\*",
    "what\\?",
    "x*y",
    "# a comment",
    "",
    "build/*",
    "!build/a",
    "*.TMP",
    "[[:upper:]]",
    "**/build/**",
    "/**/c.log",
    "!/out/",
    "b/a/",
    "\\[ab]",
    "a\\\\b",
    "back\\\\slash",
    "?",
];

/// Rules for `hg`; none is a section's head.
const HG_RULES: [&str; 22] = [
    "syntax: glob",
    "syntax: regexp",
    "syntax: rootglob",
    "glob:*.log",
    "rootglob:build",
    "re:^out/",
    "re:\\.tmp$",
    "a",
    "glob:b",
    "# a comment",
    "",
    "glob:[ab]",
    "glob:**/build",
    "rootglob:a/**",
    "re:^a$",
    "glob:x*",
    "re:(?i)c\\.log$",
    "subinclude:a/.hgignore",
    "include:rules",
    "glob:{out,build}",
    "path:a/b",
    "relglob:keep.*",
];

/// A tree in `top`, which is empty; gives what it is under.
pub(super) fn plant(top: &Path, number: u64, hg: &mut Hg) -> Kind {
    let mut dice = Dice::new(number);
    let kind = match dice.below(20) {
        0..12 => Kind::Git,
        12..16 => Kind::Hg,
        _ => Kind::Plain,
    };
    let mut planter = Planter { dice, hg };
    planter.repository(top, kind, 2);
    kind
}

struct Planter<'a> {
    dice: Dice,
    hg: &'a mut Hg,
}

impl Planter<'_> {
    /// A tree that is a repository, with further ones within it where `depth` allows.
    fn repository(&mut self, top: &Path, kind: Kind, depth: usize) {
        let folders = self.files(top);
        self.rules(top, &folders, kind);
        match kind {
            Kind::Git => self.git(top),
            Kind::Hg => self.hg(top),
            Kind::Plain => {}
        }
        if kind != Kind::Plain && depth > 0 && self.dice.one_in(3) {
            self.inner(top, &folders, kind, depth);
        }
    }

    fn name(&mut self) -> &'static OsStr {
        OsStr::from_bytes(self.dice.pick(&NAMES))
    }

    /// Files and folders; gives the folders, with the top.
    fn files(&mut self, top: &Path) -> Vec<PathBuf> {
        let mut folders = vec![top.to_owned()];
        for _ in 0..self.dice.below(6) {
            let folder = self.place(&folders);
            // The place of a file is no folder.
            if folder.components().count() < top.components().count() + 5 && fs::create_dir(&folder).is_ok() {
                folders.push(folder);
            }
        }
        for _ in 0..(3 + self.dice.below(14)) {
            let path = self.place(&folders);
            self.file(&path);
        }
        folders
    }

    fn place(&mut self, folders: &[PathBuf]) -> PathBuf {
        let name = self.name();
        folders[self.dice.below(folders.len())].join(name)
    }

    /// A file, a link, or what is none, unless something has its name.
    fn file(&mut self, path: &Path) {
        if fs::symlink_metadata(path).is_ok() {
            return;
        }
        match self.dice.below(24) {
            0 => symlink("a", path).unwrap(),
            1 => symlink("build", path).unwrap(),
            2 => symlink("/nowhere", path).unwrap(),
            3 => drop(UnixListener::bind(path)),
            _ => {
                let text: Vec<u8> = (0..self.dice.below(40)).map(|_| self.dice.roll().to_le_bytes()[0]).collect();
                fs::write(path, text).unwrap();
                if self.dice.one_in(5) {
                    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
                }
            }
        }
    }

    /// Files with rules, in some of the folders.
    fn rules(&mut self, top: &Path, folders: &[PathBuf], kind: Kind) {
        let write = |planter: &mut Self, path: PathBuf, among: &[&'static str]| {
            let count = planter.dice.below(5);
            let lines: Vec<&str> = (0..count).map(|_| planter.dice.pick(among)).collect();
            // A link to rules is none.
            drop(fs::remove_file(&path));
            drop(fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()));
        };
        match kind {
            Kind::Git => {
                for folder in folders {
                    if self.dice.one_in(3) || folder == top {
                        write(self, folder.join(".gitignore"), &GIT_RULES);
                    }
                }
            }
            Kind::Hg => {
                write(self, top.join(".hgignore"), &HG_RULES);
                for name in ["a/.hgignore", "rules"] {
                    if self.dice.one_in(2) && top.join("a").is_dir() && !top.join(name).exists() {
                        write(self, top.join(name), &["a", "^b", "re:out", "glob:*.tmp", "rootglob:b"]);
                    }
                }
            }
            Kind::Plain => {}
        }
    }

    /// The files of a folder by chance, by their paths below it.
    fn some_files(&mut self, top: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        super::walk(top, &mut |path, kind| {
            if kind.is_file() || kind.is_symlink() {
                found.push(path.to_owned());
            }
        });
        found.sort();
        found.retain(|_| !self.dice.one_in(3));
        found
    }

    fn git(&mut self, top: &Path) {
        git(top, &["init", "--quiet"]);
        if self.dice.one_in(3) {
            fs::write(top.join(".git/info/exclude"), "*.tmp\n!x.tmp\nout\n").unwrap();
        }
        if self.dice.one_in(3) {
            fs::write(top.join(".git/rules"), "C.LOG\nbuild/\n").unwrap();
            let rules = top.join(".git/rules").into_os_string();
            git(top, &["config".into(), "core.excludesFile".into(), rules]);
        }
        if self.dice.one_in(8) {
            git(top, &["config", "core.ignoreCase", "true"]);
        }
        // Those that are ignored as well.
        let known = self.some_files(top);
        if !known.is_empty() {
            let words = ["add", "--force", "--"].map(OsString::from).into_iter();
            git(top, &words.chain(known.iter().map(|path| literal(path))).collect::<Vec<_>>());
        }
        if self.dice.one_in(6) {
            return;
        }
        git(top, &["commit", "--quiet", "--allow-empty", "--message", "one"]);
        self.change(top, &known, |_, top, words, paths| {
            let words = words.iter().map(OsString::from).chain(paths.iter().map(|path| literal(path)));
            git(top, &words.collect::<Vec<_>>());
        });
    }

    fn hg(&mut self, top: &Path) {
        self.hg.run(top, &["init", "."]);
        if self.dice.one_in(4) {
            fs::write(top.join(".hg/rules"), "syntax: glob\n*.tmp\n").unwrap();
            fs::write(top.join(".hg/hgrc"), "[ui]\nignore.sampled = .hg/rules\n").unwrap();
        }
        let mut known = self.some_files(top);
        known.retain(|path| !path.as_os_str().as_bytes().contains(&b'\n'));
        if !known.is_empty() {
            let words = [OsString::from("add")].into_iter();
            self.hg.run(top, &words.chain(known.iter().map(|path| exact(path))).collect::<Vec<_>>());
        }
        if self.dice.one_in(6) {
            return;
        }
        self.hg.run(top, &["commit", "--message", "one", "--user", "ann"]);
        self.change(top, &known, |planter, top, words, paths| {
            let verb = if words[0] == "rm" { ["forget"].as_slice() } else { words };
            let verb: Vec<&&str> = verb.iter().filter(|word| !word.starts_with('-')).collect();
            let words = verb.into_iter().map(OsString::from).chain(paths.iter().map(|path| exact(path)));
            planter.hg.run(top, &words.collect::<Vec<_>>());
        });
    }

    /// Changes some of the known files: gone, removed, renamed, changed, and what has the name of one now is a folder or a link.
    fn change(&mut self, top: &Path, known: &[PathBuf], run: impl Fn(&mut Self, &Path, &[&str], &[PathBuf])) {
        for path in known {
            let whole = top.join(path);
            if fs::symlink_metadata(&whole).is_err() {
                continue;
            }
            match self.dice.below(16) {
                0 => fs::remove_file(&whole).unwrap(),
                1 => run(self, top, &["rm", "--quiet", "--cached", "--force", "--"], std::slice::from_ref(path)),
                2 => {
                    let to = path.with_file_name("moved");
                    if !top.join(&to).exists() {
                        run(self, top, &["mv", "--"], &[path.clone(), to]);
                    }
                }
                3 => drop(fs::write(&whole, "changed")),
                4 => {
                    fs::remove_file(&whole).unwrap();
                    fs::create_dir(&whole).unwrap();
                    for name in ["a", "x.tmp", "keep.log"] {
                        fs::write(whole.join(name), name).unwrap();
                    }
                }
                5 => {
                    fs::remove_file(&whole).unwrap();
                    symlink("build", &whole).unwrap();
                }
                6 => self.fold_away(top, path),
                _ => {}
            }
        }
        for _ in 0..self.dice.below(4) {
            let path = self.place(&[top.to_owned()]);
            self.file(&path);
        }
    }

    /// Moves the folder of a file elsewhere and lets a link stand in its place.
    fn fold_away(&mut self, top: &Path, path: &Path) {
        let folder = top.join(path.parent().unwrap());
        let away = top.join("away");
        if folder != top && folder.is_dir() && !folder.is_symlink() && fs::rename(&folder, &away).is_ok() {
            symlink(&away, &folder).unwrap();
        }
    }

    /// A repository within this one: of the same kind or another, ignored or not, with its link to the outer one or without.
    fn inner(&mut self, top: &Path, folders: &[PathBuf], outer: Kind, depth: usize) {
        let below: Vec<PathBuf> =
            folders.iter().filter(|folder| folder.is_dir() && !folder.is_symlink()).cloned().collect();
        let place = self.place(&below);
        if fs::symlink_metadata(&place).is_ok() || fs::create_dir(&place).is_err() {
            return;
        }
        // `hg` takes such a name for that of a variable, and finds no repository there.
        let is_odd = place.as_os_str().as_bytes().contains(&b'$');
        let kind = if self.dice.one_in(2) || is_odd { Kind::Git } else { Kind::Hg };
        self.repository(&place, kind, depth - 1);
        let has_commit = kind == Kind::Git && git(&place, &["rev-parse", "--verify", "--quiet", "HEAD"]).is_some();
        if outer == Kind::Git && has_commit && self.dice.one_in(2) {
            // What a sub-module is to the repository around it.
            let path = place.strip_prefix(top).unwrap();
            let words = ["-c", "advice.addEmbeddedRepo=false", "add", "--force", "--"].map(OsString::from);
            git(top, &words.into_iter().chain([literal(path)]).collect::<Vec<_>>());
            if self.dice.one_in(4) {
                fs::remove_dir_all(place.join(".git")).unwrap();
            }
        }
    }
}

/// A path that Git takes as it is.
fn literal(path: &Path) -> OsString {
    path.as_os_str().to_owned()
}

/// The same for `hg`.
fn exact(path: &Path) -> OsString {
    OsString::from_vec([b"path:", path.as_os_str().as_bytes()].concat())
}
