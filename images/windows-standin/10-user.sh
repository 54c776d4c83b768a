#!/bin/bash
# Makes the login user `hg`, whose home is the user's folder of Windows, so that a path without a drive means the same to
# SFTP, which begins at the home, and to a command, which begins in the folder `C:\users\hg`.
#
# Runs as root. Input: none. May be run again over its own result.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "10-user: $*"; }
die() { printf '%s\n' "10-user: $*" >&2; exit 1; }

readonly windows=/srv/windows
readonly home=$windows/drive_c/users/hg

say "making the user hg"
getent group hg >/dev/null || groupadd hg || die "cannot make the group hg"
if ! getent passwd hg >/dev/null; then
    useradd --gid hg --home-dir "$home" --no-create-home --shell /bin/bash hg || die "cannot make the user hg"
fi
# `*` means that no password fits. The `!` that useradd leaves means a locked account, which sshd without PAM refuses
# even to a valid key.
usermod --password '*' hg || die "cannot unlock the account hg for logins by key"

say "making $home"
install -d -m 0755 -o hg -g hg "$windows" "$windows/drive_c" "$windows/drive_c/users" "$home" || die "cannot make $home"
# What programs of Linux keep for themselves must not lie among the user's files.
install -d -m 0700 -o hg -g hg /var/lib/standin /var/lib/standin/home || die "cannot make /var/lib/standin"

say "giving the drive its name in paths of SFTP"
for drive in /C: /c:; do
    ln --force --no-dereference --symbolic "$windows/drive_c" "$drive" || die "cannot make the link $drive"
done
