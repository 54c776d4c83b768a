#!/bin/sh
# Completes a userland that is being bootstrapped, when all its packages are there: takes away what `prepare-base.sh` had put in
# the way, and byte-compiles all Python modules at once.
#
#   compile-base.sh ROOT
#
# ROOT   the userland's root folder
#
# What cannot be compiled, and there are templates among it, is no error here, as it is none when nobody imports it.
set -eu
rm "$1/usr/local/sbin/py3compile"
[ -x "$1/usr/bin/python3" ] || exit 0
chroot "$1" find /usr/lib/python3/dist-packages /usr/share/python3 -name '*.py' -print0 |
    chroot "$1" xargs -0 -n 200 -P "$(nproc)" python3 -m compileall -q >/dev/null || :
