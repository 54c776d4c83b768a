//! The work over the first proved connection, and the renewal of a machine's lease on the machine.

use std::time::Duration;

use guest::Life;
use jiff::Timestamp;
use model::connection::Connection;
use model::fault::Fault;
use model::machine::{HostKey, Machine, Platform};
use model::output::{OutputLimits, run_command};
use model::task::Command;

/// Replacing the host key takes one small key and a signal, and the script prints one line.
const LIMITS: OutputLimits = OutputLimits { bytes: 8 << 10, time: Duration::from_secs(60) };

/// Replaces the host key from the user data by one that the machine makes itself; returns the machine with the new key.
pub(crate) async fn settle(machine: &Machine, connection: &dyn Connection) -> Result<Machine, Fault> {
    let command = life(machine.platform)?.replace_host_key(&machine.user);
    let failed = || Fault::infrastructure(format!("cannot replace the host key of {}", machine.id));
    let done = run_command(connection, &command, LIMITS).await?;
    if !done.exit.is_success() {
        return Err(failed().because(done.ending()));
    }
    let public = public_key(&done.stdout).ok_or_else(|| failed().because("the machine did not report its new key"))?;
    Ok(Machine { host_key: HostKey::Exact { public }, ..machine.clone() })
}

/// The public key, if the output is one line that holds one.
fn public_key(output: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(output).ok()?.trim();
    let is_key = text.starts_with("ssh-ed25519 AAAA") && !text.contains(['\n', '\r']);
    is_key.then(|| text.to_owned())
}

/// How machines of `platform` are spoken to about their own life.
pub(crate) fn life(platform: Platform) -> Result<&'static dyn Life, Fault> {
    guest::of(platform).life().ok_or_else(|| {
        Fault::usage(format!("machines of the platform `{}` cannot be made on EC2 yet", platform.name()))
            .hint("Use one that somebody else made (`--host USER@HOST`).")
    })
}

/// The command that lets `machine` live until `until`, or its expiry if that is sooner.
pub(crate) fn lease_command(machine: &Machine, until: Timestamp) -> Result<Command, Fault> {
    Ok(life(machine.platform)?.renew_lease(until.min(machine.expires_at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_public_key_is_taken_for_one() {
        assert_eq!(public_key(b"ssh-ed25519 AAAAx host\n").as_deref(), Some("ssh-ed25519 AAAAx host"));
        for bad in [&b""[..], b"ssh-rsa AAAA", b"Last login\nssh-ed25519 AAAAx", b"ssh-ed25519 AAAAx\nmore", b"\xff"] {
            assert_eq!(public_key(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_lease_is_never_beyond_the_expiry() {
        let machine = crate::ec2::tests::machine();
        let later = machine.expires_at + jiff::SignedDuration::from_hours(1);
        let command = lease_command(&machine, later).unwrap();
        assert_eq!(command.args.last(), Some(&machine.expires_at.as_second().to_string()));
    }
}
