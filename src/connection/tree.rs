//! Files and folders both ways.
//!
//! A copy is planned by looking at the source first, so that what cannot travel (a name that is not UTF-8, a socket) is
//! refused before anything was made. Folders are made from the top, files follow several at a time, then symbolic links,
//! and the folders' modes come last, from the bottom. Links come after files because a server could otherwise name a link
//! first and have a file written through it.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use russh_sftp::protocol::FileAttributes;

use crate::connection::names::{FOLDER, REGULAR, SYMLINK, kind, quoted};
use crate::connection::partial::{LocalPartial, flat, local_failure};
use crate::connection::sftp::Sftp;
use crate::model::connection::{ConnectionError, Progress, Totals};

/// Files in flight at once.
const FILES: usize = 16;

/// Requests in flight for each of them: together at most 8 MiB, whatever the sizes.
const FILE_DEPTH: usize = 4;

/// Requests in flight for a file that travels alone: 2 MiB.
const LONE_DEPTH: usize = 16;

/// Small requests in flight at once.
const REQUESTS: usize = 32;

/// Folders below each other; deeper ones are refused, for a server could name them without end.
const DEPTH_CAP: usize = 256;

/// Entries of a tree; more are refused, for the plan is held in memory.
const ENTRIES_CAP: usize = 1_000_000;

/// What is to be made, by its path below the top. The top itself has the empty path where it is a folder.
pub(super) struct Plan<File> {
    folders: Vec<(String, u32)>,
    pub(super) files: Vec<(String, File)>,
    pub(super) links: Vec<(String, String)>,
}

impl<File> Plan<File> {
    fn new() -> Self {
        Self { folders: Vec::new(), files: Vec::new(), links: Vec::new() }
    }

    /// Takes the folders by depth, so that those of one depth can be made at once.
    pub(super) fn levels(&mut self) -> BTreeMap<usize, Vec<(String, u32)>> {
        let mut levels: BTreeMap<usize, Vec<(String, u32)>> = BTreeMap::new();
        for (path, mode) in self.folders.drain(..) {
            let depth = if path.is_empty() { 0 } else { 1 + path.matches('/').count() };
            levels.entry(depth).or_default().push((path, mode));
        }
        levels
    }
}

/// Copies a local file or folder to `remote`. A symbolic link named as the source itself is followed.
pub(super) async fn upload(
    sftp: &Sftp,
    local: &Path,
    remote: &str,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let found = std::fs::metadata(local).map_err(|error| local_failure("read", local, &error))?;
    let remote = trimmed(remote);
    if found.is_file() {
        let bytes = sftp.upload(local, remote, found.mode(), LONE_DEPTH, progress).await?;
        return Ok(Totals { files: 1, bytes });
    }
    if !found.is_dir() {
        return Err(refused(local, "it is neither a file nor a folder"));
    }
    let top = local.to_owned();
    let plan = tokio::task::spawn_blocking(move || plan_upload(&top));
    let mut plan = plan.await.map_err(|error| refused(local, &error.to_string()))??;
    let mut made = Vec::new();
    for (_, level) in plan.levels() {
        let level = stream::iter(level).map(|(path, mode)| async move {
            let path = below(remote, &path);
            Ok::<_, ConnectionError>(sftp.make_folder(&path).await?.then_some((path, mode)))
        });
        let level: Vec<_> = level.buffered(REQUESTS).try_collect().await?;
        made.push(level.into_iter().flatten().collect::<Vec<_>>());
    }
    let files = stream::iter(plan.files).map(|(path, mode)| async move {
        sftp.upload(&local.join(&path), &below(remote, &path), mode, FILE_DEPTH, progress).await
    });
    let totals = total(files.buffer_unordered(FILES)).await?;
    let links = stream::iter(plan.links)
        .map(|(path, target)| async move { sftp.make_link(&target, &below(remote, &path)).await });
    links.buffer_unordered(REQUESTS).try_collect::<()>().await?;
    for level in made.into_iter().rev() {
        let modes = stream::iter(level).map(|(path, mode)| async move { sftp.set_mode(&path, mode).await });
        modes.buffer_unordered(REQUESTS).try_collect::<()>().await?;
    }
    Ok(totals)
}

