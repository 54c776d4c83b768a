#!/bin/sh
# Pushes the end of the machine out, as its login user. `watch-lease.sh` reads what is written here.
#
#   renew-lease.sh UNTIL
#
# UNTIL   when the machine ends without another renewal, seconds since 1970
#
# Exit codes: 0 renewed; anything else: not, and standard error says why.
set -u
lease=/run/hg-automation/lease
# Under a new name first: the watcher never reads half of it.
printf '%s\n' "$1" >"$lease.new" && mv -f "$lease.new" "$lease"
