//! User data: the script that an instance runs first at every boot, with what it is told.
//!
//! The text is `#cloud-boothook`, the script of `remote/linux/first-boot.sh`, a line `__DATA__`, and lines `KEY VALUE`. The
//! script reads them from itself, so nothing of them is ever part of a program.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::base::id::MachineId;
use crate::model::fault::Fault;

const SCRIPT: &str = include_str!("../../../remote/linux/first-boot.sh");

/// What cloud-init tells the kind of user data by; a boothook runs at every boot, before the SSH server starts.
const KIND: &str = "#cloud-boothook\n";

/// How much user data EC2 takes, in bytes before it is encoded.
const CAP: usize = 16 * 1024;

/// What a machine is told at its launch.
pub struct FirstBoot<'a> {
    /// Its id.
    pub machine: &'a MachineId,
    /// Who logs in.
    pub user: &'a str,
    /// The public key that logs in, one line in OpenSSH form, and the private host key, a file in OpenSSH form; none where
    /// nobody comes by SSH.
    pub keys: Option<(&'a str, &'a str)>,
    /// When the machine ends without a sign of its driver.
    pub lease: Timestamp,
    /// When it ends in any case.
    pub expires_at: Timestamp,
}

/// A login name as distributions allow it; it becomes a part of a path on the machine.
fn is_user(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && name.len() <= 32 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// The user data, not yet encoded as the API wants it.
fn text(told: &FirstBoot<'_>) -> Result<String, Fault> {
    if !is_user(told.user) {
        return Err(Fault::usage(format!("`{}` is no login name", told.user)));
    }
    let keys = told.keys.map(|(authorized, host)| {
        let authorized = STANDARD.encode(format!("{}\n", authorized.trim()));
        [("authorized-key", authorized), ("host-key", STANDARD.encode(host))]
    });
    let lines = [
        ("machine", told.machine.to_string()),
        ("user", told.user.to_owned()),
        ("lease", told.lease.min(told.expires_at).as_second().to_string()),
        ("expires", told.expires_at.as_second().to_string()),
    ];
    let data: String =
        lines.iter().chain(keys.iter().flatten()).map(|(key, value)| format!("{key} {value}\n")).collect();
    let text = format!("{KIND}{SCRIPT}__DATA__\n{data}");
    if text.len() > CAP {
        return Err(Fault::outside(format!("the user data has {} bytes, and EC2 takes {CAP}", text.len())));
    }
    Ok(text)
}

/// The user data in base64, as `RunInstances` takes it.
pub fn encoded(told: &FirstBoot<'_>) -> Result<String, Fault> {
    text(told).map(|text| STANDARD.encode(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'a>(machine: &'a MachineId, user: &'a str) -> FirstBoot<'a> {
        FirstBoot {
            machine,
            user,
            keys: Some((
                "ssh-ed25519 AAAA me\n",
                "-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n-----END OPENSSH PRIVATE KEY-----\n",
            )),
            lease: "2026-11-20T10:00:00Z".parse().unwrap(),
            expires_at: "2026-11-20T12:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_script_ends_before_its_data() {
        let machine = "hg-0123456789".parse().unwrap();
        let text = text(&told(&machine, "hg")).unwrap();
        assert!(text.starts_with("#cloud-boothook\n#!/bin/sh\n"), "{}", &text[..40]);
        let (script, data) = text.split_once("\n__DATA__\n").unwrap();
        assert!(script.ends_with("\nexit 0"));
        assert!(data.contains("machine hg-0123456789\nuser hg\n") && data.contains("\nexpires 1795176000\n"), "{data}");
        assert!(!data.contains("PRIVATE"), "values are encoded, so that a line is a value");
        let key = data.lines().find_map(|line| line.strip_prefix("authorized-key ")).unwrap();
        assert_eq!(STANDARD.decode(key).unwrap(), b"ssh-ed25519 AAAA me\n");
    }

    #[test]
    fn a_machine_that_nobody_comes_to_by_ssh_is_told_no_key() {
        let machine = "hg-0123456789".parse().unwrap();
        let told = FirstBoot { keys: None, ..told(&machine, "hg") };
        let text = text(&told).unwrap();
        let (_, data) = text.split_once("\n__DATA__\n").unwrap();
        assert!(!data.contains("key") && data.contains("lease "), "{data}");
    }

    #[test]
    fn a_lease_never_goes_beyond_the_expiry() {
        let machine = "hg-0123456789".parse().unwrap();
        let mut told = told(&machine, "root");
        told.lease = told.expires_at + jiff::SignedDuration::from_secs(60);
        assert!(text(&told).unwrap().contains("\nlease 1795176000\n"));
    }

    #[test]
    fn a_user_cannot_be_a_path_or_more_lines() {
        let machine = "hg-0123456789".parse().unwrap();
        for bad in ["", "../x", "a b", "a\nexpires 9", "-x", ".ssh"] {
            assert!(text(&told(&machine, bad)).is_err(), "{bad:?}");
        }
        for good in ["hg", "root", "_apt", "ec2-user", "j.doe"] {
            assert!(text(&told(&machine, good)).is_ok(), "{good}");
        }
    }

    #[test]
    fn an_image_keeps_nothing_of_the_keys_that_its_machine_let_in() {
        let clean = include_str!("../../../images/linux-dev/90-cloud-clean.sh");
        let folder = SCRIPT.lines().find_map(|line| line.strip_prefix("login_keys=")).unwrap();
        assert!(
            clean.contains(&format!("rm -rf {folder} /var/lib/cloud/instance /var/lib/cloud/instances")),
            "{folder}"
        );
    }

    /// Runs the script's own reading of its data, by the shell of this computer.
    #[test]
    fn the_script_reads_what_was_written() {
        let machine = "hg-0123456789".parse().unwrap();
        let text = text(&told(&machine, "hg")).unwrap();
        let reader = SCRIPT.lines().find(|line| line.starts_with("value() ")).unwrap();
        let (_, data) = text.split_once("\n__DATA__\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        let body = "machine not-this\n";
        std::fs::write(&file, format!("{reader}\nvalue \"$1\"\nexit 0\n{body}__DATA__\n{data}")).unwrap();
        let value = |key: &str| {
            let out = std::process::Command::new("sh").arg(&file).arg(key).output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        assert_eq!(value("machine"), "hg-0123456789\n");
        assert_eq!(value("lease"), "1795168800\n");
        assert_eq!(value("nothing"), "");
    }
}