async fn total(files: impl stream::Stream<Item = Result<u64, ConnectionError>>) -> Result<Totals, ConnectionError> {
    let add = |sum: Totals, bytes: u64| async move { Ok(Totals { files: sum.files + 1, bytes: sum.bytes + bytes }) };
    files.try_fold(Totals::default(), add).await
}

/// Looks at a local folder.
pub(super) fn plan_upload(top: &Path) -> Result<Plan<u32>, ConnectionError> {
    let mut plan = Plan::new();
    let mode = std::fs::metadata(top).map_err(|error| local_failure("read", top, &error))?.mode();
    plan.folders.push((String::new(), mode));
    let mut todo = vec![(top.to_owned(), String::new())];
    while let Some((folder, path)) = todo.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| local_failure("read", &folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| local_failure("read", &folder, &error))?;
            let from = entry.path();
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| refused(&from, "its name is not UTF-8, which SFTP here cannot carry"))?;
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let found = entry.metadata().map_err(|error| local_failure("read", &from, &error))?;
            if found.is_dir() {
                plan.folders.push((path.clone(), found.mode()));
                todo.push((from, path));
            } else if found.is_file() {
                plan.files.push((path, found.mode()));
            } else if found.is_symlink() {
                let target = std::fs::read_link(&from).map_err(|error| local_failure("read", &from, &error))?;
                let target = target.into_os_string().into_string();
                let target = target.map_err(|_| refused(&from, "its target is not UTF-8"))?;
                plan.links.push((path, target));
            } else {
                return Err(refused(&from, "it is neither a file, a folder nor a symbolic link"));
            }
        }
    }
    Ok(plan)
}

/// Copies a remote file or folder to `local`. A symbolic link named as the source itself is followed.
pub(super) async fn download(
    sftp: &Sftp,
    remote: &str,
    local: &Path,
    progress: Progress<'_>,
) -> Result<Totals, ConnectionError> {
    let remote = trimmed(remote);
    let reading =
        |reason: &str| ConnectionError::File { doing: format!("read {}", quoted(remote)), reason: reason.into() };
    let found = sftp.stat(remote).await?.ok_or_else(|| reading("no such file or folder"))?;
    match kind(&found) {
        REGULAR => {
            let bytes = sftp.download(remote, &found, local, LONE_DEPTH, progress).await?;
            return Ok(Totals { files: 1, bytes });
        }
        FOLDER => {}
        _ => return Err(reading("it is neither a file nor a folder")),
    }
    let mut plan = plan_download(sftp, remote, &found).await?;
    let mut made = Vec::new();
    for (path, mode) in plan.levels().into_values().flatten() {
        // The top may be a link that its owner made; below it a link would lead out of the folder.
        let top = path.is_empty();
        let path = if top { local.to_owned() } else { local.join(path) };
        if make_local_folder(&path, top)? {
            made.push((path, mode));
        }
    }
    let files = stream::iter(plan.files).map(|(path, found)| async move {
        sftp.download(&below(remote, &path), &found, &local.join(&path), FILE_DEPTH, progress).await
    });
    let totals = total(files.buffer_unordered(FILES)).await?;
    let links = stream::iter(plan.links).map(|(path, _)| async move {
        make_local_link(&sftp.read_link(&below(remote, &path)).await?, &local.join(&path)).await
    });
    links.buffer_unordered(REQUESTS).try_collect::<()>().await?;
    for (path, mode) in made.into_iter().rev() {
        let permissions = std::fs::Permissions::from_mode(mode & 0o777);
        std::fs::set_permissions(&path, permissions).map_err(|error| local_failure("write", &path, &error))?;
    }
    Ok(totals)
}

