#!/bin/sh
# Removes what cut copies of other states of a file have left beside their target.
#
#   remove-stale.sh START OWN
#
# START  a path; eight characters more make the path of such a file
# OWN    the one that stays
for path in "$1"????????; do
    [ "$path" = "$2" ] || rm -f -- "$path"
done
