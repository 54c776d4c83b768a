#!/bin/sh
# Runs a task so that it outlives the connection that asked for it, and lets anybody follow it from any byte of its output.
#
#   supervise.sh boot                                                prints the identity of this boot
#   supervise.sh launch DIR CAP BOOT -- COMMAND...                   starts the task, at most once, and returns
#   supervise.sh start DIR CAP BOOT HOLD -- COMMAND...               launch, then follow from the beginning
#   supervise.sh follow DIR STDOUT STDERR BOOT HOLD                  sends its output on, and ends when the task has ended
#   supervise.sh record DIR                                          prints how it ended, one JSON object on a line
#   supervise.sh cancel DIR SECONDS                                  ends it: SIGTERM, and SIGKILL after SECONDS
#
# DIR      the task's folder, and its token: the caller that makes it starts the task, all others follow. Its name is the task's id.
#          The folder above must belong to the caller alone. DIR.in, if it is there, is the task's standard input
# CAP      most bytes kept of each stream; the rest is left out, with a mark in its place
# BOOT     what `boot` printed, or `-` where that is not known: a task of another boot is neither started nor waited for
# STDOUT   bytes of each stream that the caller has already
# STDERR
# HOLD     `watch` ends the following when standard input ends (the caller has gone), `alone` does not look at it
#
# start and follow print the line `hg-automation: output follows` on both streams, and from there on nothing but the task's bytes.
#
# Exit codes: 0 done (followed: it has ended, and everything was sent; cancelled: nothing of it runs). 81 it was never started, and
# never will be; 82 the machine was booted again since; 83 its supervisor is gone and left no record; 84 it cannot be started,
# standard error says why; 85 following was cut off; 86 one of its processes does not end; 87 there is no record yet; 64 wrong
# arguments.
#
# The supervisor is a session of its own and holds a lock on DIR/lock as long as it lives. The task is a session of its own too, and
# carries HG_AUTOMATION_TASK=ID in its environment. Every process that belongs to its session, carries that variable or descends
# from such a process ends with it. DIR holds stdout, stderr, record, and files that the supervisor needs. All that the supervisor
# itself must write has its place on the disk before the task starts, so that a full disk cannot keep the record from being written.
# Whoever follows lets the supervisor go on where the task has stopped it.
#
# The record: {"exit": {"kind": "code", "value": 3} or {"kind": "signal", "value": "KILL"}, "started_at", "ended_at" (UTC),
# "peak_memory" (bytes, the most that one process was seen to use, or null), "output": {"stdout", "stderr"} (bytes kept),
# "capped", "cancelled"}. A shell that does not tell signals from statuses (bash as `sh`) gives statuses above 128 as signals.
#
# Needs coreutils, grep, `setsid` and `flock` of util-linux, and /proc. Runs as any user, with dash and bash.
#
# Variables of the whole script: `dir` and `id`, DIR and its name; `task`, the process of the task, where this is its supervisor.
# All other results of a function are printed, or are in the variable that the comment above it names.
set -u

readonly follows='hg-automation: output follows'

refuse() { printf '%s\n' "$*" >&2; exit 84; }