/// Looks at a remote folder. Whatever the server says, every path stays below it.
async fn plan_download(
    sftp: &Sftp,
    top: &str,
    found: &FileAttributes,
) -> Result<Plan<FileAttributes>, ConnectionError> {
    let mut plan = Plan::new();
    plan.folders.push((String::new(), found.permissions.unwrap_or(0o755)));
    let mut level = vec![String::new()];
    let mut seen = 0;
    for _ in 0..DEPTH_CAP {
        let listed = stream::iter(std::mem::take(&mut level)).map(|path| async move {
            let entries = sftp.list(&below(top, &path), ENTRIES_CAP).await?;
            Ok::<_, ConnectionError>((path, entries))
        });
        let mut listed = listed.buffer_unordered(FILES);
        while let Some((folder, entries)) = listed.try_next().await? {
            seen += entries.len();
            if seen > ENTRIES_CAP {
                let reason = format!("the tree has more than {ENTRIES_CAP} entries");
                return Err(ConnectionError::File { doing: format!("read {}", quoted(top)), reason });
            }
            let mut names = HashSet::new();
            for (name, attrs) in entries {
                if name == "." || name == ".." {
                    continue;
                }
                let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                check_name(&name, &below(top, &path), names.insert(name.clone()))?;
                match kind(&attrs) {
                    FOLDER => {
                        plan.folders.push((path.clone(), attrs.permissions.unwrap_or(0o755)));
                        level.push(path);
                    }
                    REGULAR => plan.files.push((path, attrs)),
                    SYMLINK => plan.links.push((path, String::new())),
                    _ => {
                        let reason = "it is neither a file, a folder nor a symbolic link".to_owned();
                        let doing = format!("copy {}", quoted(&below(top, &path)));
                        return Err(ConnectionError::File { doing, reason });
                    }
                }
            }
        }
        if level.is_empty() {
            return Ok(plan);
        }
    }
    let reason = format!("it has more than {DEPTH_CAP} folders below each other");
    Err(ConnectionError::File { doing: format!("read {}", quoted(top)), reason })
}

/// Refuses a name that would lead out of its folder, is not what the machine has, or comes twice.
fn check_name(name: &str, path: &str, first: bool) -> Result<(), ConnectionError> {
    let reason = if name.is_empty() || name.contains(['/', '\0']) {
        "the server gives it a name that leads out of its folder"
    } else if name.contains(char::REPLACEMENT_CHARACTER) {
        "its name is not UTF-8, which SFTP here cannot carry"
    } else if !first {
        "the server names it twice"
    } else {
        return Ok(());
    };
    Err(ConnectionError::File { doing: format!("copy {}", quoted(path)), reason: reason.to_owned() })
}

/// Makes a local folder; whether it was not there before.
pub(super) fn make_local_folder(path: &Path, follow: bool) -> Result<bool, ConnectionError> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let found = if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
            match found {
                Ok(found) if found.is_dir() => Ok(false),
                Ok(_) => Err(refused(path, "something that is no folder has its name")),
                Err(error) => Err(local_failure("write", path, &error)),
            }
        }
        Err(error) => Err(local_failure("write", path, &error)),
    }
}

/// Makes a local symbolic link, replacing a file or link that was there.
async fn make_local_link(target: &str, path: &Path) -> Result<(), ConnectionError> {
    let (target, to) = (PathBuf::from(target), path.to_owned());
    let made = tokio::task::spawn_blocking(move || {
        let partial = LocalPartial::beside(&to);
        std::os::unix::fs::symlink(target, partial.path())?;
        partial.rename(&to)
    });
    flat(made.await).map_err(|error| local_failure("write", path, &error))
}

pub(super) fn refused(path: &Path, reason: &str) -> ConnectionError {
    let doing = format!("copy `{}`", path.display().to_string().escape_debug());
    ConnectionError::File { doing, reason: reason.to_owned() }
}

/// `path` below `top`.
fn below(top: &str, path: &str) -> String {
    match (path.is_empty(), top.ends_with('/')) {
        (true, _) => top.to_owned(),
        (false, true) => format!("{top}{path}"),
        (false, false) => format!("{top}/{path}"),
    }
}

/// Without slashes at the end, which would make an empty name of it.
pub(super) fn trimmed(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() && !path.is_empty() { "/" } else { trimmed }
}
