# shellcheck shell=bash
# The folder in which a run works on a machine: made, taken, entered, and left with nothing at work in it. For the scripts that lie
# beside it, which say `me=NAME` before they read it.
#
#   $work          the folder, the same on every machine: src, results and tmp are in it
#   $here          the folder of the scripts, which is the run's own
#   say, die, usage TEXT
#                  tell on standard error; the last two end with exit code 1 and 64. Where $own is set, it stands for 1 and 75; where $told is,
#                  the file of that name gets the text as well
#   prepare [PROJECT NAME [HISTORY...]]
#                  makes the folder; that of an earlier run goes, and what it found out is put aside. With PROJECT, which tells one folder of files
#                  from others, and its NAME, the src of an earlier run for the same one stays, to be brought up to date; of that for another one,
#                  which goes, it prints `replaces NAME`. HISTORY is a folder below src in which version control keeps what is sent after this; one
#                  of an earlier run that is not named goes. The folder of another user goes on a machine of this computer, which is one
#                  person's, and is refused elsewhere
#   take           makes sure that the folder is this run's, and keeps others from taking it; exit code 75 where another run has it
#   enter WORKDIR  goes to a folder below the source, with the environment that a user's command has
#   run_apart COMMAND [ARG...]
#                  runs a function or a program, with the caller's input, as a process group of its own until its end, and ends all of it; gives
#                  its exit code

readonly work=/var/tmp/automation-work
readonly marker=$work/.made-by-automation
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# shellcheck disable=SC2154 # the script that reads this sets it
say() { printf '%s\n' "$me: $*" >&2; }
fail() {
    local code=$1
    shift
    say "$*"
    [[ -z ${told:-} ]] || printf '%s\n' "$*" >"$told" || true
    exit "$code"
}
die() { fail "${own:-1}" "$*"; }
usage() { say "$*"; exit 64; }

# Keeps the reports of an earlier run that was left to itself: a driver that comes late still asks for them.
put_aside() {
    local folder
    read -r folder <"$marker" || return 0
    [[ $folder == /tmp/hg-automation-* && $folder != "$here" && -O $folder ]] || return 0
    mkdir -p "$folder/taken/results" || die "cannot put aside what the run in $folder found out"
    cp -a "$work/results/." "$folder/taken/results/" 2>/dev/null ||
        say "what the run in $folder found out could not be put aside whole"
}

# PATH...: removes them with all that a command left there, also what it made as root, closed or set so that nobody may change it.
discard() {
    local root='sudo -n'
    ((EUID)) || root='env'
    find "$@" -xdev -type d ! -perm -700 -exec chmod u+rwx {} \; 2>/dev/null || true
    ! rm -rf --one-file-system -- "$@" 2>/dev/null || return 0
    $root chattr -R -f -ia "$@" 2>/dev/null || true
    $root rm -rf --one-file-system -- "$@"
}

# Removes the folder of a run as another user, on a machine that is one person's: its first process has made a folder that nobody makes
# elsewhere. Its reports are put aside.
drop_of_other() {
    [[ -d /run/automation && -d $work && ! -L $work && ! -O $work ]] || return 0
    local as=() folder
    ((EUID == 0)) || as=(sudo -n)
    "${as[@]}" test -f "$marker" || return 0
    "${as[@]}" flock -n "$marker" true || die "another run still works in $work"
    folder=$("${as[@]}" head -n 1 -- "$marker")
    if [[ $folder == /tmp/hg-automation-* && -d $folder && ! -L $folder ]]; then
        "${as[@]}" mkdir -p -- "$folder/taken/results" || die "cannot put aside what the run in $folder found out"
        "${as[@]}" cp -a -- "$work/results/." "$folder/taken/results/" ||
            say "what the run in $folder found out could not be put aside whole"
        # Whoever comes late for it removes it then.
        "${as[@]}" chown --reference="$folder" -- "$folder/taken" "$folder/taken/results"
    fi
    discard "$work" || die "cannot remove the $work of an earlier run"
}

