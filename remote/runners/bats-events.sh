#!/bin/bash
# The formatter of bats by which it writes what it learns, as it learns it, to the file that AUTOMATION_REPORT names.
#
#   bats --timing --formatter /PATH/bats-events FILE...
#
# Standard input is the stream that bats gives its formatters: TAP with lines `suite FILE` and `begin NUMBER NAME`. It is copied to standard
# output. The report is of events, one JSON object on a line (docs/runners.md); a test is called `FILE: NAME`. The end is not written, because
# it takes more than one call of bats: where the stream has a result for each test of its plan, a line is added to $AUTOMATION_REPORT.whole.
#
# $AUTOMATION_REPORT.names has the names of the tests that bats was asked for, in its order. Bats tells names in which it has put the values
# of variables; by their numbers they are those again which stand in the files. Tests whose setup_file failed are told as errors.
set -uo pipefail
export LC_ALL=C

# That of Debian waits for a full buffer otherwise, so that nothing would be told before many tests have ended.
awk=(awk)
case $(awk -W version 2>&1 </dev/null || true) in mawk*) awk+=(-W interactive) ;; esac

# shellcheck disable=SC2016 # it is a program of awk
"${awk[@]}" -v report="$AUTOMATION_REPORT" -v here="$PWD/" '
function quote(text,    i, c, out) {
    gsub(/\\/, "\\\\", text)
    gsub(/"/, "\\\"", text)
    gsub(/\t/, "\\t", text)
    gsub(/\r/, "\\r", text)
    gsub(/\033/, "\\u001b", text)
    gsub(/[\001-\010\013\014\016-\032\034-\037\177]/, "?", text)
    return "\"" text "\""
}
BEGIN { while ((getline line <(report ".names")) > 0) { asked[++most] = line; known[line] = 1 } }
{ print; fflush() }
function put(line) { print line >>report; fflush(report) }
# What stands in the file for the test of this number that bats calls so.
function test_of(number, name,    full) {
    full = file ": " name
    if (!(full in known) && most == plan && index(asked[number], file ": ") == 1 && asked[number] ~ /[$`]/) full = asked[number]
    return quote(full)
}
function flush_test(    reason) {
    if (hook != "") return flush_hook()
    if (test == "") return
    if (outcome == "failed" || outcome == "timed_out") {
        gsub(/\n/, "\\n", said)
        put("{\"event\":\"detail\",\"test\":" test ",\"text\":\"" said "\"}")
    }
    reason = why == "" ? "null" : why
    put("{\"event\":\"finish\",\"test\":" test ",\"outcome\":\"" outcome "\",\"seconds\":" seconds ",\"reason\":" reason "}")
    test = ""
}
# Of the tests behind a setup_file that failed none runs; what a teardown_file does belongs to no test.
function flush_hook(    i) {
    gsub(/\n/, "\\n", said)
    for (i = 1; hook == "setup_file" && i <= most; i++) if (index(asked[i], file ": ") == 1) {
        test = quote(asked[i])
        put("{\"event\":\"detail\",\"test\":" test ",\"text\":\"" said "\"}")
        put("{\"event\":\"finish\",\"test\":" test ",\"outcome\":\"errored\",\"seconds\":null,\"reason\":\"setup_file failed\"}")
        count++
    }
    if (hook == "teardown_file") put("{\"event\":\"fault\",\"text\":" quote("teardown_file of " file " failed") "}")
    test = hook = ""
}
/^1\.\.[0-9]+$/ { plan = substr($0, 4) + 0; planned = 1; next }
/^suite / { flush_test(); file = substr($0, 7); if (index(file, here) == 1) file = substr(file, length(here) + 1); next }
/^begin [0-9]+ / {
    flush_test()
    name = $0
    sub(/^begin [0-9]+ /, "", name)
    put("{\"event\":\"start\",\"test\":" test_of($2, name) "}")
    begun[$2] = name
    next
}
# These have the number of another test, or none that began.
/^not ok [0-9]+ (setup|teardown)_file failed/ && begun[$3] != $4 " failed" {
    flush_test()
    hook = $4
    why = said = ""
    next
}
/^(not )?ok [0-9]+ / {
    flush_test()
    outcome = /^ok/ ? "passed" : "failed"
    number = /^ok/ ? $2 : $3
    rest = $0
    sub(/^(not )?ok [0-9]+ /, "", rest)
    # What follows the name that was told when the test began is time, and a directive.
    name = begun[number]
    rest = substr(rest, length(name) + 1)
    said = ""
    why = ""
    seconds = "null"
    if (match(rest, / in [0-9]+ms/)) {
        seconds = substr(rest, RSTART + 4, RLENGTH - 6) / 1000
        rest = substr(rest, 1, RSTART - 1) substr(rest, RSTART + RLENGTH)
    }
    if (rest ~ /^ # skip/) {
        outcome = "skipped"
        sub(/^ # skip */, "", rest)
        if (rest != "") why = quote(rest)
    } else if (rest ~ /^ # timeout/) {
        outcome = "timed_out"
        sub(/^ # /, "", rest)
        why = quote(rest)
    }
    test = test_of(number, name)
    count++
    next
}
# Comments belong to the test before them.
(test != "" || hook != "") && /^#/ {
    line = $0
    sub(/^# ?/, "", line)
    if (why == "" && outcome == "failed" && line !~ /^\(/) {
        why = line
        sub(/^ */, "", why)
        why = quote(why)
    }
    line = quote(line)
    if (length(said) < 65536) said = said substr(line, 2, length(line) - 2) "\n"
}
END {
    flush_test()
    if (planned && count == plan) print "whole" >>(report ".whole")
}
'
