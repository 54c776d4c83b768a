#!/bin/sh
# Starts the watcher of the lease, and starts it again whenever it ends, on a machine without systemd. `first-boot.sh` starts it,
# and the watcher starts it again where it was killed: each of the two brings the other back.
#
# It is read from standard input and gets its values by the environment, so that no one word of a command line matches both:
#
#   watch     the watcher, `watch-lease.sh` under the name that it has on the machine
#   folder, user, lease, expires, idle    the watcher's arguments
#
# Runs as root; never ends.
: "${watch:?}" "${folder:?}" "${user:?}" "${lease:?}" "${expires:?}" "${idle:?}"

while :; do
    sh "$watch" "$folder" "$user" "$lease" "$expires" "$idle" </dev/null
    sleep 1
done
