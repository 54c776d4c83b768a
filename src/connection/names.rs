//! Names, kinds and modes of files, as SFTP and Unix have them.

use russh_sftp::protocol::FileAttributes;

/// The bits of a mode that say what kind of file it is.
pub(super) const KIND: u32 = 0o170_000;
pub(super) const FOLDER: u32 = 0o040_000;
pub(super) const REGULAR: u32 = 0o100_000;
pub(super) const LINK: u32 = 0o120_000;
pub(super) const SOCKET: u32 = 0o140_000;

pub(super) fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => ".",
    }
}

pub(super) fn permissions(mode: u32) -> FileAttributes {
    FileAttributes { permissions: Some(mode & 0o7777), ..FileAttributes::empty() }
}

/// The kind bits of a file's attributes; zero where the server reports none.
pub(super) fn kind(attrs: &FileAttributes) -> u32 {
    attrs.permissions.unwrap_or(0) & KIND
}
