//! Where machines come from; the contract is [`crate::model::provider`].
//!
//! * [`local`]: namespaces on this computer, an overlay over cached layers, a real OpenSSH server.
//! * `ec2`: instances of Amazon EC2; absent without the feature of that name.
//! * [`host`]: a machine that somebody else made; never created, stopped or purged.
//! * [`dummy`]: in memory, and can fail on order, for tests and dry runs.

pub mod dummy;
#[cfg(feature = "ec2")]
pub mod ec2;
pub mod host;
pub mod local;

use std::sync::Arc;

use crate::model::fault::Fault;

/// A fresh key pair of a machine, both in OpenSSH form: the private key's file and the public key's line.
#[derive(Clone)]
pub struct KeyPair {
    /// `-----BEGIN OPENSSH PRIVATE KEY-----` and so on.
    pub private: String,
    /// `ssh-ed25519 AAAA…`
    pub public: String,
}

/// Makes key pairs; cryptography lives with connections, so it comes in from outside.
pub type KeyMaker = Arc<dyn Fn() -> Result<KeyPair, Fault> + Send + Sync>;
