#!/bin/bash
# Compiles the program that starts a command of an SSH session, and makes the user's login shell of it.
#
# Runs as root. Input: `login-shell.sh` and `session.c` beside this file. May be run again over its own result.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "40-session: $*"; }
die() { printf '%s\n' "40-session: $*" >&2; exit 1; }

here=$(dirname "$0")
readonly here shell=/usr/local/lib/standin/login-shell program=/srv/windows/drive_c/standin/session.exe

say "compiling session.exe"
x86_64-w64-mingw32-gcc -O2 -Wall -Werror -static -o "$program" "$here/session.c" || die "cannot compile session.c"
chown hg:hg "$program"

say "installing the login shell"
install -D -m 0755 "$here/login-shell.sh" "$shell" || die "cannot install $shell"
usermod --shell "$shell" hg || die "cannot make $shell the login shell of hg"
