#!/bin/bash
# Lists and runs tests of Go.
#
#   go-tests list [FLAG...]              prints `PACKAGE.TEST` of each test, example and fuzz target of the packages below the current folder
#   go-tests run [FLAG...] -- [TEST...]  runs them, or the named ones, and prints what `go test -json` says
#
# FLAG   an option of `go test`
#
# Named tests are run package by package, so that of two tests with one name only the one that was meant runs. AUTOMATION_TEST_TIMEOUT is how
# many seconds the tests of one package may take, for Go has no limit for one test: the test that runs then fails, and those behind it are lost.
#
# Exit codes: 0 all passed; 1 some failed; anything else is that of `go`.
set -euo pipefail

list() {
    local packages package
    mapfile -t packages < <(go list "$@" ./...)
    for package in "${packages[@]}"; do
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
    list) list "$@"; exit ;;
    run) ;;
    *) printf '%s\n' "usage: go-tests list|run [FLAG...] -- [TEST...]" >&2; exit 64 ;;
esac
flags=()
while (($#)) && [[ $1 != -- ]]; do
    flags+=("$1")
    shift
done
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
