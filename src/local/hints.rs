//! Hints for a user whose computer lacks something that machines need.

/// The hint where `newuidmap` is missing.
pub(crate) const UIDMAP: &str = "Install the `uidmap` package (`apt install uidmap`), or run as root.";

/// The hint where the user has no subordinate ids.
pub(crate) const SUBIDS: &str = "Give the user 65536 subordinate ids, as root: \
     `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` (it adds a line to `/etc/subuid` and \
     `/etc/subgid`).";

/// The hint where root's machine cannot be confined.
pub(crate) const UNCONFINED: &str = "Root's machines are confined by id-mapped mounts, which need Linux 5.19 and a state \
     directory on ext4, xfs, btrfs or, from 6.3 on, tmpfs (`--state-path`). `--privileged-machine` does without: root there \
     is root of this computer.";

/// The hint where no control group can be made.
pub(crate) const CGROUP: &str = "Run as root, or in a delegated group (`systemd-run --user --scope -p Delegate=yes automation …`), \
                    or leave out the caps.";

/// The hint where a tool cannot be downloaded.
pub(crate) const APT: &str =
    "Check that the host's package mirror can be reached (`apt-get update`), or install `mmdebstrap`.";
