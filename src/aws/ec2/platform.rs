//! What EC2 has to know of an operating system: sizes, times and names that differ between Linux and Windows.

use std::time::Duration;

use jiff::SignedDuration;
use model::machine::Platform;

use crate::ec2::tags;

/// The facts of one operating system.
#[derive(Debug)]
pub(crate) struct PlatformFacts {
    /// How long a machine may take from having an address to its first answer.
    pub boot_limit: Duration,
    /// The lease of a launch: the time above, and a minute for the launch itself. Nobody can renew it before the machine
    /// answers; after that it is renewed at once.
    pub first_lease: SignedDuration,
    /// How long the snapshot of a machine's disk may take until it is an image.
    pub image_limit: Duration,
    /// The type that images are baked on if none is named.
    pub bake_type: &'static str,
    /// The type of any other machine if none is named.
    pub test_type: &'static str,
    /// The size of the root volume of a machine that bakes an image, in GiB; machines that boot from the image have at least it.
    pub bake_root_gib: i32,
    /// The size of the root volume of any other machine, in GiB.
    pub test_root_gib: i32,
    /// The device name of the second volume on the machine, which its first boot gives to it; `None` where it has no such volume.
    pub volume: Option<&'static str>,
    /// Whether a launch names the user's key pair.
    pub key_pair: bool,
    /// The security group of machines that are reached by SSH.
    pub group: &'static str,
    /// Its name in the price list.
    pub listed_as: &'static str,
    /// Its name in the market of spare capacity.
    pub sold_as: &'static str,
}

/// A minute until the first answer is usual for a distribution's own image, and two to ten for a snapshot of a few GiB. The types
/// are those of the predecessor of this tool; its own for tests has 36 processors.
const LINUX: PlatformFacts = PlatformFacts {
    boot_limit: Duration::from_secs(300),
    first_lease: SignedDuration::from_secs(360),
    image_limit: Duration::from_secs(3600),
    bake_type: "t3.2xlarge",
    test_type: "c5.9xlarge",
    bake_root_gib: 10,
    test_root_gib: 12,
    volume: Some("/dev/hg-volume"),
    key_pair: true,
    group: tags::LINUX_GROUP,
    listed_as: "Linux",
    sold_as: "Linux/UNIX",
};

/// Three to five minutes until user data runs are usual, and it installs an SSH server and a Python then. Snapshots of 80 GiB have
/// taken 24 minutes, and once more than half an hour. EC2 refuses keys of our kind for Windows; without a key pair, nobody can
/// fetch an Administrator's password.
const WINDOWS: PlatformFacts = PlatformFacts {
    boot_limit: Duration::from_secs(1200),
    first_lease: SignedDuration::from_secs(1260),
    image_limit: Duration::from_secs(5400),
    bake_type: "m6i.large",
    test_type: "m6i.large",
    bake_root_gib: 80,
    test_root_gib: 80,
    volume: None,
    key_pair: false,
    group: tags::WINDOWS_GROUP,
    listed_as: "Windows",
    sold_as: "Windows",
};

/// The facts of `platform`.
pub(crate) fn facts(platform: Platform) -> &'static PlatformFacts {
    match platform {
        Platform::Linux => &LINUX,
        Platform::Windows => &WINDOWS,
    }
}

/// The platform by the word that EC2 has for it on an instance, which it has only for Windows.
pub(crate) fn of_instance(instance: &aws_sdk_ec2::types::Instance) -> Platform {
    match instance.platform() {
        Some(_) => Platform::Windows,
        None => Platform::Linux,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_a_launch_lasts_longer_than_a_boot_may() {
        for platform in Platform::ALL {
            let facts = facts(platform);
            assert!(facts.first_lease.unsigned_abs() > facts.boot_limit, "{facts:?}");
            assert!(facts.test_root_gib >= facts.bake_root_gib, "{facts:?}");
        }
    }
}
