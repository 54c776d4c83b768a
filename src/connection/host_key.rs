//! The host keys that are trusted for a machine. Files of known hosts are read, never written.

use hmac::{Hmac, KeyInit, Mac};
use model::connection::ConnectionError;
use model::machine::{Address, HostKey, Machine};
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, PublicKey};
use sha1::Sha1;

use crate::keys::key_fingerprint;

/// The keys that a machine may show.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    trusted: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
    /// The machine's name in `file`.
    name: String,
    /// The file of known hosts that the keys come from; empty where the machine's record holds the key.
    file: String,
}

impl Expected {
    /// The keys that the machine's record names. Fails with [`ConnectionError::Invalid`] on an unreadable key or file.
    pub(super) fn of(machine: &Machine) -> Result<Self, ConnectionError> {
        match &machine.host_key {
            HostKey::Exact { public } => {
                let key = PublicKey::from_openssh(public.trim()).map_err(|error| {
                    ConnectionError::Invalid(format!("the recorded host key `{public}` cannot be read: {error}"))
                })?;
                Ok(Self { trusted: vec![key], ..Self::default() })
            }
            HostKey::None => {
                Err(ConnectionError::Invalid(format!("{} is not reached by SSH: it has no host key", machine.id)))
            }
            HostKey::KnownHosts { file } => {
                let text = match std::fs::read(file) {
                    Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                    Err(error) => {
                        let message = format!("cannot read the known hosts in `{}`: {error}", file.display());
                        return Err(ConnectionError::Invalid(message));
                    }
                };
                let (host, port) = match &machine.address {
                    Address::Tcp { host, port } => (host.as_str(), *port),
                    Address::Handover { .. } | Address::Ssm { .. } => (machine.id.as_str(), 22),
                };
                let mut expected = known_hosts(&text, host, port);
                expected.file = file.display().to_string();
                expected.name = name(host, port);
                Ok(expected)
            }
        }
    }

    /// Whether `key` may be trusted.
    pub(super) fn accepts(&self, key: &PublicKey) -> bool {
        contains_key(&self.trusted, key) && !contains_key(&self.revoked, key)
    }

    /// The file that revokes `key`, if one does.
    pub(super) fn revoked_in(&self, key: &PublicKey) -> Option<&str> {
        contains_key(&self.revoked, key).then_some(self.file.as_str())
    }

    /// The machine's name and the file, where the file has no key of the machine; `None` where a key is trusted.
    pub(super) fn unknown_host(&self) -> Option<(String, String)> {
        self.trusted.is_empty().then(|| (self.name.clone(), self.file.clone()))
    }

    /// The fingerprints of the trusted keys, for a message.
    pub(super) fn describe(&self) -> String {
        self.trusted.iter().map(key_fingerprint).collect::<Vec<_>>().join(" or ")
    }

    /// `all` with the algorithms of the trusted keys first, so that a server with several keys shows one that can be
    /// compared.
    ///
    /// The others stay in the list: a server without a key of a trusted algorithm then shows another key, and the
    /// message is about that key instead of a failed negotiation.
    pub(super) fn order(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        let kind = |algorithm: &Algorithm| match algorithm {
            Algorithm::Rsa { .. } => Algorithm::Rsa { hash: None },
            other => other.clone(),
        };
        let trusted: Vec<_> = self.trusted.iter().map(|key| kind(&key.algorithm())).collect();
        let (mut first, rest): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|a| trusted.contains(&kind(a)));
        first.extend(rest);
        first
    }
}

fn contains_key(keys: &[PublicKey], key: &PublicKey) -> bool {
    keys.iter().any(|known| known.key_data() == key.key_data())
}

/// A host as `known_hosts` names it.
fn name(host: &str, port: u16) -> String {
    if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") }
}

/// The keys of `host` in the text of a `known_hosts` file. Lines that cannot be read are skipped.
fn known_hosts(text: &str, host: &str, port: u16) -> Expected {
    let wanted = name(&host.to_ascii_lowercase(), port);
    let mut expected = Expected::default();
    for line in text.lines() {
        let line = line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Ok(entry) = line.parse::<Entry>() else { continue };
        if !matches(entry.host_patterns(), &wanted) {
            continue;
        }
        match entry.marker() {
            None => expected.trusted.push(entry.public_key().clone()),
            Some(Marker::Revoked) => expected.revoked.push(entry.public_key().clone()),
            // A certificate authority signs certificates, and we accept none.
            Some(Marker::CertAuthority) => {}
        }
    }
    expected
}

fn matches(patterns: &HostPatterns, wanted: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
            .is_ok_and(|mac| mac.chain_update(wanted.as_bytes()).verify_slice(hash).is_ok()),
        HostPatterns::Patterns(patterns) => {
            let mut found = false;
            for pattern in patterns {
                let pattern = pattern.to_ascii_lowercase();
                match pattern.strip_prefix('!') {
                    Some(refused) if glob(refused.as_bytes(), wanted.as_bytes()) => return false,
                    Some(_) => {}
                    None => found |= glob(pattern.as_bytes(), wanted.as_bytes()),
                }
            }
            found
        }
    }
}

/// Whether `text` matches `pattern` with `*` and `?`, without the exponential cases of plain recursion.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G2sz07DnfFlrouTcysQlj2P+pjNSOEWD9OJ3X";
    const HASHED: &str = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak= ssh-ed25519 \
                          AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF";

    fn key(line: &str) -> PublicKey {
        PublicKey::from_openssh(line).unwrap()
    }

    #[test]
    fn finds_plain_ported_hashed_and_wildcard_hosts() {
        let text = format!("# x\nnonsense\n[localhost]:2222 {A} me\n{HASHED}\n*.Example.org,!bad.example.org {A}\n");
        let accepts = |host, port, line: &str| known_hosts(&text, host, port).accepts(&key(line));
        assert!(accepts("localhost", 2222, A));
        assert!(!accepts("localhost", 22, A) && !accepts("localhost", 2222, B));
        let hashed = HASHED.split_once(' ').unwrap().1;
        assert!(accepts("example.com", 22, hashed) && !accepts("example.net", 22, hashed));
        assert!(accepts("a.example.ORG", 22, A) && !accepts("bad.example.org", 22, A));
    }

    #[test]
    fn a_revoked_key_is_refused_and_an_authority_is_no_host_key() {
        let text = format!("h {A}\n@revoked * {A}\n@cert-authority h {B}\n");
        let expected = known_hosts(&text, "h", 22);
        assert!(!expected.accepts(&key(A)) && !expected.accepts(&key(B)));
        assert_eq!((expected.revoked_in(&key(A)), expected.revoked_in(&key(B))), (Some(""), None));
    }

    #[test]
    fn trusted_kinds_are_asked_for_first() {
        let expected = known_hosts(&format!("h {A}\n"), "h", 22);
        let all = [Algorithm::Rsa { hash: None }, Algorithm::Ed25519];
        assert_eq!(expected.order(&all), [Algorithm::Ed25519, Algorithm::Rsa { hash: None }]);
    }

    #[test]
    fn globs_end_quickly() {
        assert!(glob(b"*a*a*a*a*a*a*a*b", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaab"));
        assert!(!glob(b"*a*a*a*a*a*a*a*b", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
        assert!(glob(b"10.0.?.*", b"10.0.3.44") && !glob(b"", b"x") && glob(b"**", b""));
    }
}
