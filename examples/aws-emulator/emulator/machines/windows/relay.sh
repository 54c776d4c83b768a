#!/bin/sh
# Runs a program of Linux for one of Windows, which cannot see how it ends.
#
#   relay.sh NAME FOLDER      `ssh-keygen` or `ssh-keyscan`; FOLDER/words holds the words, each ended by a NUL
#
# Writes FOLDER/output and FOLDER/errors, and last the exit code to FOLDER/status.
set -u
export LC_ALL=C.UTF-8 PATH=/usr/bin:/bin
name=$1 folder=$2
case $name in
    ssh-keygen) ;;
    # Within an instance its own server is at the loopback, where here the server of this computer is.
    ssh-keyscan) sed -i -z "s/^127\.0\.0\.1\$/$(cat /run/emulator/address)/" "$folder/words" ;;
    *) exit 97 ;;
esac
xargs -0 -a "$folder/words" "$name" </dev/null >"$folder/output" 2>"$folder/errors"
echo "$?" >"$folder/status.new"
mv "$folder/status.new" "$folder/status"
