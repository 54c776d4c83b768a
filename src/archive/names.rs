//! Names of files: as errors show them, without the slash of a folder, and for files that are not whole yet.

use model::connection::ConnectionError;

/// A path as errors show it.
pub fn quoted(path: &str) -> String {
    format!("`{}`", path.escape_debug())
}

/// A unique name for a partial file or folder.
pub fn partial_name(name: &str) -> String {
    partial_name_with(name, &suffix())
}

/// `.NAME.hg-partial-SUFFIX`, within the 255 bytes that a name may have.
pub fn partial_name_with(name: &str, suffix: &str) -> String {
    let mut end = name.len().min(200);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}.hg-partial-{suffix}", &name[..end])
}

/// Twelve random characters for the name of a partial file.
pub fn suffix() -> String {
    let id = model::base::id::ResourceId::random();
    let text = id.as_str();
    text[text.len() - 12..].to_owned()
}

/// Checks that `remote` can name a file on a machine: a name that ends in a slash is a folder's.
pub fn file_name(remote: &str) -> Result<&str, ConnectionError> {
    match remote.len() > 1 && remote.ends_with('/') {
        false => Ok(remote),
        true => {
            let reason = "the name ends in a slash, and a file is not a folder".to_owned();
            Err(ConnectionError::File { doing: format!("write {}", quoted(remote)), reason })
        }
    }
}

/// `path` without slashes at its end, which would make its last name empty.
pub fn trim_slashes(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() && !path.is_empty() { "/" } else { trimmed }
}
