//! What a server of files alone can be asked, without a command on the machine.

use archive::names::{partial_name_with, quoted};
use futures_util::stream::{FuturesOrdered, StreamExt};
use model::connection::{ConnectionError, FileLook};
use model::sum::Sha256Sum;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use sha2::{Digest, Sha256};

use super::Sftp;
use crate::names::{REGULAR, kind};
use crate::partial::Handle;
use crate::tree::LONE_DEPTH;

impl Sftp {
    /// Looks at `path`, or at what it links to.
    pub(crate) async fn look(&self, path: &str) -> Result<Option<FileLook>, ConnectionError> {
        let found = self.stat(path).await?;
        Ok(found.map(|found| FileLook { size: found.size.unwrap_or(0), is_file: kind(&found) == REGULAR }))
    }

    /// Reads a file, and gives the sum of its bytes.
    pub(crate) async fn read_sum(&self, remote: &str) -> Result<Sha256Sum, ConnectionError> {
        let failed = |error| self.failure(format!("read {}", quoted(remote)), error);
        let opened = self.raw.open(remote, OpenFlags::READ, FileAttributes::empty()).await.map_err(failed)?;
        let handle = Handle::new(&self.raw, opened.handle);
        let name = &handle.name;
        let size = self.raw.fstat(name.as_str()).await.map_err(failed)?.attrs.size.unwrap_or(0);
        let (mut hasher, mut asked, mut in_flight) = (Sha256::new(), 0_u64, FuturesOrdered::new());
        loop {
            while asked < size && in_flight.len() < LONE_DEPTH {
                let length = (size - asked).min(u64::from(self.chunk));
                in_flight.push_back(self.read_span(name, remote, asked, length));
                asked += length;
            }
            match in_flight.next().await {
                Some(span) => hasher.update(span?),
                None => break,
            }
        }
        drop(in_flight);
        // Nothing was written through the handle, so that a failing close loses nothing.
        drop(handle.close().await);
        let unreadable = || ConnectionError::Invalid("a sum of SHA-256 has 32 bytes".to_owned());
        Sha256Sum::of_bytes(&hasher.finalize()).ok_or_else(unreadable)
    }

    /// Removes partial files of `names` from `folder`.
    pub(crate) async fn remove_parts(&self, folder: &str, names: &[&str]) -> Result<usize, ConnectionError> {
        let failed = |error| self.failure(format!("list {}", quoted(folder)), error);
        let starts: Vec<String> = names.iter().map(|name| partial_name_with(name, "")).collect();
        let opened = self.raw.opendir(folder).await.map_err(failed)?;
        let handle = Handle::new(&self.raw, opened.handle);
        let mut parts = Vec::new();
        loop {
            match self.raw.readdir(handle.name.as_str()).await {
                Ok(page) => {
                    let names = page.files.into_iter().map(|file| file.filename);
                    parts.extend(names.filter(|name| starts.iter().any(|start| name.starts_with(start.as_str()))));
                }
                Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => break,
                Err(error) => return Err(failed(error)),
            }
        }
        drop(handle.close().await);
        for part in &parts {
            let path = format!("{}/{part}", folder.trim_end_matches('/'));
            match self.raw.remove(path.as_str()).await {
                Ok(_) => {}
                Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => {}
                Err(error) => return Err(self.failure(format!("remove {}", quoted(&path)), error)),
            }
        }
        Ok(parts.len())
    }
}
