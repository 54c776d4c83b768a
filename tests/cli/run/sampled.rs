//! What travels, for a thousand trees by chance, beside what Git and `hg` say of them, and on machines.
//!
//! `AUTOMATION_SAMPLES` is how many trees are looked at, `AUTOMATION_SEED` the number of the first; a failure names the one that shows it.

mod programs;
mod trees;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use project::source::{OWN, Source};
use sha2::{Digest, Sha256};
use support::tool::{Place, Running};

use programs::{Hg, git};
use trees::{Kind, plant};

/// How many trees are looked at, and how many of them are carried to a machine.
const SAMPLES: u64 = 1000;
const CARRIED: u64 = 24;

/// A number of the environment.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Looks at all that is in a folder; links are not followed.
fn walk(top: &Path, see: &mut dyn FnMut(&Path, fs::FileType)) {
    let mut todo = vec![PathBuf::new()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(top.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (folder.join(entry.file_name()), entry.file_type().unwrap());
            if OWN.iter().any(|own| entry.file_name() == *own) {
                continue;
            }
            see(&path, kind);
            if kind.is_dir() {
                todo.push(path);
            }
        }
    }
}

/// What there is at a path, links not followed; none behind a link, and for what is no file.
fn found(top: &Path, path: &Path) -> Option<fs::FileType> {
    let is_behind_link = path.ancestors().skip(1).any(|above| top.join(above).is_symlink() && above != Path::new(""));
    let kind = fs::symlink_metadata(top.join(path)).ok()?.file_type();
    (!is_behind_link && (kind.is_file() || kind.is_symlink() || kind.is_dir())).then_some(kind)
}

fn paths(printed: &[u8]) -> impl Iterator<Item = &[u8]> {
    printed.split(|byte| *byte == 0).filter(|name| !name.is_empty())
}

fn path(name: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(name)).components().collect()
}

fn is_own(path: &Path) -> bool {
    path.components().any(|part| OWN.iter().any(|own| part.as_os_str() == *own))
}

/// The files of a folder that belong to it by what the programs say of it.
struct Oracle<'a> {
    hg: &'a mut Hg,
}

impl Oracle<'_> {
    fn files(&mut self, top: &Path) -> BTreeSet<PathBuf> {
        match () {
            () if top.join(".hg").is_dir() => self.of_hg(top),
            () if top.join(".git").exists() => self.of_git(top),
            () => {
                let mut files = BTreeSet::new();
                walk(top, &mut |path, kind| {
                    if kind.is_file() || kind.is_symlink() {
                        files.insert(path.to_owned());
                    }
                });
                files
            }
        }
    }

    fn of_git(&mut self, top: &Path) -> BTreeSet<PathBuf> {
        let say = |words: &[&str]| git(top, &[&["ls-files", "-z"], words].concat()).unwrap();
        let (mut files, mut inner) = (BTreeSet::new(), BTreeSet::new());
        for record in paths(&say(&["--stage"])) {
            let at = record.iter().position(|byte| *byte == b'\t').unwrap();
            let path = path(&record[at + 1..]);
            match found(top, &path) {
                Some(kind) if kind.is_dir() && record.starts_with(b"160000") => drop(inner.insert(path)),
                Some(kind) if !kind.is_dir() => drop(files.insert(path)),
                _ => {}
            }
        }
        let others = say(&["--others", "--exclude-standard"]);
        let is_of_hg = |path: &Path| {
            let above: Vec<&Path> = path.ancestors().skip(1).filter(|above| *above != Path::new("")).collect();
            above
                .into_iter()
                .rev()
                .find(|above| !is_own(above) && top.join(above).join(".hg").is_dir())
                .map(Path::to_owned)
        };
        for name in paths(&others) {
            let path = path(name);
            match (is_of_hg(&path), found(top, &path)) {
                (Some(root), _) => drop(inner.insert(root)),
                (None, Some(kind)) if kind.is_dir() => drop(inner.insert(path)),
                (None, Some(_)) => drop(files.insert(path)),
                (None, None) => {}
            }
        }
        self.with_inner(top, files, inner)
    }

    fn of_hg(&mut self, top: &Path) -> BTreeSet<PathBuf> {
        let printed = self.hg.run(top, &["status", "--all", "--print0"]);
        let of_states = |states: &[u8]| -> BTreeSet<PathBuf> {
            let records = paths(&printed).filter(|record| states.contains(&record[0]));
            let names = records.map(|record| path(&record[2..]));
            names.filter(|path| found(top, path).is_some_and(|kind| !kind.is_dir())).collect()
        };
        let (mut files, unknown) = (of_states(b"MAC"), of_states(b"?"));
        let mut inner = BTreeSet::new();
        let is_root = |path: &Path| top.join(path).join(".hg").is_dir() || top.join(path).join(".git").exists();
        walk(top, &mut |path, kind| {
            let is_within = path.ancestors().skip(1).any(|above| above != Path::new("") && is_root(above));
            if kind.is_dir() && is_root(path) && !is_within {
                inner.insert(path.to_owned());
            }
        });
        inner.retain(|path| {
            let named = [b"path:", path.as_os_str().as_bytes()].concat();
            let said = self.hg.run(top, &[OsStr::new("debugignore"), OsStr::from_bytes(&named)]);
            !said[path.as_os_str().len()..].starts_with(b" is ignored")
        });
        // It looks into repositories of Git's, which have rules of their own.
        files.extend(unknown.into_iter().filter(|path| !path.ancestors().any(|above| inner.contains(above))));
        self.with_inner(top, files, inner)
    }

    fn with_inner(&mut self, top: &Path, mut files: BTreeSet<PathBuf>, inner: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        files.retain(|path| !is_own(path));
        for folder in inner {
            files.extend(self.files(&top.join(&folder)).into_iter().map(|path| folder.join(path)));
        }
        files
    }
}

