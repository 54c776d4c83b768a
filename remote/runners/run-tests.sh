#!/bin/bash
# Does on a machine what a user declared of tests: makes the work folder, sets up, builds, lists and runs.
#
#   run-tests.sh prepare WORKDIR                                makes the work folder, with src, results and tmp in it
#   run-tests.sh setup WORKDIR                                  runs `line-setup`; what it prints goes to standard error
#   run-tests.sh build WORKDIR                                  the same with `line-build`
#   run-tests.sh list WORKDIR [FLAG...]                         runs `line-list`, which prints the name of a test on each line
#   run-tests.sh run WORKDIR PART REPORT NAMES [FLAG...]        runs `line-run`
#
# WORKDIR   the folder in which the lines run, below the source; empty for its top
# PART      `all`, or the number of a part of the tests, which has a folder of its own for its results
# REPORT    where the runner reports: `report` (to the file $AUTOMATION_REPORT), `output` (it prints the report), `file:PATH` (to a file
#           below WORKDIR)
# NAMES     how the tests are handed over, which come on standard input: `arguments` (with a NUL behind each; they become "$@"),
#           `file` (as it comes, it becomes the file $AUTOMATION_TESTS), `text` (as it comes, it becomes the value of $AUTOMATION_TESTS).
#           Where nothing comes, all tests are meant: there are no arguments then, and $AUTOMATION_TESTS is empty
#
# The lines are files beside this script, in the language of bash. They have
#
#   flags                    an array with each FLAG
#   AUTOMATION_FILES         the folder of this script, in which files of a preset lie
#   AUTOMATION_REPORT        the file for the report
#   AUTOMATION_TESTS         see NAMES
#   AUTOMATION_TEST_TIMEOUT  how many seconds one test may take; empty where nothing was said
#   TMPDIR                   a folder that is removed with the work folder
#
# `list` says on standard error what it runs on: `run-tests: on distro=NAME`. The report is $work/results/report, or
# $work/results/PART/report, and grows while the tests run where the runner writes it so.
#
# Exit codes: those of the line; 1 something failed before it; 64 wrong arguments; 75 another run has taken the work folder.
set -euo pipefail
export LC_ALL=C.UTF-8

readonly work=/var/tmp/automation-work
readonly marker=$work/.made-by-automation
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '%s\n' "run-tests: $*" >&2; }
die() { say "$*"; exit 1; }
usage() { say "$*"; exit 64; }

# Keeps the reports of an earlier run that was left to itself: a driver that comes late still asks for them.
put_aside() {
    local folder
    read -r folder <"$marker" || return 0
    [[ $folder == /tmp/hg-automation-* && $folder != "$here" && -O $folder ]] || return 0
    mkdir -p "$folder/taken/results" || die "cannot put aside what the run in $folder found out"
    cp -a "$work/results/." "$folder/taken/results/" 2>/dev/null ||
        say "what the run in $folder found out could not be put aside whole"
}

prepare() {
    if [[ -L $work || -e $work ]]; then
        [[ -d $work && ! -L $work && -O $work && -f $marker ]] || die "$work is there and was not made by this tool"
        # A run holds the machine while its tests run; this is for one whose hold was killed.
        flock -n "$marker" true || die "tests of another run still run in $work"
        put_aside
        # A file system may have been left without the right to write.
        chmod -R u+rwX -- "$work" 2>/dev/null || true
        rm -rf --one-file-system -- "$work" || die "cannot remove the $work of an earlier run"
    fi
    mkdir -m 0700 -- "$work" || die "cannot make $work"
    printf '%s\n' "$here" >"$marker"
    mkdir -- "$work/src" "$work/results" "$work/tmp"
}

# Makes sure that the work folder is this run's, and keeps others from taking it.
take() {
    exec 7<"$marker" && flock -s 7
    local owner
    { read -r owner <&7 && [[ $owner == "$here" ]]; } || { say "another run has taken $work"; exit 75; }
}

# Goes where the lines run, with the environment that they have.
enter() {
    cd -- "$work/src/$1" || die "the source has no folder '$1'"
    export TMPDIR=$work/tmp AUTOMATION_FILES=$here AUTOMATION_TEST_TIMEOUT=${AUTOMATION_TEST_TIMEOUT-}
    # They describe the caller's session.
    unset SSH_CONNECTION SSH_CLIENT SSH_TTY
}

# Runs a line with the arguments that follow as "$@". It is no script of ours, so it fails only where it says so.
line() {
    local name=$1
    shift
    set +euo pipefail
    # shellcheck source=/dev/null
    . "$here/line-$name"
}

list() {
    # shellcheck disable=SC1091 # it is the machine's
    say "on distro=$(. /etc/os-release 2>/dev/null && printf '%s' "${ID:-}${VERSION_ID:-}")"
    line list
}

# Sets `names`, and exports AUTOMATION_TESTS.
read_names() {
    names=()
    export AUTOMATION_TESTS=
    case $1 in
        arguments) mapfile -d '' -t names ;;
        text) AUTOMATION_TESTS=$(cat) ;;
        file)
            cat >"$results/tests"
            [[ ! -s $results/tests ]] || AUTOMATION_TESTS=$results/tests
            ;;
        *) usage "unknown manner of names '$1'" ;;
    esac
}

# Runs the line, and has its report written where it belongs.
report_to() {
    case $1 in
        report) line run "${names[@]}" ;;
        output)
            (line run "${names[@]}") | tee -- "$AUTOMATION_REPORT"
            return "${PIPESTATUS[0]}"
            ;;
        file:*)
            local status=0
            (line run "${names[@]}") || status=$?
            if [[ -f ${1#file:} ]]; then cp -- "${1#file:}" "$AUTOMATION_REPORT"; fi
            return "$status"
            ;;
    esac
}

# shellcheck disable=SC2317 # the traps call it
stop() {
    trap '' INT TERM
    say "stopping the tests"
    kill -TERM -- "-$runner" 2>/dev/null || true
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        kill -0 -- "-$runner" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$runner" 2>/dev/null || true
    wait "$runner" 2>/dev/null || true
    exit "$1"
}

(($# >= 2)) || usage "expected a verb and a folder"
verb=$1 workdir=$2
shift 2
if [[ $verb == prepare ]]; then
    prepare
    exit 0
fi
take
enter "$workdir"
flags=()
case $verb in
    setup | build) line "$verb" >&2 </dev/null 7<&-; exit ;;
    list) flags=("$@"); list </dev/null 7<&-; exit ;;
    run) (($# >= 3)) || usage "expected a part, a report and a manner" ;;
    *) usage "unknown verb '$verb'" ;;
esac

part=$1 report=$2 manner=$3
# shellcheck disable=SC2034 # the lines use it
flags=("${@:4}")
results=$work/results
[[ $part == all ]] || results+=/$part
rm -rf -- "$results"
mkdir -p -- "$results"
export AUTOMATION_REPORT=$results/report
# One that an earlier run or the source brought must not pass for this one.
if [[ $report == file:* ]]; then rm -rf -- "${report#file:}"; fi
read_names "$manner"

# A process group of its own, so that all of it can be stopped; a shell starts a background command with SIGINT ignored.
set -m
(
    trap - INT QUIT
    set +e
    report_to "$report"
) </dev/null 7<&- &
runner=$!
set +m
trap 'stop 130' INT
trap 'stop 143' TERM HUP

status=0
wait "$runner" || status=$?
# Processes that a test forgot to stop would otherwise hold the connection open.
kill -KILL -- "-$runner" 2>/dev/null || true
exit "$status"
