#!/bin/bash
# Removes what a run of declared tests left on a machine that somebody else made: its work folder, with the processes that still work in it.
#
#   cleanup.sh
#
# The work folder of another run stays, and one that this tool did not make. Prints each thing removed, and nothing if there was nothing.
#
# Exit codes: 0 nothing of this run is left; 1 something is left, with a sentence on standard error.
set -euo pipefail
export LC_ALL=C.UTF-8

readonly work=/var/tmp/automation-work
readonly marker=$work/.made-by-automation
die() { printf '%s\n' "cleanup: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Secrets of a command that never came to take them.
secrets=/dev/shm/${here##*/}
if [[ -d $secrets && ! -L $secrets && -O $secrets ]]; then rm -rf -- "$secrets" || die "cannot remove $secrets"; fi
[[ -d $work && ! -L $work && -O $work && -f $marker ]] || exit 0
owner=
{ read -r owner <"$marker"; } 2>/dev/null || true
[[ $owner == "$here" ]] || exit 0
cd /

# Processes whose working directory is in there, or whose program is: a runner that was cut off, servers that a test started and left
# running. Prints what it ended; fails if there was none.
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

# A test may have made files as root, with the rights that the machine gives.
chmod -R u+rwX -- "$work" 2>/dev/null || true
rm -rf --one-file-system -- "$work" 2>/dev/null || sudo -n rm -rf --one-file-system -- "$work" || die "cannot remove $work"
printf '%s\n' "removed $work"
