//! The user data that a machine of a cloud runs first at every boot.
//!
//! The text is `#cloud-boothook`, the script of `remote/linux/first-boot.sh`, a line `__DATA__`, and lines `KEY VALUE`.
//! The script reads these lines from its own file, so no value is ever part of a program; programs among the values
//! travel as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::life::FirstBoot;

const SCRIPT: &str = include_str!("../../../remote/linux/first-boot.sh");
const WATCHER: &str = include_str!("../../../remote/linux/watch-lease.sh");
const KEEPER: &str = include_str!("../../../remote/linux/keep-watcher.sh");

/// The line by which cloud-init recognises this kind of user data; a boothook runs at every boot, before the SSH server
/// starts.
const KIND: &str = "#cloud-boothook\n";

/// The text of the user data.
pub(super) fn user_data(data: &FirstBoot<'_>) -> String {
    let keys = data.keys.map(|(authorized, host)| {
        let authorized = STANDARD.encode(format!("{}\n", authorized.trim()));
        [("authorized-key", authorized), ("host-key", STANDARD.encode(host))]
    });
    let lines = [
        ("machine", data.machine.to_string()),
        ("user", data.user.to_owned()),
        ("lease", data.lease.min(data.expires_at).as_second().to_string()),
        ("expires", data.expires_at.as_second().to_string()),
        ("idle", data.idle.map_or(0, |idle| idle.as_secs()).to_string()),
        ("watcher", STANDARD.encode(WATCHER)),
        ("keeper", STANDARD.encode(KEEPER)),
    ];
    let data: String =
        lines.iter().chain(keys.iter().flatten()).map(|(key, value)| format!("{key} {value}\n")).collect();
    format!("{KIND}{SCRIPT}__DATA__\n{data}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::base::id::MachineId;

    fn first_boot<'a>(machine: &'a MachineId, user: &'a str) -> FirstBoot<'a> {
        FirstBoot {
            machine,
            user,
            keys: Some((
                "ssh-ed25519 AAAA me\n",
                "-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n-----END OPENSSH PRIVATE KEY-----\n",
            )),
            lease: "2026-11-20T10:00:00Z".parse().unwrap(),
            expires_at: "2026-11-20T12:00:00Z".parse().unwrap(),
            idle: None,
        }
    }

    #[test]
    fn the_script_ends_before_its_data() {
        let machine = "hg-0123456789".parse().unwrap();
        let text = user_data(&first_boot(&machine, "hg"));
        assert!(text.starts_with("#cloud-boothook\n#!/bin/sh\n"), "{}", &text[..40]);
        let (script, data) = text.split_once("\n__DATA__\n").unwrap();
        assert!(script.ends_with("\nexit 0"));
        assert!(data.contains("machine hg-0123456789\nuser hg\n") && data.contains("\nexpires 1795176000\n"), "{data}");
        assert!(!data.contains("PRIVATE"), "values are encoded, so that a line is a value");
        let value = |key: &str| STANDARD.decode(data.lines().find_map(|line| line.strip_prefix(key)).unwrap()).unwrap();
        assert_eq!(value("authorized-key "), b"ssh-ed25519 AAAA me\n");
        assert_eq!(value("watcher "), WATCHER.as_bytes());
        assert_eq!(value("keeper "), KEEPER.as_bytes());
    }

    #[test]
    fn a_machine_that_nobody_comes_to_by_ssh_is_told_no_key() {
        let machine = "hg-0123456789".parse().unwrap();
        let data = FirstBoot { keys: None, ..first_boot(&machine, "hg") };
        let text = user_data(&data);
        let (_, data) = text.split_once("\n__DATA__\n").unwrap();
        assert!(!data.contains("-key ") && data.contains("lease "), "{data}");
    }

    #[test]
    fn a_lease_never_goes_beyond_the_expiry() {
        let machine = "hg-0123456789".parse().unwrap();
        let mut data = first_boot(&machine, "root");
        data.lease = data.expires_at + jiff::SignedDuration::from_secs(60);
        assert!(user_data(&data).contains("\nlease 1795176000\n"));
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
        let text = user_data(&first_boot(&machine, "hg"));
        let function = |name: &str| {
            let (_, rest) = SCRIPT.split_once(&format!("\n{name}() {{")).unwrap();
            let end = if rest.starts_with('\n') { "\n}" } else { "}\n" };
            let (body, _) = rest.split_once(end).unwrap();
            format!("{name}() {{{body}{end}\n")
        };
        let (_, data) = text.split_once("\n__DATA__\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        let body = "machine not-this\n";
        let functions = format!("{}{}", function("value"), function("unpack"));
        std::fs::write(&file, format!("{functions}\"$@\"\nexit\n{body}__DATA__\n{data}")).unwrap();
        let run = |words: &[&str]| std::process::Command::new("sh").arg(&file).args(words).output().unwrap();
        let value = |key: &str| String::from_utf8(run(&["value", key]).stdout).unwrap();
        assert_eq!(value("machine"), "hg-0123456789\n");
        assert_eq!(value("lease"), "1795168800\n");
        assert_eq!(value("nothing"), "");
        let target = folder.path().join("watch");
        assert!(run(&["unpack", "watcher", target.to_str().unwrap()]).status.success());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), WATCHER);
        // A value that is missing replaces nothing.
        assert!(!run(&["unpack", "nothing", target.to_str().unwrap()]).status.success());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), WATCHER);
    }
}