/// A tree by its number, what the programs say of it, and what would be sent.
struct Sample {
    place: tempfile::TempDir,
    kind: Kind,
    expected: BTreeSet<PathBuf>,
}

impl Sample {
    fn new(number: u64, hg: &mut Hg) -> Self {
        let place = tempfile::Builder::new().prefix("sample-").tempdir().unwrap();
        let top = place.path().join("tree");
        fs::create_dir(&top).unwrap();
        let kind = plant(&top, number, hg);
        let expected = Oracle { hg }.files(&top);
        Self { place, kind, expected }
    }

    fn top(&self) -> PathBuf {
        self.place.path().join("tree")
    }

    /// How it differs from what the programs say; none where it does not.
    fn judge(&self, sent: &Source) -> Option<String> {
        let is_folder = |path: &&PathBuf| fs::symlink_metadata(self.top().join(path)).is_ok_and(|found| found.is_dir());
        let (folders, files): (BTreeSet<&PathBuf>, BTreeSet<&PathBuf>) = sent.paths.iter().partition(is_folder);
        let expected: BTreeSet<&PathBuf> = self.expected.iter().collect();
        let more: Vec<_> = files.difference(&expected).collect();
        let less: Vec<_> = expected.difference(&files).collect();
        let lacks = files
            .iter()
            .flat_map(|path| path.ancestors().skip(1))
            .any(|above| above != Path::new("") && !folders.contains(&above.to_owned()));
        let is_in_order = sent.paths.is_sorted();
        (!more.is_empty() || !less.is_empty() || lacks || !is_in_order)
            .then(|| format!("{:?}: sent as well: {more:?}; not sent: {less:?}; folders lack: {lacks}", self.kind))
    }
}

