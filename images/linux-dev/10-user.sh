#!/bin/bash
# Makes the login user `hg` that every task runs as, with sudo that asks for no password.
#
# Runs as root. Input: none. May be run again over its own result.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "10-user: $*"; }
die() { printf '%s\n' "10-user: $*" >&2; exit 1; }

command -v visudo >/dev/null || die "sudo is not installed; it belongs to the packages of the base"

say "making group and user hg"
getent group hg >/dev/null || groupadd hg || die "cannot make the group hg"
if ! getent passwd hg >/dev/null; then
    useradd --create-home --gid hg --shell /bin/bash hg || die "cannot make the user hg"
fi
usermod --gid hg --shell /bin/bash --append --groups sudo hg || die "cannot put hg into the group sudo"

# `*` means that no password fits. The `!` that useradd leaves means a locked account, which sshd without PAM refuses
# even to a valid key.
usermod --password '*' hg || die "cannot unlock the account hg for logins by key"

say "allowing hg every command without a password"
rule=$(mktemp)
trap 'rm -f "$rule"' EXIT
printf '%s\n' 'hg ALL=(ALL:ALL) NOPASSWD:ALL' >"$rule"
visudo --check --quiet --file "$rule" || die "the sudo rule for hg is not valid"
install -m 0440 -o root -g root "$rule" /etc/sudoers.d/90-hg || die "cannot install the sudo rule for hg"

say "making /hgdev"
install -d -m 0755 -o hg -g hg /hgdev /hgdev/pyenv || die "cannot make /hgdev"
