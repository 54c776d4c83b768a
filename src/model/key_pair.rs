//! Key pairs of machines. Cryptography belongs to connections, so providers are given a function that makes key pairs.

use std::sync::Arc;

use crate::fault::Fault;

/// A new key pair of a machine, both keys in OpenSSH form: the private key's file and the public key's line.
#[derive(Clone)]
pub struct KeyPair {
    /// The private key: `-----BEGIN OPENSSH PRIVATE KEY-----` and so on.
    pub private: String,
    /// The public key: `ssh-ed25519 AAAA…`.
    pub public: String,
}

/// Makes key pairs.
pub type KeyMaker = Arc<dyn Fn() -> Result<KeyPair, Fault> + Send + Sync>;
