#!/bin/sh
# The login shell of a stand-in for a Windows machine. Hands the line that a client asks for to `cmd.exe` as it is, as the
# SSH server of Windows does; without a line, `cmd.exe` reads commands.
#
#   login-shell [-c LINE]
#
# Exit code: that of the line, cut to 8 bits by the SSH server; 125 where Wine does not start.
set -eu

export LC_ALL=C.UTF-8 HOME=/var/lib/standin/home PATH=/usr/bin:/bin USER=hg LOGNAME=hg
export WINEPREFIX=/srv/windows WINEDEBUG=-all WINEDLLOVERRIDES='mscoree=;mshtml=' DISPLAY=:99
export XDG_RUNTIME_DIR=/dev/shm/standin
unset SHELL MAIL OLDPWD SSH_CLIENT SSH_CONNECTION SSH_TTY

# The first session of a boot starts what the others share: none of it may hold the streams of a session.
[ -d "$XDG_RUNTIME_DIR" ] || mkdir -m 0700 "$XDG_RUNTIME_DIR" 2>/dev/null || [ -d "$XDG_RUNTIME_DIR" ]
if ! [ -e "$XDG_RUNTIME_DIR/started" ]; then
    (
        flock 9
        if ! [ -e "$XDG_RUNTIME_DIR/started" ]; then
            setsid -f Xvfb "$DISPLAY" -screen 0 1024x768x24 -nolisten tcp 9>&-
            # It returns when the server answers. A program that comes earlier starts a server of its own, which ends with its
            # last program, and the services of Windows with it.
            wineserver --persistent 9>&- || exit 125
            setsid wine cmd /c exit 9>&- || exit 125
            : >"$XDG_RUNTIME_DIR/started"
        fi
    ) 9>"$XDG_RUNTIME_DIR/lock" </dev/null >/dev/null 2>&1 || exit 125
fi

# The session's process ends with its connection: its handle of the job object is closed, and that ends what it started.
case ${1-} in
-c) exec env STANDIN_LINE="$2" setpriv --pdeathsig KILL wine 'C:\standin\session.exe' ;;
*) exec setpriv --pdeathsig KILL wine 'C:\standin\session.exe' ;;
esac
