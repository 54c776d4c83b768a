//! Connections: live ways to run commands and move files on a machine.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::net::TcpStream;

use crate::exit::Exit;
use crate::fault::{Fault, FaultKind};
use crate::machine::{Machine, Platform};
use crate::sum::Sha256Sum;
use crate::task::{Chunk, Command, WindowSize};

/// The failure of a connection. Each variant asks the user for a different action.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The host's name stands for no address.
    #[error("cannot find the address of `{host}`")]
    NoAddress {
        /// The name.
        host: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Nothing listens at the address.
    #[error("connection to {address} refused")]
    Refused {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: Option<std::io::Error>,
    },
    /// Nothing answered in time, or the answer never ended (`what` says which wait ran out).
    #[error("no answer from {address}: {what}")]
    TimedOut {
        /// The address.
        address: String,
        /// The reason for the wait, and its length.
        what: String,
    },
    /// The machine shows another host key than the one made for it.
    #[error("host key mismatch at {address}: expected {expected}, was shown {shown}")]
    HostKeyMismatch {
        /// The address.
        address: String,
        /// SHA-256 fingerprint of the key that was expected.
        expected: String,
        /// SHA-256 fingerprint of the key that was shown.
        shown: String,
    },
    /// There is no host key of the machine to compare with.
    #[error("host key unknown: `{file}` has no key for {name}, which shows {shown}")]
    HostKeyUnknown {
        /// The machine, as the file would name it.
        name: String,
        /// SHA-256 fingerprint of the key that was shown.
        shown: String,
        /// The file in which its key was searched for.
        file: String,
    },
    /// The machine shows a host key that was withdrawn.
    #[error("host key revoked: {address} shows {shown}, which `{file}` marks as `@revoked`")]
    HostKeyRevoked {
        /// The address.
        address: String,
        /// SHA-256 fingerprint of the key that was shown.
        shown: String,
        /// The file that marks it.
        file: String,
    },
    /// The machine does not accept the key for the user.
    #[error("authentication refused: {address} does not accept the key {identity} for user `{user}`")]
    AuthenticationRefused {
        /// The address.
        address: String,
        /// The user.
        user: String,
        /// The private key's file.
        identity: String,
    },
    /// The service that carries the connection does not accept these credentials, or the machine does not know the
    /// user.
    #[error("{address} cannot be used: {reason}")]
    Denied {
        /// The address.
        address: String,
        /// The denied action, and who denies it.
        reason: String,
    },
    /// The connection was established, and broke.
    #[error("connection to {address} lost: {reason}")]
    Lost {
        /// The address.
        address: String,
        /// How it broke.
        reason: String,
    },
    /// The machine does not exist any more: no later attempt can succeed.
    #[error("connection to {address} lost: the machine has ended")]
    MachineEnded {
        /// The address.
        address: String,
    },
    /// The other side is not an SSH server, or has no algorithm in common with us.
    #[error("{address} does not speak SSH as expected: {reason}")]
    Protocol {
        /// The address.
        address: String,
        /// How its answer differs from what SSH expects.
        reason: String,
    },
    /// A file operation failed; the connection is intact.
    #[error("cannot {doing}: {reason}")]
    File {
        /// The operation, with its path.
        doing: String,
        /// Why it failed.
        reason: String,
    },
    /// There is no usable private key to log in with.
    #[error("cannot use the private key `{identity}`: {reason}")]
    NoKey {
        /// The private key's file.
        identity: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// The request itself is wrong (a NUL byte, an unreadable record).
    #[error("{0}")]
    Invalid(String),
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Self {
        let (kind, hint) = match &error {
            ConnectionError::AuthenticationRefused { .. } => (
                FaultKind::Outside,
                Some("Name the right user and key (`--identity FILE`), or add the public key on the machine."),
            ),
            ConnectionError::HostKeyMismatch { .. } => (
                FaultKind::Outside,
                Some(
                    "Nothing was sent. Another machine answers at this address, or its key was changed: ask who runs it. If the key that \
                     it shows is right, remove the old one with `ssh-keygen -R NAME`, and log in once with `ssh`.",
                ),
            ),
            ConnectionError::HostKeyUnknown { .. } => (
                FaultKind::Outside,
                Some(
                    "Nothing was sent. Log in once with `ssh`, which asks whether the key is the machine's own and writes it down; \
                     `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there says what it must be.",
                ),
            ),
            ConnectionError::HostKeyRevoked { .. } => (
                FaultKind::Outside,
                Some(
                    "Nothing was sent. Whoever holds the old key may pose as this machine: ask who runs it for its new one.",
                ),
            ),
            ConnectionError::Denied { .. } => (
                FaultKind::Outside,
                Some("Renew the credentials or widen their permissions, or name a user that the machine has."),
            ),
            ConnectionError::NoKey { .. } => (
                FaultKind::Usage,
                Some("Name another with `--identity FILE`, or give this one to your agent with `ssh-add FILE`."),
            ),
            ConnectionError::Invalid(_) => (FaultKind::Usage, None),
            ConnectionError::File { .. } => (FaultKind::Outside, None),
            ConnectionError::NoAddress { .. } => (
                FaultKind::Infrastructure,
                Some("Check how the name is written, and that this computer can look names up."),
            ),
            ConnectionError::Refused { .. } => {
                (FaultKind::Infrastructure, Some("Check that it is up, and that this is its address and port."))
            }
            ConnectionError::TimedOut { .. } => (
                FaultKind::Infrastructure,
                Some("Check that it is up and that nothing in between swallows packets; then try again."),
            ),
            ConnectionError::Protocol { .. } => {
                (FaultKind::Infrastructure, Some("Check what listens there; the log of its SSH server may say why."))
            }
            ConnectionError::Lost { .. } | ConnectionError::MachineEnded { .. } => (FaultKind::Infrastructure, None),
        };
        let mut fault = Self::new(kind, error.to_string());
        fault.hint = hint.map(str::to_owned);
        if let ConnectionError::Refused { source: Some(source), .. } | ConnectionError::NoAddress { source, .. } = error
        {
            fault = fault.because(source);
        }
        fault
    }
}

/// A command that runs on a machine.
#[async_trait]
pub trait Process: Send {
    /// The next piece of output, in order of arrival; `None` once the command's channel is closed. Cancel safe.
    async fn next(&mut self) -> Option<Chunk>;

    /// The writer of its standard input; `None` when it was taken already or the command came with its input.
    fn take_stdin(&mut self) -> Option<Box<dyn Stdin>>;

    /// Tells its terminal the new size of the window.
    async fn resize(&self, size: WindowSize) -> Result<(), ConnectionError>;

    /// Asks for a signal, by its name without `SIG`, to the command and the processes of its group. The result does not
    /// say whether the signal was sent: a connection that cannot send signals does nothing.
    async fn signal(&mut self, name: &str) -> Result<(), ConnectionError>;

    /// How it ended; to be called after [`Process::next`] gave `None`. The exit of a channel that closed without a
    /// status is [`Exit::Lost`].
    fn exit(&self) -> Exit;
}

/// Standard input of a remote command.
#[async_trait]
pub trait Stdin: Send {
    /// Sends bytes; waits while the other side accepts no more.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectionError>;

    /// Sends end of file.
    async fn close(&mut self) -> Result<(), ConnectionError>;
}

/// The numbers of files and bytes that a copy moved.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The links that led out of a folder that came from a machine, by their paths below the folder: each was replaced
    /// by a note that says where it led. Bytes of a name that are not UTF-8 are replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced_links: Vec<String>,
}