# Sets `boot`: the id of the kernel's boot, and the start time of the first process, which differs from container to container on
# the same kernel.
look_at_boot() {
    local line
    { read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null || boot=unknown
    { read -r line </proc/1/stat; } 2>/dev/null || line='1 (hidden) S'
    # shellcheck disable=SC2086 # words are wanted
    set -- ${line##*) }
    boot=$boot-${20:-0}
}

# Exits unless BOOT is this boot: no process survives a boot, so a task of another one can neither run nor be waited for.
require_boot() {
    look_at_boot
    [ "$1" = - ] || [ "$1" = "$boot" ] || exit 82
}

# Whether the task's record is written; sets `record`.
recorded() {
    { read -r record <"$dir/record"; } 2>/dev/null && [ -n "$record" ]
}

# Makes a file of one block. Later writes overwrite it in place (`1<>` does not truncate), which needs no room on the disk.
reserve() {
    { printf '%4095s\n' '' >"$1"; } 2>/dev/null || refuse "no room for $1"
}

# DIR CAP BOOT -- COMMAND...
launch() {
    local said cap="$2"
    require_boot "$3"
    shift 4
    # Exactly one caller can make the folder: so the task starts at most once, whoever repeats the call.
    if ! said=$(mkdir -m 0700 -- "$dir" 2>&1); then
        [ -d "$dir" ] || refuse "$said"
        return
    fi
    exec 9>"$dir/lock"
    flock 9
    # Another call gave up waiting for this start, and has reported that the task will never run.
    [ ! -e "$dir/never" ] || exit 81
    # The record is the last file, and the boot comes before it: a folder without a record belongs to a task that never started.
    reserve "$dir/pid"
    reserve "$dir/memory"
    reserve "$dir/jobs"
    reserve "$dir/grace"
    { printf '%s\n' "$boot" >"$dir/boot"; } 2>/dev/null || refuse "no room for $dir/boot"
    mkfifo -m 0600 -- "$dir/out" "$dir/err" || exit 84
    : >"$dir/stdout" && : >"$dir/stderr" || exit 84
    reserve "$dir/record"
    # The supervisor inherits the lock on descriptor 9. It is not a child of this shell, because an SSH server or an agent that
    # ends a connection with all processes below it must not end the task.
    (setsid sh "$0" supervise "$dir" "$cap" "$@" </dev/null >/dev/null 2>&1 &)
    exec 9>&-
}

# Sets `members`: the processes that carry the variable of the task `id` or are in its session, and all their descendants. Zombies
# do not count. In /proc/PID/stat state, parent, group and session follow the name in parentheses.
find_members() {
    local fresh parents
    members=
    # shellcheck disable=SC2046 # words are wanted
    fresh=$(further_members $(grep -lszxF -e "HG_AUTOMATION_TASK=$id" /proc/[0-9]*/environ) \
        $(grep -lsE "\) [^ZX] [0-9]+ [0-9]+ ${task:-none} " /proc/[0-9]*/stat))
    while [ -n "$fresh" ]; do
        members=$members$fresh
        parents=$(printf '%s' "$fresh" | tr -s ' ' '|')
        # shellcheck disable=SC2046 # words are wanted
        fresh=$(further_members $(grep -lsE "\) [^ZX] (${parents#|}) " /proc/[0-9]*/stat))
    done
}

# FILE... in /proc/PID: prints each PID that is not among `members`, once, with a blank before it.
further_members() {
    local file pid further=
    for file in "$@"; do
        pid=${file#/proc/} pid=${pid%/*}
        case "$members$further " in
        *" $pid "*) ;;
        *) further="$further $pid" ;;
        esac
    done
    printf '%s' "$further"
}

# SECONDS: sends SIGTERM to all members, and SIGKILL after that long, in rounds until none is left: a member may start others
# meanwhile. `left` counts tenths of a second until SIGKILL, `more` the rounds after it before this gives up.
end_members() {
    local member left="$(($1 * 10))" more=100 told=
    find_members
    while [ -n "$members" ]; do
        # shellcheck disable=SC2086 # words are wanted
        if [ "$left" -le 0 ]; then
            # A process that became another user by `sudo` can be signalled by root alone.
            kill -s KILL $members 2>/dev/null || [ "$(id -u)" = 0 ] || sudo -n kill -s KILL $members >/dev/null 2>&1
        else
            for member in $members; do
                case "$told " in
                *" $member "*) ;;
                # A stopped process takes the first signal only when the second lets it go on.
                *) kill -s TERM "$member" 2>/dev/null; kill -s CONT "$member" 2>/dev/null ;;
                esac
            done
            told="$told$members"
        fi
        [ "$more" -gt 0 ] || return 1
        # Most processes end at once: the first round has a short pause.
        if [ "$more" -eq 100 ]; then sleep 0.01; else sleep 0.1; fi
        if [ "$left" -gt 0 ]; then left=$((left - 1)); else more=$((more - 1)); fi
        [ "$more" -lt 100 ] || more=99
        find_members
    done
}

