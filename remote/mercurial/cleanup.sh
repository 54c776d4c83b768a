#!/bin/bash
# Removes what runs left on a machine that somebody else made: /hgwork, with the processes that still work in it.
#
#   cleanup.sh
#
# Removes nothing that this tool did not make: prepare-work.sh leaves a marker in its /hgwork, which names the folder of its run.
# The /hgwork of another run stays: its tests may run in there. Prints each thing removed, and nothing if there was nothing.
#
# Exit codes: 0 nothing of this run is left; 1 something is left, with a sentence on standard error.
set -euo pipefail
export LC_ALL=C.UTF-8

readonly work=/hgwork marker=/hgwork/.made-by-automation
die() { printf '%s\n' "cleanup: $*" >&2; exit 1; }

[[ -e $work ]] || exit 0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd /
# Whether this run holds the machine now, so that no other run can make /hgwork meanwhile.
holds() {
    local pid rest
    { read -r pid rest <"$here/holds"; } 2>/dev/null && [[ /proc/$pid/fd/9 -ef /hgdev ]]
}
if [[ ! -e $marker ]]; then
    holds || exit 0
    # A run that ended between making the folder and marking it leaves it empty.
    sudo -n rmdir "$work" 2>/dev/null || die "$work was not made by this tool, so it stays"
    printf '%s\n' "removed the empty folder $work"
    exit 0
fi

owner=
{ read -r owner <"$marker"; } 2>/dev/null || true
[[ -z $owner || $owner == "$here" ]] || exit 0

# Processes whose working directory is in there, or whose program is: the runner of a run that was cut off, servers that a
# test started and left running. Prints what it ended; fails if there was none.
end_processes() {
    local process link target found=1
    for process in /proc/[0-9]*; do
        for link in cwd exe; do
            target=$(readlink "$process/$link" 2>/dev/null) || continue
            if [[ $target == "$work" || $target == "$work"/* ]] && kill -KILL "${process#/proc/}" 2>/dev/null; then
                printf '%s\n' "ended process ${process#/proc/}"
                found=0
            fi
        done
    done
    return "$found"
}
# A runner that is still alive starts its next test when one was ended, so this repeats until nothing is found.
for ((tries = 0; tries < 20; tries++)); do
    end_processes || break
    sleep 0.1
done

if mountpoint -q "$work"; then
    sudo -n umount "$work" || sudo -n umount --lazy "$work" || die "cannot unmount $work"
    printf '%s\n' "unmounted $work"
    sudo -n rmdir "$work" || die "cannot remove the mount point $work"
else
    sudo -n rm -rf --one-file-system "$work" || die "cannot remove $work"
fi
printf '%s\n' "removed $work"