impl Totals {
    /// One file of so many bytes.
    pub fn file(bytes: u64) -> Self {
        Self { files: 1, bytes, ..Self::default() }
    }
}

/// A part of a local tree that travels as one archive to a command that unpacks it.
///
/// The archive holds the notes by their names, then the paths below `tree/`, and at its end an empty file `whole`, by
/// which the command knows that nothing is missing. GNU tar can read the archive.
#[derive(Debug, Clone)]
pub struct Parcel<'a> {
    /// The folder that the paths are below.
    pub top: &'a Path,
    /// Files, links and folders. A folder comes before its entries and does not bring them by itself.
    pub paths: &'a [PathBuf],
    /// Small files that go first, by name.
    pub notes: Vec<(String, Vec<u8>)>,
}

/// A callback that receives the number of bytes that a copy has moved since the last call.
pub type Progress<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// A live connection. One connection carries any number of commands and copies side by side.
#[async_trait]
pub trait Connection: Send + Sync {
    /// The system of the machine that it leads to.
    fn platform(&self) -> Platform;

    /// Starts a command.
    async fn start(&self, command: &Command) -> Result<Box<dyn Process>, ConnectionError>;

    /// Writes a small file with permission bits `mode`, replacing what was there.
    async fn write_file(&self, remote: &str, bytes: &[u8], mode: u32) -> Result<(), ConnectionError>;

    /// Reads a file of at most `cap` bytes; a longer one is an error.
    async fn read_file(&self, remote: &str, cap: u64) -> Result<Vec<u8>, ConnectionError>;