# FIFO FILE CAP: keeps the output that comes. Exits with 3 if some was left out. CAP counts in whole blocks of 512 bytes, the
# unit of `ulimit -f`.
keep() {
    local mark
    exec <"$1" >>"$2"
    # The limit cuts at the exact byte. With SIGXFSZ ignored a write beyond it fails, as one on a full disk does.
    if (trap '' XFSZ && ulimit -f "$(($3 / 512))" && exec cat); then exit 0; fi
    if [ "$(stat -c %s -- "$2")" -ge "$(($3 / 512 * 512))" ]; then
        mark="[hg-automation: output beyond $(($3 / 512 * 512)) bytes was left out]"
    else
        mark="[hg-automation: the machine had no room for more output: it was left out]"
    fi
    printf '\n%s\n' "$mark" && mark=
    # The rest is read and dropped, or the task would block on a full pipe.
    cat >/dev/null
    [ -z "$mark" ] || printf '\n%s\n' "$mark"
    exit 3
}

# Looks at the memory of the task's processes from time to time, often at first because many tasks are short, and keeps the most.
sample() {
    local pause most=0
    sleep 0.05
    for pause in 0.2 0.5 1 2 3 5; do
        look_at_memory
        sleep "$pause"
    done
    while :; do
        look_at_memory
        sleep 5
    done
}

# Raises `most` of `sample`, in KiB, and writes it down.
look_at_memory() {
    local marked file size
    set --
    marked=$(grep -lszxF -e "HG_AUTOMATION_TASK=$id" /proc/[0-9]*/environ)
    # Without a process of the task the sampler ends: where the supervisor was killed, nobody else would end it.
    [ -n "$marked" ] || exit 0
    for file in $marked; do set -- "$@" "${file%environ}status"; done
    while read -r _ size _; do
        if [ "${size:-0}" -gt "$most" ]; then most=$size; fi
    done <<SIZES
$(grep -hs '^VmHWM:' "$@")
SIZES
    printf '%20d\n' "$most" 1<>"$dir/memory"
}

# Waits for the task; sets `status`. A request to stop (`stopping`), which may come before this call, ends the task first.
wait_for_task() {
    local seconds now
    while :; do
        if [ -n "$stopping" ]; then
            stopping=
            { read -r seconds <"$dir/grace"; } 2>/dev/null
            end_members "${seconds:-10}"
        fi
        wait "$task"
        now=$?
        # A `wait` that the signal cut short gives 127 or more than 128, and is repeated. Once the task's status was taken, a
        # further `wait` gives 127, which must not replace it.
        [ -n "${status-}" ] && [ "$now" -eq 127 ] || status=$now
        [ -n "$stopping" ] || break
    done
}

# Sets `how`, the exit for the record, from `status`.
judge() {
    local line name
    how='{"kind":"code","value":'$status'}'
    [ "$status" -gt 128 ] || return
    # Of a status dash's `jobs` says `Done(137)`, of a signal its name, until dash starts another command; bash has forgotten the
    # job by now. It is a built-in command, so nothing is started here, and its answer goes through a file.
    jobs -l %1 1<>"$dir/jobs" 2>/dev/null
    read -r line <"$dir/jobs"
    case $line in
    *"$task Done("*) ;;
    *) name=$(kill -l "$((status - 128))" 2>/dev/null) && how='{"kind":"signal","value":"'$name'"}' ;;
    esac
}

