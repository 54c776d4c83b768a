//! Checks that a file did not change while it was read: half of one content and half of another is a copy of neither.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use model::connection::ConnectionError;

use crate::item::refused;

/// The reason for refusing a file that did not stay as it was.
pub const CHANGED: &str = "it changed while it was read";

/// The state of a file on this computer before its first byte is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
    names: u64,
}

impl FileState {
    /// Takes the state from the file's metadata.
    pub fn of(found: &Metadata) -> Self {
        let (written, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
        Self { size: found.len(), written, changed, names: found.nlink() }
    }

    /// Refuses a file that is not as it was; `after` is its metadata after the last byte was read.
    pub fn check(self, path: &Path, after: &Metadata) -> Result<(), ConnectionError> {
        let after = Self::of(after);
        // The change time also reveals a writer that sets the modification time back. It moves as well where another
        // file took the name, which is how editors save; the file that was read is whole then.
        let renamed = self.names != after.names;
        let same = (self.size, self.written) == (after.size, after.written);
        match same && (renamed || self.changed == after.changed) {
            true => Ok(()),
            false => Err(refused(path, CHANGED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_here_that_was_written_to_is_another_and_one_that_lost_its_name_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        file.set_modified(old).unwrap();
        let before = FileState::of(&file.metadata().unwrap());
        before.check(&path, &file.metadata().unwrap()).unwrap();
        // An editor puts a new file in its place.
        std::fs::write(dir.path().join("new"), "two").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        before.check(&path, &file.metadata().unwrap()).unwrap();
        let before = FileState::of(&file.metadata().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        // The time is set back, and the size stays.
        file.write_all(b"two").unwrap();
        file.set_modified(old).unwrap();
        let error = before.check(&path, &file.metadata().unwrap()).unwrap_err();
        assert!(error.to_string().contains(CHANGED), "{error}");
    }
}
