//! Names, kinds and modes of files, as SFTP and Unix have them.

use std::borrow::Cow;

use model::machine::Platform;
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

/// `path` of a machine as its file server takes it: those of Windows have the drive below a slash.
pub(super) fn served(platform: Platform, path: &str) -> Cow<'_, str> {
    match (platform, path.as_bytes()) {
        (Platform::Windows, [drive, b':', b'/', ..]) if drive.is_ascii_alphabetic() => format!("/{path}").into(),
        _ => path.into(),
    }
}

/// The reverse of [`served`].
pub(super) fn told(platform: Platform, path: String) -> String {
    match (platform, path.as_bytes()) {
        (Platform::Windows, [b'/', drive, b':', ..]) if drive.is_ascii_alphabetic() => path[1..].to_owned(),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_drive_of_windows_goes_below_a_slash() {
        for (path, there) in [("C:/a b", "/C:/a b"), ("c:/", "/c:/"), ("x/C:/y", "x/C:/y"), ("1:/x", "1:/x"), ("", "")]
        {
            assert_eq!(served(Platform::Windows, path), there);
            assert_eq!(told(Platform::Windows, there.to_owned()), path);
            assert_eq!(served(Platform::Linux, path), path);
            assert_eq!(told(Platform::Linux, there.to_owned()), there);
        }
    }
}
