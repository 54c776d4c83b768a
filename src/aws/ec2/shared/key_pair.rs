//! The key pair: the public half of the state directory's identity, imported under a name that nobody else uses.
//!
//! It is reconciled by content: a key pair is ours if it holds our public key, whatever its tags say. Nobody's key pair
//! is ever deleted; if the name is taken by another key, ours gets another name.

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{KeyPairInfo, ResourceType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use model::fault::Fault;
use model::resource::ResourceKind;
use sha2::{Digest, Sha256};

use crate::ec2::filters;
use crate::ec2::shared::SharedAccount;
use crate::ec2::tags;
use crate::ec2::trouble::{self, Class};

/// How many times a name is chosen, if other processes take the chosen ones in between.
const TRIES: usize = 3;

/// How many hexadecimal digits of the key's hash tell its name from that of another key of the same owner.
const DIGITS: usize = 8;

/// A key pair that the account has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownKeyPair {
    name: String,
    public: Option<String>,
    fingerprint: Option<String>,
}

impl KnownKeyPair {
    fn of(info: &KeyPairInfo) -> Option<Self> {
        Some(Self {
            name: info.key_name.clone()?,
            public: info.public_key.clone(),
            fingerprint: info.key_fingerprint.clone(),
        })
    }

    /// Whether it holds the key whose public half is `blob`. The key itself decides if the answer has it, else the
    /// fingerprint.
    fn holds(&self, blob: &[u8]) -> bool {
        if let Some(theirs) = self.public.as_deref().and_then(key_blob) {
            return theirs == blob;
        }
        self.fingerprint.as_deref().is_some_and(|theirs| plain(theirs) == plain(&fingerprint(blob)))
    }
}

/// The binary public key in a line `ssh-ed25519 AAAA… comment`.
fn key_blob(line: &str) -> Option<Vec<u8>> {
    STANDARD.decode(line.split_whitespace().nth(1)?).ok()
}

/// The fingerprint of an ed25519 key as EC2 gives it: base64 of the SHA-256 of the blob.
fn fingerprint(blob: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(blob))
}

/// A fingerprint without the prefix and padding that some writers omit.
fn plain(fingerprint: &str) -> &str {
    fingerprint.trim().trim_start_matches("SHA256:").trim_end_matches('=')
}

/// The names that our key pair may have, the preferred one first.
fn names(owner: &str, blob: &[u8]) -> [String; 3] {
    let own = format!("{}-{}", tags::KEY_PAIR, tags::to_name(owner));
    let digits = HEXLOWER.encode(&Sha256::digest(blob));
    let digits = digits.get(..DIGITS).unwrap_or(&digits);
    [tags::KEY_PAIR.to_owned(), own.clone(), format!("{own}-{digits}")]
}

/// The next step of reconciling.
#[derive(Debug, PartialEq, Eq)]
enum KeyPairStep {
    /// The key pair of this name already holds our key.
    Use(String),
    /// Our key is imported under this name.
    Import(String),
}

/// Uses a key pair that holds our key, else the first free name; `None` if other keys have all names.
fn decide(known: &[KnownKeyPair], names: &[String], blob: &[u8]) -> Option<KeyPairStep> {
    if let Some(ours) = known.iter().find(|pair| pair.holds(blob)) {
        return Some(KeyPairStep::Use(ours.name.clone()));
    }
    let free = |name: &&String| !known.iter().any(|pair| pair.name == **name);
    names.iter().find(free).cloned().map(KeyPairStep::Import)
}

/// Makes sure that the account holds our public key; returns its name there.
pub(crate) async fn reconcile(account: &SharedAccount<'_>, public: &str) -> Result<String, Fault> {
    let blob = key_blob(public).ok_or_else(|| Fault::outside("the public key of the state directory is damaged"))?;
    let names = names(account.owner, &blob);
    for _ in 0..TRIES {
        let known = list(account, &names).await?;
        match decide(&known, &names, &blob) {
            Some(KeyPairStep::Use(name)) => return Ok(name),
            Some(KeyPairStep::Import(name)) => {
                if import(account, &name, public).await? {
                    return Ok(name);
                }
            }
            None => break,
        }
    }
    Err(Fault::outside(format!("other keys have all of the names `{}`", names.join("`, `")))
        .hint("Remove the one that nobody needs in the console of EC2."))
}

