#!/bin/bash
# Makes what programs for Windows find at their start: drive C, the registry, the variables of the system.
#
# Runs as root. Input: `as-hg.sh` beside this file. May be run again over its own result.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "30-windows: $*"; }
die() { printf '%s\n' "30-windows: $*" >&2; exit 1; }

here=$(dirname "$0")
readonly here wait=300

as_hg() { sh "$here/as-hg.sh" "$wait" "$@"; }

cd /
say "making the registry and the system's files"
as_hg wine wineboot --init || die "\`wineboot\` failed"
as_hg wineserver --wait || die "the programs of Windows do not end"
[[ -s /srv/windows/drive_c/windows/syswow64/rundll32.exe ]] || die "there are no programs of 32 bits"

say "making C:\\hgdev"
install -d -m 0755 -o hg -g hg /srv/windows/drive_c/hgdev /srv/windows/drive_c/standin

# The first folder has the Python by which the machine is worked on, as docs/remote-machine.md asks.
say "setting the variables of the system"
key='HKLM\System\CurrentControlSet\Control\Session Manager\Environment'
path='C:\hgdev\python;C:\hgdev\python\Scripts;C:\windows\system32;C:\windows;C:\windows\system32\wbem'
path+=';C:\windows\system32\WindowsPowerShell\v1.0;C:\standin\bin'
as_hg wine reg add "$key" /v PATH /t REG_EXPAND_SZ /d "$path" /f || die "cannot set PATH"
as_hg wineserver --wait || die "the programs of Windows do not end"

for arch in win32:syswow64 win64:system32; do
    as_hg wine "C:\\windows\\${arch#*:}\\cmd.exe" /c 'exit 7' && code=0 || code=$?
    ((code == 7)) || die "a program of ${arch%:*} ended with $code in place of 7"
done
as_hg wineserver --wait || die "the programs of Windows do not end"
