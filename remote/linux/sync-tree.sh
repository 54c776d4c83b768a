#!/bin/sh
# The machine's side of a sync: what a folder holds, and what makes it equal to another. Run with `sh` as the user whose files they
# are; needs GNU tar, find, xargs, cp and sha256sum, and flock. PATH does not begin with a dash.
#
#   look PATH [MEMORY]   lists the folder, and prints the records of the last sync
#   list PATH            lists the folder alone, and of folders in it that are closed to the user nothing; a link is no folder
#   hash PATH            SHA-256 of the files that standard input names, a NUL after each; unreadable ones are left out
#   apply PATH [MEMORY]  makes the changes that the archive on standard input holds
#
# The records are in PATH/.hg-automation-sync, a folder of mode 0700, and go with the tree when that is removed. MEMORY is another place for them,
# on the same file system, where the folder is the tool's own. Then something else in the place of the folder goes, folders that the user closed are
# opened, and what root owns or nobody may change gives way with the help of `sudo`, where the user may call that.
#
#   sent       the files that syncs put there: KIND HASH PATH, or F HASH TOKEN PATH with what the file looked like where it came from
#   pending    the files that a sync which did not end was about to put there
#   seen       the listing of `look` at the end of the sync
#   fresh      the files that were new then, looked at before anybody could change them: SIZE INODE MTIME PATH
#   stamp      the time just before the sync looked, by the clock that gives files their times
#
# `look` prints sections: `=NAME BYTES`, a NUL, and so many bytes, which are records with a NUL after each. A listing has two records a file, of
# which the second is a link's target; `odd` says that something else is in the place of records. The archive holds `tree`, the new files; lists
# with a NUL after each name: files to `delete`, `folders` to be removed where they are empty, what to `clear` away with all that is in it, folders
# to `open` for their owner, those `touched` by any change, and one `modes.MODE` for each mode; `sent`, `pending` and `stamp`; and behind it all
# `whole`. Nothing is changed before all has arrived. Exits with 0, or with 1 and a reason on standard error.
set -u
umask 077
export LC_ALL=C
verb=$1 path=$2 memory=${3-}
within=.hg-automation-sync
keep=${memory:-$within}
# A word or two, before a command that root is to run.
if [ "$(id -u)" = 0 ]; then root='env'; else root='sudo -n'; fi

fail() { printf '%s\n' "$1" >&2; exit 1; }

# What a shell does that gets $root and paths: it removes them, whatever they are, also what root owns or nobody may change.
# shellcheck disable=SC2016
removal='
    find "$@" -xdev -type d ! -perm -700 -exec chmod u+rwx {} \; 2>/dev/null
    rm -rf --one-file-system -- "$@" 2>/dev/null && exit
    $0 chattr -R -f -ia "$@" 2>/dev/null
    exec $0 rm -rf --one-file-system -- "$@"'

# PATH...: removes them, whatever they are; of the tool's own also what root owns or nobody may change.
discard() {
    if [ -n "$memory" ]; then sh -c "$removal" "$root" "$@"; else rm -rf -- "$@"; fi
}

# Makes a folder of the tool's own out of what a command left of it, and moves there what an earlier version remembered within it.
settle() {
    if [ -L "$path" ] || { [ -e "$path" ] && [ ! -d "$path" ]; }; then discard "$path" || exit 1; fi
    [ -d "$path" ] || return 0
    if [ ! -r "$path" ] || [ ! -w "$path" ] || [ ! -x "$path" ]; then
        chmod u+rwx "$path" 2>/dev/null || { $root chown -h "$(id -u):$(id -g)" "$path" && chmod u+rwx "$path"; } || exit 1
    fi
    [ -e "$path/$within" ] || [ -L "$path/$within" ] || return 0
    if [ -d "$path/$within" ] && [ ! -L "$path/$within" ] && [ ! -e "$keep" ]; then
        mkdir -p -- "${keep%/*}" && mv -T -- "$path/$within" "$keep" && return
    fi
    discard "$path/$within"
}

entries() {
    find . -mindepth 1 -path "./$within" -prune -o -printf '%y %m %s %i %T@ %C@ %P\0%l\0'
}

# FILE: writes the listing into it. Of the tool's own folder, what stays closed is listed without what is in it.
list_into() {
    [ -n "$memory" ] || { entries >"$1"; return; }
    entries >"$1" 2>/dev/null && return
    find . -xdev -type d -user "$(id -u)" ! -perm -700 -exec chmod u+rwx {} \; 2>/dev/null
    list_open "$1"
}

list_open() {
    local said
    said=$(entries 2>&1 >"$1") || ! printf '%s\n' "$said" | grep -v ': Permission denied$' >&2
}

is_record() { [ ! -L "$keep" ] && [ -f "$keep/$1" ] && [ ! -L "$keep/$1" ] && [ -r "$keep/$1" ]; }

# Sets `odd` where something else is in the place of a record.
section() {
    if is_record "$1"; then
        { printf '=%s %s\0' "$1" "$(stat -L -c %s /dev/stdin)" && cat; } <"$keep/$1"
    else
        if [ -e "$keep/$1" ] || [ -L "$keep" ] || { [ -e "$keep" ] && ! { [ -d "$keep" ] && [ -x "$keep" ]; }; }; then odd=yes; fi
    fi
}

