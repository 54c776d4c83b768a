#!/bin/sh
# Removes the partial files that interrupted copies of other versions of a file left beside their target.
#
#   remove-stale.sh START OWN
#
# START  the path of such a file without its last eight characters
# OWN    the partial file that stays
for path in "$1"????????; do
    [ "$path" = "$2" ] || rm -f -- "$path"
done
