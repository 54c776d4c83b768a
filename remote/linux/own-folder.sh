#!/bin/sh
# Makes a folder that is the caller's alone, or makes sure that it is; with `supervisor`, puts the supervisor of tasks there.
#
#   own-folder.sh FOLDER
#   own-folder.sh FOLDER supervisor
#
# FOLDER       may lie where others can write: a link, or a folder of another user's, is refused
# supervisor   standard input becomes FOLDER/supervise.sh, which then prints the identity of this boot
#
# Exit codes: 0 done; 73 the folder is not the caller's alone, and standard error says why; anything else: the supervisor could
# not be put there.
set -u
folder=$1

if ! said=$(mkdir -m 0700 -- "$folder" 2>&1); then
    if [ ! -e "$folder" ] && [ ! -L "$folder" ]; then
        printf '%s\n' "$said" >&2
        exit 73
    fi
    if [ -L "$folder" ] || [ "$(stat -c %u:%a -- "$folder")" != "$(id -u):700" ]; then
        printf '%s\n' "$folder is not a folder of ours alone" >&2
        exit 73
    fi
fi
[ "${2-}" = supervisor ] || exit 0
cat >"$folder/supervise.$$" && mv -f -- "$folder/supervise.$$" "$folder/supervise.sh" && exec sh "$folder/supervise.sh" boot
