//! New files of a working copy, which travel beside its uncommitted changes.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use model::fault::Fault;
use model::preparation::{FilesToSend, Job};
use sha2::{Digest, Sha256};

use crate::mercurial::build_files::shapes_build;
use crate::source::Source;

/// Files of a working copy that `hg` neither knows nor ignores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFiles {
    /// The files.
    pub source: Source,
    /// The SHA-256 of those of them that a build reads.
    pub(super) built: [u8; 32],
}

impl NewFiles {
    /// The new files of the working copy of `root`; none where there are none.
    pub(super) async fn find(root: &Path) -> Result<Option<Self>, Fault> {
        let Some(source) = Source::find(root).await?.into_unknown() else { return Ok(None) };
        let mut hash = Sha256::new();
        for path in source.paths.iter().filter(|path| Self::shapes_build(path)) {
            let bytes = std::fs::read(root.join(path)).unwrap_or_default();
            for part in [path.as_os_str().as_bytes(), &bytes] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        Ok(Some(Self { source, built: hash.finalize().into() }))
    }

    fn shapes_build(path: &Path) -> bool {
        shapes_build(&path.to_string_lossy())
    }

    /// Whether a build reads any of them.
    pub(super) fn shape_build(&self) -> bool {
        let mut files = self.source.paths.iter().filter(|path| !self.source.has_folder(path));
        files.any(|path| Self::shapes_build(path))
    }

    /// The job that brings them to the machine's copy of the source.
    pub(super) fn send(&self, to: &str) -> Job {
        let (from, paths) = (self.source.top.clone(), self.source.paths.clone());
        let name = format!("the new files of {}", from.display());
        Job::SendFiles(Box::new(FilesToSend { name, from, paths, to: to.to_owned(), memory: None }))
    }
}
