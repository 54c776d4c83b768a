//! The target of a copy on this computer: a file, or a stream that is written into.
//!
//! A plain file appears, or is replaced, when all bytes have come. A link is followed and stays a link. A device or a
//! pipe takes the bytes as they come and stays what it is. Any other target is refused before anything is made.

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::connection::ConnectionError;

use crate::partial::{flat, local_failure};

/// Most links that are followed one after another, the same number as in Linux.
const LINKS: usize = 40;

/// How long a copy waits for a reader of a pipe.
pub const READER_LIMIT: Duration = Duration::from_secs(30);
/// Interval at which it checks for a reader.
const READER_POLL: Duration = Duration::from_millis(20);

/// How long the reader of a pipe, or a device, may take no bytes.
const TAKING_LIMIT: Duration = Duration::from_secs(600);

/// The target that a local path means.
#[derive(Debug)]
pub enum LocalTarget {
    /// A plain file, or none yet, under this name, at which every link ends.
    File(PathBuf),
    /// A device, a pipe or an open file of a process, which is written into, under this name.
    Stream(PathBuf),
}

impl LocalTarget {
    /// Finds out what `local` means.
    pub fn of(local: &Path) -> Result<Self, ConnectionError> {
        let refused = |reason: &str| local_failure("write", local, &std::io::Error::other(reason));
        let found = match std::fs::metadata(local) {
            Ok(found) if found.is_dir() => return Err(refused("a folder has that name")),
            // A path `x/.` comes here as well, and the system says that there is no such folder.
            _ if local.as_os_str().as_bytes().ends_with(b"/") => {
                return Err(refused("the name ends in a slash, and there is no such folder"));
            }
            Ok(found) => Some(found.file_type()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(local_failure("write", local, &error)),
        };
        match found {
            Some(kind) if kind.is_socket() => Err(refused("it is a socket")),
            Some(kind) if !kind.is_file() => Ok(Self::Stream(local.to_owned())),
            _ => follow_links(local).map_err(|error| local_failure("write", local, &error)),
        }
    }
}

/// Follows links to their end, where no file need exist yet.
fn follow_links(local: &Path) -> std::io::Result<LocalTarget> {
    let mut path = local.to_owned();
    for _ in 0..LINKS {
        let Ok(target) = std::fs::read_link(&path) else { return Ok(LocalTarget::File(path)) };
        let folder = path.parent().unwrap_or(Path::new(""));
        if is_proc(folder) {
            // The link is an open file of a process, which would not see a new file that took its name.
            return Ok(LocalTarget::Stream(local.to_owned()));
        }
        path = folder.join(target);
    }
    Err(std::io::Error::from_raw_os_error(libc::ELOOP))
}

fn is_proc(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// A copy of our own standard output or error where `path` leads to it: a file opened by that name would be overwritten
/// from its start.
fn own_output(path: &Path) -> Option<File> {
    let ours = std::fs::canonicalize("/proc/self/fd").ok()?;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let folder = path.parent()?;
        if folder.canonicalize().is_ok_and(|folder| folder == ours) {
            let output = match path.file_name()?.to_str()? {
                "1" => rustix::stdio::stdout(),
                "2" => rustix::stdio::stderr(),
                _ => return None,
            };
            return rustix::io::fcntl_dupfd_cloexec(output, 0).ok().map(File::from);
        }
        path = folder.join(std::fs::read_link(&path).ok()?);
    }
    None
}

/// A device, a pipe or an open file of a process, which takes bytes one after another.
pub struct Stream {
    file: Arc<File>,
    path: PathBuf,
}

impl Stream {
    /// Opens the stream; waits for the reader of a pipe.
    pub async fn open(path: &Path) -> Result<Self, ConnectionError> {
        let end = Instant::now() + READER_LIMIT;
        loop {
            match Self::open_now(path) {
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) && Instant::now() < end => {
                    tokio::time::sleep(READER_POLL).await;
                }
                opened => return opened.map_err(|error| open_error(path, error)),
            }
        }
    }

