//! The entries of a tree on this computer, as they travel in an archive.

use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use model::connection::ConnectionError;

use crate::partial::local_failure;

/// Size of a block of the tar format, in bytes.
pub const BLOCK: usize = 512;

/// Most folders below each other; deeper ones are refused, because a machine could name them without end.
pub const DEPTH_CAP: usize = 256;

/// Most entries of a tree; more are refused, because the list of entries is held in memory.
pub const ENTRIES_CAP: usize = 1_000_000;

/// An entry of a tree, by its path below the top. The top itself has the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its path below the top.
    pub path: PathBuf,
    /// Its kind.
    pub kind: ItemKind,
    /// Its permissions.
    pub mode: u32,
}

/// The kind of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A folder.
    Folder,
    /// A plain file.
    File,
    /// A link, with its target.
    Link(Vec<u8>),
}

/// Lists a local folder with all below it, a folder before its entries.
pub fn plan(top: &Path) -> Result<Vec<Item>, ConnectionError> {
    let mode = std::fs::metadata(top).map_err(|error| local_failure("read", top, &error))?.mode();
    let mut items = vec![Item { path: PathBuf::new(), kind: ItemKind::Folder, mode }];
    let mut todo = vec![PathBuf::new()];
    while let Some(folder) = todo.pop() {
        let place = top.join(&folder);
        let entries = std::fs::read_dir(&place).map_err(|error| local_failure("read", &place, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| local_failure("read", &place, &error))?;
            let path = folder.join(entry.file_name());
            let listed = entry.file_type().map_err(|error| local_failure("read", &entry.path(), &error))?;
            // A file's mode is read when the file is open, so that mode and content belong together.
            let item = match listed.is_file() {
                true => Item { path, kind: ItemKind::File, mode: 0 },
                false => item(top, path)?,
            };
            if item.kind == ItemKind::Folder {
                todo.push(item.path.clone());
            }
            items.push(item);
        }
        if items.len() > ENTRIES_CAP {
            return Err(refused(top, &format!("it has more than {ENTRIES_CAP} entries")));
        }
    }
    Ok(items)
}

/// Looks at one entry below `top`.
pub fn item(top: &Path, path: PathBuf) -> Result<Item, ConnectionError> {
    let from = top.join(&path);
    let found = std::fs::symlink_metadata(&from).map_err(|error| local_failure("read", &from, &error))?;
    let kind = if found.is_dir() {
        ItemKind::Folder
    } else if found.is_file() {
        ItemKind::File
    } else if found.is_symlink() {
        let target = std::fs::read_link(&from).map_err(|error| local_failure("read", &from, &error))?;
        ItemKind::Link(target.into_os_string().into_vec())
    } else {
        let what = match found.file_type() {
            kind if kind.is_fifo() => "a named pipe",
            kind if kind.is_socket() => "a socket",
            _ => "a device",
        };
        return Err(refused(&from, &format!("it is {what}, neither a file, a folder nor a symbolic link")));
    };
    Ok(Item { path, kind, mode: found.mode() })
}

/// The error for an entry that cannot travel, with the reason.
pub fn refused(path: &Path, reason: &str) -> ConnectionError {
    let doing = format!("copy `{}`", path.display().to_string().escape_debug());
    ConnectionError::File { doing, reason: reason.to_owned() }
}
