//! One ephemeral computer, as plain data.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::id::{MachineId, RunId};

/// Where machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Namespaces on this computer.
    Local,
    /// A machine that somebody else made.
    Host,
    /// In memory, for tests and dry runs.
    Dummy,
}

impl ProviderKind {
    /// The name used on the command line, in settings and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Host => "host",
            Self::Dummy => "dummy",
        }
    }
}

/// How a connection reaches a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Address {
    /// A host and a port of the ordinary network.
    Tcp {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix socket on this computer whose other side hands over a connected socket to the machine's port 22.
    ///
    /// On every accepted connection the machine's guard sends one byte: `+` with exactly one file descriptor as
    /// `SCM_RIGHTS` ancillary data, or `-` followed by the reason as UTF-8 text up to end of file. The reason [`ENDED`]
    /// is for good, and so is a socket at which nobody listens: the guard listens before its machine is made known.
    Handover {
        /// The Unix socket.
        socket: PathBuf,
    },
}

/// What a guard answers at [`Address::Handover`] when its machine has ended.
pub const ENDED: &str = "the machine has ended";

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port: 22 } => f.write_str(host),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Handover { socket } => write!(f, "{}", socket.display()),
        }
    }
}

/// How the machine proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum HostKey {
    /// Exactly this public key in OpenSSH form (`ssh-ed25519 AAAA…`), made for the machine.
    Exact {
        /// The public key.
        public: String,
    },
    /// The key that a `known_hosts` file names for the address; the file is read, never written.
    KnownHosts {
        /// The file.
        file: PathBuf,
    },
}

/// One ephemeral computer. Holds no socket: it can be stored and opened again next week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its id and host name.
    pub id: MachineId,
    /// Who made it.
    pub provider: ProviderKind,
    /// The run that made it.
    pub run: RunId,
    /// The person it belongs to (`user@host` of the driver).
    pub owner: String,
    /// The image it was booted from, for example `linux-dev-debian12`.
    pub image: String,
    /// How to reach it.
    pub address: Address,
    /// The login user.
    pub user: String,
    /// The private key to log in with.
    pub identity: PathBuf,
    /// How it proves who it is.
    pub host_key: HostKey,
    /// A block device inside the machine for a file system of its own, where one was asked for.
    pub volume: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself at the latest, whatever its driver says.
    pub expires_at: Timestamp,
    /// Whether it was left to live on without its driver, on purpose. Any other machine is released by its run.
    #[serde(default)]
    pub kept: bool,
}

/// Which network a machine sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Its own, with loopback only.
    #[default]
    Loopback,
    /// The network of the computer that runs the tool.
    Host,
}

/// Limits on what a machine may use.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Caps {
    /// Processors' worth of time, for example 1.5.
    pub cpus: Option<f64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
}
