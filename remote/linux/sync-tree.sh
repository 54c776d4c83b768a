#!/bin/sh
# The machine's side of a sync: what a folder holds, and what makes it equal to another. Run with `sh` as the user whose files they
# are; needs GNU tar, find, xargs, cp and sha256sum, and flock. PATH does not begin with a dash.
#
#   look PATH            lists the folder, and prints the records of the last sync
#   hash PATH            SHA-256 of the files that standard input names, a NUL after each; unreadable ones are left out
#   apply PATH           makes the changes that the archive on standard input holds
#
# The records are in PATH/.hg-automation-sync, a folder of mode 0700, and go with the tree when that is removed:
#
#   sent       the files that syncs put there: KIND HASH PATH, or F HASH TOKEN PATH with what the file looked like where it came from
#   pending    the files that a sync which did not end was about to put there
#   seen       the listing of `look` at the end of the sync
#   fresh      the files that were new then, looked at before anybody could change them: SIZE INODE MTIME PATH
#   stamp      the time just before the sync looked, by the clock that gives files their times
#
# `look` prints records with a NUL after each, in sections that begin with `=NAME`; a listing has two records a file, of which the
# second is a link's target. The archive holds `tree`, the new files; lists with a NUL after each name: files to `delete`, `folders`
# to be removed where they are empty, folders to `open` for their owner, and one `modes.MODE` for each mode; `sent`, `pending` and
# `stamp`; and behind it all `whole`. Nothing is changed before all has arrived. Exits with 0, or with 1 and a reason on standard error.
set -u
umask 077
export LC_ALL=C
verb=$1 path=$2
keep=.hg-automation-sync

fail() { printf '%s\n' "$1" >&2; exit 1; }

list() {
    find . -mindepth 1 -path "./$keep" -prune -o -printf '%y %m %s %i %T@ %C@ %P\0%l\0'
}

section() {
    printf '=%s\0' "$1"
    [ ! -f "$keep/$1" ] || cat "$keep/$1"
}

# Sets `now`, the file with the listing, which is removed at the end.
look() {
    local name
    now=$(mktemp) || exit 1
    trap 'rm -f -- "$now"' EXIT
    printf '=began\0'
    find "$now" -printf '%C@\0'
    if [ ! -d "$path" ]; then
        if [ -e "$path" ] || [ -L "$path" ]; then fail 'something that is not a folder has its name'; fi
        printf '=end\0'
        return
    fi
    cd -- "$path" || exit 1
    list >"$now" || exit 1
    if cmp -s "$now" "$keep/seen"; then
        printf '=same\0'
    else
        printf '=now\0'
        cat "$now" || exit 1
    fi
    for name in stamp seen fresh sent pending; do section "$name" || exit 1; done
    printf '=end\0'
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

# Runs a command with the names of a list in `stage`, where it has any.
each() {
    local names="$stage/$1"
    shift
    [ ! -s "$names" ] || xargs -0 "$@" -- <"$names"
}

# Sets `stage`, the folder in which the archive is unpacked.
apply() {
    local modes
    [ -d "$path" ] || mkdir -m 755 -- "$path" || exit 1
    cd -- "$path" || exit 1
    mkdir -p -- "$keep" || exit 1
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
    each open chmod u+rwx && each delete rm -f && each folders rmdir --ignore-fail-on-non-empty || exit 1
    (umask 0 && cp -rPlfT -- "$stage/tree" .) || exit 1
    for modes in "$stage"/modes.*; do
        [ -f "$modes" ] || continue
        xargs -0 -r chmod "${modes##*.}" -- <"$modes" || exit 1
    done
    mv -- "$stage/sent" "$stage/fresh" "$stage/stamp" "$keep" || exit 1
    # `clean` comes before the listing, because removing their second names changes the status times of the new files.
    clean
    list >"$keep/new" && mv -- "$keep/new" "$keep/seen" && rm -f -- "$keep/pending" || exit 1
}

case $verb in
look | hash | apply) "$verb" ;;
*) fail "there is no request \`$verb\`" ;;
esac
