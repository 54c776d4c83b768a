//! Tests of the copies against an SFTP server that lies, fails half-way or knows no extension.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use russh_sftp::protocol::{Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Status, StatusCode, Version};
use tokio::sync::Semaphore;

use crate::connection::link::Link;
use crate::connection::names::{FOLDER, REGULAR, SYMLINK};
use crate::connection::sftp::Sftp;
use crate::connection::tree;
use crate::model::connection::ConnectionError;

/// What the server pretends to have, and what it was asked to change.
#[derive(Clone, Default)]
struct Hostile {
    /// The entries of folders by path, with their modes.
    folders: HashMap<String, Vec<(String, u32)>>,
    listed: Vec<String>,
    /// The size that it gives every file, and the bytes that are there.
    size: u64,
    content: Vec<u8>,
    write_fails: bool,
    log: Arc<Mutex<Vec<String>>>,
}

fn attrs(mode: u32, size: u64) -> FileAttributes {
    FileAttributes { permissions: Some(mode), size: Some(size), ..FileAttributes::empty() }
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: String::new(), language_tag: String::new() }
}

impl Hostile {
    fn note(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }
}

impl russh_sftp::server::Handler for Hostile {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, StatusCode> {
        Ok(Version::new())
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusCode> {
        let mode = if self.folders.contains_key(&path) { FOLDER | 0o755 } else { REGULAR | 0o644 };
        Ok(Attrs { id, attrs: attrs(mode, self.size) })
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusCode> {
        Ok(Handle { id, handle: path })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, StatusCode> {
        let entries = self.folders.get(&handle).cloned().ok_or(StatusCode::NoSuchFile)?;
        if self.listed.contains(&handle) {
            return Err(StatusCode::Eof);
        }
        self.listed.push(handle);
        let files = entries.into_iter().map(|(name, mode)| File::new(name, attrs(mode, self.size))).collect();
        Ok(Name { id, files })
    }

    async fn readlink(&mut self, id: u32, _: String) -> Result<Name, StatusCode> {
        Ok(Name { id, files: vec![File::dummy("/etc")] })
    }

    async fn open(&mut self, id: u32, name: String, _: OpenFlags, _: FileAttributes) -> Result<Handle, StatusCode> {
        self.note(format!("open {name}"));
        Ok(Handle { id, handle: name })
    }

    async fn read(&mut self, id: u32, _: String, offset: u64, len: u32) -> Result<Data, StatusCode> {
        let start = usize::try_from(offset).unwrap().min(self.content.len());
        let end = (start + len as usize).min(self.content.len());
        if start == end { Err(StatusCode::Eof) } else { Ok(Data { id, data: self.content[start..end].to_vec() }) }
    }

    async fn write(&mut self, id: u32, _: String, offset: u64, data: Vec<u8>) -> Result<Status, StatusCode> {
        self.note(format!("write {} at {offset}", data.len()));
        if self.write_fails { Err(StatusCode::Failure) } else { Ok(done(id)) }
    }

    async fn fsetstat(&mut self, id: u32, _: String, _: FileAttributes) -> Result<Status, StatusCode> {
        Ok(done(id))
    }

    async fn close(&mut self, id: u32, _: String) -> Result<Status, StatusCode> {
        Ok(done(id))
    }

    async fn remove(&mut self, id: u32, name: String) -> Result<Status, StatusCode> {
        self.note(format!("remove {name}"));
        Ok(done(id))
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, StatusCode> {
        let first = !self.log.lock().unwrap().iter().any(|line| line.starts_with("rename"));
        self.note(format!("rename {from} {to}"));
        if first { Err(StatusCode::Failure) } else { Ok(done(id)) }
    }
}

async fn session(server: Hostile) -> Sftp {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    russh_sftp::server::run(theirs, server).await;
    let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    Sftp::over(ours, Arc::new(Link::new("hostile".to_owned())), slot).await.unwrap()
}

fn folder(entries: &[(&str, u32)]) -> Hostile {
    let entries = entries.iter().map(|(name, mode)| ((*name).to_owned(), *mode)).collect();
    Hostile {
        folders: HashMap::from([("/top".to_owned(), entries)]),
        size: 1,
        content: b"x".to_vec(),
        ..Hostile::default()
    }
}

async fn refusal(server: Hostile, local: &Path) -> String {
    let result = tree::download(&session(server).await, "/top", local, &|_| ()).await;
    assert!(matches!(result, Err(ConnectionError::File { .. })), "{result:?}");
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn names_that_lead_out_of_the_folder_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    for name in ["../evil", "/etc/evil", "a/../../evil", "", "nul\0", "bad\u{fffd}"] {
        for mode in [REGULAR | 0o644, FOLDER | 0o755, SYMLINK | 0o777] {
            let error = refusal(folder(&[("good", REGULAR | 0o644), (name, mode)]), &target).await;
            assert!(error.contains("copy `/top"), "{error}");
            assert!(!target.exists());
        }
    }
    let twice = folder(&[("a", SYMLINK | 0o777), ("a", FOLDER | 0o755)]);
    assert!(refusal(twice, &target).await.contains("twice"));
    assert!(refusal(folder(&[("pipe", 0o010_644)]), &target).await.contains("neither"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_is_never_entered_through_a_link_that_is_there() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), dir.path().join("a")).unwrap();
    let mut server = folder(&[("a", FOLDER | 0o755)]);
    server.folders.insert("/top/a".to_owned(), vec![("evil".to_owned(), REGULAR | 0o644)]);
    let error = refusal(server, dir.path()).await;
    assert!(error.contains("no folder has its name"), "{error}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    // A file in place of the link replaces the link, not what it leads to.
    let sftp = session(folder(&[("a", REGULAR | 0o4755)])).await;
    tree::download(&sftp, "/top", dir.path(), &|_| ()).await.unwrap();
    assert!(std::fs::symlink_metadata(dir.path().join("a")).unwrap().is_file());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(dir.path().join("a")).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o755);
}

#[tokio::test]
async fn folders_without_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = folder(&[("a", FOLDER | 0o755)]);
    let mut path = "/top".to_owned();
    for _ in 0..300 {
        path.push_str("/a");
        server.folders.insert(path.clone(), vec![("a".to_owned(), FOLDER | 0o755)]);
    }
    assert!(refusal(server, &dir.path().join("x")).await.contains("folders below each other"));
}

#[tokio::test]
async fn a_file_that_ends_early_leaves_nothing_and_one_that_grows_is_taken_whole() {
    let dir = tempfile::tempdir().unwrap();
    let local = dir.path().join("file");
    let short = Hostile { size: 10, content: b"abc".to_vec(), ..Hostile::default() };
    let error = tree::download(&session(short).await, "/f", &local, &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("shorter"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    for size in [0, 2, 700_000] {
        let content: Vec<u8> = (0..700_001_u32).map(|n| n as u8).collect();
        let grown = Hostile { size, content: content.clone(), ..Hostile::default() };
        let totals = tree::download(&session(grown).await, "/f", &local, &|_| ()).await.unwrap();
        assert_eq!((totals.files, totals.bytes), (1, 700_001));
        assert!(std::fs::read(&local).unwrap() == content);
    }
}

#[tokio::test]
async fn a_write_that_fails_removes_the_partial_file_and_never_names_the_final_one() {
    let server = Hostile { write_fails: true, ..Hostile::default() };
    let log = Arc::clone(&server.log);
    let error = session(server).await.write_file("/a/file", &[0; 300_000], 0o600).await.unwrap_err();
    assert!(matches!(&error, ConnectionError::File { doing, .. } if doing.contains("/a/file")), "{error}");
    let log = log.lock().unwrap().clone();
    let opened = log[0].strip_prefix("open ").unwrap();
    assert!(opened.starts_with("/a/.file.hg-partial-"), "{opened}");
    assert!(log.contains(&format!("remove {opened}")) && !log.iter().any(|line| line.starts_with("rename")), "{log:?}");
}

#[tokio::test]
async fn a_server_without_replacing_renames_gets_a_removal_first() {
    let server = Hostile::default();
    let log = Arc::clone(&server.log);
    session(server).await.write_file("file", b"x", 0o600).await.unwrap();
    let log = log.lock().unwrap().clone();
    assert!(log[0].starts_with("open .file.hg-partial-"), "{log:?}");
    assert!(log[2].ends_with(" file") && log[3] == "remove file" && log[4].starts_with("rename .file"), "{log:?}");
}