#[test]
fn a_thousand_trees_by_chance_travel_as_git_and_hg_say() {
    let (samples, seed) = (number("AUTOMATION_SAMPLES", SAMPLES), number("AUTOMATION_SEED", 1));
    let next = AtomicU64::new(seed);
    let work = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (mut hg, mut wrong) = (Hg::start(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seed + samples {
                return wrong;
            }
            let sample = Sample::new(number, &mut hg);
            match runtime.block_on(Source::find(&sample.top())) {
                Ok(sent) => wrong.extend(sample.judge(&sent).map(|why| (number, why))),
                // `hg` itself does nothing where it cannot read its rules.
                Err(fault) if fault.line().contains("invalid pattern") => {}
                Err(fault) => wrong.push((number, format!("{:?}: {}", sample.kind, fault.line()))),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let wrong: BTreeMap<u64, String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let shown: Vec<String> =
        wrong.iter().take(5).map(|(number, why)| format!("AUTOMATION_SEED={number}: {why}")).collect();
    assert!(wrong.is_empty(), "{} of {samples} trees differ:\n{}", wrong.len(), shown.join("\n"));
}

/// A file or link as a machine and this computer tell of it: its mode (0 of a link), and the hash of its bytes or of its target.
type Told = BTreeMap<PathBuf, (u32, String)>;

fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn told_here(top: &Path, files: &BTreeSet<PathBuf>) -> Told {
    let tell = |path: &PathBuf| {
        let whole = top.join(path);
        let told = match fs::read_link(&whole) {
            Ok(target) => (0, hash(target.as_os_str().as_bytes())),
            Err(_) => (fs::metadata(&whole).unwrap().permissions().mode() & 0o777, hash(&fs::read(&whole).unwrap())),
        };
        (path.clone(), told)
    };
    files.iter().map(tell).collect()
}

/// Prints the files and links of a folder, in three lists with a NUL behind each word: modes, targets, hashes.
const TELL: &str = "own='-path ./.hg-automation-sync -prune -o'; find . $own -type f -printf '%m\\0%P\\0'; printf '=\\0'; \
                    find . $own -type l -printf '%P\\0%l\\0'; printf '=\\0'; find . $own -type f -print0 | xargs -0 -r sha256sum -z --";

fn told_there(printed: &[u8]) -> Told {
    let words: Vec<&[u8]> = printed.split(|byte| *byte == 0).collect();
    let mut parts = words.split(|word| *word == b"=");
    let (modes, links, hashes) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let mut told: Told = Told::new();
    for pair in links.chunks_exact(2) {
        told.insert(path(pair[0]), (0, hash(pair[1])));
    }
    for pair in modes.chunks_exact(2) {
        let mode = u32::from_str_radix(std::str::from_utf8(pair[0]).unwrap(), 8).unwrap();
        told.insert(path(pair[1]), (mode, String::new()));
    }
    for record in hashes.iter().filter(|record| !record.is_empty()) {
        let (hash, name) = record.split_at(64);
        told.get_mut(&path(name.strip_prefix(b"  ./").unwrap())).unwrap().1 = String::from_utf8(hash.to_vec()).unwrap();
    }
    told
}

#[test]
fn trees_by_chance_arrive_by_their_hashes() {
    let (seed, place, mut hg) = (number("AUTOMATION_SEED", 1), Place::small(), Hg::start());
    let machine = place.up(&["--image", "linux-dev"]);
    for number in seed..seed + CARRIED {
        let sample = Sample::new(number, &mut hg);
        let (top, expected) = (sample.top(), told_here(&sample.top(), &sample.expected));
        let told = |words: &[&str]| {
            let mut command = place.command(words);
            command.current_dir(&top);
            told_there(&Running::start(command).end().expect(0).stdout)
        };
        assert_eq!(told(&["run", "--machine", &machine, "--shell", TELL]), expected, "AUTOMATION_SEED={number}");
        if number % 6 == 0 {
            let alone = told(&["run", "--image", "linux-dev", "--shell", TELL]);
            assert_eq!(alone, expected, "AUTOMATION_SEED={number}, on a machine of its own");
        }
        if number % 4 == 0 {
            let to = format!("{machine}:/tmp/sample-{number}");
            place.run(&["machine", "sync", "--ignore-files", top.to_str().unwrap(), &to]).expect(0);
            let line = format!("cd /tmp/sample-{number} && {TELL}");
            let there = place.run(&["machine", "exec", &machine, "--", "bash", "-c", &line]).expect(0);
            assert_eq!(told_there(&there.stdout), expected, "AUTOMATION_SEED={number}, by `machine sync`");
        }
    }
    place.run(&["machine", "down", &machine]).expect(0);
    place.assert_clean();
}
