//! Tests of the copies against an SFTP server that lies, fails half-way or knows no extension.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use model::connection::ConnectionError;
use model::machine::Platform;
use russh_sftp::protocol::{Attrs, Data, FileAttributes, Handle, OpenFlags, Status, StatusCode, Version};
use tokio::sync::Semaphore;

use crate::link::Link;
use crate::names::REGULAR;
use crate::sftp::Sftp;

/// A server with the files that it pretends to have, and a log of the changes that it was asked for.
#[derive(Clone, Default)]
struct Hostile {
    /// The size that it reports for every file; `content` is what it really has.
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

    async fn stat(&mut self, id: u32, _: String) -> Result<Attrs, StatusCode> {
        Ok(Attrs { id, attrs: attrs(REGULAR | 0o644, self.size) })
    }

    async fn fstat(&mut self, id: u32, _: String) -> Result<Attrs, StatusCode> {
        Ok(Attrs { id, attrs: attrs(REGULAR | 0o644, self.content.len() as u64) })
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
    Sftp::with_stream(ours, Arc::new(Link::new("hostile".to_owned())), slot, Platform::Linux).await.unwrap()
}

/// Downloads a file in the way in which a copy does.
async fn fetch(server: Hostile, local: &Path) -> Result<u64, ConnectionError> {
    let sftp = session(server).await;
    let found = sftp.stat("/f").await?.unwrap();
    sftp.download("/f", &found, local, 16, &|_| ()).await
}

#[tokio::test]
async fn a_file_that_ends_early_leaves_nothing_and_one_that_grows_is_taken_whole() {
    let dir = tempfile::tempdir().unwrap();
    let local = dir.path().join("file");
    let short = Hostile { size: 10, content: b"abc".to_vec(), ..Hostile::default() };
    let error = fetch(short, &local).await.unwrap_err();
    assert!(error.to_string().contains("shorter"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    for size in [0, 2, 700_000] {
        let content: Vec<u8> = (0..700_001_u32).map(|n| n as u8).collect();
        let grown = Hostile { size, content: content.clone(), ..Hostile::default() };
        assert_eq!(fetch(grown, &local).await.unwrap(), 700_001);
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
