#!/bin/sh
# Writes standard input into something that is there and no plain file: a device, or a pipe that somebody reads.
#
#   write-into.sh PATH SECONDS
#
# PATH     what is written into; it does not begin with a dash
# SECONDS  how long a pipe waits for its reader
#
# Exit codes: 0 all written; anything else, or a signal: a reason on standard error.
set -u
path=$1 limit=$2
if [ -p "$path" ]; then
    # Whoever opens a pipe that nobody reads waits without end; only a signal gets it out of there.
    (
        nap=
        trap '[ -z "$nap" ] || kill "$nap"; exit' TERM
        sleep "$limit" 2>/dev/null &
        nap=$!
        wait "$nap"
        printf 'nobody reads from it\n' >&2
        kill "$$"
    ) </dev/null >/dev/null &
    clock=$!
    exec 3>"$path" || exit 1
    kill "$clock"
else
    exec 3>"$path" || exit 1
fi
exec cat >&3