prepare() {
    local earlier='' name=''
    drop_of_other
    if [[ -L $work || -e $work ]]; then
        [[ -d $work && ! -L $work && -O $work && -f $marker ]] || die "$work is there and was not made by this tool"
        # A run holds the machine while it works; this is for one whose hold was killed.
        flock -n "$marker" true || die "another run still works in $work"
        put_aside
        chmod 0700 -- "$work"
        if [[ -f $work/.project ]]; then
            earlier=$(sed -n 1p -- "$work/.project")
            name=$(sed 1d -- "$work/.project")
        fi
        if [[ -n ${1:-} && -d $work/src && ! -L $work/src && $earlier == "$1" ]]; then
            discard "$work/results" "$work/tmp" || die "cannot clear the $work of an earlier run"
            printf '%s\n' "$here" >"$marker"
            mkdir -- "$work/results" "$work/tmp"
            renew_histories "${@:3}"
            return
        fi
        discard "$work" || die "cannot remove the $work of an earlier run"
        if [[ -n $earlier && -n ${1:-} && $earlier != "$1" ]]; then printf 'replaces %s\n' "$name"; fi
    fi
    mkdir -m 0700 -- "$work" || die "cannot make $work"
    printf '%s\n' "$here" >"$marker"
    printf '%s\n' "${1:-}" "${2:-}" >"$work/.project"
    mkdir -- "$work/src" "$work/results" "$work/tmp"
    renew_histories "${@:3}"
}

# What a command made there of branches, states and locks goes. What it can only have added to stays, so that it need not be sent again, and so
# does what is compared and replaced by name, and what an earlier version of the tool remembered there.
renew_histories() {
    local each earlier=() left
    [[ ! -f $work/.histories ]] || mapfile -d '' -t earlier <"$work/.histories"
    for each in "${earlier[@]}"; do
        [[ " ${*@Q} " == *" ${each@Q} "* ]] || discard "$work/src/$each" || die "cannot remove the history of an earlier run"
    done
    for each; do
        [[ -d $work/src/$each && ! -L $work/src/$each ]] || continue
        mapfile -d '' -t left < <(find "$work/src/$each" -mindepth 1 -maxdepth 1 \
            ! -name objects ! -name store ! -name .hg-automation-sync ! -name HEAD ! -name config ! -name index ! -name packed-refs ! -name info \
            ! -name requires ! -name 00changelog.i ! -name 'dirstate*' ! -name branch ! -name bookmarks \
            -print0)
        ((${#left[@]} == 0)) || discard "${left[@]}" || die "cannot clear the history of an earlier run"
    done
    if (($#)); then printf '%s\0' "$@" >"$work/.histories"; else rm -f -- "$work/.histories"; fi
}

take() {
    exec 7<"$marker" && flock -s 7
    local owner
    { read -r owner <&7 && [[ $owner == "$here" ]]; } || fail "${own:-75}" "another run has taken $work"
}

enter() {
    cd -- "$work/src/$1" 2>/dev/null || die "the source has no folder '$1'"
    export TMPDIR=$work/tmp
    # They describe the caller's session.
    unset SSH_CONNECTION SSH_CLIENT SSH_TTY
}

# shellcheck disable=SC2317 # the traps call it
stop() {
    trap '' INT TERM
    say "stopping"
    kill -TERM -- "-$running" 2>/dev/null || true
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        kill -0 -- "-$running" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$running" 2>/dev/null || true
    wait "$running" 2>/dev/null || true
    exit "$1"
}

run_apart() {
    # A process group of its own, so that all of it can be stopped; a shell starts a background command with SIGINT ignored.
    set -m
    (
        trap - INT QUIT
        set +e
        "$@"
    ) 7<&- &
    running=$!
    set +m
    trap 'stop 130' INT
    trap 'stop 143' TERM HUP
    local status=0
    # The shell would say, in words that name this file, which signal ended it.
    wait "$running" 2>/dev/null || status=$?
    # Processes that it forgot to stop would otherwise hold the connection open.
    kill -KILL -- "-$running" 2>/dev/null || true
    return "$status"
}
