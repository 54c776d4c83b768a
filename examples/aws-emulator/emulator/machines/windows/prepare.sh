#!/bin/sh
# Makes a stand-in for a Windows machine look like an instance that has just booted from Amazon's image of Windows Server.
#
#   prepare.sh ADDRESS      where its port 22 answers
#
# Runs as root, before the user data; the programs for `C:/standin/programs` are there already. The image of a bake is prepared again.
set -eu

drive=/srv/windows/drive_c
say() { printf 'emulator: %s\n' "$*"; }

# The emulator reads two pipes: the console, and the signal that the instance wants to switch off.
mkdir -p /run/emulator
rm -f /dev/console /run/emulator/power
mkfifo -m 622 /dev/console
mkfifo -m 600 /run/emulator/power
printf '%s\n' "$1" >/run/emulator/address

# The login user of Windows is the user who owns what Wine shows as drive C.
if ! getent passwd Administrator >/dev/null; then
    entry=$(getent passwd hg)
    useradd --non-unique --uid "$(id -u hg)" --gid "$(id -g hg)" --no-create-home \
        --home-dir "$(printf '%s' "$entry" | cut -d : -f 6)" --shell "$(printf '%s' "$entry" | cut -d : -f 7)" Administrator
fi
usermod --password '*' Administrator

# Programs that Amazon's image has and Wine has not: recorders, for some of which a program does the work.
chmod 755 /usr/local/lib/standin/relay.sh
for program in windows/system32/OpenSSH/ssh-keygen windows/system32/OpenSSH/ssh-keyscan 'Program Files/Amazon/EC2Launch/EC2Launch'; do
    install -D "$drive/standin/recorder.exe" "$drive/$program.exe"
done
chown -R hg:hg "$drive/windows/system32/OpenSSH" "$drive/Program Files/Amazon"
say 'Windows has started'