    /// Copies a file or a folder (with all below it) to `remote`, which is replaced when it is a file.
    ///
    /// Keeps permission bits, symbolic links and empty folders. A file appears under its name only when it is whole.
    /// Where `remote` is a link, a file goes to the link's target; where it is a device or a pipe, the file's bytes are
    /// written into it. A folder is merged into an existing one, and refused as a whole where an entry has the name of
    /// a link, a device or a pipe there.
    async fn upload(&self, local: &Path, remote: &str, progress: Progress<'_>) -> Result<Totals, ConnectionError>;

    /// Copies a file or a folder to `local`, in the same manner. Links that lead out of a copied folder become notes.
    async fn download(&self, remote: &str, local: &Path, progress: Progress<'_>) -> Result<Totals, ConnectionError>;

    /// The interface for copies of chosen parts of trees, or the reason why this connection has none.
    fn trees(&self) -> Result<&dyn Trees, ConnectionError>;

    /// The interface for single files without a command, or the reason why this connection has none.
    fn plain_files(&self) -> Result<&dyn PlainFiles, ConnectionError> {
        Err(ConnectionError::Invalid("this connection moves no files without a command on the machine".to_owned()))
    }

    /// The interface for streams to ports of the machine, or the reason why this connection has none.
    fn tunnels(&self) -> Result<&dyn Tunnels, ConnectionError> {
        Err(ConnectionError::Invalid("this connection carries no streams of other programs".to_owned()))
    }

    /// Whether a command's standard input stays open for as long as the caller holds it. Without that, a command cannot
    /// learn from its input that its caller is gone.
    fn holds_stdin(&self) -> bool;

    /// Closes the connection in an orderly way. A connection that is dropped instead just breaks.
    async fn close(&self);
}

/// What there is under a name on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLook {
    /// Its bytes.
    pub size: u64,
    /// Whether it is a plain file.
    pub is_file: bool,
}

/// Single files on a machine whose user may not run commands: all of it works where there is SFTP alone.
#[async_trait]
pub trait PlainFiles: Send + Sync {
    /// Looks at `remote`, or at what it links to; `None` where there is nothing.
    async fn look(&self, remote: &str) -> Result<Option<FileLook>, ConnectionError>;

    /// The SHA-256 of a file, which is read for it.
    async fn read_sum(&self, remote: &str) -> Result<Sha256Sum, ConnectionError>;

    /// Copies a local file to `remote` with permission bits `mode`. It appears under its name only when it is whole.
    async fn put(&self, local: &Path, remote: &str, mode: u32, progress: Progress<'_>) -> Result<u64, ConnectionError>;

    /// Removes from `folder` the parts of files that are to have these `names`, which copies left that were killed. A
    /// copy to such a name that is under way fails. Gives how many there were.
    async fn remove_parts(&self, folder: &str, names: &[&str]) -> Result<usize, ConnectionError>;
}

/// Streams of other programs to ports of a machine.
#[async_trait]
pub trait Tunnels: Send + Sync {
    /// Joins `near` with a new connection of the machine to `port` of its own, until both sides have ended: the end of one alone is
    /// passed on. A port at which nobody listens is [`ConnectionError::Refused`].
    async fn carry(&self, near: TcpStream, port: u16) -> Result<(), ConnectionError>;
}

/// Copies of chosen parts of trees, each set as one archive: for connections that carry output and input of any size.
#[async_trait]
pub trait Trees: Send + Sync {
    /// Runs `command` with the archive of `parcel` on its standard input. It must end with status 0.
    async fn send_parcel(
        &self,
        command: &Command,
        parcel: Parcel<'_>,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError>;

    /// Copies the files, links and folders `paths` below the folder `local` to the same paths below the folder
    /// `remote`. A folder comes before its entries and does not bring them by itself.
    async fn upload_some(
        &self,
        local: &Path,
        paths: &[PathBuf],
        remote: &str,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError>;

    /// Copies the files `paths` below the folder `remote` to the same paths below the folder `local`, all of them or
    /// none; a link arrives as the file that it leads to. More than `most` bytes, holes included, are refused.
    async fn download_some(
        &self,
        remote: &str,
        paths: &[PathBuf],
        local: &Path,
        most: u64,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError>;
}

/// Opens connections: the interface between flows and the `connection` adapter.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Connects and authenticates as the machine's user within `limit`, or fails with the last reason.
    ///
    /// `patient` keeps trying while nothing answers yet (a machine that boots); otherwise the first refusal counts.
    async fn connect(
        &self,
        machine: &Machine,
        user: &str,
        limit: std::time::Duration,
        patient: bool,
    ) -> Result<Box<dyn Connection>, ConnectionError>;
}
