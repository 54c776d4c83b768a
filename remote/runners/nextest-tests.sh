#!/bin/bash
# Lists and runs tests of Rust by cargo-nextest.
#
#   nextest-tests list [FLAG...]              prints `PACKAGE::BINARY$TEST` of each test
#   nextest-tests run [FLAG...] -- [TEST...]  runs them, or the named ones, and prints the JSON of Rust's test harness
#
# FLAG   an option of `cargo nextest`, for both
#
# AUTOMATION_TEST_TIMEOUT is how many seconds a test may take.
#
# Exit codes: those of cargo-nextest, which ends with 100 where tests failed.
set -euo pipefail

list() {
    local header='"package-name":"[^"]*","binary-id":"[^"]*","binary-name":"[^"]*"' test='"[^"]*":\{"kind":"[^"]*","ignored":(true|false)'
    # All in one line: a header for each binary, and its tests behind it. No name has a quote in it.
    cargo nextest list --message-format json "$@" | grep -oE "$header|$test" |
        awk -F'"' '$2 == "package-name" { binary = $4 "::" $12; next } { print binary "$" $2 }'
}

# A filter that fits the tests and no others.
fits() {
    local test binary filter=
    for test; do
        binary=${test%%\$*}
        filter+="${filter:+ | }(package(=${binary%%::*}) & binary(=${binary#*::}) & test(=${test#*\$}))"
    done
    printf '%s' "$filter"
}

verb=${1:-}
shift || true
case $verb in
    list) list "$@"; exit ;;
    run) ;;
    *) printf '%s\n' "usage: nextest-tests list|run [FLAG...] -- [TEST...]" >&2; exit 64 ;;
esac
flags=()
while (($#)) && [[ $1 != -- ]]; do
    flags+=("$1")
    shift
done
shift || true

if (($#)); then flags+=(--filterset "$(fits "$@")"); fi
if [[ -n ${AUTOMATION_TEST_TIMEOUT-} ]]; then
    printf '[profile.default]\nslow-timeout = { period = "%ss", terminate-after = 1 }\n' "$AUTOMATION_TEST_TIMEOUT" >"$TMPDIR/nextest.toml"
    flags+=(--tool-config-file "automation:$TMPDIR/nextest.toml")
fi
NEXTEST_EXPERIMENTAL_LIBTEST_JSON=1 exec cargo nextest run --no-fail-fast --message-format libtest-json "${flags[@]}"
