#!/bin/bash
# Removes what belongs to the machine that baked the image and must not be on those that boot from it: the keys that it let
# in, and its identity. Somebody else of the account may boot from this image.
#
# Runs as root, as the last step: who is connected stays connected, a new login is not possible. Input: none.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "90-cloud-clean: $*"; }
die() { printf '%s\n' "90-cloud-clean: $*" >&2; exit 1; }

say "removing the keys that this machine let in"
while IFS=: read -r _ _ _ _ _ home _; do
    [[ $home == /* && -d $home/.ssh ]] || continue
    rm -f "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2" || die "cannot remove the keys in $home/.ssh"
done < <(getent passwd)

# An empty file means that the next boot makes a new identity.
# Those that the first boot took from user data are in folders of their own; cloud-init keeps user data itself, too.
rm -rf /etc/ssh/hg-authorized-keys /var/lib/cloud/instance /var/lib/cloud/instances ||
    die "cannot remove the keys that came by user data"

say "forgetting this machine's identity"
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /root/.bash_history

# An image is made of a machine that was told to stop, but what is not on the disk by then is lost.
sync
