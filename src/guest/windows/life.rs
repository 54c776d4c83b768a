//! The life of a machine of a cloud that has Windows: its user data, the renewal of its lease, the replacement of its host key.
//!
//! The user data is `remote/windows/first-boot.ps1` without the lines that are comments, since EC2 takes 16 KiB and the comments are
//! a third of it, and below it a line `#= KEY VALUE` for each value. The script reads these lines by the instance's metadata, so no
//! value is ever part of a program; programs among the values travel as base64.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::task::Command;

use super::{Windows, without_input};
use crate::life::{FirstBoot, Life};

const SCRIPT: &str = include_str!("../../../remote/windows/first-boot.ps1");
const WATCHER: &str = include_str!("../../../remote/windows/watch-lease.ps1");
const RENEW_LEASE: &str = include_str!("../../../remote/windows/renew_lease.py");
const REPLACE_HOST_KEY: &str = include_str!("../../../remote/windows/replace_host_key.py");

/// The script without its comments and empty lines.
pub(super) fn bare(script: &str) -> String {
    let says = |line: &&str| !line.trim_start().starts_with('#') && !line.trim().is_empty();
    script.lines().filter(says).map(|line| format!("{line}\n")).collect()
}

impl Life for Windows {
    /// EC2Launch runs what stands between the first two tags, at every boot where the last says so.
    fn first_boot(&self, data: &FirstBoot<'_>) -> String {
        let keys = data.keys.map(|(authorized, host)| {
            let authorized = STANDARD.encode(format!("{}\n", authorized.trim()));
            [("authorized-key", authorized), ("host-key", STANDARD.encode(host))]
        });
        let lines = [
            ("machine", data.machine.to_string()),
            ("user", data.user.to_owned()),
            ("lease", data.lease.min(data.expires_at).as_second().to_string()),
            ("expires", data.expires_at.as_second().to_string()),
            ("watcher", STANDARD.encode(bare(WATCHER))),
        ];
        let data: String =
            lines.iter().chain(keys.iter().flatten()).map(|(key, value)| format!("#= {key} {value}\n")).collect();
        format!("<powershell>\n{}{data}</powershell>\n<persist>true</persist>\n", bare(SCRIPT))
    }

    fn renew_lease(&self, until: Timestamp) -> Command {
        without_input(RENEW_LEASE, &[&until.as_second().to_string()])
    }

    /// A machine that is taken back is noticed when it has ended.
    fn watch_notice(&self, _: Duration, _: u32) -> Option<Command> {
        None
    }

    /// A disk of Windows has to be made general first, which ends the machine.
    fn set_aside(&self, _: &str, _: Duration) -> Option<Command> {
        None
    }

    fn put_back(&self, _: &str) -> Option<Command> {
        None
    }

    /// The user is an administrator, whose sessions by SSH have all rights.
    fn replace_host_key(&self, _: &str) -> Command {
        without_input(REPLACE_HOST_KEY, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Shell;
    use model::base::id::MachineId;

    fn user_data(keys: Option<(&str, &str)>, lease: &str) -> String {
        let machine: MachineId = "hg-0123456789".parse().unwrap();
        let data = FirstBoot {
            machine: &machine,
            user: "Administrator",
            keys,
            lease: lease.parse().unwrap(),
            expires_at: "2026-11-20T12:00:00Z".parse().unwrap(),
            idle: None,
        };
        Windows.first_boot(&data)
    }

    const KEYS: (&str, &str) = ("ssh-ed25519 AAAA me\n", "-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n");

    /// As the script does it.
    fn told<'a>(text: &'a str, key: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix("#= ")?.strip_prefix(key)?.strip_prefix(' '))
    }

    #[test]
    fn the_values_are_comments_behind_a_script_that_has_ended() {
        let text = user_data(Some(KEYS), "2026-11-20T10:00:00Z");
        let (script, data) = text.split_once("\nexit $code\n").unwrap();
        assert!(script.starts_with("<powershell>\n[CmdletBinding()]\nparam(\n"), "{script}");
        let (data, rest) = data.split_once("</powershell>\n").unwrap();
        assert_eq!(rest, "<persist>true</persist>\n");
        assert!(data.lines().all(|line| line.starts_with("#= ")), "{data}");
        assert!(!script.contains("\n#") && text.matches("powershell>").count() == 2);
        assert_eq!((told(&text, "machine"), told(&text, "user")), (Some("hg-0123456789"), Some("Administrator")));
        assert_eq!((told(&text, "lease"), told(&text, "expires")), (Some("1795168800"), Some("1795176000")));
        let value = |key: &str| STANDARD.decode(told(&text, key).unwrap()).unwrap();
        assert_eq!(value("authorized-key"), b"ssh-ed25519 AAAA me\n");
        assert_eq!(value("host-key"), KEYS.1.as_bytes());
        assert_eq!(value("watcher"), bare(WATCHER).as_bytes());
        // What the script asks for is what it is told.
        let asked: Vec<&str> = SCRIPT.split("$told['").chain(SCRIPT.split("$Told['")).skip(1).collect();
        let asked: Vec<&str> = asked.iter().filter_map(|rest| rest.split_once("']")).map(|(key, _)| key).collect();
        assert!(
            asked.len() > 6 && asked.iter().filter(|key| key.len() < 20).all(|key| told(&text, key).is_some()),
            "{asked:?}"
        );
    }

    #[test]
    fn a_machine_that_nobody_comes_to_by_ssh_is_told_no_key_and_a_lease_ends_with_the_machine() {
        let text = user_data(None, "2026-11-20T14:00:00Z");
        assert_eq!((told(&text, "host-key"), told(&text, "authorized-key")), (None, None));
        assert_eq!(told(&text, "lease"), Some("1795176000"));
    }

    #[test]
    fn there_is_room_in_user_data_for_longer_keys_and_names() {
        let (authorized, host) = ("a".repeat(400), "h".repeat(1024));
        let text = user_data(Some((&authorized, &host)), "2026-11-20T10:00:00Z");
        assert!(text.len() < 16 * 1024, "{} bytes", text.len());
    }

    #[test]
    fn a_bake_logs_in_as_a_user_of_the_system_and_its_scripts_are_named_after_what_runs_them() {
        assert!(Windows.is_login_name(Windows.administrator()));
        let script = Windows.script(&format!("C:/hg-bake/{}", Windows.script_name("tools")));
        assert_eq!(
            (script.program.as_str(), script.args.last().map(String::as_str)),
            ("python", Some("C:/hg-bake/tools.py"))
        );
    }

    /// A comment behind code, or within text, would be cut with its line.
    #[test]
    fn what_is_left_out_is_comments() {
        for script in [SCRIPT, WATCHER] {
            assert!(
                !script.contains("@'") && !script.contains("@\"") && !script.contains("<#"),
                "text over several lines"
            );
            assert!(bare(script).lines().count() > 20);
        }
    }

    #[test]
    fn the_machine_is_asked_by_programs_with_arguments() {
        let until = Timestamp::from_second(1_795_176_000).unwrap();
        let command = Windows.renew_lease(until);
        assert_eq!((command.program.as_str(), command.args.last().map(String::as_str)), ("python", Some("1795176000")));
        assert!(!RENEW_LEASE.contains("1795176000"));
        assert!(Windows.replace_host_key("Administrator").args.contains(&REPLACE_HOST_KEY.to_owned()));
    }
}
