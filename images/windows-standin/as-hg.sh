#!/bin/sh
# Runs a program of Wine's as the user `hg`, with the variables that a session of that user has, and with nothing to read.
#
#   as-hg.sh SECONDS PROGRAM ARGUMENT...
#
# Runs as root. Exit code: the program's; 124 where it did not end within SECONDS.
set -eu

# `mscoree` and `mshtml` would ask for downloads that nothing here needs.
exec setpriv --reuid hg --regid hg --init-groups env --ignore-environment LC_ALL=C.UTF-8 HOME=/var/lib/standin/home \
    PATH=/usr/bin:/bin USER=hg WINEPREFIX=/srv/windows WINEDEBUG=-all WINEDLLOVERRIDES='mscoree=;mshtml=' \
    timeout "$@" </dev/null
