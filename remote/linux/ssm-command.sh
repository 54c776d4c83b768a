#!/bin/sh
# Runs commands for a driver that reaches this machine by its SSM agent alone. The agent runs this as root with `sh`.
#
# The driver puts two lines before this text: `set -- BASE TOKENS FORGET VERB ID ...` and `supervisor=TEXT`, the text of
# ssm-supervise.pl in base64. Words that hold anything but letters, digits and plain signs are base64, so that nothing in them can be
# taken for something else on the way.
#
#   BASE     where a command's folder hg-automation-ssm-ID is made, mode 0700: its line, input, output and status
#   TOKENS   where an empty folder ID says that the command was started once; kept two hours
#   FORGET   ids, with commas between, of commands whose folders nobody needs any more; `-` for none
#
#   probe ID USER                                     whether commands can be run as USER
#   put ID INDEX BYTES                                keeps a piece of what `start` needs
#   start ID USER PIECES LINE TOTAL BYTES HOLD        starts the command once, then as `follow` from the beginning
#   follow ID OUT OUT-MOST ERR ERR-MOST HOLD          reports the command; waits HOLD seconds for something new
#   end ID                                            ends the command, and removes its folder
#   forget ID                                         nothing but FORGET
#
# `start` puts the pieces and BYTES together, TOTAL bytes: the first LINE of them are the shell's line, the rest standard input.
# Prints seven lines: `automation-ssm`; the state (`running`, `ended WAITSTATUS`, `vanished`, `absent`, `ready`, `refused WHY`);
# the size of the output, a piece of it in base64; the same of the error output; `end`. Always exits with 0.
set -u
umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
base=$1 tokens=$2 forget=$3 verb=$4 id=$5
shift 5
folder=$base/hg-automation-ssm-$id

# Most bytes of output in one answer: in base64 they stay below the 24,000 characters that the service keeps.
room=17500

size() { wc -c 2>/dev/null <"$folder/$1" || echo 0; }

# FILE OFFSET MOST
piece() {
    [ "$3" -le 0 ] || tail -c "+$(($2 + 1))" "$folder/$1" 2>/dev/null | head -c "$3" | base64 -w 0
    echo
}

# STATE
answer() { printf '%s\n' automation-ssm "$1" 0 '' 0 '' end; exit 0; }

refuse() {
    rm -rf -- "$folder"
    answer "refused $1"
}

