#!/bin/sh
# Does for a stand-in for a Windows machine what user data makes of a real one. There is no PowerShell: the script in it is not run, only
# the lines `#= KEY VALUE` behind it are read, and what `remote/windows/first-boot.ps1` does with them is done here.
#
#   user-data.sh INSTANCE <USER-DATA
#
# Runs as root. Output goes to the console. Exit status 0: as on an instance, what goes wrong is told on the console and nowhere else.
set -eu

instance=$1
data=/srv/windows/drive_c/ProgramData
launcher=$data/Amazon/EC2Launch/state
state=$data/hg-automation
ssh=$data/ssh
told=/run/emulator/user-data
say() { printf 'emulator: %s\n' "$*" >/dev/console; }

umask 077
cat >"$told"
value() { sed -n "s/^#= $1 \([^ ]*\)\$/\1/p" "$told" | head -n 1; }

# The launch agent runs user data once for an image, unless it was reset.
install -d -m 755 -o hg -g hg "$data/Amazon" "$data/Amazon/EC2Launch" "$launcher"
if [ -e "$launcher/.run-once" ]; then
    say 'user data is not run: the launch agent of this image was not reset'
    exit 0
fi
: >"$launcher/.run-once"
chown hg:hg "$launcher/.run-once"
if [ "$(head -n 1 "$told" | tr -d '\r')" != '<powershell>' ] || [ -z "$(value machine)" ]; then
    say 'user data of an unknown kind: not run'
    exit 0
fi

install -d -m 755 -o hg -g hg "$ssh"
if [ "$(cat "$state/computer" 2>/dev/null)" != "$instance" ]; then
    rm -rf -- "$state"
    install -d -m 700 -o hg -g hg "$state"
    printf '%s\n' "$instance" >"$state/computer"
fi
rm -f -- "$state/ready"
[ -e "$state/lease" ] || printf '%s\n' "$(value lease)" >"$state/lease"
chown hg:hg "$state/lease"
setsid -f sh /usr/local/lib/standin/watch.sh "$state" "$(value expires)" </dev/null >/dev/null 2>&1
say "$(value machine) ends at $(value lease) without a sign of its driver, at $(value expires) in any case"

if [ -n "$(value host-key)" ] && [ -n "$(value authorized-key)" ]; then
    value host-key | base64 -d >"$ssh/hg_host_ed25519_key"
    value authorized-key | base64 -d >"$ssh/administrators_authorized_keys"
    chown hg:hg "$ssh/hg_host_ed25519_key" "$ssh/administrators_authorized_keys"
    cat >/etc/ssh/emulator_config <<END
HostKey $ssh/hg_host_ed25519_key
AuthorizedKeysFile $ssh/administrators_authorized_keys
AllowUsers $(value user)
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding no
UsePAM no
PrintMotd no
PrintLastLog no
ClientAliveInterval 60
LogLevel ERROR
Subsystem sftp internal-sftp
END
fi
printf '%s\n' "$(value machine)" >"$state/ready"
chown hg:hg "$state/ready"
rm -f -- "$told"
say 'user data has run'
