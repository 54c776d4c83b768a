#!/bin/sh
# Replaces the host key that the machine was given by one that it makes itself, and prints the new public key.
#
#   replace-host-key.sh
#
# Runs as root, once its driver has proved the machine by the key that it handed over. That key was in user data, which others
# on the account may read: from here on it proves nothing. Connections that are open stay open.
# Exit codes: 0 replaced, and the one line on standard output is the public key; 1 something failed and the old key is in force.
set -eu
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

key=/etc/ssh/hg_host_ed25519_key
[ -e "$key" ] || { echo "replace-host-key: there is no $key: the machine's first boot did not take its keys" >&2; exit 1; }

umask 077
folder=$(mktemp -d /etc/ssh/hg-new-key.XXXXXX)
trap 'rm -rf "$folder"' EXIT
ssh-keygen -q -t ed25519 -N '' -C hg-automation-host -f "$folder/key" >&2
public=$(cat "$folder/key.pub")
mv -f "$folder/key" "$key"
# A server that is started for each connection reads the key afresh; one that stays gets a signal.
if [ -s /run/sshd.pid ]; then
    kill -HUP "$(cat /run/sshd.pid)" 2>/dev/null || true
fi
printf '%s\n' "$public"
