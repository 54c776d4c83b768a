//! Builds of tested sources, kept so that the same source need not be built again: one packed file each.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::build::{BuildStore, KeptBuild};
use model::fault::Fault;

use crate::file;
use crate::private::make_private;

/// The most bytes of all builds together. A build of Mercurial has 4 MiB, so the last hundred are kept.
pub const CAP: u64 = 512 << 20;

/// The ending of build files; any other file in the folder is not ours.
const ENDING: &str = ".tar.gz";

/// The folder of builds.
#[derive(Debug, Clone)]
pub struct Builds {
    folder: PathBuf,
    cap: u64,
}

impl Builds {
    /// The builds in a folder, which need not exist.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, cap: CAP }
    }

    /// Whether a file in the folder is ours.
    pub(super) fn is_name(name: &str) -> bool {
        name.ends_with(ENDING)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}{ENDING}"))
    }

    fn make_room(&self, bytes: u64) -> Result<(), Fault> {
        let mut left = self.cap.saturating_sub(bytes);
        for build in self.list()? {
            match left.checked_sub(build.bytes) {
                Some(rest) => left = rest,
                None => self.remove(&build.key)?,
            }
        }
        Ok(())
    }
}

fn read_kept(path: &Path) -> Option<KeptBuild> {
    let key = path.file_name()?.to_str()?.strip_suffix(ENDING)?.to_owned();
    let found = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(KeptBuild { key, bytes: found.len(), used: found.modified().ok()? })
}

impl BuildStore for Builds {
    fn find(&self, key: &str) -> Option<Vec<u8>> {
        let path = self.path(key);
        let bytes = std::fs::read(&path).ok()?;
        // The file's time says when it was used last. It only decides which build goes first, so a failure does no
        // harm.
        drop(std::fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now())));
        Some(bytes)
    }

    fn keep(&self, key: &str, packed: &[u8]) -> Result<(), Fault> {
        let bytes = packed.len() as u64;
        if bytes > self.cap {
            return Ok(());
        }
        make_private(&self.folder, "folder")?;
        self.make_room(bytes)?;
        file::write_atomic(&self.path(key), packed)
    }

    fn list(&self) -> Result<Vec<KeptBuild>, Fault> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file::fault("read", &self.folder, error)),
        };
        let mut found: Vec<KeptBuild> = entries.flatten().filter_map(|entry| read_kept(&entry.path())).collect();
        found.sort_by_key(|build| std::cmp::Reverse(build.used));
        Ok(found)
    }

    fn remove(&self, key: &str) -> Result<(), Fault> {
        let path = self.path(key);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(file::fault("remove", &path, error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn keys(builds: &Builds) -> Vec<String> {
        builds.list().unwrap().into_iter().map(|build| build.key).collect()
    }

    #[test]
    fn a_build_is_kept_until_others_were_used_more_lately() {
        let folder = tempfile::tempdir().unwrap();
        let builds = Builds { folder: folder.path().join("builds"), cap: 10 };
        assert_eq!((builds.find("a"), keys(&builds)), (None, vec![]));
        let age = |key: &str, hours: u64| {
            let file = std::fs::File::open(builds.path(key)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
        };
        builds.keep("a", b"aaaa").unwrap();
        builds.keep("b", b"bbbb").unwrap();
        age("a", 2);
        age("b", 1);
        assert_eq!(builds.find("a").as_deref(), Some(&b"aaaa"[..]), "using it makes it the youngest");
        builds.keep("c", b"cccc").unwrap();
        assert_eq!(keys(&builds).len(), 2);
        assert!(builds.find("b").is_none() && builds.find("a").is_some() && builds.find("c").is_some());
        builds.keep("d", &[0; 11]).unwrap();
        assert!(builds.find("d").is_none(), "what is larger than all together is not kept");
        builds.remove("a").unwrap();
        builds.remove("a").unwrap();
        std::fs::write(builds.folder.join("stranger"), "x").unwrap();
        assert_eq!(keys(&builds), ["c"]);
    }
}
