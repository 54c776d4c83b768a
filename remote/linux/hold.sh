#!/bin/bash
# Holds the machine for one run: where all runs work in the same folder, a second one would remove it under the tests of the first.
#
#   hold.sh FOLDER RUN SILENCE OWNER    waits until no other run holds the machine, and holds it
#   hold.sh who FOLDER                  prints `RUN SINCE OWNER` of the run that holds it, and nothing where none does
#
# FOLDER    a folder of the machine, by its absolute path: of all runs that name the same one, one holds the machine at a time
# RUN       the run's id
# SILENCE   seconds without a sign of the run's driver after which the driver counts as gone
# OWNER     the run's owner
#
# Lies in the run's folder and prints a line `waits RUN SINCE OWNER` whenever it learns for whom it waits, then the line `held`, and
# goes on. It holds a lock on FOLDER, which is released when this process ends, in whatever way. It ends when the run's folder has
# gone; and when neither the driver gives a sign, by touching the file `alive` in the run's folder, nor any task of that folder runs:
# tests that were left to themselves hold the machine, and no longer than that.
#
# Exit codes: 0 nothing is held any more; 1 there is nothing to hold; 64 wrong arguments.
set -uo pipefail
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Prints the holder. The folder of another user's run cannot be read: then the owner is `somebody else`.
who() {
    local file pid rest
    flock -n "$machine" true && return
    for file in /tmp/hg-automation-*/holds; do
        { read -r pid rest <"$file"; } 2>/dev/null || continue
        [[ /proc/$pid/fd/9 -ef $machine ]] || continue
        printf '%s\n' "$rest"
        return
    done
    printf '%s\n' "of - somebody else"
}

# Whether a task of the folder other than this one runs: its supervisor holds the lock then.
works() {
    local lock
    for lock in "$here"/*/lock; do
        [[ -e $lock && $lock != "$here/${HG_AUTOMATION_TASK:-none}/lock" ]] || continue
        flock -n -s "$lock" true 9<&- || return 0
    done
    return 1
}

if (($# == 2)) && [[ $1 == who ]]; then
    machine=$2
elif (($# == 4)) && [[ $3 =~ ^[0-9]+$ ]]; then
    machine=$1 run=$2 silence=$3 owner=$4
else
    printf '%s\n' "usage: hold.sh FOLDER RUN SILENCE OWNER, or hold.sh who FOLDER" >&2
    exit 64
fi
readonly machine
[[ -d $machine ]] || { printf '%s\n' "hold: there is no $machine" >&2; exit 1; }
if (($# == 2)); then
    who
    exit 0
fi

exec 9<"$machine"
told=
until flock -n 9; do
    [[ -e $here/hold.sh ]] || exit 0
    holder=$(exec 9<&-; who)
    if [[ -n $holder && $holder != "$told" ]]; then
        printf '%s\n' "waits $holder"
        told=$holder
    fi
    # This wakes up as soon as the lock is released, and at the latest after 2 s to see whether the run or the holder has changed.
    ! flock -w 2 9 || break
done
printf '%s\n' "$$ $run $(date -u +%Y-%m-%dT%H:%M:%SZ) $owner" >"$here/holds.new" && mv "$here/holds.new" "$here/holds"
printf '%s\n' held

sign='' silent=0
# A child that inherits descriptor 9 would hold the lock longer than this process.
while sleep 1 9<&-; do
    [[ -e $here/hold.sh ]] || exit 0
    now=$(stat -c %y -- "$here/alive" 2>/dev/null 9<&-)
    if [[ $now != "$sign" ]]; then
        sign=$now silent=0
        continue
    fi
    silent=$((silent + 1))
    ((silent < silence)) || works || exit 0
done
