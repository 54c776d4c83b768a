//! Machines that somebody else made: how one is named, and the keys to log in with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use connection::login::{Ask, Login};
use flow::run::saturating_add;
use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::fault::Fault;
use model::machine::{Address, HostKey, Machine, Platform, ProviderKind};

use crate::compose::variables;

/// The machine of `platform` that `target` names, for a run of `owner`. The login key is the one that was `named`, or else one of
/// those in `home`.
pub(super) fn machine(
    target: &str,
    platform: Platform,
    named: Option<&Path>,
    home: &Path,
    owner: &str,
) -> Result<Machine, Fault> {
    let (user, host, port) = parse_target(target)?;
    let ssh = home.join(".ssh");
    let identity = match named {
        Some(file) if !file.is_file() => {
            let what = if file.is_dir() { "a folder" } else { "not there" };
            return Err(Fault::usage(format!("the private key `{}` is {what}", file.display()))
                .hint(format!("Name a file with `--identity FILE`; yours are in `{}`.", ssh.display())));
        }
        Some(file) => file.to_owned(),
        None => default_identities(&ssh)?.remove(0),
    };
    let now = Timestamp::now();
    Ok(Machine {
        id: MachineId::random(),
        provider: ProviderKind::Host,
        platform,
        run: RunId::new(now),
        owner: owner.to_owned(),
        image: "somebody else's machine".to_owned(),
        address: Address::Tcp { host, port },
        user,
        identity,
        host_key: HostKey::KnownHosts { file: ssh.join("known_hosts") },
        volume: None,
        hardware: None,
        created_at: now,
        expires_at: saturating_add(now, Duration::from_secs(24 * 3600)),
        name: None,
        kept: false,
        idle: None,
    })
}

/// A machine that is up, as a run finds it that did not make it. It ends when it would have ended anyway.
pub(super) fn as_found(machine: &Machine) -> Machine {
    let image = format!("{} of {}", machine.image, machine.id);
    let id = MachineId::random();
    Machine { id, provider: ProviderKind::Host, image, name: None, kept: false, volume: None, ..machine.clone() }
}

/// The keys to log in with on somebody else's machine: the one that the user `named`, or else any of the user's own.
pub(super) fn login(named: bool, home: &Path, ask: Ask) -> Login {
    let others = if named { Vec::new() } else { default_identities(&home.join(".ssh")).unwrap_or_default() };
    Login { agent: variables::agent(), others, ask: Some(ask) }
}

/// Whether the key is one of the user's own, and so was found rather than named.
pub(super) fn is_own(home: &Path, identity: &PathBuf) -> bool {
    default_identities(&home.join(".ssh")).unwrap_or_default().contains(identity)
}

/// The user's keys that exist; the first of the usual names where only an agent holds a key.
fn default_identities(ssh: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut names = ["id_ed25519", "id_ecdsa", "id_rsa"].iter().map(|name| ssh.join(name));
    let found: Vec<PathBuf> = names.clone().filter(|path| path.is_file()).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    match (names.next(), variables::agent()) {
        (Some(first), Some(_)) => Ok(vec![first]),
        _ => Err(Fault::usage(format!(
            "no private key to log in with: there is none in `{}` and no agent",
            ssh.display()
        ))
        .hint("Name one with `--identity FILE`, or `ssh-add` it to an agent.")),
    }
}

pub(super) fn parse_target(target: &str) -> Result<(String, String, u16), Fault> {
    let fault = || {
        Fault::usage(format!("`{target}` is not USER@HOST or USER@HOST:PORT"))
            .hint("Write it as `hg@build.example.org`, `hg@192.0.2.7:2222` or `hg@[2001:db8::7]:22`.")
    };
    let (user, rest) = target.rsplit_once('@').ok_or_else(fault)?;
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or_else(fault)?;
            (host, port.strip_prefix(':'))
        }
        // Two colons without brackets are an IPv6 address without a port.
        None if rest.matches(':').count() > 1 => (rest, None),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => 22,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(fault)?,
    };
    if user.is_empty() || host.is_empty() {
        return Err(fault());
    }
    Ok((user.to_owned(), host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_as_people_write_them() {
        let of = |text: &str| parse_target(text).ok();
        let some = |user: &str, host: &str, port| Some((user.to_owned(), host.to_owned(), port));
        assert_eq!(of("hg@example.org"), some("hg", "example.org", 22));
        assert_eq!(of("hg@example.org:2222"), some("hg", "example.org", 2222));
        assert_eq!(of("hg@[::1]:2222"), some("hg", "::1", 2222));
        assert_eq!(of("hg@::1"), some("hg", "::1", 22));
        for bad in ["example.org", "@h", "hg@", "hg@h:0", "hg@h:x", "hg@h:70000", "hg@[::1"] {
            assert!(of(bad).is_none(), "{bad}");
        }
    }
}
