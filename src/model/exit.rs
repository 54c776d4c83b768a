//! How a command on a machine ended.

use serde::{Deserialize, Serialize};

/// How a command on a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum Exit {
    /// It ended with this status, 0 to 255. 255 is a status like any other.
    Code(u32),
    /// A signal ended it; the name is without `SIG`, for example `KILL`.
    Signal(String),
    /// The status is not known: the connection or the machine went away before it came. This is never a success, and
    /// never a failure of the command.
    Lost(String),
}

impl Exit {
    /// Whether the command ended with status 0.
    pub fn is_success(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(name) => write!(f, "signal {name}"),
            Self::Lost(reason) => write!(f, "lost: {reason}"),
        }
    }
}