state() {
    if [ -e "$folder/status" ]; then
        echo "ended $(cat "$folder/status")"
    elif [ ! -d "$folder" ]; then
        echo absent
    elif [ -e "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; then
        echo running
    elif [ -e "$folder/status" ]; then
        echo "ended $(cat "$folder/status")"
    else
        echo vanished
    fi
}

# The least of three numbers, but not less than zero.
least() {
    local least
    least=$(($1 < $2 ? $1 : $2))
    least=$((least < $3 ? least : $3))
    echo $((least > 0 ? least : 0))
}

# OUT OUT-MOST ERR ERR-MOST HOLD
follow() {
    local state out err left rest tries=0 news=0
    while :; do
        # The state first: once it says `ended`, the sizes are final.
        state=$(state) out=$(size out) err=$(size err)
        if [ "$state" != running ] || [ "$tries" -ge $(($5 * 5)) ]; then break; fi
        tries=$((tries + 1))
        # New output is not reported at once: a moment later there is more, or the end.
        if [ "$out" -gt "$1" ] || [ "$err" -gt "$3" ]; then news=$((news + 1)); fi
        if [ "$news" -gt 10 ]; then break; fi
        if [ "$tries" -le 10 ] || [ "$news" -gt 0 ]; then sleep 0.02; else sleep 0.2; fi
    done
    left=$(least $((out - $1)) "$2" "$room")
    rest=$(least $((err - $3)) "$4" $((room - left)))
    printf '%s\n' automation-ssm "$state" "$out"
    piece out "$1" "$left"
    printf '%s\n' "$err"
    piece err "$3" "$rest"
    echo end
    exit 0
}

# USER: sets `entry`, the line of the machine's list of users.
look_up() {
    local tool
    entry=$(getent passwd "$1") || refuse "the machine has no user \`$1\`"
    [ "$(id -u)" = "$(field 3)" ] || [ "$(id -u)" = 0 ] || refuse "only root can run commands as \`$1\`"
    for tool in perl setpriv setsid base64; do
        command -v "$tool" >/dev/null || refuse "the machine has no \`$tool\`"
    done
}

# NUMBER: prints a field of `entry`.
field() { printf '%s' "$entry" | cut -d : -f "$1"; }

# PIECES LINE TOTAL BYTES: makes the files `line` and `in`.
assemble() {
    local index=0
    : >"$folder/payload"
    while [ "$index" -lt "$1" ]; do
        cat "$folder/piece-$index" >>"$folder/payload" 2>/dev/null || refuse 'a piece of the command did not arrive'
        index=$((index + 1))
    done
    printf '%s' "$4" | base64 -d >>"$folder/payload"
    [ "$(size payload)" -eq "$3" ] || refuse 'the command did not arrive whole'
    head -c "$2" "$folder/payload" >"$folder/line"
    tail -c "+$(($2 + 1))" "$folder/payload" >"$folder/in"
    rm -f -- "$folder/payload" "$folder"/piece-*
}

# USER PIECES LINE TOTAL BYTES
launch() {
    local uid gid home shell
    mkdir -p -- "$folder" || refuse "cannot make a folder in $base"
    look_up "$1"
    uid=$(field 3) gid=$(field 4) home=$(field 6) shell=$(field 7)
    [ -n "$shell" ] || shell=/bin/sh
    assemble "$2" "$3" "$4" "$5"
    chown "$uid:$gid" "$folder/in" || refuse 'cannot give the input to the user'
    if [ "$(id -u)" = "$uid" ]; then
        set -- setpriv --reset-env -- "$shell"
    else
        set -- setpriv --reuid "$uid" --regid "$gid" --init-groups --reset-env -- "$shell"
    fi
    (
        cd -- "$home" 2>/dev/null || cd /
        umask 022
        exec setsid perl -e "$(printf '%s' "${supervisor:?}" | base64 -d)" -- "$folder" "$uid" "$gid" "$@"
    ) <"$folder/in" >/dev/null 2>&1 &
    echo "$!" >"$folder/pid"
}

start() {
    local tries
    mkdir -p -- "$tokens" || refuse "cannot make $tokens"
    find "$tokens" -mindepth 1 -maxdepth 1 -mmin +120 -exec rmdir -- {} +
    if mkdir -- "$tokens/$id" 2>/dev/null; then
        launch "$@"
    else
        # The same request a second time, because the answer to the first was lost.
        tries=0
        while [ -d "$folder" ] && [ ! -e "$folder/pid" ] && [ "$tries" -lt 50 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done
    fi
    follow 0 "$room" 0 "$room" "$6"
}

# INDEX BYTES
put() {
    [ ! -d "$tokens/$id" ] || answer ready
    mkdir -p -- "$folder" || refuse "cannot make a folder in $base"
    printf '%s' "$2" | base64 -d >"$folder/piece-$1.new" || refuse 'cannot keep a piece of the command'
    mv -f -- "$folder/piece-$1.new" "$folder/piece-$1" || refuse 'cannot keep a piece of the command'
    answer ready
}

end() {
    local pid tries
    # From now on a start that is still on its way comes too late.
    mkdir -p -- "$tokens/$id"
    # Without a status processes of it may live, even where their supervisor is gone.
    if [ -e "$folder/pid" ] && [ ! -e "$folder/status" ]; then
        pid=$(cat "$folder/pid")
        kill -s TERM -- "-$pid" 2>/dev/null
        tries=0
        while kill -s 0 -- "-$pid" 2>/dev/null && [ "$tries" -lt 20 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done
        kill -s KILL -- "-$pid" 2>/dev/null
    fi
    rm -rf -- "$folder"
    answer ready
}

if [ "$forget" != - ]; then
    old_ifs=$IFS IFS=,
    for old in $forget; do rm -rf -- "$base/hg-automation-ssm-$old"; done
    IFS=$old_ifs
fi

case $verb in
probe)
    look_up "$1"
    answer ready
    ;;
put | start | follow | end) "$verb" "$@" ;;
forget) answer ready ;;
*) answer "refused there is no request \`$verb\`" ;;
esac
