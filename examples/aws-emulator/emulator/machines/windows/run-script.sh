#!/bin/sh
# Runs the PowerShell script on standard input, as the agent of Systems Manager does: by what stands for PowerShell. The script's own exit code
# comes through a file, for Linux carries 8 bits of it. 3010 asks for a restart, after which the script is run again.
set -u
drive=/srv/windows/drive_c
folder=$(mktemp -d "$drive/standin/ssm-XXXXXXXX") || exit 1
trap 'rm -rf "$folder"' EXIT
cat >"$folder/_script.ps1"
chown -R hg:hg "$folder"
name=${folder##*/}
cat >"$folder/run.cmd" <<END
@powershell -NoProfile -NonInteractive -File C:\\standin\\$name\\_script.ps1 <nul
@echo %ERRORLEVEL%>C:\\standin\\$name\\code
END
for again in 1 2 3; do
    rm -f "$folder/code"
    setpriv --reuid hg --regid hg --init-groups /usr/local/lib/standin/login-shell -c "C:\\standin\\$name\\run.cmd"
    code=$(tr -d ' \r' <"$folder/code") || exit 1
    [ "$code" = 3010 ] || exit "$((code > 255 ? 255 : code))"
    # A restart ends every program of Windows.
    pkill -KILL -u hg
    rm -rf /dev/shm/standin
    : "$again"
done
exit 1
