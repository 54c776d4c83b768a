#!/bin/sh
# The login shell of a machine that is wine: hands a command to session.exe, and starts the file server where drives lie below a slash.
#
#   login.sh PREFIX PYTHON BREAKAWAY
#
# PREFIX      wine's folder
# PYTHON      the name of the folder on drive C that has the `python` of the login
# BREAKAWAY   `yes` or `no`: whether processes may leave the job object of the session
set -eu
export WINEPREFIX="$1" WINEPATH="C:\\$2" SESSION_BREAKAWAY="$3"
# Names beyond ASCII need a locale that has them.
export WINEDLLOVERRIDES='mscoree=;mshtml=' WINEDEBUG=-all XDG_RUNTIME_DIR="$1" LC_ALL=C.UTF-8
unset DISPLAY
case $SSH_ORIGINAL_COMMAND in
*sftp*)
    # A root of its own, in which `C:` is the drive; it ends with the process.
    # shellcheck disable=SC2016 # they are the inner shell's
    exec unshare --mount --propagation private sh -c '
        top=$1/root
        mkdir -p "$top" && mount -t tmpfs root "$top" && mkdir "$top/C:" && mount --rbind "$1/drive_c" "$top/C:"
        for folder in bin dev etc lib lib64 proc usr; do
            [ ! -e "/$folder" ] || { mkdir "$top/$folder" && mount --rbind "/$folder" "$top/$folder"; }
        done
        exec chroot "$top" /usr/lib/openssh/sftp-server -d /C:/home' sh "$1"
    ;;
esac
exec wine 'C:\session.exe'
