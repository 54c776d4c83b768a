#!/bin/sh
# Reads a file that others write: its ends, a piece of it, or its content as it grows.
#
#   read-file.sh ends PATH HALF         the size in bytes on a line of its own, then all of it where it has at most twice HALF bytes,
#                                       else its first and its last HALF bytes
#   read-file.sh piece PATH FROM MOST   at most MOST bytes from the byte FROM on, the first being 1; nothing where it is not there
#   read-file.sh follow PATH FROM       its bytes from the byte FROM on, and all that is added, until standard input ends; the file may
#                                       appear later
#
# Exit codes: 0 done; anything else: it is not a plain file, or cannot be read.
set -u
verb=$1 path=$2
shift 2

ends() {
    local size
    [ -f "$path" ] || exit 1
    size=$(stat -c %s -- "$path") || exit
    printf '%s\n' "$size"
    if [ "$size" -le "$((2 * $1))" ]; then exec head -c "$size" -- "$path"; fi
    head -c "$1" -- "$path" && tail -c "$1" -- "$path"
}

piece() {
    [ -f "$path" ] || exit 1
    tail -c "+$1" -- "$path" | head -c "$2"
}

# On a machine that stays, a `tail` alone would live on after the channel that it writes to was closed: it notices that at its next
# write, which may never come. So standard input is watched.
follow() {
    tail -c "+$1" -f --retry -s 0.2 -- "$path" &
    cat >/dev/null
    kill "$!"
}

case $verb in
ends | piece | follow) "$verb" "$@" ;;
*)
    printf '%s\n' "there is no request \`$verb\`" >&2
    exit 64
    ;;
esac
