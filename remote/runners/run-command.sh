#!/bin/bash
# Runs a user's command on a machine, in a work folder of its own.
#
#   run-command.sh prepare                                        makes the work folder, with src, results and tmp in it
#   run-command.sh run WORKDIR COUNT [NAME=VALUE...] PROGRAM [ARG...]
#
# WORKDIR   the folder in which it runs, below the source; empty for its top
# COUNT     how many variables follow; they are set for the program and not for this script
#
# The program is started as it is named: no shell splits or expands its words. It reads nothing on standard input. TMPDIR is a folder that is removed with
# the work folder. Processes that it leaves behind are ended with it.
#
# Exit codes of `run`: that of the program, 128 and its number for a signal; 126 it cannot be executed, 127 there is no such program;
# 125 something failed before it. Of `prepare`: 1 something failed. 64 wrong arguments.
set -euo pipefail
export LC_ALL=C.UTF-8

readonly me=run-command
# shellcheck source-path=SCRIPTDIR source=work-folder.sh
. "$(dirname "${BASH_SOURCE[0]}")/work-folder.sh"

# shellcheck disable=SC2317 # it is called by its name
start() {
    local count=$1
    shift
    while ((count-- > 0)); do
        # A name that the shell keeps for itself cannot be given.
        export "${1?}" || exit 125
        shift
    done
    # What the shell itself would say names this file.
    if [[ $1 == */* ]]; then
        [[ -e $1 || -L $1 ]] || { say "there is no program '$1'"; exit 127; }
        [[ -x $1 && ! -d $1 ]] || { say "'$1' cannot be executed"; exit 126; }
    else
        type -P -- "$1" >/dev/null || { say "there is no program '$1'"; exit 127; }
    fi
    exec -- "$@"
}

(($# >= 1)) || usage "expected a verb"
case $1 in
    prepare) prepare ;;
    run)
        [[ $# -ge 4 && $3 =~ ^[0-9]+$ && $(($# - 3)) -gt $3 ]] || usage "expected a folder, a number, variables and a program"
        # All that fails from here on must not be taken for the program's own end.
        own=125
        take
        enter "$2"
        run_apart start "${@:3}"
        ;;
    *) usage "unknown verb '$1'" ;;
esac
