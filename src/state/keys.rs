//! The key pair with which this computer logs in to its machines: `keys/keypair-automation` and
//! `keypair-automation.pub`.
//!
//! Two files cannot appear at once, so both are written whole under `.new` names first and then renamed, private half
//! first. A process that is killed between the renames leaves a pair that the next one completes. Any other pair that
//! is half, foreign or damaged is named and kept: a machine may still be reachable with it.
//!
//! Making and comparing keys is the business of `connection`, and comes in as functions.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::fault::Fault;

use crate::file;

const PRIVATE: &str = "keypair-automation";
const PUBLIC: &str = "keypair-automation.pub";

/// Makes a key pair: the private half in OpenSSH's own form, the public one as a line of `authorized_keys`.
pub type Make<'a> = &'a dyn Fn() -> Result<(String, String), Fault>;

/// Whether the private half (first) and the public half belong together; an error when one of them cannot be read.
pub type Matches<'a> = &'a dyn Fn(&str, &str) -> Result<bool, Fault>;

/// A key pair on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKeyPair {
    /// The file of the private half.
    pub path: PathBuf,
    /// The public half, one line without a line end.
    pub public: String,
}

/// The pair of a directory that is not there: a look needs none.
pub(super) fn of_nothing(folder: &Path) -> StoredKeyPair {
    StoredKeyPair { path: folder.join(PRIVATE), public: String::new() }
}

/// Reads the key pair in `folder`, making it with `make` when neither half is there.
///
/// The caller holds the folder's lock: one process at a time comes here.
pub(super) fn load_or_create(folder: &Path, make: Make<'_>, matches: Matches<'_>) -> Result<StoredKeyPair, Fault> {
    let (private, public) = (folder.join(PRIVATE), folder.join(PUBLIC));
    match (exists(&private)?, exists(&public)?) {
        (true, true) => {}
        (false, false) => create(&private, &public, make)?,
        (true, false) if exists(&unfinished(&public))? => publish(&unfinished(&public), &public)?,
        (true, false) => {
            return Err(half_pair(&public, &private).hint(format!(
                "Make it again with `ssh-keygen -y -f {0} > {1}`, or move {0} away to get a new pair.",
                quoted(&private),
                quoted(&public)
            )));
        }
        (false, true) => {
            return Err(half_pair(&private, &public)
                .hint(format!("Bring it back, or move {} away to get a new pair.", quoted(&public))));
        }
    }
    load(private, &public, matches)
}

fn create(private: &Path, public: &Path, make: Make<'_>) -> Result<(), Fault> {
    let (secret, open) = make()?;
    for (path, text) in [(private, &secret), (public, &open)] {
        let path = unfinished(path);
        let mut text = text.trim_end().to_owned();
        text.push('\n');
        file::write_private(&path, text.as_bytes()).map_err(|error| file::fault("write", &path, error))?;
    }
    publish(&unfinished(private), private)?;
    publish(&unfinished(public), public)
}

fn load(path: PathBuf, public_path: &Path, matches: Matches<'_>) -> Result<StoredKeyPair, Fault> {
    let meta = std::fs::metadata(&path).map_err(|error| file::fault("read the key", &path, error))?;
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(Fault::outside(format!("others may read the private key `{}` (mode {mode:04o})", path.display()))
            .hint(format!(
                "Run `chmod 600 {0}` if nobody did, or move {0} and its public half away to get a new pair.",
                quoted(&path)
            )));
    }
    let private = read(&path)?;
    let public = read(public_path)?;
    let away = || format!("Move {} and {} away to get a new pair.", quoted(&path), quoted(public_path));
    if private.trim().is_empty() || public.trim().is_empty() || public.trim().lines().count() != 1 {
        return Err(Fault::outside(format!(
            "the key pair `{}` is damaged: a half is empty or is not a key",
            path.display()
        ))
        .hint(away()));
    }
    match matches(&private, public.trim()) {
        Ok(true) => Ok(StoredKeyPair { path, public: public.trim().to_owned() }),
        Ok(false) => Err(Fault::outside(format!(
            "the key pair `{}` is damaged: its private and public halves do not belong together",
            path.display()
        ))
        .hint(away())),
        Err(error) => Err(Fault::outside(format!("the key pair `{}` is damaged: it cannot be read", path.display()))
            .because(error)
            .hint(away())),
    }
}

