//! The requests to a file server, with the paths of the machine in place of the server's.

use model::machine::Platform;
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::extensions::{HardlinkExtension, Statvfs};
use russh_sftp::protocol::{Attrs, Data, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode};

use crate::names::{served, told};

/// The extension by which a file takes the name of another one.
pub(crate) const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// A file server of a machine.
pub(crate) struct FileServer {
    raw: RawSftpSession,
    platform: Platform,
}

impl FileServer {
    /// The server of a machine of `platform` behind a session.
    pub(crate) fn new(raw: RawSftpSession, platform: Platform) -> Self {
        Self { raw, platform }
    }

    fn path(&self, path: &str) -> String {
        served(self.platform, path).into_owned()
    }

    pub(crate) async fn open(
        &self,
        path: &str,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Result<Handle, SftpError> {
        self.raw.open(self.path(path), flags, attributes).await
    }

    pub(crate) async fn opendir(&self, path: &str) -> Result<Handle, SftpError> {
        self.raw.opendir(self.path(path)).await
    }

    pub(crate) async fn readdir(&self, handle: &str) -> Result<Name, SftpError> {
        self.raw.readdir(handle).await
    }

    pub(crate) async fn close(&self, handle: &str) -> Result<Status, SftpError> {
        self.raw.close(handle).await
    }

    pub(crate) async fn read(&self, handle: &str, offset: u64, length: u32) -> Result<Data, SftpError> {
        self.raw.read(handle, offset, length).await
    }

    pub(crate) async fn write(&self, handle: &str, offset: u64, bytes: Vec<u8>) -> Result<Status, SftpError> {
        self.raw.write(handle, offset, bytes).await
    }

    pub(crate) async fn stat(&self, path: &str) -> Result<Attrs, SftpError> {
        self.raw.stat(self.path(path)).await
    }

    pub(crate) async fn lstat(&self, path: &str) -> Result<Attrs, SftpError> {
        self.raw.lstat(self.path(path)).await
    }

    pub(crate) async fn fstat(&self, handle: &str) -> Result<Attrs, SftpError> {
        self.raw.fstat(handle).await
    }

    pub(crate) async fn fsetstat(&self, handle: &str, attributes: FileAttributes) -> Result<Status, SftpError> {
        self.raw.fsetstat(handle, attributes).await
    }

    pub(crate) async fn remove(&self, path: &str) -> Result<Status, SftpError> {
        self.raw.remove(self.path(path)).await
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<Status, SftpError> {
        self.raw.rename(self.path(from), self.path(to)).await
    }

    pub(crate) async fn realpath(&self, path: &str) -> Result<Name, SftpError> {
        let mut name = self.raw.realpath(self.path(path)).await?;
        for file in &mut name.files {
            file.filename = told(self.platform, std::mem::take(&mut file.filename));
        }
        Ok(name)
    }

    pub(crate) async fn statvfs(&self, path: &str) -> Result<Statvfs, SftpError> {
        self.raw.statvfs(self.path(path)).await
    }

    /// Gives a file another name, also one that another file has.
    pub(crate) async fn posix_rename(&self, from: &str, to: &str) -> Result<(), SftpError> {
        // The request has the same two strings as that for a hard link, for which `russh-sftp` has a type.
        let names = HardlinkExtension { oldpath: self.path(from), newpath: self.path(to) };
        let data: Vec<u8> = names.try_into()?;
        match self.raw.extended(POSIX_RENAME, data).await? {
            Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
            Packet::Status(status) => Err(status.into()),
            _ => Err(SftpError::UnexpectedPacket),
        }
    }
}
