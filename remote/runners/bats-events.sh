#!/bin/bash
# The formatter of bats by which it writes what it learns, as it learns it, to the file that AUTOMATION_REPORT names.
#
#   bats --timing --formatter /PATH/bats-events FILE...
#
# Standard input is the stream that bats gives its formatters: TAP with lines `suite FILE` and `begin NUMBER NAME`. It is copied to standard
# output. The report is of events, one JSON object on a line (docs/runners.md); a test is called `FILE: NAME`. The end is not written, because
# it takes more than one call of bats: where the stream has a result for each test of its plan, a line is added to $AUTOMATION_REPORT.whole.
set -uo pipefail
export LC_ALL=C

awk -v report="$AUTOMATION_REPORT" -v here="$PWD/" '
function quote(text,    i, c, out) {
    gsub(/\\/, "\\\\", text)
    gsub(/"/, "\\\"", text)
    gsub(/\t/, "\\t", text)
    gsub(/\r/, "\\r", text)
    gsub(/\033/, "\\u001b", text)
    gsub(/[\001-\010\013\014\016-\032\034-\037\177]/, "?", text)
    return "\"" text "\""
}
{ print; fflush() }
function put(line) { print line >>report; fflush(report) }
function flush_test(    reason) {
    if (test == "") return
    if (outcome == "failed" || outcome == "timed_out") {
        gsub(/\n/, "\\n", said)
        put("{\"event\":\"detail\",\"test\":" test ",\"text\":\"" said "\"}")
    }
    reason = why == "" ? "null" : why
    put("{\"event\":\"finish\",\"test\":" test ",\"outcome\":\"" outcome "\",\"seconds\":" seconds ",\"reason\":" reason "}")
    test = ""
}
/^1\.\.[0-9]+$/ { plan = substr($0, 4) + 0; planned = 1; next }
/^suite / { flush_test(); file = substr($0, 7); if (index(file, here) == 1) file = substr(file, length(here) + 1); next }
/^begin [0-9]+ / {
    flush_test()
    name = $0
    sub(/^begin [0-9]+ /, "", name)
    put("{\"event\":\"start\",\"test\":" quote(file ": " name) "}")
    begun[$2] = name
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
    test = quote(file ": " name)
    count++
    next
}
# Comments belong to the test before them.
test != "" && /^#/ {
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
