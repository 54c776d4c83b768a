#!/bin/sh
# Lists what stands below some paths, a NUL behind each record:
#
#   rBYTES PATH   a file that the caller may read, of so many bytes with its holes; a link to a file counts as that file
#   uBYTES PATH   a file that the caller may not read
#   d0 PATH       a folder
#   l0 PATH       a link to a folder, to nothing, or to something else
#
#   list-files.sh PATH...
#
# A PATH that is a link is followed, other links are not. Standard error names the folders that may not be entered.
# Exit codes: those of `find`; 1 also where a PATH is not there.
set -u
export LC_ALL=C
# shellcheck disable=SC2016 # it is the inner shell's
behind='exec find -L "$@" -maxdepth 0 -type f \( -readable -printf "r%s %p\0" -o -printf "u%s %p\0" \)'
exec find -H "$@" -type d -printf 'd0 %p\0' -o \
    -type f \( -readable -printf 'r%s %p\0' -o -printf 'u%s %p\0' \) -o \
    -type l -xtype f -exec sh -c "$behind" sh {} + -o \
    -type l -printf 'l0 %p\0'
