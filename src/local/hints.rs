//! What to do where this computer lacks something that machines need: said by the code that meets the lack.

/// What to do without `newuidmap`.
pub(crate) const UIDMAP: &str = "Install the `uidmap` package (`apt install uidmap`), or run as root.";

/// What to do without subordinate ids.
pub(crate) const SUBIDS: &str = "Give the user 65536 subordinate ids, as root: \
     `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` (it adds a line to `/etc/subuid` and \
     `/etc/subgid`).";

/// What to do where a machine of root's cannot be confined.
pub(crate) const UNCONFINED: &str = "Root's machines are confined by id-mapped mounts, which need Linux 5.19 and a state \
     directory on ext4, xfs, btrfs or, from 6.3 on, tmpfs (`--state-path`). `--privileged-machine` does without: root there \
     is root of this computer.";

/// What to do where no control group can be made.
pub(crate) const CGROUP: &str = "Run as root, or in a delegated group (`systemd-run --user --scope -p Delegate=yes automation …`), \
                    or leave the caps away.";

/// What to do where a tool cannot be brought in.
pub(crate) const APT: &str =
    "Look whether the host's package mirror can be reached (`apt-get update`), or install `mmdebstrap`.";