async fn list(account: &SharedAccount<'_>, names: &[String]) -> Result<Vec<KnownKeyPair>, Fault> {
    // A filter leaves out names that do not exist; asking for the names themselves would be an error.
    let filter = filters::match_any("key-name", names);
    let call = account.ec2.describe_key_pairs().include_public_key(true).filters(filter);
    let answer = call.send().await.map_err(|error| trouble::fault("look for our key pair", error))?;
    Ok(answer.key_pairs().iter().filter_map(KnownKeyPair::of).collect())
}

/// Imports the key; `false` if the name was taken meanwhile.
async fn import(account: &SharedAccount<'_>, name: &str, public: &str) -> Result<bool, Fault> {
    let row = account.plan(ResourceKind::KeyPair, name)?;
    let specification = tags::specification(ResourceType::KeyPair, &tags::shared_tags(account.owner));
    let call = account.ec2.import_key_pair().key_name(name).public_key_material(Blob::new(public.trim().as_bytes()));
    match call.tag_specifications(specification).send().await {
        Ok(made) => {
            account.ledger.mark_kept(&row, made.key_pair_id().unwrap_or(name))?;
            Ok(true)
        }
        Err(error) if trouble::class(&error) == Class::Duplicate => {
            // A key pair of that name exists, so the row is true whoever made it.
            account.ledger.mark_kept(&row, name)?;
            Ok(false)
        }
        Err(error) => Err(trouble::fault(&format!("import the key pair `{name}`"), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDCzVXFMmPOXDGPAIgJ4KPgrDm5jTYQ4d3rLZRPOMyJF me@here";
    const THEIRS: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHs4bUHdBJDd6nN4FyhJ1yTn7NpJxZCnQ0iBHhK7tGr9";

    fn pair(name: &str, public: Option<&str>, fingerprint: &str) -> KnownKeyPair {
        let (public, fingerprint) = (public.map(str::to_owned), Some(fingerprint.to_owned()));
        KnownKeyPair { name: name.into(), public, fingerprint }
    }

    #[test]
    fn the_key_itself_decides_and_else_its_fingerprint() {
        let blob = key_blob(OURS).unwrap();
        let print = fingerprint(&blob);
        assert!(pair("x", Some(OURS), "nonsense").holds(&blob));
        assert!(!pair("x", Some(THEIRS), &print).holds(&blob));
        for same in [print.clone(), print.trim_end_matches('=').to_owned(), format!("SHA256:{print}")] {
            assert!(pair("x", None, &same).holds(&blob), "{same}");
        }
        assert!(!pair("x", None, &fingerprint(&key_blob(THEIRS).unwrap())).holds(&blob));
    }

    #[test]
    fn nobodys_name_is_taken() {
        let blob = key_blob(OURS).unwrap();
        let names = names("Me@Here.example", &blob);
        assert_eq!(names[..2], ["hg-automation".to_owned(), "hg-automation-me-here-example".to_owned()]);
        assert_eq!(names[2].len(), names[1].len() + 1 + DIGITS);
        let step = |known: &[KnownKeyPair]| decide(known, &names, &blob);
        let foreign = |at: usize| pair(&names[at], Some(THEIRS), "x");
        assert_eq!(step(&[]), Some(KeyPairStep::Import(names[0].clone())));
        assert_eq!(step(&[foreign(0)]), Some(KeyPairStep::Import(names[1].clone())));
        assert_eq!(step(&[foreign(0), foreign(1)]), Some(KeyPairStep::Import(names[2].clone())));
        assert_eq!(step(&[foreign(0), foreign(1), foreign(2)]), None);
        assert_eq!(
            step(&[pair(&names[1], Some(OURS), "x")]),
            Some(KeyPairStep::Use(names[1].clone())),
            "though one is free"
        );
    }
}
