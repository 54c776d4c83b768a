//! Whether a file stayed as it was while it was read: half of one content and half of another is no copy of either.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use russh_sftp::protocol::FileAttributes;

use crate::connection::archive::item::refused;
use crate::model::connection::ConnectionError;

/// What is said of a file that did not stay as it was.
pub(super) const CHANGED: &str = "it changed while it was read";

/// What is seen of a file on this computer before its first byte is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
    names: u64,
}

impl Look {
    pub(super) fn of(found: &Metadata) -> Self {
        let (written, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
        Self { size: found.len(), written, changed, names: found.nlink() }
    }

    /// Refuses a file that is not as it was; `after` is looked at when the last byte was read.
    pub(super) fn check(self, path: &Path, after: &Metadata) -> Result<(), ConnectionError> {
        let after = Self::of(after);
        // The change time also tells of a writer that sets the other time back. It moves as well where another file took the
        // name, which is how editors save, and then the file that was read is whole.
        let renamed = self.names != after.names;
        let same = (self.size, self.written) == (after.size, after.written);
        match same && (renamed || self.changed == after.changed) {
            true => Ok(()),
            false => Err(refused(path, CHANGED)),
        }
    }
}

/// What became of a file on the machine while it was read, as far as its server tells: its size, and its time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    Same,
    /// It is longer. More may have come at its end, or other bytes in the place of what was there.
    Grown,
    Changed,
}

impl Since {
    pub(super) fn of(before: &FileAttributes, after: &FileAttributes) -> Self {
        let (was, is) = (before.size.unwrap_or(0), after.size.unwrap_or(0));
        match was.cmp(&is) {
            std::cmp::Ordering::Less => Self::Grown,
            std::cmp::Ordering::Greater => Self::Changed,
            // Those of `/proc` announce nothing, and have another time whenever they are looked at.
            std::cmp::Ordering::Equal if was == 0 || before.mtime == after.mtime => Self::Same,
            std::cmp::Ordering::Equal => Self::Changed,
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
        let before = Look::of(&file.metadata().unwrap());
        before.check(&path, &file.metadata().unwrap()).unwrap();
        // An editor puts a new file in its place.
        std::fs::write(dir.path().join("new"), "two").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        before.check(&path, &file.metadata().unwrap()).unwrap();
        let before = Look::of(&file.metadata().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        // The time is set back, and the size stays.
        file.write_all(b"two").unwrap();
        file.set_modified(old).unwrap();
        let error = before.check(&path, &file.metadata().unwrap()).unwrap_err();
        assert!(error.to_string().contains(CHANGED), "{error}");
    }

    #[test]
    fn a_file_there_is_judged_by_its_size_and_its_time() {
        let file = |size, mtime| FileAttributes { size: Some(size), mtime: Some(mtime), ..FileAttributes::empty() };
        let since =
            |before: (u64, u32), after: (u64, u32)| Since::of(&file(before.0, before.1), &file(after.0, after.1));
        assert_eq!(since((5, 1), (5, 1)), Since::Same);
        assert_eq!(since((5, 1), (5, 2)), Since::Changed);
        assert_eq!(since((5, 1), (4, 1)), Since::Changed);
        assert_eq!(since((5, 1), (6, 1)), Since::Grown);
        assert_eq!(since((0, 1), (0, 2)), Since::Same);
    }
}
