//! The user data for the first boot of a machine, in the form that EC2 takes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use guest::FirstBoot;
use model::fault::Fault;
use model::machine::Platform;

use crate::ec2::settle::life;

/// How much user data EC2 takes, in bytes before it is encoded.
const CAP: usize = 16 * 1024;

/// The user data in base64, as `RunInstances` takes it.
pub(crate) fn encode(platform: Platform, data: &FirstBoot<'_>) -> Result<String, Fault> {
    let life = life(platform)?;
    if !guest::of(platform).is_login_name(data.user) {
        return Err(Fault::usage(format!("`{}` is not a login name", data.user.escape_debug())));
    }
    let text = life.first_boot(data);
    if text.len() > CAP {
        return Err(Fault::outside(format!("the user data has {} bytes, and EC2 takes {CAP}", text.len())));
    }
    Ok(STANDARD.encode(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::base::id::MachineId;

    fn data<'a>(machine: &'a MachineId, user: &'a str, key: &'a str) -> FirstBoot<'a> {
        let now = jiff::Timestamp::UNIX_EPOCH;
        FirstBoot { machine, user, keys: Some(("ssh-ed25519 AAAA me", key)), lease: now, expires_at: now, idle: None }
    }

    #[test]
    fn a_user_cannot_be_a_path_or_more_lines() {
        let machine = "hg-0123456789".parse().unwrap();
        for bad in ["../x", "a\nexpires 9"] {
            assert!(encode(Platform::Linux, &data(&machine, bad, "KEY")).is_err(), "{bad:?}");
        }
        assert!(encode(Platform::Linux, &data(&machine, "ec2-user", "KEY")).is_ok());
    }

    #[test]
    fn there_is_room_for_what_a_machine_is_told_and_no_more_is_sent_than_ec2_takes() {
        let machine = "hg-0123456789".parse().unwrap();
        // An ed25519 key has some 400 bytes.
        let key = "k".repeat(1024);
        assert!(encode(Platform::Linux, &data(&machine, "hg", &key)).is_ok());
        let fault = encode(Platform::Linux, &data(&machine, "hg", &"k".repeat(CAP))).unwrap_err();
        assert!(fault.message.ends_with("bytes, and EC2 takes 16384"), "{fault:?}");
    }
}
