#!/bin/bash
# Lists and runs tests of Rust by cargo-nextest.
#
#   nextest-tests list [FLAG...]              prints `PACKAGE::BINARY$TEST` of each test
#   nextest-tests run [FLAG...] -- [TEST...]  runs them, or the named ones, and prints the JSON of Rust's test harness
#
# FLAG   an option of `cargo nextest run`; those that say what is built and which tests are meant go to the list as well
#
# AUTOMATION_TEST_TIMEOUT is how many seconds a test may take. A test with #[ignore] is listed, and reported as ignored without being run.
#
# Exit codes: those of cargo-nextest, which ends with 100 where tests failed.
set -euo pipefail

# Options of both, by whether a value follows them, and options of `run` alone that have a value. Any other is one of `run` without a value.
readonly both=' --workspace --all --lib --bins --examples --tests --benches --all-targets --all-features --no-default-features --release -r
    --frozen --locked --offline --ignore-rust-version --ignore-default-filter --unit-graph --override-version-check '
readonly both_with=' --package -p --exclude --bin --example --test --bench --features -F --profile -P --cargo-profile --target --target-dir
    --manifest-path --partition --platform-filter --config --config-file --tool-config-file --user-config-file -Z --build-jobs --color
    --archive-file --archive-format --extract-to --cargo-metadata --binaries-metadata --workspace-remap --target-dir-remap --build-dir-remap '
readonly run_with=' --jobs -j --test-threads --retries --flaky-result --max-fail --failure-output --success-output --status-level
    --final-status-level --no-tests --show-progress --max-progress-running --stress-count --stress-duration --message-format-version --debugger
    --tracer --rerun --cargo-message-format '

# Parts the flags: `chosen` for the list, `flags` for the run, `filters` which tests are meant, `ignored` what happens to those with #[ignore].
part_flags() {
    local flag name value
    chosen=() flags=() filters='' ignored=default parted=
    while (($#)) && [[ $1 != -- ]]; do
        flag=$1 name=$1 value=()
        shift
        case $flag in
            --*=*) name=${flag%%=*} ;;
            -[pFPEjZ]?*) name=${flag:0:2} ;;
            *)
                if [[ " -E --filterset --filter-expr --run-ignored $both_with $run_with " == *[[:space:]]"$flag"[[:space:]]* ]] && (($#)); then
                    value=("$1")
                    shift
                fi
                ;;
        esac
        case $name in
            -E | --filterset | --filter-expr | --run-ignored)
                # The value is behind the name, with or without `=`.
                [[ -n ${value[*]-} ]] || { value=("${flag#"$name"}") && value=("${value[0]#=}"); }
                if [[ $name == --run-ignored ]]; then ignored=${value[0]}; else filters+="${filters:+ | }(${value[0]})"; fi
                continue
                ;;
            --partition) parted=1 ;;
            # It may be said once, and is.
            --no-fail-fast | --nff) ;;
            *) flags+=("$flag" ${value[@]+"${value[@]}"}) ;;
        esac
        # A word that is no option is a part of the names of tests that are meant.
        if [[ " $both $both_with " == *[[:space:]]"$name"[[:space:]]* || $name != -* ]]; then
            chosen+=("$flag" ${value[@]+"${value[@]}"})
        fi
    done
}

# Prints `true` or `false` for whether a test has #[ignore], and its name. With `--run-ignored all` that is no reason for nextest not to
# choose a test, so that the others are seen.
tests() {
    local header='"package-name":"[^"]*","binary-id":"[^"]*","binary-name":"[^"]*"'
    local test='"[^"]*":\{"kind":"[^"]*","ignored":(true|false),"filter-match":\{"status":"[^"]*"' as=$ignored
    [[ $as != default ]] || as=all
    # All in one line: a header for each binary, and its tests behind it. No name has a quote in it.
    cargo nextest list --message-format json --run-ignored "$as" ${filters:+--filterset "$filters"} "${chosen[@]}" |
        { grep -oE "$header|$test" || true; } |
        awk -F'"' '
            $2 == "package-name" { binary = $4 "::" $12; next }
            $(NF - 1) == "matches" { print ($0 ~ /"ignored":true,"filter-match"/ ? "true " : "false ") binary "$" $2 }'
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

# Runs what is meant: the named tests, or all; what has #[ignore] is only reported, in a suite of its own, unless the flags say otherwise.
run() {
    local all name mark filter
    local -A wanted=()
    local -a named=() passed_over=()
    for name; do wanted[$name]=1; done
    all=$(tests)
    while read -r mark name; do
        if [[ -z $name ]] || { (($#)) && [[ -z ${wanted[$name]-} ]]; }; then continue; fi
        if [[ $mark == true && $ignored == default ]]; then passed_over+=("$name"); else named+=("$name"); fi
    done <<<"$all"
    printf '{"type":"suite","event":"started","test_count":%d}\n' ${#passed_over[@]}
    for name in ${passed_over[@]+"${passed_over[@]}"}; do printf '{"type":"test","event":"ignored","name":"%s"}\n' "$name"; done
    printf '{"type":"suite","event":"ok","passed":0,"failed":0,"ignored":%d}\n' ${#passed_over[@]}
    ((${#named[@]})) || exit 0
    if (($#)) || [[ -n $parted || $ignored == *only ]]; then
        filter=$(fits "${named[@]}")
    else
        filter=${filters:-all()}
        ((${#passed_over[@]} == 0)) || filter="($filter) & not ($(fits "${passed_over[@]}"))"
    fi
    # Where it passed over tests itself, nextest would say of some that they began, and never how they ended.
    NEXTEST_EXPERIMENTAL_LIBTEST_JSON=1 exec cargo nextest run --no-fail-fast --message-format libtest-json \
        --run-ignored all --filterset "$filter" "${flags[@]}"
}

verb=${1:-}
shift || true
case $verb in
    list)
        part_flags "$@"
        tests | sed 's/^[a-z]* //'
        exit
        ;;
    run) ;;
    *) printf '%s\n' "usage: nextest-tests list|run [FLAG...] -- [TEST...]" >&2; exit 64 ;;
esac
part_flags "$@"
while (($#)) && [[ $1 != -- ]]; do shift; done
shift || true

if [[ -n ${AUTOMATION_TEST_TIMEOUT-} ]]; then
    printf '[profile.default]\nslow-timeout = { period = "%ss", terminate-after = 1 }\n' "$AUTOMATION_TEST_TIMEOUT" >"$TMPDIR/nextest.toml"
    flags+=(--tool-config-file "automation:$TMPDIR/nextest.toml")
fi
run "$@"
