#!/bin/sh
# The dead-man switch of a stand-in for a Windows machine, as `remote/windows/watch-lease.ps1` is that of a real one: switches the instance
# off when its lease or its expiry has passed, or when a program of Windows asks for it.
#
#   watch.sh FOLDER EXPIRES      the folder with the file `lease`
set -u

last=0
while :; do
    lease=$(head -n 1 "$1/lease" 2>/dev/null | tr -d '\r')
    # A time that cannot be read gives no time.
    case $lease in '' | *[!0-9]*) lease=$last ;; esac
    last=$lease
    now=$(date +%s)
    if [ "$now" -ge "$lease" ] || [ "$now" -ge "$2" ] || [ -e /srv/windows/drive_c/standin/power-off ]; then break; fi
    sleep 1
done
rm -f /srv/windows/drive_c/standin/power-off
echo off >/run/emulator/power
