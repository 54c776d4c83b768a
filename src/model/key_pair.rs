//! Key pairs of machines. Cryptography lives with connections, so it comes to providers from outside.

use std::sync::Arc;

use crate::fault::Fault;

/// A fresh key pair of a machine, both in OpenSSH form: the private key's file and the public key's line.
#[derive(Clone)]
pub struct KeyPair {
    /// `-----BEGIN OPENSSH PRIVATE KEY-----` and so on.
    pub private: String,
    /// `ssh-ed25519 AAAA…`
    pub public: String,
}

/// Makes key pairs.
pub type KeyMaker = Arc<dyn Fn() -> Result<KeyPair, Fault> + Send + Sync>;
