#!/bin/bash
# Lists and runs tests of bats.
#
#   bats-tests list [FLAG...]              prints `FILE: NAME` of each test of the files *.bats below the current folder
#   bats-tests run [FLAG...] -- [TEST...]  runs them, or the named ones, and reports by `bats-events`, which lies beside this
#
# FLAG   an option of bats. `--filter` goes for the list as well; `--filter-tags` and `--filter-status` are refused, because what they choose is
#        not known before
#
# AUTOMATION_TEST_TIMEOUT is how many seconds a test may take; bats knows that since 1.8. Named tests are run file by file, so that of two tests
# with one name only the one that was meant runs.
#
# Exit codes: 0 all passed; 1 some failed; 64 wrong arguments; anything else is that of a bats that could not run them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

files() {
    find . -name '*.bats' -type f -not -path '*/node_modules/*' -not -path '*/.*/*' | sed 's,^\./,,' | LC_ALL=C sort
}

# Prints the names of the tests of a file, as bats reads them.
names_of() {
    local line name
    while IFS= read -r line || [[ -n $line ]]; do
        [[ ${line%$'\r'} =~ ^[[:blank:]]*@test[[:blank:]]+(.*[^[:blank:]])[[:blank:]]+\{ ]] || continue
        name=${BASH_REMATCH[1]}
        [[ -z $filter || ${name:1:-1} =~ $filter ]] || continue
        case $name in
            \'*\') name=${name:1:-1} ;;
            \"*\") name=$(printf '%s\n' "${name:1:-1}" | sed 's/\\\(["\\$`]\)/\1/g') ;;
        esac
        printf '%s: %s\n' "$1" "$name"
    done <"$1"
}

list() {
    local file
    files | while IFS= read -r file; do names_of "$file"; done
}

# A regular expression that fits the names and no others. Bats holds it against what stands in the file, where a name may have a backslash
# before some of its signs.
fits() {
    printf '%s\n' "$@" | sed -e 's/[][\.*^$+?(){}|]/\\&/g' -e 's/\\\\/&{1,2}/g' -e 's/"\|`\|\\\$/\\\\?&/g' | paste -sd '|' - | sed 's/.*/^(&)$/'
}

# Parts the options that choose tests from those that do not.
part_flags() {
    local refused
    flags=() filter=
    while (($#)) && [[ $1 != -- ]]; do
        case $1 in
            -f | --filter) filter=${2-} && shift ;;
            --filter-tags* | --filter-status*)
                refused=${1%%=*}
                printf '%s\n' "bats-tests: $refused is not supported: name the tests, or use --filter" >&2
                exit 64
                ;;
            *) flags+=("$1") ;;
        esac
        shift || break
    done
}

# Runs bats with what follows; the names that it is asked for come on standard input. Its status is kept where it is the worst so far.
run_bats() {
    local code=0
    cat >"$AUTOMATION_REPORT.names"
    BATS_TEST_TIMEOUT=${AUTOMATION_TEST_TIMEOUT:-${BATS_TEST_TIMEOUT-}} \
        bats --timing --formatter "$here/bats-events" "${flags[@]}" "$@" </dev/null || code=$?
    calls=$((calls + 1))
    ((code <= status)) || status=$code
}

verb=${1:-}
shift || true
case $verb in
    list | run) part_flags "$@" ;;
    *) printf '%s\n' "usage: bats-tests list|run [FLAG...] -- [TEST...]" >&2; exit 64 ;;
esac
if [[ $verb == list ]]; then
    list
    exit
fi
while (($#)) && [[ $1 != -- ]]; do shift; done
shift || true

chmod +x "$here/bats-events"
: >"$AUTOMATION_REPORT.whole"
status=0 calls=0
if (($#)); then
    declare -A of_file=()
    order=()
    for test; do
        file=${test%%: *}
        [[ -n ${of_file[$file]-} ]] || order+=("$file")
        of_file[$file]+=${test#*: }$'\n'
    done
    for file in "${order[@]}"; do
        mapfile -t wanted <<<"${of_file[$file]%$'\n'}"
        # In the order of the file, which is that of bats.
        names=$(names_of "$file" | grep -Fx -f <(printf '%s\n' "${wanted[@]/#/$file: }") || true)
        run_bats --filter "$(fits "${wanted[@]}")" "$file" <<<"$names"
    done
else
    mapfile -t all < <(files)
    if [[ -n $filter ]]; then flags+=(--filter "$filter"); fi
    run_bats "${all[@]}" < <(list)
fi
# The report has come to its end where bats came to the end of each of its streams.
if (($(wc -l <"$AUTOMATION_REPORT.whole") == calls)); then printf '{"event":"end"}\n' >>"$AUTOMATION_REPORT"; fi
exit "$status"
