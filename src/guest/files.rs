//! Files and folders: making, reading, listing, removing.

use model::task::Command;

/// Asks a machine's system for its files.
pub trait Files: Send + Sync {
    /// Makes a private folder of the caller, or makes an existing one private. A link, or a folder of another user, is
    /// refused, because the folder may be in a place where others can write.
    fn own_folder(&self, folder: &str) -> Command;

    /// Removes a folder with all its content.
    fn remove_folder(&self, folder: &str) -> Command;

    /// Ends with 0 where `path` is a folder, or a link to one.
    fn is_folder(&self, path: &str) -> Command;

    /// Prints a file's size in bytes on a separate line; then the whole file if it has at most twice `half` bytes, else
    /// its first and its last `half` bytes.
    fn file_ends(&self, path: &str, half: usize) -> Command;

    /// Prints at most `most` bytes of a file, from the offset `from` on.
    fn file_piece(&self, path: &str, from: u64, most: u64) -> Command;

    /// Prints a file from the offset `from` on, and everything that is added to it, until standard input ends. The file
    /// need not exist yet.
    fn follow_file(&self, path: &str, from: u64) -> Command;

    /// Lists everything below `starts`, a NUL after each record: `rBYTES PATH` is a file, or a link to one,
    /// `uBYTES PATH` a file that the user may not read, `d0 PATH` a folder, `l0 PATH` any other link. Ends with 0, or
    /// with 1 where a start does not exist; standard error has a line `find: 'PATH': Permission denied` for each folder that
    /// may not be entered.
    fn list_files(&self, starts: &[String]) -> Command;
}
