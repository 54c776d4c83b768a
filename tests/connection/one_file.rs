//! One file that is copied, in either direction.

use std::path::{Path, PathBuf};

use model::connection::{ConnectionError, Progress, Totals};
use support::sshd::Sshd;

use super::connect;

/// A file and the folder that it is copied to, over a server of its own.
pub(crate) struct Story {
    pub sshd: Sshd,
    /// Whether it goes to the machine.
    pub up: bool,
    pub from: PathBuf,
    pub folder: PathBuf,
}

impl Story {
    /// The file is for the caller to make.
    pub(crate) fn new(up: bool) -> Self {
        let sshd = Sshd::start();
        let (from, folder) = (sshd.dir.path().join("from"), sshd.folder("folder"));
        Self { sshd, up, from, folder }
    }

    pub(crate) fn to(&self) -> PathBuf {
        self.folder.join("to")
    }

    pub(crate) async fn copy(&self, progress: Progress<'_>) -> Result<Totals, ConnectionError> {
        let connection = connect(&self.sshd.machine()).await;
        match self.up {
            true => connection.upload(&self.from, self.to().to_str().unwrap(), progress).await,
            false => connection.download(self.from.to_str().unwrap(), &self.to(), progress).await,
        }
    }
}

/// Whether two files hold the same, in little memory.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    std::process::Command::new("cmp").arg("-s").arg(one).arg(other).status().unwrap().success()
}
