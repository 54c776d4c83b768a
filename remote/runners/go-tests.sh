#!/bin/bash
# Lists and runs tests of Go.
#
#   go-tests list [FLAG...]              prints `PACKAGE.TEST` of each test, example and fuzz target of the packages below the current folder
#   go-tests run [FLAG...] -- [TEST...]  runs them, or the named ones, and prints what `go test -json` says
#
# FLAG   an option of `go test`. Those that say what is built go to the list as well; `-run`, `-skip` and `-bench` are refused, because the
#        tests are named
#
# Named tests are run package by package, so that of two tests with one name only the one that was meant runs. AUTOMATION_TEST_TIMEOUT is how
# many seconds the tests of one package may take, for Go has no limit for one test: the test that runs then fails, and those behind it are lost.
#
# Exit codes: 0 all passed; 1 some failed; 64 wrong arguments; anything else is that of `go`.
set -euo pipefail

# Options of `go build` that a value follows, and others: they decide which files, and so which tests, there are.
readonly with_value=' tags mod modfile overlay pgo gcflags ldflags asmflags gccgoflags compiler buildmode buildvcs installsuffix pkgdir toolexec p '
readonly without_value=' race msan asan cover a trimpath linkshared modcacherw '

# Finds the flags that `go list` knows: `building`.
part_flags() {
    local name
    building=() flags=()
    while (($#)) && [[ $1 != -- ]]; do
        name=${1#-} name=${name#-} name=${name%%=*}
        flags+=("$1")
        case $1 in
            -*)
                case ${name#test.} in
                    run | skip | bench)
                        printf '%s\n' "go-tests: -$name is not supported: name the tests" >&2
                        exit 64
                        ;;
                esac
                if [[ $with_value == *" $name "* ]]; then
                    building+=("$1")
                    if [[ $1 != *=* ]] && (($# > 1)); then
                        shift
                        flags+=("$1") building+=("$1")
                    fi
                elif [[ $without_value == *" $name "* ]]; then
                    building+=("$1")
                fi
                ;;
        esac
        shift
    done
}

list() {
    local packages package found
    # What cannot be built has no tests to list: that is no list.
    found=$(go list "$@" ./...)
    mapfile -t packages <<<"$found"
    for package in "${packages[@]}"; do
        [[ -n $package ]] || continue
        # Its last line is `ok PACKAGE TIME`, or says that there are no test files.
        go test -list . "$@" "$package" | { grep -E '^(Test|Example|Fuzz)' || true; } | sed "s|^|${package//&/\\&}.|"
    done
}

# Runs `go test` with what follows; its status is kept where it is the worst so far.
run_go() {
    local code=0
    go test -json ${AUTOMATION_TEST_TIMEOUT:+-timeout "${AUTOMATION_TEST_TIMEOUT}s"} "${flags[@]}" "$@" || code=$?
    ((code <= status)) || status=$code
}

verb=${1:-}
shift || true
case $verb in
    list | run) part_flags "$@" ;;
    *) printf '%s\n' "usage: go-tests list|run [FLAG...] -- [TEST...]" >&2; exit 64 ;;
esac
if [[ $verb == list ]]; then
    list ${building[@]+"${building[@]}"}
    exit
fi
while (($#)) && [[ $1 != -- ]]; do shift; done
shift || true

status=0
if (($#)); then
    declare -A of_package=()
    order=()
    for test; do
        # The name of a test has no dot, that of a package may have some.
        package=${test%.*}
        [[ -n ${of_package[$package]-} ]] || order+=("$package")
        of_package[$package]+="|${test##*.}"
    done
    for package in "${order[@]}"; do
        run_go -run "^(${of_package[$package]#|})\$" "$package"
    done
else
    run_go ./...
fi
exit "$status"
