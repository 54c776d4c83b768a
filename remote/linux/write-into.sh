#!/bin/sh
# Writes standard input into something that exists and is not a plain file: a device, or a pipe that somebody reads.
#
#   write-into.sh PATH SECONDS
#
# PATH     the device or the pipe; the path does not begin with a dash
# SECONDS  how long a pipe waits for its reader
#
# Exit codes: 0 all written; anything else, or a signal: a reason on standard error.
set -u
path=$1 limit=$2
if [ -p "$path" ]; then
    # Opening a pipe that nobody reads blocks for ever; only a signal interrupts it.
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
