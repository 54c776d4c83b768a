//! Decides whether a file on a machine changed while it was read, as far as its server tells.

use russh_sftp::protocol::FileAttributes;

/// The change of a file on the machine while it was read, by the size and the time in whole seconds that its server
/// reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileChange {
    Same,
    /// The file is longer: bytes were appended, or the content was replaced.
    Grown,
    Changed,
}

impl FileChange {
    pub(super) fn of(before: &FileAttributes, after: &FileAttributes) -> Self {
        let (was, is) = (before.size.unwrap_or(0), after.size.unwrap_or(0));
        match was.cmp(&is) {
            std::cmp::Ordering::Less => Self::Grown,
            std::cmp::Ordering::Greater => Self::Changed,
            // Files of `/proc` report no size, and another time whenever they are looked at.
            std::cmp::Ordering::Equal if was == 0 || before.mtime == after.mtime => Self::Same,
            std::cmp::Ordering::Equal => Self::Changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_there_is_judged_by_its_size_and_its_time() {
        let file = |size, mtime| FileAttributes { size: Some(size), mtime: Some(mtime), ..FileAttributes::empty() };
        let since =
            |before: (u64, u32), after: (u64, u32)| FileChange::of(&file(before.0, before.1), &file(after.0, after.1));
        assert_eq!(since((5, 1), (5, 1)), FileChange::Same);
        assert_eq!(since((5, 1), (5, 2)), FileChange::Changed);
        assert_eq!(since((5, 1), (4, 1)), FileChange::Changed);
        assert_eq!(since((5, 1), (6, 1)), FileChange::Grown);
        assert_eq!(since((0, 1), (0, 2)), FileChange::Same);
    }
}
