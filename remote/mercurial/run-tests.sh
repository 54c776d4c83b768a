#!/bin/bash
# Runs Mercurial's test runner in /hgwork/src/tests.
#
#   run-tests.sh [--list N | --part K] [--built] PYTHON -- ARGUMENT...
#
# --built    a build that is in place is to be tested, where there is one
# --list N   print the names of the tests that the same arguments would run, one on a line, and run none; the last N arguments
#            name tests. On standard error, first, what they would run on: `run-tests: on distro=NAME python=VERSION`, or
#            `pypy=VERSION`
# --part K   these tests are the Kth part of what the machine runs: their results land in a folder of that name in /hgwork/results
# PYTHON     the interpreter: an absolute path
# ARGUMENT   goes to run-tests.py as it is
#
# Results land in /hgwork/results, or with --part in a folder of it, which is emptied first:
#   events.jsonl   written while the tests run, one object on a line; run_tests_events.py, which must lie beside this script,
#                  describes it. It is complete up to the moment at which the machine was lost
#   report.json    the runner's own report, and xunit.xml, its other one, with the reasons of skipped tests; written by the
#                  runner at its end, so that an interrupted run has none
#   TEST.err       the output of each failed test
#
# Where another run has taken /hgwork meanwhile, nothing is run, and the exit code is 75. As long as the tests run, this script
# holds a lock on the marker in /hgwork.
#
# With --built, and where /hgwork/baked.json says that /hgwork/src is built with PYTHON, that build is tested (`--local`); with `--chg`
# among the arguments through contrib/chg, which is compiled beside it first. In all other cases the runner builds for itself, unless
# ARGUMENT says otherwise; standard error tells which it is.
#
# The first SIGTERM or SIGINT stops the runner in its own way and, ten seconds later, by force. Exit code: that of
# run-tests.py (0 none failed, 1 some failed, 2 its arguments were wrong; 128 + N if signal N ended it, 130 or 143 when
# this script was told to stop), or 64 for wrong arguments of this script. With --list, 66 says that a named test does not
# exist: `unknown test: NAME` is on standard error and the names of those that do on standard output.
set -euo pipefail

readonly work=/hgwork
results=/hgwork/results
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '%s\n' "run-tests: $*" >&2; }
usage() { say "$*"; say "usage: run-tests.sh [--list N | --part K] [--built] PYTHON -- ARGUMENT..."; exit 64; }

list=
if [[ ${1:-} == --list ]]; then
    list=${2:-}
    [[ $list =~ ^[0-9]+$ ]] || usage "expected a number after --list"
    shift 2
elif [[ ${1:-} == --part ]]; then
    [[ ${2:-} =~ ^[0-9]+$ ]] || usage "expected a number after --part"
    results+=/$2
    shift 2
fi
built=
if [[ ${1:-} == --built ]]; then
    built=yes
    shift
