//! Our own key pairs, in OpenSSH form.

use model::fault::Fault;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey, PublicKey};

/// An ed25519 key pair.
#[derive(Clone)]
pub struct OpenSshKeyPair {
    /// The private key as an OpenSSH PEM file, without a passphrase; to be written with mode 0600.
    pub private_openssh: String,
    /// The public key as one line without a line end: `ssh-ed25519 AAAA… comment`.
    pub public_openssh: String,
}

// The private half must not reach a log by way of a derived implementation.
impl std::fmt::Debug for OpenSshKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("public_openssh", &self.public_openssh).finish_non_exhaustive()
    }
}

/// A new ed25519 key pair from the kernel's random source. Fails where the kernel gives no random bytes.
pub fn generate(comment: &str) -> Result<OpenSshKeyPair, Fault> {
    let mut seed = [0_u8; 32];
    random(&mut seed).map_err(|error| Fault::outside("cannot read random bytes for a key pair").because(error))?;
    let failed = |error| Fault::outside("cannot make a key pair").because(format!("{error}"));
    let mut key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    key.set_comment(comment.replace(['\n', '\r'], " "));
    let private_openssh = key.to_openssh(LineEnding::LF).map_err(failed)?.to_string();
    let public_openssh = key.public_key().to_openssh().map_err(failed)?;
    Ok(OpenSshKeyPair { private_openssh, public_openssh })
}

/// Whether `private` and `public`, both in OpenSSH form, are two halves of one pair. A text that is not a key is a
/// fault.
pub fn matches(private: &str, public: &str) -> Result<bool, Fault> {
    let unreadable = |what: &str, error: russh::keys::ssh_key::Error| {
        Fault::outside(format!("the {what} key is damaged")).because(error.to_string())
    };
    let private = PrivateKey::from_openssh(private).map_err(|error| unreadable("private", error))?;
    let public = PublicKey::from_openssh(public).map_err(|error| unreadable("public", error))?;
    Ok(private.public_key().key_data() == public.key_data())
}

/// The fingerprint of a public key in OpenSSH form, as OpenSSH prints it: `SHA256:…`. `None` where the text is not a
/// public key.
pub fn fingerprint(public: &str) -> Option<String> {
    PublicKey::from_openssh(public.trim()).ok().map(|key| key_fingerprint(&key))
}

pub(super) fn key_fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Fills `bytes` from the kernel's random source.
fn random(mut bytes: &mut [u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let got = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
        bytes = &mut bytes[got..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_differ_parse_back_and_hide_their_private_half() {
        let (a, b) = (generate("one two").unwrap(), generate("x").unwrap());
        assert_ne!(a.private_openssh, b.private_openssh);
        let key = russh::keys::decode_secret_key(&a.private_openssh, None).unwrap();
        assert_eq!(key.public_key().to_openssh().unwrap(), a.public_openssh);
        assert!(a.public_openssh.starts_with("ssh-ed25519 AAAA") && a.public_openssh.ends_with(" one two"));
        assert_eq!(fingerprint(&a.public_openssh), Some(key_fingerprint(key.public_key())));
        assert_eq!(fingerprint("nonsense"), None);
        assert!(!format!("{a:?}").contains("PRIVATE"));
    }
}