# Sets `now`, the file with the listing, which is removed at the end.
look() {
    local name began odd=
    now=$(mktemp) || exit 1
    trap 'rm -f -- "$now"' EXIT
    began=$(find "$now" -printf '%C@') || exit 1
    printf '=began %s\0%s\0' "$((${#began} + 1))" "$began"
    [ -z "$memory" ] || settle || exit 1
    if [ ! -d "$path" ]; then
        if [ -e "$path" ] || [ -L "$path" ]; then fail 'something that is not a folder has its name'; fi
        printf '=end 0\0'
        return
    fi
    cd -- "$path" || exit 1
    list_into "$now" || exit 1
    if is_record seen && cmp -s "$now" "$keep/seen"; then
        printf '=same 0\0'
    else
        printf '=now %s\0' "$(stat -c %s "$now")"
        cat "$now" || exit 1
    fi
    for name in stamp seen fresh sent pending; do section "$name" || exit 1; done
    [ -z "$odd" ] || printf '=odd 0\0'
    printf '=end 0\0'
}

list() {
    now=$(mktemp) || exit 1
    trap 'rm -f -- "$now"' EXIT
    if [ -d "$path" ] && [ ! -L "$path" ]; then
        cd -- "$path" && list_open "$now" || exit 1
        printf '=now %s\0' "$(stat -c %s "$now")"
        cat "$now" || exit 1
    fi
    printf '=end 0\0'
}

hash() {
    cd -- "$path" || exit 1
    xargs -0 -r sha256sum -z -- 2>/dev/null
    return 0
}

# Removes what earlier syncs left. A folder that its owner may not enter would keep its content from being removed.
clean() {
    local old
    for old in "$keep"/stage.*; do
        [ -d "$old" ] || continue
        find "$old" -type d ! -perm -700 -exec chmod u+rwx {} \;
        rm -rf -- "$old"
    done
}

# Makes the folder of the records, in the place of anything else, and removes from it what is none.
open_memory() {
    local each
    if [ -L "$keep" ] || { [ -e "$keep" ] && [ ! -d "$keep" ]; }; then discard "$keep" || exit 1; fi
    mkdir -p -- "$keep" || exit 1
    [ -r "$keep" ] && [ -w "$keep" ] && [ -x "$keep" ] || chmod u+rwx -- "$keep" 2>/dev/null ||
        { discard "$keep" && mkdir -- "$keep"; } || exit 1
    for each in lock new stamp seen fresh sent pending; do
        if { [ -e "$keep/$each" ] || [ -L "$keep/$each" ]; } && ! is_record "$each"; then discard "$keep/$each" || exit 1; fi
    done
}

# Runs a command with the names of a list in `stage`, where it has any.
each() {
    local names="$stage/$1"
    shift
    [ ! -s "$names" ] || xargs -0 "$@" -- <"$names"
}

# Makes the changes; those that were made already are no hindrance.
change() {
    local modes
    each open chmod u+rwx || return
    [ ! -s "$stage/clear" ] || xargs -0 sh -c "$removal" "$root" <"$stage/clear" || return
    each delete rm -f || return
    # shellcheck disable=SC2016
    each folders sh -c '
        shift
        for folder; do [ ! -d "$folder" ] || rmdir --ignore-fail-on-non-empty -- "$folder" || exit; done' sh || return
    (umask 0 && cp -rPlfT -- "$stage/tree" .) || return
    for modes in "$stage"/modes.*; do
        [ ! -f "$modes" ] || xargs -0 -r chmod "${modes##*.}" -- <"$modes" || return
    done
}

# Lets the user change what the changes touch, where root owns it or nobody may change it.
reclaim() {
    # shellcheck disable=SC2086
    {
        cat "$stage/touched" "$stage/delete" "$stage"/modes.*
        (cd "$stage/tree" && find . -mindepth 1 ! -type d -print0)
    } 2>/dev/null | xargs -0 -r $root chattr -f -ia 2>/dev/null
    # shellcheck disable=SC2086
    cat "$stage/touched" "$stage"/modes.* 2>/dev/null | xargs -0 -r $root chown -h "$(id -u):$(id -g)" -- 2>/dev/null
    return 0
}

# Sets `stage`, the folder in which the archive is unpacked.
apply() {
    [ -z "$memory" ] || settle || exit 1
    [ -d "$path" ] || mkdir -m 755 -- "$path" || exit 1
    cd -- "$path" || exit 1
    open_memory
    exec 9>"$keep/lock"
    flock -n 9 || fail 'another sync is at work there'
    clean
    trap clean EXIT
    trap 'exit 1' HUP INT TERM
    stage=$keep/stage.$$
    mkdir -- "$stage" || exit 1
    tar -xpmf - -b 128 --no-same-owner --delay-directory-restore -C "$stage" || exit 1
    [ -e "$stage/whole" ] || fail 'the archive broke off'
    find "$stage/tree" -type f -printf '%s %i %T@ %P\0' >"$stage/fresh" || exit 1
    # The clock of file times advances every 10 ms at the slowest: a file that others write from now on differs in time from
    # the new ones.
    [ ! -s "$stage/fresh" ] || sleep 0.012
    mv -- "$stage/pending" "$keep/pending" || exit 1
    if [ -z "$memory" ]; then change || exit 1; else change 2>/dev/null || { reclaim; change || exit 1; }; fi
    mv -- "$stage/sent" "$stage/fresh" "$stage/stamp" "$keep" || exit 1
    # `clean` comes before the listing, because removing their second names changes the status times of the new files.
    clean
    list_into "$keep/new" && mv -- "$keep/new" "$keep/seen" && rm -f -- "$keep/pending" || exit 1
}

case $verb in
look | list | hash | apply) "$verb" ;;
*) fail "there is no request \`$verb\`" ;;
esac