# DIR CAP COMMAND...
#
# The trap sets `cancelled` and `stopping`; `started` and `capped` are for the record. All that is started here closes descriptor 9:
# the lock says that the supervisor itself lives.
supervise() {
    local input stdout stderr keeper cap="$2"
    cancelled=false stopping='' status=''
    shift 2
    # SIGTERM may come before there is a task to wait for.
    trap 'cancelled=true stopping=yes' TERM
    trap '' HUP
    printf '%d\n' "$$" 1<>"$dir/pid"
    input=/dev/null
    if [ -e "$dir.in" ]; then input=$dir.in; fi
    started=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
    # The task is the first job, so that `jobs` can be asked about it. A shell starts background commands with SIGINT ignored, and
    # SIGHUP is ignored here: `env` undoes both.
    setsid env --default-signal "HG_AUTOMATION_TASK=$id" "$@" <"$input" >"$dir/out" 2>"$dir/err" 9>&- &
    task=$!
    (trap - TERM; keep "$dir/out" "$dir/stdout" "$cap") 9>&- &
    stdout=$!
    (trap - TERM; keep "$dir/err" "$dir/stderr" "$cap") 9>&- &
    stderr=$!
    (trap - TERM; sample) 9>&- &
    wait_for_task
    judge
    # Processes that the task left behind end with it.
    end_members 1
    trap '' TERM
    # A process that is not a member may hold the pipes open. After three seconds SIGTERM to this process group ends the keepers;
    # this shell ignores it.
    if lives "$stdout" || lives "$stderr"; then (trap - TERM; sleep 3; kill -s TERM 0) 9>&- & fi
    capped=false
    for keeper in "$stdout" "$stderr"; do
        wait "$keeper"
        if [ $? -eq 3 ]; then capped=true; fi
    done
    write_record
    # Ends the sampler, its sleep and this shell. The lock is released by that, after the record was written.
    kill -s KILL 0
}

# PID: whether the child still runs. One that has ended is a zombie or gone.
lives() {
    local line
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return
    case $line in
    *') Z '*) return 1 ;;
    esac
}

# Overwrites all of the reserved block, so that nothing of its old content is left behind the record.
write_record() {
    local most times counts memory=null
    { read -r most <"$dir/memory"; } 2>/dev/null && [ "${most:-0}" -gt 0 ] && memory=$((most * 1024))
    # shellcheck disable=SC2046 # words are wanted
    set -- $(stat -c %s -- "$dir/stdout" "$dir/stderr")
    times='"started_at":"'$started'","ended_at":"'$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)'"'
    counts='"peak_memory":'$memory',"output":{"stdout":'$1',"stderr":'$2'}'
    printf '%-4095s\n' '{"exit":'"$how,$times,$counts"',"capped":'"$capped"',"cancelled":'"$cancelled"'}' 1<>"$dir/record"
}

# Makes sure that a task which has not started yet never will, and exits with 81 then. A start that is under way gets two seconds.
give_up_start() {
    local tries=0
    while [ ! -e "$dir/record" ]; do
        if [ "$tries" -ge 20 ]; then
            exec 8>>"$dir/lock"
            flock 8
            # Under the lock no start is between its look at `never` and its record.
            [ ! -e "$dir/record" ] || break
            : >"$dir/never"
            exit 81
        fi
        tries=$((tries + 1))
        sleep 0.1
    done
}

# DIR STDOUT STDERR BOOT HOLD
follow() {
    local line
    require_boot "$4"
    [ -d "$dir" ] || exit 81
    if { read -r line <"$dir/boot"; } 2>/dev/null && [ "$line" != "$boot" ]; then exit 82; fi
    [ -e "$dir/record" ] || give_up_start
    printf '%s\n' "$follows"
    printf '%s\n' "$follows" >&2
    # The shared lock is free once the supervisor has ended. A short task has, before anything is set up to follow it.
    exec 8<"$dir/lock"
    if flock -s -w 0.05 8; then
        if [ -s "$dir/stdout" ]; then tail -c "+$(($2 + 1))" -- "$dir/stdout" || exit 85; fi
        if [ -s "$dir/stderr" ]; then tail -c "+$(($3 + 1))" -- "$dir/stderr" >&2 || exit 85; fi
    else
        exec 8<&-
        follow_live "$2" "$3" "$5"
    fi
    recorded || exit 83
}

# Lets the supervisor and what keeps the output go on, again and again as long as `held` of `follow_live` runs: a task may stop them, and
# would be waited for for ever.
keep_going() {
    local pid
    until flock -s -w 2 "$dir/lock" true; do
        kill -s 0 "$held" || return
        pid=
        read -r pid <"$dir/pid"
        # As long as the lock is held, the number is that of the supervisor, which leads its process group.
        [ -z "$pid" ] || kill -s CONT -- "-$pid"
    done
}

