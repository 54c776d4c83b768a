#!/bin/sh
# Postpones the end of the machine, as its login user. `watch-lease.sh` reads the file that this writes.
#
#   renew-lease.sh UNTIL
#
# UNTIL   when the machine ends without another renewal, seconds since 1970
#
# Exit codes: 0 renewed; anything else: not renewed, and standard error says why.
set -u
lease=/run/hg-automation/lease
# The file is written under a new name first, so that the watcher never reads half of it.
printf '%s\n' "$1" >"$lease.new" && mv -f "$lease.new" "$lease"
