#!/bin/sh
# Removes all that a run left on a machine that stays: what the run's own script removes, then its tasks, and its folder last.
#
#   remove-run.sh FOLDER [SCRIPT]
#
# FOLDER   the run's folder, in which the supervisor and the tasks' folders lie
# SCRIPT   the name of a bash script in it that removes what the run made outside of it. A run that was cut short while its scripts
#          came has none yet, and has made nothing outside
#
# Exit codes: 0 nothing is left; that of SCRIPT where it fails; anything else: FOLDER could not be removed.
set -u
folder=$1 script=${2:+$1/$2}

if [ -n "$script" ] && [ -e "$script" ]; then bash "$script" || exit; fi
for lock in "$folder"/*/lock; do
    [ ! -e "$lock" ] || sh "$folder/supervise.sh" cancel "${lock%/lock}" 2
done
rm -rf -- "$folder"