    /// Opens the stream without waiting for a reader.
    pub fn open_now(path: &Path) -> std::io::Result<Self> {
        if let Some(output) = own_output(path) {
            return Ok(Self { file: Arc::new(output), path: path.to_owned() });
        }
        let kind = std::fs::metadata(path)?.file_type();
        let mut flags = libc::O_NOCTTY;
        if kind.is_fifo() {
            flags |= libc::O_NONBLOCK;
        }
        if kind.is_block_device() {
            // With this flag the kernel refuses a device that is mounted.
            flags |= libc::O_EXCL;
        }
        let file = File::options().write(true).truncate(kind.is_file()).custom_flags(flags).open(path)?;
        // Opening must not wait for a reader, but writing must wait until the pipe has room.
        rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::empty())?;
        Ok(Self { file: Arc::new(file), path: path.to_owned() })
    }

    /// Writes all bytes.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), ConnectionError> {
        let file = Arc::clone(&self.file);
        let writing = tokio::task::spawn_blocking(move || (&*file).write_all(&bytes));
        let written = match tokio::time::timeout(TAKING_LIMIT, writing).await {
            Ok(written) => flat(written),
            Err(_) => Err(std::io::Error::other(format!("nobody took anything for {}s", TAKING_LIMIT.as_secs()))),
        };
        written.map_err(|error| local_failure("write", &self.path, &error))
    }

    /// Writes all bytes, on a thread that may block.
    pub fn write_now(&self, bytes: &[u8]) -> std::io::Result<()> {
        (&*self.file).write_all(bytes)
    }
}

/// The failure of opening a stream.
pub fn open_error(path: &Path, error: std::io::Error) -> ConnectionError {
    match error.raw_os_error() {
        Some(libc::ENXIO) => local_failure("write", path, &std::io::Error::other("nobody reads from it")),
        _ => local_failure("write", path, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(place: Result<LocalTarget, ConnectionError>) -> PathBuf {
        match place {
            Ok(LocalTarget::File(path)) => path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn links_are_followed_and_what_is_no_file_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, at(name)).unwrap();
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/real"), "x").unwrap();
        link("d/real", "one");
        link("one", "two");
        link("d/new", "dangling");
        link("loop", "loop");
        link("/dev/null", "null");
        for (name, real) in [("one", "d/real"), ("two", "d/real"), ("dangling", "d/new"), ("d/real", "d/real")] {
            assert_eq!(file(LocalTarget::of(&at(name))), at(real));
        }
        assert_eq!(file(LocalTarget::of(&at("none"))), at("none"));
        assert_eq!(file(LocalTarget::of(Path::new("no-such-name"))), Path::new("no-such-name"));
        assert!(matches!(LocalTarget::of(&at("null")), Ok(LocalTarget::Stream(path)) if path == at("null")));
        assert!(matches!(LocalTarget::of(Path::new("/dev/full")), Ok(LocalTarget::Stream(_))));
        let open = File::create(at("open")).unwrap();
        let held = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        assert!(matches!(LocalTarget::of(Path::new(&held)), Ok(LocalTarget::Stream(_))));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, reason) in [
            ("d", "a folder"),
            ("d/", "a folder"),
            ("none/", "no such folder"),
            ("d/real/", "no such folder"),
            ("loop", "symbolic links"),
            ("socket", "a socket"),
        ] {
            let error = LocalTarget::of(&at(name)).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("on this computer"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_pipe_waits_for_its_reader_and_stays_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(Stream::open_now(&pipe).err().and_then(|error| error.raw_os_error()), Some(libc::ENXIO));
        let from = pipe.clone();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            std::fs::read(from).unwrap()
        });
        let stream = Stream::open(&pipe).await.unwrap();
        // This is more than a pipe holds at once.
        stream.write(vec![7; 300_000]).await.unwrap();
        drop(stream);
        assert_eq!(reader.join().unwrap(), vec![7; 300_000]);
        assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