fn read(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(|error| file::fault("read the key", path, error))
}

fn exists(path: &Path) -> Result<bool, Fault> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(file::fault("look for the key", path, error)),
    }
}

/// Gives a finished file its name, and never takes a name from another file.
fn publish(from: &Path, to: &Path) -> Result<(), Fault> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
        .map_err(std::io::Error::from)
        .and_then(|()| file::sync_parent(to))
        .map_err(|error| file::fault("make the key", to, error))
}

/// Whether a file among the keys is ours; a file that is still being made has one ending more.
pub(super) fn is_name(name: &str) -> bool {
    [PRIVATE, PUBLIC].contains(&name.strip_suffix(".new").unwrap_or(name))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn half_pair(missing: &Path, present: &Path) -> Fault {
    Fault::outside(format!("half a key pair: `{}` is missing beside `{}`", missing.display(), present.display()))
}

fn quoted(path: &Path) -> String {
    model::base::quote::word(&path.to_string_lossy()).unwrap_or_else(|_| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn make() -> Result<(String, String), Fault> {
        Ok(("secret 7".into(), "open 7 me".into()))
    }

    fn matches(private: &str, public: &str) -> Result<bool, Fault> {
        let number = |text: &str| text.split(' ').nth(1).map(|word| word.trim().to_owned());
        Ok(number(private) == number(public))
    }

    fn never() -> Result<(String, String), Fault> {
        panic!("a pair that is there, or half there, must not be made again")
    }

    #[test]
    fn a_pair_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let calls = Cell::new(0);
        let counting = || {
            calls.set(calls.get() + 1);
            make()
        };
        let first = load_or_create(dir.path(), &counting, &matches).unwrap();
        let second = load_or_create(dir.path(), &counting, &matches).unwrap();
        assert_eq!((calls.get(), first.public.as_str()), (1, "open 7 me"));
        assert_eq!(first, second);
        for name in [PRIVATE, PUBLIC] {
            assert_eq!(std::fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else stays");
    }

    #[test]
    fn a_kill_between_the_renames_is_completed_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let made = load_or_create(dir.path(), &make, &matches).unwrap();
        let public = dir.path().join(PUBLIC);
        std::fs::rename(&public, unfinished(&public)).unwrap();
        assert_eq!(load_or_create(dir.path(), &never, &matches).unwrap(), made);
    }

    #[test]
    fn a_kill_before_the_renames_leaves_nothing_that_is_used() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("keypair-automation.new"), "secr").unwrap();
        assert_eq!(load_or_create(dir.path(), &make, &matches).unwrap().public, "open 7 me");
    }

    #[test]
    fn a_half_or_mismatched_pair_is_named_and_kept() {
        for (name, text, problem) in [
            (PRIVATE, None, "half a key pair"),
            (PUBLIC, None, "half a key pair"),
            (PUBLIC, Some("open 8 me"), "do not belong together"),
            (PRIVATE, Some(""), "is damaged"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            load_or_create(dir.path(), &make, &matches).unwrap();
            let path = dir.path().join(name);
            match text {
                None => std::fs::remove_file(&path).unwrap(),
                Some(text) => std::fs::write(&path, text).unwrap(),
            }
            let error = load_or_create(dir.path(), &never, &matches).unwrap_err();
            assert!(error.message.contains(problem), "{error}");
            assert!(error.hint.is_some());
            let left = std::fs::read_dir(dir.path()).unwrap().count();
            assert_eq!(left, if text.is_some() { 2 } else { 1 }, "nothing is deleted");
        }
    }

    #[test]
    fn a_private_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let made = load_or_create(dir.path(), &make, &matches).unwrap();
        std::fs::set_permissions(&made.path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create(dir.path(), &never, &matches).unwrap_err();
        assert!(error.message.ends_with("(mode 0644)"), "{error}");
    }
}
