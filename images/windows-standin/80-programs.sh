#!/bin/bash
# Puts the recorder in the place of programs that Wine has in name only (they end with 0 and do nothing), and stand-ins of build tools
# beside it, so that nothing is done silently.
#
# Runs as root. Input: `as-hg.sh`, `recorder.c`, `recorder.py`, `cibuildwheel.py`, `pyoxidizer.py` and `wixl.sh` beside this file. May be
# run again over its own result.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "80-programs: $*"; }
die() { printf '%s\n' "80-programs: $*" >&2; exit 1; }

here=$(dirname "$0")
readonly here drive=/srv/windows/drive_c wait=300
readonly standin=$drive/standin windows=$drive/windows

as_hg() { sh "$here/as-hg.sh" "$wait" "$@"; }

say "compiling recorder.exe"
x86_64-w64-mingw32-gcc -O2 -Wall -Werror -static -o "$standin/recorder.exe" "$here/recorder.c" || die "cannot compile recorder.c"
install -m 0644 "$here/recorder.py" "$standin/recorder.py"
install -d "$standin/bin" "$standin/programs" "$standin/answers" "$standin/records"
for name in cibuildwheel pyoxidizer; do
    install -m 0644 "$here/$name.py" "$standin/programs/$name.py"
    cp "$standin/recorder.exe" "$standin/bin/$name.exe"
done
install -D -m 0755 "$here/wixl.sh" /usr/local/lib/standin/wixl.sh || die "cannot install wixl.sh"

say "replacing the programs that do nothing"
for name in certutil icacls schtasks sc shutdown; do
    for folder in system32 syswow64; do
        rm -f "$windows/$folder/$name.exe"
        cp "$standin/recorder.exe" "$windows/$folder/$name.exe"
    done
    # In the system's own folder Wine prefers what it brings itself.
    (cd / && as_hg wine reg add 'HKCU\Software\Wine\DllOverrides' /v "$name.exe" /d native /f) || die "cannot prefer our $name"
done
for folder in system32 syswow64; do
    place=$windows/$folder/windowspowershell/v1.0
    [[ -d $place ]] || place=$windows/$folder/WindowsPowerShell/v1.0
    install -d "$place"
    rm -f "$place/powershell.exe"
    cp "$standin/recorder.exe" "$place/powershell.exe"
done
chown -R hg:hg "$standin" "$windows/system32" "$windows/syswow64"

for program in 'C:\windows\system32\schtasks.exe' 'C:\windows\syswow64\icacls.exe' powershell; do
    (cd / && as_hg wine "$program") 2>/dev/null && code=0 || code=$?
    ((code == 97)) || die "$program ended with $code in place of the recorder's 97"
done
(cd / && as_hg wineserver --wait) || die "the programs of Windows do not end"
rm -f "$standin/records"/*
