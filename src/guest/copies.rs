//! The machine's side of copies and syncs: trees as archives, the common parts of two files.

use std::time::Duration;

use model::task::Command;

/// Exit code of [`Copies::pack`]: there is a file in place of a folder.
pub const IS_FILE: u32 = 66;

/// Asks a machine's system for its part of a copy. Each command ends with 0, or with another code and a reason in the
/// last line of standard error.
pub trait Copies: Send + Sync {
    /// Unpacks an archive from standard input as the folder `path`: the archive holds `tree`, and after it `whole`,
    /// which shows that nothing is missing. A new folder gets `mode`; an existing one is merged into. The archive is
    /// first unpacked under the name `partial`, which must not exist yet.
    fn unpack(&self, path: &str, partial: &str, mode: u32) -> Command;

    /// Prints the folder `path` as an archive. Ends with [`IS_FILE`] where it is a file.
    fn pack(&self, path: &str) -> Command;

    /// Prints an archive of those files of the folder `path` that standard input names, a NUL after each name; a link
    /// is packed as the file that it leads to.
    fn pick(&self, path: &str) -> Command;

    /// Writes standard input into a device or a pipe; waits for a reader of the pipe until `limit` is over.
    fn pour(&self, path: &str, limit: Duration) -> Command;

    /// Prints the SHA-256 of at most the first `count` blocks of a file, a line for each as `sha256sum` prints it. With
    /// `own` the file must belong to the caller, and must not be a link.
    fn block_hashes(&self, path: &str, block: u64, count: u64, own: bool) -> Command;

    /// Prints where a sparse file has data: `START END` for each part, in order. Fails for a file that is not sparse.
    fn data_extents(&self, path: &str) -> Command;

    /// Removes the files whose paths consist of `start` and eight more characters, but not `own`.
    fn remove_stale(&self, start: &str, own: &str) -> Command;

    /// Prints the identity and version of a file: device, inode, size and its times to the nanosecond.
    fn file_identity(&self, path: &str) -> Command;

    /// Lists the folder `path` and what the machine remembers of its last sync, in the records of
    /// `remote/linux/sync-tree.sh`. `memory` is where it remembers that of a folder which is the tool's own; Windows has none.
    fn sync_look(&self, path: &str, memory: Option<&str>) -> Command;

    /// Lists the folder `path` in the same records, with nothing of what is remembered.
    fn sync_list(&self, path: &str) -> Command;

    /// Prints the SHA-256 of the files that standard input names, a NUL after each name, as `sha256sum -z` does.
    fn sync_hash(&self, path: &str) -> Command;

    /// Applies the changes in the archive on standard input to the folder `path`; `memory` as for [`Self::sync_look`].
    fn sync_apply(&self, path: &str, memory: Option<&str>) -> Command;
}