fi
[[ ${2:-} == -- ]] || usage "expected an interpreter and --"
python=$1
shift 2
arguments=("$@")
[[ $python == /* && -x $python ]] || usage "'$python' is not an interpreter"
exec 7<"$work/.made-by-automation" && flock -s 7
{ read -r owner <&7 && [[ $owner == "$here" ]]; } || { say "another run has taken $work"; exit 75; }
[[ -f $work/src/tests/run-tests.py ]] || usage "$work/src/tests/run-tests.py is not there; was $work prepared?"

build_fits() {
    [[ -n $built && -f $work/baked.json ]] || return 1
    [[ $(baked_value python) == "$python" ]]
}
baked_value() {
    "$python" -c 'import json, sys; print(json.load(open("/hgwork/baked.json"))[sys.argv[1]])' "$1"
}

cd "$work/src/tests"
export TMPDIR=$work/tmp
# Variables that describe the caller's session are not for tests. The bootstrap's hg is last on the PATH: it reads /hgwork/src where a
# test asks the hg of the system about the repository, and stands behind the Mercurial under test otherwise.
unset HGRCPATH HGPLAIN HGENCODING SSH_CONNECTION SSH_CLIENT SSH_TTY
export PATH=$PATH:/hgdev/venv-bootstrap/bin
# Since Mercurial 6.9 the runner installs with pip, which would fetch build tools from the Internet. The machine has them as
# packages. (pip reads 0 as "no isolation" here.) A user who wants pip's own way sets these differently.
export PIP_NO_BUILD_ISOLATION=${PIP_NO_BUILD_ISOLATION-0} PIP_NO_INDEX=${PIP_NO_INDEX-1} PIP_DISABLE_PIP_VERSION_CHECK=1

if [[ -n $list ]]; then
    exec 7<&-
    # shellcheck disable=SC1091 # it is the machine's
    say "on distro=$(. /etc/os-release 2>/dev/null && printf '%s' "${ID:-}${VERSION_ID:-}") $("$python" -c '
import platform, sys
print({"CPython": "python", "PyPy": "pypy"}.get(platform.python_implementation(), "other"), platform.python_version(), sep="=")
')"
    unknown() {
        say "the tests that exist are on standard output"
        printf 'unknown test: %s\n' "$1" >&2
        compgen -G 'test-*.t' || true
        compgen -G 'test-*.py' || true
        exit 66
    }
    # The runner passes over what is not called like a test, and lists a test that does not exist like any other.
    for name in "${arguments[@]:${#arguments[@]}-list}"; do
        [[ ${name##*/} == test-*.@(t|py)?(#*) && -f ${name%%#*} ]] || unknown "$name"
    done
    # With --verbose, --restart and the like the runner says more than names.
    names=$("$python" run-tests.py "${arguments[@]}" --list-tests)
    names=$(grep -E '^([^#]*/)?test-[^/]*\.(t|py)(#[^/]*)?$' <<<"$names" || true)
    while read -r name; do
        [[ -z $name || -f ${name%%#*} ]] || unknown "${name%%#*}"
    done <<<"$names"
    printf '%s\n' "$names"
    exit 0
fi

rm -rf "$results"
mkdir -p "$results"
if build_fits; then
    say "using the build that is in place (--local), of changeset $(baked_value node)"
    arguments=(--local "${arguments[@]}")
    if [[ " ${arguments[*]} " == *" --chg "* && ! -x ../contrib/chg/chg ]]; then
        say "compiling chg"
        make -s -C ../contrib/chg >&2
    fi
elif [[ " ${arguments[*]} " == *" --with-hg"* || " ${arguments[*]} " == *" --local "* ]]; then
    say "using the Mercurial that the arguments name"
else
    say "run-tests.py builds and installs Mercurial first, which takes about a minute"
fi
if [[ -f $here/run_tests_events.py ]]; then
    export CUSTOM_TEST_RESULT=run_tests_events HG_TEST_EVENTS=$results/events.jsonl
    export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
else
    say "run_tests_events.py does not lie beside this script, so no events are written"
fi

# A process group of its own, so that all of it can be stopped; a shell starts a background command with SIGINT ignored, and a
# Python that ignores it could not be stopped in an orderly way.
set -m
env --default-signal=INT,QUIT "$python" run-tests.py --outputdir "$results" --json --xunit "$results/xunit.xml" \
    "${arguments[@]}" </dev/null 7<&- &
runner=$!
set +m

# shellcheck disable=SC2317 # the traps call it
stop() {
    trap '' INT TERM
    say "stopping the runner"
    kill -INT "$runner" 2>/dev/null || true
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        kill -0 "$runner" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$runner" 2>/dev/null || true
    wait "$runner" 2>/dev/null || true
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM HUP

status=0
wait "$runner" || status=$?
# Processes that a test forgot to stop would otherwise hold the connection open.
kill -KILL -- "-$runner" 2>/dev/null || true
exit "$status"
