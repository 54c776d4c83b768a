#!/bin/bash
# Runs a user's command on a machine, in a work folder of its own.
#
#   run-command.sh prepare [PROJECT NAME [HISTORY...]]            makes the work folder, with src, results and tmp in it; with PROJECT the src of an
#                                                                 earlier run for the same one stays as it is, but for what version control
#                                                                 keeps in it: that is made ready to be brought up to date where it is a HISTORY.
#                                                                 Prints `replaces NAME` where it had the files of another one
#   run-command.sh run WORKDIR SECRETS COUNT [NAME=VALUE...] PROGRAM [ARG...]
#   run-command.sh talk WORKDIR SECRETS COUNT [NAME=VALUE...] PROGRAM [ARG...]
#
# WORKDIR   the folder in which it runs, below the source; empty for its top
# SECRETS   a file with NAME=VALUE, a NUL behind each, in a folder of its own; both are gone before the program begins. Such variables are set as well, and `***`
#           stands for their values in what the program prints. `-` where there are none
# COUNT     how many variables follow; they are set for the program and not for this script
#
# The program is started as it is named: no shell splits or expands its words. It reads this script's standard input. TMPDIR is a folder that is removed with
# the work folder. Processes that it leaves behind are ended with it. `talk` is for a program that a person talks with: it takes this script's place, and its terminal.
#
# Exit codes of `run` and `talk`: that of the program, 128 and its number for a signal; 126 it cannot be executed, 127 there is no such program;
# 125 something failed before it, which the file `not-run` beside this script then says. Of `prepare`: 1 something failed. 64 wrong arguments.
set -euo pipefail
export LC_ALL=C.UTF-8

readonly me=run-command
# shellcheck source-path=SCRIPTDIR source=work-folder.sh
. "$(dirname "${BASH_SOURCE[0]}")/work-folder.sh"

# shellcheck disable=SC2317 # it is called by its name
start() {
    local count=$1 each
    shift
    for each in "${secrets[@]}"; do export "${each?}" || die "cannot set ${each%%=*}"; done
    while ((count-- > 0)); do
        # A name that the shell keeps for itself cannot be given.
        export "${1?}" || die "cannot set ${1%%=*}"
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

# Sets `secrets`, and has everything that is printed from here on masked.
read_secrets() {
    mapfile -d '' -t secrets <"$1" || die "cannot read the secrets"
    rm -rf -- "${1%/*}" || die "cannot remove the secrets"
    ((${#secrets[@]})) || return 0
    local mask=$here/mask_secrets.py
    exec 8> >(exec python3 -I "$mask" 3< <(printf '%s\0' "${secrets[@]#*=}") 7<&-)
    masks=($!)
    exec 9> >(exec python3 -I "$mask" 3< <(printf '%s\0' "${secrets[@]#*=}") >&2 7<&- 8>&-)
    masks+=($!)
    trap end_masks EXIT
    exec >&8 2>&9 8>&- 9>&-
}

# Waits until all was printed. Who still holds the output after its program has ended is not waited for.
# shellcheck disable=SC2317 # the trap calls it
end_masks() {
    exec >/dev/null 2>&1
    local tries
    for ((tries = 0; tries < 20; tries++)); do
        kill -0 "${masks[@]}" 2>/dev/null || break
        sleep 0.1
    done
    kill -TERM "${masks[@]}" 2>/dev/null || true
    for ((tries = 0; tries < 20; tries++)); do
        kill -0 "${masks[@]}" 2>/dev/null || break
        sleep 0.1
    done
}

(($# >= 1)) || usage "expected a verb"
secrets=()
case $1 in
    prepare) prepare "${@:2}" ;;
    run | talk)
        [[ $# -ge 5 && $4 =~ ^[0-9]+$ && $(($# - 4)) -gt $4 ]] ||
            usage "expected a folder, a file, a number, variables and a program"
        # All that fails from here on must not be taken for the program's own end.
        own=125 told=$here/not-run
        take
        enter "$2"
        [[ $3 == - ]] || read_secrets "$3"
        if [[ $1 == talk ]]; then start "${@:4}"; fi
        run_apart start "${@:4}"
        ;;
    *) usage "unknown verb '$1'" ;;
esac