# STDOUT STDERR HOLD
follow_live() {
    local held first second sent watcher=
    # A shell gives background commands /dev/null as standard input: the watcher reads descriptor 3.
    exec 3<&0
    # `held` ends with the supervisor, and `tail` ends after `held`. No `tail` watches the supervisor itself: the process id of a
    # process that has ended can be given to another one, but not that of our own child before it is waited for.
    flock -s "$dir/lock" true 3<&- >/dev/null 2>&1 &
    held=$!
    keep_going 3<&- >/dev/null 2>&1 &
    tail -c "+$(($1 + 1))" -f -s 0.02 --pid="$held" -- "$dir/stdout" 3<&- 2>/dev/null &
    first=$!
    tail -c "+$(($2 + 1))" -f -s 0.02 --pid="$held" -- "$dir/stderr" 3<&- >&2 2>/dev/null &
    second=$!
    if [ "$3" = watch ]; then
        watch_input >/dev/null 2>&1 &
        watcher=$!
    fi
    exec 3<&-
    sent=yes
    wait "$first" || sent=
    wait "$second" || sent=
    [ -z "$watcher" ] || kill -s TERM "$watcher" 2>/dev/null
    [ -n "$sent" ] || exit 85
}

# Ends the following, `held`, `first` and `second` of `follow_live`, when standard input ends.
watch_input() {
    local reader
    cat <&3 &
    reader=$!
    exec 3<&-
    trap 'kill -s KILL "$reader"; exit' TERM
    wait "$reader"
    kill -s KILL "$held" "$first" "$second"
}

# DIR SECONDS
cancel() {
    local tries pid=''
    # A start that is still on its way finds the folder taken, or `never` in it.
    if mkdir -m 0700 -- "$dir" 2>/dev/null; then
        : >"$dir/never"
        exit 0
    fi
    # In a subshell, because it exits where the task will never start: then nothing of it runs.
    [ -e "$dir/record" ] || (give_up_start) || exit 0
    if flock -s -n "$dir/lock" true; then
        # The supervisor has gone. Without a record it was killed, and the task's processes are found by the variable.
        recorded || end_members "$2" || exit 86
        exit 0
    fi
    printf '%d\n' "$2" 1<>"$dir/grace"
    # As long as the lock is held, the number in `pid` is the supervisor's, once it has written it. It gets the signal again and
    # again until it has ended: a signal that comes between its look at `stopping` and its `wait` does not cut the wait short.
    tries=$((($2 + 20) * 4))
    until
        { read -r pid <"$dir/pid"; } 2>/dev/null
        # A stopped process takes the first signal only when the second lets it go on.
        [ -z "$pid" ] || { kill -s TERM "$pid"; kill -s CONT -- "-$pid"; } 2>/dev/null
        flock -s -w 0.25 "$dir/lock" true
    do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || exit 86
    done
}

[ $# -gt 0 ] || set -- none
verb=$1
shift
dir=${1-} id=${1-} task=
id=${id##*/}
case $verb:$# in
boot:0) look_at_boot && printf '%s\n' "$boot" ;;
launch:[5-9] | launch:??*) launch "$@" ;;
start:[6-9] | start:??*)
    hold=$4 folder=$1 expected=$3 limit=$2
    shift 5
    launch "$folder" "$limit" "$expected" -- "$@"
    follow "$folder" 0 0 "$expected" "$hold"
    ;;
follow:5) follow "$@" ;;
record:1) if recorded; then printf '%s\n' "$record"; else exit 87; fi ;;
cancel:2) cancel "$@" ;;
supervise:[3-9] | supervise:??*) supervise "$@" ;;
*)
    printf '%s\n' 'usage: supervise.sh boot|launch|start|follow|record|cancel ARGUMENT..., as the head of this script says' >&2
    exit 64
    ;;
esac
