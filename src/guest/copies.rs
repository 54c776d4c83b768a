//! The machine's side of copies and syncs: trees as archives, what two files have in common, small files by commands alone.

use std::time::Duration;

use model::task::Command;

/// Exit code of [`Copies::pack`]: there is a file in place of a folder.
pub const IS_FILE: u32 = 66;

/// Asks a machine's system for its part of a copy. Each command ends with 0, or with another code and a reason in the last line of
/// standard error.
pub trait Copies: Send + Sync {
    /// Takes an archive on standard input as the folder `path`: `tree` in it, and behind it `whole`, by which it is known that
    /// nothing is missing. What is new gets `mode`; a folder that is there is merged into. It is unpacked under the name
    /// `partial`, which nothing may have yet.
    fn unpack(&self, path: &str, partial: &str, mode: u32) -> Command;

    /// Prints the folder `path` as an archive. Ends with [`IS_FILE`] where it is a file.
    fn pack(&self, path: &str) -> Command;

    /// Prints an archive of those files of the folder `path` that standard input names, a NUL behind each; a link as its file.
    fn pick(&self, path: &str) -> Command;

    /// Writes standard input into a device or a pipe, which is waited for until somebody reads it, or the limit is over.
    fn pour(&self, path: &str, limit: Duration) -> Command;

    /// Prints the SHA-256 of at most the first `count` blocks of a file, a line for each as `sha256sum` prints it. With `own` the file
    /// must be the caller's, and not a link.
    fn block_hashes(&self, path: &str, block: u64, count: u64, own: bool) -> Command;

    /// Prints where a sparse file has data: `START END` for each part, in order. Fails for a file that is not sparse.
    fn data_extents(&self, path: &str) -> Command;

    /// Removes the files whose paths are `start` and eight characters more, but not `own`.
    fn remove_stale(&self, start: &str, own: &str) -> Command;

    /// Prints what tells a file from another, and from itself at another time, to the nanosecond.
    fn file_identity(&self, path: &str) -> Command;

    /// Lists the folder `path` and what is remembered there of the last sync; the records are those of `remote/linux/sync-tree.sh`.
    fn sync_look(&self, path: &str) -> Command;

    /// Prints the SHA-256 of the files that standard input names, a NUL behind each, as `sha256sum -z` does.
    fn sync_hash(&self, path: &str) -> Command;

    /// Changes in the folder `path` what the archive on standard input says.
    fn sync_apply(&self, path: &str) -> Command;

    /// Makes standard input the file `path` with `mode`, or what that link leads to, or writes it into that device. Beside it
    /// nothing may have the name `partial` yet.
    fn write_whole(&self, path: &str, partial: &str, mode: u32) -> Command;

    /// Prints at most `most` bytes of a file.
    fn read_whole(&self, path: &str, most: u64) -> Command;

    /// Prints the file or the folder `path` as an archive of at most `most` bytes.
    fn pack_whole(&self, path: &str, most: u64) -> Command;
}
