#!/bin/sh
# Moves files for a driver that has commands alone: bytes come by standard input and go by standard output. Run with `sh` as
# the user whose files they are. FOLDER is where PATH's name stands; PARTIAL is a name that nothing has yet.
#
#   write PATH FOLDER PARTIAL MODE    standard input becomes the file PATH, or what that link leads to, or goes into that device
#   read PATH MOST                    at most MOST bytes of the file PATH
#   pack PATH FOLDER NAME MOST        the file or folder PATH as an archive of at most MOST bytes
#
# Exits with 0, or with 1 and a reason in the last line of standard error. Trees come by `tree.sh`.
set -u
umask 077
export LC_ALL=C
verb=$1 path=$2
shift 2

fail() { printf '%s\n' "$1" >&2; exit 1; }

# Sets `partial`, which is removed at the end.
write() {
    [ -d "$1" ] || fail 'no such file or folder'
    [ ! -d "$path" ] || fail 'a folder has that name'
    partial=$2
    if [ -e "$path" ] && [ ! -f "$path" ]; then
        [ ! -p "$path" ] || fail 'it is a named pipe; use SSH'
        exec cat >"$path"
    fi
    if [ -L "$path" ]; then
        path=$(readlink -f -- "$path"; printf x)
        path=${path%?x}
        partial=${path%/*}/${partial##*/}
    fi
    trap 'rm -f -- "$partial"' EXIT
    cat >"$partial" && chmod -- "$3" "$partial" && mv -fT -- "$partial" "$path" || exit 1
}

read_file() {
    [ -e "$path" ] || fail 'no such file or folder'
    [ -f "$path" ] || fail 'it is no file'
    head -c "$1" -- "$path" || exit 1
}

# Sets `archive`, which is removed at the end.
pack() {
    local odd most
    [ -e "$path" ] || fail 'no such file or folder'
    archive=$(mktemp) || exit 1
    trap 'rm -f -- "$archive"' EXIT
    if [ -d "$path" ]; then
        odd=$(find "$path/" ! -type f ! -type d ! -type l -print) || exit 1
        [ -z "$odd" ] || fail "\`$odd\` is neither a file, a folder nor a symbolic link"
        set -- "$3" -C "$path" .
    else
        [ -f "$path" ] || fail 'it is neither a file nor a folder'
        set -- "$3" --dereference -C "$1" "./$2"
    fi
    # tar takes a file that says that it has no bytes and has some, as those of /proc do, for empty.
    odd=$(find -H "$path" -type f -size 0 -print0 2>/dev/null | xargs -0 -r grep -ls -D skip -e '' -- |
        while read -r file; do [ -s "$file" ] || printf '%s\n' "$file"; done | head -n 1)
    [ -z "$odd" ] || fail "\`$odd\` says that it is empty and has content; use SSH"
    most=$1
    shift
    tar --format=gnu --hard-dereference -cf "$archive" "$@" || exit 1
    [ "$(wc -c <"$archive")" -le "$most" ] || fail 'it is too large to travel by SSM; use SSH'
    cat -- "$archive"
}

case $verb in
write | pack) "$verb" "$@" ;;
read) read_file "$@" ;;
*) fail "there is no request \`$verb\`" ;;
esac
