#!/bin/bash
# Does on a machine what a user declared of tests: makes the work folder, sets up, builds, lists and runs.
#
#   run-tests.sh prepare WORKDIR [PROJECT NAME]                 makes the work folder, with src, results and tmp in it; prints `replaces NAME`
#                                                               where it had the files of another PROJECT
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

readonly me=run-tests
# shellcheck source-path=SCRIPTDIR source=work-folder.sh
. "$(dirname "${BASH_SOURCE[0]}")/work-folder.sh"

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

(($# >= 2)) || usage "expected a verb and a folder"
verb=$1 workdir=$2
shift 2
if [[ $verb == prepare ]]; then
    prepare "$@"
    exit 0
fi
take
enter "$workdir"
export AUTOMATION_FILES=$here AUTOMATION_TEST_TIMEOUT=${AUTOMATION_TEST_TIMEOUT-}
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

run_apart report_to "$report" </dev/null
